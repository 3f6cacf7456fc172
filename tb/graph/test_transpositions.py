"""Transpositions on the device, between operators that it computes as well; others are the host's."""

from __future__ import annotations

import itertools
import warnings
from dataclasses import replace

import numpy as np
import pytest

import sateen
import seeds
from sateen.graph import Graph, Requantize, Reshape, Softmax, Tensor, Transpose, run
from sateen.hw.spec.config import parse_config

SHAPES = [(1, 3, 4), (1, 3, 1, 5), (1, 3, 4, 5), (1, 2, 3, 4, 5), (1, 20, 3, 9)]
CLAMP = {"multiplier": 1 << 30, "shift": 1, "low": -100, "high": 90}


def graph(shape, axes, *, scale=1.0):
    """A transposition between two clamps."""
    turned = tuple(shape[axis] for axis in axes)
    tensors = {"x": shape, "a": shape, "t": turned, "y": turned}
    return Graph(
        name="g", tensors={name: Tensor(name=name, shape=size, scale=scale) for name, size in tensors.items()},
        ops=[
            Requantize(name="before", input="x", output="a", **CLAMP),
            Transpose(name="turn", input="a", output="t", axes=axes),
            Requantize(name="behind", input="t", output="y", **CLAMP),
        ],
        inputs=["x"], outputs=["y"],
    )  # fmt: skip


def orders(shape):
    """All but the one that moves nothing."""
    moved = [(0, *rest) for rest in itertools.permutations(range(1, len(shape)))]
    return [
        axes for axes in moved if [a for a in axes if shape[a] > 1] != [a for a in range(len(shape)) if shape[a] > 1]
    ]


@pytest.mark.parametrize("config", ["tiny", "micro"])
def test_on_the_device(config):
    rng = np.random.default_rng(seeds.own())
    with sateen.open(f"sim:{config}") as device:
        for shape in SHAPES:
            # All orders are verified as they are compiled; some are run.
            for place, axes in enumerate(orders(shape)):
                made = graph(shape, axes)
                model = sateen.compile(made, config, strict=True)
                assert [layer.name for layer in model.layers] == ["before", "turn", "behind"]
                if place % 6 == 0:
                    x = rng.integers(-128, 128, (2, *shape[1:])).astype(np.int8)
                    np.testing.assert_array_equal(device.load(model).run(x), run(made, x)["y"])


def test_runs_stay_together():
    """Where the last axis stays, a copy takes as many bytes at a time as there are columns."""
    whole, each = (sateen.compile(graph((1, 16, 4, 16), axes), "small") for axes in ((0, 2, 1, 3), (0, 1, 3, 2)))
    cycles = [model.layers[1].predicted.cycles for model in (whole, each)]
    assert 3 * cycles[0] < cycles[1]


def hosts(made, config="tiny"):
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        model = sateen.compile(made, config, strict=True)
    return [step.host for step in model.steps if step.host]


def test_at_ends_the_host_transposes():
    """Before the first layer of the device, behind the last, beside a softmax, or in turn with others; a Reshape
    between changes nothing."""
    made = graph((1, 4, 6), (0, 2, 1), scale=1 / 16)
    before, turn, behind = made.ops
    assert hosts(Graph(name="g", tensors=made.tensors, ops=[turn, behind], inputs=["a"], outputs=["y"])) == ["turn"]
    assert hosts(Graph(name="g", tensors=made.tensors, ops=[before, turn], inputs=["x"], outputs=["t"])) == ["turn"]
    tensors = made.tensors | {"p": Tensor(name="p", shape=(1, 6, 4), scale=1 / 256, zero_point=-128)}
    softmax = Softmax(name="softmax", input="t", output="p")
    made = Graph(name="g", tensors=tensors, ops=[before, turn, softmax], inputs=["x"], outputs=["p"])
    assert hosts(made) == ["turn", "softmax"]
    flat = {"f": (1, 24), "r": (1, 2, 12), "u": (1, 12, 2), "v": (1, 24), "w": (1, 24)}
    tensors = graph((1, 4, 6), (0, 2, 1)).tensors | {
        name: Tensor(name=name, shape=shape) for name, shape in flat.items()
    }
    ops = [
        before, turn, Reshape(name="flat", input="t", output="r"),
        Transpose(name="again", input="r", output="u", axes=(0, 2, 1)),
        Reshape(name="flatter", input="u", output="v"), Requantize(name="last", input="v", output="w", **CLAMP),
    ]  # fmt: skip
    assert hosts(Graph(name="g", tensors=tensors, ops=ops, inputs=["x"], outputs=["w"])) == []
    assert hosts(Graph(name="g", tensors=tensors, ops=ops[:-2], inputs=["x"], outputs=["u"])) == ["turn", "again"]


def test_too_many_copies():
    """The host transposes what the device cannot, without a warning, as it always did."""
    assert hosts(graph((1, 10, 9, 8, 9), (0, 4, 3, 2, 1)), "tiny,scratchpad_bytes=32768") == ["turn"]


@pytest.mark.parametrize("shape", [(1, 3, 33), (1, 8, 1, 9), (1, 3, 4, 15), (1, 2, 3, 4, 5), (1, 20, 3, 9)])
def test_larger_than_the_scratchpad(shape):
    """Rows of a transposition's results may lie between one another, and are no stripe then."""
    for axes in orders(shape):
        made = graph(shape, axes)
        bytes_each = int(np.prod(shape))
        for size in range(-(-bytes_each // 4) * 4, 2 * bytes_each, 8):
            with warnings.catch_warnings():
                warnings.simplefilter("ignore", sateen.SateenWarning)
                # Compiling compares the program with the graph.
                sateen.compile(made, replace(parse_config("tiny"), scratchpad_bytes=size))
