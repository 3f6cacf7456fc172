"""Normalization by the root of the mean of squares, on the way out of the product behind it."""

from __future__ import annotations

import numpy as np
from numpy.typing import ArrayLike, NDArray

from sateen.hw.spec.norms import INDEX_BITS, ROOT_BITS, ROOTS, SUM_BITS

__all__ = ["inverse_root", "sum_of_squares"]

Ints = NDArray[np.int64]


def sum_of_squares(codes: ArrayLike) -> Ints:
    """Of int8 codes, over the last axis, which stays with one element; 0 counts as 1."""
    wide = np.asarray(codes, np.int64)
    return np.maximum((wide * wide).sum(axis=-1, keepdims=True), 1)


def inverse_root(total: ArrayLike) -> tuple[Ints, Ints]:
    """1 / √total as (multiplier, shift): multiplier · 2^(shift − 31), with a relative error of at most 1 / 256.

    The sum, 1 to 2^32 − 1, is shifted to the left by pairs of places until one of its two highest bits is set; a table
    has the root for its highest bits.
    """
    sums = np.asarray(total, np.int64)
    places = np.zeros_like(sums)
    for step in (16, 8, 4, 2):
        short = sums >> (SUM_BITS - step) == 0
        sums, places = np.where(short, sums << step, sums), places + np.where(short, step, 0)
    index = (sums >> (SUM_BITS - INDEX_BITS)) - (1 << INDEX_BITS - 2)
    return np.asarray(ROOTS, np.int64)[index] << (31 - ROOT_BITS), places // 2 - (SUM_BITS // 2 - 1)
