"""Squared differences on the device, against the golden model."""

from __future__ import annotations

import numpy as np
import pytest

import sateen
import seeds
from sateen.errors import CompileError
from sateen.graph import Graph, SquaredDifference, Tensor, run
from sateen.hw.spec.config import Config

CONFIG = "tiny,products=1,softmax=1,squares=1,positions=256,descriptors=12"


def graph(a, b, *, scales=(0.1, 0.1, 0.4), points=(-7, 5, -128)):
    shapes = a, b, np.broadcast_shapes(a, b)
    tensors = [
        Tensor(name=name, shape=(1, *shape), scale=scale, zero_point=point)
        for name, shape, scale, point in zip("aby", shapes, scales, points, strict=True)
    ]
    op = SquaredDifference(name="op", a="a", b="b", output="y")
    return Graph(name="g", tensors={t.name: t for t in tensors}, ops=[op], inputs=["a", "b"], outputs=["y"])


@pytest.fixture(scope="module")
def device():
    with sateen.open(f"sim:{CONFIG}") as opened:
        yield opened


@pytest.mark.parametrize(
    ("scales", "points"),
    [
        ((0.1, 0.1, 0.4), (-7, 5, -128)), ((1.0, 1.0, 254.0**2 / 200), (-128, 127, -128)),
        ((3.0, 0.01, 0.9), (0, -128, 3)),
    ],
)  # fmt: skip
def test_pairs(device, scales, points):
    """Also of the largest difference, whose square takes 30 bits. The compiler tries all pairs of bytes."""
    made = graph((64, 32), (64, 32), scales=scales, points=points)
    pairs = np.random.default_rng(seeds.own()).integers(-128, 128, (2, 1, 64, 32)).astype(np.int8)
    pairs[:, 0, 0, :4] = [[-128, 127, -128, 127], [127, -128, -128, 127]]
    x = {"a": pairs[0], "b": pairs[1]}
    loaded = device.load(sateen.compile(made, device.config, strict=True))
    np.testing.assert_array_equal(loaded.run(x), run(made, x)["y"])


def test_rows_and_their_means(device):
    """A smaller operand is repeated first, on the device, too."""
    made, rng = graph((5, 6), (5, 1)), np.random.default_rng(seeds.own())
    x = {"a": rng.integers(-128, 128, (2, 5, 6)).astype(np.int8), "b": rng.integers(-9, 9, (2, 5, 1)).astype(np.int8)}
    loaded = device.load(sateen.compile(made, device.config, strict=True))
    assert not any(step.host for step in loaded.model.steps)
    np.testing.assert_array_equal(loaded.run(x), run(made, x)["y"])


def test_refusals():
    with pytest.raises(CompileError, match="does not square differences; configure one with squares=1"):
        sateen.compile(graph((5, 6), (5, 6)), "tiny,positions=256", strict=True)
    with pytest.raises(ValueError, match=r"squares must be 0 without tables \(engine=pipelined, positions=256"):
        Config(squares=1, positions=128)
    with pytest.raises(ValueError, match="squares must be a whole number from 0 to 1, not 2"):
        Config(squares=2)
