"""Softmax and its logarithm, bit for bit as the reference interpreters compute them."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from sateen.sim.golden import fixed
from sateen.sim.golden.elementwise import input_radius
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
    "exponentials", "log_softmax", "real_entries", "real_softmax", "real_steps", "real_sums", "row_scales", "softmax",
]  # fmt: skip

DIFFERENCE_BITS, SUM_BITS = 5, 12
"""Integer bits of a difference from the row's maximum, and of the sum of exponentials."""


def _exponentials(
    x: NDArray[np.integer[Any]], scale: float
) -> tuple[Int64Array, Int64Array, NDArray[np.bool_], int, tuple[int, int]]:
    """The distances of values to their row's maximum: scaled; their exponentials; whether each counts, and the least
    that does; the multiplier and shift that scale them."""
    multiplier, shift = 2**31 - 1, 31
    if scale < 2.0**DIFFERENCE_BITS:
        # Half of it, since a shift of 31 is beyond that of layers.
        multiplier, shift = quantize_multiplier(scale * 2.0 ** (30 - DIFFERENCE_BITS))
        shift += 1
    least = -input_radius(DIFFERENCE_BITS, shift)
    difference = x.astype(np.int64) - x.max(axis=-1, keepdims=True).astype(np.int64)
    counts = difference >= least
    # Distances that do not count would overflow 32 bits.
    inner = np.where(counts, difference, 0)
    scaled = high_multiply(inner << shift, multiplier)
    return (
        scaled,
        np.where(counts, fixed.exp_on_negative(scaled, DIFFERENCE_BITS), 0),
        counts,
        least,
        (multiplier, shift),
    )


def exponentials(scale: float) -> Int64Array:
    """exp(−``scale`` · d) for each distance d of 0 to 255, without integer bits; 0 where it does not count."""
    return _exponentials(-np.arange(256)[None], scale)[1][0]


def row_scales(exponential: Int64Array) -> tuple[Int64Array, Int64Array]:
    """By what the exponentials of a row, along the last axis, are multiplied to be shares in 256ths: multiplier and
    shift."""
    total = divide_by_power(exponential, SUM_BITS).sum(axis=-1, keepdims=True)
    zeros = fixed.leading_zeros(total)
    return fixed.one_over_one_plus((total << zeros) - (1 << 31)), zeros - (SUM_BITS + 31 - 8)


def softmax(x: Int8Array, scale: float) -> Int8Array:
    """exp(x − max) / Σ exp(x − max) over the last axis; ``scale`` is the input's times beta, the output's quantization
    is (1/256, −128)."""
    _, exponential, counts, _, _ = _exponentials(x, scale)
    reciprocal, shift = row_scales(exponential)
    shares = divide_by_power(high_multiply(exponential, reciprocal), -shift) - 128
    return np.where(counts, np.clip(shares, -128, 127), -128).astype(np.int8)


def real_softmax(x: Int8Array, scale: float, output: Quantization) -> Int8Array:
    """softmax over the last axis as onnxruntime computes it: exponentials and sums are float32, quotients are rounded
    once, to even."""
    values = x.astype(np.int64)
    exponential = _real_exponentials(scale, x.shape[-1])[values.max(axis=-1, keepdims=True) - values]
    shares = np.rint(exponential.astype(np.float64) * real_steps(output[0]) / real_sums(exponential)) + output[1]
    return np.clip(shares, -128, 127).astype(np.int8)


def real_sums(exponential: NDArray[np.float32]) -> NDArray[np.float32]:
    """The sums of rows, along the last axis."""
    # Term by term: numpy's own sums are pairwise.
    return np.cumsum(exponential, axis=-1, dtype=np.float32)[..., -1:]


def real_steps(scale: float) -> int:
    """The steps of a whole share, of results of a scale."""
    return int(np.floor(np.float32(1) / np.float32(scale)))


def _real_exponentials(scale: float, length: int) -> NDArray[np.float32]:
    """What float32 has of exp(−``scale`` · d) for each distance d of 0 to 255, all times the same factor: the largest
    is e^−5 of the largest that a row of so many values could sum up."""
    largest = max(0.0, float(np.log(np.finfo(np.float32).max / np.float32(length))) - 5)
    unit = float(np.float32(scale))
    exponentials: NDArray[np.float32] = np.exp((-np.arange(256) + largest / unit) * unit).astype(np.float32)
    return exponentials


def real_entries(scale: float, length: int, output: Quantization) -> Int64Array:
    """For each distance to the maximum of a row of so many values [2, 256]: the bits of its exponential, and the 24
    bits of that times the steps of a whole share, as int32."""
    bits = _real_exponentials(scale, length).view(np.int32).astype(np.int64)
    hidden = (bits >= 1 << 23).astype(np.int64) << 23
    products = (bits & (1 << 23) - 1 | hidden) * real_steps(output[0])
    return np.stack([bits, products.astype(np.int32).astype(np.int64)])


def log_softmax(x: Int8Array, scale: float) -> Int8Array:
    """log softmax over the last axis; ``scale`` is the input's, the output's quantization is (1/16, 127)."""
    scaled, exponential, _, least, (multiplier, shift) = _exponentials(x, scale)
    total = divide_by_power(exponential, SUM_BITS).sum(axis=-1, keepdims=True)
    log = fixed.log_of_one_or_more(total, SUM_BITS, DIFFERENCE_BITS)
    back, right = quantize_multiplier(2.0 ** (31 - shift) / multiplier)
    smallest = np.maximum(least - 1, rescale(log - (1 << 31), back, right))
    difference = x.astype(np.int64) - x.max(axis=-1, keepdims=True).astype(np.int64)
    logs = divide_by_power(scaled - log, 31 - DIFFERENCE_BITS - 4) + 127
    return np.where(difference > smallest, np.clip(logs, -128, 127), -128).astype(np.int8)
