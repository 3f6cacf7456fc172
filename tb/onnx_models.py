"""Small quantized ONNX models, and their comparison with onnxruntime."""

from __future__ import annotations

import numpy as np

import needs
from sateen.frontends import onnx as frontend
from sateen.graph import run

onnx = needs.package("onnx", extra="onnx")
onnxruntime = needs.package("onnxruntime", extra="reference")
helper = onnx.helper

__all__ = ["MICROSOFT", "codes", "compare", "compare_all", "model", "numbers", "quantized", "reference", "weights"]

MICROSOFT = "com.microsoft"


def model(nodes, inputs, output, constants, opset=13) -> bytes:
    """A file: inputs and output as (name, type, shape), constants by name."""
    kinds = {"f": onnx.TensorProto.FLOAT, "i": onnx.TensorProto.INT8, "u": onnx.TensorProto.UINT8}
    values = [helper.make_tensor_value_info(name, kinds[kind], shape) for name, kind, shape in (*inputs, output)]
    initializers = [onnx.numpy_helper.from_array(np.asarray(value), name) for name, value in constants.items()]
    graph = helper.make_graph(nodes, "g", values[:-1], values[-1:], initializers)
    opsets = [helper.make_opsetid("", opset), helper.make_opsetid(MICROSOFT, 1)]
    return helper.make_model(graph, opset_imports=opsets, ir_version=10 if opset > 13 else 8).SerializeToString()


def reference(data: bytes, inputs: dict[str, np.ndarray], *, plain: bool = False) -> list[np.ndarray]:
    """onnxruntime's results; ``plain``: by the operators as the file has them, without its optimizations."""
    options = onnxruntime.SessionOptions()
    options.log_severity_level = 3
    if plain:
        options.graph_optimization_level = onnxruntime.GraphOptimizationLevel.ORT_DISABLE_ALL
    return onnxruntime.InferenceSession(data, options, providers=["CPUExecutionProvider"]).run(None, inputs)


def compare(data: bytes, inputs: dict[str, np.ndarray], most: int = 0, *, plain: bool = False) -> None:
    """Asserts that the graph of a file gives onnxruntime's results (:func:`reference`); ``most`` integers may differ,
    by one."""
    graph = frontend.load(data)
    given = {name: graph.tensors[name].from_file(value) for name, value in inputs.items()}
    actual = graph.tensors[graph.outputs[0]].to_file(run(graph, given)[graph.outputs[0]])
    expected = reference(data, inputs, plain=plain)[0]
    assert actual.dtype == expected.dtype and actual.shape == expected.shape
    difference = np.abs(actual.astype(np.int64) - expected.astype(np.int64))
    assert (difference > 0).sum() <= most and difference.max() <= 1, (
        f"{(difference > 0).sum()} of {difference.size} differ"
    )


def numbers(name, scale, zero_point, kind):
    """Constants for a tensor's scale and zero point."""
    return {
        f"{name}_s": np.float32(scale),
        f"{name}_z": np.uint8(zero_point + 128) if kind == "u" else np.int8(zero_point),
    }


def codes(values, kind):
    return np.asarray(values).astype(np.uint8) if kind == "u" else (np.asarray(values) - 128).astype(np.int8)


def quantized(name, kind="i"):
    """Nodes that quantize a real tensor and dequantize it again."""
    numbers = [f"{name}_s", f"{name}_z"]
    return [
        helper.make_node("QuantizeLinear", [name, *numbers], [f"{name}_q"]),
        helper.make_node("DequantizeLinear", [f"{name}_q", *numbers], [f"{name}_d"]),
    ]


def compare_all(nodes, inputs, outputs, constants, *, plain=False) -> None:
    """Compares every output of a QDQ model, with onnxruntime's ``plain`` float operators if asked for. Outputs are
    (name, shape) of its last real tensors."""
    given = [helper.make_tensor_value_info(name, onnx.TensorProto.FLOAT, shape) for name, shape in inputs]
    made = [helper.make_tensor_value_info(f"{name}_d", onnx.TensorProto.FLOAT, shape) for name, shape in outputs]
    initializers = [onnx.numpy_helper.from_array(np.asarray(value), name) for name, value in constants.items()]
    graph = helper.make_graph(nodes, "g", given, made, initializers)
    data = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 13)], ir_version=8).SerializeToString()
    rng = np.random.default_rng(5)
    x = {name: rng.normal(size=shape).astype(np.float32) * 2 for name, shape in inputs}
    graph = frontend.load(data)
    results = run(graph, {name: graph.tensors[name].from_file(values) for name, values in x.items()})
    expected = reference(data, x, plain=plain)
    for name, values in zip(graph.outputs, expected, strict=True):
        np.testing.assert_array_equal(graph.tensors[name].to_file(results[name]), values, err_msg=name)


def weights(rng, name, *shape, scale=0.0113):
    """A weight's constants, and the node that dequantizes them."""
    codes = rng.integers(-127, 128, shape).astype(np.int8)
    constants = {name: codes, f"{name}_s": np.float32(scale), f"{name}_z": np.int8(0)}
    return constants, helper.make_node("DequantizeLinear", [name, f"{name}_s", f"{name}_z"], [f"{name}_d"])
