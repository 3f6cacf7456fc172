"""Loads model files: the front end that recognizes a file reads it."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from importlib import import_module
from pathlib import Path
from typing import Any

from sateen import archive
from sateen.archive import ArchiveError, KindError
from sateen.errors import CompileError
from sateen.graph import Graph, GraphError, Network
from sateen.kinds import MODELS, describe

__all__ = ["FRONT_ENDS", "FrontEnd", "errors_name", "load"]


@dataclass(frozen=True)
class FrontEnd:
    """A kind of file and its reader, which is imported when it is first asked: most commands read none."""

    room: str
    """The module, which has ``recognizes``."""
    loader: str = "load"
    """Its function that reads a file by its path."""

    def recognizes(self, head: bytes, suffix: str) -> bool:
        """Whether a file is of this kind, by its first eight bytes and the suffix of its name."""
        return self._module().recognizes(head, suffix)

    def load(self, path: str | os.PathLike[str]) -> Graph:
        """The graph of a file."""
        return getattr(self._module(), self.loader)(path)

    def _module(self) -> Any:
        return import_module(self.room)


FRONT_ENDS = (
    FrontEnd("sateen.frontends.tflite"),
    FrontEnd("sateen.frontends.onnx"),
    FrontEnd("sateen.frontends.torch", "load_file"),
)
"""All front ends, in the order in which they are asked. A file that none recognizes should be Sateen's own."""


@contextmanager
def errors_name(path: str | os.PathLike[str]) -> Iterator[None]:
    """Adds the file's name to errors."""
    try:
        yield
    except OSError as error:
        raise CompileError(f"cannot read {path}: {error.strerror or error}") from error
    except GraphError as error:
        raise GraphError(f"{path}: {str(error).removeprefix('file: ')}") from error


def load(path: str | os.PathLike[str]) -> Graph | Network:
    """A quantized graph or a float network from Sateen's own file, or a graph from a file of a front end.

    Raises
    ------
    CompileError
        If the file cannot be read, is damaged, or is of no known kind.
    GraphError
        If a model's file is damaged, not quantized, or has an operator that is not supported. It names the file.
    """
    with errors_name(path):
        if os.path.isdir(path):
            raise CompileError(f"{path} is {describe(path)}; give {MODELS}")
        with open(path, "rb") as file:
            head = file.read(8)
        for front_end in FRONT_ENDS:
            if front_end.recognizes(head, Path(path).suffix):
                return front_end.load(path)
        return _load_own(path)


def _load_own(path: str | os.PathLike[str]) -> Graph | Network:
    errors: list[ArchiveError] = []
    for kind in (Graph, Network):
        try:
            return kind.load(path)
        except ArchiveError as error:
            errors.append(error)
    if all(isinstance(error, KindError) for error in errors):
        raise CompileError(f"{errors[0]}; give the graph or model file that it was made from")
    if not archive.kind(path):
        raise CompileError(f"{path} is {describe(path)}; give {MODELS}")
    # The kind that the file claims to hold knows what is wrong with it.
    raise CompileError(str(next(error for error in errors if not isinstance(error, KindError))))
