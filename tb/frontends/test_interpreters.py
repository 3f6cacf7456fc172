"""Single operators over the full range of operands: the golden model's integers against the interpreters'."""

from __future__ import annotations

import numpy as np
import pytest

from interpreters import compare, litert, micro
from sateen.frontends import tflite
from sateen.graph import run
from sateen.hw.spec.descriptor import Rounding
from sateen.sim import golden
from tflite_models import ModelBuilder

CODES = np.arange(-128, 128, dtype=np.int8)


def unary(kind, x, y, options="", shape=(1, 256), out=None, data=None, extra=(), type="INT8", **fields):
    """A file of one operator on one tensor, and its input."""
    b = ModelBuilder()
    given = b.tensor(shape, type, scale=x[0], zero_point=x[1])
    constants = [b.constant(values) for values in extra]
    result = b.tensor(out or shape, type, scale=y[0], zero_point=y[1])
    b.op(kind, [given, *constants], [result], options, **fields)
    values = CODES if type == "INT8" else np.arange(256, dtype=np.uint8)
    return b.build([given], [result]), [np.resize(values if data is None else data, shape)]


SCALES = [(0.05, 3), (0.1, -128), (2.0**-5, 0), (1.7, 127), (0.003, -7)]


@pytest.mark.parametrize("x", SCALES)
@pytest.mark.parametrize(
    ("kind", "y", "options", "fields"),
    [
        ("LOGISTIC", (1 / 256, -128), "", {}),
        ("TANH", (1 / 128, 0), "", {}),
        ("LEAKY_RELU", (0.04, -20), "LeakyReluOptions", {"Alpha": 0.1}),
        ("LEAKY_RELU", (0.013, 100), "LeakyReluOptions", {"Alpha": 0.3}),
        ("HARD_SWISH", (0.03, -50), "", {}),
        ("RELU", (0.02, -128), "", {}),
        ("RELU", (0.3, 5), "", {}),
        ("QUANTIZE", (0.07, 12), "", {}),
        ("QUANTIZE", (2.0**-4, 0), "", {}),
        ("SOFTMAX", (1 / 256, -128), "SoftmaxOptions", {"Beta": 1.0}),
        ("LOG_SOFTMAX", (16 / 256, 127), "", {}),
    ],
)
def test_functions_of_one_value(kind, x, y, options, fields):
    compare(*unary(kind, x, y, options, **fields))


@pytest.mark.parametrize("x", [*SCALES, (16.0, 3), (23.7, -128), (31.999998, 0), (32.0, 0), (1000.0, 5)])
@pytest.mark.parametrize("kind", ["SOFTMAX", "LOG_SOFTMAX"])
def test_softmax_of_random_rows(kind, x):
    rng = np.random.default_rng(1)
    rows = np.concatenate(
        [rng.integers(-128, 128, (150, 10)), rng.integers(-20, 20, (50, 10)), np.full((1, 10), -128)]
    ).astype(np.int8)
    y, options, fields = (
        ((1 / 256, -128), "SoftmaxOptions", {"Beta": 1.0}) if kind == "SOFTMAX" else ((16 / 256, 127), "", {})
    )
    compare(*unary(kind, x, y, options, shape=rows.shape, data=rows, **fields))


PAIRS = [np.repeat(CODES, 256)[None], np.tile(CODES, 256)[None]]


@pytest.mark.parametrize("interpreter", [micro, litert])
@pytest.mark.parametrize(("kind", "options"), [("ADD", "AddOptions"), ("SUB", "SubOptions"), ("MUL", "MulOptions")])
@pytest.mark.parametrize(
    ("a", "b", "y", "activation"),
    [
        ((0.05, 3), (0.07, -20), (0.09, 1), 0),
        ((0.05, -128), (0.05, -128), (0.05, -128), 1),
        ((0.031, 127), (0.5, -128), (0.25, 0), 0),
        ((2.0**-4, 0), (2.0**-6, 5), (2.0**-3, -3), 3),
        ((0.9, -1), (0.001, 2), (0.7, -90), 0),
    ],
)
def test_every_pair_of_operands(kind, options, a, b, y, activation, interpreter):
    m = ModelBuilder()
    x = [m.tensor((1, 65536), scale=s, zero_point=z) for s, z in (a, b)]
    result = m.tensor((1, 65536), scale=y[0], zero_point=y[1])
    m.op(kind, x, [result], options, FusedActivationFunction=activation)
    compare(m.build(x, [result]), PAIRS, interpreter)


@pytest.mark.parametrize("interpreter", [micro, litert])
@pytest.mark.parametrize("kind", ["AVERAGE_POOL_2D", "MAX_POOL_2D"])
@pytest.mark.parametrize(
    ("size", "stride", "padding"), [((2, 2), (2, 2), 1), ((3, 3), (2, 1), 0), ((7, 5), (1, 1), 1), ((3, 2), (1, 2), 0)]
)
def test_pools(kind, size, stride, padding, interpreter):
    rng = np.random.default_rng(2)
    x = rng.integers(-128, 128, (1, 9, 8, 6)).astype(np.int8)
    out = [(n - k) // s + 1 if padding else -(-n // s) for n, k, s in zip((9, 8), size, stride, strict=True)]
    compare(
        *unary(
            kind,
            (0.1, 4),
            (0.1, 4),
            "Pool2DOptions",
            shape=x.shape,
            out=(1, *out, 6),
            data=x,
            Padding=padding,
            StrideH=stride[0],
            StrideW=stride[1],
            FilterHeight=size[0],
            FilterWidth=size[1],
        ),
        interpreter,
    )


@pytest.mark.parametrize("axes", [(1, 2), (1,), (2,), (3,), (1, 2, 3)])
@pytest.mark.parametrize("y", [(0.1, 4), (0.017, -30), (0.9, 0)])
def test_means(axes, y):
    rng = np.random.default_rng(3)
    x = rng.integers(-128, 128, (1, 7, 5, 24)).astype(np.int8)
    out = tuple(1 if axis in axes else size for axis, size in enumerate(x.shape))
    compare(
        *unary("MEAN", (0.1, 4), y, "ReducerOptions", shape=x.shape, out=out, data=x, extra=[list(axes)], KeepDims=True)
    )


def weighted(kind, rng, *, type="INT8", **fields):
    """A file of one layer with weights, and its input."""
    b, unsigned = ModelBuilder(), type == "UINT8"
    low, high = (0, 256) if unsigned else (-128, 128)
    depthwise = kind == "DEPTHWISE_CONV_2D"
    shape = (1, 64) if kind == "FULLY_CONNECTED" else (1, 8, 7, 4)
    outputs = 8
    size = {"FULLY_CONNECTED": (outputs, 64), "CONV_2D": (outputs, 3, 3, 4), "DEPTHWISE_CONV_2D": (1, 3, 3, outputs)}[
        kind
    ]
    w = rng.integers(0 if unsigned else -127, high, size)
    several = not unsigned and kind != "FULLY_CONNECTED"
    scales = rng.uniform(0.001, 0.01, outputs) if several else [0.0043]
    x = b.tensor(shape, type, scale=0.037, zero_point=131 if unsigned else 3)
    weights = b.constant(w, type, scale=scales, zero_point=117 if unsigned else 0, axis=3 if depthwise else 0)
    bias = b.constant(rng.integers(-2000, 2000, outputs), scale=(0.037 * np.asarray(scales)).tolist())
    out = (1, outputs) if kind == "FULLY_CONNECTED" else (1, 8, 7, outputs)
    y = b.tensor(out, type, scale=0.061, zero_point=120 if unsigned else -8)
    b.op(kind, [x, weights, bias], [y], fields.pop("options"), **fields)
    return b.build([x], [y]), [rng.integers(low, high, shape).astype(np.uint8 if unsigned else np.int8)]


LAYERS = [
    ("FULLY_CONNECTED", {"options": "FullyConnectedOptions"}),
    ("CONV_2D", {"options": "Conv2DOptions", "StrideH": 1, "StrideW": 1, "DilationHFactor": 1, "DilationWFactor": 1}),
    ("CONV_2D", {"options": "Conv2DOptions", "StrideH": 1, "StrideW": 1, "DilationHFactor": 2, "DilationWFactor": 2}),
    (
        "DEPTHWISE_CONV_2D",
        {
            "options": "DepthwiseConv2DOptions",
            "StrideH": 1,
            "StrideW": 1,
            "DilationHFactor": 1,
            "DilationWFactor": 1,
            "DepthMultiplier": 2,
        },
    ),
]


@pytest.mark.parametrize(("kind", "fields"), LAYERS)
@pytest.mark.parametrize("seed", range(4))
def test_layers_with_weights(kind, fields, seed):
    compare(*weighted(kind, np.random.default_rng(seed), **fields))


@pytest.mark.parametrize(("kind", "fields"), LAYERS)
@pytest.mark.parametrize("seed", range(4))
def test_unsigned_layers_with_weights(kind, fields, seed):
    """uint8 models, whose weights have a zero point."""
    compare(*weighted(kind, np.random.default_rng(seed), type="UINT8", **fields), litert)


@pytest.mark.parametrize(("size", "stride"), [((2, 2), (2, 2)), ((3, 3), (1, 1))])
def test_unsigned_average_pool(size, stride):
    x = np.random.default_rng(2).integers(0, 256, (1, 9, 8, 6)).astype(np.uint8)
    out = [-(-n // s) for n, s in zip((9, 8), stride, strict=True)]
    options = {
        "Padding": 0,
        "StrideH": stride[0],
        "StrideW": stride[1],
        "FilterHeight": size[0],
        "FilterWidth": size[1],
    }
    numbers, shapes = ((0.1, 4), (0.1, 4)), {"shape": x.shape, "out": (1, *out, 6)}
    compare(*unary("AVERAGE_POOL_2D", *numbers, "Pool2DOptions", **shapes, data=x, type="UINT8", **options), litert)


def test_unsigned_concatenation():
    """Sources with different quantizations."""
    b = ModelBuilder()
    x = [b.tensor((1, 256), "UINT8", scale=s, zero_point=z) for s, z in ((0.05, 3), (0.031, 200), (0.07, 120))]
    y = b.tensor((1, 768), "UINT8", scale=0.07, zero_point=120)
    b.op("CONCATENATION", x, [y], "ConcatenationOptions", Axis=1)
    compare(b.build(x, [y]), [np.arange(256, dtype=np.uint8)[None]] * 3, litert)


@pytest.mark.parametrize("flags", [{}, {"AlignCorners": True}, {"HalfPixelCenters": True}])
@pytest.mark.parametrize("size", [(8, 10), (7, 3), (4, 5), (11, 17)])
def test_resize(flags, size):
    x = np.random.default_rng(5).integers(-128, 128, (1, 4, 5, 3)).astype(np.int8)
    data, inputs = unary(
        "RESIZE_NEAREST_NEIGHBOR",
        (0.1, 4),
        (0.1, 4),
        "ResizeNearestNeighborOptions",
        shape=x.shape,
        out=(1, *size, 3),
        data=x,
        extra=[list(size)],
        **flags,
    )
    compare(data, inputs)


def test_real_ends():
    """Real values are quantized, with halves away from zero, and dequantized."""
    b = ModelBuilder()
    x = b.tensor((1, 4096), "FLOAT32")
    codes, y = b.tensor((1, 4096), scale=0.1, zero_point=-5), b.tensor((1, 4096), "FLOAT32")
    b.op("QUANTIZE", [x], [codes])
    b.op("DEQUANTIZE", [codes], [y])
    values = np.linspace(-15, 15, 4096, dtype=np.float32)
    values[:200] = (np.arange(200) - 100) * np.float32(0.05)
    compare(b.build([x], [y]), [values[None]])


@pytest.mark.parametrize(
    ("kind", "out", "options", "extra", "fields"),
    [
        ("PAD", (1, 6, 9, 6), "", [[[0, 0], [1, 1], [2, 2], [0, 3]]], {}),
        ("RESHAPE", (1, 10, 6), "", [[1, 10, 6]], {}),
        ("TRANSPOSE", (1, 3, 4, 5), "", [[0, 3, 1, 2]], {}),
        ("STRIDED_SLICE", (1, 2, 2, 2), "StridedSliceOptions", [[0, 1, 1, 0], [1, 4, 5, 2], [1, 2, 2, 1]], {}),
        ("SLICE", (1, 2, 5, 1), "", [[0, 1, 0, 2], [1, 2, -1, 1]], {}),
    ],
)
def test_layout(kind, out, options, extra, fields):
    x = np.random.default_rng(6).integers(-128, 128, (1, 4, 5, 3)).astype(np.int8)
    compare(*unary(kind, (0.1, 4), (0.1, 4), options, shape=x.shape, out=out, data=x, extra=extra, **fields))


def test_arg_max():
    b = ModelBuilder()
    x, axis, y = b.tensor((1, 300), scale=0.1), b.constant([1]), b.tensor((1,), "INT32")
    b.op("ARG_MAX", [x, axis], [y], "ArgMaxOptions", OutputType=2)
    values = np.random.default_rng(7).integers(-128, 127, (1, 300)).astype(np.int8)
    values[0, [40, 90]] = 127
    compare(b.build([x], [y]), [values])


def test_shapes_that_a_model_computes():
    """SHAPE, STRIDED_SLICE and PACK fold away; the batch is more than 1."""
    rng = np.random.default_rng(8)
    b = ModelBuilder()
    x, y = b.tensor((3, 4, 5, 2), scale=0.1, zero_point=4), b.tensor((3, 7), scale=0.3, zero_point=-9)
    shape, batch, wanted = b.tensor((4,), "INT32"), b.tensor((), "INT32"), b.tensor((2,), "INT32")
    flat = b.tensor((3, 40), scale=0.1, zero_point=4)
    weights = b.constant(rng.integers(-127, 128, (7, 40)), "INT8", scale=0.01)
    begin, end, step, rest = b.constant([0]), b.constant([1]), b.constant([1]), b.constant(40)
    b.op("SHAPE", [x], [shape], "ShapeOptions", OutType=2)
    b.op("STRIDED_SLICE", [shape, begin, end, step], [batch], "StridedSliceOptions", ShrinkAxisMask=1)
    b.op("PACK", [batch, rest], [wanted], "PackOptions", ValuesCount=2)
    b.op("RESHAPE", [x, wanted], [flat])
    b.op("FULLY_CONNECTED", [flat, weights], [y], "FullyConnectedOptions", FusedActivationFunction=3)
    data = b.build([x], [y])
    assert [type(op).__name__ for op in tflite.load(data).ops] == ["Reshape", "FullyConnected"]
    compare(data, [rng.integers(-128, 128, (3, 4, 5, 2)).astype(np.int8)])


@pytest.mark.parametrize("kind", ["SPLIT", "SPLIT_V", "UNPACK"])
def test_pieces(kind):
    """Several outputs; the second is compared."""
    x = np.random.default_rng(9).integers(-128, 128, (1, 4, 6, 3)).astype(np.int8)
    b = ModelBuilder()
    given = b.tensor(x.shape, scale=0.1, zero_point=4)
    shapes = {"SPLIT": [(1, 4, 3, 3)] * 2, "SPLIT_V": [(1, 4, 2, 3), (1, 4, 4, 3)], "UNPACK": [(1, 6, 3)] * 4}[kind]
    pieces = [b.tensor(shape, scale=0.1, zero_point=4) for shape in shapes]
    if kind == "SPLIT":
        b.op(kind, [b.constant(2), given], pieces, "SplitOptions", NumSplits=2)
    elif kind == "SPLIT_V":
        b.op(kind, [given, b.constant([2, 4]), b.constant(2)], pieces, "SplitVOptions", NumSplits=2)
    else:
        b.op(kind, [given], pieces, "UnpackOptions", Num=4, Axis=1)
    compare(b.build([given], [pieces[1]]), [x])


def test_layers_over_sequences():
    """A matrix product over the last of three axes, and a broadcast constant."""
    rng = np.random.default_rng(10)
    b = ModelBuilder()
    x, y = b.tensor((1, 6, 8), scale=0.1, zero_point=4), b.tensor((1, 6, 5), scale=0.3, zero_point=-9)
    weights = b.constant(rng.integers(-127, 128, (5, 8)), "INT8", scale=0.01)
    factor = b.constant(rng.integers(-128, 128, 5), "INT8", scale=0.02, zero_point=3)
    z = b.tensor((1, 6, 5), scale=0.3, zero_point=0)
    b.op("FULLY_CONNECTED", [x, weights], [y], "FullyConnectedOptions", KeepNumDims=True)
    b.op("MUL", [y, factor], [z], "MulOptions")
    compare(b.build([x], [z]), [rng.integers(-128, 128, (1, 6, 8)).astype(np.int8)])


@pytest.mark.parametrize(("kind", "fields"), [LAYERS[0], LAYERS[1], LAYERS[3]])
def test_scales_are_multiplied_in_double_precision(kind, fields):
    """Sums for which a product of scales in single precision, larger by 6e-8, rounds differently."""
    x, w = (float(np.float32(scale)) for scale in (0.037, 0.055))
    y, sums, results = float(np.float32(15500 * x * w)), np.arange(-(2**20), 2**20), []
    for product in (x * w, float(np.float32(x) * np.float32(w))):
        multiplier, shift = (np.array([value]) for value in golden.quantize_multiplier(product / y))
        numbers = {"rounding": Rounding.DOUBLE, "zero_point": 0, "low": -128, "high": 127}
        results.append(golden.requantize(sums[:, None], multiplier, shift, **numbers)[:, 0])
    bias = sums[results[0] != results[1]]
    outputs = len(bias)
    assert outputs > 10
    shape = (1,) if kind == "FULLY_CONNECTED" else (1, 1, 1)
    size = (*shape, outputs) if kind == "DEPTHWISE_CONV_2D" else (outputs, *shape)
    b = ModelBuilder()
    given, result = b.tensor((*shape, 1), scale=x), b.tensor((*shape, outputs), scale=y)
    weights, fields = b.constant(np.zeros(size), "INT8", scale=w), dict(fields)
    fields |= {"DepthMultiplier": outputs} if kind == "DEPTHWISE_CONV_2D" else {}
    b.op(kind, [given, weights, b.constant(bias, scale=x * w)], [result], fields.pop("options"), **fields)
    compare(b.build([given], [result]), [np.zeros((*shape, 1), np.int8)])


@pytest.mark.parametrize(
    ("a", "b"),
    [((1, 5, 5, 3), (1, 5, 1)), ((1, 3), (1, 2, 6, 3)), ((1,), (1, 9, 3)), ((4, 3), (1, 4, 3)), ((2, 3), (1, 3))],
)
def test_sums_of_tensors_with_fewer_axes(a, b):
    """Items do not mix, whatever their number is."""
    rng, m = np.random.default_rng(11), ModelBuilder()
    x = [m.tensor(shape, scale=scale, zero_point=4) for shape, scale in ((a, 0.1), (b, 0.2))]
    y, one = m.tensor(np.broadcast_shapes(a, b), scale=0.25), m.tensor((1, 7), scale=0.1)
    m.op("ADD", x, [y], "AddOptions")
    # An input that begins with 1, so that the first axis of the others is no batch.
    data = m.build([*x, one], [y])
    graph = tflite.load(data)
    for items in (1, 2, 5):
        given = [rng.integers(-128, 128, (items, *shape)).astype(np.int8) for shape in (a, b, (1, 7))]
        shaped = {
            name: v.reshape(items, *graph.tensors[name].shape[1:]) for name, v in zip(graph.inputs, given, strict=True)
        }
        expected = np.stack([micro(data, list(each)) for each in zip(*given, strict=True)])
        np.testing.assert_array_equal(run(graph, shaped)[graph.outputs[0]].reshape(expected.shape), expected)


def test_sums_that_mix_items_are_of_one_item():
    """The axis that all tensors begin with is no batch then."""
    m, rng = ModelBuilder(), np.random.default_rng(14)
    x = [m.tensor(shape, scale=0.1) for shape in ((3, 1, 5), (3, 5))]
    y = m.tensor((3, 3, 5), scale=0.1)
    m.op("ADD", x, [y], "AddOptions")
    data, given = m.build(x, [y]), [rng.integers(-128, 128, shape).astype(np.int8) for shape in ((3, 1, 5), (3, 5))]
    graph = tflite.load(data)
    shaped = {name: v.reshape(graph.tensors[name].shape) for name, v in zip(graph.inputs, given, strict=True)}
    np.testing.assert_array_equal(run(graph, shaped)[graph.outputs[0]].reshape(3, 3, 5), micro(data, given))


@pytest.mark.parametrize(
    ("kind", "shapes", "out", "options", "fields"),
    [
        ("PACK", [(1, 5)], (1, 1, 5), "PackOptions", {"Axis": 0, "ValuesCount": 1}),
        ("PACK", [(1, 5)] * 2, (2, 1, 5), "PackOptions", {"Axis": 0, "ValuesCount": 2}),
        ("CONCATENATION", [(1, 5), (3, 5)], (4, 5), "ConcatenationOptions", {"Axis": 0}),
        ("CONCATENATION", [(1, 2, 5), (1, 2, 5)], (2, 2, 5), "ConcatenationOptions", {"Axis": 0}),
    ],
)
def test_joins_along_the_first_axis(kind, shapes, out, options, fields):
    rng, m = np.random.default_rng(12), ModelBuilder()
    x = [m.tensor(shape, scale=0.1) for shape in shapes]
    one, y = m.tensor((1, 7), scale=0.1), m.tensor(out, scale=0.1)
    m.op(kind, x, [y], options, **fields)
    data, given = (
        m.build([*x, one], [y]),
        [rng.integers(-128, 128, shape).astype(np.int8) for shape in (*shapes, (1, 7))],
    )
    graph = tflite.load(data)
    shaped = {name: v.reshape(graph.tensors[name].shape) for name, v in zip(graph.inputs, given, strict=True)}
    np.testing.assert_array_equal(run(graph, shaped)[graph.outputs[0]].reshape(out), micro(data, given))


def test_arg_max_along_the_first_axis():
    """The result begins with 1, which looks like a batch: int32 values are reshaped."""
    m = ModelBuilder()
    x, one, axis = m.tensor((4, 1, 3), scale=0.1), m.tensor((1, 7), scale=0.1), m.constant([0])
    y = m.tensor((1, 3), "INT32")
    m.op("ARG_MAX", [x, axis], [y], "ArgMaxOptions", OutputType=2)
    data = m.build([x, one], [y])
    graph, values = tflite.load(data), np.random.default_rng(13).integers(-128, 128, (4, 1, 3)).astype(np.int8)
    given = [values, np.zeros((1, 7), np.int8)]
    shaped = {name: v.reshape(graph.tensors[name].shape) for name, v in zip(graph.inputs, given, strict=True)}
    np.testing.assert_array_equal(run(graph, shaped)[graph.outputs[0]], micro(data, given))
