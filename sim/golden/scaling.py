"""Real numbers as integers, and integers scaled by real factors, bit for bit as the reference interpreters round."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from sateen.hw.spec.descriptor import Rounding

__all__ = [
    "Int8Array",
    "Int32Array",
    "Int64Array",
    "Quantization",
    "dequantize",
    "divide_by_power",
    "half_to_even",
    "high_multiply",
    "quantize",
    "quantize_multiplier",
    "requantize",
    "rescale",
    "wrap",
]

Int8Array = NDArray[np.int8]
Int32Array = NDArray[np.int32]
Int64Array = NDArray[np.int64]

Quantization = tuple[float, int]
"""Scale and zero point of a tensor."""


def quantize(
    x: ArrayLike,
    quantization: Quantization,
    *,
    rounding: int = Rounding.DOUBLE,
    reciprocal: float = 0.0,
    bits: int = 8,
) -> NDArray[np.integer[Any]]:
    """The integers of real numbers, of 8 or 16 bits, divided in float32: halves away from zero (TensorFlow Lite), or to
    even with Rounding.FLOAT32. With a ``reciprocal`` they are multiplied by that instead, as PyTorch
    does."""
    with np.errstate(over="ignore"):
        real = np.asarray(x, np.float32)
        real = real * np.float32(reciprocal) if reciprocal else real / np.float32(quantization[0])
    away = np.copysign(np.floor(np.abs(real.astype(np.float64)) + 0.5), real)
    codes = np.rint(real) if rounding == Rounding.FLOAT32 else away
    if np.isnan(codes).any():
        raise ValueError("the values to quantize contain NaN")
    limits = np.iinfo(np.int8 if bits == 8 else np.int16)
    return np.clip(codes.astype(np.float64) + quantization[1], limits.min, limits.max).astype(limits.dtype)


def dequantize(x: NDArray[np.integer[Any]], quantization: Quantization) -> NDArray[np.float32]:
    """The real numbers of integers: products of a scale and at most 17 bits, rounded once to float32."""
    return ((x.astype(np.float64) - quantization[1]) * quantization[0]).astype(np.float32)


def quantize_multiplier(scale: float) -> tuple[int, int]:
    """The multiplier and shift of a real scale: ``scale ≈ multiplier · 2^(shift − 31)``.

    As TensorFlow Lite's ``QuantizeMultiplier``: the multiplier is 0 or 2^30 to 2^31 − 1, rounded half up; a scale that
    would need a shift below −31 becomes (0, 0).

    Raises
    ------
    ValueError
        If ``scale`` is negative, not finite, or too large for a shift of 30.
    """
    if not (math.isfinite(scale) and scale >= 0):
        raise ValueError(f"scale must be finite and 0 or more, not {scale!r}")
    mantissa, shift = math.frexp(scale)
    multiplier = math.floor(mantissa * 2**31 + 0.5)
    if multiplier == 2**31:
        multiplier, shift = 2**30, shift + 1
    if shift > 30:
        raise ValueError(f"scale must be below 2^30, not {scale!r}")
    return (0, 0) if multiplier == 0 or shift < -31 else (multiplier, shift)


def requantize(
    acc: ArrayLike,
    multiplier: ArrayLike,
    shift: ArrayLike,
    *,
    rounding: int = Rounding.DOUBLE,
    zero_point: int = 0,
    low: int = -128,
    high: int = 127,
) -> Int8Array:
    """``clamp(round(acc · multiplier · 2^(shift − 31)) + zero_point, low, high)``, the rounding being bit-exact.

    Parameters
    ----------
    acc
        Sums, wrapped to 32 bits, [..., C].
    multiplier, shift
        0 to 2^31 − 1 and −31 to 30; scalars or [C].
    rounding
        :attr:`Rounding.DOUBLE`: gemmlowp's saturating rounding doubling high multiplication (ties toward +∞), then
        rounding division by a power of two (ties away from zero). TensorFlow Lite applies a positive shift before both;
        where that overflows its int32 the result is undefined there; here it does not overflow.
        :attr:`Rounding.SINGLE`: one rounding of the 64-bit product, ties toward +∞.
        :attr:`Rounding.FLOAT32`: the sum rounded to float32, its product rounded to float32, and that to an integer,
        ties to even. With a multiplier of 24 bits that is onnxruntime's; with more, the factor is finer than a float32.
    zero_point, low, high
        int8 values; ``low ≤ high``. The zero point is added without overflow.
    """
    scaled = rescale(wrap(np.asarray(acc)), multiplier, shift, rounding=rounding)
    return np.clip(scaled + zero_point, low, high).astype(np.int8)


def rescale(
    values: ArrayLike, multiplier: ArrayLike, shift: ArrayLike, *, rounding: int = Rounding.DOUBLE
) -> Int64Array:
    """``round(values · multiplier · 2^(shift − 31))`` of 32-bit values, rounded as :func:`requantize` says."""
    sums, factor, left = (np.asarray(array, np.int64) for array in (values, multiplier, shift))
    if rounding not in (Rounding.DOUBLE, Rounding.SINGLE, Rounding.FLOAT32):
        raise ValueError(f"rounding must be Rounding.DOUBLE, SINGLE or FLOAT32, not {rounding!r}")
    if rounding == Rounding.FLOAT32:
        return half_to_even(_to_24_bits(_to_24_bits(sums) * factor), 31 - left)
    # After a left shift there is nothing left for a second rounding.
    once = (sums * factor + (np.int64(1) << (30 - left))) >> (31 - left)
    if rounding == Rounding.SINGLE:
        return once
    return np.where(left >= 0, once, divide_by_power(high_multiply(sums, factor), np.maximum(-left, 0)))


def half_to_even(values: Int64Array, places: ArrayLike) -> Int64Array:
    """values / 2^places, rounded to nearest, ties to even; places are 0 or more."""
    places = np.asarray(places, np.int64)
    odd = values >> places & 1
    half = (np.int64(1) << places >> 1) - 1 + odd
    return values + np.where(places > 0, half, 0) >> places


def _to_24_bits(values: Int64Array) -> Int64Array:
    """The nearest numbers of 24 bits, ties to even: what float32 holds."""
    # Where float64 rounds up to a power of two, so does this.
    places = np.maximum(np.frexp(values.astype(np.float64))[1].astype(np.int64) - 24, 0)
    return half_to_even(values, places) << places


def wrap(values: NDArray[np.integer[Any]]) -> Int32Array:
    """The low 32 bits, as signed numbers."""
    return values.astype(np.int64).astype(np.int32)


def high_multiply(a: ArrayLike, b: ArrayLike) -> Int64Array:
    """SRDHM: (a·b + nudge) / 2^31, truncated toward zero; not for both factors −2^31, where it would saturate."""
    product = np.asarray(a, np.int64) * np.asarray(b, np.int64)
    nudged = product + np.where(product >= 0, 1 << 30, 1 - (1 << 30))
    return np.sign(nudged) * (np.abs(nudged) >> 31)


def divide_by_power(x: ArrayLike, exponent: ArrayLike) -> Int64Array:
    """RDBPOT: x / 2^exponent, rounded to nearest, ties away from zero."""
    values, exponent = np.asarray(x, np.int64), np.asarray(exponent, np.int64)
    mask = (np.int64(1) << exponent) - 1
    return (values >> exponent) + ((values & mask) > (mask >> 1) + (values < 0))
