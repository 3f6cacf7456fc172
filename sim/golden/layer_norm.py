"""Layer normalization of codes, and that by the root of the mean square, as onnxruntime computes them in float32 on
processors with AVX2 and fused multiplication and addition (``mlas/lib/layernorm_kernel_avx2.cpp``, from 1.32 on)."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from sateen.hw.spec.descriptor import Rounding
from sateen.sim.golden.elementwise import float32_sum, real_codes
from sateen.sim.golden.scaling import Int8Array, Quantization, quantize

__all__ = ["SHORTEST_ROW", "code_limits", "from_ordered", "layer_norm", "ordered", "real_layer_norm"]

Floats = NDArray[np.float32]

SUMS = 8
"""Sums of squares side by side, each of every eighth value."""
TAIL = 4
"""Of the values behind the last eight, so many at a time have their squares rounded before they are added."""
SHORTEST_ROW = {True: 8, False: 16}
"""Least values of a row for this kernel, with the mean subtracted and without; shorter rows are computed otherwise."""


def layer_norm(
    x: Int8Array, quantization: Quantization, scale: Floats, bias: Floats | None, output: Quantization, *,
    epsilon: float, centred: bool,
) -> Int8Array:  # fmt: skip
    """Codes [..., n], normalized over the last axis, as codes; ``scale`` and ``bias`` are [n]."""
    real = real_layer_norm(real_codes(x, quantization), scale, bias, epsilon=epsilon, centred=centred)
    return quantize(real, output, rounding=Rounding.FLOAT32).astype(np.int8)


def real_layer_norm(x: Floats, scale: Floats, bias: Floats | None, *, epsilon: float, centred: bool) -> Floats:
    """Values [..., n] over the root of their mean square and ``epsilon``, less their mean before if ``centred``; then
    scaled, and a bias added."""
    count = np.float32(x.shape[-1])
    if centred:
        # Sums of codes are exact in float64, in any order.
        x = x - (x.sum(axis=-1, keepdims=True, dtype=np.float64) / x.shape[-1]).astype(np.float32)
    deviation = np.sqrt(_sum_of_squares(x)[..., None] / count + np.float32(epsilon))
    normal = x * (np.float32(1) / deviation)
    if bias is None:
        return normal * scale
    return np.asarray(float32_sum(normal.astype(np.float64) * scale, np.broadcast_to(bias, x.shape)))


def _sum_of_squares(x: Floats) -> Floats:
    """Sums over the last axis."""
    whole = x.shape[-1] // SUMS * SUMS
    sums = np.zeros((*x.shape[:-1], SUMS), np.float32)
    for start in range(0, whole, SUMS):
        sums = _fused_square(x[..., start : start + SUMS], sums)
    while sums.shape[-1] > 1:
        half = sums.shape[-1] // 2
        sums = sums[..., :half] + sums[..., half:]
    total = sums[..., 0]
    rounded = whole + (x.shape[-1] - whole) // TAIL * TAIL
    for place in range(whole, x.shape[-1]):
        value = x[..., place]
        total = total + value * value if place < rounded else _fused_square(value, total)
    return total


def _fused_square(value: Floats, added: Floats) -> Floats:
    return np.asarray(float32_sum(value.astype(np.float64) ** 2, added))


def code_limits(output: Quantization) -> NDArray[np.int64]:
    """The least float32 that becomes each code from −127 to 127 or a larger one, [255], as :func:`ordered` integers."""
    codes = np.arange(-127, 128)
    low, high = (np.full(255, ordered(np.float32(sign * np.finfo(np.float32).max))) for sign in (-1, 1))
    while (low < high).any():
        middle = (low + high) >> 1
        reached = quantize(from_ordered(middle), output, rounding=Rounding.FLOAT32) >= codes
        low, high = np.where(reached, low, middle + 1), np.where(reached, middle, high)
    return low


def ordered(x: Floats | np.float32) -> NDArray[np.int64]:
    """Integers of 32 bits, signed, in the order of the numbers."""
    bits = np.asarray(x, np.float32).view(np.int32).astype(np.int64)
    return np.where(bits < 0, bits ^ 0x7FFFFFFF, bits)


def from_ordered(order: NDArray[np.int64]) -> Floats:
    """The inverse of :func:`ordered`."""
    return np.where(order < 0, order ^ 0x7FFFFFFF, order).astype(np.int32).view(np.float32)
