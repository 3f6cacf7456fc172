"""QONNX's Quant, as Brevitas exports it: equal to onnxruntime, which computes its definition in float32."""

from __future__ import annotations

import random
import warnings

import numpy as np
import pytest

import needs
import sateen
import seeds
from mutations import mutated
from sateen.frontends.onnx import load
from sateen.graph import GraphError, run

onnx = needs.package("onnx", extra="onnx")
onnxruntime = needs.package("onnxruntime", extra="reference")
helper = onnx.helper

DOMAINS = [("qonnx.custom_op.general", "Quant"), ("qonnx.custom_op.general", "IntQuant"), ("onnx.brevitas", "Quant")]


class Net:
    """A model in the making, with Quant nodes and, for onnxruntime, with the operators that define them."""

    def __init__(self, domain="qonnx.custom_op.general", kind="Quant"):
        self.domain, self.kind = domain, kind
        self.nodes, self.plain, self.constants = [], [], {}

    def constant(self, values, name=None):
        name = name or f"c{len(self.constants)}"
        self.constants[name] = np.asarray(values, np.float32)
        return name

    def quant(self, x, scale, zero_point=0, bits=8, signed=1, narrow=0, **others):
        output = f"q{len(self.nodes)}"
        given = [self.constant(value) for value in (scale, zero_point, bits)]
        attributes = {"signed": signed, "narrow": narrow, "rounding_mode": "ROUND"} | others
        self.nodes.append(
            helper.make_node(self.kind, [x, *given], [output], f"{output}_n", domain=self.domain, **attributes)
        )
        high = 2 ** (bits - 1) - 1 if signed else 2**bits - 1 - narrow
        low = -(2 ** (bits - 1)) + narrow if signed else 0
        steps = [
            ("Div", given[0]),
            ("Add", given[1]),
            ("Clip", None),
            ("Round", None),
            ("Sub", given[1]),
            ("Mul", given[0]),
        ]
        for place, (kind, operand) in enumerate(steps):
            made = output if kind == "Mul" else f"{output}.{place}"
            inputs = [x, operand] if operand else [x]
            if kind == "Clip":
                inputs += [self.constant(low), self.constant(high)]
            self.plain.append(helper.make_node(kind, inputs, [made]))
            x = made
        return output

    def node(self, kind, inputs, **attributes):
        output = f"y{len(self.nodes)}"
        for nodes in (self.nodes, self.plain):
            nodes.append(helper.make_node(kind, inputs, [output], f"{output}_n", **attributes))
        return output

    def model(self, output, shape, *, plain=False):
        ends = [helper.make_tensor_value_info(name, 1, sizes) for name, sizes in (("x", (1, *shape)), (output, None))]
        tensors = [onnx.numpy_helper.from_array(value, name) for name, value in self.constants.items()]
        graph = helper.make_graph(self.plain if plain else self.nodes, "g", ends[:1], ends[1:], tensors)
        opsets = [helper.make_opsetid("", 13)] + ([] if plain else [helper.make_opsetid(self.domain, 1)])
        return helper.make_model(graph, opset_imports=opsets, ir_version=8).SerializeToString()


def compare(net, output, shape, x):
    """Results here and by onnxruntime, in steps of the last scale."""
    session = onnxruntime.InferenceSession(net.model(output, shape, plain=True), providers=["CPUExecutionProvider"])
    expected = np.concatenate([session.run([output], {"x": item[None]})[0] for item in x])
    graph = load(net.model(output, shape))
    found = run(graph, graph.tensors["x"].from_file(x))[graph.outputs[0]]
    layout = graph.tensors[graph.outputs[0]].file_layout
    return graph, (found if layout is None else layout.to_file(found)), expected


@pytest.mark.parametrize("bits", [2, 3, 4, 7, 8])
@pytest.mark.parametrize("signed", [0, 1])
@pytest.mark.parametrize("narrow", [0, 1])
def test_codes_of_all_kinds(bits, signed, narrow):
    net = Net()
    output = net.quant("x", 0.11, 0 if signed else 2, bits, signed, narrow)
    x = np.linspace(-20, 40, 1200).astype(np.float32).reshape(4, 300)
    _, found, expected = compare(net, output, (300,), x)
    np.testing.assert_array_equal(found, expected)


@pytest.mark.parametrize("domain, kind", DOMAINS)
@pytest.mark.parametrize("weight_bits, bits", [(8, 8), (4, 4), (3, 6)])
def test_network(domain, kind, weight_bits, bits):
    """Convolutions with weights quantized per channel and narrow, a bias of 32 bits, and a skip."""
    net, rng = Net(domain, kind), np.random.default_rng(0)

    def conv(x, inputs, outputs, step):
        scales = rng.uniform(0.01, 0.03, (outputs, 1, 1, 1)).astype(np.float32)
        weights = net.constant(rng.normal(size=(outputs, inputs, 3, 3)) * 0.1)
        bias = net.quant(net.constant(rng.normal(size=outputs) * 0.1), scales.reshape(-1) * np.float32(step), 0, 32)
        quantized = net.quant(weights, scales, 0, weight_bits, 1, 1)
        return net.node("Conv", [x, quantized, bias], pads=[1, 1, 1, 1])

    first = net.quant("x", 0.0625, 0, 8)
    second = net.quant(net.node("Relu", [conv(first, 3, 6, 0.0625)]), 0.013719, 0, bits, 0)
    third = net.quant(conv(second, 6, 6, 0.013719), 0.021377, 0, bits)
    output = net.quant(net.node("Add", [second, third]), 0.031171, 0, 8)
    x = rng.normal(size=(6, 3, 8, 8)).astype(np.float32)
    graph, found, expected = compare(net, output, (3, 8, 8), x)
    assert [type(op).__name__ for op in graph.ops if not op.HOST_ONLY][:2] == ["Conv2D", "Conv2D"]
    different = np.abs(found - expected) > 1e-6
    # onnxruntime sums in float32: where a sum lies on a tie, one code may differ, and what follows from it.
    assert different.mean() < 0.002 and np.abs(found - expected).max() < 0.0313


REFUSED = {
    "FLOOR": ({"rounding_mode": "FLOOR"}, "its rounding_mode FLOOR is not supported"),
    "bits": ({"bits": 1}, "its bits must be a whole number from 2 to 32"),
    "wide": ({"bits": 16}, "it keeps 16 bits of an activation"),
    "scale": ({"scale": -0.1}, "must be finite and above 0"),
    "point": ({"zero_point": 0.5}, "must be whole numbers from -128 to 127"),
    "channels": ({"scale": np.ones(300)}, "activations must have one scale"),
    "unknown": ({"magic": 3}, "its attribute magic"),
}


@pytest.mark.parametrize("name", REFUSED)
def test_refusals(name):
    options, text = REFUSED[name]
    net = Net()
    output = net.quant("x", **({"scale": 0.1} | options))
    with pytest.raises(GraphError, match=text):
        load(net.model(output, (300,)))


@pytest.mark.parametrize("kind", ["BipolarQuant", "Trunc", "FloatQuant"])
def test_other_operators_are_refused_by_name(kind):
    net = Net(kind=kind)
    with pytest.raises(GraphError, match=f"qonnx.custom_op.general.{kind} is not supported"):
        load(net.model(net.quant("x", 0.1), (300,)))


def test_odd_zero_points_are_told():
    net = Net()
    with pytest.warns(sateen.SateenWarning, match="its zero point 3 is odd"):
        load(net.model(net.quant("x", 0.1, 3, 8, 0), (300,)))


def test_to_device():
    net = Net("onnx.brevitas")
    x = net.quant("x", 0.05, 0, 4)
    w = net.quant(net.constant(np.random.default_rng(1).normal(size=(5, 12)) * 0.3), 0.05, 0, 4, 1, 1)
    output = net.quant(net.node("Gemm", [x, w], transB=1), 0.1, 0, 8)
    graph = load(net.model(output, (12,)))
    values = np.random.default_rng(2).normal(size=(3, 12)).astype(np.float32)
    with warnings.catch_warnings(action="ignore"), sateen.open("sim:tiny") as device:
        found = device.load(sateen.compile(graph, "tiny")).run(values)
    np.testing.assert_array_equal(found, run(graph, values)[graph.outputs[0]])


def test_damaged_files_are_read_or_refused_in_one_line():
    net, rng = Net("onnx.brevitas"), np.random.default_rng(0)
    scales = np.full((3, 1, 1, 1), 0.01, np.float32)
    weights = net.quant(net.constant(rng.normal(size=(3, 2, 2, 2)) * 0.2), scales, 0, 8, 1, 1)
    bias = net.quant(net.constant(rng.normal(size=3)), scales.reshape(-1), 0, 32)
    real = net.node("Relu", [net.node("Conv", [net.quant("x", 0.05), weights, bias])])
    data, refused = net.model(net.quant(real, 0.1, 2, 4, 0), (2, 4, 4)), 0
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", sateen.SateenWarning)
        for seed in range(seeds.own(), seeds.own() + 500):
            try:
                load(mutated(data, random.Random(seed)))
            except GraphError as error:
                refused += 1
                assert "\n" not in str(error)
    assert refused > 100
