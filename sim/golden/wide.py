"""Operators on int16 activations with int8 weights ("16x8"), as tflite-micro's portable kernels compute them.

The host computes them: the array multiplies 8 bits by 8. Zero points are 0, except of int8 tensors that are converted.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from functools import cache

import numpy as np
from numpy.typing import ArrayLike, NDArray

from sateen.hw.spec.recurrent import SIGMOIDS
from sateen.sim.golden.scaling import Int64Array, quantize_multiplier, rescale, wrap
from sateen.sim.golden.windows import Padding, convolution_sums, windows

__all__ = [
    "Int16Array",
    "clipped",
    "tanh_at",
    "wide_add",
    "wide_average_pool2d",
    "wide_conv2d",
    "wide_fully_connected",
    "wide_leaky_relu",
    "wide_logistic",
    "wide_max_pool2d",
    "wide_mean",
    "wide_multiply",
    "wide_requantize",
    "wide_softmax",
    "wide_tanh",
]

Int16Array = NDArray[np.int16]
LOW, HIGH = -(2**15), 2**15 - 1
SHIFT = 15
"""Bits by which the terms of a sum are shifted left before they are scaled."""


def clipped(values: Int64Array, low: int = LOW, high: int = HIGH) -> Int16Array:
    """The nearest codes of 16 bits, or from ``low`` to ``high``."""
    return np.clip(values, low, high).astype(np.int16)


def _scaled(sums: Int64Array, multiplier: ArrayLike, shift: ArrayLike, *, wraps: bool) -> Int64Array:
    """``sums · multiplier · 2^(shift − 31)``: rounded twice for sums that wrap at 32 bits; for longer ones the
    multiplier is rounded to 16 bits, and the product once, ties toward +∞."""
    if wraps:
        return rescale(wrap(sums), multiplier, shift)
    factor, left = np.asarray(multiplier, np.int64), np.asarray(shift, np.int64)
    short = np.where(factor < 0x7FFF0000, (factor + (1 << 15)) >> 16, 0x7FFF)
    return (sums * short + (np.int64(1) << (14 - left))) >> (15 - left)


def wide_conv2d(
    x: Int16Array,
    weights: NDArray[np.int8],
    bias: NDArray[np.int32] | NDArray[np.int64],
    multiplier: ArrayLike,
    shift: ArrayLike,
    *,
    stride: tuple[int, int],
    padding: Padding,
    dilation: tuple[int, int],
    groups: int,
    low: int = LOW,
    high: int = HIGH,
) -> Int16Array:
    """A convolution, requantized; fields as those of :func:`~sateen.sim.golden.windows.conv2d`. A bias of int32 makes
    sums that wrap at 32 bits."""
    sums = convolution_sums(
        x, weights, bias, stride=stride, padding=padding, dilation=dilation, pad_value=0, groups=groups
    )
    return clipped(_scaled(sums, multiplier, shift, wraps=bias.dtype == np.int32), low, high)


def wide_fully_connected(
    x: Int16Array,
    weights: NDArray[np.int8],
    bias: NDArray[np.int32] | NDArray[np.int64],
    multiplier: ArrayLike,
    shift: ArrayLike,
    *,
    low: int = LOW,
    high: int = HIGH,
) -> Int16Array:
    """``x · weightsᵀ + bias`` over the last axis, requantized. A bias of int32 makes sums that wrap at 32 bits."""
    # Sums below 2^53 are exact in float64.
    sums = (x.astype(np.float64) @ weights.T.astype(np.float64)).astype(np.int64) + bias
    return clipped(_scaled(sums, multiplier, shift, wraps=bias.dtype == np.int32), low, high)


def wide_add(
    a: Int16Array, b: Int16Array, scales: tuple[float, float], scale: float, *, sign: int, low: int, high: int
) -> Int16Array:
    """``a + sign · b`` as real numbers: both are shifted left by 15 bits, scaled to twice the larger scale, summed,
    scaled to the output."""
    twice = 2 * max(scales)
    terms = [
        rescale(values.astype(np.int64) << SHIFT, *quantize_multiplier(own / twice))
        for values, own in zip((a, b), scales, strict=True)
    ]
    factors = quantize_multiplier(twice / ((1 << SHIFT) * scale))
    return clipped(rescale(wrap(terms[0] + sign * terms[1]), *factors), low, high)


def wide_multiply(
    a: Int16Array, b: Int16Array, scales: tuple[float, float], scale: float, *, low: int, high: int
) -> Int16Array:
    """``a · b`` as real numbers."""
    product = a.astype(np.int64) * b.astype(np.int64)
    return clipped(rescale(product, *quantize_multiplier(scales[0] * scales[1] / scale)), low, high)


def wide_max_pool2d(
    x: Int16Array, *, size: tuple[int, int], stride: tuple[int, int], padding: Padding, low: int, high: int
) -> Int16Array:
    """The largest of each window."""
    values = windows(x, size, stride=stride, padding=padding, dilation=(1, 1), pad_value=LOW)
    return clipped(values.max(axis=(4, 5)).astype(np.int64), low, high)


def wide_average_pool2d(
    x: Int16Array, *, size: tuple[int, int], stride: tuple[int, int], padding: Padding, low: int, high: int
) -> Int16Array:
    """The mean over each window's part of the image, halves rounded away from zero."""
    sums, counts = (
        windows(values.astype(np.int64), size, stride=stride, padding=padding, dilation=(1, 1), pad_value=0).sum(
            axis=(4, 5)
        )
        for values in (x, np.ones((1, *x.shape[1:3], 1)))
    )
    return clipped(np.sign(sums) * ((np.abs(sums) + counts // 2) // counts), low, high)


def wide_mean(x: Int16Array, axes: tuple[int, ...], multiplier: int, shift: int) -> Int16Array:
    """The mean over axes, which are kept with length 1; factors as :func:`~sateen.sim.golden.windows.mean_multiplier`
    gives them."""
    return clipped(rescale(x.astype(np.int64).sum(axis=axes, keepdims=True), multiplier, shift))


def wide_requantize(
    x: NDArray[np.int8] | Int16Array, zero_point: int, multiplier: int, shift: int, *, output_zero_point: int, low: int,
    high: int,
) -> Int64Array:  # fmt: skip
    """The same real values with another scale and zero point, in the range of the output's type."""
    scaled = rescale(x.astype(np.int64) - zero_point, multiplier, shift)
    return np.asarray(np.clip(scaled + output_zero_point, low, high))


def wide_leaky_relu(x: Int16Array, scale: float, output_scale: float, alpha: float) -> Int16Array:
    """x where x ≥ 0, else alpha · x."""
    values = x.astype(np.int64)
    one, other = quantize_multiplier(scale / output_scale), quantize_multiplier(scale * alpha / output_scale)
    return clipped(np.where(values >= 0, rescale(values, *one), rescale(values, *other)))


_SIGMOIDS = np.array(SIGMOIDS, np.int64)


def _places(x: Int16Array, scale: float) -> Int64Array:
    """Real values in units of 2^-12 / 3, with which tables are entered."""
    if abs(math.log2(scale) + 12) < 1e-3:
        # The scale of 2^-12: three times the value, without rounding.
        return x.astype(np.int64) * 3
    factor, shift = float(scale) * 4096.0 * 3.0, 0
    while factor <= 32767.0 / 2.0 and shift <= 30:
        factor, shift = factor * 2.0, shift + 1
    nudge = 1 << (shift - 1) if shift else 0
    return wrap(x.astype(np.int64) * int(factor) + nudge).astype(np.int64) >> shift


def _interpolated(places: Int64Array, bits: int) -> Int64Array:
    """The table's values at places of ``bits`` fractional bits, which the results have besides the table's 16."""
    index = np.minimum(places >> bits, 254)
    slope = _SIGMOIDS[index + 1] - _SIGMOIDS[index]
    return (_SIGMOIDS[index] << bits) + (places & ((1 << bits) - 1)) * slope


def wide_logistic(x: Int16Array, scale: float) -> Int16Array:
    """The logistic function, in units of 2^-15."""
    places = _places(x, scale)
    size = np.abs(places)
    result = np.where(size >> 9 >= 255, 0x7FFF << 10, _interpolated(size, 9))
    result = np.where(places >= 0, result + (1 << 9), (1 << 25) - result + (1 << 9) - 1)
    return (result >> 10).astype(np.int16)


def wide_tanh(x: Int16Array, scale: float) -> Int16Array:
    """The hyperbolic tangent, in units of 2^-15."""
    return tanh_at(_places(x, scale))


def tanh_at(places: Int64Array) -> Int16Array:
    """The hyperbolic tangent of real values in units of 2^-12 / 3, in units of 2^-15."""
    size = np.abs(places)
    result = np.where(size >> 8 >= 255, 0xFFFF << 8, _interpolated(size, 8))
    result = np.where(places >= 0, result - (1 << 23) + (1 << 7), (1 << 23) - result + (1 << 7) - 1)
    return (result >> 8).astype(np.int16)


@cache
def _exponentials() -> Int64Array:
    """exp(x) for x from −10 to 0."""
    return _table(lambda x: np.exp(x.astype(np.float64)).astype(np.float32), -10.0, 0.0)


@cache
def _reciprocals() -> Int64Array:
    """1 / (1 + x) for x from 0 to 1."""
    return _table(lambda x: np.float32(1) / (np.float32(1) + x), 0.0, 1.0)


def _table(function: Callable[[NDArray[np.float32]], NDArray[np.float32]], low: float, high: float) -> Int64Array:
    """513 values of a function in units of 2^-15, each moved by half the error of interpolation behind it; in
    float32."""
    span = np.float32(2**16 - 1)
    unit = np.float32(high - low) / span
    first, last = (unit * span * np.float32(-1), np.float32(0)) if low < 0 else (np.float32(0), unit * span)
    outputs = np.float32(2.0) / span
    scaling = np.float32(2**16) / (outputs * np.float32(HIGH) - outputs * np.float32(LOW))
    step = (last - first) / np.float32(512)
    places = np.arange(512, dtype=np.float32)
    value, middle, following = (
        function(first + places * step),
        function(first + places * step + step / np.float32(2)),
        function(first + (places + np.float32(1)) * step),
    )
    samples = _rounded(value * scaling)
    between = _rounded((following * scaling + samples) / np.float32(2))
    errors = _rounded((between - _rounded(middle * scaling)) / np.float32(2))
    end = _rounded(function(np.array([last], np.float32)) * scaling)
    return np.clip(np.concatenate([samples - errors, end]), LOW, HIGH).astype(np.int64)


def _rounded(x: NDArray[np.float32]) -> NDArray[np.float32]:
    """Halves away from zero."""
    return np.copysign(np.floor(np.abs(x) + np.float32(0.5)), x).astype(np.float32)


def _looked_up(places: Int64Array, table: Int64Array) -> Int64Array:
    """A table's values at int16 places, interpolated."""
    index = 256 + (places >> 7)
    base, slope = table[index], table[index + 1] - table[index]
    return base + ((slope * (places & 127) + 64) >> 7)


def wide_softmax(x: Int16Array, scale: float) -> Int16Array:
    """Softmax of ``scale · x`` over the last axis, in units of 2^-15."""
    values = x.astype(np.int64)
    differences = values - values.max(axis=-1, keepdims=True)
    scaled = rescale(differences, *quantize_multiplier(scale / (10.0 / 65535.0)))
    powers = _looked_up(np.clip(scaled + 32767, LOW, HIGH), _exponentials())
    totals = powers.sum(axis=-1, keepdims=True)
    zeros = 32 - np.vectorize(int.bit_length, otypes=[np.int64])(totals.astype(object))
    shifted = ((totals << (zeros - 1)) + (1 << 13)) >> 14
    reciprocal = _looked_up(np.clip(shifted - ((1 << 15) + (1 << 16)), LOW, HIGH), _reciprocals())
    right = 31 - zeros
    results = (powers * reciprocal + (np.int64(1) << (right - 1))) >> right
    return np.clip(results, 0, HIGH).astype(np.int16)
