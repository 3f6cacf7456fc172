"""TensorFlow Lite's operators over whole axes, against the interpreters."""

from __future__ import annotations

import numpy as np
import pytest

from interpreters import compare, litert, micro
from sateen.frontends import tflite
from sateen.graph import GraphError
from tflite_models import ModelBuilder

SHAPE = (1, 7, 5, 24)
AXES = [(1, 2), (1,), (2,), (3,), (1, 2, 3), (1, 3), (-1, -2), (2, 2, 2), (0,), (0, 2), (0, 1, 2, 3)]


def reduced(kind, axes, x, y, *, type="INT8", shape=SHAPE, keep=True):
    """A file of one operator, and its input."""
    b, unsigned = ModelBuilder(), type == "UINT8"
    given = b.tensor(shape, type, scale=x[0], zero_point=x[1] + 128 * unsigned)
    places = {axis % len(shape) for axis in axes}
    out = [1 if axis in places else size for axis, size in enumerate(shape) if keep or axis not in places]
    made = b.tensor(out, type, scale=y[0], zero_point=y[1] + 128 * unsigned)
    b.op(kind, [given, b.constant(list(axes))], [made], "ReducerOptions", KeepDims=keep)
    values = np.random.default_rng(3).integers(-128, 128, shape)
    return b.build([given], [made]), [(values + 128).astype(np.uint8) if unsigned else values.astype(np.int8)]


@pytest.mark.parametrize("type", ["INT8", "UINT8"])
@pytest.mark.parametrize("axes", AXES)
@pytest.mark.parametrize("keep", [True, False])
@pytest.mark.parametrize(
    ("kind", "x", "y"),
    [
        ("SUM", (0.1, 4), (3.3, -20)),
        ("SUM", (0.017, -128), (0.25, 127)),
        ("SUM", (0.5, 0), (0.5, 0)),
        ("MEAN", (0.1, 4), (0.017, -30)),
        ("REDUCE_MAX", (0.1, 4), (0.1, 4)),
        ("REDUCE_MIN", (0.1, 4), (0.1, 4)),
    ],
)
def test_against_the_interpreters(kind, x, y, axes, keep, type):
    data, inputs = reduced(kind, axes, x, y, type=type, keep=keep)
    if type == "INT8" and kind != "REDUCE_MIN":
        compare(data, inputs, micro)
    # The reference kernel of LiteRT 2 for int8 adds up something else than the values.
    if type == "UINT8" or kind != "SUM":
        compare(data, inputs, litert)


def test_other_scales_of_the_largest():
    """The interpreter refuses them, too."""
    with pytest.raises(GraphError, match="must have the same scale and zero point"):
        tflite.load(reduced("REDUCE_MAX", (1,), (0.1, 4), (0.2, 4))[0])


def test_the_place_of_the_largest_of_all_items():
    """Of one, whose place is 0."""
    b = ModelBuilder()
    x, y = b.tensor(SHAPE, scale=0.1), b.tensor(SHAPE[1:], "INT32")
    b.op("ARG_MAX", [x, b.constant(0)], [y], "ArgMaxOptions", OutputType=2)
    compare(b.build([x], [y]), [np.random.default_rng(4).integers(-128, 128, SHAPE).astype(np.int8)], micro)


def test_no_axes():
    with pytest.raises(GraphError, match="its input 1, .*, holds no value"):
        tflite.load(reduced("MEAN", (), (0.1, 4), (0.1, 4))[0])
