"""TensorFlow Lite's operators that put values in other places, against the interpreters."""

from __future__ import annotations

import numpy as np
import pytest

from interpreters import compare, litert, micro
from sateen.frontends import tflite
from sateen.graph import GraphError
from tflite_models import ModelBuilder

IMAGE = (1, 4, 6, 8)


def moved(kind, out, options="", extra=(), shape=IMAGE, type="INT8", **fields):
    """A file of one operator on one tensor, and its input."""
    b = ModelBuilder()
    numbers = {} if type == "FLOAT32" else {"scale": 0.1, "zero_point": 4}
    x = b.tensor(shape, type, **numbers)
    constants = [b.constant(values) for values in extra]
    y = b.tensor(out, type, **numbers)
    b.op(kind, [x, *constants], [y], options, **fields)
    low = 0 if type == "UINT8" else -128
    values = np.random.default_rng(1).integers(low, low + 256, shape)
    return b.build([x], [y]), [values.astype({"INT8": np.int8, "UINT8": np.uint8, "FLOAT32": np.float32}[type])]


CASES = [
    ("SPACE_TO_DEPTH", (1, 2, 3, 32), "SpaceToDepthOptions", (), {"BlockSize": 2}),
    ("DEPTH_TO_SPACE", (1, 8, 12, 2), "DepthToSpaceOptions", (), {"BlockSize": 2}),
    ("MIRROR_PAD", (1, 9, 11, 8), "MirrorPadOptions", ([[0, 0], [2, 3], [5, 0], [0, 0]],), {"Mode": 0}),
    ("MIRROR_PAD", (1, 8, 8, 18), "MirrorPadOptions", ([[0, 0], [4, 0], [1, 1], [2, 8]],), {"Mode": 1}),
    ("TILE", (1, 8, 6, 24), "", ([1, 2, 1, 3],), {}),
    ("BROADCAST_TO", (1, 4, 6, 8), "", ([1, 4, 6, 8],), {"version": 2}),
    ("REVERSE_V2", IMAGE, "ReverseV2Options", ([2],), {}),
    ("REVERSE_V2", IMAGE, "ReverseV2Options", ([-1],), {}),
    ("GATHER", (1, 4, 3, 8), "GatherOptions", ([5, 0, 5],), {"Axis": 2}),
    ("GATHER", (1, 4, 6, 2, 2), "GatherOptions", ([[7, 1], [0, 0]],), {"Axis": -1}),
    ("SPACE_TO_BATCH_ND", (6, 3, 3, 8), "", ([2, 3], [[1, 1], [2, 1]]), {}),
    ("GATHER_ND", (3, 8), "", ([[0, 3, 5], [0, 0, 0], [0, 1, 2]],), {}),
    ("GATHER_ND", (2, 2, 6, 8), "", ([[[0, 3], [0, 1]], [[0, 1], [0, 0]]],), {}),
]
MICRO = {"SPACE_TO_DEPTH", "DEPTH_TO_SPACE", "MIRROR_PAD", "BROADCAST_TO", "GATHER", "GATHER_ND"}


@pytest.mark.parametrize(
    ("kind", "out", "options", "extra", "fields", "type"),
    [
        (*case, type)
        for type in ("INT8", "UINT8", "FLOAT32")
        for case in CASES
        # Blocks as items are of codes only.
        if (case[0], type) != ("SPACE_TO_BATCH_ND", "FLOAT32")
    ],
)
def test_against_the_interpreters(kind, out, options, extra, fields, type):
    data, inputs = moved(kind, out, options, extra, type=type, **fields)
    if kind in MICRO and type == "INT8":
        compare(data, inputs, micro)
    compare(data, inputs, litert)


@pytest.mark.parametrize("type", ["INT8", "UINT8"])
def test_blocks_as_items_and_back(type):
    b, offset = ModelBuilder(), 128 * (type == "UINT8")
    shapes = [(1, 4, 6, 3), (6, 3, 3, 3), (6, 3, 3, 3), (1, 5, 7, 3)]
    x, parts, limited, y = (b.tensor(shape, type, scale=0.1, zero_point=4 + offset) for shape in shapes)
    block = b.constant([2, 3])
    b.op("SPACE_TO_BATCH_ND", [x, block, b.constant([[1, 1], [2, 1]])], [parts], "SpaceToBatchNDOptions")
    b.op("RELU", [parts], [limited])
    b.op("BATCH_TO_SPACE_ND", [limited, block, b.constant([[1, 0], [0, 2]])], [y], "BatchToSpaceNDOptions")
    codes = np.random.default_rng(2).integers(-128, 128, shapes[0]) + offset
    compare(b.build([x], [y]), [codes.astype(np.uint8 if offset else np.int8)], litert)


def test_broadcast_of_small_tensors():
    for shape in ((1, 1, 6, 1), (1, 4, 1, 8)):
        data, inputs = moved("BROADCAST_TO", IMAGE, "", ([1, 4, 6, 8],), shape=shape, version=2)
        compare(data, inputs, micro)
        compare(data, inputs, litert)


@pytest.mark.parametrize(
    ("kind", "out", "options", "extra", "fields", "message"),
    [
        ("TILE", (2, 4, 6, 8), "", ([2, 1, 1, 1],), {}, "moves or repeats items of the batch"),
        ("GATHER", (1, 4, 1, 8), "GatherOptions", ([6],), {"Axis": 2}, "must lie within 0 to 5"),
        ("GATHER_ND", (1, 8), "", ([[0, 4, 5]],), {}, "must lie within the shape"),
        ("MIRROR_PAD", (1, 8, 6, 8), "MirrorPadOptions", ([[0, 0], [4, 0], [0, 0], [0, 0]],), {}, "4 values mirror"),
        ("TILE", (1, 4, 6, 16), "", ([1, 1, 2],), {}, "do not fit tensor 't0'"),
    ],
)
def test_refusals(kind, out, options, extra, fields, message):
    with pytest.raises(GraphError, match=message):
        tflite.load(moved(kind, out, options, extra, **fields)[0])
