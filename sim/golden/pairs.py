"""Golden operators on pairs of values besides sums and products, and normalization of rows, as TensorFlow Lite computes
them. Shapes broadcast."""

from __future__ import annotations

import numpy as np
from numpy.typing import ArrayLike, NDArray

from sateen.hw.spec.descriptor import Rounding
from sateen.sim.golden import fixed
from sateen.sim.golden.scaling import (
    Int8Array,
    Int64Array,
    Quantization,
    divide_by_power,
    high_multiply,
    quantize_multiplier,
    rescale,
)

__all__ = [
    "COMPARISONS", "compare", "divide", "l2_normalize", "prelu", "prelu_scales", "scaled_difference",
    "squared_difference",
]  # fmt: skip

DIFFERENCE_SHIFT, COMPARED_SHIFT = 7, 8
"""Bits by which values are shifted left before they are scaled and subtracted, or compared."""
COMPARISONS = {
    "equal": np.equal,
    "not_equal": np.not_equal,
    "greater": np.greater,
    "greater_equal": np.greater_equal,
    "less": np.less,
    "less_equal": np.less_equal,
}


def _saturated(codes: ArrayLike, low: int = -128, high: int = 127) -> Int8Array:
    return np.clip(codes, low, high).astype(np.int8)


def prelu(
    x: Int8Array,
    slope: Int8Array,
    quantization_x: Quantization,
    quantization_slope: Quantization,
    quantization: Quantization,
    *,
    rounding: int = Rounding.DOUBLE,
    in_single: bool = False,
) -> Int8Array:
    """x where x ≥ 0, else slope · x.

    Double rounding is TensorFlow Lite's, whose ratios of scales are double precision, or single for uint8
    (``in_single``). Otherwise real numbers are multiplied and divided in float32, ties to even.
    """
    (scale_x, zero_x), (scale_slope, zero_slope), (scale, zero) = quantization_x, quantization_slope, quantization
    values, slopes = x.astype(np.int64) - zero_x, slope.astype(np.int64) - zero_slope
    if rounding != Rounding.DOUBLE:
        with np.errstate(over="ignore", invalid="ignore"):
            real = values.astype(np.float32) * np.float32(scale_x)
            real = np.where(values >= 0, real, real * (slopes.astype(np.float32) * np.float32(scale_slope)))
            codes = np.rint(real / np.float32(scale)) + zero
        if np.isnan(codes).any():
            raise ValueError("a result is not a number")
        return _saturated(codes)
    ratio, other = prelu_scales(scale_x, scale_slope, scale, in_single=in_single)
    above, below = (rescale(v, *quantize_multiplier(r)) for v, r in ((values, ratio), (values * slopes, other)))
    return _saturated(np.where(values >= 0, above, below) + zero)


def prelu_scales(x: float, slope: float, output: float, *, in_single: bool) -> tuple[float, float]:
    """The ratios by which values above zero, and products of those below with slopes, are scaled; of scales."""
    if not in_single:
        return x / output, x * slope / output
    with np.errstate(over="ignore", invalid="ignore"):
        product = np.float32(x) * np.float32(slope)
        return float(np.float32(x) / np.float32(output)), float(product / np.float32(output))


def squared_difference(
    a: Int8Array,
    b: Int8Array,
    quantization_a: Quantization,
    quantization_b: Quantization,
    quantization: Quantization,
) -> Int8Array:
    """(a − b)²; ``ValueError`` if the output's scale is too small."""
    wide = np.asarray(a, np.int64), np.asarray(b, np.int64)
    (left, right), ratio = scaled_difference(*wide, quantization_a, quantization_b, quantization)
    return _saturated(rescale((left - right) ** 2, *quantize_multiplier(ratio)) + quantization[1])


def scaled_difference(
    a: Int64Array,
    b: Int64Array,
    quantization_a: Quantization,
    quantization_b: Quantization,
    quantization: Quantization,
) -> tuple[tuple[Int64Array, Int64Array], float]:
    """Both operands of a squared difference in common steps, and the ratio of the steps of their difference's square
    and of the output; ``ValueError`` if that is 1 or more."""
    twice = 2 * max(quantization_a[0], quantization_b[0])
    ratio = twice * twice / ((1 << 2 * DIFFERENCE_SHIFT) * quantization[0])
    if ratio >= 1:
        raise ValueError(f"steps of {quantization[0]!r} are too small for differences in steps of {twice / 2!r}")
    left, right = (
        rescale((x - zero) << DIFFERENCE_SHIFT, *quantize_multiplier(scale / twice))
        for x, (scale, zero) in ((a, quantization_a), (b, quantization_b))
    )
    return (left, right), ratio


def divide(
    a: Int8Array,
    b: Int8Array,
    quantization_a: Quantization,
    quantization_b: Quantization,
    quantization: Quantization,
    *,
    low: int = -128,
    high: int = 127,
) -> Int8Array:
    """a / b by a reciprocal in fixed-point numbers.

    TensorFlow Lite shifts small quotients by more than 31 bits, with undefined results; here they are what such shifts
    mean. A quotient by zero saturates.
    """
    (scale_a, zero_a), (scale_b, zero_b), (scale, zero) = quantization_a, quantization_b, quantization
    multiplier, shift = quantize_multiplier(scale_a / (scale_b * scale))
    x, y = np.broadcast_arrays(a.astype(np.int64) - zero_a, b.astype(np.int64) - zero_b)
    dividend, divisor = np.where(y < 0, -x, x), np.abs(y)
    positive = np.maximum(divisor, 1)
    zeros = fixed.leading_zeros(positive)
    reciprocal = fixed.one_over_one_plus((positive << zeros) - (1 << 31))
    headroom = fixed.leading_zeros(np.where(dividend < 0, ~dividend, dividend)) - 1
    quotient = high_multiply(dividend << headroom, reciprocal)
    right = (31 - zeros) + headroom - shift
    scaled = divide_by_power(high_multiply(quotient, multiplier) << np.maximum(-right, 0), np.maximum(right, 0))
    return _saturated(np.where(divisor == 0, np.sign(dividend) * 256, scaled) + zero, low, high)


def compare(
    a: Int8Array, b: Int8Array, quantization_a: Quantization, quantization_b: Quantization, function: str
) -> NDArray[np.bool_]:
    """One of :data:`COMPARISONS` of real numbers, in steps of 1 / 256. ``ValueError`` if a scale is 1 or more."""
    scaled: list[Int64Array] = []
    for x, (scale, zero) in ((a, quantization_a), (b, quantization_b)):
        multiplier, shift = quantize_multiplier(scale)
        if shift > 0:
            raise ValueError(f"a scale of {scale!r} is not below 1")
        scaled.append(rescale((x.astype(np.int64) - zero) << COMPARED_SHIFT, multiplier, shift))
    return COMPARISONS[function](*scaled)


def l2_normalize(x: Int8Array, zero_point: int, *, unsigned: bool = False) -> Int8Array:
    """x / √Σ x² over the last axis; the output's quantization is (1/128, 0). ``unsigned`` is the order of roundings of
    TensorFlow Lite's uint8."""
    values = x.astype(np.int64) - zero_point
    sums = (values**2).sum(axis=-1)
    unique, index = np.unique(sums, return_inverse=True)
    roots = np.array([fixed.inverse_square_root(int(value)) for value in unique], np.int64)
    multiplier, shift = (column[index].reshape(sums.shape)[..., None] for column in roots.T)
    if unsigned:
        return _saturated(divide_by_power(high_multiply(values << 7, multiplier), -shift))
    left = shift + 7
    shifted = high_multiply(values << np.maximum(left, 0), multiplier)
    return _saturated(divide_by_power(shifted, np.maximum(-left, 0)))
