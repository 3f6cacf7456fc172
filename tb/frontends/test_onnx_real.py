"""ONNX models with real parts, against onnxruntime: constants that the file quantizes, heads before the first
QuantizeLinear, tails behind the last, and layers whose result is not quantized.

Scales have odd mantissas, so that no value lies on a tie of rounding, where float32 decides.
"""

from __future__ import annotations

import warnings

import numpy as np
import pytest

import needs
import sateen
from onnx_file import File, W, X, Y, ints
from sateen.frontends import onnx as frontend
from sateen.graph import Graph, GraphError, Quantize, Real, Table, run

onnx = needs.package("onnx", extra="onnx")
onnxruntime = needs.package("onnxruntime", extra="reference")
FLOAT, INT8, UINT8 = onnx.TensorProto.FLOAT, onnx.TensorProto.INT8, onnx.TensorProto.UINT8


def results(data: bytes, inputs: dict[str, np.ndarray]) -> tuple[Graph, list[np.ndarray], list[np.ndarray]]:
    """The graph, its outputs, and onnxruntime's."""
    graph = frontend.load(data)
    given = {name: graph.tensors[name].from_file(value) for name, value in inputs.items()}
    actual = run(graph, given)
    options = onnxruntime.SessionOptions()
    options.log_severity_level = 4
    session = onnxruntime.InferenceSession(data, options, providers=["CPUExecutionProvider"])
    return graph, [graph.tensors[name].to_file(actual[name]) for name in graph.outputs], session.run(None, inputs)


def compile_quietly(graph: Graph) -> tuple[sateen.Model, str]:
    """The compiled graph, and all warnings."""
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        model = sateen.compile(graph, "tiny")
    return model, " ".join(str(warning.message) for warning in caught)


def compare(data: bytes, inputs: dict[str, np.ndarray], *, off: float = 0.0, tolerance: float = 0.0) -> Graph:
    """Asserts that a file's results are onnxruntime's: integers, of which a share may be off by one, and real ones to a
    tolerance, relative to the largest."""
    graph, actual, expected = results(data, inputs)
    for mine, theirs in zip(actual, expected, strict=True):
        assert mine.shape == theirs.shape
        if theirs.dtype == np.float32 and not off:
            assert np.abs(mine - theirs).max() <= tolerance * max(1, np.abs(theirs).max())
        elif theirs.dtype == np.float32:
            step = np.unique(np.abs(np.diff(np.unique(theirs)))).min()
            different = np.abs(mine - theirs) > step / 2
            assert np.abs(mine - theirs).max() <= step * 1.01 and different.mean() <= off
        else:
            different = np.abs(mine.astype(np.int64) - theirs.astype(np.int64))
            assert different.max() <= (1 if off else 0) and (different > 0).mean() <= off
    return graph


def image(seed: int = 1, shape=(1, 3, 8, 8)) -> np.ndarray:
    return (np.random.default_rng(seed).normal(size=shape) * 2).astype(np.float32)


# Biases, and results that are not quantized.


@pytest.mark.parametrize("kind", ["float", "int32", "one", "first"])
def test_bias_behind_a_product(kind):
    f = File()
    made = f.node("MatMul", f.around("x"), f.weights(6, 5))
    if kind == "int32":
        bias = f.dequantize(f.constant(f.rng.integers(-2000, 2000, 5).astype(np.int32)), X * W, 0, np.int32)
    else:
        bias = f.reals(1) if kind == "one" else f.reals(5)
    y = f.node("Add", *((bias, made) if kind == "first" else (made, bias)))
    data = f.build({"x": (1, 7, 6)}, f.quantize(f.node("Relu", y)))
    if kind == "int32":
        graph = compare(data, {"x": image(shape=(1, 7, 6))}, off=0.03)
    else:
        with pytest.warns(sateen.SateenWarning, match="no whole numbers of their sums' units"):
            graph = compare(data, {"x": image(shape=(1, 7, 6))}, off=0.03)
    assert not any(isinstance(op, Real) for op in graph.ops)


@pytest.mark.parametrize("kind", ["Add", "Sub"])
def test_bias_behind_a_convolution(kind):
    f = File()
    made = f.node("Conv", f.around("x"), f.weights(4, 3, 3, 3, scale=f.rng.uniform(0.01, 0.02, 4)))
    y = f.quantize(f.node(kind, made, f.reals(4, 1, 1)))
    with pytest.warns(sateen.SateenWarning):
        graph = compare(f.build({"x": (1, 3, 8, 8)}, y), {"x": image()}, off=0.01)
    assert not any(isinstance(op, Real) for op in graph.ops)


@pytest.mark.parametrize("bias", ["", "float", "int32"])
@pytest.mark.parametrize("each", [False, True])
def test_the_last_layer_is_not_quantized(bias, each):
    f = File()
    scale = f.rng.uniform(0.01, 0.02, 5).astype(np.float32) if each else W
    inputs = [f.node("Flatten", f.around("x")), f.weights(5, 192, scale=scale)]
    if bias == "float":
        inputs.append(f.reals(5))
    elif bias:
        codes = f.constant(f.rng.integers(-2000, 2000, 5).astype(np.int32))
        zeros = np.zeros(np.shape(scale))
        inputs.append(f.dequantize(codes, X * scale, zeros, np.int32, axis=0))
    data = f.build({"x": (1, 3, 8, 8)}, f.node("Gemm", *inputs, transB=1))
    graph = compare(data, {"x": image()}, tolerance=2e-6)
    assert "its result is not quantized, and the device gives int8 results only" in compile_quietly(graph)[1]


@pytest.mark.parametrize("each", [False, True])
def test_a_product_of_integers_with_a_real_result(each):
    f = File()
    scale = f.rng.uniform(0.01, 0.02, 5).astype(np.float32) if each else W
    weights = [f.constant(f.rng.integers(-127, 128, (5, 12)).astype(np.int8))]
    weights += f.numbers(scale, np.zeros(np.shape(scale)))
    bias = f.constant(f.rng.integers(-2000, 2000, 5).astype(np.int32))
    x = [f.quantize("x", X, 128, np.uint8), *f.numbers(X, 128, np.uint8)]
    y = f.node("QGemm", *x, *weights, bias, domain="com.microsoft", transB=1)
    compare(f.build({"x": (3, 12)}, f.node("Softmax", y), y), {"x": image(shape=(3, 12))}, tolerance=1e-6)


def test_a_convolution_that_is_not_quantized_and_a_skip():
    """As TensorRT advises: quantized on the skip only."""
    f = File()
    x = f.around("x")
    made = f.node("Conv", x, f.weights(3, 3, 3, 3), pads=[1, 1, 1, 1])
    y = f.quantize(f.node("Relu", f.node("Add", made, x)), 0.3171, 0)
    compare(f.build({"x": (1, 3, 8, 8)}, y), {"x": image()}, off=0.005)


def test_float_layers_between():
    """Layers whose weights are not quantized."""
    f = File()
    x = f.node("Conv", f.around("x"), f.weights(4, 3, 3, 3))
    x = f.node("Relu", f.node("Conv", x, f.reals(8, 2, 3, 3), f.reals(8), group=2, pads=[1, 1, 1, 1]))
    x = f.node("BatchNormalization", x, f.reals(8), f.reals(8), f.reals(8), f.constant(np.full(8, 0.7, np.float32)))
    x = f.node("AveragePool", f.node("MaxPool", x, kernel_shape=[2, 2]), kernel_shape=[2, 2], strides=[2, 2])
    x = f.node("Gemm", f.node("Flatten", x), f.reals(32, 5), f.reals(5), alpha=0.5, beta=2.0)
    compare(f.build({"x": (1, 3, 8, 8)}, x, f.quantize(x, 0.5)), {"x": image()}, tolerance=2e-6)


# Heads.


def test_normalized_images():
    f = File()
    x = f.node(
        "Div",
        f.node("Sub", "x", f.reals(1, 3, 1, 1)),
        f.constant(np.abs(f.rng.normal(size=(1, 3, 1, 1))).astype(np.float32) + 0.5),
    )
    compare(f.build({"x": (1, 3, 8, 8)}, f.quantize(x, X)), {"x": image()})


@pytest.mark.parametrize("kind", [UINT8, INT8])
def test_an_image_of_bytes(kind):
    """A function of one byte is a table, which the device looks up."""
    f = File()
    x = f.node("Mul", f.node("Cast", "x", to=FLOAT), f.constant(np.float32(1 / 255)))
    x = f.node("Sub", x, f.constant(np.array([0.45], np.float32)))
    data = f.build({"x": ((1, 1, 16, 16), kind)}, f.quantize(x, 0.0171, 3))
    codes = np.arange(256).reshape(1, 1, 16, 16).astype(np.uint8)
    graph = compare(data, {"x": codes if kind == UINT8 else codes.view(np.int8)})
    assert [type(op) for op in graph.ops] == [Table]


def test_integers_that_only_move():
    """Without a scale: they stand for themselves, or for what is said behind."""
    f = File()
    x = f.node("Transpose", "x", perm=[0, 2, 3, 1])
    x = f.node("Slice", x, *(f.constant(np.array(values, np.int64)) for values in ([1], [4], [2])))
    joined = f.node("Reshape", x, f.constant(np.array([1, -1], np.int64)))
    g = f.dequantize(x, 0.05, 3)
    codes = np.random.default_rng(2).integers(-128, 128, (1, 3, 5, 5)).astype(np.int8)
    compare(f.build({"x": ((1, 3, 5, 5), INT8)}, x, joined), {"x": codes})
    graph = compare(f.build({"x": ((1, 3, 5, 5), INT8)}, joined, g), {"x": codes})
    assert not any(isinstance(op, Table) for op in graph.ops)


# Tails.


def tail(kind, *shape, outputs=1, opset=17, constants=(), **attributes):
    """A file with an operator behind a DequantizeLinear, which quantizes nothing."""
    f = File(opset)
    x = f.around("x")
    names = [f.constant(value) if isinstance(value, np.ndarray | np.generic) else value for value in constants]
    made = f.node(kind, x, *names, outputs=outputs, **attributes)
    return f.build({"x": shape}, *([made] if outputs == 1 else made))


SMALL = np.array([0.5, -1.25, 2.0], np.float32)


@pytest.mark.parametrize(
    ("kind", "shape", "constants", "fields"),
    [
        ("Softmax", (1, 10), (), {}),
        ("Softmax", (1, 3, 4, 5), (), {"axis": 1}),
        ("Softmax", (1, 3, 4, 5), (), {"axis": 2}),
        ("Softmax", (1, 3, 4, 5), (), {"axis": 1, "opset": 11}),
        ("LogSoftmax", (1, 10), (), {"axis": 1}),
        ("ReduceMean", (1, 3, 4, 5), (), {"axes": [2, 3]}),
        ("ReduceMean", (1, 3, 4, 5), (), {"axes": [2, 3], "keepdims": 0}),
        ("ReduceMean", (1, 3, 4, 5), (ints(1),), {"opset": 18, "keepdims": 0}),
        ("ReduceSum", (1, 3, 4, 5), (ints(-1),), {"keepdims": 0}),
        ("ReduceMax", (1, 3, 4, 5), (), {"axes": [1, 3], "keepdims": 0}),
        ("ReduceMin", (1, 3, 4), (), {"axes": [-1]}),
        ("ReduceL2", (1, 3, 4, 5), (), {"axes": [1]}),
        ("ReduceLogSumExp", (1, 3, 4), (), {"axes": [1, 2]}),
        ("GlobalAveragePool", (1, 3, 4, 5), (), {}),
        ("Exp", (1, 7), (), {}),
        ("Erf", (1, 7), (), {}),
        ("Gelu", (1, 7), (), {"opset": 20}),
        ("Gelu", (1, 7), (), {"opset": 20, "approximate": "tanh"}),
        ("Sigmoid", (1, 7), (), {}),
        ("Tanh", (1, 7), (), {}),
        ("Softplus", (1, 7), (), {}),
        ("Elu", (1, 7), (), {"alpha": 0.5}),
        ("Selu", (1, 7), (), {}),
        ("HardSigmoid", (1, 7), (), {"alpha": 0.25}),
        ("HardSwish", (1, 7), (), {}),
        ("LeakyRelu", (1, 7), (), {"alpha": 0.3}),
        ("Clip", (1, 7), (np.float32(-0.3), np.float32(0.4)), {}),
        ("Abs", (1, 3, 2, 2), (), {}),
        ("Mul", (1, 3), (SMALL,), {}),
        ("Mul", (1, 3, 4, 5), (SMALL.reshape(3, 1, 1),), {}),
        ("Div", (1, 2, 3), (SMALL,), {}),
        ("Pow", (1, 3), (np.float32(2),), {}),
        ("Max", (1, 3), (SMALL, -SMALL), {}),
        ("PRelu", (1, 3, 4, 5), (SMALL.reshape(3, 1, 1),), {}),
        ("Concat", (1, 3, 2, 2), (np.ones((1, 2, 2, 2), np.float32),), {"axis": 1}),
        ("Transpose", (1, 3, 4, 5), (), {"perm": [0, 2, 1, 3]}),
        ("Reshape", (1, 3, 4), (ints(1, -1),), {}),
        ("Slice", (1, 3, 4), (ints(3), ints(-9), ints(2), ints(-1)), {}),
    ],
)
def test_tails(kind, shape, constants, fields):
    compare(tail(kind, *shape, constants=constants, **fields), {"x": image(shape=shape)}, tolerance=3e-7)


@pytest.mark.parametrize("kind", ["ArgMax", "ArgMin"])
def test_the_place_of_a_value(kind):
    f = File()
    x = f.node("Softmax", f.around("x"), axis=-1)
    y = f.node(kind, x, axis=1, keepdims=0)
    graph, actual, expected = results(f.build({"x": (1, 9, 4)}, y), {"x": image(shape=(1, 9, 4))})
    np.testing.assert_array_equal(actual[0], expected[0])


@pytest.mark.parametrize("largest", [0, 1])
def test_the_largest_values(largest):
    data = tail("TopK", 1, 9, constants=(ints(4),), outputs=2, largest=largest)
    _, actual, expected = results(data, {"x": image(shape=(1, 9))})
    np.testing.assert_allclose(actual[0], expected[0], rtol=3e-7)
    np.testing.assert_array_equal(actual[1], expected[1])


def test_pieces_of_a_real_value():
    f = File()
    parts = f.node("Split", f.node("Softmax", f.around("x")), f.constant(ints(2, 5)), outputs=2, axis=1)
    compare(f.build({"x": (1, 7, 3)}, *parts), {"x": image(shape=(1, 7, 3))}, tolerance=3e-7)


def test_a_chain_on_one_value_is_a_table():
    """GELU as exporters write it, with the division and the powers of two that they use."""
    f = File()
    x = f.around("x")
    erf = f.node("Erf", f.node("Div", x, f.constant(np.float32(2**0.5))))
    y = f.node("Mul", f.node("Mul", x, f.node("Add", erf, f.constant(np.float32(1)))), f.constant(np.float32(0.5)))
    codes = np.arange(-128, 128).astype(np.float32).reshape(1, 1, 16, 16) * X
    graph = compare(f.build({"x": (1, 1, 16, 16)}, f.quantize(y, X, -20)), {"x": codes})
    assert [type(op) for op in graph.ops] == [Quantize, Table] and graph.ops[1].function.startswith("divide, erf")


def test_a_device_between_a_head_and_a_tail():
    f = File()
    x = f.around(f.node("Sub", "x", f.reals(1, 3, 1, 1)))
    x = f.around(f.node("Relu", f.node("Conv", x, f.weights(4, 3, 3, 3))), Y)
    x = f.node("Gemm", f.node("Flatten", x), f.weights(5, 144), transB=1)
    data = f.build({"x": (1, 3, 8, 8)}, f.node("Softmax", x), x)
    graph = compare(data, {"x": image()}, tolerance=2e-6)
    model, said = compile_quietly(graph)
    assert "compute with real numbers, on the host: 'Sub" in said
    assert [layer.op for layer in model.layers] == ["Conv2D"]
    with pytest.warns(sateen.SateenWarning), sateen.open("sim:tiny") as device:
        y = device.load(model).run(image())
    expected = run(graph, graph.tensors["x"].from_file(image()))
    for name, value in y.items():
        np.testing.assert_array_equal(value, expected[name])


# What is refused.


def test_says_how_to_quantize():
    f = File()
    data = f.build({"x": (1, 4)}, f.node("Relu", "x"))
    with pytest.raises(GraphError, match="the model is not quantized; quantize it to int8, by sateen quantize"):
        frontend.load(data)


@pytest.mark.parametrize("kind", ["DynamicQuantizeLinear", "MatMulInteger", "ConvInteger"])
def test_dynamic_quantization(kind):
    f = File()
    x = f.node(kind, "x", *(() if kind.startswith("D") else ("x",)))
    with pytest.raises(GraphError, match=rf"\({kind}\): the model is quantized dynamically: .*quantize_static\(model"):
        frontend.load(f.build({"x": (1, 4)}, f.node("Relu", x)))


def test_an_unknown_operator_is_named_before_a_type_is_complained_of():
    f = File()
    x = f.node("Einsum", f.node("LSTM", f.around("x"), "x", "x"), equation="ij->ji")
    with pytest.raises(GraphError, match=r"'LSTM_2' \(LSTM\): LSTM is not supported; give the float model to"):
        frontend.load(f.build({"x": ((1, 4), onnx.TensorProto.FLOAT16)}, x))


def test_no_number_to_quantize():
    """A logarithm of negative numbers: refused when it runs, by the operator's name."""
    f = File()
    graph = frontend.load(f.build({"x": (1, 8)}, f.around(f.node("Log", f.around("x")))))
    with pytest.raises(sateen.InputError, match="'QuantizeLinear_3': the values to quantize contain NaN; give numbers"):
        run(graph, graph.tensors["x"].from_file(np.linspace(-2, 2, 8, dtype=np.float32)[None]))
