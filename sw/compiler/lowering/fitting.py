"""Tables and scales for results that are defined in float32: solved for, since rounding decides next to ties."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from sateen.sim import golden

__all__ = ["LARGEST", "LOWEST", "Lane", "bias_of", "fitted"]

LOWEST, LARGEST = -(2**31), 2**31 - 1
"""Limits of a sum, beyond which it would wrap."""
ROUNDS = 100
"""Passes over all constraints; tables that exist were found in 12 or fewer."""

Integers = NDArray[np.int64]


@dataclass(frozen=True, kw_only=True)
class Lane:
    """How sums are requantized."""

    multiplier: int
    shift: int
    rounding: int
    zero_point: int
    low: int
    high: int

    def results(self, sums: Integers) -> NDArray[np.int8]:
        """The results of sums; see :func:`sateen.sim.golden.requantize`."""
        return golden.requantize(
            sums, self.multiplier, self.shift, rounding=self.rounding, zero_point=self.zero_point, low=self.low,
            high=self.high,
        )  # fmt: skip

    def ranges(self, results: NDArray[np.int8]) -> tuple[Integers, Integers]:
        """The least and the largest sum that give each of the results, which lie within ``low`` to ``high``; the least
        is above the largest if none does."""
        codes = np.arange(self.low + 1, self.high + 1)
        # Results grow with sums: the least sum that gives a code or more lies above `below`, and not above `first`.
        below, first = np.full(codes.size, LOWEST - 1, np.int64), np.full(codes.size, LARGEST + 1, np.int64)
        for _ in range(33):
            middle = (below + first) // 2
            enough = (middle > below) & (self.results(np.maximum(middle, LOWEST)) >= codes)
            below, first = np.where(enough, below, middle), np.where(enough, middle, first)
        place = results.astype(np.int64) - self.low
        return np.concatenate([[LOWEST], first])[place], np.concatenate([first - 1, [LARGEST]])[place]


def fitted(ranges: tuple[Integers, Integers], left: Integers, right: Integers) -> tuple[Integers, Integers] | None:
    """Tables near ``left`` and ``right`` whose sums ``left[a] + right[b]`` lie within ranges [a, b]; or ``None``.

    Each range is two constraints on the difference of ``left[a]`` and ``−right[b]``. Such constraints have a solution
    if and only if shortest paths exist, which Bellman's and Ford's algorithm finds: values only fall, until none has
    to.
    """
    least, most = ranges
    if (least > most).any():
        return None
    above, below = left, -right
    for _ in range(ROUNDS):
        lower = np.minimum(above, (below[None, :] + most).min(axis=1))
        beneath = np.minimum(below, (lower[:, None] - least).min(axis=0))
        if np.array_equal(lower, above) and np.array_equal(beneath, below):
            return above, -below
        above, below = lower, beneath
    return None


def bias_of(ranges: tuple[Integers, Integers], sums: Integers) -> int | None:
    """What may be added to every sum so that all lie within their ranges: as little as possible; or ``None``."""
    least, most = int((ranges[0] - sums).max()), int((ranges[1] - sums).min())
    return min(max(0, least), most) if least <= most else None
