"""TensorFlow Lite's operators on several tensors, over all pairs of codes, against the interpreters."""

from __future__ import annotations

import numpy as np
import pytest

from interpreters import compare, litert, micro
from sateen.frontends import tflite
from sateen.graph import GraphError
from tflite_models import ModelBuilder

CODES = np.arange(-128, 128)
PAIRS = [np.repeat(CODES, 256)[None], np.tile(CODES, 256)[None]]


def pairs(kind, a, b, y, *, type="INT8", out="", given=PAIRS, options="", version=1, **fields):
    """A file of one operator on two tensors, and their codes."""
    m, offset = ModelBuilder(), 128 * (type == "UINT8")
    x = [m.tensor(v.shape, type, scale=s, zero_point=z + offset) for v, (s, z) in zip(given, (a, b), strict=True)]
    numbers = {} if out == "BOOL" else {"scale": y[0], "zero_point": y[1] + offset}
    result = m.tensor(np.broadcast_shapes(*(v.shape for v in given)), out or type, **numbers)
    m.op(kind, x, [result], options, version=version, **fields)
    return m.build(x, [result]), [(v + offset).astype(np.uint8 if offset else np.int8) for v in given]


NUMBERS = [
    ((0.05, 3), (0.07, -20), (0.9, 1)),
    ((0.05, -128), (0.05, -128), (0.05, -128)),
    ((0.031, 127), (0.5, -128), (0.25, 0)),
    ((2.0**-4, 0), (2.0**-6, 5), (2.0**-2, -3)),
    ((0.9, -1), (0.001, 2), (3.7, -90)),
]


def both(data, inputs, type, **fields):
    if type == "INT8":
        compare(data, inputs, micro)
    compare(data, inputs, litert)


@pytest.mark.parametrize(("a", "b", "y"), NUMBERS)
@pytest.mark.parametrize("type", ["INT8", "UINT8"])
def test_slopes(a, b, y, type):
    data, inputs = pairs("PRELU", a, b, y, type=type)
    # LiteRT divides the scales of int8 in float32, too.
    compare(data, inputs, micro if type == "INT8" else litert)


@pytest.mark.parametrize(("a", "b", "y"), NUMBERS)
def test_squared_differences(a, b, y):
    data, inputs = pairs("SQUARED_DIFFERENCE", a, b, y)
    compare(data, inputs, micro)
    compare(data, inputs, litert)


@pytest.mark.parametrize(("a", "b", "y"), NUMBERS)
@pytest.mark.parametrize("type", ["INT8", "UINT8"])
@pytest.mark.parametrize("activation", [0, 1])
def test_quotients(a, b, y, type, activation):
    """All pairs but those for which the interpreter shifts by more than 31 bits, or divides by zero."""
    x, z = PAIRS[0] - a[1], PAIRS[1] - b[1]
    x, z = np.where(z < 0, -x, x), np.abs(z)
    _, shift = np.frexp(a[0] / (b[0] * y[0]))
    _, over_one = np.frexp(np.maximum(z, 1))
    _, size = np.frexp(np.where(x < 0, ~x, x))
    right = (over_one - 1) + (31 - size) - shift
    good = (z > 0) & (right >= 0) & (right <= 31)
    given = [values[good][None] for values in PAIRS]
    fields = {"options": "DivOptions", "version": 2, "FusedActivationFunction": activation}
    both(*pairs("DIV", a, b, y, type=type, given=given, **fields), type)


@pytest.mark.parametrize("kind", ["MAXIMUM", "MINIMUM"])
@pytest.mark.parametrize("type", ["INT8", "UINT8"])
def test_larger_and_smaller_values(kind, type):
    both(*pairs(kind, (0.05, 3), (0.05, 3), (0.05, 3), type=type, version=2), type)
    given = [np.arange(60).reshape(1, 5, 4, 3), np.arange(3, 15).reshape(1, 1, 4, 3)]
    both(*pairs(kind, (0.05, 3), (0.05, 3), (0.05, 3), type=type, version=2, given=given), type)
    with pytest.raises(GraphError, match="must have the same scale and zero point, because codes are compared"):
        tflite.load(pairs(kind, (0.05, 3), (0.05, 4), (0.05, 3), type=type)[0])


@pytest.mark.parametrize("kind", ["EQUAL", "NOT_EQUAL", "GREATER", "GREATER_EQUAL", "LESS", "LESS_EQUAL"])
@pytest.mark.parametrize("type", ["INT8", "UINT8"])
@pytest.mark.parametrize(("a", "b", "y"), NUMBERS)
def test_comparisons(kind, type, a, b, y):
    both(*pairs(kind, a, b, None, type=type, out="BOOL", version=2), type)


def test_comparison_of_large_scales():
    with pytest.raises(GraphError, match="a scale of 1.0 is not below 1"):
        tflite.load(pairs("EQUAL", (1.0, 0), (0.5, 0), None, out="BOOL")[0])


@pytest.mark.parametrize("type", ["INT8", "UINT8"])
@pytest.mark.parametrize("zero_point", [3, -128, 127])
def test_lengths(type, zero_point):
    rng, offset = np.random.default_rng(1), 128 * (type == "UINT8")
    rows = np.concatenate(
        [rng.integers(-128, 128, (200, 9)), rng.integers(-3, 3, (50, 9)), np.full((1, 9), zero_point)]
    )
    m = ModelBuilder()
    x = m.tensor(rows.shape, type, scale=0.1, zero_point=zero_point + offset)
    y = m.tensor(rows.shape, type, scale=1 / 128, zero_point=offset)
    m.op("L2_NORMALIZATION", [x], [y], "L2NormOptions", version=2)
    both(m.build([x], [y]), [(rows + offset).astype(np.uint8 if offset else np.int8)], type)


@pytest.mark.parametrize("type", ["INT8", "UINT8", "FLOAT32"])
def test_choices(type):
    """Values chosen by comparisons, joined in every way."""
    m, unsigned = ModelBuilder(), type == "UINT8"
    numbers = {} if type == "FLOAT32" else {"scale": 0.05, "zero_point": 3 + 128 * unsigned}
    a, b, y = (m.tensor((1, 400), type, **numbers) for _ in range(3))
    flags = [m.tensor((1, 400), "BOOL") for _ in range(6)]
    m.op("GREATER", [a, b], [flags[0]])
    m.op("EQUAL", [a, b], [flags[1]])
    m.op("LOGICAL_OR", flags[:2], [flags[2]])
    m.op("LOGICAL_NOT", [flags[1]], [flags[3]])
    m.op("LOGICAL_AND", flags[2:4], [flags[4]])
    m.op("NOT_EQUAL", [flags[4], flags[1]], [flags[5]])
    m.op("SELECT_V2", [flags[5], a, b], [y])
    rng = np.random.default_rng(2)
    given = [
        rng.integers(0, 10, (1, 400)).astype({"INT8": np.int8, "UINT8": np.uint8, "FLOAT32": np.float32}[type])
        for _ in range(2)
    ]
    data = m.build([a, b], [y])
    compare(data, given, litert)
    if type == "INT8":
        compare(data, given, micro)
    # The first version of the operator, which takes no shapes that broadcast.
    m.ops[-1]["kind"] = "SELECT"
    compare(m.build([a, b], [y]), given, litert)


def test_a_choice_of_whole_items():
    m = ModelBuilder()
    flag, a, b, y = (m.tensor(shape, kind) for shape, kind in (((1,), "BOOL"), *[((1, 5), "FLOAT32")] * 3))
    m.op("SELECT", [flag, a, b], [y])
    with pytest.raises(GraphError, match=r"SELECT.*shapes \[\(1,\), \(1, 5\), \(1, 5\)\] must be equal"):
        tflite.load(m.build([flag, a, b], [y]))
