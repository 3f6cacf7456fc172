"""Transposed convolutions: the golden model against the definition, and the device against the golden model."""

from __future__ import annotations

import dataclasses

import numpy as np
import pytest
from test_operators import Chain, check, device  # noqa: F401

from sateen.graph import GraphError, TransposeConv2D, run
from sateen.sim import golden
from sateen.testing.graphs import random_input


def definition(x, weights, bias, *, out, stride, before, dilation, zero_point, groups):
    """Every input scattered by itself."""
    outputs, height, width, depth = weights.shape
    sums = np.zeros((len(x), *out, outputs), np.int64) + bias
    for (n, row, column, c), value in np.ndenumerate(x):
        group = c // depth
        for o in range(group * (outputs // groups), (group + 1) * (outputs // groups)):
            for i, j in np.ndindex(height, width):
                y = row * stride[0] + i * dilation[0] - before[0]
                z = column * stride[1] + j * dilation[1] - before[1]
                if 0 <= y < out[0] and 0 <= z < out[1]:
                    sums[n, y, z, o] += (int(value) - zero_point) * int(weights[o, i, j, c % depth])
    return sums.astype(np.int32)


CASES = [
    # Kernel, stride, crop, dilation, groups.
    ((3, 3), (2, 2), ((0, 1), (0, 1)), (1, 1), 1),
    ((2, 2), (2, 2), ((0, 0), (0, 0)), (1, 1), 1),
    ((4, 4), (2, 2), ((1, 1), (1, 1)), (1, 1), 1),
    ((5, 3), (1, 3), ((2, 2), (1, 0)), (1, 1), 2),
    ((1, 2), (3, 2), ((0, -2), (0, 0)), (1, 1), 1),
    ((3, 2), (2, 3), ((1, -1), (0, -2)), (3, 2), 4),
    ((3, 3), (4, 2), ((0, 0), (3, 0)), (2, 2), 1),
    ((2, 2), (5, 5), ((4, 0), (0, 3)), (1, 1), 1),
]
"""Overlapping windows and windows with gaps; results that no input reaches; lines cut off on either side."""


def layer(size, kernel, stride, crop, dilation, groups, rng, *, channels=4, outputs=8, wide=False):
    """A chain of one layer."""
    chain = Chain((*size, channels), rng)
    rows, columns = (
        (n - 1) * s + d * (k - 1) + 1 - sum(cut)
        for n, s, d, k, cut in zip(size, stride, dilation, kernel, crop, strict=True)
    )
    made = chain._weighted((outputs, *kernel, channels // groups))
    if wide:
        made["weights"] = rng.integers(-255, 256, made["weights"].shape).astype(np.int16)
    fields = {"stride": stride, "crop": crop, "dilation": dilation, "groups": groups, **made}
    return chain._add(TransposeConv2D, chain._output((rows, columns, outputs)), **fields)


@pytest.mark.parametrize(("kernel", "stride", "crop", "dilation", "groups"), CASES)
def test_definition(kernel, stride, crop, dilation, groups):
    rng = np.random.default_rng(1)
    graph = layer((3, 4), kernel, stride, crop, dilation, groups, rng).graph()
    op, x = graph.ops[0], random_input(graph, rng, 2)
    fields = {
        "out": graph.tensors[op.output].shape[1:3], "stride": stride, "before": (crop[0][0], crop[1][0]),
        "dilation": dilation, "zero_point": graph.tensors["x"].zero_point, "groups": groups,
    }  # fmt: skip
    sums = definition(x, op.weights, op.bias, **fields)
    np.testing.assert_array_equal(golden.transpose_conv2d(x, op.weights, op.bias, **fields), sums)
    wanted = golden.requantize(
        sums,
        op.multiplier,
        op.shift,
        rounding=op.rounding,
        zero_point=graph.tensors[op.output].zero_point,
        low=op.low,
        high=op.high,
    )
    np.testing.assert_array_equal(run(graph, x)[op.output], wanted)


@pytest.mark.parametrize(("kernel", "stride", "crop", "dilation", "groups"), CASES)
@pytest.mark.parametrize("size", [(3, 4), (1, 1)])
def test_device(device, size, kernel, stride, crop, dilation, groups):  # noqa: F811
    rng = np.random.default_rng(2)
    if any(d * (k - 1) + 1 <= sum(cut) for d, k, cut in zip(dilation, kernel, crop, strict=True)):
        size = (3, 4)
    check(device, layer(size, kernel, stride, crop, dilation, groups, rng).graph())


@pytest.mark.filterwarnings("ignore:.* in parts:sateen.SateenWarning")
def test_device_with_wide_weights_and_many_channels(device):  # noqa: F811
    rng = np.random.default_rng(3)
    check(device, layer((3, 4), *CASES[0], rng, channels=3, outputs=20).graph())
    check(device, layer((2, 3), *CASES[0], rng, wide=True).graph())


def test_refusals():
    rng = np.random.default_rng(4)
    graph = layer((2, 2), (2, 2), (1, 1), ((0, 0), (0, 0)), (1, 1), 1, rng).graph()
    with pytest.raises(GraphError, match="it cuts off all of its result"):
        dataclasses.replace(graph.ops[0], crop=((2, 1), (0, 0))).infer(graph.tensors)
    with pytest.raises(GraphError, match="groups must divide its 8 channels"):
        layer((2, 2), (2, 2), (1, 1), ((0, 0), (0, 0)), (1, 1), 3, rng, channels=9)
