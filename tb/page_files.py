"""The files that readers of the documentation bring: small models, inputs and labels."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np

import needs
from recurrent_models import variable_model
from tflite_models import small_tflite_model

__all__ = ["FILES"]


def _tflite(path: Path) -> None:
    path.write_bytes(small_tflite_model())


def _inputs(path: Path) -> None:
    np.save(path, np.random.default_rng(1).integers(-128, 128, (2, 5, 5, 3)).astype(np.int8))


def _onnx(path: Path) -> None:
    """A float network of a convolution and a layer of ten classes."""
    onnx = needs.package("onnx", extra="onnx")
    rng = np.random.default_rng(1)
    constants = {
        "w1": rng.normal(0, 0.3, (8, 1, 3, 3)), "b1": rng.normal(0, 0.1, 8),
        "w2": rng.normal(0, 0.1, (10, 8 * 6 * 6)), "b2": rng.normal(0, 0.1, 10),
    }  # fmt: skip
    make = onnx.helper.make_node
    nodes = [
        make("Conv", ["x", "w1", "b1"], ["c"], name="conv"), make("Relu", ["c"], ["r"], name="relu"),
        make("Flatten", ["r"], ["f"], name="flatten"), make("Gemm", ["f", "w2", "b2"], ["y"], name="fc", transB=1),
    ]  # fmt: skip
    real = onnx.TensorProto.FLOAT
    ends = [onnx.helper.make_tensor_value_info(*end) for end in (("x", real, ["N", 1, 8, 8]), ("y", real, ["N", 10]))]
    values = [onnx.numpy_helper.from_array(value.astype(np.float32), name) for name, value in constants.items()]
    graph = onnx.helper.make_graph(nodes, "net", ends[:1], ends[1:], values)
    onnx.save(onnx.helper.make_model(graph, opset_imports=[onnx.helper.make_opsetid("", 17)], ir_version=9), path)


def _calibration(path: Path) -> None:
    np.save(path, np.random.default_rng(2).random((16, 1, 8, 8)).astype(np.float32))


def _labels(path: Path) -> None:
    np.save(path, np.random.default_rng(3).integers(0, 10, 16))


def _stream(path: Path) -> None:
    """A model that keeps its last frames in a variable."""
    builder, inputs, outputs, _ = variable_model()
    path.write_bytes(builder.build(inputs, outputs))


def _frames(path: Path) -> None:
    np.save(path, np.random.default_rng(4).integers(-128, 128, (30, 1, 1, 5)).astype(np.int8))


FILES: dict[str, Callable[[Path], None]] = {
    "net.tflite": _tflite,
    "net.npy": _inputs,
    "net.onnx": _onnx,
    "calibration.npy": _calibration,
    "labels.npy": _labels,
    "wake.tflite": _stream,
    "frames.npy": _frames,
}
"""By name, what writes the file that a page means."""
