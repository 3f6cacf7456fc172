"""What a file is, in words: for errors about a file of another kind than a command takes."""

from __future__ import annotations

import os
import zipfile
from pathlib import Path

from sateen import archive

__all__ = ["MODELS", "describe", "is_model"]

MODELS = "a quantized model (.tflite, .onnx, .pt2), a graph, or a float model with calibration data (.onnx, .pt2, .npz)"
"""What a model's file may be."""

_MAGIC = (
    (b"\x93NUMPY", "a NumPy array, which may be an input but is no model"),
    (b"\x89PNG", "a picture, which may be an input but is no model"),
    (b"\xff\xd8\xff", "a picture, which may be an input but is no model"),
    (b"RIFF", "audio or a picture, which may be an input but is no model"),
    (b"GGUF", "a language model (GGUF), which sateen tell reads"),
    (b"\x89HDF", "an HDF5 file, as Keras writes; convert it to TensorFlow Lite with int8 quantization"),
    (b"%PDF", "a PDF document"),
    (b"\x7fELF", "a program"),
    (b"\x1f\x8b", "compressed (gzip); unpack it"),
)
_ZIP = b"PK\x03\x04"
_TFLITE = slice(4, 8), b"TFL3"
_PARTS = {"model": "a compiled model", "graph": "a graph", "network": "a float network"}


def describe(path: str | os.PathLike[str]) -> str:
    """What the file at a path is, as the end of ``NAME is``. The file can be read, or is a folder."""
    path = Path(path)
    if path.is_dir():
        if (path / "saved_model.pb").exists():
            return "a TensorFlow SavedModel; convert it to TensorFlow Lite with int8 quantization"
        return "a folder"
    with open(path, "rb") as file:
        head = file.read(4096)
    if not head:
        return "empty"
    for magic, text in _MAGIC:
        if head.startswith(magic):
            return text
    if head[_TFLITE[0]] == _TFLITE[1]:
        return "a TensorFlow Lite model"
    if head.startswith(_ZIP):
        return _describe_zip(path)
    if head.lstrip().startswith(b"{") and b'"sateen.' in head:
        return "a record that a command of Sateen wrote with --json"
    try:
        head[:-3].decode() if len(head) == 4096 else head.decode()
    except UnicodeDecodeError:
        return "of no known kind"
    return "a text" if b"\0" not in head else "of no known kind"


def is_model(path: str | os.PathLike[str]) -> bool:
    """Whether a file holds a compiled model of any version, as far as its contents tell."""
    return archive.kind(path) == "model"


def _describe_zip(path: Path) -> str:
    if (kind := archive.kind(path)) in _PARTS:
        return _PARTS[kind]
    try:
        with zipfile.ZipFile(path) as opened:
            names = opened.namelist()
    except (OSError, ValueError, zipfile.BadZipFile):
        return "damaged: it begins as an archive, and its end is missing; copy or write it again"
    if any(name.endswith("data.pkl") for name in names):
        return "a file of PyTorch; load it in Python and give the module to sateen.compile"
    if "document.npy" in names:
        return "a damaged file of Sateen; write it again"
    if names and all(name.endswith(".npy") for name in names):
        return "NumPy arrays, which may be inputs but are no model"
    return "an archive (zip); unpack it"
