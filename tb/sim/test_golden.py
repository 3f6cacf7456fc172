"""The golden model against its definitions in plain Python, worked corners, and recorded integers of public models."""

from __future__ import annotations

import itertools
import math
from fractions import Fraction

import numpy as np
import pytest
import tflite

import needs
from sateen.hw.spec.descriptor import Rounding
from sateen.sim import golden

INT_MIN, INT_MAX = -(2**31), 2**31 - 1


def wrap(value: int) -> int:
    return (value + 2**31) % 2**32 - 2**31


def double_rounding(acc: int, multiplier: int, shift: int) -> int:
    """SRDHM, then RDBPOT, as gemmlowp words them, but in integers that do not overflow."""
    product = (acc << max(shift, 0)) * multiplier
    nudged = product + (2**30 if product >= 0 else 1 - 2**30)
    high = abs(nudged) // 2**31 * (1 if nudged >= 0 else -1)
    exponent = max(-shift, 0)
    remainder = high & (2**exponent - 1)
    threshold = ((2**exponent - 1) >> 1) + (1 if high < 0 else 0)
    return (high >> exponent) + (1 if remainder > threshold else 0)


def single_rounding(acc: int, multiplier: int, shift: int) -> int:
    return math.floor(Fraction(acc) * multiplier * Fraction(2) ** (shift - 31) + Fraction(1, 2))


def half_to_even_of_24_bits(acc: int, multiplier: int, shift: int) -> int:
    return round(nearest(nearest(Fraction(acc)) * multiplier * Fraction(2) ** (shift - 31)))


def nearest(value: Fraction) -> Fraction:
    """The nearest number of 24 bits; Python's ``round`` sends ties to even."""
    unit = Fraction(2) ** (math.frexp(value)[1] - 24)
    return round(value / unit) * unit


REFERENCE = {
    Rounding.DOUBLE: double_rounding,
    Rounding.SINGLE: single_rounding,
    Rounding.FLOAT32: half_to_even_of_24_bits,
}
CORNERS = list(
    itertools.product(
        [INT_MIN, INT_MIN + 1, -(2**30), -129, -3, -2, -1, 0, 1, 2, 3, 128, 2**30, INT_MAX - 1, INT_MAX],
        [0, 1, 2**30 - 1, 2**30, 2**30 + 1, INT_MAX],
        [-31, -30, -8, -2, -1, 0, 1, 2, 29, 30],
    )
)


def random_scalings(seed: int, count: int) -> list[tuple[int, int, int]]:
    """Sums of every size, ordinary scales, one in four of them a power of two."""
    rng = np.random.default_rng(seed)
    acc = rng.integers(INT_MIN, INT_MAX, count, endpoint=True) >> rng.integers(0, 32, count)
    multiplier = np.where(rng.random(count) < 0.25, 2**30, rng.integers(2**30, INT_MAX, count, endpoint=True))
    return list(zip(acc.tolist(), multiplier.tolist(), rng.integers(-31, 31, count).tolist(), strict=True))


@pytest.mark.parametrize("rounding", REFERENCE)
@pytest.mark.parametrize("seed", [None, 1])
def test_requantize_is_its_definition(rounding, seed):
    cases = CORNERS if seed is None else random_scalings(seed, 5000)
    acc, multiplier, shift = np.array(cases, np.int64).T
    for zero_point, low, high in [(0, -128, 127), (-7, -7, 90), (127, -128, 126), (-128, 5, 5)]:
        expected = [min(max(REFERENCE[rounding](*case) + zero_point, low), high) for case in cases]
        actual = golden.requantize(acc, multiplier, shift, rounding=rounding, zero_point=zero_point, low=low, high=high)
        assert actual.dtype == np.int8
        np.testing.assert_array_equal(actual, expected)


def test_requantize_ties():
    acc = np.array([-5, -3, -1, 1, 3, 5])
    # A half, by the right shift: away from zero, or up.
    np.testing.assert_array_equal(golden.requantize(acc << 8, 2**30, -8), [-3, -2, -1, 1, 2, 3])
    np.testing.assert_array_equal(
        golden.requantize(acc << 8, 2**30, -8, rounding=Rounding.SINGLE), [-2, -1, 0, 1, 2, 3]
    )
    # A half, by the multiplication: up in both.
    np.testing.assert_array_equal(golden.requantize(acc, 2**30, 0), [-2, -1, 0, 1, 2, 3])


def test_requantize_wraps_and_broadcasts():
    acc = np.array([[2**31 + 5, 3], [2**32 - 4, 3]])
    np.testing.assert_array_equal(golden.requantize(acc, [2**30, INT_MAX], [0, 30]), [[-128, 127], [-2, 127]])
    with pytest.raises(ValueError, match="rounding must be Rounding.DOUBLE, SINGLE or FLOAT32, not 3"):
        golden.requantize(acc, 1, 0, rounding=3)


def test_requantize_in_float32():
    """Sums next to every tie, of powers of two and of other float32 scales, against NumPy's float32."""
    rng = np.random.default_rng(2)
    others = 2.0 ** rng.uniform(-31, 8, 600) * np.where(rng.random(600) < 0.3, np.round(rng.random(600) * 255), 1)
    ties = np.arange(-257, 257) + 0.5
    for scale in np.float32([*2.0 ** np.arange(-32, 9), 0.0040534367, *others]):
        sums = np.rint(ties[:, None] / np.float64(scale)) + np.arange(-2, 3)
        acc = sums[np.abs(sums) < 2.0**31].astype(np.int64)
        expected = np.rint(acc.astype(np.float32) * scale)
        actual = golden.rescale(acc, *golden.quantize_multiplier(float(scale)), rounding=Rounding.FLOAT32)
        np.testing.assert_array_equal(actual, expected, err_msg=str(scale))


def test_requantize_of_the_smallest_scales():
    """Below 2^−32 no sum makes a half."""
    for scale in np.float32([2.0**-32, 2.0**-33, 2.0**-126, 2.0**-149]):
        for acc in (INT_MIN, INT_MIN + 1, -1, 0, 1, INT_MAX):
            factor = golden.quantize_multiplier(float(scale))
            assert golden.rescale(acc, *factor, rounding=Rounding.FLOAT32) == np.rint(np.float32(acc) * scale)


def test_quantize():
    """Halves, the ends of both types, one kind of division or the other, and NaN among numbers."""
    halves = np.array([-2.5, -1.5, -0.5, 0.5, 1.5, 2.5, 0.25]) * 0.5
    away, even = [-3, -2, -1, 1, 2, 3, 0], [-2, -2, 0, 0, 2, 2, 0]
    for rounding, expected in ((Rounding.DOUBLE, away), (Rounding.FLOAT32, even)):
        np.testing.assert_array_equal(golden.quantize(halves, (0.5, 7), rounding=rounding), np.add(expected, 7))
    np.testing.assert_array_equal(golden.quantize(halves, (0.5, -7)), np.subtract(away, 7))
    for bits, kind in ((8, np.int8), (16, np.int16)):
        ends = golden.quantize([-1e38, -40000, 40000, 1e38, np.inf], (0.1, 3), bits=bits)
        assert ends.dtype == kind
        low, high = np.iinfo(kind).min, np.iinfo(kind).max
        np.testing.assert_array_equal(ends, [low, low, high, high, high])
    np.testing.assert_array_equal(golden.quantize([-400, 400], (1.0, 0), bits=16), [-400, 400])
    np.testing.assert_array_equal(golden.quantize([-400, 400], (1.0, 0)), [-128, 127])
    # The reciprocal is used, whatever the scale says.
    assert golden.quantize(3.0, (0.5, 1), reciprocal=4.0) == 13
    for values in ([0.0, np.nan], [np.nan]):
        with pytest.raises(ValueError, match="the values to quantize contain NaN"):
            golden.quantize(values, (1.0, 0))


def test_dequantize():
    """A product that is rounded once: 16 bits less a zero point, times a scale of 24 bits."""
    real = golden.dequantize(np.array([-128, 5, 127], np.int8), (0.5, 5))
    assert real.dtype == np.float32
    np.testing.assert_array_equal(real, [-66.5, 0, 61])
    scale = float(np.float32(0.1))
    wide = golden.dequantize(np.array([-32768, 32767], np.int16), (scale, 5))
    np.testing.assert_array_equal(wide, [np.float32(float(Fraction(scale) * v)) for v in (-32773, 32762)])


@pytest.mark.parametrize(
    ("scale", "expected"),
    [
        (0.0, (0, 0)),
        (0.5, (2**30, 0)),
        (1.0, (2**30, 1)),
        (0.75, (3 << 29, 0)),
        (1 - 2**-33, (2**30, 1)),  # rounds up to 2^31, which is halved
        ((2**30 + 0.5) / 2**31, (2**30 + 1, 0)),  # a tie
        (2.0**-32, (2**30, -31)),
        (2.0**-33, (0, 0)),
        (2.0**29, (2**30, 30)),
    ],
)
def test_quantize_multiplier(scale, expected):
    assert golden.quantize_multiplier(scale) == expected


@pytest.mark.parametrize("scale", [-0.1, float("nan"), float("inf")])
def test_quantize_multiplier_refuses_no_scale(scale):
    with pytest.raises(ValueError, match="scale must be finite and 0 or more"):
        golden.quantize_multiplier(scale)


def test_quantize_multiplier_refuses_a_large_scale():
    with pytest.raises(ValueError, match=r"scale must be below 2\^30"):
        golden.quantize_multiplier(2.0**30)


def naive_conv2d(x, weights, bias, *, stride, padding, dilation, pad_value, zero_point, groups):
    """The sum of the definition, one index at a time."""
    images, height, width, channels = x.shape
    outputs, kernel_y, kernel_x, depth = weights.shape
    (top, bottom), (left, right) = padding
    rows = (height + top + bottom - dilation[0] * (kernel_y - 1) - 1) // stride[0] + 1
    columns = (width + left + right - dilation[1] * (kernel_x - 1) - 1) // stride[1] + 1
    result = np.zeros((images, rows, columns, outputs), np.int64)
    for n, y, column, o in np.ndindex(*result.shape):
        total = int(bias[o])
        for i, j, c in np.ndindex(kernel_y, kernel_x, depth):
            row = y * stride[0] + i * dilation[0] - top
            line = column * stride[1] + j * dilation[1] - left
            inside = 0 <= row < height and 0 <= line < width
            value = int(x[n, row, line, o // (outputs // groups) * depth + c]) if inside else pad_value
            total += int(weights[o, i, j, c]) * (value - zero_point)
        result[n, y, column, o] = wrap(total)
    assert groups * depth == channels
    return result


@pytest.mark.parametrize(
    "layer",
    [
        {},
        {"stride": (2, 1), "padding": ((1, 1), (1, 1))},
        {"stride": (1, 3), "padding": ((0, 1), (2, 0)), "pad_value": -128, "zero_point": -128},
        {"dilation": (2, 1), "padding": ((2, 2), (0, 0)), "pad_value": 17, "zero_point": 5},
        {"groups": 2, "padding": ((1, 0), (0, 1)), "pad_value": 3, "zero_point": 3},
        {"groups": 4, "dilation": (1, 2), "pad_value": -3},
    ],
)
def test_conv2d_is_its_definition(layer):
    layer = {"stride": (1, 1), "padding": ((0, 0), (0, 0)), "dilation": (1, 1), "pad_value": 0, "zero_point": 0} | layer
    groups = layer.setdefault("groups", 1)
    rng = np.random.default_rng(2)
    x = rng.integers(-128, 128, (2, 6, 5, 4), np.int8)
    weights = rng.integers(-128, 128, (8, 3, 2, 4 // groups), np.int8)
    bias = rng.integers(INT_MIN, INT_MAX, 8, np.int32)
    actual = golden.conv2d(x, weights, bias, **layer)
    assert actual.dtype == np.int32
    np.testing.assert_array_equal(actual, naive_conv2d(x, weights, bias, **layer))


def test_conv2d_wraps_to_32_bits():
    x, weights = np.full((1, 1, 1, 1), -128, np.int8), np.full((1, 1, 1, 1), -128, np.int8)
    assert golden.conv2d(x, weights, [INT_MAX], pad_value=0)[0, 0, 0, 0] == INT_MIN + 16383


def test_conv2d_refuses_weights_that_do_not_fit():
    x, weights = np.zeros((1, 3, 3, 4), np.int8), np.zeros((2, 1, 1, 3), np.int8)
    with pytest.raises(ValueError, match=r"weights \(2, 1, 1, 3\) in 1 groups do not fit 4 channels"):
        golden.conv2d(x, weights, [0, 0], pad_value=0)


def test_fully_connected_is_its_definition():
    rng = np.random.default_rng(3)
    x, weights = rng.integers(-128, 128, (3, 40), np.int8), rng.integers(-128, 128, (5, 40), np.int8)
    bias = np.array([0, 1, INT_MAX, INT_MIN, -9], np.int32)
    expected = np.zeros((3, 5), np.int64)
    for n, o in np.ndindex(3, 5):
        expected[n, o] = wrap(int(bias[o]) + sum(int(weights[o, i]) * (int(x[n, i]) + 11) for i in range(40)))
    np.testing.assert_array_equal(golden.fully_connected(x, weights, bias, zero_point=-11), expected)


def test_max_pool2d():
    x = np.array([[-128, -100, 3], [4, -5, -6], [7, 8, -9]], np.int8).reshape(1, 3, 3, 1)
    pool = golden.max_pool2d(x, size=(2, 2), stride=(1, 1))
    np.testing.assert_array_equal(pool[0, :, :, 0], [[4, 3], [8, 8]])
    pool = golden.max_pool2d(x, size=(2, 2), stride=(2, 2), padding=((1, 0), (0, 1)), low=-100, high=6)
    np.testing.assert_array_equal(pool[0, :, :, 0], [[-100, 3], [6, -6]])


@pytest.mark.parametrize(
    "name", ["ic_resnet8", "kws_dscnn", "ad_autoencoder", "hello_world", "mnist_valid", "mnist_resnet"]
)
def test_layers_of_public_models(name):
    """Every convolution and fully connected layer gives the integers that tflite-micro gave."""
    folder = needs.models() / "tflite"
    model = tflite.Model.GetRootAsModel((folder / f"{name}.tflite").read_bytes(), 0)
    with np.load(folder / f"{name}.golden.npz") as data:
        recorded = {key: data[key] for key in data.files if key != "meta"}
    graph = model.Subgraphs(0)
    checked = 0
    for index in range(graph.OperatorsLength()):
        operator = graph.Operators(index)
        code = model.OperatorCodes(operator.OpcodeIndex())
        kind = max(code.BuiltinCode(), code.DeprecatedBuiltinCode())
        if kind in (
            tflite.BuiltinOperator.CONV_2D,
            tflite.BuiltinOperator.DEPTHWISE_CONV_2D,
            tflite.BuiltinOperator.FULLY_CONNECTED,
        ):
            expected = recorded[f"t{operator.Outputs(0)}"]
            source = operator.Inputs(0)
            x = recorded["input"][: len(expected)] if source == graph.Inputs(0) else recorded[f"t{source}"]
            x = x.reshape(-1, *graph.Tensors(source).ShapeAsNumpy()[1:])
            actual = run_operator(model, graph, operator, kind, x)
            np.testing.assert_array_equal(actual, expected.reshape(actual.shape), f"operator {index}")
            checked += 1
    assert checked


def run_operator(model, graph, operator, kind, x):
    """One TFLite operator through the golden model."""

    def constant(tensor, dtype):
        data = model.Buffers(tensor.Buffer()).DataAsNumpy()
        return data.view(dtype).reshape(tensor.ShapeAsNumpy())

    tensors = [graph.Tensors(operator.Inputs(i)) for i in range(3)] + [graph.Tensors(operator.Outputs(0))]
    (s_in, z_in), (s_w, _), _, (s_out, z_out) = (
        (t.Quantization().ScaleAsNumpy().astype(np.float64), t.Quantization().ZeroPointAsNumpy()) for t in tensors
    )
    weights, bias = constant(tensors[1], np.int8), constant(tensors[2], np.int32).ravel()
    multiplier, shift = np.array([golden.quantize_multiplier(s) for s in (s_in * s_w / s_out).tolist()]).T
    table = operator.BuiltinOptions()
    if kind == tflite.BuiltinOperator.FULLY_CONNECTED:
        options = tflite.FullyConnectedOptions()
        options.Init(table.Bytes, table.Pos)
        sums = golden.fully_connected(x.reshape(-1, weights.shape[1]), weights, bias, zero_point=int(z_in[0]))
    else:
        depthwise = kind == tflite.BuiltinOperator.DEPTHWISE_CONV_2D
        options = tflite.DepthwiseConv2DOptions() if depthwise else tflite.Conv2DOptions()
        options.Init(table.Bytes, table.Pos)
        if depthwise:
            weights = weights.transpose(3, 1, 2, 0)
        stride = (options.StrideH(), options.StrideW())
        same = options.Padding() == tflite.Padding.SAME
        padding = tuple(
            same_padding(x.shape[1 + axis], weights.shape[1 + axis], stride[axis]) if same else (0, 0)
            for axis in (0, 1)
        )
        sums = golden.conv2d(
            x, weights, bias, stride=stride, padding=padding, pad_value=int(z_in[0]), zero_point=int(z_in[0]),
            groups=x.shape[3] if depthwise else 1,
        )  # fmt: skip
    relu = options.FusedActivationFunction() == tflite.ActivationFunctionType.RELU
    return golden.requantize(sums, multiplier, shift, zero_point=int(z_out[0]), low=int(z_out[0]) if relu else -128)


def same_padding(size, kernel, stride):
    total = max((-(-size // stride) - 1) * stride + kernel - size, 0)
    return total // 2, total - total // 2
