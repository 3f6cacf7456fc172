"""What an ONNX file states counts: scales of the operator's own, biases' scales, opsets; and what no handler uses is
refused."""

from __future__ import annotations

import numpy as np
import pytest

import needs
from onnx_models import MICROSOFT, compare, compare_all, model, numbers, quantized, weights
from sateen.errors import SateenWarning
from sateen.frontends import onnx as frontend
from sateen.graph import GraphError

onnx = needs.package("onnx", extra="onnx")
onnxruntime = needs.package("onnxruntime", extra="reference")
helper = onnx.helper


@pytest.mark.parametrize("place", [0, 1])
@pytest.mark.parametrize("name", ["QLinearAdd", "QLinearConv", "QLinearConcat", "QLinearSigmoid", "DequantizeLinear"])
def test_scales_that_are_not_their_producers(name, place):
    """The operator's own numbers count, whatever the operator before said of the same codes."""
    rng, make = np.random.default_rng(10), helper.make_node
    other = (0.0913, 3) if place == 0 else (0.0513, -20)
    constants = numbers("x", 0.0513, 3, "i") | numbers("o", *other, "i") | numbers("y", 0.1017, -8, "i")
    constants |= {
        "w": rng.integers(-127, 128, (2, 2, 3, 3)).astype(np.int8),
        "w_s": np.float32(0.01),
        "w_z": np.int8(0),
    }
    said, out = ["q", "o_s", "o_z"], ["y_s", "y_z"]
    inputs = {
        "QLinearAdd": [*said, "q", "x_s", "x_z", *out],
        "QLinearConv": [*said, "w", "w_s", "w_z", *out],
        "QLinearConcat": [*out, *said, "q", "x_s", "x_z"],
        "QLinearSigmoid": [*said, *out],
        "DequantizeLinear": said,
    }[name]
    fields = {"axis": 1} if name == "QLinearConcat" else {}
    domain = "" if name in ("QLinearConv", "DequantizeLinear") else MICROSOFT
    nodes = [make("QuantizeLinear", ["x", "x_s", "x_z"], ["q"])]
    nodes.append(make(name, inputs, ["y" if name != "DequantizeLinear" else "d"], domain=domain, **fields))
    if name == "DequantizeLinear":
        nodes += [make("Sigmoid", ["d"], ["s"]), make("QuantizeLinear", ["s", *out], ["y"])]
    data = model(nodes, [("x", "f", (1, 2, 8, 8))], ("y", "i", None), constants)
    compare(data, {"x": rng.normal(size=(1, 2, 8, 8)).astype(np.float32) * 2})


@pytest.mark.parametrize("kind", ["i", "u"])
def test_zero_points_left_out(kind):
    """Codes without a zero point are of their producer's type, or of the output_dtype that is stated."""
    make, number = helper.make_node, {"i": onnx.TensorProto.INT8, "u": onnx.TensorProto.UINT8}[kind]
    nodes = [
        make("QuantizeLinear", ["x", "s"], ["q"], output_dtype=number),
        make("DequantizeLinear", ["q", "s"], ["d"]),
        make("Sigmoid", ["d"], ["r"]),
        make("QuantizeLinear", ["r", "s"], ["y"], output_dtype=number),
    ]
    data = model(nodes, [("x", "f", (1, 64))], ("y", kind, (1, 64)), {"s": np.float32(0.0313)}, opset=21)
    compare(data, {"x": np.linspace(-5, 5, 64, dtype=np.float32)[None]}, plain=True)


@pytest.mark.parametrize(
    ("codes_of", "scale", "point", "exact"),
    [(np.int32, 0.0513 * 0.0113, 0, True), (np.int8, 0.0371, 4, False), (np.int32, 0.00117, 0, False)],
)
@pytest.mark.parametrize("kind", ["Conv", "Gemm"])
def test_biases_have_scales(kind, codes_of, scale, point, exact):
    rng = np.random.default_rng(11)
    shape, image = ((4, 3, 3, 3), (1, 3, 6, 6)) if kind == "Conv" else ((6, 4), (1, 6))
    one, first = weights(rng, "w", *shape)
    constants = one | numbers("x", 0.0513, 3, "i") | numbers("a", 0.0711, 1, "i")
    bias = rng.integers(-127, 128, 4) * (1 if codes_of == np.int8 else 9)
    constants |= {"b": bias.astype(codes_of), "b_s": np.float32(scale), "b_z": codes_of(point)}
    nodes = [*quantized("x"), first, helper.make_node("DequantizeLinear", ["b", "b_s", "b_z"], ["b_d"])]
    nodes += [helper.make_node(kind, ["x_d", "w_d", "b_d"], ["a"]), *quantized("a")]
    outputs = [("a", (1, 4, 4, 4) if kind == "Conv" else (1, 4))]
    if exact:
        compare_all(nodes, [("x", image)], outputs, constants)
        return
    # Optimized, onnxruntime takes int32 biases of a Gemm for units of its sums, whatever their scale.
    with pytest.warns(SateenWarning, match=f"{kind}.* most, by 0.0.* steps of its result"):
        compare_all(nodes, [("x", image)], outputs, constants, plain=True)


def _old(file):
    """An opset from before ONNX's own quantization."""
    file.opset_import[0].version = 5
    for node in file.graph.node[1:]:
        node.domain = MICROSOFT


def _attribute(file, name, value):
    file.graph.node[0].attribute.append(helper.make_attribute(name, value))


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda model: model.ClearField("opset_import"), "the file states no version of its domain 'ai.onnx'"),
        (lambda model: model.opset_import.add(domain="ai.onnx", version=9), "it states two versions of the domain"),
        (lambda model: setattr(model.opset_import[0], "version", 99), "its opset is 99, and the installed onnx"),
        (lambda model: setattr(model.opset_import[0], "version", 5), "the file's opset has no QuantizeLinear; export"),
        (_old, "Relu of version 1 is not supported; export the model with opset 6 or later"),
        (lambda model: setattr(model, "ir_version", 99), "its IR version is 99, and the installed onnx package knows"),
        (lambda model: model.opset_import.add(domain="com.microsoft", version=2), "it states two versions of"),
        (lambda model: model.graph.sparse_initializer.add(), "it has sparse constants"),
        (lambda model: _attribute(model, "alpha", 0.5), "(Relu): its attribute alpha is unknown to version 13"),
        (lambda model: model.graph.node[0].input.append("x_s"), "(Relu): it has 2 inputs, and version 13 of"),
    ],
)
def test_refuses_what_no_handler_has_used(change, message):
    nodes = [helper.make_node("Relu", ["x_d"], ["a"]), *quantized("x"), *quantized("a")]
    constants = numbers("x", 0.0513, 3, "i") | numbers("a", 0.0711, 1, "i")
    file = onnx.ModelProto.FromString(model(nodes, [("x", "f", (1, 6))], ("a_d", "f", (1, 6)), constants))
    change(file)
    with pytest.raises(GraphError) as error:
        frontend.load(file.SerializeToString())
    assert message in str(error.value)


def test_refuses_them_without_a_batch():
    """Where the axes of a model are counted otherwise, since its first is no batch."""
    nodes = [helper.make_node("Flatten", ["x_d"], ["f"], axis=0), helper.make_node("Relu", ["f"], ["a"])]
    nodes = [*quantized("x"), *nodes, *quantized("a")]
    constants = numbers("x", 0.0513, 3, "i") | numbers("a", 0.0711, 1, "i")
    file = onnx.ModelProto.FromString(model(nodes, [("x", "f", (3, 4))], ("a_d", "f", (1, 12)), constants))
    assert frontend.load(file.SerializeToString()).tensors["a_d"].file_shape
    (flatten,) = (node for node in file.graph.node if node.op_type == "Flatten")
    flatten.attribute.append(helper.make_attribute("mode", "fast"))
    with pytest.raises(GraphError, match="its attribute mode is unknown to version 13"):
        frontend.load(file.SerializeToString())


def test_functions_of_the_file_are_expanded():
    """An operator that the file itself defines."""
    make, domain = helper.make_node, "my.own"
    opsets = [helper.make_opsetid("", 13), helper.make_opsetid(MICROSOFT, 1), helper.make_opsetid(domain, 1)]
    mine = helper.make_function(domain, "Mine", ["a"], ["b"], [make("Sigmoid", ["a"], ["b"])], opsets[:1])
    nodes = [*quantized("x"), make("Mine", ["x_d"], ["a"], domain=domain), *quantized("a")]
    constants = numbers("x", 0.0513, 3, "i") | numbers("a", 0.0043, -128, "i")
    file = onnx.ModelProto.FromString(model(nodes, [("x", "f", (1, 64))], ("a_d", "f", (1, 64)), constants))
    file.functions.append(mine)
    file.opset_import.append(opsets[2])
    compare(file.SerializeToString(), {"x": np.linspace(-5, 5, 64, dtype=np.float32)[None]})


def test_steps_of_a_constant_slice():
    """Inputs that are left out keep their places."""
    make = helper.make_node
    nodes = [
        make("Slice", ["sizes", "begin", "end", "", "step"], ["shape"]),
        make("Div", ["shape", "minus"], ["cut"]), make("Mul", ["cut", "minus"], ["wanted"]),
        *quantized("x"), make("Reshape", ["x_d", "wanted"], ["a"]), *quantized("a"),
    ]  # fmt: skip
    constants = numbers("x", 0.0513, 3, "i") | numbers("a", 0.0711, 1, "i") | {"sizes": np.array([1, 9, 5, 9, 13])}
    constants |= {"begin": np.array([0]), "end": np.array([9]), "step": np.array([2]), "minus": np.array([1, -2, -4])}
    # 5 / -2 is -2, and 13 / -4 is -3.
    compare_all(nodes, [("x", (1, 48))], [("a", (1, 4, 12))], constants)


@pytest.mark.parametrize(("axis", "size"), [(0, 2), (1, 3), (-1, 5), (0, 6)])
def test_scales_of_blocks(axis, size):
    """Weights with a scale for each block within a channel are real numbers of the host."""
    rng, make = np.random.default_rng(22), helper.make_node
    shape = [9, 6]
    shape[axis] = -(-shape[axis] // size)
    held = numbers("x", 0.0513, 3, "i") | numbers("y", 0.0711, 1, "i")
    held |= {"w": rng.integers(-127, 128, (9, 6)).astype(np.int8), "w_z": rng.integers(-9, 9, shape).astype(np.int8)}
    held["w_s"] = rng.uniform(0.004, 0.02, shape).astype(np.float32)
    nodes = [*quantized("x"), make("DequantizeLinear", ["w", "w_s", "w_z"], ["w_d"], axis=axis, block_size=size)]
    nodes += [make("MatMul", ["x_d", "w_d"], ["y"]), *quantized("y")]
    data = model(nodes, [("x", "f", (1, 9))], ("y_q", "i", None), held, opset=21)
    compare(data, {"x": rng.normal(size=(1, 9)).astype(np.float32)}, plain=True)
