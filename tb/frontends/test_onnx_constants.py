"""ONNX constants that the file quantizes, and clamps of codes and of what they stand for, against onnxruntime."""

from __future__ import annotations

import numpy as np
import pytest
from test_onnx_real import compare, image, results

import needs
from onnx_file import File, W, X, Y, ints
from sateen.graph import Quantize, Real, Requantize

onnx = needs.package("onnx", extra="onnx")
onnxruntime = needs.package("onnxruntime", extra="reference")
FLOAT, INT8, UINT8 = onnx.TensorProto.FLOAT, onnx.TensorProto.INT8, onnx.TensorProto.UINT8


@pytest.mark.parametrize("kind", [np.int8, np.uint8])
@pytest.mark.parametrize("each", [False, True])
@pytest.mark.parametrize("moved", ["", "before", "between", "behind"])
def test_float_weights(kind, each, moved):
    """Transposed before they are quantized, between, and behind."""
    f = File()
    order = [0, 2, 3, 1]
    scale = f.rng.uniform(0.01, 0.02, 8).astype(np.float32) if each else W
    zero = np.full(8, 128 if kind == np.uint8 else 0) if each else (117 if kind == np.uint8 else 0)
    weights = f.reals(*(8, 3, 3, 5)) if not moved else f.reals(8, 5, 3, 3)
    if moved == "before":
        weights = f.node("Transpose", weights, perm=order)
    codes = f.quantize(weights, scale, zero, kind, axis=0)
    if moved == "between":
        codes = f.node("Transpose", codes, perm=order)
    real = f.dequantize(codes, scale, zero, kind, axis=0)
    if moved == "behind":
        real = f.node("Transpose", real, perm=order)
    y = f.quantize(f.node("Conv", f.around("x"), real, pads=[1, 1, 2, 2], kernel_shape=[3, 5] if not moved else [3, 3]))
    data = f.build({"x": (1, 3, 8, 8)} if not moved else {"x": (1, 3, 8, 8)}, y) if not moved else None
    if data is None:
        f = File()
        data = _moved_product(f, kind, scale if each else W, each, moved)
        compare(data, {"x": image(shape=(1, 6))}, off=0.01)
    else:
        compare(data, {"x": image()}, off=0.01)


def _moved_product(f: File, kind, scale, each, moved) -> bytes:
    """A matrix product whose weights [8, 6] are moved before they are quantized, between, or behind."""
    zero = np.full(8, 120 if kind == np.uint8 else 0) if each else (117 if kind == np.uint8 else 0)
    weights = f.reals(2, 4, 6) if moved == "before" else f.reals(8, 6)
    if moved == "before":
        weights = f.node("Reshape", weights, f.constant(np.array([8, -1], np.int64)))
    codes = f.quantize(weights, scale, zero, kind, axis=0)
    axis = 0
    if moved == "between":
        codes, axis = f.node("Transpose", codes, perm=[1, 0]), 1
    real = f.dequantize(codes, scale, zero, kind, axis=axis)
    if moved == "behind":
        real = f.node("Unsqueeze", real, f.constant(np.array([1], np.int64)))
        real = f.node("Reshape", real, f.constant(np.array([8, 6], np.int64)))
    if moved != "between":
        real = f.node("Transpose", real)
    return f.build({"x": (1, 6)}, f.quantize(f.node("MatMul", f.around("x"), real)))


@pytest.mark.parametrize("kind", [np.int8, np.uint8])
def test_constants_are_quantized_as_onnxruntime_does(kind):
    """Ties and what saturates, by quotients of float32."""
    low, high = np.iinfo(kind).min, np.iinfo(kind).max
    rng, scale = np.random.default_rng(3), np.float32(0.1)
    ties = (np.arange(low - 9, high + 9) + 0.5).astype(np.float32) * scale
    values = np.concatenate([ties, np.nextafter(ties, np.float32(9e9)), rng.normal(size=200).astype(np.float32) * 9])
    values = np.concatenate([values, np.array([0, -0.0, 3e38, -3e38, 1e-40], np.float32)])[None]
    f = File()
    weights = f.around(f.constant(values), scale, 5, kind)
    y = f.node("Mul", f.around("x", 1.0, 0), weights)
    zero = np.float32(1)
    graph, actual, expected = results(
        f.build({"x": (1, 1)}, f.quantize(y, scale, 5, kind)), {"x": np.full((1, 1), zero)}
    )
    np.testing.assert_array_equal(actual[0], expected[0])
    assert not any(isinstance(op, Quantize) and op.input != "x" for op in graph.ops)


@pytest.mark.parametrize("bits", [4, 7])
def test_clipped_codes(bits):
    """As Brevitas writes fewer bits than 8: of weights, and of activations."""
    top = 2 ** (bits - 1) - 1
    f, step = File(), W * 128 / 2**bits
    limits = [f.constant(np.int8(-top)), f.constant(np.int8(top))]
    codes = f.node("Clip", f.quantize(f.reals(4, 3, 3, 3), step, 0), *limits)
    x = f.dequantize(f.node("Clip", f.quantize("x", X, 0), *limits), X, 0)
    y = f.node("Conv", x, f.dequantize(codes, step, 0))
    y = f.dequantize(f.node("Clip", f.quantize(y, Y, 0), *limits), Y, 0)
    graph = compare(f.build({"x": (1, 3, 8, 8)}, f.quantize(f.node("Relu", y), Y, 0)), {"x": image()}, off=0.01)
    layer = next(op for op in graph.ops if hasattr(op, "weights"))
    assert np.abs(layer.weights).max() == top and (layer.low, layer.high) == (-top, top)


@pytest.mark.parametrize("kind", [np.int8, np.uint8])
def test_clipped_activations_of_four_bits(kind):
    f, zero = File(), 0 if kind == np.int8 else 8
    limits = [f.constant(kind(-8 if kind == np.int8 else 0)), f.constant(kind(7 if kind == np.int8 else 15))]
    y = f.dequantize(f.node("Clip", f.quantize("x", X * 8, zero, kind), *limits), X * 8, zero, kind)
    graph = compare(f.build({"x": (1, 64)}, y), {"x": image(shape=(1, 64))})
    assert any(isinstance(op, Requantize) for op in graph.ops)


@pytest.mark.parametrize("first", [False, True])
def test_least_and_largest_with_constants(first):
    """A clipped ReLU: part of the layer before it."""
    f = File()
    made = f.node("Conv", f.around("x"), f.weights(4, 3, 3, 3))
    low, high = f.constant(np.float32(0)), f.constant(np.array([6], np.float32))
    y = f.node("Max", *((low, made) if first else (made, low)))
    graph = compare(f.build({"x": (1, 3, 8, 8)}, f.quantize(f.node("Min", y, high))), {"x": image()}, off=0.01)
    assert not any(isinstance(op, Real) for op in graph.ops)


def test_clamps_in_any_order():
    """The last one counts where they exclude each other."""
    limits = [(-0.5, 0.75), (0.25, 0.5), (1, 2), (-2, -1)]
    for first in limits:
        for second in limits:
            f = File()
            y = f.around("x")
            for low, high in (first, second):
                y = f.node("Clip", y, f.constant(np.float32(low)), f.constant(np.float32(high)))
            compare(f.build({"x": (1, 64)}, f.quantize(y, 0.0171)), {"x": image(shape=(1, 64)) / 2})


@pytest.mark.parametrize("kind", ["MaxPool", "Split", "Conv", "Add", "Pad"])
def test_clamps_that_are_no_codes(kind):
    """Their results are not quantized before another operator reads them, so the clamp is one of real values."""
    f = File()
    x = f.node("Clip", f.around("x", X * 4), f.constant(np.float32(-0.1)), f.constant(np.float32(0.27)))
    if kind == "Split":
        y = f.node(kind, x, f.constant(ints(1, 2)), outputs=2, axis=1)[1]
    elif kind == "Conv":
        y = f.node(kind, x, f.weights(4, 3, 3, 3))
    elif kind == "Add":
        y = f.node(kind, x, x)
    elif kind == "Pad":
        y = f.node(kind, x, f.constant(ints(0, 0, 1, 1, 0, 0, 1, 1)))
        y = f.node("Clip", y, f.constant(np.float32(0.05)), f.constant(np.float32(1)))
    else:
        y = f.node(kind, x, kernel_shape=[2, 2])
    compare(f.build({"x": (1, 3, 8, 8)}, f.quantize(y, 0.0091)), {"x": image() / 4}, off=0.005)


def test_a_clamp_behind_a_border():
    f = File()
    made = f.node("Pad", f.node("Conv", f.around("x"), f.weights(4, 3, 3, 3)), f.constant(ints(0, 0, 1, 1, 0, 0, 1, 1)))
    y = f.node("Clip", made, f.constant(np.float32(0.5)), f.constant(np.float32(6)))
    compare(f.build({"x": (1, 3, 8, 8)}, f.quantize(y)), {"x": image()}, off=0.005)
