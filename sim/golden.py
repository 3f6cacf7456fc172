"""The golden model: what the accelerator computes, in NumPy integers, written from the definitions.

Activations are int8 arrays [N, H, W, C] or [N, C], weights int8, sums int32. A sum that leaves 32 bits wraps, as the
hardware's adders do; what comes before the wrap is computed in 64 bits, where no layer that fits in memory overflows.
"""

from __future__ import annotations

import math
from typing import Any, TypeVar

import numpy as np
from numpy.lib.stride_tricks import sliding_window_view
from numpy.typing import ArrayLike, NDArray

from weft.hw.spec.descriptor import Rounding

__all__ = ["conv2d", "fully_connected", "max_pool2d", "quantize_multiplier", "requantize", "windows"]

Int8Array = NDArray[np.int8]
Integers = NDArray[np.integer[Any]]
Int32Array = NDArray[np.int32]
Int64Array = NDArray[np.int64]
Padding = tuple[tuple[int, int], tuple[int, int]]
Value = TypeVar("Value", bound=np.generic)


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
        rounding division by a power of two (ties away from zero). A positive shift is applied first, and wraps to 32
        bits.
        :attr:`Rounding.SINGLE`: one rounding of the 64-bit product, ties toward +∞; nothing wraps.
    zero_point, low, high
        int8 values; ``low ≤ high``. The zero point is added without overflow.
    """
    sums = _wrap(np.asarray(acc)).astype(np.int64)
    factor, left = np.asarray(multiplier, np.int64), np.asarray(shift, np.int64)
    if rounding == Rounding.DOUBLE:
        scaled = _divide_by_power(_high_multiply(_wrap(sums << np.maximum(left, 0)), factor), np.maximum(-left, 0))
    elif rounding == Rounding.SINGLE:
        scaled = (sums * factor + (np.int64(1) << (30 - left))) >> (31 - left)
    else:
        raise ValueError(f"rounding must be Rounding.DOUBLE or Rounding.SINGLE, not {rounding!r}")
    return np.clip(scaled + zero_point, low, high).astype(np.int8)


def conv2d(
    x: Integers,
    weights: Integers,
    bias: ArrayLike,
    *,
    stride: tuple[int, int] = (1, 1),
    padding: Padding = ((0, 0), (0, 0)),
    dilation: tuple[int, int] = (1, 1),
    pad_value: int,
    zero_point: int = 0,
    groups: int = 1,
) -> Int32Array:
    """The sums of a convolution: ``bias[o] + Σ w[o, i, j, c] · (a[n, y·sy + i·dy, x·sx + j·dx, c] − zero_point)``.

    Parameters
    ----------
    x
        Activations [N, H, W, C].
    weights
        [O, kernel height, kernel width, C / groups].
    bias
        [O].
    padding
        Lines and columns of ``pad_value`` around ``x``: ((top, bottom), (left, right)).
    pad_value
        What stands in the padding. With ``pad_value == zero_point`` it adds nothing; with a ``zero_point`` of 0 the
        result is the raw sums that the hardware has.
    groups
        Channels are split into so many consecutive parts, each convolved apart; C for a depthwise convolution.

    Returns
    -------
    Sums [N, OH, OW, O], OH being ``(H + top + bottom − dy·(kernel height − 1) − 1) // sy + 1``.
    """
    outputs, height, width, depth = weights.shape
    patches = windows(x, (height, width), stride=stride, padding=padding, dilation=dilation, pad_value=pad_value)
    images, rows, columns, channels = patches.shape[:4]
    if channels != groups * depth or outputs % groups:
        raise ValueError(f"weights {weights.shape} in {groups} groups do not fit {channels} channels of x")
    positions = images * rows * columns
    pixels = patches.reshape(positions, groups, depth, height * width).transpose(1, 0, 3, 2)
    matrix = pixels.reshape(groups, positions, height * width * depth).astype(np.int64) - zero_point
    kernels = weights.reshape(groups, outputs // groups, -1).astype(np.int64).transpose(0, 2, 1)
    sums = (matrix @ kernels).transpose(1, 0, 2).reshape(images, rows, columns, outputs)
    return _wrap(sums + np.asarray(bias, np.int64))


def fully_connected(x: Integers, weights: Integers, bias: ArrayLike, *, zero_point: int = 0) -> Int32Array:
    """The sums of a matrix product: ``bias[o] + Σ w[o, i] · (a[n, i] − zero_point)``; [N, I], [O, I] → [N, O]."""
    sums = (x.astype(np.int64) - zero_point) @ weights.astype(np.int64).T
    return _wrap(sums + np.asarray(bias, np.int64))


def max_pool2d(
    x: Int8Array,
    *,
    size: tuple[int, int],
    stride: tuple[int, int],
    padding: Padding = ((0, 0), (0, 0)),
    low: int = -128,
    high: int = 127,
) -> Int8Array:
    """The largest of each window, clamped to ``low`` to ``high``; padding never wins. [N, H, W, C] → [N, OH, OW, C]."""
    values = windows(x, size, stride=stride, padding=padding, dilation=(1, 1), pad_value=-128)
    return np.clip(values.max(axis=(4, 5)), low, high).astype(np.int8)


def windows(
    x: NDArray[Value],
    size: tuple[int, int],
    *,
    stride: tuple[int, int],
    padding: Padding,
    dilation: tuple[int, int],
    pad_value: float,
) -> NDArray[Value]:
    """The window under each output position: [N, H, W, C] → [N, OH, OW, C, window height, window width]. Any dtype."""
    padded = np.pad(x, ((0, 0), *padding, (0, 0)), constant_values=pad_value)
    (height, width), (sy, sx), (dy, dx) = size, stride, dilation
    span = (dy * (height - 1) + 1, dx * (width - 1) + 1)
    return sliding_window_view(padded, span, axis=(1, 2))[:, ::sy, ::sx, :, ::dy, ::dx]


def _wrap(values: NDArray[np.integer]) -> Int32Array:
    """The low 32 bits, as signed numbers."""
    return values.astype(np.int64).astype(np.int32)


def _high_multiply(a: Int32Array, b: Int64Array) -> Int64Array:
    """SRDHM for ``b ≥ 0``, where it cannot saturate: (a·b + nudge) / 2^31, truncated toward zero."""
    product = a.astype(np.int64) * b
    nudged = product + np.where(product >= 0, 1 << 30, 1 - (1 << 30))
    return np.sign(nudged) * (np.abs(nudged) >> 31)


def _divide_by_power(x: Int64Array, exponent: Int64Array) -> Int64Array:
    """RDBPOT: x / 2^exponent, rounded to nearest, ties away from zero."""
    mask = (np.int64(1) << exponent) - 1
    return (x >> exponent) + ((x & mask) > (mask >> 1) + (x < 0))
