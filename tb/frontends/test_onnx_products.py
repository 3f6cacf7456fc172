"""ONNX's matrix products of two tensors, against onnxruntime."""

from __future__ import annotations

import numpy as np
import pytest

import needs
import seeds
from onnx_models import MICROSOFT, model, numbers, quantized, reference
from sateen.frontends import onnx as frontend
from sateen.graph import GraphError, MatrixProduct, RealMatrixProduct, run

onnx = needs.package("onnx", extra="onnx")
make = onnx.helper.make_node

SHAPES = [
    ((1, 5, 16), (1, 16, 7)),
    ((1, 3, 4, 9), (1, 3, 9, 2)),
    ((1, 3, 4, 9), (1, 1, 9, 2)),
    ((3, 4, 9), (3, 9, 2)),
    ((2, 3, 4, 9), (3, 9, 2)),
    ((4, 9), (9, 2)),
    ((1, 9), (9, 2)),
    ((1, 5, 16), (16, 7)),
]
KINDS = ["ii", "uu", "ui"]


def check(data, inputs, *, plain=False, near=0.0):
    """Asserts that the graph gives onnxruntime's results, or comes ``near``; returns the graph."""
    graph = frontend.load(data)
    # Inputs that do not begin with a batch get one.
    tensors = {name: graph.tensors[name] for name in (*graph.inputs, *graph.outputs)}
    given = {name: tensors[name].from_file(x.reshape(tensors[name].file_shape)) for name, x in inputs.items()}
    actual = tensors[graph.outputs[0]].to_file(run(graph, given)[graph.outputs[0]])
    expected = reference(data, inputs, plain=plain)[0]
    actual = actual.reshape(expected.shape)
    assert actual.dtype == expected.dtype
    if near:
        np.testing.assert_allclose(actual, expected, rtol=near, atol=near)
    else:
        np.testing.assert_array_equal(actual, expected)
    return graph


def reals(shapes):
    rng = np.random.default_rng(seeds.own())
    return {name: (rng.normal(size=shape) * 2).astype(np.float32) for name, shape in zip("ab", shapes, strict=True)}


def product(shapes, kinds="ii", *, kind="MatMul", inputs=("a_d", "b_d"), constants=None, end=True, **fields):
    """A file of one product of dequantized values, whose result is quantized unless it is the ``end``, and values."""
    nodes = [*quantized("a", kinds[0]), *quantized("b", kinds[1]), make(kind, inputs, ["y"], **fields)]
    held = numbers("a", 0.031, 5, kinds[0]) | numbers("b", 0.027, -11, kinds[1]) | numbers("y", 0.21, 3, kinds[0])
    nodes += quantized("y", kinds[0]) if end else []
    given = [(name, "f", shape) for name, shape in zip("ab", shapes, strict=True)]
    return model(nodes, given, ("y_d" if end else "y", "f", None), held | (constants or {})), reals(shapes)


@pytest.mark.parametrize("shapes", SHAPES)
@pytest.mark.parametrize("kinds", KINDS)
@pytest.mark.parametrize("end", [True, False])
def test_products_between_q_and_dq(shapes, kinds, end):
    graph = check(*product(shapes, kinds, end=end))
    assert any(isinstance(op, MatrixProduct) for op in graph.ops)


@pytest.mark.parametrize("kinds", KINDS)
@pytest.mark.parametrize("transposed", [(0, 0), (0, 1), (1, 0), (1, 1)])
@pytest.mark.parametrize("fields", [{}, {"alpha": 0.37}])
@pytest.mark.parametrize("end", [True, False])
def test_gemm(kinds, transposed, fields, end):
    shapes = [(9, 4) if transposed[0] else (4, 9), (2, 9) if transposed[1] else (9, 2)]
    flags = {"transA": transposed[0], "transB": transposed[1]}
    check(*product(shapes, kinds, kind="Gemm", end=end, **flags, **fields))
    if not fields:
        bias = {"c": np.int32([-700, 900]), "c_s": np.float32(0.031) * np.float32(0.027), "c_z": np.int32(0)}
        data, values = product(
            shapes, kinds, kind="Gemm", end=end, inputs=("a_d", "b_d", "c_d"), constants=bias, **flags
        )
        loaded = onnx.load_from_string(data)
        loaded.graph.node.insert(0, make("DequantizeLinear", ["c", "c_s", "c_z"], ["c_d"]))
        check(loaded.SerializeToString(), values)
    if not end:
        # Where the result is real, so may the bias be; onnxruntime adds the products of real numbers then.
        bias = {"c": np.float32([0.1234, -5.4321])}
        data, values = product(
            shapes, kinds, kind="Gemm", end=end, inputs=("a_d", "b_d", "c"), constants=bias, **flags, **fields
        )
        check(data, values, near=2e-6)


@pytest.mark.parametrize("shapes", SHAPES)
@pytest.mark.parametrize("kinds", KINDS)
def test_products_in_operator_form(shapes, kinds):
    if kinds == "ui":
        needs.exact_sums()
    held = numbers("a", 0.031, 5, kinds[0]) | numbers("b", 0.027, -11, kinds[1]) | numbers("y", 0.21, 3, kinds[0])
    names = [f"{name}_{part}" for name in "ab" for part in ("q", "s", "z")]
    nodes = [*quantized("a", kinds[0])[:1], *quantized("b", kinds[1])[:1]]
    nodes += [make("QLinearMatMul", [*names, "y_s", "y_z"], ["y_q"])]
    nodes += [make("DequantizeLinear", ["y_q", "y_s", "y_z"], ["y"])]
    given = [(name, "f", shape) for name, shape in zip("ab", shapes, strict=True)]
    check(model(nodes, given, ("y", "f", None), held), reals(shapes))


@pytest.mark.parametrize("end", [True, False])
def test_quantized_gemm_of_two_tensors(end):
    shapes = ((4, 9), (9, 2))
    held = numbers("a", 0.031, 5, "u") | numbers("b", 0.027, -11, "u") | numbers("y", 0.21, 3, "u")
    names = [f"{name}_{part}" for name in "ab" for part in ("q", "s", "z")]
    nodes = [*quantized("a", "u")[:1], *quantized("b", "u")[:1]]
    ends = ["y_s", "y_z"] if end else []
    nodes += [make("QGemm", [*names, "c", *ends], ["y_q" if end else "y"], domain=MICROSOFT)]
    nodes += [make("DequantizeLinear", ["y_q", "y_s", "y_z"], ["y"])] if end else []
    given = [(name, "f", shape) for name, shape in zip("ab", shapes, strict=True)]
    check(model(nodes, given, ("y", "f", None), held | {"c": np.int32([-700, 900])}), reals(shapes))


@pytest.mark.parametrize("place", [0, 1])
def test_constant_operands(place):
    """Constants on the left, and several matrices of them."""
    rng = np.random.default_rng(seeds.own())
    shapes = [(1, 3, 4, 9), (1, 3, 9, 2)]
    name, other = "ab"[place], "ab"[1 - place]
    held = numbers("a", 0.031, 5, "i") | numbers("b", 0.027, -11, "i") | numbers("y", 0.21, 3, "i")
    for shape in (shapes[place], shapes[place][1:], shapes[place][2:]):
        codes = rng.integers(-128, 128, shape).astype(np.int8)
        nodes = [make("DequantizeLinear", [f"{name}_q", f"{name}_s", f"{name}_z"], [f"{name}_d"])]
        nodes += [*quantized(other), make("MatMul", ["a_d", "b_d"], ["y"]), *quantized("y")]
        data = model(nodes, [(other, "f", shapes[1 - place])], ("y_d", "f", None), held | {f"{name}_q": codes})
        check(data, {other: reals(shapes)[other]})


def test_attention():
    """Scores and their product with values, of several heads, which are axes that are exchanged."""
    batch, length, heads, depth = 1, 6, 2, 8
    shape = (batch, length, heads * depth)
    split = {"s": np.int64([0, 0, heads, depth]), "j": np.int64([0, 0, heads * depth])}
    held = split | numbers("x", 0.031, 5, "i") | numbers("y", 0.21, 3, "i") | numbers("p", 1 / 256, -128, "i")
    held |= numbers("z", 0.02, 1, "i")
    nodes = [*quantized("x"), make("Reshape", ["x_d", "s"], ["h"])]
    nodes += [
        make("Transpose", ["h"], [name], perm=perm)
        for name, perm in zip("qk", ((0, 2, 1, 3), (0, 2, 3, 1)), strict=True)
    ]
    nodes += [make("MatMul", ["q", "k"], ["y"]), *quantized("y"), make("Softmax", ["y_d"], ["p"], axis=-1)]
    nodes += [*quantized("p"), make("MatMul", ["p_d", "q"], ["z"]), *quantized("z")]
    nodes += [make("Transpose", ["z_d"], ["t"], perm=(0, 2, 1, 3)), make("Reshape", ["t", "j"], ["o"])]
    x = (np.random.default_rng(seeds.own()).normal(size=shape) * 2).astype(np.float32)
    graph = check(model(nodes, [("x", "f", shape)], ("o", "f", shape), held), {"x": x}, plain=True)
    assert sum(isinstance(op, MatrixProduct) for op in graph.ops) == 2


def test_real_products():
    """Of a model that is quantized elsewhere."""
    for shapes in SHAPES:
        nodes = [make("MatMul", ["a", "b"], ["y"]), *quantized("y")]
        given = [(name, "f", shape) for name, shape in zip("ab", shapes, strict=True)]
        data = model(nodes[:-1], given, ("y_q", "i", None), numbers("y", 0.21, 3, "i"))
        loaded = onnx.load_from_string(data)
        graph = check(loaded.SerializeToString(), reals(shapes), plain=True)
        assert any(isinstance(op, RealMatrixProduct) for op in graph.ops)


def test_refusals():
    held = numbers("a", 0.031, 5, "i") | numbers("b", 0.027, -11, "i") | numbers("y", 0.21, 3, "i")
    nodes = [make("DequantizeLinear", ["b_q", "b_s", "b_z"], ["b_d"], axis=0), *quantized("a")]
    nodes += [make("MatMul", ["a_d", "b_d"], ["y"]), *quantized("y")]
    held |= {"b_q": np.zeros((3, 16, 7), np.int8), "b_s": np.float32([0.1, 0.2, 0.3]), "b_z": np.zeros(3, np.int8)}
    with pytest.raises(GraphError, match="constant 'b_d' must be of 8 bits with one scale; quantize it so"):
        frontend.load(model(nodes, [("a", "f", (1, 3, 5, 16))], ("y_d", "f", None), held))
    data, _ = product(((4, 9), (9, 2)), kind="Gemm", alpha=-1.0)
    with pytest.raises(GraphError, match="alpha -1 must be above 0"):
        frontend.load(data)
