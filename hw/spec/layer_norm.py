"""What a descriptor that normalizes rows has in the weight store, before its tables: records of two words of 32 bits.

The first :data:`HEAD_RECORDS` are a :class:`Head`; :data:`LIMIT_RECORDS` hold the least number that becomes each code
from −127 on, as integers in the order of numbers; then each value of a row has its scale and its bias, float32.
"""

from __future__ import annotations

import struct
from dataclasses import dataclass

__all__ = [
    "CODE_OFFSET", "HEAD_RECORDS", "LIMIT_RECORDS", "LONGEST_ROWS", "SUMS", "UNIT_BITS", "Head", "record_words",
    "records",
]  # fmt: skip

HEAD_RECORDS, LIMIT_RECORDS = 4, 128
LONGEST_ROWS = (16, 4096)
"""Limits of :attr:`sateen.hw.spec.config.Config.layer_norm`."""
SUMS = 8
"""Sums of squares side by side, each of every eighth value; a row has as many values, or a multiple."""
UNIT_BITS = 32
"""Of a value of the input in units of the last place of its scale: 24 bits times at most 255."""
CODE_OFFSET = 256
"""What is added to a result's steps so that they are positive, with the zero point and nearly a half: the code is then
the number below, less this, or the next one."""


@dataclass(frozen=True, kw_only=True)
class Head:
    """What is the same for all values of a layer; float32 if nothing else is said."""

    scale: float
    """Of the input."""
    epsilon: float
    count: float
    """Values of a row."""
    steps: float
    """Of the result, in a unit: about the inverse of its scale."""
    offset: float
    """:data:`CODE_OFFSET`, the result's zero point and nearly a half."""
    zero_point: int
    """Of the input, int8."""
    width: int
    """Bytes of a line, 4 or more; a divisor of ``length``."""
    length: int
    """Values of a row, a multiple of :data:`SUMS`."""
    centred: bool
    """The mean is subtracted."""

    LAYOUT = struct.Struct("<fffffbBHI4x")

    def encode(self) -> bytes:
        """:data:`HEAD_RECORDS`."""
        numbers = self.scale, self.epsilon, self.count, self.steps, self.offset
        return self.LAYOUT.pack(*numbers, self.zero_point, self.width, self.length, self.centred)

    @classmethod
    def decode(cls, record: bytes) -> Head:
        """The inverse of :meth:`encode`."""
        scale, epsilon, count, steps, offset, zero_point, width, length, centred = cls.LAYOUT.unpack(record)
        return cls(
            scale=scale, epsilon=epsilon, count=count, steps=steps, offset=offset, zero_point=zero_point, width=width,
            length=length, centred=bool(centred),
        )  # fmt: skip


def records(length: int) -> int:
    """Records of a layer with rows of so many values."""
    return HEAD_RECORDS + LIMIT_RECORDS + length


def record_words(cols: int, length: int) -> int:
    """Words of the weight store that they take: one for each, or with fewer than 8 ``cols`` two."""
    return records(length) * (1 if cols >= 8 else 2)
