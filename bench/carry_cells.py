"""What the structures of :mod:`term_structures` are made of: a sum with gates in its carry cells, and a choice in the
multiplexers behind LUTs. Synthesis for an ECP5 makes up to twice as many LUTs of either."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from amaranth.hdl import Array, Const, Instance, Module, Signal, Value
from amaranth.lib import wiring
from amaranth.lib.wiring import In, Out
from amaranth.utils import ceil_log2

from sateen.hw.multiply import carry_chain

__all__ = ["BOTH", "DIFFERENT", "EITHER", "KEPT", "SIGNED", "Chosen", "GatedSum"]

Gate = Callable[[Any, Any, Any], Any]
"""Three bits, or vectors of them, to what is added; 0 where the last two bits are 0."""


def BOTH(b: Any, c: Any, d: Any) -> Any:
    """``c`` where ``d`` is 1."""
    return c & d


def DIFFERENT(b: Any, c: Any, d: Any) -> Any:
    """``c``, inverted where ``d`` is 1."""
    return c ^ d


def SIGNED(b: Any, c: Any, d: Any) -> Any:
    """``b`` where ``c`` is 1, inverted where ``d`` is 1, too; else 0."""
    return (b ^ d) & c


def KEPT(b: Any, c: Any, d: Any) -> Any:
    """``b`` where ``c`` is 1."""
    return b & c


def EITHER(b: Any, c: Any, d: Any) -> Any:
    """``b`` where ``d`` is 1, else ``c``."""
    return b & d | c & ~d


class GatedSum(wiring.Component):
    """``o = a + gate(b, c, d) + carry``, modulo 2 to the ``width``. Combinational.

    On an ECP5 it takes ``width`` + 1 LUTs, rounded up to an even number.

    Members
    -------
    a, b, c, d : In(width)
        Addend, and what makes the other one, bit by bit.
    carry : In(1)
    o : Out(width)
    """

    def __init__(self, width: int, gate: Gate):
        self.width, self.gate = width, gate
        super().__init__({**{name: In(width) for name in "abcd"}, "carry": In(1), "o": Out(width)})

    def elaborate(self, platform: object) -> Module:
        m = Module()
        if getattr(platform, "sateen_technology", None) != "ecp5":
            m.d.comb += self.o.eq(self.a + self.gate(self.b, self.c, self.d)[: self.width] + self.carry)
            return m
        # A cell's LUT says whether its two addends differ; if they do not, input A is its carry.
        bits = [(place & 1, self.gate(place >> 1 & 1, place >> 2 & 1, place >> 3 & 1) & 1) for place in range(16)]
        init = sum((a ^ other) << place for place, (a, other) in enumerate(bits))
        ones = (Const(1, 1),) * 3
        cells: list[tuple[int, tuple[Value, ...]]] = [(0x000A, (self.carry, *ones))]
        cells += [(init, (self.a[bit], self.b[bit], self.c[bit], self.d[bit])) for bit in range(self.width)]
        cells += [(0, (Const(1, 1), *ones))] * (len(cells) % 2)
        sums = Signal(len(cells))
        m.d.comb += self.o.eq(sums[1:])
        carry_chain(m, cells, sums)
        return m


class Chosen(wiring.Component):
    """``o = i[index]``, inverted if ``negative``. Combinational.

    On an ECP5 it takes a LUT for two of ``inputs`` and a bit.

    Members
    -------
    i : In(width), ``inputs`` times
    index, negative : In
    o : Out(width)
    """

    def __init__(self, width: int, inputs: int):
        if inputs not in (4, 8):
            raise ValueError(f"inputs must be 4 or 8, not {inputs!r}")
        self.width, self.inputs = width, inputs
        super().__init__(
            {"i": In(width).array(inputs), "index": In(ceil_log2(inputs)), "negative": In(1), "o": Out(width)}
        )

    def elaborate(self, platform: object) -> Module:
        m = Module()
        if getattr(platform, "sateen_technology", None) != "ecp5":
            m.d.comb += self.o.eq(Array(self.i)[self.index] ^ self.negative.replicate(self.width))
            return m
        for bit in range(self.width):
            m.d.comb += self.o[bit].eq(self._bit(m, bit))
        return m

    def _bit(self, m: Module, bit: int) -> Value:
        fours = []
        for low in range(0, self.inputs, 4):
            pairs = [Signal(name=f"pair_{bit}_{low + place}") for place in (0, 2)]
            four = Signal(name=f"four_{bit}_{low}")
            for place, o in zip((low, low + 2), pairs, strict=True):
                m.submodules[f"pair_{bit}_{place}"] = Instance(
                    "LUT4", p_INIT=Const(0x35CA, 16), i_A=self.i[place][bit], i_B=self.i[place + 1][bit],
                    i_C=self.index[0], i_D=self.negative, o_Z=o,
                )  # fmt: skip
            m.submodules[f"four_{bit}_{low}"] = Instance(
                "PFUMX", i_ALUT=pairs[1], i_BLUT=pairs[0], i_C0=self.index[1], o_Z=four
            )
            fours.append(four)
        if len(fours) == 1:
            return fours[0]
        eight = Signal(name=f"eight_{bit}")
        m.submodules[f"eight_{bit}"] = Instance("L6MUX21", i_D0=fours[0], i_D1=fours[1], i_SD=self.index[2], o_Z=eight)
        return eight
