"""Interpolated images on the simulated device."""

from __future__ import annotations

import numpy as np
import pytest
from test_operators import Chain, check, device  # noqa: F401

from sateen.compiler.lowering import lower
from sateen.graph import GraphError, ResizeBilinear

HALF, CORNERS = {"half_pixel_centers": True}, {"align_corners": True}


def resized(shape, size, **fields):
    """A graph of one operator."""
    return Chain(shape, np.random.default_rng(1)).then(ResizeBilinear, *size, shape[2], **fields).graph()


@pytest.mark.parametrize("real", [False, True])
@pytest.mark.parametrize(
    ("shape", "size", "flags"),
    [
        ((4, 5, 7), (8, 10), HALF),
        ((4, 5, 7), (8, 10), {}),
        ((3, 4, 20), (5, 7), CORNERS),
        ((2, 3, 3), (8, 12), {}),
        ((3, 3, 3), (12, 3), HALF),
        ((8, 6, 3), (4, 3), HALF),
        ((4, 5, 3), (4, 5), {}),
        ((1, 1, 3), (4, 4), HALF),
        ((4, 8, 2), (2, 4), {}),
    ],
)
def test_factors_of_two(device, shape, size, flags, real):  # noqa: F811
    check(device, resized(shape, size, real=real, **flags))


@pytest.mark.parametrize("real", [False, True])
@pytest.mark.parametrize(
    ("shape", "size", "flags", "why"),
    [
        ((5, 5, 3), (3, 3), {}, "need weights beyond 8 bits"),
        ((40, 40, 1), (37, 61), {}, "too many different places"),
        ((4, 5, 3), (12, 15), HALF, "too many different places"),
    ],
)
def test_what_the_host_computes(device, shape, size, flags, why, real):  # noqa: F811
    graph = resized(shape, size, real=real, **flags)
    check(device, graph, fallbacks=["op0"])
    assert (why in lower(graph, device.config).refused["op0"]) or real


def test_refusals():
    with pytest.raises(GraphError, match="exclude each other"):
        resized((4, 5, 3), (8, 10), **HALF, **CORNERS)
