"""Real numbers before and behind a quantized TensorFlow Lite model: computed on the host, as the interpreter does."""

from __future__ import annotations

import re

import numpy as np
import pytest

import sateen
from interpreters import litert, micro
from sateen.frontends import tflite
from sateen.frontends.tflite.real import BINARY, REAL, REDUCTIONS, UNARY
from sateen.frontends.tflite.real_layers import REAL_LAYERS
from sateen.graph import GraphError, run
from sateen.graph.ops import Real
from tflite_models import ModelBuilder

EXACT = ["ABS", "ADD", "CEIL", "DIV", "FLOOR", "LEAKY_RELU", "MAXIMUM", "MINIMUM", "MUL", "NEG", "PRELU", "RELU"] + [
    "RELU6", "RELU_0_TO_1", "RELU_N1_TO_1", "REDUCE_MAX", "REDUCE_MIN", "ROUND", "SIGN", "SQRT", "SQUARE",
    "SQUARED_DIFFERENCE", "SUB", "ARG_MAX", "ARG_MIN", "TOPK_V2",
]  # fmt: skip
"""Operators whose results are rounded once, or only chosen. Those of the others are approximated by interpreters."""


class Tail:
    """A file of a quantized convolution or none, DEQUANTIZE, and operators on real numbers."""

    def __init__(self, shape=(1, 3, 4, 5)):
        self.b, self.shape = ModelBuilder(), shape
        self.x = self.b.tensor(shape, scale=0.05, zero_point=3)
        self.real = self.b.tensor(shape, "FLOAT32")
        self.b.op("DEQUANTIZE", [self.x], [self.real])

    def constant(self, values) -> int:
        return self.b.constant(np.asarray(values, np.float32), "FLOAT32")

    def data(self, kind, out, inputs=None, options="", outputs=1, type="FLOAT32", **fields) -> bytes:
        """The file with an operator of which the first output is the model's."""
        results = [self.b.tensor(out, type), *(self.b.tensor(out, "INT32") for _ in range(outputs - 1))]
        self.b.op(kind, [self.real] if inputs is None else inputs, results, options, **fields)
        return self.b.build([self.x], results[:1])


def check(kind: str, data: bytes, interpreters, seed=0) -> None:
    graph, rng = tflite.load(data), np.random.default_rng(seed)
    (name,) = graph.inputs
    x = graph.tensors[name]
    given = rng.integers(-128, 128, x.shape).astype(np.int8)
    y = graph.outputs[0]
    actual = run(graph, {name: given})[y]
    for interpreter in interpreters:
        expected = interpreter(data, [x.to_file(given)])
        assert actual.dtype == expected.dtype
        got = actual.reshape(expected.shape)
        if kind in EXACT:
            np.testing.assert_array_equal(got, expected)
        else:
            np.testing.assert_allclose(got, expected, rtol=2e-5, atol=2e-6)


@pytest.mark.parametrize("kind", sorted(UNARY))
def test_functions(kind):
    interpreters = [
        *([] if kind in ("RELU_0_TO_1", "RELU_N1_TO_1", "SIGN") else [micro]),
        *([] if kind in ("CEIL", "ELU", "ROUND") else [litert]),
    ]
    check(kind, Tail().data(kind, (1, 3, 4, 5)), interpreters)


@pytest.mark.parametrize(
    ("kind", "options", "fields"),
    [
        ("LEAKY_RELU", "LeakyReluOptions", {"Alpha": 0.3}),
        ("GELU", "GeluOptions", {}),
        ("GELU", "GeluOptions", {"Approximate": True}),
        ("SOFTMAX", "SoftmaxOptions", {"Beta": 0.7}),
        ("LOG_SOFTMAX", "", {}),
    ],
)
def test_functions_with_options(kind, options, fields):
    check(kind, Tail().data(kind, (1, 3, 4, 5), options=options, **fields), [litert])


@pytest.mark.parametrize("kind", sorted(BINARY))
@pytest.mark.parametrize("shape", [(), (5,), (1, 3, 4, 5), (1, 1, 4, 1)])
@pytest.mark.parametrize("activation", [0, 1, 2, 3])
def test_functions_of_two(kind, shape, activation):
    _, table = BINARY[kind]
    if table is None and activation:
        return
    tail = Tail()
    other = tail.constant(np.random.default_rng(1).uniform(0.1, 3, shape))
    fields = {"FusedActivationFunction": activation} if table else {}
    options = table.__name__ if table else ""
    data = tail.data(kind, (1, 3, 4, 5), [tail.real, other], options, **fields)
    # The reference's activation RELU_N1_TO_1 and powers of numbers below 0 are as here; tflite-micro lacks POW.
    check(kind, data, [litert])


@pytest.mark.parametrize("kind", sorted(REDUCTIONS))
@pytest.mark.parametrize(
    ("axes", "keep", "out"), [([1, 2], True, (1, 1, 1, 5)), ([-1], False, (1, 3, 4)), ([0, 3], False, (3, 4))]
)
def test_reductions(kind, axes, keep, out):
    tail = Tail()
    data = tail.data(kind, out, [tail.real, tail.b.constant(axes)], "ReducerOptions", KeepDims=keep)
    check(kind, data, [litert])


@pytest.mark.parametrize(("kind", "options"), [("ARG_MAX", "ArgMaxOptions"), ("ARG_MIN", "ArgMinOptions")])
@pytest.mark.parametrize(("axis", "out"), [(3, (1, 3, 4)), (1, (1, 4, 5)), (0, (3, 4, 5))])
def test_positions(kind, options, axis, out):
    tail = Tail()
    data = tail.data(kind, out, [tail.real, tail.b.constant([axis])], options, type="INT32", OutputType=2)
    check(kind, data, [litert])


def test_the_largest():
    tail = Tail((1, 9))
    check("TOPK_V2", tail.data("TOPK_V2", (1, 4), [tail.real, tail.b.constant(4)], outputs=2), [litert])


WINDOW = {"StrideH": 2, "StrideW": 1}
POOLED = {**WINDOW, "FilterHeight": 3, "FilterWidth": 2}
DILATED = {**WINDOW, "DilationHFactor": 1, "DilationWFactor": 2}


def partly(kind, shape, out, weights, options, activation=0, bias=True, **fields) -> bytes:
    """A file of a quantized ReLU, a layer of real weights, which a tool has left out, and its quantized result."""
    b, rng = ModelBuilder(), np.random.default_rng(2)
    x, codes = b.tensor(shape, scale=0.05, zero_point=3), b.tensor(shape, scale=0.05, zero_point=3)
    real, made = b.tensor(shape, "FLOAT32"), b.tensor(out, "FLOAT32")
    b.op("RELU", [x], [codes])
    b.op("DEQUANTIZE", [codes], [real])
    places = [real]
    if weights:
        places.append(b.constant(rng.normal(size=weights), "FLOAT32"))
        outputs = weights[3] if kind[0] == "D" else weights[0]
        places += [b.constant(rng.normal(size=outputs), "FLOAT32")] * bias
    b.op(kind, places, [made], options, **fields, **({"FusedActivationFunction": activation} if activation else {}))
    return b.build([x], [made])


@pytest.mark.parametrize("activation", [0, 1, 3])
@pytest.mark.parametrize(
    ("kind", "shape", "out", "weights", "options", "fields"),
    [
        ("CONV_2D", (1, 6, 5, 4), (1, 3, 5, 3), (3, 3, 3, 4), "Conv2DOptions", DILATED),
        ("CONV_2D", (1, 6, 5, 4), (1, 3, 5, 6), (6, 3, 3, 2), "Conv2DOptions", DILATED),
        ("DEPTHWISE_CONV_2D", (1, 6, 5, 4), (1, 3, 5, 8), (1, 3, 3, 8), "DepthwiseConv2DOptions",
         {**DILATED, "DepthMultiplier": 2}),
        ("FULLY_CONNECTED", (1, 6, 5), (6, 7), (7, 5), "FullyConnectedOptions", {}),
        ("FULLY_CONNECTED", (1, 6, 5), (1, 6, 7), (7, 5), "FullyConnectedOptions", {"KeepNumDims": True}),
        ("FULLY_CONNECTED", (1, 6, 5), (1, 7), (7, 30), "FullyConnectedOptions", {}),
        ("AVERAGE_POOL_2D", (1, 6, 5, 4), (1, 3, 5, 4), (), "Pool2DOptions", POOLED),
        ("MAX_POOL_2D", (1, 6, 5, 4), (1, 3, 5, 4), (), "Pool2DOptions", POOLED),
    ],
)  # fmt: skip
def test_layers_that_are_left_out(kind, shape, out, weights, options, fields, activation):
    check(kind, partly(kind, shape, out, weights, options, activation, **fields), [litert])


@pytest.mark.parametrize(
    ("kind", "out", "options", "fields"),
    [
        ("L2_NORMALIZATION", (1, 6, 5, 4), "L2NormOptions", {}),
        ("RESIZE_BILINEAR", (1, 12, 7, 4), "ResizeBilinearOptions", {}),
        ("RESIZE_BILINEAR", (1, 12, 7, 4), "ResizeBilinearOptions", {"AlignCorners": True}),
        ("RESIZE_BILINEAR", (1, 3, 10, 4), "ResizeBilinearOptions", {"HalfPixelCenters": True}),
    ],
)
def test_real_images(kind, out, options, fields):
    tail = Tail((1, 6, 5, 4))
    sizes = [tail.b.constant(out[1:3])] if kind[0] == "R" else []
    check(kind, tail.data(kind, out, [tail.real, *sizes], options, **fields), [litert])


def test_real_vectors_of_zeros():
    """Their lengths are 1e-6 at least."""
    data = Tail((1, 4)).data("L2_NORMALIZATION", (1, 4), options="L2NormOptions")
    graph = tflite.load(data)
    zeros = run(graph, {graph.inputs[0]: np.full((1, 4), 3, np.int8)})[graph.outputs[0]]
    np.testing.assert_array_equal(zeros, np.zeros((1, 4), np.float32))


def test_every_operator_is_tried():
    """Operators that move values are tried by random networks."""
    rest = {"LEAKY_RELU", "GELU", "SOFTMAX", "LOG_SOFTMAX", "ARG_MAX", "ARG_MIN", "TOPK_V2"}
    assert set(REAL) == {*UNARY, *BINARY, *REDUCTIONS, *rest}
    layers = {"CONV_2D", "DEPTHWISE_CONV_2D", "FULLY_CONNECTED", "AVERAGE_POOL_2D", "MAX_POOL_2D"}
    assert set(REAL_LAYERS) == {*layers, "RESIZE_BILINEAR", "L2_NORMALIZATION"}


def network(type: str = "UINT8", mean: float = 127.5) -> bytes:
    """uint8 pixels cast, shifted and scaled, quantized, a convolution, and a real softmax with its argmax."""
    b, rng = ModelBuilder(), np.random.default_rng(3)
    x = b.tensor((1, 6, 5, 3), type)
    cast, shifted, scaled = (b.tensor((1, 6, 5, 3), "FLOAT32") for _ in range(3))
    b.op("CAST", [x], [cast], "CastOptions", InDataType=3, OutDataType=0)
    b.op("SUB", [cast, b.constant(mean, "FLOAT32")], [shifted], "SubOptions")
    b.op("MUL", [shifted, b.constant([1 / 127.5, 1 / 100, 0.01], "FLOAT32")], [scaled], "MulOptions")
    codes, made = b.tensor((1, 6, 5, 3), scale=0.01, zero_point=-1), b.tensor((1, 6, 5, 4), scale=0.05, zero_point=2)
    b.op("QUANTIZE", [scaled], [codes])
    weights = b.constant(rng.integers(-127, 128, (4, 3, 3, 3)), "INT8", scale=[0.01, 0.02, 0.015, 0.03])
    fields = {"StrideH": 1, "StrideW": 1, "DilationHFactor": 1, "DilationWFactor": 1}
    b.op("CONV_2D", [codes, weights, b.constant(np.zeros(4))], [made], "Conv2DOptions", **fields)
    real, best = b.tensor((1, 6, 5, 4), "FLOAT32"), b.tensor((1, 6, 5), "INT32")
    soft = b.tensor((1, 6, 5, 4), "FLOAT32")
    b.op("DEQUANTIZE", [made], [real])
    b.op("SOFTMAX", [real], [soft], "SoftmaxOptions", Beta=1.0)
    b.op("ARG_MAX", [soft, b.constant(3)], [best], "ArgMaxOptions", OutputType=2)
    return b.build([x], [best, soft])


@pytest.mark.parametrize("type", ["UINT8", "INT8"])
def test_a_whole_model_on_a_device(type):
    """Real parts run on the host, with a warning, and the layer between them on the device."""
    data = network(type, 127.5 if type == "UINT8" else -0.5)
    with pytest.warns(sateen.SateenWarning, match="operators compute with real numbers, on the host"):
        model = sateen.compile(tflite.load(data), "tiny")
    assert [layer.name for layer in model.layers] == ["conv_2d_4"]
    low = 0 if type == "UINT8" else -128
    given = np.random.default_rng(5).integers(low, low + 256, (1, 6, 5, 3)).astype(type.lower())
    with sateen.open("sim:tiny") as device:
        results = device.load(model).run(given)
    best, soft = results.values() if isinstance(results, dict) else results
    # tflite-micro casts no uint8.
    np.testing.assert_array_equal(best, (litert if type == "UINT8" else micro)(data, [given]))
    assert any(isinstance(op, Real) for op in model.graph.ops) and soft.shape == (1, 6, 5, 4)


def layer(weights: str, *, dequantized=False, kind="FULLY_CONNECTED") -> bytes:
    """A layer with a real input."""
    b = ModelBuilder()
    x, y = b.tensor((1, 8), "FLOAT32"), b.tensor((1, 4), "FLOAT32")
    types = {"INT8": np.int8, "FLOAT16": np.float16, "FLOAT32": np.float32}
    data = np.ones((4, 8), types[weights])
    w = b.tensor((4, 8), weights, data=data, scale=[0.1] * 4 if weights == "INT8" else None)
    if dequantized:
        real = b.tensor((4, 8), "FLOAT32")
        b.op("DEQUANTIZE", [w], [real])
        w = real
    b.op(kind, [x, w], [y], "FullyConnectedOptions")
    return b.build([x], [y])


@pytest.mark.parametrize(
    ("data", "message"),
    [
        (layer("INT8"), "its weights tensor 't2' are INT8, but its input is real: only weights are quantized"),
        (layer("INT8", dequantized=True), "its weights tensor 't3' are INT8, but its input is real: only weights"),
        (layer("FLOAT16", dequantized=True), "its weights tensor 't3' are FLOAT16; quantize the model to int8 instead"),
        (layer("FLOAT32"), "it computes with real numbers; quantize the whole model to int8: in TensorFlow set"),
        (Tail().data("SQUARE", (1, 3, 4, 5), [0], type="INT8"), "TensorFlow Lite has no SQUARE of INT8; put"),
        (layer("INT8", kind="CUMSUM"), "operator 0 (CUMSUM): CUMSUM is not supported; convert the model without it"),
    ],
)
def test_layers_with_real_inputs(data, message):
    with pytest.raises(GraphError, match=re.escape(message)):
        tflite.load(data)


def test_constants_that_are_dequantized():
    """Scales along an axis."""
    b = ModelBuilder()
    x, real, y = b.tensor((1, 3), scale=0.5), b.tensor((1, 3), "FLOAT32"), b.tensor((1, 3), "FLOAT32")
    codes = b.constant([5, -3, 100], "INT8", scale=[0.1, 0.2, 0.3], axis=0)
    values = b.tensor((3,), "FLOAT32")
    b.op("DEQUANTIZE", [x], [real])
    b.op("DEQUANTIZE", [codes], [values])
    b.op("MUL", [real, values], [y], "MulOptions")
    graph = tflite.load(b.build([x], [y]))
    expected = np.array([[5, -6, 7]], np.float32) * 0.5 * np.array([5, -3, 100], np.float32)
    expected *= np.array([0.1, 0.2, 0.3], np.float32)
    result = run(graph, {graph.inputs[0]: np.array([[5, -6, 7]], np.int8)})[graph.outputs[0]]
    np.testing.assert_allclose(result, expected, rtol=1e-6)
