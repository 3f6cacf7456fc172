"""Constants of one value as tables, repetitions of more values than a counter holds, and reasons that keep their
cause."""

import itertools
import math

import numpy as np
import pytest

import onnx_models
import sateen
from interpreters import micro
from sateen.compiler.lowering import lower_operator
from sateen.compiler.rewrites import rewrite
from sateen.errors import CompileError
from sateen.graph import Add, Broadcast, Concatenate, Graph, Multiply, Subtract, Table, Tensor, run
from sateen.graph.ops import Constant, Reshape
from sateen.hw.spec.config import parse_config
from sateen.hw.spec.descriptor import Rounding
from sateen.testing.graphs import Builder
from tflite_models import ModelBuilder

ROUNDINGS = [value for name, value in vars(Rounding).items() if name.isupper()]


def graph(kind, values, shape=(1, 4, 64), *, first=False, unsigned=False, reshaped=False, **fields):
    """An operator on the input and a constant."""
    values = np.asarray(values, np.int8)[None]
    tensors = [
        Tensor(name="x", shape=(1, *shape), scale=0.05, zero_point=3, unsigned=unsigned),
        Tensor(name="k", shape=values.shape, scale=0.03, zero_point=-4, unsigned=unsigned),
        Tensor(name="y", shape=(1, *shape), scale=0.07, zero_point=1, unsigned=unsigned),
    ]
    ops, constant = [Constant(name="c", output="k", values=values)], "k"
    if reshaped:
        constant, axes = "r", (1,) * (len(shape) - 1)
        tensors.append(Tensor(name="r", shape=(1, *axes, values.size), scale=0.03, zero_point=-4, unsigned=unsigned))
        ops.append(Reshape(name="reshape", input="k", output="r"))
    a, b = (constant, "x") if first else ("x", constant)
    ops.append(kind(name="op", a=a, b=b, output="y", **fields))
    return Graph(name="g", tensors={t.name: t for t in tensors}, ops=ops, inputs=["x"], outputs=["y"])


@pytest.mark.parametrize(("kind", "rounding"), list(itertools.product((Add, Subtract, Multiply), ROUNDINGS)))
def test_every_code(kind, rounding):
    """The table is the operator, for every byte, on either side, also for uint8 and behind a Reshape."""
    x = np.arange(-128, 128).astype(np.int8).reshape(1, 1, 4, 64)
    cases = itertools.product((False, True), repeat=3)
    for (first, unsigned, reshaped), value in itertools.product(cases, (-128, -4, 7, 127)):
        given = graph(kind, [[[value]]], first=first, unsigned=unsigned, reshaped=reshaped, rounding=rounding)
        rewritten = rewrite(given, parse_config("small"), combine=False).graph
        assert [type(op) for op in rewritten.ops if op.output == "y"] == [Table]
        assert not any(isinstance(op, Constant) for op in rewritten.ops)
        np.testing.assert_array_equal(run(rewritten, x)["y"], run(given, x)["y"])


def test_what_stays():
    """Constants of several values, or that are outputs, and devices without tables."""
    config = parse_config("small")
    for given in (graph(Add, [[list(range(64))]]), graph(Multiply, [[[1], [2], [1], [1]]])):
        assert not any(isinstance(op, Table) for op in rewrite(given, config, combine=False).graph.ops)
    uniform = graph(Add, [[[5]]])
    assert not any(isinstance(op, Table) for op in rewrite(uniform, parse_config("tiny"), combine=False).graph.ops)
    kept = Graph(name="g", tensors=uniform.tensors, ops=uniform.ops, inputs=["x"], outputs=["y", "k"])
    assert [type(op) for op in rewrite(kept, config, combine=False).graph.ops] == [Constant, Table]


def test_large_image():
    """76,800 values, more than a descriptor's channels. The compiler compares the program with the operator."""
    model = sateen.compile(graph(Subtract, [[[9]]], (160, 160, 3)), "small", strict=True)
    assert [layer.op for layer in model.layers] == ["Table"]


def test_both_front_ends():
    """From a file to a device, against the interpreters."""
    rng = np.random.default_rng(2)
    x = rng.integers(-128, 128, (1, 9, 7, 3)).astype(np.int8)
    with sateen.open("sim:small") as device:
        for kind, options in (("MUL", "MulOptions"), ("SUB", "SubOptions"), ("ADD", "AddOptions")):
            b = ModelBuilder()
            source = b.tensor((1, 9, 7, 3), scale=0.05, zero_point=-4)
            constant = b.constant([100], "INT8", scale=0.011, zero_point=7)
            result = b.tensor((1, 9, 7, 3), scale=0.06, zero_point=2)
            b.op(kind, [source, constant], [result], options)
            data = b.build([source], [result])
            model = sateen.compile(sateen.frontends.tflite.load(data), device.config, strict=True)
            assert [layer.op for layer in model.layers] == ["Table"]
            np.testing.assert_array_equal(device.load(model).run(x), micro(data, [x]))
        for kind in ("Mul", "Sub", "Add"):
            values = onnx_models.numbers("x", 0.05, -4, "i") | onnx_models.numbers("k", 0.011, 7, "i")
            values |= onnx_models.numbers("y", 0.06, 2, "i") | {"k_q": np.int8(100)}
            make = onnx_models.helper.make_node
            nodes = [
                *onnx_models.quantized("x"), make("DequantizeLinear", ["k_q", "k_s", "k_z"], ["k_d"]),
                make(kind, ["x_d", "k_d"], ["y"]), *onnx_models.quantized("y"),
            ]  # fmt: skip
            shape = (1, 3, 9, 7)
            data = onnx_models.model(nodes, [("x", "f", shape)], ("y_d", "f", shape), values)
            real = rng.normal(size=shape).astype(np.float32) * 4
            model = sateen.compile(sateen.frontends.onnx.load(data), device.config, strict=True)
            assert [layer.op for layer in model.layers] == ["Table"]
            np.testing.assert_array_equal(device.load(model).run(real), onnx_models.reference(data, {"x": real})[0])


@pytest.mark.parametrize("shape", [(160, 160, 3), (2, 2**17), (70_000,)])
def test_repetitions_of_many_values(shape):
    """One value repeated more often than a counter counts takes two counters."""
    axes = (1,) * len(shape)
    tensors = {name: Tensor(name=name, shape=(1, *size)) for name, size in (("x", axes), ("y", shape))}
    op = Broadcast(name="b", input="x", output="y")
    (kernel,) = lower_operator(op, tensors, parse_config("large")).kernels
    assert kernel.out[0] * kernel.out[1] * kernel.channels == math.prod(shape) and kernel.channels <= 65535


def test_says_why_it_cannot_be_cut():
    x = Builder((64, 8, 8), np.random.default_rng(1)).last
    y = Tensor(name="y", shape=(1, 64, 8, 16), scale=x.scale, zero_point=x.zero_point)
    ops = [Concatenate(name="join", sources=("x", "x"), axis=3, output="y")]
    joined = Graph(name="g", tensors={"x": x, "y": y}, ops=ops, inputs=["x"], outputs=["y"])
    with pytest.raises(
        CompileError, match=r"cannot be cut into stripes \(it reads 2 tensors\); raise scratchpad_bytes"
    ):
        sateen.compile(joined, "tiny", strict=True)
