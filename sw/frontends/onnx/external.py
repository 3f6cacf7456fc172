"""Values of tensors that stand in files beside the model's, as large models have them.

ONNX calls them external data: a tensor names a file, in the model's folder or below, and where in it its bytes begin.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from sateen.graph import GraphError, require

__all__ = ["embed"]

LARGEST = 1 << 30
"""Bytes of all values in other files."""
AGAIN = "copy both files of the model, or export it anew"


def embed(onnx: Any, model: Any, folder: Path | None) -> None:
    """Moves values from other files into a ModelProto.

    Parameters
    ----------
    folder
        The model's; ``None`` if it was given as bytes.

    Raises
    ------
    GraphError
        If a file is missing, too short, damaged, or outside the folder. It names the tensor and the file.
    """
    total, checked = 0, set[Path]()
    for tensor in _tensors(onnx, model.graph):
        if tensor.data_location != onnx.TensorProto.EXTERNAL:
            continue
        who = f"tensor {tensor.name!r}"
        require(folder is not None, who, "its values are in another file; give the model by its path, or as one file")
        assert folder is not None
        entries = {entry.key: entry.value for entry in tensor.external_data}
        path = _path(who, folder, entries.get("location", ""))
        if "checksum" in entries and path not in checked:
            size = path.stat().st_size
            large = f"its file {entries['location']!r} has more than {LARGEST:,} bytes; no device holds such a model"
            require(size <= LARGEST, who, large)
            with path.open("rb") as file:
                good = hashlib.file_digest(file, "sha1").hexdigest() == entries["checksum"].lower()
            require(good, who, f"the check sum of its file {entries['location']!r} is wrong; {AGAIN}")
            checked.add(path)
        data = _bytes(who, path, entries, LARGEST - total)
        total += len(data)
        tensor.raw_data = data
        tensor.data_location = onnx.TensorProto.DEFAULT
        del tensor.external_data[:]


def _tensors(onnx: Any, graph: Any) -> Iterator[Any]:
    """All constants of a graph, those in attributes of operators included."""
    yield from graph.initializer
    for node in graph.node:
        for attribute in node.attribute:
            if attribute.type == onnx.AttributeProto.TENSOR:
                yield attribute.t
            yield from attribute.tensors


def _path(who: str, folder: Path, location: str) -> Path:
    """The file of a location, which must lie in the folder."""
    require(bool(location) and location.isprintable(), who, "it names no file for its values; export the model anew")
    base = folder.resolve()
    path = (base / location).resolve()
    require(
        path.is_relative_to(base),
        who,
        f"its file {location!r} lies outside the model's folder; keep both files in one folder",
    )
    require(path.is_file(), who, f"its file {location!r} is missing beside the model; {AGAIN}")
    return path


def _bytes(who: str, path: Path, entries: dict[str, str], most: int) -> bytes:
    """The tensor's part of a file."""
    size = path.stat().st_size
    try:
        offset = int(entries.get("offset", 0))
        length = int(entries["length"]) if "length" in entries else size - offset
    except ValueError:
        raise GraphError(f"{who}: its offset or length in {path.name!r} is no number; export the model anew") from None
    good = offset >= 0 and length >= 0 and offset + length <= size
    require(good, who, f"its file {path.name!r} of {size:,} bytes ends before its values do; {AGAIN}")
    require(length <= most, who, f"the model's values take more than {LARGEST:,} bytes; no device holds such a model")
    with path.open("rb") as file:
        file.seek(offset)
        return file.read(length)
