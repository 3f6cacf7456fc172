"""Matrix products of two tensors, neither of which is known before."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from sateen.sim.golden.scaling import Int32Array, wrap

__all__ = ["matrix_product", "real_matrix_product"]

Integers = NDArray[np.integer[Any]]
Floats = NDArray[np.float32]


def matrix_product(
    a: Integers, b: Integers, bias: ArrayLike = 0, *, zero_points: tuple[int, int] = (0, 0)
) -> Int32Array:
    """The sums ``bias[o] + Σ (a[…, m, i] − zero point) · (b[…, i, o] − zero point)``; [N, …, M, I], [N, …, I, O] → [N,
    …, M, O]. The axes before the last two broadcast."""
    # Products of two numbers of 9 bits: float64 holds the sums exactly.
    left, right = (value.astype(np.float64) - point for value, point in zip((a, b), zero_points, strict=True))
    return wrap((left @ right).astype(np.int64) + np.asarray(bias, np.int64))


def real_matrix_product(a: Floats, b: Floats, bias: Floats | float = 0.0) -> Floats:
    """The same of real numbers; sums are rounded once."""
    with np.errstate(over="ignore", invalid="ignore"):
        return np.asarray(a.astype(np.float64) @ b.astype(np.float64) + bias).astype(np.float32)
