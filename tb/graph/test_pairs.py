"""Operators on several tensors that the host computes, and what becomes of them with constants of one value."""

from __future__ import annotations

import numpy as np
import pytest
from test_operators import check, device  # noqa: F401

import sateen
from sateen.graph import (
    Compare,
    Constant,
    Divide,
    Graph,
    GraphError,
    Maximum,
    Minimum,
    PRelu,
    Select,
    SquaredDifference,
    Tensor,
    run,
)
from sateen.hw.spec.descriptor import Rounding


def graph(kind, b, y=(0.4, 2), *, values=None, out="int8", **fields):
    """An operator on an input and another, or on a constant of a shape."""
    numbers = {"scale": y[0], "zero_point": y[1]} if out == "int8" else {}
    tensors = {
        "x": Tensor(name="x", shape=(1, 4, 3, 5), scale=0.1, zero_point=-7),
        "b": Tensor(name="b", shape=b, scale=0.1, zero_point=-7),
        "y": Tensor(name="y", shape=(1, 4, 3, 5), **numbers, dtype=out),
    }  # fmt: skip
    ops = [] if values is None else [Constant(name="c", output="b", values=values)]
    inputs = ["x"] if values is not None else ["x", "b"]
    return Graph(
        name=kind.__name__, tensors=tensors, ops=[*ops, kind(name="op", a="x", b="b", output="y", **fields)],
        inputs=inputs, outputs=["y"],
    )  # fmt: skip


def given(shape=(1, 4, 3, 5), seed=1):
    return np.random.default_rng(seed).integers(-128, 128, shape).astype(np.int8)


KINDS = [(PRelu, {}), (SquaredDifference, {}), (Divide, {}), (Maximum, {}), (Minimum, {})]


@pytest.mark.parametrize(("kind", "fields"), KINDS)
def test_constants_of_one_value_are_tables(device, kind, fields):  # noqa: F811
    y = (0.1, -7) if issubclass(kind, Maximum) else (0.4, 2)
    made = graph(kind, (1, 1, 1, 1), y, values=np.int8([[[[17]]]]), **fields)
    fallbacks = () if device.config.tables else ["op"]
    check(device, made, x=given(), fallbacks=fallbacks)


def test_host(device):  # noqa: F811
    """On two tensors, whose shapes broadcast."""
    for kind, fields in KINDS:
        y = (0.1, -7) if issubclass(kind, Maximum) else (0.4, 2)
        made = graph(kind, (1, 1, 3, 1), y, **fields)
        x = {"x": given(), "b": given((1, 1, 3, 1), 2)}
        check(device, made, x=x, fallbacks=["op"])


def test_slopes_in_float32():
    made = graph(PRelu, (1, 4, 3, 5), rounding=Rounding.FLOAT32)
    x, b = given(), given(seed=2)
    real = (x.astype(np.float32) + 7) * np.float32(0.1)
    slope = (b.astype(np.float32) + 7) * np.float32(0.1)
    wanted = np.rint(np.where(real >= 0, real, real * slope) / np.float32(0.4)) + 2
    np.testing.assert_array_equal(run(made, {"x": x, "b": b})["y"], np.clip(wanted, -128, 127))


@pytest.mark.parametrize("shape", [(1, 4, 3, 5), (1, 12, 5), (1, 60)])
@pytest.mark.parametrize("wide", [False, True])
def test_slopes_of_channels_are_split(device, shape, wide):  # noqa: F811
    """What is above zero and what is below are scaled apart; slopes may take 9 bits."""
    rng, channels = np.random.default_rng(3), shape[-1]
    made = graph(PRelu, (1, 4, 3, 5))
    numbers = {"x": (0.1, -7), "b": (0.01, 120 if wide else 0), "y": (0.07, 11)}
    shapes = {"x": shape, "b": (1,) * (len(shape) - 1) + (channels,), "y": shape}
    tensors = {n: Tensor(name=n, shape=shapes[n], scale=s, zero_point=z) for n, (s, z) in numbers.items()}
    slopes = rng.integers(-128, 128, shapes["b"]).astype(np.int8)
    constant = Constant(name="c", output="b", values=slopes)
    made = Graph(name="slopes", tensors=tensors, ops=[constant, made.ops[0]], inputs=["x"], outputs=["y"])
    x = np.resize(np.arange(-128, 128), (9, *shape[1:])).astype(np.int8)
    check(device, made, x=x, fallbacks=() if device.config.tables else ["op"])
    compiled = device.load(sateen.compile(made, device.config)) if device.config.tables else None
    if compiled is not None:
        np.testing.assert_array_equal(compiled.run(x), run(made, x)["y"])


def test_refusals():
    with pytest.raises(GraphError, match="its slopes .* do not fit"):
        tensors = graph(PRelu, (1, 4, 3, 5)).tensors
        small = {**tensors, "x": Tensor(name="x", shape=(1, 1, 3, 5), scale=0.1)}
        PRelu(name="op", a="x", b="b", output="y").infer(small)
    with pytest.raises(GraphError, match="its scales do not fit together .*too small for differences"):
        graph(SquaredDifference, (1, 4, 3, 5), (1e-9, 0))
    with pytest.raises(GraphError, match="must have the same scale and zero point"):
        graph(Maximum, (1, 4, 3, 5))
    with pytest.raises(GraphError, match="function must be one of equal"):
        graph(Compare, (1, 4, 3, 5), out="bool", function="alike")
    with pytest.raises(GraphError, match="must be bool, not int8"):
        tensors = graph(Maximum, (1, 4, 3, 5), (0.1, -7)).tensors
        Select(name="op", condition="x", a="x", b="b", output="y").check_types(tensors)
