"""Single ONNX operators between Q and DQ, and in operator form, in every way that their attributes allow: the golden
model against onnxruntime."""

from __future__ import annotations

import warnings

import numpy as np
import pytest

import needs
from onnx_models import MICROSOFT, compare_all, model, numbers, quantized, reference, weights
from sateen.errors import SateenWarning
from sateen.frontends import onnx as frontend
from sateen.graph import DepthwiseConv2D, run

onnx = needs.package("onnx", extra="onnx")
onnxruntime = needs.package("onnxruntime", extra="reference")
helper = onnx.helper

X, Y = (0.0513, 3), (0.0417, -7)


def real(
    kind, shape, constants=None, *, inputs=(), dequantized=None, opset=17, x=X, y=Y, most=0, plain=False, **fields
):
    """Compares an operator on a dequantized tensor, the first input, whose result is quantized, and returns the
    graph. ``constants`` are by name; of the ``dequantized`` ones the scales are given."""
    make, rng = helper.make_node, np.random.default_rng(12)
    held = numbers("x", *x, "i") | numbers("y", *y, "i") | (constants or {})
    nodes = [make("QuantizeLinear", ["x", "x_s", "x_z"], ["q"]), make("DequantizeLinear", ["q", "x_s", "x_z"], ["d"])]
    for name, (scale, axis) in (dequantized or {}).items():
        held |= {f"{name}_s": np.asarray(scale, np.float32), f"{name}_z": np.zeros(np.shape(scale), held[name].dtype)}
        nodes.append(make("DequantizeLinear", [name, f"{name}_s", f"{name}_z"], [f"{name}_d"], axis=axis))
    names = [f"{name}_d" if name in (dequantized or {}) else name for name in (inputs or constants or {})]
    nodes.append(make(kind, ["d", *names], ["r"], **fields))
    nodes += [make("QuantizeLinear", ["r", "y_s", "y_z"], ["c"]), make("DequantizeLinear", ["c", "y_s", "y_z"], ["y"])]
    data = model(nodes, [("x", "f", shape)], ("y", "f", None), held, opset=opset)
    x = rng.normal(size=shape, scale=1.5).astype(np.float32)
    return close(data, {"x": x}, np.float32(y[0]), most, plain=plain)


def close(data, inputs, step, most=0, *, plain=False):
    """Compares real results, and returns the graph; ``most`` of a hundred values may be a step off, next to a tie of
    float32's rounding."""
    graph = frontend.load(data)
    given = {name: graph.tensors[name].from_file(value) for name, value in inputs.items()}
    actual = graph.tensors[graph.outputs[0]].to_file(run(graph, given)[graph.outputs[0]])
    expected = reference(data, inputs, plain=plain)[0]
    assert actual.shape == expected.shape and actual.dtype == expected.dtype
    steps = np.rint(np.abs(actual.astype(np.float64) - expected) / step)
    assert steps.max() <= 1 and (steps > 0).mean() <= most / 100, f"{(steps > 0).mean():.1%}, up to {steps.max()}"
    return graph


def codes(*shape, dtype=np.int8):
    return np.random.default_rng(13).integers(-127, 128, shape).astype(dtype)


ROWS = [
    {"kernel_shape": [3]},
    {"kernel_shape": [4], "strides": [3], "pads": [1, 2]},
    {"kernel_shape": [2], "dilations": [3], "pads": [2, 0]},
    {"kernel_shape": [3], "auto_pad": "SAME_UPPER", "strides": [2]},
]


@pytest.mark.parametrize("fields", ROWS)
@pytest.mark.parametrize("groups", [1, 2, 4])
def test_convolutions_of_rows(groups, fields):
    shape = (8, 4 // groups, *fields["kernel_shape"])
    bias = {"b": np.random.default_rng(14).integers(-999, 999, 8).astype(np.int32)}
    scales = {"w": (np.linspace(0.004, 0.011, 8), 0), "b": (np.linspace(0.004, 0.011, 8) * X[0], 0)}
    y = (0.31, 5)
    real("Conv", (1, 4, 17), {"w": codes(*shape)} | bias, dequantized=scales, group=groups, y=y, most=0.5, **fields)


@pytest.mark.parametrize("fields", [fields for fields in ROWS if "dilations" not in fields])
@pytest.mark.parametrize("kind", ["MaxPool", "AveragePool"])
def test_pools_of_rows(kind, fields):
    real(kind, (1, 5, 17), most=0.5, **fields)


def test_networks_of_rows():
    """Rows stay rows between layers, sums and pools, and are (N, C, L) where they leave."""
    rng, make = np.random.default_rng(15), helper.make_node
    held, first = weights(rng, "w", 4, 4, 3)
    for place, name in enumerate("xcspmt"):
        held |= numbers(name, 0.0413 + 0.0041 * place, 3 - place, "i")
    nodes = [*quantized("x"), first, make("Conv", ["x_d", "w_d"], ["c"], pads=[1, 1]), *quantized("c")]
    nodes += [make("Add", ["c_d", "x_d"], ["s"]), *quantized("s")]
    nodes += [make("MaxPool", ["s_d"], ["p"], kernel_shape=[2], strides=[2]), *quantized("p")]
    nodes += [make("GlobalAveragePool", ["p_d"], ["m"]), *quantized("m")]
    nodes += [make("Mul", ["p_d", "m_d"], ["t"]), *quantized("t")]
    outputs = [("c", (1, 4, 12)), ("s", (1, 4, 12)), ("p", (1, 4, 6)), ("m", (1, 4, 1)), ("t", (1, 4, 6))]
    compare_all(nodes, [("x", (1, 4, 12))], outputs, held)


WINDOWS = [
    {"kernel_shape": [3, 3], "pads": [1, 1, 1, 1]},
    {"kernel_shape": [3, 2], "pads": [2, 0, 1, 1], "strides": [2, 1]},
    {"kernel_shape": [5, 4], "pads": [2, 2, 2, 2], "strides": [1, 3]},
    {"kernel_shape": [2, 3], "auto_pad": "SAME_UPPER", "strides": [2, 2]},
    {"kernel_shape": [3, 3], "auto_pad": "SAME_LOWER", "strides": [2, 1]},
    {"kernel_shape": [3, 3], "strides": [2, 2], "ceil_mode": 1},
    {"kernel_shape": [3, 2], "pads": [1, 0, 1, 1], "strides": [3, 3], "ceil_mode": 1},
    {"kernel_shape": [2, 2], "dilations": [2, 1], "pads": [1, 1, 1, 1]},
]


@pytest.mark.parametrize("counted", [0, 1])
@pytest.mark.parametrize("fields", WINDOWS)
@pytest.mark.parametrize("size", [(7, 9), (8, 6), (4, 5)])
def test_means_of_padded_windows(size, fields, counted):
    opset = 19 if "dilations" in fields else 17
    # onnxruntime has no integers of dilated means.
    plain = "dilations" in fields
    real("AveragePool", (1, 5, *size), opset=opset, count_include_pad=counted, most=0.7, plain=plain, **fields)


@pytest.mark.parametrize("kind", ["i", "u"])
@pytest.mark.parametrize(
    ("x", "y"), [((2.0**-5, 3), (2.0**-5, -7)), ((2.0**-5, -1), (2.0**-4, 5)), ((0.75, 3), (1.0, 1))]
)
@pytest.mark.parametrize("shape", [(1, 9, 2, 2), (1, 9, 8, 8), (1, 9, 7, 6), (1, 9, 8)])
@pytest.mark.parametrize("padded", [0, 1])
def test_means_on_ties(shape, x, y, kind, padded):
    """Power-of-two scales with odd zero points: onnxruntime's fused means add these before they round."""
    axes = len(shape) - 2
    names = ["x", "x_s", "x_z", "y_s", "y_z"]
    fields = {"kernel_shape": [2] * axes, "strides": [1 + padded] * axes, "pads": [padded] * 2 * axes}
    node = helper.make_node("QLinearAveragePool", names, ["y"], domain=MICROSOFT, **fields)
    data = model([node], [("x", kind, shape)], ("y", kind, None), numbers("x", *x, kind) | numbers("y", *y, kind))
    given = codes(*shape, dtype=np.int16) + (128 if kind == "u" else 0)
    close(data, {"x": given.astype(np.uint8 if kind == "u" else np.int8)}, 1)


@pytest.mark.parametrize("mode", ["edge", "reflect"])
@pytest.mark.parametrize(
    ("shape", "pads"),
    [
        ((1, 3, 4, 5), [0, 0, 2, 3, 0, 0, 1, 4]),
        ((1, 3, 4, 5), [0, 2, 0, 0, 0, 1, 0, 0]),
        ((1, 3, 6), [0, 1, 4, 0, 2, 5]),
    ],
)
def test_borders_of_own_values(shape, pads, mode):
    real("Pad", shape, {"pads": np.array(pads)}, mode=mode)


@pytest.mark.parametrize("axis", [1, 2, 3, -1])
@pytest.mark.parametrize("indices", [2, [1], [2, 0, -1, 1, 1], [[0, 1, 2], [2, 0, 1]]])
def test_gather(indices, axis):
    real("Gather", (1, 4, 3, 5), {"indices": np.array(indices)}, axis=axis)
    real("Gather", (1, 3, 4), {"indices": np.array(indices)}, axis=min(axis, 2))


@pytest.mark.parametrize(("kind", "shape"), [("DepthToSpace", (1, 18, 2, 3)), ("SpaceToDepth", (1, 2, 6, 9))])
@pytest.mark.parametrize("fields", [{}, {"mode": "DCR"}, {"mode": "CRD"}])
def test_blocks(kind, shape, fields):
    if kind == "DepthToSpace" or not fields:
        real(kind, shape, blocksize=3, **fields)


@pytest.mark.parametrize(
    "fields",
    [
        {},
        {"strides": [2, 2], "pads": [1, 1, 1, 1], "output_padding": [1, 1]},
        {"strides": [2, 3], "pads": [1, 0, 2, 1]},
        {"strides": [3, 2], "dilations": [2, 1], "output_padding": [2, 1]},
        {"strides": [2, 2], "auto_pad": "SAME_UPPER"},
        {"strides": [2, 2], "auto_pad": "SAME_LOWER"},
        {"strides": [4, 5], "auto_pad": "SAME_UPPER"},
        {"strides": [2, 3], "output_shape": [9, 14]},
        {"strides": [2, 3], "output_shape": [9, 14], "auto_pad": "SAME_UPPER"},
    ],
)
@pytest.mark.parametrize("groups", [1, 2, 4])
def test_transposed_convolutions(groups, fields):
    outputs = 3 * groups
    held = {"w": codes(4, 3, 3, 4), "b": np.random.default_rng(16).integers(-999, 999, outputs).astype(np.int32)}
    scales = {"w": (0.0071, 1), "b": (np.float32(0.0071) * np.float32(X[0]), 0)}
    if groups == 2:
        each = np.linspace(0.004, 0.011, 3).astype(np.float32)
        scales = {"w": (each, 1), "b": (np.tile(each * np.float32(X[0]), 2), 0)}
    real("ConvTranspose", (1, 4, 5, 4), held, dequantized=scales, group=groups, y=(0.31, 5), most=1, **fields)


@pytest.mark.parametrize("fields", [{}, {"strides": [2], "pads": [1, 1], "output_padding": [1]}])
def test_transposed_convolutions_of_rows(fields):
    scales = {"w": (0.0071, 1)}
    real("ConvTranspose", (1, 4, 9), {"w": codes(4, 5, 3)}, dequantized=scales, y=(0.31, 5), most=1, **fields)


@pytest.mark.parametrize("keep", [0, 1])
@pytest.mark.parametrize("axes", [[2, 3], [1], [3], [-1, 1], [1, 2, 3]])
@pytest.mark.parametrize("kind", ["ReduceMean", "ReduceSum", "ReduceMax", "ReduceMin"])
def test_reductions(kind, axes, keep):
    y = (0.0417 if kind != "ReduceSum" else 0.27, -7)
    real(kind, (1, 5, 4, 6), {"axes": np.array(axes)}, keepdims=keep, opset=20, y=y, most=4)
    if 3 not in axes:
        real(kind, (1, 5, 9), {"axes": np.array([axis for axis in axes if axis < 0 or axis > 1] or [1])}, keepdims=keep,
             opset=20, y=y, most=4)  # fmt: skip


@pytest.mark.parametrize(("kind", "shape"), [("GlobalMaxPool", (1, 5, 4, 6)), ("GlobalMaxPool", (1, 5, 9))])
def test_pools_of_everything(kind, shape):
    real(kind, shape)


@pytest.mark.parametrize("kind", ["GlobalAveragePool", "Softmax", "Concat"])
def test_clamps_behind_operators_that_have_none(kind):
    make, fields = helper.make_node, {"axis": 1} if kind == "Concat" else {}
    held = numbers("x", *X, "i") | numbers("y", 2.0**-7, 3, "i") | {"low": np.float32(-0.35), "high": np.float32(0.27)}
    nodes = [make("QuantizeLinear", ["x", "x_s", "x_z"], ["q"]), make("DequantizeLinear", ["q", "x_s", "x_z"], ["d"])]
    nodes += [make(kind, ["d"] * (2 if kind == "Concat" else 1), ["r"], **fields)]
    nodes += [make("Clip", ["r", "low", "high"], ["k"]), make("QuantizeLinear", ["k", "y_s", "y_z"], ["c"])]
    data = model([*nodes, make("DequantizeLinear", ["c", "y_s", "y_z"], ["y"])], [("x", "f", (1, 9, 4, 5))],
                 ("y", "f", None), held)  # fmt: skip
    x = np.random.default_rng(17).normal(size=(1, 9, 4, 5)).astype(np.float32)
    close(data, {"x": x}, 2.0**-7, 2, plain=True)


@pytest.mark.parametrize(("alpha", "beta"), [(0.5, 1.0), (1.0, 2.0), (0.37, -1.6), (-1.0, 1.0), (-2.3, 0.0)])
@pytest.mark.parametrize("transposed", [0, 1])
def test_factors_of_products(transposed, alpha, beta):
    shape = (6, 9) if transposed else (9, 6)
    held = {"w": codes(*shape), "b": codes(6, dtype=np.int32) * 20}
    scales = {"w": (0.0113, 0), "b": (np.float32(0.0113) * np.float32(X[0]), 0)}
    fields = {"alpha": alpha, "beta": beta, "transB": transposed}
    with warnings.catch_warnings():
        # The bias is no whole number of the sums' units any more.
        warnings.simplefilter("ignore", SateenWarning)
        real("Gemm", (1, 9), held, dequantized=scales, y=(0.21, 5), most=20, plain=True, **fields)


@pytest.mark.parametrize("alpha", [0.5, -1.7])
def test_factors_of_products_of_integers(alpha):
    names = ["x", "x_s", "x_z", "w", "w_s", "w_z", "b", "y_s", "y_z"]
    node = helper.make_node("QGemm", names, ["y"], domain=MICROSOFT, alpha=alpha)
    held = numbers("x", *X, "i") | numbers("w", 0.0113, 0, "i") | numbers("y", 0.3013, 9, "i")
    held |= {"w": codes(9, 40), "b": codes(40, dtype=np.int32) * 20}
    close(model([node], [("x", "i", (1, 9))], ("y", "i", None), held), {"x": codes(1, 9)}, 1, 3)


@pytest.mark.parametrize("fields", [{}, {"coordinate_transformation_mode": "asymmetric"},
                                    {"coordinate_transformation_mode": "align_corners"},
                                    {"coordinate_transformation_mode": "pytorch_half_pixel"}])  # fmt: skip
@pytest.mark.parametrize("sizes", [(8, 10), (7, 9), (3, 4), (1, 1), (4, 5), (16, 3)])
def test_interpolated_images(sizes, fields):
    named = ["", "", "sizes"]
    real("Resize", (1, 3, 4, 5), {"sizes": np.array([1, 3, *sizes])}, inputs=named, mode="linear", y=X, **fields)
    scales = {"scales": np.array([1, 1, sizes[0] / 4, sizes[1] / 5], np.float32)}
    named = ["", "scales"]
    if all(int(np.float32(n) * s) for n, s in zip((4, 5), scales["scales"][2:], strict=True)):
        real("Resize", (1, 3, 4, 5), scales, inputs=named, mode="linear", most=0.5, **fields)


@pytest.mark.parametrize("mode", ["nearest", "linear"])
@pytest.mark.parametrize("length", [8, 16, 2])
def test_rows_of_another_length(length, mode):
    floor = {"coordinate_transformation_mode": "asymmetric", "nearest_mode": "floor"}
    real("Resize", (1, 3, 4), {"sizes": np.array([1, 3, length])}, inputs=["", "", "sizes"], mode=mode, **floor)


@pytest.mark.parametrize("shape", [(1, 19, 3, 5), (1, 19, 7), (1, 19)])
@pytest.mark.parametrize(("x", "y"), [(X, (0.0917, -7)), ((2.0**-5, 0), (2.0**-4, 3)), ((0.04, 9), (0.31, -128))])
@pytest.mark.parametrize("opset", [13, 17])
def test_batch_normalization(shape, x, y, opset):
    rng = np.random.default_rng(18)
    held = {name: rng.normal(size=19).astype(np.float32) for name in ("scale", "b", "mean", "var")}
    held["var"] = np.abs(held["var"]) + np.float32(0.1)
    held["scale"][3] = 0
    graph = real("BatchNormalization", shape, held, x=x, y=y, opset=opset, epsilon=1e-3)
    assert DepthwiseConv2D in map(type, graph.ops)


@pytest.mark.parametrize("clamps", [[], ["Relu"], ["low", "high"], ["Relu", "low"]])
def test_lines_of_channels(clamps):
    """A product and a sum with constants of each channel are one layer of the device, with the clamps behind it."""
    rng, make = np.random.default_rng(19), helper.make_node
    held = {"low": np.float32(-0.4), "high": np.float32(1.1)} | numbers("x", *X, "i") | numbers("y", 0.0713, -9, "i")
    held |= {name: rng.normal(size=(1, 33, 1, 1)).astype(np.float32) for name in ("factor", "offset")}
    nodes = [*quantized("x"), make("Mul", ["x_d", "factor"], ["a"]), make("Sub", ["a", "offset"], ["r0"])]
    for place, clamp in enumerate(clamps):
        inputs = {"low": [f"r{place}", "low"], "high": [f"r{place}", "", "high"]}.get(clamp, [f"r{place}"])
        nodes.append(make("Clip" if len(inputs) > 1 else clamp, inputs, [f"r{place + 1}"]))
    last = f"r{len(clamps)}"
    nodes += [make("QuantizeLinear", [last, "y_s", "y_z"], ["c"]), make("DequantizeLinear", ["c", "y_s", "y_z"], ["y"])]
    data = model(nodes, [("x", "f", (1, 33, 4, 35))], ("y", "f", None), held)
    graph = close(data, {"x": rng.normal(size=(1, 33, 4, 35)).astype(np.float32) * 3}, 0.0713)
    assert DepthwiseConv2D in map(type, graph.ops)


@pytest.mark.parametrize("shape", [(), (1,), (1, 1)])
def test_one_bias_for_all_results(shape):
    held = {"w": codes(9, 6), "b": np.full(shape, 2345, np.int32)}
    scales = {"w": (0.0113, 0), "b": (np.float32(0.0113) * np.float32(X[0]), 0)}
    real("Gemm", (1, 9), held, dequantized=scales, y=(0.21, 5), most=20, plain=True)
