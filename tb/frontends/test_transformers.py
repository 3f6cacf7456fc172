"""Whole blocks of transformers: attention of several heads, normalization and two dense layers, quantized to int8;
equal to the interpreters, with all but a few operators on a device that multiplies tensors."""

from __future__ import annotations

import collections
import math
import warnings

import numpy as np
import pytest

import needs
import sateen
import seeds
from interpreters import micro
from onnx_floats import Net, quantizer
from onnx_models import reference
from sateen.frontends import onnx as onnx_frontend
from sateen.frontends import tflite
from sateen.graph import run
from tflite_models import ModelBuilder

LENGTH, HEADS, DEPTH = 6, 2, 4
WIDTH = HEADS * DEPTH


class Block(ModelBuilder):
    """A block in the making. Codes have scales for real values of about 1."""

    def __init__(self):
        super().__init__()
        self.rng = np.random.default_rng(seeds.own())

    def new(self, shape, scale=1 / 32, zero_point=3):
        return self.tensor(shape, "INT8", scale=scale, zero_point=zero_point)

    def to(self, kind, inputs, shape, options="", *, version=1, scale=1 / 32, zero_point=3, **fields):
        """An operator's only result."""
        y = self.new(shape, scale, zero_point)
        self.op(kind, inputs, [y], options, version=version, **fields)
        return y

    def dense(self, x, outputs, inputs=WIDTH, activation=0):
        codes = self.rng.integers(-127, 128, (outputs, inputs))
        scale = [1.5 / (74 * math.sqrt(inputs))] * outputs
        weights = self.constant(codes, "INT8", scale=scale, axis=0)
        bias = self.rng.integers(-500, 500, outputs).astype(np.int32)
        bias = self.constant(bias, scale=[np.float32(1 / 32) * np.float32(s) for s in scale])
        fields = {"KeepNumDims": True, "FusedActivationFunction": activation}
        return self.to("FULLY_CONNECTED", [x, weights, bias], (1, LENGTH, outputs), "FullyConnectedOptions", **fields)

    def heads(self, x):
        split = self.to("RESHAPE", [x, self.constant([1, LENGTH, HEADS, DEPTH])], (1, LENGTH, HEADS, DEPTH))
        return self.to("TRANSPOSE", [split, self.constant([0, 2, 1, 3])], (1, HEADS, LENGTH, DEPTH))

    def attention(self, x):
        q, k, v = (self.heads(self.dense(x, WIDTH)) for _ in range(3))
        square = (1, HEADS, LENGTH, LENGTH)
        scores = self.to("BATCH_MATMUL", [q, k], square, "BatchMatMulOptions", AdjY=True, scale=1 / 16, zero_point=-2)
        half = self.constant(np.int8([127]).reshape(1, 1, 1, 1), "INT8", scale=0.5 / 127)
        scaled = self.to("MUL", [scores, half], square, "MulOptions", scale=1 / 24, zero_point=-2)
        shares = self.to("SOFTMAX", [scaled], square, "SoftmaxOptions", Beta=1.0, scale=1 / 256, zero_point=-128)
        mixed = self.to("BATCH_MATMUL", [shares, v], (1, HEADS, LENGTH, DEPTH), "BatchMatMulOptions")
        turned = self.to("TRANSPOSE", [mixed, self.constant([0, 2, 1, 3])], (1, LENGTH, HEADS, DEPTH))
        return self.dense(self.to("RESHAPE", [turned, self.constant([1, LENGTH, WIDTH])], (1, LENGTH, WIDTH)), WIDTH)

    def normalized(self, x):
        """TensorFlow Lite's decomposition of a layer normalization."""
        row, shape, axis = (1, LENGTH, 1), (1, LENGTH, WIDTH), self.constant([2])
        mean = self.to("MEAN", [x, axis], row, "ReducerOptions", KeepDims=True)
        squares = self.to("SQUARED_DIFFERENCE", [x, mean], shape, scale=1 / 16, zero_point=-128)
        variance = self.to("MEAN", [squares, axis], row, "ReducerOptions", KeepDims=True, scale=1 / 64, zero_point=-128)
        least = self.constant(np.int8([[[1]]]), "INT8", scale=1 / 64)
        above = self.to("ADD", [variance, least], row, "AddOptions", scale=1 / 60, zero_point=-128)
        inverse = self.to("RSQRT", [above], row, scale=1 / 32, zero_point=-128)
        centred = self.to("SUB", [x, mean], shape, "SubOptions")
        return self.to("MUL", [centred, inverse], shape, "MulOptions")

    def added(self, a, b):
        return self.to("ADD", [a, b], (1, LENGTH, WIDTH), "AddOptions")

    def whole(self):
        x = self.new((1, LENGTH, WIDTH))
        middle = self.normalized(self.added(x, self.attention(x)))
        hidden = self.dense(middle, 3 * WIDTH, activation=1)
        y = self.normalized(self.added(middle, self.dense(hidden, WIDTH, 3 * WIDTH)))
        return self.build([x], [y])


def hosts(model):
    """Kinds of operators that the host computes."""
    kinds = {op.name: type(op).__name__ for op in model.graph.ops}
    return dict(collections.Counter(kinds[step.host] for step in model.steps if step.host))


@pytest.fixture(scope="module")
def device():
    with sateen.open("sim:tiny,products=1,softmax=1,squares=1,positions=256,descriptors=12") as opened:
        yield opened


def on_device(device, graph, x):
    """The device's result, and the compiled model."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", sateen.SateenWarning)
        loaded = device.load(sateen.compile(graph, device.config))
    return loaded.run(x), loaded.model


def test_tflite(device):
    data = Block().whole()
    graph = tflite.load(data)
    rng = np.random.default_rng(seeds.own())
    for _ in range(3):
        x = rng.integers(-128, 128, (1, LENGTH, WIDTH)).astype(np.int8)
        expected = micro(data, [x])
        np.testing.assert_array_equal(run(graph, x)[graph.outputs[0]], expected)
    actual, model = on_device(device, graph, x)
    np.testing.assert_array_equal(actual, expected)
    assert len(np.unique(actual)) > 20
    assert not hosts(model)


def encoder() -> Net:
    """A float block as PyTorch exports one: with LayerNormalization and GELU by Erf."""
    net = Net((1, LENGTH, WIDTH), seed=seeds.own())
    node = net.node

    def dense(x, inputs, outputs):
        return node("Add", node("MatMul", x, net.weights(inputs, outputs)), net.weights(outputs))

    def normalized(x):
        return node("LayerNormalization", x, np.ones(WIDTH, np.float32), net.weights(WIDTH), axis=-1)

    def heads(x, order):
        return node("Transpose", node("Reshape", x, np.int64([1, LENGTH, HEADS, DEPTH])), perm=order)

    q, k, v = (heads(dense("x", WIDTH, WIDTH), order) for order in ((0, 2, 1, 3), (0, 2, 3, 1), (0, 2, 1, 3)))
    scores = node("Mul", node("MatMul", q, k), np.float32(0.5))
    mixed = node("Transpose", node("MatMul", node("Softmax", scores, axis=-1), v), perm=(0, 2, 1, 3))
    attended = dense(node("Reshape", mixed, np.int64([1, LENGTH, WIDTH])), WIDTH, WIDTH)
    middle = normalized(node("Add", "x", attended))
    hidden = dense(middle, WIDTH, 3 * WIDTH)
    erf = node("Erf", node("Mul", hidden, np.float32(math.sqrt(0.5))))
    gelu = node("Mul", node("Mul", hidden, node("Add", erf, np.float32(1))), np.float32(0.5))
    normalized(node("Add", middle, dense(gelu, 3 * WIDTH, WIDTH)))
    return net


def test_onnx(device, tmp_path):
    """Quantized by onnxruntime."""
    needs.layer_norms()
    net = encoder()
    data = net.quantized(
        tmp_path, items=16, activation_type=quantizer.QuantType.QInt8, weight_type=quantizer.QuantType.QInt8,
        quant_format=quantizer.QuantFormat.QDQ,
    )  # fmt: skip
    graph = onnx_frontend.load(data)
    x = net.input()
    golden = run(graph, x)[graph.outputs[0]]
    (expected,) = reference(data, {"x": x})
    np.testing.assert_array_equal(golden, expected)
    actual, model = on_device(device, graph, x)
    np.testing.assert_array_equal(actual, golden)
    wanted = {"Constant": 6, "Dequantize": 1, "LayerNorm": 2, "Quantize": 1, "Softmax": 1, "Transpose": 1}
    assert hosts(model) == wanted
