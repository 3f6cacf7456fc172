"""Calls the command line, for tests: in another process, or in this one."""

import io
import json
import os
import signal
import subprocess
import sys
import warnings
from contextlib import chdir, redirect_stderr, redirect_stdout
from unittest import mock

import jsonschema

from sateen.cli import documents, progress
from sateen.cli.main import main
from sateen.cli.schema import schema_of

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


def here(*arguments, folder=".", columns=160, together=False):
    """As :func:`cli`, in this process, which has imported all: for commands that end at once. ``together`` has both
    streams in ``stdout``, as a terminal shows them."""
    written = [io.TextIOWrapper(io.BytesIO(), "utf-8", write_through=True) for _ in range(2)]
    handlers = {number: signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)}
    try:
        with (
            mock.patch.object(sys, "argv", ["sateen", "--quiet", *map(str, arguments)]),
            mock.patch.dict(os.environ, COLUMNS=str(columns)),
            mock.patch.object(progress.settings, "quiet", True),
            warnings.catch_warnings(),
            redirect_stdout(written[0]),
            redirect_stderr(written[0 if together else 1]),
            chdir(folder),
        ):
            main()
        code = 0
    except SystemExit as end:
        code = end.code or 0
    finally:
        for number, handler in handlers.items():
            signal.signal(number, handler)
    return subprocess.CompletedProcess(arguments, code, *(each.buffer.getvalue().decode() for each in written))


def parsed(command, arguments):
    """The values of a command's parameters on a command line, which is not run."""
    with command.make_context(command.name, list(arguments)) as context:
        return context.params


def read_document(path, kind):
    """What a command wrote with ``--json``: a document of this kind, as its schema has it."""
    document = json.loads(path.read_text())
    jsonschema.validate(document, schema_of(documents.DOCUMENTS[kind]))
    assert document["format"] == documents.DOCUMENTS[kind].FORMAT
    return document
