"""The command line. The only part of the host that prints."""

from sateen.cli.main import main

__all__ = ["main"]
