"""TensorFlow Lite's CAST between all types, and operators that interpreters have for real numbers alone."""

from __future__ import annotations

import re

import numpy as np
import pytest

import sateen
from interpreters import litert, micro
from sateen.frontends import tflite
from sateen.frontends.tflite.refusals import REAL_ONLY
from sateen.graph import GraphError, run
from tflite_models import DTYPES, ModelBuilder

CODES = ("INT8", "UINT8", "INT16")
TYPES = (*CODES, "INT32", "INT64", "FLOAT32", "BOOL")
MICRO = ("INT8", "INT16", "INT32", "FLOAT32", "BOOL")
"""Types that tflite-micro casts."""


def file(source, target):
    b = ModelBuilder()
    x, y = (b.tensor((1, 4, 256), kind, scale=0.05 if kind in CODES else None) for kind in (source, target))
    b.op("CAST", [x], [y], "CastOptions")
    return b.build([x], [y])


def values(kind):
    """Corners and all codes of 8 bits, and random values beyond."""
    rng, codes = np.random.default_rng(1), np.arange(-128, 128)
    if kind == "FLOAT32":
        wide = rng.uniform(-2e9, 2e9, (2, 256))
        return np.stack([codes / 2, codes / 256, *wide]).astype(np.float32)[None]
    wide = rng.integers(-(2**31), 2**31, (3, 256))
    return np.stack([codes, *wide]).astype(DTYPES[kind])[None]


@pytest.mark.parametrize("source", TYPES)
@pytest.mark.parametrize("target", TYPES)
def test_every_pair_of_types(source, target):
    data, given = file(source, target), values(source)
    if source == "FLOAT32" and target not in ("FLOAT32", "INT32", "BOOL"):
        with pytest.raises(GraphError, match=f"it makes {target} of real numbers; use QUANTIZE or INT32"):
            tflite.load(data)
        return
    graph = tflite.load(data)
    x, y = graph.tensors[graph.inputs[0]], graph.tensors[graph.outputs[0]]
    held = given.astype(np.int32) if x.dtype == "int32" else given
    actual = y.to_file(run(graph, {x.name: x.from_file(held)})[y.name])
    for interpreter in (litert, *([micro] if source in MICRO and target in MICRO else [])):
        np.testing.assert_array_equal(actual, interpreter(data, [given]).reshape(actual.shape))


def test_truth_values_of_codes_on_a_device():
    """A comparison of what the device computes, as numbers."""
    b = ModelBuilder()
    x, y = b.tensor((1, 6), scale=0.1), b.tensor((1, 6), scale=0.1)
    larger, numbers = b.tensor((1, 6), "BOOL"), b.tensor((1, 6), "INT32")
    b.op("RELU", [x], [y])
    b.op("GREATER", [y, x], [larger], "GreaterOptions")
    b.op("CAST", [larger], [numbers], "CastOptions")
    data, given = b.build([x], [numbers]), np.random.default_rng(2).integers(-128, 128, (1, 6)).astype(np.int8)
    with sateen.open("sim:tiny") as device:
        result = device.load(sateen.compile(tflite.load(data), "tiny")).run(given)
    np.testing.assert_array_equal(result, micro(data, [given]))


@pytest.mark.parametrize("kind", REAL_ONLY)
def test_operators_of_real_numbers(kind):
    b = ModelBuilder()
    tensors = [b.tensor((1, 6), scale=0.1) for _ in range(3)]
    inputs = tensors[:2] if kind == "POW" else tensors[:1]
    b.op(kind, inputs, tensors[2:], "PowOptions" if kind == "POW" else "")
    data, x = b.build(inputs, tensors[2:]), np.zeros((1, 6), np.int8)
    with pytest.raises(GraphError, match=re.escape(f"TensorFlow Lite has no {kind} of INT8; put DEQUANTIZE before it")):
        tflite.load(data)
    with pytest.raises(RuntimeError):
        litert(data, [x] * len(inputs))
