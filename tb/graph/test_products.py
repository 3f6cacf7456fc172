"""Matrix products of two tensors: their definition, what they refuse, and the device against the golden model."""

from __future__ import annotations

import itertools
import warnings

import numpy as np
import pytest

import sateen
import seeds
from sateen.graph import Graph, GraphError, MatrixProduct, RealMatrixProduct, Tensor, run
from sateen.sim import golden

SHAPES = [
    ((1, 5, 6), (1, 6, 7)),
    ((1, 3, 9, 17), (1, 3, 17, 10)),
    ((1, 2, 3, 5, 4), (1, 2, 1, 4, 9)),
    ((1, 1, 20, 3), (1, 1, 3, 33)),
    ((1, 1, 1), (1, 1, 1)),
]


def graph(a, b, *, exchanged=(False, False), points=(3, -7, 1), bias=(0,), scale=0.002, **fields):
    """A graph of one product; ``exchanged`` operands are given transposed."""
    flipped = [(*s[:-2], s[-1], s[-2]) if flag else s for s, flag in zip((a, b), exchanged, strict=True)]
    y = np.broadcast_shapes(a[:-2], b[:-2]) + (a[-2], b[-1])
    tensors = [
        Tensor(name=name, shape=shape, zero_point=point)
        for name, shape, point in zip("aby", (*flipped, y), points, strict=True)
    ]
    multiplier, shift = golden.quantize_multiplier(scale)
    op = MatrixProduct(
        name="product", a="a", b="b", output="y", bias=np.array(bias, np.int32), multiplier=multiplier, shift=shift,
        transpose_a=exchanged[0], transpose_b=exchanged[1], **fields,
    )  # fmt: skip
    return Graph(name="g", tensors={t.name: t for t in tensors}, ops=[op], inputs=["a", "b"], outputs=["y"])


def codes(made, items=1):
    rng = np.random.default_rng(seeds.own())
    shapes = {name: (items, *made.tensors[name].shape[1:]) for name in made.inputs}
    return {name: rng.integers(-128, 128, shape).astype(np.int8) for name, shape in shapes.items()}


def test_definition():
    """Each sum by itself, in Python's integers."""
    made = graph((1, 2, 3, 4), (1, 1, 4, 5), bias=(5, -9, 0, 1000, 7), low=-90, high=100)
    x = codes(made, items=2)
    y = run(made, x)["y"]
    for n, h, row, column in np.ndindex(2, 2, 3, 5):
        pairs = zip(x["a"][n, h, row].tolist(), x["b"][n, 0, :, column].tolist(), strict=True)
        total = sum((a - 3) * (b + 7) for a, b in pairs) + (5, -9, 0, 1000, 7)[column]
        op = made.ops[0]
        wanted = golden.requantize(total, op.multiplier, op.shift, zero_point=1, low=-90, high=100)
        assert y[n, h, row, column] == wanted


def test_transposed_operands():
    for exchanged in itertools.product((False, True), repeat=2):
        made, plain = graph((1, 3, 4, 6), (1, 3, 6, 5), exchanged=exchanged), graph((1, 3, 4, 6), (1, 3, 6, 5))
        x = codes(plain)
        given = {name: v.swapaxes(-1, -2) if flag else v for (name, v), flag in zip(x.items(), exchanged, strict=True)}
        np.testing.assert_array_equal(run(made, given)["y"], run(plain, x)["y"])


def test_requirements():
    with pytest.raises(GraphError, match=r"do not fit: 4 and 6 values"):
        graph((1, 3, 4), (1, 6, 5))
    with pytest.raises(GraphError, match="do not broadcast; repeat one"):
        Graph(
            name="g", tensors={n: Tensor(name=n, shape=s) for n, s in
                               {"a": (1, 2, 3, 4), "b": (1, 3, 4, 5), "y": (1, 6, 3, 5)}.items()},
            ops=[MatrixProduct(name="p", a="a", b="b", output="y", bias=np.zeros(1, np.int32), multiplier=0, shift=0)],
            inputs=["a", "b"], outputs=["y"],
        )  # fmt: skip
    with pytest.raises(GraphError, match="add a batch of 1"):
        graph((3, 4), (4, 5))
    with pytest.raises(GraphError, match="bias has 2 values for 5 columns"):
        graph((1, 3, 4), (1, 4, 5), bias=(0, 1))
    with pytest.raises(GraphError, match="bias must be one axis of float32"):
        RealMatrixProduct(name="p", a="a", b="b", output="y", bias=np.zeros(1, np.int32))


@pytest.mark.parametrize("config", ["micro", "tiny", "small"])
def test_devices_without_products(config):
    """The host computes them, also where a smaller operand of a sum would be repeated."""
    made = graph(*SHAPES[2])
    with warnings.catch_warnings(record=True) as warned:
        warnings.simplefilter("always")
        model = sateen.compile(made, config)
    assert [step.host for step in model.steps] == ["product"] and "runs on the host" in str(warned[0].message)
