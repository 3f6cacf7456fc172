"""Reading files, and writing them without losing the old ones."""

from __future__ import annotations

import os
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from sateen.errors import SateenError

__all__ = ["atomic_write", "read_source"]


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
    return path.read_bytes(), name or path.stem


@contextmanager
def atomic_write(path: Path, mode: str = "w") -> Iterator[Any]:
    """Opens a file to write; it replaces ``path`` only once it is complete."""
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
    except BaseException:
        Path(name).unlink(missing_ok=True)
        raise
