"""The command line, the only part of the host side that prints."""

from sateen.cli.main import main

__all__ = ["main"]
