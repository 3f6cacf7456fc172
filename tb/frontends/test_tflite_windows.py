"""Transposed convolutions and interpolation of TensorFlow Lite against the interpreters."""

from __future__ import annotations

import numpy as np
import pytest

from interpreters import compare, litert, micro
from tflite_models import ModelBuilder

SAME, VALID = 0, 1


def transposed(kernel, stride, padding, out, rng, *, type="INT8", size=(4, 5), bias=True, activation=0):
    """A file of one transposed convolution, and its input."""
    b, unsigned, outputs = ModelBuilder(), type == "UINT8", 6
    low, high = (0, 256) if unsigned else (-128, 128)
    scales = [0.0043] if unsigned else rng.uniform(0.001, 0.01, outputs)
    x = b.tensor((1, *size, 3), type, scale=0.037, zero_point=131 if unsigned else 3)
    w = b.constant(
        rng.integers(max(low, -127), high, (outputs, *kernel, 3)), type, scale=scales, zero_point=117 * unsigned
    )
    y = b.tensor((1, *out, outputs), type, scale=0.061, zero_point=120 if unsigned else -8)
    inputs = [b.constant([1, *out, outputs]), w, x]
    if bias:
        inputs.append(b.constant(rng.integers(-2000, 2000, outputs), scale=(0.037 * np.asarray(scales)).tolist()))
    fields = {"Padding": padding, "StrideH": stride[0], "StrideW": stride[1], "FusedActivationFunction": activation}
    b.op("TRANSPOSE_CONV", inputs, [y], "TransposeConvOptions", **fields)
    return b.build([x], [y]), [rng.integers(low, high, (1, *size, 3)).astype(np.uint8 if unsigned else np.int8)]


@pytest.mark.parametrize(
    ("kernel", "stride", "padding", "out"),
    [
        ((3, 3), (2, 2), SAME, (8, 10)),
        ((3, 3), (2, 2), VALID, (9, 11)),
        ((2, 2), (2, 2), VALID, (8, 10)),
        ((4, 5), (3, 1), SAME, (12, 5)),
        ((1, 1), (2, 3), SAME, (8, 15)),
        ((5, 2), (1, 2), VALID, (8, 10)),
        ((3, 3), (2, 2), SAME, (7, 9)),
    ],
)
@pytest.mark.parametrize("options", [{}, {"bias": False}, {"type": "UINT8"}, {"activation": 1}])
def test_transposed_convolutions(kernel, stride, padding, out, options):
    # tflite-micro has no uint8 kernel.
    for interpreter in [litert] if options.get("type") == "UINT8" else [micro, litert]:
        compare(*transposed(kernel, stride, padding, out, np.random.default_rng(1), **options), interpreter)


@pytest.mark.parametrize("type", ["INT8", "UINT8"])
@pytest.mark.parametrize("flags", [{}, {"AlignCorners": True}, {"HalfPixelCenters": True}])
@pytest.mark.parametrize("size", [(8, 10), (16, 20), (7, 9), (3, 2), (12, 5), (1, 17), (4, 5)])
def test_interpolation(size, flags, type):
    b, unsigned = ModelBuilder(), type == "UINT8"
    low, shape = 0 if unsigned else -128, (1, 4, 5, 16)
    x, y = (b.tensor(s, type, scale=0.1, zero_point=4) for s in (shape, (1, *size, 16)))
    b.op("RESIZE_BILINEAR", [x, b.constant(list(size))], [y], "ResizeBilinearOptions", **flags)
    data = b.build([x], [y])
    values = np.random.default_rng(5).integers(low, low + 256, shape)
    values[..., :4] = np.where(values[..., :4] < low + 128, low, low + 255)  # The ends of the range side by side.
    inputs = [values.astype(np.uint8 if unsigned else np.int8)]
    if not unsigned:
        compare(data, inputs, micro)
    compare(data, inputs, litert)
