"""Pipelined signed multipliers: one in a hardware multiplier, one from logic."""

from __future__ import annotations

from amaranth.hdl import ClockSignal, Const, Instance, Module, Mux, Signal, signed
from amaranth.lib import wiring
from amaranth.lib.wiring import In, Out

__all__ = ["LogicMultiply", "Multiply"]

ECP5_WIDTH = 18


class Multiply(wiring.Component):
    """``a · b``, signed, in one hardware multiplier with all of its registers.

    One product per cycle, latency ``LATENCY`` = 3 cycles: input, pipeline and output registers. ``b`` is taken in while ``load`` is
    high and stays. Where the platform's ``weft_technology`` is ``ecp5`` it is a MULT18X18D, because Yosys packs no registers into
    one; elsewhere it is a plain product between registers.

    Parameters
    ----------
    a_bits, b_bits : int
        Widths of the signed factors, 1 to 18.

    Members
    -------
    a, b : In
        Factors.
    load : In(1)
        Takes ``b`` in.
    product : Out
        ``a_bits + b_bits`` wide.
    """

    LATENCY = 3

    def __init__(self, *, a_bits: int, b_bits: int):
        for name, value in (("a_bits", a_bits), ("b_bits", b_bits)):
            if not 1 <= value <= ECP5_WIDTH:
                raise ValueError(f"{name} must be 1 to {ECP5_WIDTH}, not {value!r}")
        self.a_bits, self.b_bits = a_bits, b_bits
        super().__init__(
            {
                "a": In(signed(a_bits)),
                "b": In(signed(b_bits)),
                "load": In(1),
                "product": Out(signed(a_bits + b_bits)),
            }
        )

    def elaborate(self, platform: object) -> Module:
        if getattr(platform, "weft_technology", None) == "ecp5":
            return self._ecp5()
        m = Module()
        a, b = Signal.like(self.a), Signal.like(self.b)
        pipeline = Signal.like(self.product)
        m.d.sync += [a.eq(self.a), pipeline.eq(a * b), self.product.eq(pipeline)]
        with m.If(self.load):
            m.d.sync += b.eq(self.b)
        return m

    def _ecp5(self) -> Module:
        m = Module()
        a, b, p = Signal(signed(ECP5_WIDTH)), Signal(signed(ECP5_WIDTH)), Signal(2 * ECP5_WIDTH)
        m.d.comb += [a.eq(self.a), b.eq(self.b), self.product.eq(p)]
        registers = {
            f"p_REG_{name}_{pin}": value
            for name, enable in (("INPUTA", "CE0"), ("INPUTB", "CE1"), ("PIPELINE", "CE0"), ("OUTPUT", "CE0"))
            for pin, value in (("CLK", "CLK0"), ("CE", enable), ("RST", "RST0"))
        }
        pins = {f"i_A{bit}": a[bit] for bit in range(ECP5_WIDTH)}
        pins |= {f"i_B{bit}": b[bit] for bit in range(ECP5_WIDTH)}
        pins |= {f"o_P{bit}": p[bit] for bit in range(2 * ECP5_WIDTH)}
        m.submodules.mult = Instance(
            "MULT18X18D", **registers, **pins,
            p_SOURCEB_MODE="B_INPUT", p_RESETMODE="SYNC", p_GSR="DISABLED",
            i_CLK0=ClockSignal(), i_CE0=Const(1), i_CE1=self.load, i_RST0=Const(0),
            i_SIGNEDA=Const(1), i_SIGNEDB=Const(1), i_SOURCEA=Const(0), i_SOURCEB=Const(0),
        )  # fmt: skip
        return m


class LogicMultiply(wiring.Component):
    """``a · b``, ``a`` of 8 bits, signed, from adders: for PEs past the hardware multipliers of a part.

    One product per cycle, latency ``LATENCY`` = 4 cycles: inputs, sums of two, of four and of eight partial products. ``b`` is taken
    in while ``load`` is high and stays.

    Parameters
    ----------
    b_bits : int
        Width of ``b``.

    Members
    -------
    a, b : In
        Factors.
    load : In(1)
        Takes ``b`` in.
    product : Out
        ``8 + b_bits`` wide.
    """

    LATENCY = 4

    def __init__(self, *, b_bits: int = 8) -> None:
        super().__init__({"a": In(signed(8)), "b": In(signed(b_bits)), "load": In(1), "product": Out(signed(8 + b_bits))})

    def elaborate(self, platform: object) -> Module:
        m = Module()
        a, b = Signal.like(self.a), Signal.like(self.b)
        m.d.sync += a.eq(self.a)
        with m.If(self.load):
            m.d.sync += b.eq(self.b)
        pairs = []
        for low in range(0, 8, 2):
            one, two = Mux(a[low], b, 0), Mux(a[low + 1], b << 1, 0)
            # The highest bit of a signed number counts negative.
            pair = Signal(signed(len(b) + 3), name=f"pair_{low}")
            m.d.sync += pair.eq(one + two if low < 6 else one - two)
            pairs.append(pair)
        low_half, high_half = Signal(signed(len(b) + 5)), Signal(signed(len(b) + 5))
        m.d.sync += [
            low_half.eq(pairs[0] + (pairs[1] << 2)),
            high_half.eq(pairs[2] + (pairs[3] << 2)),
            self.product.eq(low_half + (high_half << 4)),
        ]
        return m
