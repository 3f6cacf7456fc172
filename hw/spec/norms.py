"""The inverse root by which a product of a normalized tensor is scaled: one table for gateware and golden model."""

from __future__ import annotations

from math import isqrt

__all__ = ["INDEX_BITS", "ROOTS", "ROOT_BITS", "SUM_BITS"]

SUM_BITS = 32
"""Of a sum of squares, which is shifted to the left by pairs of places until one of its two highest bits is set."""
INDEX_BITS = 8
"""Highest bits of the shifted sum that choose an entry; those from a quarter of them on occur."""
ROOT_BITS = 16
"""Of an entry, the highest of which is set."""


def _root(index: int) -> int:
    """2^15 / √x, rounded, for the middle x of an entry's sums, which are taken as fractions below 1."""
    square = (4 << 2 * (ROOT_BITS - 1) + INDEX_BITS + 1) // (2 * index + 1)
    return (isqrt(square) + 1) // 2


ROOTS = tuple(_root(index) for index in range(1 << INDEX_BITS - 2, 1 << INDEX_BITS))
"""Entries for the indices from 2^(INDEX_BITS − 2) on."""
