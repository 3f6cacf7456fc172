"""Single ONNX operators over the full range of operands: the golden model's integers against onnxruntime's."""

from __future__ import annotations

import numpy as np
import pytest

from sateen.extras import install_hint
from sateen.frontends.onnx import importer as frontend
from sateen.graph import run

onnx = pytest.importorskip("onnx", reason=f"needs onnx; {install_hint('onnx')}")
onnxruntime = pytest.importorskip("onnxruntime", reason=f"needs onnxruntime; {install_hint('reference')}")
helper = onnx.helper

MICROSOFT = "com.microsoft"
PAIRS = [np.repeat(np.arange(256), 256).reshape(1, 65536), np.tile(np.arange(256), 256).reshape(1, 65536)]


def model(nodes, inputs, output, constants) -> bytes:
    """A file: inputs and output as (name, type, shape), constants by name."""
    kinds = {"f": onnx.TensorProto.FLOAT, "i": onnx.TensorProto.INT8, "u": onnx.TensorProto.UINT8}
    values = [helper.make_tensor_value_info(name, kinds[kind], shape) for name, kind, shape in (*inputs, output)]
    initializers = [onnx.numpy_helper.from_array(np.asarray(value), name) for name, value in constants.items()]
    graph = helper.make_graph(nodes, "g", values[:-1], values[-1:], initializers)
    opsets = [helper.make_opsetid("", 13), helper.make_opsetid(MICROSOFT, 1)]
    return helper.make_model(graph, opset_imports=opsets, ir_version=8).SerializeToString()


def compare(data: bytes, inputs: dict[str, np.ndarray], most: int = 0) -> None:
    """The graph of a file gives what onnxruntime gives; ``most`` codes may differ, by one."""
    graph = frontend.load(data)
    given = {name: graph.tensors[name].from_file(value) for name, value in inputs.items()}
    actual = graph.tensors[graph.outputs[0]].to_file(run(graph, given)[graph.outputs[0]])
    expected = onnxruntime.InferenceSession(data, providers=["CPUExecutionProvider"]).run(None, inputs)[0]
    assert actual.dtype == expected.dtype and actual.shape == expected.shape
    difference = np.abs(actual.astype(np.int64) - expected.astype(np.int64))
    assert (difference > 0).sum() <= most and difference.max() <= 1, (
        f"{(difference > 0).sum()} of {difference.size} differ"
    )


def numbers(name, scale, zero_point, kind):
    """Constants for a tensor's scale and zero point."""
    return {
        f"{name}_s": np.float32(scale),
        f"{name}_z": np.uint8(zero_point + 128) if kind == "u" else np.int8(zero_point),
    }


def codes(values, kind):
    return np.asarray(values).astype(np.uint8) if kind == "u" else (np.asarray(values) - 128).astype(np.int8)


SCALES = [
    ((0.05, 3), (0.07, -20), (0.09, 1)),
    ((0.031, 127), (0.5, -128), (0.25, 0)),
    ((2.0**-4, 0), (2.0**-6, 5), (2.0**-3, -3)),
]


@pytest.mark.parametrize("kind", ["u", "i"])
@pytest.mark.parametrize(("a", "b", "y"), SCALES)
@pytest.mark.parametrize("name", ["QLinearAdd", "QLinearMul"])
def test_every_pair_of_operands(name, a, b, y, kind):
    places = [f"{t}{e}" for t in "ab" for e in ("", "_s", "_z")] + ["y_s", "y_z"]
    constants = numbers("a", *a, kind) | numbers("b", *b, kind) | numbers("y", *y, kind)
    node = helper.make_node(name, places, ["y"], domain=MICROSOFT)
    shape = (1, 65536)
    data = model([node], [("a", kind, shape), ("b", kind, shape)], ("y", kind, shape), constants)
    compare(data, {n: codes(v, kind) for n, v in zip("ab", PAIRS, strict=True)})


@pytest.mark.parametrize("kind", ["u", "i"])
@pytest.mark.parametrize("x", [(0.05, 3), (0.1, -128), (2.0**-5, 0), (0.7, 127)])
@pytest.mark.parametrize(
    ("name", "y", "attributes"),
    [
        ("QLinearLeakyRelu", (0.04, -20), {"alpha": 0.1}),
        ("QLinearLeakyRelu", (0.02, 100), {"alpha": 0.3}),
        ("QLinearSigmoid", (1 / 256, -128), {}),
    ],
)
def test_functions_of_one_value(name, x, y, attributes, kind):
    node = helper.make_node(name, ["x", "x_s", "x_z", "y_s", "y_z"], ["y"], domain=MICROSOFT, **attributes)
    data = model(
        [node], [("x", kind, (1, 256))], ("y", kind, (1, 256)), numbers("x", *x, kind) | numbers("y", *y, kind)
    )
    compare(data, {"x": codes(np.arange(256)[None], kind)})


@pytest.mark.parametrize("kind", ["u", "i"])
@pytest.mark.parametrize("scale", [0.05, 0.3, 2.0**-3])
def test_softmax(scale, kind):
    rng = np.random.default_rng(1)
    node = helper.make_node(
        "QLinearSoftmax", ["x", "x_s", "x_z", "y_s", "y_z"], ["y"], domain=MICROSOFT, axis=-1, opset=13
    )
    constants = numbers("x", scale, 5, kind) | numbers("y", 1 / 256, -128, kind)
    data = model([node], [("x", kind, (1, 12))], ("y", kind, (1, 12)), constants)
    for _ in range(50):
        compare(data, {"x": codes(rng.integers(0, 256, (1, 12)), kind)})


@pytest.mark.parametrize("kind", ["u", "i"])
def test_concat(kind):
    inputs = [("a", (0.05, 3)), ("b", (0.031, 72)), ("c", (0.07, -8))]
    places = ["y_s", "y_z", *(f"{n}{e}" for n, _ in inputs for e in ("", "_s", "_z"))]
    constants = numbers("y", 0.07, -8, kind)
    for name, own in inputs:
        constants |= numbers(name, *own, kind)
    node = helper.make_node("QLinearConcat", places, ["y"], domain=MICROSOFT, axis=1)
    data = model([node], [(n, kind, (1, 256, 1, 1)) for n, _ in inputs], ("y", kind, (1, 768, 1, 1)), constants)
    compare(data, {n: codes(np.arange(256).reshape(1, 256, 1, 1), kind) for n, _ in inputs})


@pytest.mark.parametrize("kind", ["u", "i"])
@pytest.mark.parametrize("y", [(0.05, 3), (0.013, -30)])
def test_global_average_pool(y, kind):
    rng = np.random.default_rng(3)
    node = helper.make_node(
        "QLinearGlobalAveragePool", ["x", "x_s", "x_z", "y_s", "y_z"], ["y"], domain=MICROSOFT, channels_last=0
    )
    constants = numbers("x", 0.05, 3, kind) | numbers("y", *y, kind)
    data = model([node], [("x", kind, (1, 40, 7, 5))], ("y", kind, (1, 40, 1, 1)), constants)
    compare(data, {"x": codes(rng.integers(0, 256, (1, 40, 7, 5)), kind)})


def test_transposed_weights():
    """Weights that a QDQ model transposes before their product, and channels last at its ends."""
    rng = np.random.default_rng(4)
    constants = numbers("x", 0.037, 3, "i") | numbers("y", 0.9, -8, "i")
    constants |= {
        "w": rng.integers(-127, 128, (6, 24)).astype(np.int8),
        "w_s": rng.uniform(0.01, 0.02, 6).astype(np.float32),
    }
    constants |= {"w_z": np.zeros(6, np.int8), "shape": np.array([0, -1])}
    make = helper.make_node
    nodes = [
        make("QuantizeLinear", ["x", "x_s", "x_z"], ["xq"]), make("DequantizeLinear", ["xq", "x_s", "x_z"], ["xd"]),
        make("Transpose", ["xd"], ["t"], perm=[0, 2, 3, 1]), make("Reshape", ["t", "shape"], ["f"]),
        make("QuantizeLinear", ["f", "x_s", "x_z"], ["fq"]), make("DequantizeLinear", ["fq", "x_s", "x_z"], ["fd"]),
        make("DequantizeLinear", ["w", "w_s", "w_z"], ["wd"], axis=0), make("Transpose", ["wd"], ["wt"], perm=[1, 0]),
        make("MatMul", ["fd", "wt"], ["m"]), make("QuantizeLinear", ["m", "y_s", "y_z"], ["y"]),
    ]  # fmt: skip
    data = model(nodes, [("x", "f", (1, 2, 3, 4))], ("y", "i", (1, 6)), constants)
    compare(data, {"x": rng.normal(size=(1, 2, 3, 4)).astype(np.float32) * 2}, most=1)


@pytest.mark.parametrize("kind", ["u", "i"])
@pytest.mark.parametrize(
    ("groups", "pads", "strides"), [(1, [1, 1, 1, 1], [1, 1]), (4, [0, 0, 1, 1], [2, 2]), (2, [2, 0, 1, 3], [1, 2])]
)
@pytest.mark.parametrize("seed", range(3))
def test_convolution(groups, pads, strides, kind, seed):
    rng = np.random.default_rng(seed)
    names = ["x", "x_s", "x_z", "w", "w_s", "w_z", "y_s", "y_z", "b"]
    constants = numbers("x", 0.037, 3, kind) | numbers("y", 0.061, -8, kind)
    constants |= {"w": rng.integers(-127, 128, (8, 4 // groups, 3, 3)).astype(np.int8), "w_z": np.zeros(8, np.int8)}
    constants |= {
        "w_s": rng.uniform(0.001, 0.01, 8).astype(np.float32),
        "b": rng.integers(-2000, 2000, 8).astype(np.int32),
    }
    out = [(size + pads[a] + pads[a + 2] - 3) // s + 1 for a, (size, s) in enumerate(zip((9, 8), strides, strict=True))]
    node = helper.make_node("QLinearConv", names, ["y"], group=groups, pads=pads, strides=strides, kernel_shape=[3, 3])
    data = model([node], [("x", kind, (1, 4, 9, 8))], ("y", kind, (1, 8, *out)), constants)
    compare(data, {"x": codes(rng.integers(0, 256, (1, 4, 9, 8)), kind)})
