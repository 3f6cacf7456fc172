"""int16 activations with int8 weights: the golden model's integers against tflite-micro's, bit for bit."""

from __future__ import annotations

import re

import numpy as np
import pytest

import sateen
from interpreters import litert, micro
from sateen.frontends import tflite
from sateen.frontends.tflite.wide import WIDE
from sateen.graph import GraphError, run
from tflite_models import ModelBuilder

EVERY = np.arange(-(2**15), 2**15, dtype=np.int16)
WINDOW = {"StrideH": 1, "StrideW": 1, "DilationHFactor": 1, "DilationWFactor": 1}


def check(data: bytes, given: list[np.ndarray], interpreter=micro) -> np.ndarray:
    """Asserts that the first output of a file is tflite-micro's or another interpreter's, and returns it."""
    graph = tflite.load(data)
    shaped = {n: v.reshape(graph.tensors[n].shape) for n, v in zip(graph.inputs, given, strict=True)}
    actual = run(graph, shaped)[graph.outputs[0]]
    expected = interpreter(data, given)
    assert actual.dtype == expected.dtype
    np.testing.assert_array_equal(actual.reshape(expected.shape), expected)
    return actual


LAYERS = {
    "CONV_2D": ((6, 3, 3, 4), (1, 6, 5, 4), (1, 6, 5, 6), "Conv2DOptions", WINDOW),
    "DEPTHWISE_CONV_2D": ((1, 3, 3, 8), (1, 6, 5, 4), (1, 6, 5, 8), "DepthwiseConv2DOptions", WINDOW),
    "FULLY_CONNECTED": ((6, 64), (2, 64), (2, 6), "FullyConnectedOptions", {}),
}
"""Shapes of weights, input and output, and options."""


def layer(kind: str, *, bias="INT64", several=True, seed=0, x_type="INT16", w_type="INT8", **changes):
    """A file of a layer, and its input."""
    shape, given, out, options, fields = LAYERS[kind]
    b, rng = ModelBuilder(), np.random.default_rng(seed)
    axis = 3 if kind[0] == "D" else 0
    count, depth = shape[axis], int(np.prod(shape)) // shape[axis]
    x = b.tensor(given, x_type, scale=2e-4)
    scales = rng.uniform(0.002, 0.02, count if several else 1).astype(np.float32)
    codes = rng.integers(-127, 128, shape) >> (4 if w_type == "INT4" else 0)
    w = b.constant(codes, w_type, scale=scales.tolist(), axis=axis if several else 0)
    places = [x, w]
    if bias:
        values = rng.integers(-(2**22), 2**22, count)
        places.append(b.constant(values, bias, scale=(np.float32(2e-4) * scales).tolist()))
    y = b.tensor(out, "INT16", scale=float(2e-4 * 0.01 * 73 * np.sqrt(depth) / 1.5), **changes.pop("y", {}))
    fields = {**fields, **({"DepthMultiplier": 2} if kind[0] == "D" else {}), **changes}
    b.op(kind, places, [y], options, **fields)
    return b.build([x], [y]), [rng.integers(-(2**15), 2**15, given).astype(np.int16)]


@pytest.mark.parametrize("several", [True, False])
@pytest.mark.parametrize("bias", ["INT64", "INT32", ""])
@pytest.mark.parametrize("kind", sorted(LAYERS))
@pytest.mark.parametrize("activation", [0, 1])
def test_layers_with_weights(kind, bias, several, activation):
    for seed in range(3):
        data, given = layer(kind, bias=bias, several=several, seed=seed, FusedActivationFunction=activation)
        if kind != "CONV_2D" and bias == "INT32":
            with pytest.raises(GraphError, match="its bias must be INT64, not INT32"):
                tflite.load(data)
        else:
            assert len(np.unique(check(data, given))) > 3


@pytest.mark.parametrize(("kind", "several"), [("CONV_2D", True), ("CONV_2D", False), ("FULLY_CONNECTED", True)])
def test_weights_of_four_bits(kind, several):
    data, given = layer(kind, several=several, w_type="INT4")
    check(data, given, litert)


def test_strides_dilation_and_groups():
    b, rng = ModelBuilder(), np.random.default_rng(3)
    x, y = b.tensor((1, 7, 6, 4), "INT16", scale=2e-4), b.tensor((1, 4, 3, 6), "INT16", scale=1e-3)
    w = b.constant(rng.integers(-127, 128, (6, 3, 2, 2)), "INT8", scale=0.01)
    bias = b.constant(rng.integers(-9999, 9999, 6), "INT64", scale=2e-6)
    b.op("CONV_2D", [x, w, bias], [y], "Conv2DOptions", **{**WINDOW, "StrideH": 2, "StrideW": 2})
    check(b.build([x], [y]), [rng.integers(-(2**15), 2**15, (1, 7, 6, 4)).astype(np.int16)])


def unary(
    kind,
    y=None,
    shape=(1, 2**16),
    out=None,
    options="",
    scale=3e-4,
    data=EVERY,
    extra=(),
    types=("INT16",) * 2,
    points=(0, 0),
    **fields,
):
    """A file of an operator on one tensor, and its input."""
    b = ModelBuilder()
    x = b.tensor(shape, types[0], scale=scale, zero_point=points[0])
    result = b.tensor(out or shape, types[1], scale=scale if y is None else y, zero_point=points[1])
    b.op(kind, [x, *(b.constant(values) for values in extra)], [result], options, **fields)
    return b.build([x], [result]), [np.resize(data, shape)]


SCALES = [2.0**-12, 3e-4, 1e-3, 2.0**-15, 7.7e-5, 1e-5, 0.01]


@pytest.mark.parametrize("scale", SCALES)
@pytest.mark.parametrize("kind", ["LOGISTIC", "TANH"])
def test_functions(kind, scale):
    """Every code, with scales that are powers of two and others."""
    check(*unary(kind, 2.0**-15, scale=scale))


@pytest.mark.parametrize(
    ("kind", "scale", "y", "options", "fields"),
    [
        ("RELU", 3e-4, 2e-4, "", {}),
        ("RELU", 3e-4, 3e-4, "", {}),
        ("RELU6", 3e-4, 3e-4, "", {}),
        ("LEAKY_RELU", 3e-4, 2.1e-4, "LeakyReluOptions", {"Alpha": 0.3}),
        ("LEAKY_RELU", 3e-4, 7e-4, "LeakyReluOptions", {"Alpha": 1.7}),
        ("QUANTIZE", 3e-4, 7e-4, "", {}),
        ("QUANTIZE", 3e-4, 1.1e-4, "", {}),
    ],
)
def test_changes_of_scale(kind, scale, y, options, fields):
    check(*unary(kind, y, options=options, scale=scale, **fields))


@pytest.mark.parametrize(("types", "points"), [(("INT16", "INT8"), (0, -7)), (("INT8", "INT16"), (-7, 0))])
@pytest.mark.parametrize("scales", [(3e-4, 0.05), (0.05, 3e-4), (2.0**-10, 2.0**-3)])
def test_conversions(types, points, scales):
    data = EVERY if types[0] == "INT16" else np.arange(-128, 128, dtype=np.int8)
    check(*unary("QUANTIZE", scales[1], scale=scales[0], types=types, points=points, data=data))


def test_real_ends():
    b = ModelBuilder()
    x, codes, y = b.tensor((1, 999), "FLOAT32"), b.tensor((1, 999), "INT16", scale=1e-3), b.tensor((1, 999), "FLOAT32")
    b.op("QUANTIZE", [x], [codes])
    b.op("DEQUANTIZE", [codes], [y])
    check(b.build([x], [y]), [np.linspace(-40, 40, 999, dtype=np.float32)[None]])


@pytest.mark.parametrize(("kind", "options"), [("ADD", "AddOptions"), ("SUB", "SubOptions"), ("MUL", "MulOptions")])
@pytest.mark.parametrize(
    ("a", "b", "y", "activation"),
    [(3e-4, 2e-4, 4e-4, 0), (1e-4, 1e-4, 1e-4, 1), (2.0**-10, 2.0**-12, 2.0**-9, 3), (9e-3, 1e-5, 7e-3, 0)],
)
@pytest.mark.parametrize("constant", [False, True])
def test_two_operands(kind, options, a, b, y, activation, constant):
    m, rng = ModelBuilder(), np.random.default_rng(6)
    y = y * 2**14 * 1e-4 if kind == "MUL" else y
    given = [rng.integers(-(2**15), 2**15, (1, 50, 400)).astype(np.int16) for _ in range(2)]
    x = m.tensor(given[0].shape, "INT16", scale=a)
    whole = given[1].shape
    other = m.constant(given[1][0, 0], "INT16", scale=b) if constant else m.tensor(whole, "INT16", scale=b)
    result = m.tensor(given[0].shape, "INT16", scale=y)
    m.op(kind, [x, other], [result], options, FusedActivationFunction=activation)
    inputs = [x] if constant else [x, other]
    check(m.build(inputs, [result]), given[: len(inputs)])


@pytest.mark.parametrize("kind", ["AVERAGE_POOL_2D", "MAX_POOL_2D"])
@pytest.mark.parametrize(("size", "stride", "padding"), [((2, 2), (2, 2), 1), ((3, 3), (1, 1), 0), ((5, 2), (2, 1), 0)])
@pytest.mark.parametrize("activation", [0, 1, 3])
def test_pools(kind, size, stride, padding, activation):
    x = np.random.default_rng(7).integers(-(2**15), 2**15, (1, 8, 6, 3)).astype(np.int16)
    out = [-(-n // s) if padding == 0 else (n - k) // s + 1 for n, s, k in zip(x.shape[1:3], stride, size, strict=True)]
    fields = {"StrideH": stride[0], "StrideW": stride[1], "FilterHeight": size[0], "FilterWidth": size[1]}
    fields |= {"Padding": padding, "FusedActivationFunction": activation}
    check(*unary(kind, shape=x.shape, out=(1, *out, 3), options="Pool2DOptions", data=x, **fields))


@pytest.mark.parametrize(
    ("axes", "keep", "out"), [([1, 2], True, (1, 1, 1, 3)), ([1, 2], False, (1, 3)), ([3], False, (1, 8, 6))]
)
@pytest.mark.parametrize("y", [3e-4, 1e-4])
def test_means(axes, keep, out, y):
    x = np.random.default_rng(8).integers(-(2**15), 2**15, (1, 8, 6, 3)).astype(np.int16)
    check(*unary("MEAN", y, x.shape, out, "ReducerOptions", data=x, extra=[axes], KeepDims=keep))


@pytest.mark.parametrize("scale", [1e-3, 3e-4, 5e-5, 2.0**-12, 0.01])
@pytest.mark.parametrize("size", [2, 10, 100])
def test_softmax(scale, size):
    rng = np.random.default_rng(size)
    rows = rng.integers(-(2**15), 2**15, (400, size)) * rng.choice([1, 0.1, 0.01], (400, 1))
    rows = np.concatenate([rows, np.full((1, size), 2**15 - 1), np.full((1, size), -(2**15))]).astype(np.int16)
    check(*unary("SOFTMAX", 2.0**-15, rows.shape, options="SoftmaxOptions", scale=scale, data=rows, Beta=1.0))


@pytest.mark.parametrize(
    ("kind", "out", "options", "extra", "fields"),
    [
        ("RESHAPE", (1, 10, 6), "", [[1, 10, 6]], {}),
        ("TRANSPOSE", (1, 3, 4, 5), "", [[0, 3, 1, 2]], {}),
        ("PAD", (1, 6, 9, 6), "", [[[0, 0], [1, 1], [2, 2], [0, 3]]], {}),
        ("SLICE", (1, 2, 5, 1), "", [[0, 1, 0, 2], [1, 2, -1, 1]], {}),
        ("STRIDED_SLICE", (1, 2, 2, 2), "StridedSliceOptions", [[0, 1, 1, 0], [1, 4, 5, 2], [1, 2, 2, 1]], {}),
    ],
)
def test_moves(kind, out, options, extra, fields):
    x = np.random.default_rng(9).integers(-(2**15), 2**15, (1, 4, 5, 3)).astype(np.int16)
    check(*unary(kind, shape=x.shape, out=out, options=options, data=x, extra=extra, **fields))


def test_concatenation():
    b = ModelBuilder()
    x = [b.tensor((1, n), "INT16", scale=3e-4) for n in (3, 5)]
    y = b.tensor((1, 8), "INT16", scale=3e-4)
    b.op("CONCATENATION", x, [y], "ConcatenationOptions", Axis=1)
    check(b.build(x, [y]), [EVERY[None, 100:103], EVERY[None, -5:]])


def test_every_operator_is_tried():
    tried = {*LAYERS, "LOGISTIC", "TANH", "RELU", "RELU6", "LEAKY_RELU", "ADD", "SUB", "MUL", "AVERAGE_POOL_2D"}
    assert set(WIDE) == {*tried, "MAX_POOL_2D", "MEAN", "SOFTMAX"}


@pytest.mark.parametrize(
    ("data", "message"),
    [
        (layer("DEPTHWISE_CONV_2D", w_type="INT4")[0], "its weights tensor 't1' are INT4, not INT8"),
        (layer("CONV_2D", y={"zero_point": 3})[0], "its zero point 3 must be 0, as that of INT16 is"),
        (unary("TANH", 3e-4)[0], "must have the scale 3.0517578125e-05, not"),
        (unary("HARD_SWISH")[0], "operator 0 (HARD_SWISH): HARD_SWISH of INT16 is not supported; quantize the whole"),
        (unary("RELU6", 1e-4)[0], "must have the same scale, because codes are only clamped"),
        (unary("QUANTIZE", 0.1, types=("INT16", "UINT8"), points=(0, 128))[0], "it mixes INT16 and UINT8"),
        (unary("RELU", types=("INT16", "INT8"))[0], "operator 0 (RELU): it mixes INT16 and INT8; quantize the whole"),
    ],
)
def test_what_is_refused(data, message):
    with pytest.raises(GraphError, match=re.escape(message)):
        tflite.load(data)


def test_on_a_device():
    """A layer of int8 on the device, one of int16 on the host, which a warning tells."""
    b, rng = ModelBuilder(), np.random.default_rng(11)
    x, c = b.tensor((1, 4, 4, 2), scale=0.1, zero_point=3), b.tensor((1, 4, 4, 3), scale=0.2)
    wide, y = b.tensor((1, 4, 4, 3), "INT16", scale=1e-3), b.tensor((1, 4, 4, 3), "INT16", scale=1e-3)
    w = b.constant(rng.integers(-127, 128, (3, 3, 3, 2)), "INT8", scale=0.01)
    v = b.constant(rng.integers(-127, 128, (1, 3, 3, 3)), "INT8", scale=0.004, axis=3)
    b.op("CONV_2D", [x, w, b.constant([0, 0, 0])], [c], "Conv2DOptions", **WINDOW)
    b.op("QUANTIZE", [c], [wide])
    b.op(
        "DEPTHWISE_CONV_2D",
        [wide, v, b.constant([1, 2, 3], "INT64")],
        [y],
        "DepthwiseConv2DOptions",
        **WINDOW,
        DepthMultiplier=1,
    )
    data, given = b.build([x], [y]), rng.integers(-128, 128, (1, 4, 4, 2)).astype(np.int8)
    graph = tflite.load(data)
    with pytest.warns(sateen.SateenWarning, match="2 operators compute with int16 activations, on the host: .*8 bits"):
        model = sateen.compile(graph, "tiny")
    with sateen.open("sim:tiny") as device:
        np.testing.assert_array_equal(device.load(model).run(given), micro(data, [given]))
    with pytest.raises(sateen.CompileError, match="WideDepthwiseConv2D|WideRequantize"):
        sateen.compile(graph, "tiny", strict=True)
