"""Dilated convolutions that TensorFlow Lite's files write as SPACE_TO_BATCH_ND, a convolution and BATCH_TO_SPACE_ND."""

from __future__ import annotations

import numpy as np
import pytest

from interpreters import compare, litert, micro
from sateen.frontends import tflite
from sateen.graph import GraphError
from tflite_models import ModelBuilder

X, Y = (0.05, 3), (0.4, -9)


def dilated(size, block, before, cut, kernel, *, kind="CONV_2D", padding=1, stride=1, inner=X, batch=1, leak=False):
    """A file of the three operators over images, and its input."""
    b, rng, channels, outputs = ModelBuilder(), np.random.default_rng(1), 3, 4 if kind == "CONV_2D" else 6
    sizes = [(n + sum(pads)) // d for n, d, pads in zip(size, block, before, strict=True)]
    made = [-(-n // stride) if padding == 0 else (n - k) // stride + 1 for n, k in zip(sizes, kernel, strict=True)]
    out = [n * d - sum(pads) for n, d, pads in zip(made, block, cut, strict=True)]
    items = batch * block[0] * block[1]
    given, y = (
        b.tensor((batch, *size, channels), scale=X[0], zero_point=X[1]),
        b.tensor((batch, *out, outputs), scale=Y[0], zero_point=Y[1]),
    )
    parts = b.tensor((items, *sizes, channels), scale=inner[0], zero_point=inner[1])
    results = b.tensor((items, *made, outputs), scale=Y[0], zero_point=Y[1])
    shape = (outputs, *kernel, channels) if kind == "CONV_2D" else (1, *kernel, outputs)
    weights = b.constant(
        rng.integers(-90, 90, shape), "INT8", scale=[0.02] * outputs, axis=0 if kind == "CONV_2D" else 3
    )
    bias = b.constant(rng.integers(-900, 900, outputs), scale=[X[0] * 0.02] * outputs)
    fields = {"Padding": padding, "StrideH": stride, "StrideW": stride, "DilationHFactor": 1, "DilationWFactor": 1}
    fields |= {} if kind == "CONV_2D" else {"DepthMultiplier": 2}
    b.op("SPACE_TO_BATCH_ND", [given, b.constant(list(block)), b.constant(before)], [parts], "SpaceToBatchNDOptions")
    b.op(
        kind,
        [parts, weights, bias],
        [results],
        f"{'Conv2D' if kind == 'CONV_2D' else 'DepthwiseConv2D'}Options",
        **fields,
    )
    b.op("BATCH_TO_SPACE_ND", [results, b.constant(list(block)), b.constant(cut)], [y], "BatchToSpaceNDOptions")
    data = b.build([given], [y, results] if leak else [y])
    return data, [rng.integers(-128, 128, (batch, *size, channels)).astype(np.int8)]


CASES = [
    # Size, block, padding before, cut, kernel.
    ((8, 8), (2, 2), [[0, 0], [0, 0]], [[0, 0], [0, 0]], (3, 3)),
    ((8, 8), (2, 2), [[2, 2], [2, 2]], [[0, 0], [0, 0]], (3, 3)),
    ((7, 9), (2, 2), [[2, 3], [2, 3]], [[0, 1], [0, 1]], (3, 3)),
    ((9, 8), (3, 2), [[0, 0], [2, 2]], [[0, 0], [0, 0]], (2, 3)),
    ((10, 10), (5, 1), [[5, 5], [1, 1]], [[0, 0], [0, 0]], (3, 3)),
    ((8, 8), (2, 2), [[4, 4], [4, 4]], [[1, 2], [2, 0]], (3, 1)),
    ((8, 12), (4, 4), [[0, 0], [0, 0]], [[0, 0], [0, 0]], (1, 1)),
]


@pytest.mark.parametrize("kind", ["CONV_2D", "DEPTHWISE_CONV_2D"])
@pytest.mark.parametrize("case", CASES)
@pytest.mark.parametrize("padding", [1, 0])
@pytest.mark.parametrize("batch", [1, 2])
def test_one_dilated_convolution(case, kind, padding, batch):
    data, inputs = dilated(*case, kind=kind, padding=padding, batch=batch)
    (op,) = tflite.load(data).ops
    assert op.dilation == case[1]
    compare(data, inputs, litert)
    if not np.any(case[2]):
        # tflite-micro pads with memory that it does not set.
        compare(data, inputs, micro)


@pytest.mark.parametrize("axis", [1, 2])
@pytest.mark.parametrize("kinds", [("EXPAND_DIMS", "SQUEEZE"), ("RESHAPE", "RESHAPE")])
def test_lines(axis, kinds):
    """A convolution over a sequence, with reshapes around it."""
    b, rng, length, step, kernel = ModelBuilder(), np.random.default_rng(2), 14, 4, 3
    x, y = b.tensor((1, length, 3), scale=X[0], zero_point=X[1]), b.tensor((1, length, 5), scale=Y[0], zero_point=Y[1])
    parts, made = (length + 2 + 8) // step, (length + 2 + 8) // step - kernel + 1
    inner, results = (
        b.tensor((step, parts, 3), scale=X[0], zero_point=X[1]),
        b.tensor((step, made, 5), scale=Y[0], zero_point=Y[1]),
    )
    images = [[step, n, channels] for n, channels in ((parts, 3), (made, 5))]
    for shape in images:
        shape.insert(axis, 1)
    image, folded = b.tensor(images[0], scale=X[0], zero_point=X[1]), b.tensor(images[1], scale=Y[0], zero_point=Y[1])
    sizes = (5, 1, kernel, 3) if axis == 1 else (5, kernel, 1, 3)
    weights = b.constant(rng.integers(-90, 90, sizes), "INT8", scale=[0.02] * 5)
    blocks = b.constant([step])
    b.op("SPACE_TO_BATCH_ND", [x, blocks, b.constant([[8, 2]])], [inner], "SpaceToBatchNDOptions")
    if kinds[0] == "EXPAND_DIMS":
        b.op("EXPAND_DIMS", [inner, b.constant(axis)], [image], "ExpandDimsOptions")
    else:
        b.op("RESHAPE", [inner, b.constant(images[0])], [image], "ReshapeOptions")
    fields = {"Padding": 1, "StrideH": 1, "StrideW": 1, "DilationHFactor": 1, "DilationWFactor": 1}
    b.op("CONV_2D", [image, weights, b.constant([9] * 5, scale=[X[0] * 0.02] * 5)], [folded], "Conv2DOptions", **fields)
    if kinds[1] == "SQUEEZE":
        b.op("SQUEEZE", [folded], [results], "SqueezeOptions", SqueezeDims=[axis])
    else:
        b.op("RESHAPE", [folded, b.constant([step, made, 5])], [results], "ReshapeOptions")
    b.op("BATCH_TO_SPACE_ND", [results, blocks, b.constant([[0, 2]])], [y], "BatchToSpaceNDOptions")
    data = b.build([x], [y])
    assert [type(op).__name__ for op in tflite.load(data).ops] == ["Reshape", "Conv2D", "Reshape"]
    compare(data, [rng.integers(-128, 128, (1, length, 3)).astype(np.int8)], litert)


@pytest.mark.parametrize("fields", [{"stride": 2}, {"inner": (0.05, 4)}, {"leak": True}])
def test_what_is_no_dilated_convolution(fields):
    """Strides, other numbers inside, and parts that something else reads."""
    with pytest.raises(GraphError):
        tflite.load(dilated(*CASES[0], **fields)[0])
