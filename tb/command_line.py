"""The command line as tests call it, in a process of its own."""

import os
import subprocess
import sys

CONFIG = "tiny"
"""What commands are tested with."""


def cli(*arguments, **environment):
    """Runs ``sateen``; its completed process."""
    return subprocess.run(
        [sys.executable, "-m", "sateen.cli", *map(str, arguments)], capture_output=True, text=True, timeout=300,
        env={**os.environ, "COLUMNS": "160", **environment},
    )  # fmt: skip
