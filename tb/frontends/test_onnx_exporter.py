"""What onnxruntime's own quantizer writes of float networks: its integers, for each of its options."""

from __future__ import annotations

import logging

import numpy as np
import pytest

import needs
from onnx_floats import Net, quantizer
from onnx_models import compare_all, quantized, reference
from sateen.frontends import onnx as frontend
from sateen.graph import run

onnx = needs.package("onnx", extra="onnx")
needs.package("onnxruntime", extra="reference")

from onnx import helper  # noqa: E402

S8, U8, S4 = (quantizer.QuantType[name] for name in ("QInt8", "QUInt8", "QInt4"))
QDQ, OPERATORS = quantizer.QuantFormat.QDQ, quantizer.QuantFormat.QOperator


def images() -> Net:
    net = Net((1, 3, 12, 12))
    a = net.node("Relu", net.node("Conv", "x", net.weights(8, 3, 3, 3), net.weights(8), pads=[1] * 4, strides=[2, 2]))
    b = net.node("Conv", a, net.weights(8, 1, 3, 3), net.weights(8), pads=[1] * 4, group=8)
    b = net.node("Add", net.node("Clip", b, np.float32(0), np.float32(6)), a)
    squeezed = net.node("Conv", net.node("GlobalAveragePool", b), net.weights(8, 8, 1, 1), net.weights(8))
    b = net.node("Mul", b, net.node("HardSigmoid", squeezed, alpha=1 / 6, beta=0.5))
    c = net.node("LeakyRelu", net.node("MaxPool", b, kernel_shape=[3, 3], pads=[1] * 4), alpha=0.1)
    c = net.node("Concat", net.node("HardSwish", b), c, axis=1)
    c = net.node("AveragePool", c, kernel_shape=[2, 2], strides=[2, 2])
    up = net.node("Resize", c, "", np.float32([1, 1, 2, 2]), mode="nearest", nearest_mode="floor",
                  coordinate_transformation_mode="asymmetric")  # fmt: skip
    c = net.node("Pad", up, np.int64([0, 0, 1, 1, 0, 0, 0, 0]), np.float32(0.5))
    c = net.node("Slice", c, np.int64([1]), np.int64([7]), np.int64([2]))
    c = net.node("Flatten", net.node("Sigmoid", c))
    net.node("Softmax", net.node("Gemm", c, net.weights(10, 16 * 6 * 7), net.weights(10), transB=1), axis=-1)
    return net


def attention() -> Net:
    net = Net((1, 6, 16))
    heads = []
    for _ in range(3):
        part = net.node("Add", net.node("MatMul", "x", net.weights(16, 16)), net.weights(16))
        part = net.node("Reshape", part, np.int64([1, 6, 2, 8]))
        heads.append(net.node("Transpose", part, perm=[0, 2, 1, 3]))
    scores = net.node("MatMul", heads[0], net.node("Transpose", heads[1], perm=[0, 1, 3, 2]))
    shares = net.node("Softmax", net.node("Mul", scores, np.float32(8**-0.5)), axis=-1)
    y = net.node("Transpose", net.node("MatMul", shares, heads[2]), perm=[0, 2, 1, 3])
    y = net.node("MatMul", net.node("Reshape", y, np.int64([1, 6, 16])), net.weights(16, 16))
    y = net.node("Add", "x", net.node("Add", y, net.weights(16)))
    wide = net.node("Add", net.node("MatMul", y, net.weights(16, 32)), net.weights(32))
    one = net.node("Add", net.node("Erf", net.node("Div", wide, np.float32(2**0.5))), np.float32(1))
    y = net.node("Add", y, net.node("MatMul", net.node("Mul", wide, one), net.weights(32, 16)))
    net.node("Gemm", net.node("Flatten", y), net.weights(96, 5), net.weights(5))
    return net


@pytest.mark.parametrize("make", [images, attention])
@pytest.mark.parametrize(
    ("form", "activations", "weights", "channels", "options"),
    [
        (QDQ, U8, U8, False, {}),
        (QDQ, S8, S8, True, {"AddQDQPairToWeight": True}),
        (QDQ, S8, S8, True, {"UseQDQContribOps": True}),
        (QDQ, S8, S4, True, {}),
        (OPERATORS, U8, U8, False, {}),
    ],
)
def test_options(make, form, activations, weights, channels, options, tmp_path, monkeypatch):
    monkeypatch.setattr(logging.root, "disabled", True)
    net = make()
    data = net.quantized(
        tmp_path, quant_format=form, activation_type=activations, weight_type=weights, per_channel=channels,
        extra_options=options,
    )  # fmt: skip
    graph, x = frontend.load(data), net.input()
    (name,) = graph.outputs
    y = graph.tensors[name].to_file(run(graph, {"x": graph.tensors["x"].from_file(x)})[name])
    np.testing.assert_allclose(y, reference(data, {"x": x})[0], atol=1e-6)


@pytest.mark.parametrize("value", [0.5, 0.37, -9.0, 100.0])
@pytest.mark.parametrize("behind", ["same", "other", "Relu"])
def test_borders_of_values(behind, value):
    """A border's value is quantized once, as its result is, also where it is no code of what it surrounds."""
    constants = {
        name: np.float32(scale) for name, scale in (("x_s", 0.05), ("y_s", 0.07 if behind == "other" else 0.05))
    }
    constants |= {"x_z": np.int8(100), "y_z": np.int8(-3 if behind == "other" else 100), "value": np.float32(value)}
    nodes = [*quantized("x"), helper.make_node("Pad", ["x_d", "pads", "value"], ["p"])]
    nodes.append(helper.make_node("Relu" if behind == "Relu" else "Identity", ["p"], ["y"]))
    constants["pads"] = np.int64([0, 0, 1, 0, 0, 0, 0, 2])
    compare_all([*nodes, *quantized("y")], [("x", (1, 3, 5, 5))], [("y", (1, 3, 6, 7))], constants)
