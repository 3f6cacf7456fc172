"""Layer normalization in ONNX on the device, alone and in a transformer's blocks, against onnxruntime."""

from __future__ import annotations

import numpy as np
import pytest

import needs
import sateen
import seeds
from onnx_floats import Net, quantizer
from onnx_models import compare, model, numbers, quantized, reference
from sateen.frontends import onnx as frontend
from sateen.graph import GraphError, LayerNorm
from sateen.reference import interpreter
from sateen.sim import golden

onnx = needs.package("onnx", extra="onnx")
make = onnx.helper.make_node
KINDS = ["LayerNormalization", "RMSNormalization", "SimplifiedLayerNormalization"]
LENGTH, HEADS, DEPTH = 5, 2, 8
WIDTH = HEADS * DEPTH


@pytest.fixture(autouse=True)
def avx2():
    """The processor for whose kernel the golden model is."""
    needs.layer_norms()


def file(name, shape, *, kind="i", axis=-1, epsilon=1e-5, bias=False, behind=()):
    """One normalization between Q and DQ, with values in different scales."""
    rng = np.random.default_rng(seeds.own())
    held = {"w": rng.normal(size=shape[axis:]).astype(np.float32)}
    held |= {"v": rng.normal(size=shape[axis:]).astype(np.float32)} if bias else {}
    nodes = [*quantized("x", kind), make(name, ["x_d", *held], ["n"], axis=axis, epsilon=epsilon)]
    nodes += [*behind, *([] if behind else [make("Identity", ["n"], ["y"])]), *quantized("y", kind)]
    held |= numbers("x", float(rng.uniform(0.02, 0.05)), int(rng.integers(-40, 40)), kind)
    held |= numbers("y", float(rng.uniform(0.02, 0.04)), int(rng.integers(-40, 40)), kind)
    return model(nodes, [("x", "f", shape)], ("y_d", "f", shape), held, opset=23)


CASES = [
    ((1, 5, 16), {}), ((1, 4, 3, 24), {"kind": "u"}), ((2, 3, 4, 8), {"axis": -2, "epsilon": 0.1}),
    ((1, 7, 768), {"bias": True}), ((9, 19), {"kind": "u", "bias": True}), ((3, 23), {}),
    ((1, 50, 64), {"epsilon": 1e-12}),
]  # fmt: skip
"""Also of more than one axis, and of rows that are no multiple of eight."""


@pytest.mark.parametrize("name", KINDS)
@pytest.mark.parametrize(("shape", "fields"), CASES)
def test_codes(name, shape, fields):
    """Code for code; those of short rows are real numbers."""
    data = file(name, shape, **{**fields, "bias": fields.get("bias", False) and name == KINDS[0]})
    assert any(isinstance(op, LayerNorm) for op in frontend.load(data).ops)
    rng = np.random.default_rng(seeds.own())
    x = rng.normal(size=shape).astype(np.float32) * 2
    # Equal values, and nearly equal ones.
    x.reshape(-1, shape[-1])[0] = 0.7
    compare(data, {"x": x})
    compare(data, {"x": rng.normal(size=shape).astype(np.float32) * np.float32(0.1)})


def test_what_follows():
    """A clamp becomes one of codes; what is not quantized, or short, is a real number."""
    shape = (1, 5, 16)
    x = np.random.default_rng(seeds.own()).normal(size=shape).astype(np.float32) * 2
    compare(file(KINDS[0], shape, behind=[make("Relu", ["n"], ["y"])]), {"x": x})
    for data in (file(KINDS[0], shape, behind=[make("Exp", ["n"], ["y"])]), file(KINDS[1], (1, 5, 8))):
        assert not any(isinstance(op, LayerNorm) for op in frontend.load(data).ops)


def test_refused_by_name():
    nodes = [*quantized("x"), make("SkipLayerNormalization", ["x_d", "x_d", "w"], ["y"], domain="com.microsoft")]
    held = {"w": np.ones(16, np.float32)} | numbers("x", 0.1, 0, "i")
    with pytest.raises(GraphError, match="SkipLayerNormalization is not supported"):
        frontend.load(model(nodes, [("x", "f", (1, 5, 16))], ("y", "f", (1, 5, 16)), held))


@pytest.mark.parametrize("name", KINDS)
def test_every_bit_of_the_numbers(name):
    """Codes hardly ever show in which order float32 was rounded: here are the numbers before they become codes."""
    rng, centred = np.random.default_rng(seeds.own()), name == KINDS[0]
    for length in (8, 9, 15, 16, 17, 23, 24, 31, 64, 100, 255, 768):
        if length < golden.SHORTEST_ROW[centred]:
            continue
        x = golden.real_codes(rng.integers(-128, 128, (300, length)).astype(np.int8), (0.0371, 11))
        scale, bias = rng.normal(size=(2, length)).astype(np.float32)
        held = {"w": scale, **({"v": bias} if centred else {})}
        ends = ("x", "f", x.shape), ("y", "f", x.shape)
        data = model([make(name, ["x", *held], ["y"], axis=-1, epsilon=1e-5)], ends[:1], ends[1], held, opset=23)
        actual = golden.real_layer_norm(x, scale, bias if centred else None, epsilon=1e-5, centred=centred)
        np.testing.assert_array_equal(actual, reference(data, {"x": x})[0], err_msg=f"{length} values")


def encoder(name) -> Net:
    """A float block: attention of several heads and two dense layers, normalization before each."""
    net = Net((1, LENGTH, WIDTH), opset=23, seed=seeds.own())
    node, weights = net.node, net.weights

    def normalized(x):
        factors = net.rng.uniform(0.5, 1.5, WIDTH).astype(np.float32)
        return node(name, x, factors, *([weights(WIDTH)] if name == KINDS[0] else []), axis=-1)

    def heads(x, order):
        return node("Transpose", node("Reshape", x, np.int64([1, LENGTH, HEADS, DEPTH])), perm=order)

    x = node("MatMul", "x", weights(WIDTH, WIDTH))
    before = normalized(x)
    orders = (0, 2, 1, 3), (0, 2, 3, 1), (0, 2, 1, 3)
    q, k, v = (heads(node("MatMul", before, weights(WIDTH, WIDTH)), order) for order in orders)
    mixed = node("MatMul", node("Softmax", node("MatMul", q, k), axis=-1), v)
    rows = node("Reshape", node("Transpose", mixed, perm=(0, 2, 1, 3)), np.int64([1, LENGTH, WIDTH]))
    middle = node("Add", x, node("MatMul", rows, weights(WIDTH, WIDTH)))
    hidden = node("Relu", node("MatMul", normalized(middle), weights(WIDTH, 3 * WIDTH)))
    node("Add", middle, node("MatMul", hidden, weights(3 * WIDTH, WIDTH)))
    return net


@pytest.mark.parametrize("name", KINDS[:2])
def test_transformer(name, tmp_path):
    """A block quantized by onnxruntime: nothing but its ends is the host's, and results are onnxruntime's."""
    net = encoder(name)
    data = net.quantized(
        tmp_path, items=16, activation_type=quantizer.QuantType.QUInt8, weight_type=quantizer.QuantType.QInt8,
        quant_format=quantizer.QuantFormat.QDQ,
    )  # fmt: skip
    with sateen.open("sim:small,products=1,softmax=2,layer_norm=16") as device:
        loaded = device.load(sateen.compile(frontend.load(data), device.config, strict=True))
        graph = loaded.model.graph
        kinds = {op.name: type(op).__name__ for op in graph.ops}
        assert {kinds[step.host] for step in loaded.model.steps if step.host} == {"Quantize", "Dequantize"}
        assert sum(kind == "LayerNorm" for kind in kinds.values()) == 2
        for x in (net.input() for _ in range(3)):
            actual = loaded.run(graph.tensors["x"].from_file(x))
            np.testing.assert_array_equal(graph.tensors[graph.outputs[0]].to_file(actual), reference(data, {"x": x})[0])
            assert len(np.unique(actual)) > 20
        for layer in loaded.profile.layers:
            cycles, predicted = layer.counters.cycles, layer.layer.predicted.cycles
            assert abs(cycles - predicted) <= max(2, 0.01 * cycles)


def test_an_older_onnxruntime_is_named(tmp_path, monkeypatch):
    """What is compared with it may differ."""
    (path := tmp_path / "normalized.onnx").write_bytes(data := file("LayerNormalization", (1, 4, 16)))
    graph = frontend.load(data)
    assert not interpreter(path, graph).note
    monkeypatch.setattr("onnxruntime.__version__", "1.31.0")
    assert interpreter(path, graph).note.startswith("onnxruntime 1.31.0 normalizes layers otherwise than 1.32")
