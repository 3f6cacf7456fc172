"""Where rounding decides: the golden model's integers against onnxruntime's float32, next to ties and on them."""

from __future__ import annotations

import numpy as np
import pytest

import needs
from onnx_models import MICROSOFT, codes, compare, model, numbers

onnx = needs.package("onnx", extra="onnx")
onnxruntime = needs.package("onnxruntime", extra="reference")
helper = onnx.helper

PAIRS = [np.repeat(np.arange(256), 256).reshape(1, 65536), np.tile(np.arange(256), 256).reshape(1, 65536)]
TIES = np.arange(-257, 257) + 0.5
SCALES = [
    ((2.0**-4, -84), (2.0**-6, 70), (2.0**-4, 117)),
    ((2.0**-5, 0), (2.0**-5, 0), (2.0**-4, 0)),
    ((0.25, 0), (0.1, 0), (0.3, 0)),
    ((0.1, -69), (0.01, -31), (0.12, -101)),
    ((0.0321, 5), (0.0321, -17), (0.0642, 3)),
    ((0.052331872, -128), (0.072652295, -128), (0.06862658, -128)),
]


@pytest.mark.parametrize("kind", ["u", "i"])
@pytest.mark.parametrize("scale", [*2.0 ** np.arange(-24, 3, 2), 0.0040534367, 0.3, 0.0217, 3e-4, 7e-6, 1.7e-7, 4e-9])
def test_every_sum_next_to_a_tie(scale, kind):
    """A bias is a sum of its own. Beyond 24 bits it is rounded, too."""
    sums = np.rint(TIES[:, None] / np.float64(np.float32(scale))) + np.arange(-2, 3)
    sums = np.unique(np.clip(sums, -(2**31), 2**31 - 1)).astype(np.int32)
    constants = numbers("a", scale, 0, kind) | numbers("b", 1, 0, kind) | numbers("y", 1, 0 if kind == "i" else 1, kind)
    constants |= {"b": codes(np.full((1, len(sums)), 128), kind), "c": sums}
    places = ["a", "a_s", "a_z", "b", "b_s", "b_z", "c", "y_s", "y_z"]
    data = model(
        [helper.make_node("QGemm", places, ["y"], domain=MICROSOFT, alpha=1.0)], [("a", kind, (1, 1))],
        ("y", kind, (1, len(sums))), constants,
    )  # fmt: skip
    compare(data, {"a": codes([[128]], kind)})


def test_product_that_float32_makes_a_tie():
    """8,758 · 0.0040534367 is 35.4999996, and 35.5 in float32."""
    constants = numbers("a", 0.0040534367, 0, "i") | numbers("b", 1, 0, "i") | numbers("y", 1, 0, "i")
    constants["b"] = np.int8([[127], [1]])
    places = ["a", "a_s", "a_z", "b", "b_s", "b_z", "y_s", "y_z"]
    data = model(
        [helper.make_node("QLinearMatMul", places, ["y"])], [("a", "i", (1, 2))], ("y", "i", (1, 1)), constants
    )
    x = np.int8([[68, 122]])
    assert onnxruntime.InferenceSession(data, providers=["CPUExecutionProvider"]).run(None, {"a": x})[0] == 36
    compare(data, {"a": x})


def _quantized(node, inputs, kind, **scales):
    """Nodes of an operator in QDQ form, and their constants."""
    read = [helper.make_node("DequantizeLinear", [name, f"{name}_s", f"{name}_z"], [f"{name}_r"]) for name in inputs]
    node.input[: len(inputs)] = [f"{name}_r" for name in inputs]
    node.output[0] = "r"
    constants = {}
    for name, own in scales.items():
        constants |= numbers(name, *own, kind[min(len(kind) - 1, sorted(scales).index(name))])
    return [*read, node, helper.make_node("QuantizeLinear", ["r", "y_s", "y_z"], ["y"])], constants


@pytest.mark.parametrize("kind", ["u", "i"])
def test_convolution_of_powers_of_two(kind):
    rng = np.random.default_rng(1)
    scales = {"w": (2.0**-6, 0), "x": (2.0**-5, 3), "y": (2.0**-1, 5)}
    nodes, constants = _quantized(helper.make_node("Conv", ["x", "w"], ["y"], pads=[1] * 4), ["x", "w"], kind, **scales)
    constants |= {"w": codes(rng.integers(0, 256, (9, 4, 3, 3)), kind)}
    data = model(nodes, [("x", kind, (1, 4, 16, 16))], ("y", kind, (1, 9, 16, 16)), constants)
    compare(data, {"x": codes(rng.integers(0, 256, (1, 4, 16, 16)), kind)})


@pytest.mark.parametrize("kind", ["u", "i"])
@pytest.mark.parametrize(
    ("x", "y"), [((0.0625, 3), (0.0625, -7)), ((0.031, -128), (0.031, 1)), ((0.031, 9), (0.02, 5))]
)
@pytest.mark.parametrize("size", [(2, 2), (3, 3), (1, 4)])
@pytest.mark.parametrize("name", ["AveragePool", "GlobalAveragePool"])
def test_means(name, size, x, y, kind):
    """Sums of real numbers, and the zero point before rounding; of whole images, integers and the zero point behind."""
    rng, whole = np.random.default_rng(2), name.startswith("Global")
    attributes = {} if whole else {"kernel_shape": size, "strides": size}
    nodes, constants = _quantized(helper.make_node(name, ["x"], ["y"], **attributes), ["x"], kind, x=x, y=y)
    shape = (1, 500, *size) if whole else (1, 5, 10 * size[0], 10 * size[1])
    out = (1, 500, 1, 1) if whole else (1, 5, 10, 10)
    data = model(nodes, [("x", kind, shape)], ("y", kind, out), constants)
    compare(data, {"x": codes(rng.integers(0, 256, shape), kind)})


@pytest.mark.parametrize("opset", [17, 19])
@pytest.mark.parametrize(("size", "strides"), [((3, 2), (1, 2)), ((2, 4), (1, 3)), ((3, 2), (1, 1)), ((40, 1), (1, 1))])
@pytest.mark.parametrize("whole", [False, True])
def test_means_of_real_numbers(whole, size, strides, opset):
    """Of uint8 to int8 onnxruntime takes real numbers, in an order that depends on the version, the stride and the
    window. With such scales many means are ties, or next to one for the errors of their sums."""
    fast = whole and opset < 19 and strides == (1, 1)
    # Whole images are summed in four lanes then: exact where every sum is.
    x, y = ((2.0**-5, 10), (2.0**-4, -3)) if fast else ((0.092, 10), (0.046, -3))
    node = helper.make_node("AveragePool", ["x"], ["y"], kernel_shape=size, strides=strides)
    nodes, constants = _quantized(node, ["x"], "ui", x=x, y=y)
    image = size if whole else (size[0] + 4, size[1] + 6)
    out = [(image[axis] - size[axis]) // strides[axis] + 1 for axis in range(2)]
    shape = (1, 2000, *image) if whole else (1, 60, *image)
    data = model(nodes, [("x", "u", shape)], ("y", "i", (*shape[:2], *out)), constants, opset)
    compare(data, {"x": codes(np.random.default_rng(3).integers(0, 256, shape), "u")})


@pytest.mark.parametrize("kind", ["u", "i"])
@pytest.mark.parametrize("size", [(2, 2), (3, 2), (7, 7)])
@pytest.mark.parametrize("name", ["ReduceMean", "ReduceSum"])
def test_reduced_real_numbers(name, size, kind):
    """Sums of multiples of a power of two are exact in float32, in any order."""
    node, scales = helper.make_node(name, ["x"], ["y"], keepdims=1), {"x": (2.0**-5, 3), "y": (2.0**-4, -7)}
    nodes, constants = _quantized(node, ["x"], kind, **scales)
    if name == "ReduceSum":
        node.input.append("axes")
        constants["axes"] = np.int64([2, 3])
    else:
        node.attribute.append(helper.make_attribute("axes", [2, 3]))
    data = model(nodes, [("x", kind, (1, 500, *size))], ("y", kind, (1, 500, 1, 1)), constants)
    compare(data, {"x": codes(np.random.default_rng(4).integers(0, 256, (1, 500, *size)), kind)})


@pytest.mark.parametrize("kind", ["u", "i", "ui", "iu"])
@pytest.mark.parametrize("clamped", [False, True])
@pytest.mark.parametrize(("a", "b", "y"), SCALES)
@pytest.mark.parametrize("name", ["Add", "Sub", "Mul"])
def test_every_pair_in_qdq_form(name, a, b, y, clamped, kind):
    """onnxruntime has kernels of codes for sums and products of one type without a clamp, and real numbers else."""
    y = (a[0] * b[0] * 8, y[1]) if name == "Mul" else y
    nodes, constants = _quantized(helper.make_node(name, ["a", "b"], ["y"]), ["a", "b"], kind, a=a, b=b, y=y)
    if clamped:
        nodes.insert(-1, helper.make_node("Relu", ["r"], ["c"]))
        nodes[-1].input[0] = "c"
    shape, kinds = (1, 65536), (kind[0], kind[-1])
    inputs = [(n, k, shape) for n, k in zip("ab", kinds, strict=True)]
    data = model(nodes, inputs, ("y", kinds[1], shape), constants)
    compare(data, {n: codes(v, k) for n, v, k in zip("ab", PAIRS, kinds, strict=True)})


@pytest.mark.parametrize(
    ("a", "b"),
    [((1, 16, 16, 1), (1,)), ((1, 16, 16, 1), (1, 1, 1, 1)), ((1, 16, 1), (1, 16, 16)), ((1, 256, 1, 1), (256, 1, 1)),
     ((1, 1, 1), (1, 256, 1)), ((1, 16, 16), (16,)), ((1, 256), (1, 1)), ((1, 1), (1, 256))],
)  # fmt: skip
def test_order_of_a_sum(a, b):
    """Which operand is added first depends on the shapes."""
    rng = np.random.default_rng(3)
    places = ["a", "a_s", "a_z", "b", "b_s", "b_z", "y_s", "y_z"]
    node, out = helper.make_node("QLinearAdd", places, ["y"], domain=MICROSOFT), np.broadcast_shapes(a, b)
    for _ in range(15):
        chosen = rng.choice([0.02, 0.03, 0.05, 0.06, 0.08, 0.1, 0.12, 0.15, 0.25, 0.3, 0.4], 3)
        constants = {"b": codes(rng.integers(0, 256, b), "u")}
        for name, scale in zip("aby", chosen, strict=True):
            constants |= numbers(name, scale, int(rng.integers(-128, 128)), "u")
        data = model([node], [("a", "u", a)], ("y", "u", out), constants)
        compare(data, {"a": codes(rng.integers(0, 256, a), "u")})
