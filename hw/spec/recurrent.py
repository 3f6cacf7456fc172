"""What the unit of recurrent layers makes of sums, and the table of its functions."""

from __future__ import annotations

import math
from dataclasses import dataclass, replace

__all__ = [
    "CELL_POWERS", "CLIP_BITS", "FIRST_BIT", "GATES", "JOINS_BIT", "ADDS_BIT", "POWER_BIT", "SHIFT_BIT", "SIGMOIDS",
    "SLOPE_BITS", "TARGET_BITS", "UNIT_CYCLES", "UNIT_SUMS", "VALUE_BITS", "WORDS", "Recurrent", "Target",
]  # fmt: skip

GATES = ("input", "forget", "cell", "output")
"""The order of an LSTM's gates."""
UNIT_SUMS = len(GATES)
"""Sums of each cell, or of each result whose bytes are joined."""
UNIT_CYCLES = 2 * UNIT_SUMS
"""Cycles in which the unit takes them."""
WORDS = 64, 4096
"""Least and most words that the unit keeps."""
CELL_POWERS = -24, -9
"""The least and the largest power of two that a cell may count in."""
TARGET_BITS, ADDS_BIT, JOINS_BIT, FIRST_BIT = 2, 2, 3, 4
"""Places in the first word of :class:`Recurrent`."""
CLIP_BITS, POWER_BIT, SHIFT_BIT = 15, 16, 24
"""Places in its third word."""
MASK = (1 << 32) - 1


class Target:
    """What becomes of values of 16 bits."""

    WORDS = 0
    """They are words that the unit keeps, at the addresses of the results; of joined sums a quarter of that."""
    WIDE = 1
    """They are results of two bytes, the lower one less 128 first."""
    NARROW = 2
    """They are results of a byte: the zero point is added, and the sum clamped."""
    CELLS = 3
    """Four of them, in the order of :data:`GATES`, are the gates of a cell, whose code is the next of the unit's words
    from 0 on. It is replaced, and the hidden value is the result, as :attr:`NARROW`."""


@dataclass(frozen=True, kw_only=True)
class Recurrent:
    """What becomes of a descriptor's sums in place of results of 8 bits.

    Each sum is requantized as ever (:attr:`~sateen.hw.spec.descriptor.Rounding.DOUBLE`), but to 16 bits. Results follow
    each other from the output's address on, whatever its counters are, but for those of ``Target.WORDS``.
    """

    target: int
    """:class:`Target`."""
    adds: bool = False
    """The unit's next word, from ``first`` on, is added to each value; the sum has 16 bits, or the nearest of them."""
    joins: bool = False
    """Four sums a, b, c, d are one: ``a · 2^24 + b · 2^16 + c · 2^8 + d``, with the bias and scale of d."""
    first: int = 0
    multiplier: int = 0
    """With ``shift``, what scales the product of a cell's hyperbolic tangent and its output gate, of 2^-30."""
    shift: int = 0
    cell_power: int = CELL_POWERS[0]
    """A cell counts in two to this power, :data:`CELL_POWERS`."""
    cell_clip: int = 0
    """The largest magnitude of a cell's code; 0 for any."""

    def written(self, sums: int) -> int:
        """Bytes of results of so many sums."""
        values = sums // UNIT_SUMS if self.joins or self.target == Target.CELLS else sums
        return {Target.WORDS: 0, Target.WIDE: 2 * values}.get(self.target, values)

    def encode(self) -> tuple[int, int, int]:
        """Three words, in place of the steps of the output's counters: of the first, and with ``Target.CELLS`` of both
        that walk over positions. These counters have one value."""
        modes = self.target | self.adds << ADDS_BIT | self.joins << JOINS_BIT | self.first << FIRST_BIT
        power = self.cell_power - CELL_POWERS[0]
        return modes, self.multiplier, self.cell_clip | power << POWER_BIT | (self.shift & 0xFF) << SHIFT_BIT

    @classmethod
    def decode(cls, modes: int, multiplier: int, numbers: int) -> Recurrent:
        """The inverse of :meth:`encode`; what only cells have is left out without them."""
        target = modes & (1 << TARGET_BITS) - 1
        common = cls(
            target=target, adds=bool(modes >> ADDS_BIT & 1), joins=bool(modes >> JOINS_BIT & 1),
            first=(modes & MASK) >> FIRST_BIT,
        )  # fmt: skip
        if target != Target.CELLS:
            return common
        shift = numbers >> SHIFT_BIT & 0xFF
        return replace(
            common, multiplier=multiplier, shift=shift - ((shift & 0x80) << 1),
            cell_power=(numbers >> POWER_BIT & 15) + CELL_POWERS[0], cell_clip=numbers & (1 << CLIP_BITS) - 1,
        )  # fmt: skip


def _sigmoids() -> tuple[int, ...]:
    at = [2**16 / (1 + math.exp(-half / 48)) for half in range(513)]
    values = [at[place] + (at[place + 1] - (at[place] + at[place + 2]) / 2) / 2 for place in range(0, 512, 2)]
    return (*(math.floor(value + 0.5) for value in values[:-1]), 2**16 - 1)


VALUE_BITS, SLOPE_BITS = 16, 10
"""Of the logistic function's table, and of the differences of its neighbours."""
SIGMOIDS = _sigmoids()
"""The logistic function at 0, 1/24, …, 255/24, in units of 2^-16, as tflite-micro has it; each value is moved by half
the error of interpolation behind it, and the last is the limit."""
