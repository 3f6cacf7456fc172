"""The command line, the only part of the host side that prints."""

from __future__ import annotations

import sys

__all__ = ["main"]


def main() -> None:
    """Runs the command line, :mod:`sateen.cli.main`. Its imports take half a second, in which an interrupt is an end
    like any other."""
    try:
        from sateen.cli.main import main as run
    except KeyboardInterrupt:
        print("sateen: interrupted", file=sys.stderr)
        sys.exit(130)
    run()
