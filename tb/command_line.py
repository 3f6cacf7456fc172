"""Calls the command line in another process, for tests."""

import json
import os
import subprocess
import sys

import jsonschema

from sateen.cli import documents
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
