"""Calls the command line in another process, for tests."""

import os
import subprocess
import sys

CONFIG = "tiny"
"""What commands are tested with."""


def cli(*arguments, quiet=True, **environment):
    """Runs ``sateen`` and returns the completed process; ``quiet`` without lines of progress, which a slow machine
    shows and a fast one does not."""
    options = ["--quiet"] if quiet else []
    return subprocess.run(
        [sys.executable, "-m", "sateen.cli", *options, *map(str, arguments)],
        capture_output=True, text=True, timeout=300, env={**os.environ, "COLUMNS": "160", **environment},
    )  # fmt: skip


def parsed(command, arguments):
    """The values of a command's parameters on a command line, which is not run."""
    with command.make_context(command.name, list(arguments)) as context:
        return context.params
