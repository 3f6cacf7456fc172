"""TensorFlow Lite's functions of one value, over all codes, against the interpreters."""

from __future__ import annotations

import numpy as np
import pytest

from interpreters import compare, litert, micro
from sateen.frontends import tflite
from sateen.graph import GraphError
from tflite_models import ModelBuilder

INPUTS = [(0.05, 3), (0.1, -128), (2.0**-5, 0), (0.7, 100), (0.003, -7)]
OUTPUTS = [(0.04, -20), (2.0**-6, 0), (0.9, 90), (0.05, 3)]


def function(kind, x, y, *, type="INT8", version=1, options="", **fields):
    """A file of one operator, and all codes at which the interpreter computes it."""
    b, unsigned, codes = ModelBuilder(), type == "UINT8", np.arange(-128, 128)
    codes = codes[codes >= x[1]] if kind in ("RSQRT", "SQRT") else codes
    shape = (1, len(codes))
    given, made = (b.tensor(shape, type, scale=s, zero_point=z + 128 * unsigned) for s, z in (x, y))
    b.op(kind, [given], [made], options, version=version, **fields)
    codes = (codes + 128).astype(np.uint8) if unsigned else codes.astype(np.int8)
    return b.build([given], [made]), [codes[None]]


CASES = [
    ("ABS", micro, {}),  # LiteRT divides the scales in float32.
    ("RSQRT", micro, {}),
    ("RSQRT", litert, {"version": 2}),
    ("ELU", micro, {}),
    ("EXP", litert, {"version": 2}),
    ("LOG", litert, {"version": 2}),
    ("SQRT", litert, {"version": 2}),
    ("GELU", litert, {"options": "GeluOptions"}),
    ("GELU", litert, {"options": "GeluOptions", "Approximate": True}),
    ("GELU", litert, {"options": "GeluOptions", "type": "UINT8"}),
]


@pytest.mark.parametrize("x", INPUTS)
@pytest.mark.parametrize("y", OUTPUTS)
@pytest.mark.parametrize(("kind", "interpreter", "fields"), CASES)
def test_all_codes(kind, interpreter, fields, x, y):
    data, inputs = function(kind, x, y, **fields)
    if kind == "EXP" and np.exp(x[0] * (127 - x[1])) / y[0] >= 2**31:
        with pytest.raises(GraphError, match="overflows the interpreter's integers"):
            tflite.load(data)
        return
    compare(data, inputs, interpreter)


def test_negation():
    """The interpreter negates codes, whatever they stand for."""
    compare(*function("NEG", (0.05, 0), (0.05, 0)), litert)
    with pytest.raises(GraphError, match="codes are negated, which stand for other numbers"):
        tflite.load(function("NEG", (0.05, 1), (0.05, 1))[0])


@pytest.mark.parametrize("kind", ["ABS", "ELU", "EXP", "LOG", "NEG", "RSQRT", "SQRT"])
def test_what_uint8_lacks(kind):
    with pytest.raises(GraphError, match="has no such operator for UINT8"):
        tflite.load(function(kind, (0.05, 0), (0.05, 0), type="UINT8")[0])


def test_scales_that_are_too_far_apart():
    with pytest.raises(GraphError, match=r"its scales do not fit together \(1 / √"):
        tflite.load(function("RSQRT", (2.0**20, 0), (2.0**10, 0))[0])
