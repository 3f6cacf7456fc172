"""How tensors are combined element by element: where the two entries of a pair of bytes come from, and what becomes of
them."""

from __future__ import annotations

from dataclasses import dataclass
from itertools import accumulate

__all__ = ["LARGEST_SHIFT", "LOADS_BIT", "OPERAND_BITS", "Combine", "Entries", "Operand", "Source"]

OPERAND_BITS = {"zero_point": 8, "shift": 3, "source": 2}
"""Fields of an :class:`Operand`, from the lowest bit on."""
_PLACES = tuple(accumulate(OPERAND_BITS.values(), initial=0))[:-1]
LARGEST_SHIFT = (1 << OPERAND_BITS["shift"]) - 1
"""Of :attr:`Operand.shift`."""
LOADS_BIT = 15
"""Place of :attr:`Entries.loads` in its word."""


class Combine:
    """How the two table entries of a pair of bytes are combined; a bit each."""

    NONE = 0
    """No tables: results are sums of products."""
    ADD = 1
    MULTIPLY = 2
    """Entries have at most 10 bits."""
    SQUARE = ADD | MULTIPLY
    """The square of the sum, which has at most 17 bits. Only with :attr:`~sateen.hw.spec.config.Config.squares`."""


class Source:
    """Where an operand's entries come from."""

    TABLE = 0
    CODE = 1
    """The code itself: ``(code − zero point) · 2^shift``."""
    NONE = 2
    """The entry is 0."""


@dataclass(frozen=True)
class Operand:
    """One of the two operands that are combined."""

    source: int = Source.TABLE
    """:class:`Source`."""
    zero_point: int = 0
    """int8; only of codes, like the shift."""
    shift: int = 0
    """0 to :data:`LARGEST_SHIFT`."""

    def encode(self) -> int:
        """:data:`OPERAND_BITS`, in 16 bits."""
        point, shift, source = _PLACES
        return (self.zero_point & 0xFF) << point | self.shift << shift | self.source << source


@dataclass(frozen=True)
class Entries:
    """What is combined, if that may be something else than the entries of two tables. Only with
    :attr:`~sateen.hw.spec.config.Config.direct`."""

    first: Operand = Operand()
    second: Operand = Operand()
    loads: bool = True
    """The descriptor's words are tables. Otherwise it has none
    (:attr:`~sateen.hw.spec.descriptor.WeightStream.words` is 0), and the tables are those that were loaded last."""

    def encode(self) -> int:
        """A word: both operands, and :data:`LOADS_BIT`."""
        return self.first.encode() | self.second.encode() << 16 | self.loads << LOADS_BIT

    @classmethod
    def decode(cls, word: int) -> Entries:
        """The inverse of :meth:`encode`."""
        operands = []
        for half in (word, word >> 16):
            point, shift, source = (
                half >> place & (1 << bits) - 1 for place, bits in zip(_PLACES, OPERAND_BITS.values(), strict=True)
            )
            operands.append(Operand(source, point - ((point & 0x80) << 1), shift))
        return cls(operands[0], operands[1], bool(word >> LOADS_BIT & 1))
