"""Files of NumPy arrays and JSON, without pickle. Graphs, networks and compiled models are stored in them.

A document is nested dictionaries with string keys, lists, tuples, numbers, strings, booleans, ``None`` and arrays. Its
arrays are stored beside a JSON text that refers to them, all in one ``.npz``, whose entries carry CRC-32 checks. A
tuple comes back as a list.
"""

from __future__ import annotations

import json
import os
import zipfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from sateen.arrays import read_arrays
from sateen.errors import CompileError
from sateen.files import atomic_write, read_bytes

__all__ = [
    "ArchiveError",
    "KindError",
    "VersionError",
    "flatten",
    "kind",
    "load",
    "restore",
    "save",
    "save_arrays",
    "tuples",
]

MAKE_AGAIN = "make it again from its source, then compile it again"
"""What to do about a graph or network of another version."""

_TEXT = "document"
_REFERENCE = "$array"


class ArchiveError(ValueError):
    """A file is damaged, or does not hold what it should."""


class KindError(ArchiveError):
    """A file of Sateen holds another kind of document."""


class VersionError(ArchiveError):
    """A file is of the right kind, but another version of Sateen wrote it."""


def flatten(document: Mapping[str, Any]) -> dict[str, NDArray[Any]]:
    """The document as arrays by name, ready for :func:`numpy.savez`: one holds the JSON text, which names the
    others."""
    arrays: dict[str, NDArray[Any]] = {}

    def refer(value: Any) -> dict[str, str]:
        if not isinstance(value, np.ndarray):
            raise TypeError(f"a document cannot hold a {type(value).__name__}")
        name = f"array{len(arrays)}"
        arrays[name] = value
        return {_REFERENCE: name}

    text = json.dumps(document, default=refer)
    return {_TEXT: np.array(text), **arrays}


def restore(arrays: Mapping[str, NDArray[Any]]) -> dict[str, Any]:
    """The inverse of :func:`flatten`; raises ``KeyError`` or ``ValueError`` if the arrays hold no document."""

    def resolve(value: dict[str, Any]) -> Any:
        return arrays[value[_REFERENCE]] if _REFERENCE in value else value

    document = json.loads(str(arrays[_TEXT]), object_hook=resolve)
    if not isinstance(document, dict):
        raise ValueError("the document is no dictionary")
    return document


def tuples(value: Any) -> Any:
    """A copy of a document in which every list is a tuple."""
    if isinstance(value, dict):
        return {key: tuples(item) for key, item in value.items()}
    return tuple(tuples(item) for item in value) if isinstance(value, list | tuple) else value


def save(path: str | os.PathLike[str], document: Mapping[str, Any], *, format: str) -> None:
    """Writes a document; ``format`` names its kind and version, as ``"sateen.graph/1"``."""
    with atomic_write(Path(path), "wb") as file:
        np.savez_compressed(file, **flatten({"format": format, **document}))  # type: ignore[arg-type]


def save_arrays(path: str | os.PathLike[str], arrays: Mapping[str, NDArray[Any]]) -> None:
    """Writes an ``.npz`` of arrays under any names, even those that :func:`numpy.savez` would take for its
    parameters."""
    with atomic_write(Path(path), "wb") as file, zipfile.ZipFile(file, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, array in arrays.items():
            with archive.open(f"{name}.npy", "w", force_zip64=True) as entry:
                np.lib.format.write_array(entry, array, allow_pickle=False)


def load(path: str | os.PathLike[str], *, format: str, remedy: str = "write it again") -> dict[str, Any]:
    """Reads a document that :func:`save` wrote.

    Parameters
    ----------
    format
        The one that the file must have.
    remedy
        What to do about a file of another version, as the end of the error's text.

    Raises
    ------
    OSError
        If the file cannot be read.
    VersionError
        If another version of Sateen wrote it.
    KindError
        If it holds another kind of document.
    ArchiveError
        If it is no archive, or is damaged.
    """
    try:
        document = restore(read_arrays(read_bytes(path)))
    except (ValueError, LookupError, TypeError, RecursionError) as error:
        raise ArchiveError(f"{path} is damaged or not a file of Sateen; write it again") from error
    found = document.pop("format", None)
    if found == format:
        return document
    if not isinstance(found, str):
        raise ArchiveError(f"{path} is damaged or not a file of Sateen; write it again")
    if _kind(found) == _kind(format):
        raise VersionError(f"{path} holds no {format} but {found}, of another version of Sateen; {remedy}")
    raise KindError(f"{path} holds a {_kind(found)} ({found}), not a {_kind(format)} ({format})")


def kind(path: str | os.PathLike[str]) -> str:
    """The kind of document that a file claims to hold, of any version, as ``"graph"``; empty if it is no archive of
    Sateen."""
    try:
        found = restore(read_arrays(read_bytes(path))).get("format")
    except (OSError, ValueError, LookupError, TypeError, RecursionError, CompileError):
        return ""
    return _kind(found) if isinstance(found, str) else ""


def _kind(format: str) -> str:
    """What a format stores, whatever its version and the project's name: ``graph`` of ``sateen.graph/1``."""
    return format.rpartition("/")[0].rpartition(".")[2]
