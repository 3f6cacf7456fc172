"""Operators over whole axes, on the simulated device and against NumPy."""

from __future__ import annotations

import numpy as np
import pytest
from test_operators import Chain, check, device  # noqa: F401

from sateen.graph import Mean, ReduceMax, ReduceMin, Sum, run
from sateen.hw.spec.descriptor import Rounding
from sateen.sim import golden
from sateen.testing.graphs import random_input

AXES = [
    ((6, 5, 7), (3,)),
    ((6, 5, 7), (2, 3)),
    ((6, 5, 7), (1, 2, 3)),
    ((6, 5, 7), (1,)),
    ((9, 20), (1,)),
    ((9, 20), (2,)),
    ((30,), (1,)),
    ((6, 1, 7), (1, 3)),
    ((2, 3, 4, 5), (2, 3)),
    ((6, 5, 1), (2,)),
    ((6, 5, 1), (1,)),
    ((6, 5, 1), (1, 2)),
    ((1, 1, 7), (1, 2)),
]


def reduced(kind, shape, axes, **fields):
    """A graph of one operator."""
    out = tuple(n for axis, n in enumerate(shape, 1) if axis not in axes) or (1,)
    fields |= {"keep_dims": True} if out == (1,) else {}
    out = (1,) * len(shape) if out == (1,) and fields.get("keep_dims") else out
    same = kind in (ReduceMax, ReduceMin)
    return Chain(shape, np.random.default_rng(1)).then(kind, *out, same=same, axes=axes, **fields).graph()


@pytest.mark.parametrize(("shape", "axes"), AXES)
@pytest.mark.parametrize("kind", [Mean, Sum])
@pytest.mark.parametrize("rounding", [Rounding.DOUBLE, Rounding.FLOAT32])
def test_means_and_sums(device, kind, shape, axes, rounding):  # noqa: F811
    graph = reduced(kind, shape, axes, rounding=rounding)
    op, x, (given, made) = graph.ops[0], random_input(graph, np.random.default_rng(2), 2), graph.tensors.values()
    sums = (x.astype(np.int64) - given.zero_point).sum(axis=axes)
    scaled = golden.requantize(sums, *op.scaling(graph.tensors), rounding=rounding, zero_point=made.zero_point)
    np.testing.assert_array_equal(run(graph, x)[op.output].reshape(scaled.shape), scaled)
    check(device, graph)


@pytest.mark.parametrize(("shape", "axes"), AXES)
def test_largest_values(device, shape, axes):  # noqa: F811
    graph = reduced(ReduceMax, shape, axes)
    if np.prod([shape[axis - 1] for axis in axes]) > device.config.positions:
        return check(device, graph, fallbacks=["op0"])
    check(device, graph)


@pytest.mark.parametrize(("shape", "axes"), AXES)
@pytest.mark.parametrize("kind", [Mean, Sum])
def test_means_of_real_numbers(device, kind, shape, axes):  # noqa: F811
    check(device, reduced(kind, shape, axes, rounding=Rounding.FLOAT32, fused=False))


def test_what_the_host_computes(device):  # noqa: F811
    check(device, reduced(ReduceMin, (4, 3, 2), (1, 2)), fallbacks=["op0"])
    for kind in (Mean, Sum, ReduceMax):
        check(device, reduced(kind, (4, 3, 2), (1, 3)), fallbacks=["op0"])
