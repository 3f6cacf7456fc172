"""Float ONNX models: quantized by calibration data, they answer like the float model, and as a file like any other
graph."""

from __future__ import annotations

import numpy as np
import pytest

import needs
import sateen
from sateen.graph import Graph, GraphError, run
from sateen.quantize import quantize_file

onnx = needs.package("onnx", extra="onnx")
helper = onnx.helper


class FloatModel:
    """A float model in the making."""

    def __init__(self, seed: int = 0):
        self.rng = np.random.default_rng(seed)
        self.nodes: list = []
        self.constants: dict[str, np.ndarray] = {}

    def weights(self, *shape: int) -> str:
        """A random constant; its name."""
        name = f"w{len(self.constants)}"
        self.constants[name] = (self.rng.normal(size=shape) * 0.3).astype(np.float32)
        return name

    def node(self, kind: str, inputs: list[str], **attributes) -> str:
        """An operator; its output's name."""
        name = f"{kind.lower()}{len(self.nodes)}"
        self.nodes.append(helper.make_node(kind, inputs, [name], f"{name}_node", **attributes))
        return name

    def save(self, path, output: str, shape, out_shape) -> None:
        """Writes the file; its batch is free."""
        ends = [
            helper.make_tensor_value_info(name, 1, ("N", *sizes)) for name, sizes in (("x", shape), (output, out_shape))
        ]
        tensors = [onnx.numpy_helper.from_array(value, name) for name, value in self.constants.items()]
        graph = helper.make_graph(self.nodes, "g", ends[:1], ends[1:], tensors)
        onnx.save(helper.make_model(graph, opset_imports=[helper.make_opsetid("", 13)], ir_version=8), path)


@pytest.fixture
def model(tmp_path):
    """A small network of most kinds of layers, and a batch of inputs."""
    m = FloatModel()
    variance = m.weights(8)
    m.constants[variance] = np.abs(m.constants[variance]) + 0.5
    x = m.node("Conv", ["x", m.weights(8, 3, 3, 3)], pads=[1, 1, 1, 1])
    first = m.node("Relu", [m.node("BatchNormalization", [x, m.weights(8), m.weights(8), m.weights(8), variance])])
    x = m.node("Conv", [first, m.weights(8, 1, 3, 3), m.weights(8)], group=8, pads=[1, 1, 1, 1])
    x = m.node("Conv", [x, m.weights(8, 8, 1, 1), m.weights(8)])
    x = m.node("Relu", [m.node("Add", [x, first])])
    x = m.node("Mul", [m.node("MaxPool", [x], kernel_shape=[2, 2], strides=[2, 2]), m.weights(1, 8, 1, 1)])
    x = m.node("Gemm", [m.node("Flatten", [x]), m.weights(5, 128), m.weights(5)], transB=1)
    m.save(tmp_path / "float.onnx", m.node("Softmax", [x], axis=1), (3, 8, 8), (5,))
    return tmp_path / "float.onnx", m.rng.normal(size=(24, 3, 8, 8)).astype(np.float32)


def test_answers_like_the_float_model(model, tmp_path):
    path, x = model
    graph = quantize_file(path, x)
    graph.save(tmp_path / "q.graph")
    again = Graph.load(tmp_path / "q.graph")
    assert again.tensors == graph.tensors
    codes = again.tensors["x"].from_file(x)
    y = run(again, codes)[again.outputs[0]]
    expected = onnx.reference.ReferenceEvaluator(str(path)).run(None, {"x": x})[0]
    assert np.abs(y - expected).max() < 0.03 and (y.argmax(axis=1) == expected.argmax(axis=1)).mean() >= 0.9
    with pytest.warns(sateen.SateenWarning, match="runs on the host: it is looked up in tables"):
        compiled = sateen.compile(path, "tiny", calibration=x)
    assert [layer.op for layer in compiled.layers] == [
        "Conv2D",
        "DepthwiseConv2D",
        "Conv2D",
        "MaxPool2D",
        "FullyConnected",
    ]


def test_device(model):
    path, x = model
    with pytest.warns(sateen.SateenWarning), sateen.open("sim:tiny") as device:
        loaded = device.load(sateen.compile(path, "tiny", calibration=x))
        y = loaded.run(x[:2])
    graph = loaded.model.graph
    np.testing.assert_array_equal(y, run(graph, graph.tensors["x"].from_file(x[:2]))[graph.outputs[0]])


def test_says_what_is_wrong(model, tmp_path):
    path, x = model
    with pytest.raises(GraphError, match="the model is not quantized; quantize it to int8, by sateen quantize"):
        sateen.compile(path, "tiny")
    with pytest.raises(GraphError, match="calibration: the model does not run on it"):
        quantize_file(path, x[:, :2])
    with pytest.raises(GraphError, match="calibration: it holds no item"):
        quantize_file(path, x[:0])
    with pytest.raises(GraphError, match="calibration leads to values in it that are not finite"):
        quantize_file(path, np.full_like(x, np.nan))
    with pytest.raises(sateen.CompileError, match="cannot read"):
        quantize_file(tmp_path / "none.onnx", x)
    lone = FloatModel()
    lone.save(
        tmp_path / "lone.onnx",
        lone.node("BatchNormalization", ["x", *(lone.weights(3) for _ in range(4))]),
        (3, 8, 8),
        (3, 8, 8),
    )
    with pytest.raises(GraphError, match="it can be folded only into a Conv or Gemm right before it"):
        quantize_file(tmp_path / "lone.onnx", x)


@pytest.mark.parametrize(
    ("kind", "message"),
    [
        ("QuantizeLinear", "the model is quantized already; compile it as it is, without calibration data"),
        ("DynamicQuantizeLinear", "the model is quantized dynamically; quantize the float model"),
    ],
)
def test_a_quantized_model_is_not_quantized_again(tmp_path, kind, message):
    m = FloatModel()
    scale = m.weights()
    y = m.node("Relu", [m.node(kind, ["x", scale])])
    m.save(tmp_path / "m.onnx", y, (4,), (4,))
    with pytest.raises(GraphError, match=rf"m.onnx: operator '.*_node' \({kind}\): {message}"):
        quantize_file(tmp_path / "m.onnx", np.zeros((1, 4), np.float32))


def test_values_that_only_move_keep_their_scale(tmp_path):
    m = FloatModel(3)
    x = m.node("ConvTranspose", ["x", m.weights(3, 8, 2, 2), m.weights(8)], strides=[2, 2])
    m.constants["places"] = np.array([3, 0, 1, 2, 5, 4, 6, 7])
    x = m.node(
        "Gather", [m.node("DepthToSpace", [m.node("SpaceToDepth", [x], blocksize=2)], blocksize=2), "places"], axis=1
    )
    x = m.node("Flatten", [m.node("ReduceMax", [x], axes=[2, 3])])
    m.save(tmp_path / "m.onnx", x, (3, 4, 4), (8,))
    given = np.random.default_rng(4).normal(size=(20, 3, 4, 4)).astype(np.float32)
    graph = quantize_file(tmp_path / "m.onnx", given)
    assert len({tensor.quantization for tensor in graph.tensors.values() if tensor.dtype == "int8"}) == 2
    actual = run(graph, {"x": graph.tensors["x"].from_file(given)})[graph.outputs[0]]
    expected = onnx.reference.ReferenceEvaluator(str(tmp_path / "m.onnx")).run(None, {"x": given})[0]
    assert np.abs(actual - expected).max() < 0.05 * np.abs(expected).max()


def test_products_of_tensors_and_numbers(tmp_path):
    """Neither operand of a product has weights, and a constant has no axes."""
    m = FloatModel()
    m.constants["half"] = np.float32(0.5)
    keys = m.node("Transpose", ["x"], perm=[0, 2, 1])
    y = m.node("MatMul", [m.node("Mul", [m.node("MatMul", ["x", keys]), "half"]), "x"])
    m.save(tmp_path / "m.onnx", y, (6, 4), (6, 4))
    x = m.rng.normal(size=(8, 6, 4)).astype(np.float32)
    graph = quantize_file(tmp_path / "m.onnx", x)
    assert [type(op).__name__ for op in graph.ops].count("MatrixProduct") == 2
    expected = 0.5 * x @ x.transpose(0, 2, 1) @ x
    for item, wanted in zip(x, expected, strict=True):
        found = run(graph, graph.tensors[graph.inputs[0]].from_file(item[None]))[graph.outputs[0]]
        np.testing.assert_allclose(
            graph.tensors[graph.outputs[0]].to_file(found)[0], wanted, atol=0.03 * abs(expected).max()
        )
