"""What commands print goes through here: :data:`console`, for people, and :func:`write_document`, for programs.

Texts from outside, such as names of files, layers and tensors, are printed as they are: brackets are no markup, colons
no pictures, and control characters cannot reach the terminal.
"""

from __future__ import annotations

import json
import os
import sys
from dataclasses import asdict
from pathlib import Path
from typing import Annotated, Any, ClassVar, Protocol

import typer
from rich.console import Console

from sateen.files import atomic_write

__all__ = ["Document", "JsonFile", "console", "printable", "warned", "width", "write_document", "write_json"]

STANDARD_OUTPUT = "-"
CONTROL = {code: f"\\x{code:02x}" for code in (*range(0x20), *range(0x7F, 0xA0)) if chr(code) != "\n"}


def printable(text: str) -> str:
    """A text whose control characters, line feeds aside, are written as ``\\x1b``."""
    return text.translate(CONTROL)


class Printer(Console):
    """Rich's console, for texts from outside."""

    def print(self, *objects: Any, **options: Any) -> None:
        super().print(*(printable(each) if isinstance(each, str) else each for each in objects), **options)


console = Printer(highlight=False, markup=False, emoji=False, soft_wrap=True)
"""Prints texts as they are; the terminal folds long lines, and programs see whole ones."""


warned: list[str] = []
"""Warnings of this command, in one line each; each is there once, though compiling and loading a model may both give
it."""


def width() -> int | None:
    """Columns that tables may take; ``None`` without a terminal, unless COLUMNS is set."""
    return console.width if console.is_terminal or os.environ.get("COLUMNS", "").isdigit() else None


class Document(Protocol):
    """A dataclass that a command writes as JSON."""

    FORMAT: ClassVar[str]
    """Kind and version, as ``"sateen.boards/1"``; it is the document's field ``format``."""


def _silence(context: typer.Context, path: Path | None) -> Path | None:
    """A document on standard output is alone there, until its command ends."""
    if str(path) == STANDARD_OUTPUT:
        console.quiet = True
        context.call_on_close(_speak)
    return path


def _speak() -> None:
    console.quiet = False


JsonFile = Annotated[
    Path | None,
    typer.Option(
        "--json", metavar="FILE", callback=_silence, help="Write the result as JSON; - is the standard output."
    ),
]
"""The option of every command that writes a document. With ``-``, the console is silent."""


def write_document(path: Path | None, document: Any) -> None:
    """Writes a :class:`Document` to a file, to the standard output for ``-``, or not at all for ``None``."""
    if path is not None:
        write_json(path, {"format": document.FORMAT, **asdict(document)})


def write_json(path: Path, document: dict[str, Any]) -> None:
    """Writes JSON to a file, or to the standard output for ``-``."""
    if str(path) == STANDARD_OUTPUT:
        sys.stdout.write(json.dumps(document, indent=2) + "\n")
        return
    with atomic_write(path) as file:
        json.dump(document, file, indent=2)
        file.write("\n")
