"""Where float32's errors decide a result: which sums of products come so near to a tie of rounding.

onnxruntime computes some layers with real numbers: it multiplies and adds what codes stand for, each number rounded to
float32, in an order that nobody states. Here sums are of integers, and scaled once. Both give the same code unless a
sum lies nearer to a tie than the errors of float32; and where every sum is a float32, there are none.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from sateen.graph import Array, Tensor

__all__ = ["Sums", "largest", "sums_of"]

UNIT = 2.0**-24
"""The largest relative error of a number that is rounded to float32."""
BITS = 2.0**24
"""Whole numbers up to this one are float32's."""
SLACK = 1.01
"""For products of errors, which the bound leaves out."""
NEXT = 6
"""Whole numbers up to :data:`BITS` that lie so near to one are as near to a tie as its rounding."""


@dataclass(frozen=True, kw_only=True)
class Sums:
    """Sums of products of codes that each channel of a layer may have."""

    scales: tuple[Array | np.float32, Array | np.float32]
    """Those of the activations and of the weights, float32; one each, or one for each channel."""
    reach: NDArray[np.float64]
    """[C]: the sum of the magnitudes of all products, and of the bias."""
    terms: int
    """Products of a sum."""
    error: NDArray[np.float64]
    """[C]: how far the bias here is from the file's, as a real number."""

    def differ(self, scale: float, codes: range) -> bool:
        """Whether some sum may be quantized to another code.

        Parameters
        ----------
        scale
            The result's.
        codes
            The results that are not cut off, without their zero point.
        """
        step, exact = np.float64(np.float32(scale)), self.is_exact()
        given, weights = (np.broadcast_to(np.asarray(each, np.float64), self.reach.shape) for each in self.scales)
        ratios = (given * weights / step)[:, None]
        ties = np.arange(codes.start, codes.stop - 1) + 0.5
        if exact and _odd_parts(np.float32(scale)) == 1:
            return False
        # Numbers, products, their sums with a bias; there the last quotient, here two scales' quotient, and two more.
        near = np.broadcast_to(6 * UNIT * np.abs(ties), (len(self.reach), len(ties)))
        if not exact:
            errors = (self.terms + 6) * UNIT * SLACK * self.reach[:, None] * ratios
            near = near + errors + self.error[:, None] / step
        with np.errstate(divide="ignore", invalid="ignore", over="ignore"):
            lower = np.floor(ties / ratios)
            reached = np.abs(ties) <= self.reach[:, None] * ratios + near
            if not exact and bool((reached & (near >= ratios)).any()):
                return True
            for sums in (lower + place for place in (range(-NEXT, NEXT + 2) if exact else (0, 1))):
                found = reached & (np.abs(sums * ratios - ties) <= near) & (np.abs(sums) <= self.reach[:, None])
                if (found & self._are_other(sums, step) if exact else found).any():
                    return True
        return False

    def is_exact(self) -> bool:
        """Whether all numbers, products and sums are float32's, in any order: scales have few bits."""
        given, weights = (_odd_parts(each) for each in self.scales)
        few = (self.reach * given * weights <= BITS).all() and (256 * np.maximum(given, weights) <= BITS).all()
        return bool(few) and not self.error.any()

    def _are_other(self, sums: Array, step: np.float64) -> Array:
        """Whether exact sums [C, N] are quantized to other codes than by one scale for both."""
        given, weights = (np.asarray(each, np.float32).reshape(-1, 1) for each in self.scales)
        unit, numbers = given * weights, sums.astype(np.float32)
        theirs, ours = numbers * unit / np.float32(step), numbers * (unit / np.float32(step))
        return np.asarray(np.rint(theirs) != np.rint(ours))


def sums_of(x: Tensor, weights: Array, scales: Array, codes: Array, bias: Array | None) -> Sums:
    """The sums of a layer with weights [C, …], and a bias [C]: its ``codes``, and the file's real numbers, if it has
    one."""
    magnitudes = np.abs(weights.astype(np.int64)).reshape(len(weights), -1).sum(axis=1)
    unit = np.float64(np.float32(x.scale)) * scales.astype(np.float64)
    reach = magnitudes.astype(np.float64) * largest(x) + np.abs(codes.astype(np.float64))
    return Sums(
        scales=(np.float32(x.scale), scales), reach=reach, terms=weights[0].size,
        error=np.zeros(len(codes)) if bias is None else np.abs(codes * unit - bias.reshape(-1).astype(np.float64)),
    )  # fmt: skip


def largest(x: Tensor) -> int:
    """The largest magnitude of a code without the zero point."""
    return max(127 - x.zero_point, x.zero_point + 128)


def _odd_parts(scales: Array | np.float32) -> Array:
    """Whole numbers that scales are, times powers of two."""
    parts = np.ldexp(np.frexp(np.asarray(scales, np.float64))[0], 24).astype(np.int64)
    return parts // np.maximum(parts & -parts, 1)
