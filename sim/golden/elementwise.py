"""Golden elementwise operators: sums and products of tensors, and functions of one value as tables of 256 results.

A table's entry ``i`` is the result for the value ``i − 128``.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import numpy as np
from numpy.typing import NDArray

from sateen.hw.spec.descriptor import Rounding
from sateen.sim.golden import fixed
from sateen.sim.golden.scaling import (
    Int8Array,
    Int64Array,
    Quantization,
    divide_by_power,
    high_multiply,
    quantize_multiplier,
    requantize,
    rescale,
)

__all__ = [
    "add",
    "clamped_table",
    "concatenation_table",
    "float32_sum",
    "fused_terms",
    "hard_swish_table",
    "input_radius",
    "leaky_relu_table",
    "logistic_table",
    "look_up",
    "multiply",
    "quantize_again",
    "real_codes",
    "real_table",
    "tanh_table",
]

CODES = np.arange(-128, 128)
"""Every int8 value."""
ADD_SHIFT = 20
"""Bits by which the terms of a sum are shifted left before they are scaled."""


def _saturated(values: NDArray[np.floating] | Int64Array, low: int = -128, high: int = 127) -> Int8Array:
    return np.clip(values, low, high).astype(np.int8)


def add(
    a: Int8Array,
    b: Int8Array,
    quantization_a: Quantization,
    quantization_b: Quantization,
    quantization: Quantization,
    *,
    sign: int = 1,
    low: int = -128,
    high: int = 127,
    rounding: int = Rounding.DOUBLE,
    base: int = 0,
    fused: bool = True,
    reciprocal: float = 0.0,
) -> Int8Array:
    """``a + sign · b`` as real numbers, in the codes of ``quantization``; shapes broadcast.

    TensorFlow Lite's sums: both are shifted left by 20 bits, scaled to twice the larger scale, summed, scaled to the
    output. With Rounding.FLOAT32 they are onnxruntime's, in float32, ties to even: if ``fused`` those of its kernel for
    codes, which are larger by ``base``, on processors with fused multiplication and addition, ``b`` added first; else
    real numbers are added, and the sum is quantized: divided by the scale, or multiplied by a ``reciprocal``, as
    PyTorch does.
    """
    (scale_a, zero_a), (scale_b, zero_b), (scale, zero) = quantization_a, quantization_b, quantization
    if rounding == Rounding.FLOAT32 and not fused:
        real = real_codes(a, quantization_a) + sign * real_codes(b, quantization_b)
        return quantize_again(real, quantization, low, high, reciprocal)
    if rounding == Rounding.FLOAT32:
        last = fused_terms(a, b, quantization_a, quantization_b, quantization, sign=sign, base=base)
        return _saturated(np.rint(float32_sum(*last)) - base, low, high)
    twice = 2 * max(scale_a, scale_b)
    terms = [
        rescale((value.astype(np.int64) - point) << ADD_SHIFT, *quantize_multiplier(own / twice), rounding=rounding)
        for value, own, point in ((a, scale_a, zero_a), (b, scale_b, zero_b))
    ]
    multiplier, shift = quantize_multiplier(twice / ((1 << ADD_SHIFT) * scale))
    total = terms[0] + sign * terms[1]
    return requantize(total, multiplier, shift, rounding=rounding, zero_point=zero, low=low, high=high)


def real_codes(x: Int8Array, quantization: Quantization) -> NDArray[np.float32]:
    """The real numbers of codes, in float32."""
    return (x.astype(np.int64) - quantization[1]).astype(np.float32) * np.float32(quantization[0])


def quantize_again(
    real: NDArray[np.float32], quantization: Quantization, low: int, high: int, reciprocal: float = 0.0
) -> Int8Array:
    """Real numbers divided in float32, ties to even, then moved by the zero point."""
    steps = real * np.float32(reciprocal) if reciprocal else real / np.float32(quantization[0])
    return _saturated(np.rint(steps) + quantization[1], low, high)


def fused_terms(
    a: Int8Array,
    b: Int8Array,
    quantization_a: Quantization,
    quantization_b: Quantization,
    quantization: Quantization,
    *,
    sign: int,
    base: int,
) -> tuple[NDArray[np.float64], NDArray[np.float32]]:
    """The terms that onnxruntime's kernel for sums of codes adds last: ``a`` times the ratio of scales, exactly; and
    what is made of ``b`` and the zero points, in float32."""
    (scale_a, zero_a), (scale_b, zero_b), (scale, zero) = quantization_a, quantization_b, quantization
    ratio_a, ratio_b = (np.float32(own) / np.float32(scale) for own in (scale_a, scale_b))
    ratio_b = np.float32(sign) * ratio_b
    points = float32_sum(np.float64(ratio_a) * (zero_a + base), ratio_b * np.float32(zero_b + base))
    offset = np.float32(zero + base) - points
    inner = float32_sum(np.float64(ratio_b) * (b.astype(np.int64) + base), offset)
    return np.float64(ratio_a) * (a.astype(np.int64) + base), inner


def float32_sum(product: NDArray[np.float64] | np.float64, added: NDArray[np.float32] | np.float32) -> Any:
    """A sum in float32, rounded once, as fused multiplication and addition gives it."""
    # In float64 it is rounded to odd: then float32 rounds it as it rounds the exact sum.
    total = np.asarray(product + np.float64(added))
    back = total - product
    lost = (product - (total - back)) + (np.float64(added) - back)
    even = total.view(np.int64) & 1 == 0
    return np.where((lost != 0) & even, np.nextafter(total, np.copysign(np.inf, lost)), total).astype(np.float32)


def multiply(
    a: Int8Array,
    b: Int8Array,
    quantization_a: Quantization,
    quantization_b: Quantization,
    quantization: Quantization,
    *,
    low: int = -128,
    high: int = 127,
    rounding: int = Rounding.DOUBLE,
    base: int = 0,
    fused: bool = True,
    reciprocal: float = 0.0,
) -> Int8Array:
    """``a · b`` as real numbers, in the codes of ``quantization``; shapes broadcast. Roundings as those of
    :func:`add`."""
    (scale_a, zero_a), (scale_b, zero_b), (scale, zero) = quantization_a, quantization_b, quantization
    product = (a.astype(np.int64) - zero_a) * (b.astype(np.int64) - zero_b)
    if rounding == Rounding.FLOAT32 and not fused:
        real = real_codes(a, quantization_a) * real_codes(b, quantization_b)
        return quantize_again(real, quantization, low, high, reciprocal)
    if rounding == Rounding.FLOAT32:
        factor = np.float32(scale_a) * np.float32(scale_b) / np.float32(scale)
        return _saturated(np.rint(product.astype(np.float32) * factor + np.float32(zero + base)) - base, low, high)
    multiplier, shift = quantize_multiplier(scale_a * scale_b / scale)
    return requantize(product, multiplier, shift, rounding=rounding, zero_point=zero, low=low, high=high)


def look_up(x: Int8Array, table: Int8Array) -> Int8Array:
    """Each value's entry in a table of 256."""
    return table[x.astype(np.int64) + 128]


def clamped_table(low: int, high: int) -> Int8Array:
    """min(max(x, low), high)."""
    return _saturated(CODES, low, high)


def real_table(
    quantization: Quantization, output: Quantization, function: Callable[[NDArray[np.float32]], NDArray[np.float32]]
) -> Int8Array:
    """A function of float32 numbers, as onnxruntime makes tables: results divided in float32, ties to even.

    ``ValueError`` if a result is not a number.
    """
    # A result that overflows is beyond all codes, unless it has no sign: then it is not a number.
    with np.errstate(over="ignore", invalid="ignore"):
        real = np.float32(quantization[0]) * (CODES - quantization[1]).astype(np.float32)
        codes = np.rint(function(real).astype(np.float32) / np.float32(output[0])) + output[1]
    if np.isnan(codes).any():
        raise ValueError("a result is not a number")
    return _saturated(codes)


def leaky_relu_table(quantization: Quantization, output: Quantization, alpha: float) -> Int8Array:
    """x where x ≥ 0, else alpha · x."""
    (scale, zero), (output_scale, output_zero) = quantization, output
    values = CODES - zero
    one, other = quantize_multiplier(scale / output_scale), quantize_multiplier(scale * alpha / output_scale)
    scaled = np.where(values >= 0, rescale(values, *one), rescale(values, *other))
    return _saturated(scaled + output_zero)


def input_radius(integer_bits: int, shift: int) -> int:
    """The largest input whose scaled value a fixed-point number of ``integer_bits`` holds."""
    return math.floor(((1 << integer_bits) - 1) * 2.0 ** (31 - integer_bits - shift))


def _squashed(quantization: Quantization, function: str, output_bits: int, output_zero: int) -> Int8Array:
    """A table of a function of fixed-point numbers with 4 integer bits; larger inputs give its limits."""
    scale, zero = quantization
    mantissa, shift = math.frexp(scale * 2.0**27)
    radius, values = input_radius(4, shift), CODES - zero
    inner = np.clip(values, 1 - radius, radius - 1) if radius > 0 else np.zeros_like(values)
    multiplier = math.floor(mantissa * 2**31 + 0.5)
    scaled = rescale(inner, min(multiplier, 2**31 - 1), min(shift, 30))
    result = divide_by_power(getattr(fixed, function)(scaled, 4), 31 - output_bits) + output_zero
    return _saturated(np.where(values <= -radius, -128, np.where(values >= radius, 127, result)))


def logistic_table(quantization: Quantization) -> Int8Array:
    """1 / (1 + exp(−x)), fixed-point; the output has a scale of 1/256 and a zero point of −128."""
    return _squashed(quantization, "logistic", 8, -128)


def tanh_table(quantization: Quantization) -> Int8Array:
    """tanh x, fixed-point; the output has a scale of 1/128 and a zero point of 0."""
    return _squashed(quantization, "tanh", 7, 0)


def concatenation_table(quantization: Quantization, output: Quantization) -> Int8Array:
    """Values in another quantization, in float32, halves away from zero: so TensorFlow Lite joins uint8 tensors.

    ``ValueError`` if float32 does not hold the results.
    """
    with np.errstate(over="ignore", invalid="ignore"):
        scale = np.float32(quantization[0]) * (np.float32(1) / np.float32(output[0]))
        # The interpreter's codes are 0 to 255.
        bias = -np.float32(quantization[1] + 128) * scale
        real = (CODES + 128).astype(np.float32) * scale + bias
    if not np.isfinite(real).all():
        raise ValueError(f"{quantization[0]!r} / {output[0]!r} is too large")
    return _saturated(np.copysign(np.floor(np.abs(real) + np.float32(0.5)), real) + output[1])


def hard_swish_table(quantization: Quantization, output: Quantization) -> Int8Array:
    """x · min(max(x + 3, 0), 6) / 6 in TensorFlow Lite's 16-bit fixed-point numbers."""
    hires = np.float32(np.float32(quantization[0]) * np.float32(1 / 128))
    factor, exponent = _multiplier16(float(hires) / float(np.float32(output[0])))
    relu_factor, relu_exponent = _multiplier16(float(hires) / float(np.float32(3 / 32768)))
    values = (CODES - quantization[1]) << 7
    scaled = _high_multiply16(values, factor)
    gate = np.clip(values << max(relu_exponent - 1, 0), -32768, 32767)
    gate = _high_multiply16(gate, relu_factor)
    gate = np.clip(gate << (relu_exponent > 0), -32768, 32767)
    gate = (divide_by_power(gate, max(-relu_exponent, 0)) + 32768) >> 1
    product = gate * scaled
    truncated = np.sign(product) * (np.abs(product) >> 15)
    return _saturated(divide_by_power(truncated, max(-exponent, 0)) + output[1])


def _multiplier16(scale: float) -> tuple[int, int]:
    multiplier, shift = quantize_multiplier(scale)
    return min((multiplier + 0x8000) >> 16, 0x7FFF), shift


def _high_multiply16(a: Int64Array, b: int) -> Int64Array:
    """(a·b) / 2^15 rounded to nearest, in 16 bits; as :func:`sateen.sim.golden.scaling.high_multiply` has it in 32."""
    return high_multiply(a << 16, b)
