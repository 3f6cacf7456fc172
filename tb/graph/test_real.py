"""Operators on real numbers, on the host: their definitions, and a device's results around them."""

from __future__ import annotations

import math

import numpy as np
import pytest

import sateen
from sateen.graph import (
    ArgMax,
    Concatenate,
    Constant,
    Dequantize,
    Graph,
    GraphError,
    Quantize,
    RealBinary,
    RealReduce,
    RealSoftmax,
    RealTop,
    RealUnary,
    Requantize,
    Reshape,
    Slice,
    Tensor,
    Transpose,
    run,
)
from sateen.hw.spec.descriptor import Rounding
from sateen.sim import golden

CORNERS = np.array(
    [0, -0.0, 1, -1, 0.5, -0.5, 1.5, 2.5, -2.5, 3, -3, 6, 10, -10, 88, -88, 100, -100, 1e-30, -1e-30, 1e30], np.float32
)
DEFINITIONS = {
    "abs": abs,
    "ceil": lambda x: float(math.ceil(x)),
    "clip": lambda x: min(max(x, -1.5), 2.0),
    "cos": math.cos,
    "elu": lambda x: x if x >= 0 else 0.5 * math.expm1(x),
    "erf": math.erf,
    "floor": lambda x: float(math.floor(x)),
    "gelu": lambda x: x * (1 + math.erf(x / math.sqrt(2))) / 2,
    "hard_sigmoid": lambda x: min(max(0.25 * x + 0.5, 0), 1),
    "hard_swish": lambda x: x * min(max(x / 6 + 0.5, 0), 1),
    "leaky_relu": lambda x: x if x >= 0 else 0.125 * x,
    "negate": lambda x: -x,
    "relu": lambda x: max(x, 0),
    "round": lambda x: float(round(x)),
    "sign": lambda x: (x > 0) - (x < 0),
    "sin": math.sin,
    "softsign": lambda x: x / (1 + abs(x)),
    "tanh": math.tanh,
}
PARAMETERS = {"clip": (-1.5, 2.0), "elu": (0.5,), "hard_sigmoid": (0.25, 0.5), "leaky_relu": (0.125,)}


def one_op(shape, make, *, result=None, dtype="float32", **constants):
    """A graph of one operator on a float input ``x`` and constants, with the result ``y``."""
    tensors = {"x": Tensor(name="x", shape=shape, dtype="float32")}
    ops = []
    for name, value in constants.items():
        tensors[name] = Tensor(name=name, shape=value.shape, dtype="float32")
        ops.append(Constant(name=f"{name}.constant", output=name, values=value))
    op = make(name="op", output="y")
    tensors["y"] = Tensor(name="y", shape=result or shape, dtype=dtype)
    return Graph(name="g", tensors=tensors, ops=[*ops, op], inputs=["x"], outputs=["y"])


@pytest.mark.parametrize("function", DEFINITIONS)
def test_functions(function):
    fields = {"function": function, "parameters": PARAMETERS.get(function, ())}
    graph = one_op((1, len(CORNERS)), lambda **names: RealUnary(input="x", **names, **fields))
    expected = [DEFINITIONS[function](float(value)) for value in CORNERS]
    np.testing.assert_allclose(run(graph, CORNERS[None])["y"][0], expected, rtol=3e-7)


def test_every_function_keeps_its_type_and_survives_a_file(tmp_path):
    for function, count in golden.REAL_UNARY.items():
        fields = {"function": function, "parameters": (0.5,) * count}
        graph = one_op((1, len(CORNERS)), lambda fields=fields, **names: RealUnary(input="x", **names, **fields))
        y = run(graph, CORNERS[None])["y"]
        assert y.dtype == np.float32
        graph.save(tmp_path / "g.npz")
        np.testing.assert_array_equal(run(Graph.load(tmp_path / "g.npz"), CORNERS[None])["y"], y)


@pytest.mark.parametrize(
    "function, expected",
    [
        ("add", np.add),
        ("subtract", np.subtract),
        ("multiply", np.multiply),
        ("divide", np.divide),
        ("maximum", np.maximum),
        ("minimum", np.minimum),
        ("prelu", lambda a, b: np.where(a >= 0, a, a * b)),
    ],
)
def test_pairs_broadcast(function, expected):
    rng = np.random.default_rng(1)
    x, b = (rng.normal(size=shape).astype(np.float32) for shape in ((2, 3, 4), (1, 1, 4)))
    graph = one_op((1, 3, 4), lambda **names: RealBinary(a="x", b="b", function=function, **names), b=b)
    np.testing.assert_array_equal(run(graph, x)["y"], expected(x, b))


@pytest.mark.parametrize("keep", [False, True])
@pytest.mark.parametrize(
    "function, expected",
    [
        ("mean", np.mean),
        ("sum", np.sum),
        ("maximum", np.max),
        ("minimum", np.min),
        ("product", np.prod),
        ("l1", lambda x, **where: np.abs(x).sum(**where)),
        ("l2", lambda x, **where: np.sqrt((x * x).sum(**where))),
        ("sum_square", lambda x, **where: (x * x).sum(**where)),
        ("log_sum_exp", lambda x, **where: np.log(np.exp(x).sum(**where))),
    ],
)
def test_reductions(function, expected, keep):
    x = np.random.default_rng(2).normal(size=(2, 3, 4, 5)).astype(np.float32)
    wanted = expected(x.astype(np.float64), axis=(1, 3), keepdims=keep)
    fields = {"function": function, "axes": (1, 3), "keep_dims": keep}
    graph = one_op(
        (1, 3, 4, 5), lambda **names: RealReduce(input="x", **names, **fields), result=(1, *wanted.shape[1:])
    )
    np.testing.assert_allclose(run(graph, x)["y"], wanted, rtol=2e-7)


@pytest.mark.parametrize("axis", [1, 2])
@pytest.mark.parametrize("log", [False, True])
def test_softmax_of_large_values(axis, log):
    x = np.array([[[1e30, 1, -1e30], [700, 701, 0]]], np.float32)
    graph = one_op(x.shape, lambda **names: RealSoftmax(input="x", axis=axis, log=log, beta=0.5, **names))
    scaled = x.astype(np.float64) * 0.5
    shares = scaled - np.logaddexp.reduce(scaled, axis=axis, keepdims=True)
    expected = shares if log else np.exp(shares)
    np.testing.assert_allclose(run(graph, x)["y"], expected, rtol=1e-6, atol=1e-30)


def test_largest_and_smallest_values_and_places():
    x = np.array([[3, 1, 3, -2, 5]], np.float32)
    for largest, values, places in ((True, [5, 3, 3], [4, 0, 2]), (False, [-2, 1, 3], [3, 1, 0])):
        for asked, expected in ((False, values), (True, places)):
            fields = {"axis": 1, "count": 3, "largest": largest, "places": asked}
            graph = one_op(
                (1, 5),
                lambda fields=fields, **names: RealTop(input="x", **names, **fields),
                result=(1, 3),
                dtype="int32" if asked else "float32",
            )
            np.testing.assert_array_equal(run(graph, x)["y"][0], expected)


def test_a_slice_backwards():
    x = np.arange(12, dtype=np.float32).reshape(1, 3, 4)
    graph = one_op(
        (1, 3, 4), lambda **names: Slice(input="x", ranges=((2, -1, -1), (3, 0, -2)), **names), result=(1, 3, 2)
    )
    np.testing.assert_array_equal(run(graph, x)["y"], x[:, ::-1, 3:0:-2])


@pytest.mark.parametrize(
    "make, message",
    [
        (lambda **n: RealUnary(input="x", function="sinh", **n), "function must be one of abs, .*, not 'sinh'"),
        (lambda **n: RealUnary(input="x", function="clip", **n), "parameters of clip must be 2 floats"),
        (lambda **n: RealReduce(input="x", function="mean", axes=(0,), **n), "the first axis is the batch"),
        (lambda **n: RealSoftmax(input="x", axis=3, **n), "its axes must be different ones from 1 to 2"),
        (lambda **n: RealTop(input="x", axis=2, count=9, **n), "count must lie within 1 to 4, not 9"),
        (lambda **n: RealTop(input="x", axis=2, count=4, places=True, **n), "its result must be int32, not float32"),
    ],
)
def test_refuses(make, message):
    with pytest.raises(GraphError, match=message):
        one_op((1, 3, 4), make)


@pytest.mark.parametrize("config", ["tiny,positions=256", "micro"])
def test_around_a_device(config):
    """A head and a tail of real numbers, and a layer of the device between them."""
    coded = {"scale": 0.05, "zero_point": 3}
    shapes = {"x": (1, 4, 5, 3), "m": (1, 1, 1, 3), "c": (1, 4, 5, 3), "q": (1, 4, 5, 3), "r": (1, 4, 5, 3)}
    shapes |= {"d": (1, 4, 5, 3), "t": (1, 5, 4, 3), "f": (1, 5, 12), "j": (1, 5, 24), "s": (1, 5, 24)}
    shapes |= {"top": (1, 5), "b": (1, 5, 24)}
    tensors = {
        name: Tensor(
            name=name,
            shape=shape,
            dtype={"q": "int8", "r": "int8", "b": "int8", "top": "int32"}.get(name, "float32"),
            **(coded if name in "qrb" else {}),
        )
        for name, shape in shapes.items()
    }
    ops = [
        Constant(name="m", output="m", values=np.array([[[[0.5, 0.25, -1]]]], np.float32)),
        RealBinary(name="sub", a="x", b="m", output="c", function="subtract"),
        Quantize(name="quantize", input="c", output="q", rounding=Rounding.FLOAT32),
        Requantize(name="relu", input="q", output="r", multiplier=1 << 30, shift=1, low=3),
        Dequantize(name="dequantize", input="r", output="d"),
        Transpose(name="turn", input="d", output="t", axes=(0, 2, 1, 3)),
        Reshape(name="flat", input="t", output="f"),
        Concatenate(name="twice", sources=("f", "f"), output="j", axis=2),
        RealSoftmax(name="softmax", input="j", output="s", axis=2),
        ArgMax(name="best", input="s", output="top", axis=2),
        Quantize(name="again", input="s", output="b", rounding=Rounding.FLOAT32),
    ]
    graph = Graph(name="g", tensors=tensors, ops=ops, inputs=["x"], outputs=["s", "top", "b"])
    x = np.random.default_rng(3).normal(size=(3, 4, 5, 3)).astype(np.float32)
    expected = run(graph, x, layers=True)
    with pytest.warns(
        sateen.SateenWarning, match="2 operators compute with real numbers, on the host: 'sub'"
    ):
        model = sateen.compile(graph, config)
    with pytest.raises(sateen.CompileError, match="RealBinary 'sub': it computes with real numbers; compile without"):
        sateen.compile(graph, config, strict=True)
    assert [layer.name for layer in model.layers] == ["relu"]
    with sateen.open(f"sim:{config}") as device:
        loaded = device.load(model)
        for name, value in loaded.run(x).items():
            np.testing.assert_array_equal(value, expected[name])
        for name, value in loaded.run(x, layers=True)[1].items():
            # A device repeats a constant for each item.
            value = value[:1] if name == "m" else value
            np.testing.assert_array_equal(value, expected[name])
