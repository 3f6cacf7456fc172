"""Reading files, and writing them without losing the old ones."""

from __future__ import annotations

import os
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from sateen.errors import CompileError, SateenError

__all__ = ["LARGEST", "atomic_write", "read_bytes", "read_source"]

LARGEST = 1 << 30
"""Bytes of the largest file that is read."""


def read_bytes(path: str | os.PathLike[str]) -> bytes:
    """A file's bytes.

    Raises
    ------
    OSError
        If the file cannot be read.
    CompileError
        If it is larger than :data:`LARGEST`.
    """
    with open(path, "rb") as file:
        # Pipes and devices have no size.
        size = os.fstat(file.fileno()).st_size
        data = file.read(LARGEST + 1) if size <= LARGEST else b""
    if max(size, len(data)) > LARGEST:
        raise CompileError(f"{path} has more than {LARGEST:,} bytes; no device holds such a model")
    return data


def read_source(source: bytes | str | os.PathLike[str], name: str = "") -> tuple[bytes, str]:
    """A file's bytes, given as they are or by the file's path, and ``name``, or else the file's name without suffix.

    Raises
    ------
    OSError
        If the file cannot be read.
    """
    if isinstance(source, bytes):
        return source, name
    path = Path(source)
    return read_bytes(path), name or path.stem


@contextmanager
def atomic_write(path: Path, mode: str = "w") -> Iterator[Any]:
    """Opens a file to write. It replaces a regular file only once it is complete; links stay, and what is no regular
    file, such as a pipe or ``/dev/null``, is written to.

    Raises
    ------
    SateenError
        If it cannot be written.
    """
    if path.exists() and not path.is_file():
        try:
            with open(path, mode) as file:
                yield file
        except OSError as error:
            raise SateenError(f"cannot write {path}: {error.strerror or error}") from error
        return
    path = Path(os.path.realpath(path))
    try:
        handle, name = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name}.")
    except OSError as error:
        raise SateenError(f"cannot write {path}: {error.strerror or error}") from error
    try:
        with os.fdopen(handle, mode) as file:
            yield file
        umask = os.umask(0)
        os.umask(umask)
        os.chmod(name, 0o666 & ~umask)
        os.replace(name, path)
    except BaseException as error:
        Path(name).unlink(missing_ok=True)
        if isinstance(error, OSError):
            raise SateenError(f"cannot write {path}: {error.strerror or error}") from error
        raise
