"""Residual tensors that are added to a convolution's results on their way to the scratchpad."""

from __future__ import annotations

import struct
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from sateen.hw.spec.parameters import TABLE_ENTRIES

__all__ = ["LANE_WORDS", "LEAST_COLS", "RESIDUAL_UNIT", "Sum", "sum_words"]

RESIDUAL_UNIT = 16
"""Bytes in which :attr:`sateen.hw.spec.descriptor.OutputStream.residual` counts: what is added begins at a multiple of
them behind the results, as tensors do on a device that adds."""
LEAST_COLS = 8
"""Columns that a weight word needs to hold an entry of each table."""
LANE_WORDS = 2
"""Words behind those of the tables."""
LANE = struct.Struct("<iibbbbB")
"""bias, multiplier; shift, zero point, low, high, :class:`~sateen.hw.spec.descriptor.Rounding`: 8 bytes in the first
word, 5 in the second."""


def sum_words(weight_rows: int) -> int:
    """Weight words of a :class:`Sum`, in a weight store that is read ``weight_rows`` words at a time."""
    return -(-(TABLE_ENTRIES + LANE_WORDS) // weight_rows) * weight_rows


@dataclass(frozen=True, kw_only=True, eq=False)
class Sum:
    """How a result q of a convolution, after its own clamp, and a residual r become a result:
    ``requantize(tables[0][q] + tables[1][r] + bias)``, as a lookup of two tensors with ``Combine.ADD``."""

    tables: NDArray[np.int64]
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

    def words(self, cols: int, weight_rows: int) -> NDArray[np.int8]:
        """The weight store's words, [:func:`sum_words`, cols]: an entry of each table in a word, four bytes each, the
        lowest first; then :data:`LANE`; then zeros."""
        store = np.zeros((sum_words(weight_rows), cols), np.int8)
        store[:TABLE_ENTRIES, :8] = np.ascontiguousarray(self.tables.T.astype("<i4")).view(np.int8)
        bias = (self.bias + (1 << 31)) % (1 << 32) - (1 << 31)
        lane = LANE.pack(
            bias, self.multiplier, self.shift, self.zero_point, self.low, self.high, self.rounding
        )  # fmt: skip
        store[TABLE_ENTRIES, :8] = np.frombuffer(lane[:8], np.int8)
        store[TABLE_ENTRIES + 1, : len(lane) - 8] = np.frombuffer(lane[8:], np.int8)
        return store

    @classmethod
    def read(cls, words: NDArray[np.int8]) -> Sum:
        """The inverse of :meth:`words`."""
        tables = np.ascontiguousarray(words[:TABLE_ENTRIES, :8]).view("<i4").T.astype(np.int64)
        lane = words[TABLE_ENTRIES, :8].tobytes() + words[TABLE_ENTRIES + 1, : LANE.size - 8].tobytes()
        bias, multiplier, shift, zero_point, low, high, rounding = LANE.unpack(lane)
        return cls(
            tables=tables, multiplier=multiplier, shift=shift, zero_point=zero_point, low=low, high=high,
            rounding=rounding, bias=bias,
        )  # fmt: skip
