"""Weights of 4 bits, two in a byte: TensorFlow Lite's INT4, and ONNX's INT4 and UINT4."""

from __future__ import annotations

import numpy as np
import pytest

import needs
from interpreters import compare, litert, micro
from sateen.frontends import onnx as onnx_frontend
from sateen.frontends import tflite
from sateen.graph import GraphError, run
from tflite_models import ModelBuilder

WINDOW = {"StrideH": 1, "StrideW": 1, "DilationHFactor": 1, "DilationWFactor": 1, "Padding": 0}
LAYERS = {
    "CONV_2D": ((5, 3, 3, 3), (1, 4, 5, 3), (1, 4, 5, 5), "Conv2DOptions", WINDOW),
    "DEPTHWISE_CONV_2D": ((1, 3, 3, 5), (1, 4, 5, 5), (1, 4, 5, 5), "DepthwiseConv2DOptions", WINDOW),
    "FULLY_CONNECTED": ((5, 7), (1, 7), (1, 5), "FullyConnectedOptions", {}),
}
"""Shapes of weights, of which none has an even number of values, of input and output, and options."""


def layer(kind: str, *, several: bool, type: str = "INT4", data=None) -> tuple[bytes, np.ndarray]:
    """A file of a layer, and its input."""
    shape, given, out, options, fields = LAYERS[kind]
    b, rng = ModelBuilder(), np.random.default_rng(len(kind))
    axis = 3 if kind[0] == "D" else 0
    x = b.tensor(given, scale=0.07, zero_point=-9)
    scales = rng.uniform(0.02, 0.2, shape[axis]).tolist() if several else 0.05
    values = rng.integers(-8, 8, shape)
    w = b.tensor(shape, type, data=values if data is None else data, scale=scales, axis=axis)
    bias = b.constant(rng.integers(-300, 300, 5), scale=(0.07 * np.float32(scales)).tolist())
    y = b.tensor(out, scale=0.4, zero_point=11)
    fields = {**fields, "DepthMultiplier": 1} if kind[0] == "D" else fields
    b.op(kind, [x, w, bias], [y], options, version=3 if kind[0] == "D" else 7, **fields)
    return b.build([x], [y]), rng.integers(-128, 128, given).astype(np.int8)


@pytest.mark.parametrize("several", [True, False])
@pytest.mark.parametrize("kind", sorted(LAYERS))
def test_tflite(kind, several):
    data, x = layer(kind, several=several)
    # tflite-micro takes one scale for weights of 4 bits in fully connected layers.
    for interpreter in [litert] if several and kind == "FULLY_CONNECTED" else [micro, litert]:
        compare(data, [x], interpreter)


@pytest.mark.parametrize("type", ["INT2", "UINT4"])
def test_other_narrow_types_of_tflite(type, monkeypatch):
    """Types that the schema here lacks are named."""
    import tflite as schema

    monkeypatch.setattr(schema.TensorType, type, {"INT2": 19, "UINT4": 20}[type], raising=False)
    data, _ = layer("CONV_2D", several=False, type=type, data=np.zeros(9, np.int8))
    with pytest.raises(GraphError, match=f"its weights tensor 't1' are {type}, not INT8 or INT4"):
        tflite.load(data)


def test_too_few_bytes_of_tflite():
    data, _ = layer("CONV_2D", several=False, data=np.zeros((5, 3, 3, 2)))
    with pytest.raises(GraphError, match=r"tensor 't1': its .* bytes do not fill its shape \(5, 3, 3, 3\) of INT4"):
        tflite.load(data.replace(np.array([5, 3, 3, 2], "<i4").tobytes(), np.array([5, 3, 3, 3], "<i4").tobytes()))


def onnx_layer(kind: str, type: str, *, points: bool, activations: bool = False) -> tuple[bytes, np.ndarray]:
    """A file of a layer with weights of 4 bits, and its input; perhaps its result is of 4 bits, too."""
    onnx = needs.package("onnx", extra="onnx")
    make, number = onnx.helper, getattr(onnx.TensorProto, type)
    rng, low = np.random.default_rng(7), -8 if type == "INT4" else 0
    shape, given, out, axis = {
        "Conv": ((5, 3, 3, 3), (1, 3, 6, 5), (1, 5, 4, 3), 0),
        "MatMul": ((7, 5), (1, 7), (1, 5), 1),
        "Gemm": ((7, 5), (1, 7), (1, 5), 1),
    }[kind]
    codes = rng.integers(low, low + 16, shape)
    zero = rng.integers(low, low + 16, 5) if points else np.full(5, 0)
    constants = {
        "xs": np.float32(0.05), "xz": np.uint8(3), "ws": rng.uniform(0.01, 0.05, 5).astype(np.float32),
        "ys": np.float32(0.1), "yz": np.uint8(120),
    }  # fmt: skip
    tensors = [onnx.numpy_helper.from_array(np.asarray(value), name) for name, value in constants.items()]
    tensors += [make.make_tensor("w", number, shape, codes.reshape(-1)), make.make_tensor("wz", number, (5,), zero)]
    tensors += [make.make_tensor("nz", number, (), [0])]
    zero_point = "nz" if activations else "yz"
    nodes = [
        make.make_node("QuantizeLinear", ["x", "xs", "xz"], ["q"], "in"),
        make.make_node("DequantizeLinear", ["q", "xs", "xz"], ["d"]),
        make.make_node("DequantizeLinear", ["w", "ws", *(["wz"] if points else [])], ["wd"], axis=axis),
        make.make_node(kind, ["d", "wd"], ["c"]),
        make.make_node("QuantizeLinear", ["c", "ys", zero_point], ["cq"], "out"),
        make.make_node("DequantizeLinear", ["cq", "ys", zero_point], ["y"]),
    ]
    ends = [make.make_tensor_value_info(name, 1, size) for name, size in (("x", given), ("y", out))]
    graph = make.make_graph(nodes, "g", ends[:1], ends[1:], tensors)
    model = make.make_model(graph, opset_imports=[make.make_opsetid("", 21)], ir_version=10)
    return model.SerializeToString(), rng.uniform(0, 12, given).astype(np.float32)


@pytest.mark.parametrize("points", [True, False])
@pytest.mark.parametrize("type", ["INT4", "UINT4"])
@pytest.mark.parametrize("kind", ["Conv", "MatMul", "Gemm"])
def test_onnx(kind, type, points):
    runtime = needs.package("onnxruntime", extra="reference")
    data, x = onnx_layer(kind, type, points=points)
    graph = onnx_frontend.load(data)
    (expected,) = runtime.InferenceSession(data).run(None, {"x": x})
    given = graph.tensors[graph.inputs[0]].from_file(x)
    actual = run(graph, {graph.inputs[0]: given})[graph.outputs[0]]
    np.testing.assert_array_equal(graph.tensors[graph.outputs[0]].to_file(actual), expected)


@pytest.mark.parametrize("type", ["INT4", "UINT4"])
def test_onnx_activations_of_four_bits(type):
    """They would saturate at 4 bits."""
    data, _ = onnx_layer("Conv", type, points=False, activations=True)
    with pytest.raises(
        GraphError, match=f"'out' .*its codes are {type.lower()}, not int8 or uint8; quantize to 8 bits"
    ):
        onnx_frontend.load(data)
