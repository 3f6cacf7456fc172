"""Operators that put values in other places, on the simulated device and against NumPy."""

from __future__ import annotations

import numpy as np
import pytest
from test_operators import Chain, check, device  # noqa: F401

from sateen.compiler.lowering import lower
from sateen.compiler.lowering.arrange import runs
from sateen.graph import DepthToSpace, GraphError, Slice, SpaceToDepth, Take, run
from sateen.testing.graphs import random_input


def taken(shape, places, *, seed=1):
    """A graph of one :class:`Take`, between convolutions where it is an image."""
    out = tuple(n if taken is None else len(taken) for n, taken in zip(shape, places, strict=True))
    return Chain(shape, np.random.default_rng(seed)).then(Take, *out, places=places).graph()


PLACES = [
    ((6, 5, 7), (None, None, None)),
    ((6, 5, 7), ((5, 4, 3, 2, 1, 0), None, None)),
    ((6, 5, 7), (None, (4, 3, 2, 1, 0), None)),
    ((6, 5, 7), (None, None, (6, 5, 4, 3, 2, 1, 0))),
    ((4, 5, 3), ((2, 1, 0, 1, 2, 3, 2, 1), (1, 0, 1, 2, 3, 4, 3), None)),  # Reflected.
    ((4, 5, 3), ((0, 0, 0, 1, 2, 3, 3), (0, 1, 2, 3, 4, 4, 4), (1, 2))),  # Its edges repeated.
    ((3, 2, 5), ((0, 1, 2) * 3, (0, 1) * 2, (0, 1, 2, 3, 4) * 2)),  # Tiled.
    ((3, 4, 2), ((0, 0, 1, 1, 2, 2), (0, 0, 0, 1, 1, 1, 2, 2, 2, 3, 3, 3), None)),  # Every one repeated.
    ((2, 3, 12), (None, (2, 0), (0, 6, 1, 7, 2, 8, 3, 9, 4, 10, 5, 11))),  # Channels shuffled.
    ((3, 4, 2), (None, (3, 0), (1, 0, 1, 1, 0))),  # More channels than there were.
    ((20,), ((3, 9, 1, 0, 0, 19, 18, 5),)),
    ((4, 9), ((3, 0), (8, 1, 5))),
    ((2, 3, 4, 5), (None, (2, 0), None, None)),
    ((2, 3, 4, 5), ((1, 0), None, None, (4, 4))),
]


@pytest.mark.parametrize(("shape", "places"), PLACES)
def test_take(device, shape, places):  # noqa: F811
    graph = taken(shape, places)
    x = random_input(graph, np.random.default_rng(2), 2)
    index = np.ix_(range(2), *(range(n) if p is None else p for n, p in zip(shape, places, strict=True)))
    np.testing.assert_array_equal(run(graph, x)["t0"], x[index])
    check(device, graph)


@pytest.mark.parametrize(
    ("shape", "places", "why"),
    [
        ((2, 3, 2, 3, 2), ((1, 0), None, (1, 0), None, (1, 0)), "more axes than a kernel has, which are three"),
        ((2, 3, 4, 5), (None, (2, 0), None, (1, 2, 3)), "more axes than a kernel has, which are three"),
        ((70, 70, 2), (tuple(n * n % 70 for n in range(70)), tuple(n * n % 70 for n in range(70)), None), "copies"),
    ],
)
def test_takes_of_the_host(device, shape, places, why):  # noqa: F811
    graph = taken(shape, places)
    check(device, graph, fallbacks=["op0"])
    assert why in lower(graph, device.config).refused["op0"]


@pytest.mark.parametrize(
    ("places", "count"),
    [
        (range(9), 1),
        (range(8, -1, -1), 1),
        ([0, 0, 1, 1, 2, 2], 2),
        ([2, 1, 0, 1, 2, 1, 0], 3),
        ([4], 1),
        ([0, 5, 1, 6], 2),
    ],
)
def test_runs(places, count):
    found = runs(list(places))
    assert len(found) == count
    made = {r.target + i * r.target_step: r.source + i * r.source_step for r in found for i in range(r.count)}
    assert [made[place] for place in range(len(made))] == list(places)


@pytest.mark.parametrize(
    "ranges",
    [((5, -1, -1), (0, 5, 2), (0, 7, 1)), ((0, 6, 2), (4, 0, -2), (1, 6, 2)), ((3, 4, 1), (0, 5, 1), (6, 1, -3))],
)
def test_slices_with_steps(device, ranges):  # noqa: F811
    out = tuple(len(range(*part)) for part in ranges)
    check(device, Chain((6, 5, 7), np.random.default_rng(3)).then(Slice, *out, ranges=ranges).graph())


def test_slice_of_many_axes(device):  # noqa: F811
    ranges = ((0, 2, 1), (1, 3, 1), (0, 4, 1), (0, 5, 1), (0, 2, 1))
    graph = Chain((2, 3, 4, 5, 2), np.random.default_rng(4)).then(Slice, 2, 2, 4, 5, 2, ranges=ranges).graph()
    check(device, graph)


@pytest.mark.parametrize("channels", [1, 3, 5])
@pytest.mark.parametrize("size", [2, 3])
def test_space_and_depth(device, size, channels):  # noqa: F811
    rng = np.random.default_rng(5)
    chain = Chain((2 * size, 3 * size, channels), rng).then(SpaceToDepth, 2, 3, channels * size**2, size=size)
    graph = chain.then(DepthToSpace, 2 * size, 3 * size, channels, size=size).graph()
    x = random_input(graph, rng, 2)
    tensors = run(graph, x, layers=True)
    for h, w, i, j, c in np.ndindex(2, 3, size, size, channels):
        wanted = x[:, h * size + i, w * size + j, c]
        np.testing.assert_array_equal(tensors["t0"][:, h, w, (i * size + j) * channels + c], wanted)
    np.testing.assert_array_equal(tensors["t1"], x)
    check(device, graph)


@pytest.mark.parametrize("channels", [1, 3])
def test_depth_with_channels_first(device, channels):  # noqa: F811
    rng = np.random.default_rng(6)
    graph = Chain((2, 3, channels * 4), rng).then(DepthToSpace, 4, 6, channels, size=2, blocks_first=False).graph()
    x = random_input(graph, rng, 2)
    y = run(graph, x)["t0"]
    for h, w, i, j, c in np.ndindex(2, 3, 2, 2, channels):
        np.testing.assert_array_equal(y[:, h * 2 + i, w * 2 + j, c], x[:, h, w, c * 4 + i * 2 + j])
    check(device, graph)


def test_rows_read_backwards_in_stripes():
    import sateen

    graph = taken((40, 8, 8), (tuple(range(39, -1, -1)), None, None))
    with sateen.open("sim:tiny,scratchpad_bytes=1024") as small:
        assert sateen.compile(graph, small.config).tiled == 1
        check(small, graph)


def test_refusals():
    with pytest.raises(GraphError, match="its places along axis 2 must be whole numbers from 0 to 4"):
        taken((6, 5, 7), (None, (0, 5), None))
    with pytest.raises(GraphError, match="must be multiples of 2"):
        Chain((3, 4, 1), np.random.default_rng(7)).then(SpaceToDepth, 1, 2, 4, size=2).graph()
    with pytest.raises(GraphError, match="must be a multiple of 4"):
        Chain((3, 4, 6), np.random.default_rng(7)).then(DepthToSpace, 6, 8, 1, size=2).graph()
