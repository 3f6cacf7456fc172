"""Residual tensors that are added to a convolution's results on their way to the scratchpad."""

from __future__ import annotations

import struct
from collections.abc import Sequence
from dataclasses import dataclass

from sateen.hw.spec.parameters import TABLE_ENTRIES

__all__ = ["LANE_WORDS", "LEAST_COLS", "RESIDUAL_UNIT", "Sum", "sum_words"]

RESIDUAL_UNIT = 16
"""Bytes in which :attr:`sateen.hw.spec.descriptor.OutputStream.residual` counts: what is added begins at a multiple of
them behind the results, as tensors do on a device that adds."""
LEAST_COLS = 8
"""Columns that a weight word needs to hold an entry of each table."""
LANE_WORDS = 2
"""Words behind those of the tables."""
ENTRIES = struct.Struct("<ii")
"""A word of the tables: an entry of each, int32."""
LANE = struct.Struct("<iibbbbB")
"""bias, multiplier; shift, zero point, low, high, :class:`~sateen.hw.spec.descriptor.Rounding`: 8 bytes in the first
word, 5 in the second. The gateware takes them as one channel's parameters and the settings of a layer."""


def sum_words(weight_rows: int) -> int:
    """Weight words of a :class:`Sum`, in a weight store that is read ``weight_rows`` words at a time."""
    return -(-(TABLE_ENTRIES + LANE_WORDS) // weight_rows) * weight_rows


@dataclass(frozen=True, kw_only=True, eq=False)
class Sum:
    """How a result q of a convolution, after its own clamp, and a residual r become a result:
    ``requantize(tables[0][q] + tables[1][r] + bias)``, as a lookup of two tensors with ``Combine.ADD``."""

    tables: Sequence[Sequence[int]]
    """[2, TABLE_ENTRIES], int32; by the unsigned byte."""
    multiplier: int
    shift: int
    zero_point: int
    low: int
    high: int
    rounding: int
    """:class:`~sateen.hw.spec.descriptor.Rounding`."""
    bias: int = 0
    """int32."""

    def words(self, cols: int, weight_rows: int) -> bytes:
        """The weight store's words, :func:`sum_words` of ``cols`` bytes each: :data:`ENTRIES`, then :data:`LANE`, then
        zeros."""
        bias = (self.bias + (1 << 31)) % (1 << 32) - (1 << 31)
        lane = LANE.pack(bias, self.multiplier, self.shift, self.zero_point, self.low, self.high, self.rounding)
        entries = (ENTRIES.pack(int(a), int(b)) for a, b in zip(*self.tables, strict=True))
        store = b"".join(word.ljust(cols, b"\0") for word in (*entries, lane[:8], lane[8:]))
        return store.ljust(sum_words(weight_rows) * cols, b"\0")

    @classmethod
    def read(cls, words: bytes, cols: int) -> Sum:
        """The inverse of :meth:`words`; others may follow. Raises :class:`ValueError` if there are too few."""
        if len(words) < (TABLE_ENTRIES + LANE_WORDS) * cols:
            raise ValueError(f"a sum has {TABLE_ENTRIES + LANE_WORDS} words of {cols} bytes, not {len(words)} bytes")
        entries = [ENTRIES.unpack_from(words, place * cols) for place in range(TABLE_ENTRIES)]
        begin = TABLE_ENTRIES * cols
        lane = words[begin : begin + 8] + words[begin + cols :][: LANE.size - 8]
        bias, multiplier, shift, zero_point, low, high, rounding = LANE.unpack(lane)
        return cls(
            tables=tuple(zip(*entries, strict=True)), multiplier=multiplier, shift=shift, zero_point=zero_point,
            low=low, high=high, rounding=rounding, bias=bias,
        )  # fmt: skip
