"""Corners of ONNX operators, each against onnxruntime: windows that reach beyond the image, pads that cut off, limits
out of order, biases of one value."""

from __future__ import annotations

import itertools
import warnings

import numpy as np
import pytest
from test_onnx_real import compare, image

import needs
from onnx_file import File, W, X, ints
from sateen.errors import SateenWarning
from sateen.frontends import onnx as frontend
from sateen.graph import GraphError, run

onnx = needs.package("onnx", extra="onnx")
onnxruntime = needs.package("onnxruntime", extra="reference")

SCALE = np.float32(2.0**-5)
WINDOWS = [*itertools.product([[0, 0, 0, 0], [1, 1, 1, 1], [0, 1, 2, 0]], (0, 1), (0, 1))]
"""Pads, whether they count, and whether the last window may reach beyond the image."""


def pooled(f: File, x: str, pads: list[int], counted: int, ceiled: int) -> str:
    fields = {"kernel_shape": [3, 3], "strides": [2, 2], "pads": pads, "ceil_mode": ceiled}
    return f.node("AveragePool", x, count_include_pad=counted, **fields)


@pytest.mark.parametrize("end", ["codes", "pair", "real", "integers"])
def test_means_beyond_the_image(end):
    """Kernels of codes count what is added to the last window, those of real numbers do not. Scales are powers of two,
    so that there are ties."""
    for pads, counted, ceiled in WINDOWS:
        f, numbers = File(19 if sum(pads) else 17), (SCALE, 9)
        if end == "integers":
            names = [*f.numbers(*numbers), *f.numbers(SCALE * 2, -4)]
            fields = {"kernel_shape": [3, 3], "strides": [2, 2], "pads": pads, "ceil_mode": ceiled}
            y = f.node("QLinearAveragePool", f.quantize("x", *numbers), *names, domain="com.microsoft",
                       count_include_pad=counted, **fields)  # fmt: skip
        else:
            y = pooled(f, "x" if end == "real" else f.around("x", *numbers), pads, counted, ceiled)
            y = {"codes": f.quantize, "pair": f.around, "real": lambda y, *_: y}[end](y, SCALE * 2, -4)
        ends = [y, f.around("x", *numbers)] if end == "real" else [y]
        compare(f.build({"x": (1, 3, 8, 9)}, *ends), {"x": image(shape=(1, 3, 8, 9))}, tolerance=1e-6)


@pytest.mark.parametrize(
    ("border", "coded"), [([0, 0, 1, 2, 0, 0, 0, 1], True), ([0, 0, 1, 0, 0, 0, 0, 0], False), ([0] * 8, False)]
)
def test_a_pad_before_a_mean(border, coded):
    """onnxruntime makes one operator of both, and computes that with codes."""
    for pads, counted, ceiled in WINDOWS:
        f, value = File(), float(pads == [0, 1, 2, 0] and ceiled)
        padded = f.node("Pad", f.around("x", SCALE, 9), f.constant(ints(*border)), f.constant(np.float32(value)))
        y = pooled(f, padded, pads, counted, ceiled)
        y = f.quantize(y, SCALE * 2, -4) if coded else f.around(y, SCALE * 2, -4)
        compare(f.build({"x": (1, 3, 6, 7)}, y), {"x": image(shape=(1, 3, 6, 7))}, tolerance=1e-6)


@pytest.mark.parametrize("mode", ["constant", "edge", "reflect", "wrap"])
@pytest.mark.parametrize("real", [False, True])
def test_pads_that_cut_off(real, mode):
    for pads in ([0, 0, -1, 0, 0, 0, 0, -1], [0, 0, -1, 2, 0, 0, 1, -1], [0, -1, 0, 1, 0, -1, 0, 0]):
        f = File(19)
        x = "x" if real else f.around("x")
        y = f.node("Pad", x, f.constant(ints(*pads)), mode=mode)
        compare(f.build({"x": (1, 4, 6, 5)}, f.quantize(y)), {"x": image(shape=(1, 4, 6, 5))})


@pytest.mark.parametrize(
    ("pads", "message"),
    [
        ([0, 0, -3, 0, 0, 0, -3, 0], "leave nothing of"), ([0, 0, 1], "are not two for each of 4 axes"),
        ([-1, 0, 0, 0, 0, 0, 0, 0], "it pads the batch"), ([0, 0, 2**40, 0, 0, 0, 0, 0], "are larger than"),
    ],
)  # fmt: skip
def test_pads_that_do_not_fit(pads, message):
    f = File()
    y = f.node("Pad", f.around("x"), f.constant(ints(*pads)))
    with pytest.raises(GraphError, match=message):
        frontend.load(f.build({"x": (1, 4, 6, 5)}, f.quantize(y)))


@pytest.mark.parametrize("before", ["", "around", "Conv", "codes", "Relu"])
@pytest.mark.parametrize("limits", [(1.0, -1.0), (3.0, 0.5)])
def test_limits_out_of_order(limits, before):
    """All values become the upper one."""
    f = File()
    if before == "codes":
        y = f.node("Clip", f.quantize("x"), f.constant(np.int8(5)), f.constant(np.int8(-5)))
    else:
        x = f.around("x") if before else "x"
        x = {"Conv": lambda: f.node("Conv", x, f.weights(3, 4, 1, 1)), "Relu": lambda: f.node("Relu", x)}.get(
            before, lambda: x
        )()
        y = f.quantize(f.node("Clip", x, *(f.constant(np.float32(limit)) for limit in limits)))
    compare(f.build({"x": (1, 4, 3, 3)}, y), {"x": image(shape=(1, 4, 3, 3))})


@pytest.mark.parametrize("end", ["codes", "real", "head"])
@pytest.mark.parametrize("coded", [False, True])
@pytest.mark.parametrize("shape", [(), (1,), (1, 1), (5,), (1, 5)])
def test_biases_of_one_value(shape, coded, end):
    f = File()
    bias = f.reals(*shape)
    if coded:
        codes = f.constant(f.rng.integers(-2000, 2000, shape).astype(np.int32))
        bias = f.node("DequantizeLinear", codes, f.constant(np.float32(X * W)))
    y = f.node("Gemm", "x" if end == "head" else f.around("x"), f.weights(8, 5, axis=1), bias)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", SateenWarning)
        data = f.build({"x": (1, 8)}, y if end == "real" else f.quantize(y))
        compare(data, {"x": image(shape=(1, 8))}, tolerance=1e-6, off=0.2 if end != "real" else 0)


@pytest.mark.parametrize("kind", ["half_pixel", "asymmetric", "align_corners", "pytorch_half_pixel"])
@pytest.mark.parametrize("rounding", ["floor", "ceil", "round_prefer_floor", "round_prefer_ceil"])
def test_nearest_pixels(rounding, kind):
    """Of any size, beside those that a Resize of the graph has."""
    for real, scales in itertools.product((False, True), ((1.7, 2), (0.6, 1.3))):
        f = File()
        factors = f.constant(np.array([1, 1, *scales], np.float32))
        fields = {"nearest_mode": rounding, "coordinate_transformation_mode": kind}
        y = f.node("Resize", "x" if real else f.around("x"), "", factors, mode="nearest", **fields)
        compare(f.build({"x": (1, 2, 7, 9)}, f.quantize(y)), {"x": image(shape=(1, 2, 7, 9))})


def test_rows_of_one_matrix():
    """A product of a matrix with each row of an image, as onnxruntime's tools write it before they quantize."""
    for shape in ((1, 7, 6), (2, 3, 6), (2, 3, 4, 6)):
        f = File()
        x = f.node("Reshape", f.around("x"), f.constant(ints(-1, 6)))
        bias = f.dequantize(f.constant(f.rng.integers(-2000, 2000, 5).astype(np.int32)), X * W, 0, np.int32)
        y = f.around(f.node("Gemm", f.around(x), f.weights(6, 5), bias), 0.1)
        y = f.around(f.node("Relu", f.node("Reshape", y, f.constant(ints(*shape[:-1], 5)))), 0.1)
        data, x = f.build({"x": shape}, y), image(shape=shape)
        graph = frontend.load(data)
        given = x if graph.tensors["x"].file_shape == shape else x[None]
        actual = graph.tensors[y].to_file(run(graph, {"x": graph.tensors["x"].from_file(given)})[y])
        (expected,) = onnxruntime.InferenceSession(data, providers=["CPUExecutionProvider"]).run(None, {"x": x})
        np.testing.assert_array_equal(actual.reshape(expected.shape), expected)


def test_pads_that_are_no_whole_numbers():
    f = File()
    y = f.node("Pad", f.around("x"), f.constant(np.full(8, np.nan, np.float32)))
    with pytest.raises(GraphError, match="its input 1 must be whole numbers, not float32"):
        frontend.load(f.build({"x": (1, 4, 6, 5)}, f.quantize(y)))


def test_a_result_that_is_made_twice():
    """By an operator that reads it, too."""
    f = File()
    y = f.around(f.node("Transpose", f.around("x"), perm=[0, 2, 3, 1]))
    f.nodes[-1].output[0] = f.nodes[1].output[0]
    with pytest.raises(GraphError, match="its output 'dequantizelinear1' is made twice"):
        frontend.load(f.build({"x": (1, 4, 6, 5)}, f.nodes[1].output[0], y))
