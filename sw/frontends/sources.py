"""What can be compiled, by what its file holds."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from sateen.archive import ArchiveError, KindError
from sateen.errors import CompileError
from sateen.frontends import onnx, tflite
from sateen.graph import Graph, GraphError, Network

__all__ = ["FRONT_ENDS", "FrontEnd", "errors_name", "load"]

LARGEST = 1 << 30
"""Bytes of a file."""
ZIP = b"PK"
"""What an archive of Sateen's own begins with, whatever its name."""


@dataclass(frozen=True)
class FrontEnd:
    """One kind of file."""

    recognizes: Callable[[bytes, str], bool]
    """Called with the first eight bytes and the suffix of the name."""
    load: Callable[[str | os.PathLike[str]], Graph]


FRONT_ENDS = (
    FrontEnd(lambda head, suffix: tflite.is_tflite(head) or suffix == ".tflite", tflite.load),
    FrontEnd(lambda head, suffix: suffix == ".onnx" and not head.startswith(ZIP), onnx.load),
)
"""Every front end, in the order in which they are asked. A file that none recognizes is Sateen's own, or none."""


@contextmanager
def errors_name(path: str | os.PathLike[str]) -> Iterator[None]:
    """Errors name the file."""
    try:
        yield
    except OSError as error:
        raise CompileError(f"cannot read {path}: {error.strerror or error}") from error
    except GraphError as error:
        raise GraphError(f"{path}: {str(error).removeprefix('file: ')}") from error


def load(path: str | os.PathLike[str]) -> Graph | Network:
    """A quantized graph or a float network from a file of Sateen's, or a graph from one of TensorFlow Lite's or an ONNX
    one.

    Raises
    ------
    CompileError
        If the file cannot be read, is damaged, or is none of these.
    GraphError
        If a model's file is damaged, not quantized, or has an operator that is not known here; it names the file, too.
    """
    with errors_name(path):
        size = os.path.getsize(path)
        with open(path, "rb") as file:
            head = file.read(8)
        if size > LARGEST:
            raise CompileError(f"{path} has {size:,} bytes, more than {LARGEST:,}; no device holds such a model")
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
    # The kind that the file claims to hold knows what is wrong with it.
    raise CompileError(str(next(error for error in errors if not isinstance(error, KindError))))
