"""NumPy's files, ``.npy`` and ``.npz``, from anybody: no pickle, and nothing is unpacked or allocated before its size
is known to be sound."""

from __future__ import annotations

import io
import math
import warnings
import zipfile
import zlib
from typing import Any

import numpy as np
from numpy.typing import NDArray

__all__ = ["LARGEST", "read_array", "read_arrays"]

LARGEST = 1 << 29
"""Bytes that a file may unpack to, in all."""
MOST_ENTRIES = 1 << 16
ZIP = b"PK"


def read_arrays(data: bytes) -> dict[str, NDArray[Any]]:
    """The arrays of an ``.npz``, by name.

    Raises
    ------
    ValueError
        If it is damaged, holds anything but arrays of numbers and texts, or unpacks to more than :data:`LARGEST`.
    """
    try:
        with zipfile.ZipFile(io.BytesIO(data)) as archive:
            entries = archive.infolist()
            size = sum(entry.file_size for entry in entries)
            if size > LARGEST or len(entries) > MOST_ENTRIES:
                raise ValueError(f"it unpacks to {size:,} bytes in {len(entries):,} parts, too many")
            names = [entry.filename for entry in entries]
            if len(set(names)) < len(names) or not all(name.endswith(".npy") for name in names):
                raise ValueError("it holds other things than arrays, or two of one name")
            # Reading an entry to its end compares its checksum.
            return {entry.filename.removesuffix(".npy"): read_array(archive.read(entry)) for entry in entries}
    except (zipfile.BadZipFile, EOFError, OSError, RuntimeError, NotImplementedError, zlib.error) as error:
        raise ValueError(f"it is damaged ({error})") from error


def read_array(data: bytes) -> NDArray[Any]:
    """The array of an ``.npy``.

    Raises
    ------
    ValueError
        If it is damaged, or holds anything but numbers or texts.
    """
    stream = io.BytesIO(data)
    version = np.lib.format.read_magic(stream)
    header = {(1, 0): np.lib.format.read_array_header_1_0, (2, 0): np.lib.format.read_array_header_2_0}.get(version)
    if header is None:
        raise ValueError(f"its format {version} is not known")
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            shape, fortran, dtype = header(stream)
    except Exception as error:  # NumPy evaluates the header's text.
        raise ValueError(f"its header is damaged ({' '.join(str(error).split())})") from error
    # Of nothing there may be any number: texts without letters, or `True` as a size.
    if dtype.kind not in "biufUS" or not dtype.itemsize or any(type(size) is not int or size < 0 for size in shape):
        raise ValueError(f"it holds {dtype} of shape {shape}, and not numbers")
    content = data[stream.tell() :]
    if math.prod(shape) * dtype.itemsize != len(content):
        raise ValueError(f"its {len(content):,} bytes are not those of {dtype} of shape {shape}")
    values = np.frombuffer(content, dtype) if len(content) else np.zeros(math.prod(shape), dtype)
    return values.reshape(shape, order="F" if fortran else "C").copy()
