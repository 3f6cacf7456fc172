"""A bit-serial multiplier, for use in other designs: one bit of a factor per cycle."""

from __future__ import annotations

from amaranth.hdl import Cat, Module, Mux, Signal, signed
from amaranth.lib import data, stream, wiring
from amaranth.lib.wiring import In, Out

__all__ = ["MAX_WIDTH", "BitSerialMultiplier"]

MAX_WIDTH = 16


class BitSerialMultiplier(wiring.Component):
    """``a · b`` by shifting and adding, one bit of ``b`` per cycle, least significant first.

    One product every ``b_bits + 1`` cycles, which is the latency. One adder of ``a_bits + 2`` bits; the low half of the
    product moves into the register that ``b`` leaves.

    Parameters
    ----------
    a_bits, b_bits : int
        Widths of the factors, 1 to 16.

    Members
    -------
    i : In(stream)
        ``a``, ``b``; ``signed``: both are in two's complement, else unsigned.
    o : Out(stream)
        The product, ``a_bits + b_bits`` wide.
    """

    def __init__(self, *, a_bits: int = 8, b_bits: int = 8):
        for name, value in (("a_bits", a_bits), ("b_bits", b_bits)):
            if isinstance(value, bool) or not isinstance(value, int) or not 1 <= value <= MAX_WIDTH:
                raise ValueError(f"{name} must be a whole number from 1 to {MAX_WIDTH}, not {value!r}")
        self.a_bits, self.b_bits = a_bits, b_bits
        super().__init__(
            {
                "i": In(stream.Signature(data.StructLayout({"a": a_bits, "b": b_bits, "signed": 1}))),
                "o": Out(stream.Signature(a_bits + b_bits)),
            }
        )

    def elaborate(self, platform: object) -> Module:
        m = Module()
        # `a` with room for a sign; `high` is the sum so far, above the bits of the product that are done.
        a, is_signed = Signal(signed(self.a_bits + 1)), Signal()
        high, low = Signal(signed(self.a_bits + 1)), Signal(self.b_bits)
        left = Signal(range(self.b_bits + 1))
        total = Signal(signed(self.a_bits + 2))
        item = self.i.payload
        m.d.comb += [
            # The highest bit of a signed number counts negative.
            total.eq(high + Mux(low[0], Mux((left == 1) & is_signed, -a, a), 0)),
            self.i.ready.eq((left == 0) & (~self.o.valid | self.o.ready)),
            self.o.payload.eq(Cat(low, high)),
        ]
        with m.If(self.o.valid & self.o.ready):
            m.d.sync += self.o.valid.eq(0)
        with m.If(self.i.valid & self.i.ready):
            m.d.sync += [
                a.eq(Cat(item.a, item.a[-1] & item.signed)),
                is_signed.eq(item.signed),
                low.eq(item.b),
                high.eq(0),
                left.eq(self.b_bits),
            ]
        with m.If(left != 0):
            m.d.sync += [
                high.eq(total >> 1),
                low.eq(Cat(low[1:], total[0])),
                left.eq(left - 1),
                self.o.valid.eq(left == 1),
            ]
        return m
