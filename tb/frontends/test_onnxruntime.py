"""Single ONNX operators over the full range of operands: the golden model's integers against onnxruntime's."""

from __future__ import annotations

import numpy as np
import pytest

import needs
from onnx_models import MICROSOFT, codes, compare, compare_all, model, numbers, quantized, weights
from sateen.frontends import onnx as frontend
from sateen.graph import GraphError

onnx = needs.package("onnx", extra="onnx")
onnxruntime = needs.package("onnxruntime", extra="reference")
helper = onnx.helper

PAIRS = [np.repeat(np.arange(256), 256).reshape(1, 65536), np.tile(np.arange(256), 256).reshape(1, 65536)]
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


@pytest.mark.parametrize("steps", [127, 255, 256])
@pytest.mark.parametrize("length", [3, 64])
def test_softmax_of_many_rows(length, steps):
    """Of random values, and of the same ones in ascending and descending order, whose sums are others."""
    rng = np.random.default_rng(1)
    node = helper.make_node(
        "QLinearSoftmax", ["x", "x_s", "x_z", "y_s", "y_z"], ["y"], domain=MICROSOFT, axis=-1, opset=13
    )
    x = rng.normal(scale=40, size=(120_000 // length, length)).round().clip(-128, 127).astype(np.int8)
    x = np.concatenate([x, np.sort(x, axis=1), np.sort(x, axis=1)[:, ::-1]])[None]
    for scale in (0.011, 0.05, 0.31):
        constants = numbers("x", scale, 5, "i") | numbers("y", 1 / (steps + 0.25), -128, "i")
        compare(model([node], [("x", "i", x.shape)], ("y", "i", x.shape), constants), {"x": x})


@pytest.mark.parametrize("kind", ["u", "i"])
@pytest.mark.parametrize("steps", [151, 189, 237, 255])
@pytest.mark.parametrize("length", [2, 5, 6, 16])
def test_softmax_of_equals(length, steps, kind):
    """Equal values: their shares lie on ties if they are an odd number of steps."""
    node = helper.make_node(
        "QLinearSoftmax", ["x", "x_s", "x_z", "y_s", "y_z"], ["y"], domain=MICROSOFT, axis=-1, opset=13
    )
    x = np.where(np.random.default_rng(2).random((256, length)) < 0.7, np.arange(256)[:, None], 0)
    for scale in (0.0126, 0.188, 1.1):
        constants = numbers("x", scale, 5, kind) | numbers("y", 1 / (steps + 0.4), -128, kind)
        data = model([node], [("x", kind, (1, *x.shape))], ("y", kind, (1, *x.shape)), constants)
        compare(data, {"x": codes(x[None], kind)})


@pytest.mark.parametrize("kind", ["u", "i"])
@pytest.mark.parametrize("constant", ["", "a", "b", "c"])
def test_concat(constant, kind):
    """Codes that are computed, and a constant's in the result's quantization, in another one, or at the first place."""
    inputs = [("a", (0.05, 3)), ("b", (0.031, 72)), ("c", (0.07, -8))]
    places = ["y_s", "y_z", *(f"{n}{e}" for n, _ in inputs for e in ("", "_s", "_z"))]
    constants = numbers("y", 0.07, -8, kind)
    for name, own in inputs:
        constants |= numbers(name, *own, kind)
    values = {n: codes(np.arange(256).reshape(1, 256, 1, 1), kind) for n, _ in inputs}
    constants |= {constant: values.pop(constant)} if constant else {}
    node = helper.make_node("QLinearConcat", places, ["y"], domain=MICROSOFT, axis=1)
    data = model([node], [(n, kind, (1, 256, 1, 1)) for n in values], ("y", kind, (1, 768, 1, 1)), constants)
    compare(data, values)
    made = {op.output: type(op).__name__ for op in frontend.load(data).ops}
    assert [*made.values()].count("Table") == len(values.keys() - {"c"})


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
    """A QDQ model transposes weights before their product; its input and output have channels last."""
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


def test_read_twice_in_the_files_layout():
    """Two products of one tensor: the conversion between layouts is made once."""
    rng = np.random.default_rng(6)
    make = helper.make_node
    (one, first), (two, second) = weights(rng, "w", 5, 6), weights(rng, "v", 5, 7)
    constants = one | two | numbers("x", 0.0513, 3, "i") | numbers("a", 0.1171, -5, "i") | numbers("b", 0.1377, 7, "i")
    nodes = [*quantized("x"), first, second]
    nodes += [make("MatMul", ["x_d", "w_d"], ["a"]), make("MatMul", ["x_d", "v_d"], ["b"])]
    outputs = [("a", (1, 3, 4, 6)), ("b", (1, 3, 4, 7))]
    compare_all([*nodes, *quantized("a"), *quantized("b")], [("x", (1, 3, 4, 5))], outputs, constants)


def test_read_twice_as_an_image():
    """Two pools of a transposed image, whose channels are another axis."""
    make = helper.make_node
    nodes = [*quantized("x"), make("Transpose", ["x_d"], ["t"], perm=[0, 2, 1, 3]), *quantized("t")]
    for name, size in (("a", [2, 2]), ("b", [1, 3])):
        nodes += [make("MaxPool", ["t_d"], [name], kernel_shape=size), *quantized(name)]
    constants = {key: value for name in "xtab" for key, value in numbers(name, 0.0513, 3, "i").items()}
    compare_all(nodes, [("x", (1, 3, 4, 5))], [("a", (1, 4, 2, 4)), ("b", (1, 4, 3, 3))], constants)


def test_names_that_a_layout_would_take():
    """The file has tensors of the names that conversions would get."""
    rng = np.random.default_rng(7)
    make = helper.make_node
    one, first = weights(rng, "w", 5, 6)
    constants = (
        one | numbers("x", 0.0513, 3, "i") | numbers("r_q.plain", 0.0043, -128, "i") | numbers("r", 0.0089, 1, "i")
    )
    constants |= numbers("a", 0.0513, 3, "i")
    nodes = [*quantized("x"), first, make("Sigmoid", ["x_d"], ["s"])]
    nodes += [make("QuantizeLinear", ["s", "r_q.plain_s", "r_q.plain_z"], ["r_q.plain"])]
    nodes += [make("DequantizeLinear", ["r_q.plain", "r_q.plain_s", "r_q.plain_z"], ["r_q.plain_d"])]
    nodes += [
        make("Tanh", ["r_q.plain_d"], ["r"]),
        *quantized("r"),
        make("MatMul", ["r_d", "w_d"], ["a"]),
        *quantized("a"),
    ]
    outputs = [("r_q.plain", (1, 3, 4, 5)), ("a", (1, 3, 4, 6))]
    compare_all(nodes, [("x", (1, 3, 4, 5))], outputs, constants)


def test_constant_of_two_ranks():
    """A constant that is added to an image and to a matrix, each with other axes."""
    rng = np.random.default_rng(8)
    make = helper.make_node
    one, first = weights(rng, "c", 5, scale=0.0213)
    constants = one | numbers("x", 0.0513, 3, "i") | numbers("y", 0.0313, -9, "i")
    constants |= numbers("a", 0.0711, 1, "i") | numbers("b", 0.0617, 2, "i")
    nodes = [first, *quantized("x"), *quantized("y")]
    nodes += [make("Add", ["x_d", "c_d"], ["a"]), make("Mul", ["y_d", "c_d"], ["b"]), *quantized("a"), *quantized("b")]
    compare_all(nodes, [("x", (1, 3, 4, 5)), ("y", (1, 5))], [("a", (1, 3, 4, 5)), ("b", (1, 5))], constants)


def test_constant_in_two_scales():
    """A constant that two operators read with different quantizations."""
    constants = {"c": np.arange(-128, 128).astype(np.int8).reshape(1, 256)}
    constants |= numbers("x", 0.0513, 3, "i") | numbers("c1", 0.0213, 3, "i") | numbers("c2", 0.0817, -9, "i")
    constants |= numbers("a", 0.0711, 1, "i") | numbers("y", 0.0911, 2, "i")
    nodes = [
        helper.make_node(
            "QLinearAdd", [x, f"{x}_s", f"{x}_z", "c", f"{c}_s", f"{c}_z", f"{y}_s", f"{y}_z"], [y], domain=MICROSOFT
        )
        for x, c, y in (("x", "c1", "a"), ("a", "c2", "y"))
    ]
    data = model(nodes, [("x", "i", (1, 256))], ("y", "i", (1, 256)), constants)
    compare(data, {"x": np.random.default_rng(9).integers(-128, 128, (1, 256)).astype(np.int8)})


@pytest.mark.parametrize(
    ("source", "to"),
    [
        ("x", "UINT8"),
        ("x_d", "INT8"),
        ("x_d", "FLOAT16"),
        ("best", "INT8"),
    ],
)
def test_refuses_casts_that_change_values(source, to):
    nodes = [
        helper.make_node("DequantizeLinear", ["x", "x_s", "x_z"], ["x_d"]),
        helper.make_node("ArgMax", ["x_d"], ["best"], axis=1),
        helper.make_node("Cast", [source], ["y"], to=getattr(onnx.TensorProto, to)),
    ]
    data = model(nodes, [("x", "i", (1, 9))], ("y", "i", (1, 9)), numbers("x", 0.05, 3, "i"))
    with pytest.raises(GraphError, match="Cast.*: to type .*, it changes what its values are"):
        frontend.load(data)


def test_cast_of_a_constants_real_values():
    """Dequantized values are float already; the integers stay uint8."""
    constants = {"c": np.arange(0, 256, 51).astype(np.uint8), "c_s": np.float32(0.0213), "c_z": np.uint8(100)}
    constants |= numbers("x", 0.0513, 3, "i") | numbers("a", 0.0711, 1, "i")
    nodes = [*quantized("x"), helper.make_node("DequantizeLinear", ["c", "c_s", "c_z"], ["c_d"])]
    nodes += [helper.make_node("Cast", ["c_d"], ["c_f"], to=onnx.TensorProto.FLOAT)]
    nodes += [helper.make_node("Add", ["x_d", "c_f"], ["a"]), *quantized("a")]
    compare_all(nodes, [("x", (1, 6))], [("a", (1, 6))], constants)


def test_codes_behind_other_constants():
    """A Concat of dequantized constants and others is real."""
    constants = {"c": np.arange(4).astype(np.int8), "r": np.ones(2, np.float32)} | numbers("c", 0.02, 3, "i")
    constants |= numbers("x", 0.0513, 3, "i") | numbers("a", 0.0711, 1, "i")
    nodes = [*quantized("x"), helper.make_node("DequantizeLinear", ["c", "c_s", "c_z"], ["c_d"])]
    nodes += [helper.make_node("Concat", ["c_d", "r"], ["k"], axis=0)]
    nodes += [
        helper.make_node("Add", ["x_d", "k"], ["a"]),
        helper.make_node("QuantizeLinear", ["a", "a_s", "a_z"], ["y"]),
    ]
    data = model(nodes, [("x", "f", (1, 6))], ("y", "i", (1, 6)), constants)
    for _ in range(5):
        compare(data, {"x": np.random.default_rng(3).normal(size=(1, 6)).astype(np.float32)})


@pytest.mark.parametrize("kind", ["Add", "Mul", "Sub"])
@pytest.mark.parametrize(
    ("a", "b"), [((1, 5), (1, 2, 3, 5)), ((1, 3, 1), (1, 2, 3, 5)), ((1, 7, 1, 1), (1, 11)), ((1, 4), (1, 3, 4))]
)
def test_tensors_of_two_ranks(a, b, kind):
    """Shapes are aligned at their ends in the file's layout, where an image has its columns."""
    constants = numbers("x", 0.0513, 3, "i") | numbers("y", 0.0313, -9, "i") | numbers("a", 0.0711, 1, "i")
    for first, second in (("x_d", "y_d"), ("y_d", "x_d")):
        nodes = [*quantized("x"), *quantized("y"), helper.make_node(kind, [first, second], ["a"]), *quantized("a")]
        compare_all(nodes, [("x", a), ("y", b)], [("a", np.broadcast_shapes(a, b))], constants)


def test_codes_read_by_others_first():
    """A Slice and a Resize read an integer input before the operator that states its scale. The scale is a Constant;
    the zero point is left out."""
    make = helper.make_node
    scale = onnx.numpy_helper.from_array(np.float32(0.0313))
    nodes = [
        make("Slice", ["x", "begin", "end"], ["part"]), make("Resize", ["x", "", "factors"], ["large"]),
        make("Constant", [], ["x_s"], value=scale), make("DequantizeLinear", ["x", "x_s"], ["x_d"]),
        make("Sigmoid", ["x_d"], ["s"]), make("QuantizeLinear", ["s", "y_s", "y_z"], ["s_q"]),
        make("DequantizeLinear", ["part", "x_s"], ["part_d"]), make("DequantizeLinear", ["s_q", "y_s", "y_z"], ["s_d"]),
        make("Mul", ["part_d", "s_d"], ["m"]), make("QuantizeLinear", ["m", "a_s", "a_z"], ["y"]),
    ]  # fmt: skip
    constants = {"begin": np.array([0, 1]), "end": np.array([1, 2]), "factors": np.array([1, 1, 2, 2], np.float32)}
    constants |= numbers("y", 0.0043, -128, "u") | numbers("a", 0.0211, 3, "u")
    data = model(nodes, [("x", "u", (1, 3, 2, 5))], ("y", "u", (1, 3, 2, 5)), constants)
    compare(data, {"x": np.random.default_rng(3).integers(0, 256, (1, 3, 2, 5)).astype(np.uint8)})


@pytest.mark.parametrize(
    ("a", "b"), [((1, 3, 4, 5), (1, 5)), ((1, 5), (1, 3, 4, 5)), ((1, 4, 1), (1, 3, 4, 5)), ((1, 6), (1, 2, 6))]
)
def test_sums_of_tensors_with_fewer_axes(a, b):
    """One of the tensors is an image, whose layout is another one in the graph."""
    rng = np.random.default_rng(5)
    constants = numbers("a", 0.1, 3, "i") | numbers("b", 0.2, -7, "i") | numbers("y", 0.25, 5, "i")
    node = helper.make_node("QLinearAdd", ["a", "a_s", "a_z", "b", "b_s", "b_z", "y_s", "y_z"], ["y"], domain=MICROSOFT)
    data = model([node], [("a", "i", a), ("b", "i", b)], ("y", "i", np.broadcast_shapes(a, b)), constants)
    compare(data, {name: codes(rng.integers(0, 256, shape), "i") for name, shape in (("a", a), ("b", b))})


@pytest.mark.parametrize("by", ["sizes", "scales"])
@pytest.mark.parametrize("rounding", ["floor", "ceil", "round_prefer_floor", "round_prefer_ceil"])
@pytest.mark.parametrize(
    "mode", ["asymmetric", "half_pixel", "pytorch_half_pixel", "align_corners", "half_pixel_symmetric"]
)
def test_nearest_neighbours(mode, rounding, by):
    """Positions are onnxruntime's, or are refused where the rounding of its float32 decides."""
    fields = {"mode": "nearest", "coordinate_transformation_mode": mode, "nearest_mode": rounding}
    node = helper.make_node("Resize", ["x", "", *([""] if by == "sizes" else []), "k"], ["y"], **fields)
    numbered = helper.make_node("DequantizeLinear", ["x", "x_s", "x_z"], ["x_d"])
    sides = [(1, 1), (1, 3), (2, 1), (3, 1), (2, 6), (7, 2), (7, 8), (14, 2), (3, 2), (5, 10), (14, 19), (6, 4), (4, 3)]
    for size, length in sides:
        wanted = {"sizes": np.array([1, 1, 1, length]), "scales": np.array([1, 1, 1, length / size], np.float32)}[by]
        if by == "scales" and int(np.float32(size) * wanted[3]) != length:
            continue
        constants = {"k": wanted} | numbers("x", 0.05, 3, "i")
        data = model([numbered, node], [("x", "i", (1, 1, 1, size))], ("y", "i", (1, 1, 1, length)), constants)
        try:
            compare(data, {"x": np.arange(size).astype(np.int8).reshape(1, 1, 1, size)})
        except GraphError as error:
            unknown = mode == "half_pixel_symmetric"
            assert ("is not supported" if unknown else "on a tie, where float32 decides") in str(error)
            assert mode != "asymmetric" or rounding != "floor" or length % size
