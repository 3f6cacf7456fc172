"""The cycle counters that a device keeps per descriptor."""

from __future__ import annotations

import struct
from dataclasses import astuple, dataclass, fields

__all__ = ["RECORD_WORDS", "Counters"]


@dataclass(frozen=True)
class Counters:
    """Where one descriptor's cycles went. ``cycles`` is the sum of all others except ``link``."""

    cycles: int
    """From the end of the descriptor before (or from RUN) to this one's last output written; with ``overlap`` in the
    configuration from the last beat of the one before to this one's, or to the last output written of a run."""
    busy: int
    """The tile took a beat."""
    weights: int
    """A beat waited for weights."""
    activations: int
    """No beat had arrived at the tile yet: descriptor and pipeline being filled."""
    accumulators: int
    """No half of the accumulator memory was free."""
    output: int
    """All beats taken; the last results were on their way to the scratchpad. With ``overlap`` also: the next beat
    waited for results of the descriptor before."""
    link: int
    """Cycles between the end of the last descriptor and RUN, in which the accelerator waited for the host."""

    LAYOUT = struct.Struct("<8I")
    """The fields in order, then one word of zero: 32 bytes a record."""

    @classmethod
    def decode(cls, record: bytes) -> Counters:
        """The counters of one 32-byte record."""
        return cls(*cls.LAYOUT.unpack(record)[: len(fields(cls))])

    def __add__(self, other: Counters) -> Counters:
        return Counters(*(a + b for a, b in zip(astuple(self), astuple(other), strict=True)))


RECORD_WORDS = Counters.LAYOUT.size // 4
"""Words of a record."""
