"""Calls the command line in another process, for tests."""

import os
import subprocess
import sys

CONFIG = "tiny"
"""What commands are tested with."""


def cli(*arguments, **environment):
    """Runs ``sateen`` and returns the completed process."""
    return subprocess.run(
        [sys.executable, "-m", "sateen.cli", *map(str, arguments)], capture_output=True, text=True, timeout=300,
        env={**os.environ, "COLUMNS": "160", **environment},
    )  # fmt: skip
