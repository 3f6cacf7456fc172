"""Pipelined signed multipliers: one in a hardware multiplier, one from logic."""

from __future__ import annotations

from collections.abc import Sequence

from amaranth.hdl import Cat, ClockSignal, Const, Instance, Module, Mux, Signal, Value, signed
from amaranth.lib import wiring
from amaranth.lib.wiring import In, Out

from sateen.hw.stream.delay import delayed

__all__ = ["LogicMultiply", "Multiply", "MultiplyAdd", "PartialProducts", "carry_chain"]

WIDTH = 18
"""Largest width of a hardware multiplier's factors."""


class Multiply(wiring.Component):
    """``a · b``, signed, in one hardware multiplier with all of its registers.

    One product per cycle, latency ``LATENCY`` = 3 cycles: input, pipeline and output registers. Yosys packs no
    registers into multipliers, so that the platform's ``sateen_technology`` decides: ``ecp5`` gets a MULT18X18D;
    ``gowin`` a MULT18X18, or half of one, a MULT9X9; ``up5k`` an SB_MAC16 if the factors have 16 bits or fewer.
    Elsewhere it is a product between registers.

    Parameters
    ----------
    a_bits, b_bits : int
        Widths of the signed factors, 1 to 18.

    Members
    -------
    a, b : In
        Factors.
    product : Out
        ``a_bits + b_bits`` wide.
    """

    LATENCY = 3

    def __init__(self, *, a_bits: int, b_bits: int):
        for name, value in (("a_bits", a_bits), ("b_bits", b_bits)):
            if not 1 <= value <= WIDTH:
                raise ValueError(f"{name} must be 1 to {WIDTH}, not {value!r}")
        self.a_bits, self.b_bits = a_bits, b_bits
        super().__init__(
            {
                "a": In(signed(a_bits)),
                "b": In(signed(b_bits)),
                "product": Out(signed(a_bits + b_bits)),
            }
        )

    def elaborate(self, platform: object) -> Module:
        primitives = {"ecp5": self._ecp5, "gowin": self._gowin}
        if max(self.a_bits, self.b_bits) <= 16:
            primitives["up5k"] = self._up5k
        if primitive := primitives.get(getattr(platform, "sateen_technology", "")):
            return primitive()
        m = Module()
        a, b = Signal.like(self.a), Signal.like(self.b)
        pipeline = Signal.like(self.product)
        m.d.sync += [a.eq(self.a), b.eq(self.b), pipeline.eq(a * b), self.product.eq(pipeline)]
        return m

    def _ecp5(self) -> Module:
        m = Module()
        a, b, p = Signal(signed(WIDTH)), Signal(signed(WIDTH)), Signal(2 * WIDTH)
        m.d.comb += [a.eq(self.a), b.eq(self.b), self.product.eq(p)]
        registers = {
            f"p_REG_{name}_{pin}": value
            for name in ("INPUTA", "INPUTB", "PIPELINE", "OUTPUT")
            for pin, value in (("CLK", "CLK0"), ("CE", "CE0"), ("RST", "RST0"))
        }
        pins = {f"i_A{bit}": a[bit] for bit in range(WIDTH)}
        pins |= {f"i_B{bit}": b[bit] for bit in range(WIDTH)}
        pins |= {f"o_P{bit}": p[bit] for bit in range(2 * WIDTH)}
        m.submodules.mult = Instance(
            "MULT18X18D", **registers, **pins,
            p_SOURCEB_MODE="B_SHIFT", p_RESETMODE="SYNC", p_GSR="DISABLED",
            i_CLK0=ClockSignal(), i_CE0=Const(1), i_RST0=Const(0),
            i_SIGNEDA=Const(1), i_SIGNEDB=Const(1), i_SOURCEA=Const(0), i_SOURCEB=Const(0),
        )  # fmt: skip
        return m

    def _gowin(self) -> Module:
        m = Module()
        width = 9 if max(self.a_bits, self.b_bits) <= 9 else WIDTH
        a, b, p = Signal(signed(width)), Signal(signed(width)), Signal(2 * width)
        m.d.comb += [a.eq(self.a), b.eq(self.b), self.product.eq(p)]
        registers = {f"p_{name}": Const(1, 1) for name in ("AREG", "BREG", "PIPE_REG", "OUT_REG")}
        m.submodules.mult = Instance(
            f"MULT{width}X{width}",
            **registers,
            p_MULT_RESET_MODE="SYNC",
            i_CLK=ClockSignal(),
            i_CE=Const(1),
            i_RESET=Const(0),
            i_A=a,
            i_B=b,
            i_SIA=Const(0, width),
            i_SIB=Const(0, width),
            i_ASIGN=Const(1),
            i_BSIGN=Const(1),
            i_ASEL=Const(0),
            i_BSEL=Const(0),
            o_DOUT=p,
        )
        return m

    def _up5k(self) -> Module:
        m = Module()
        a, b, p = Signal(signed(16)), Signal(signed(16)), Signal(32)
        m.d.comb += [a.eq(self.a), b.eq(self.b), self.product.eq(p)]
        m.submodules.mult = _sb_mac16(
            a, b, Const(0, 32), p, p_TOPOUTPUT_SELECT=Const(3, 2), p_BOTOUTPUT_SELECT=Const(3, 2)
        )
        return m


def _sb_mac16(a: Value, b: Value, c: Value, o: Value, **parameters: Const) -> Instance:
    """An SB_MAC16 with its registers: of the factors, of the four 8 by 8 products, of their sum."""
    ones = (
        "A_REG",
        "B_REG",
        "TOP_8x8_MULT_REG",
        "BOT_8x8_MULT_REG",
        "PIPELINE_16x16_MULT_REG1",
        "PIPELINE_16x16_MULT_REG2",
        "A_SIGNED",
        "B_SIGNED",
    )
    unused = (
        "AHOLD",
        "BHOLD",
        "CHOLD",
        "DHOLD",
        "IRSTTOP",
        "IRSTBOT",
        "ORSTTOP",
        "ORSTBOT",
        "OLOADTOP",
        "OLOADBOT",
        "ADDSUBTOP",
        "ADDSUBBOT",
        "OHOLDTOP",
        "OHOLDBOT",
        "CI",
        "ACCUMCI",
        "SIGNEXTIN",
    )
    return Instance(
        "SB_MAC16",
        **{f"p_{name}": Const(1, 1) for name in ones},
        **{f"i_{name}": Const(0, 1) for name in unused},
        **parameters,
        i_CLK=ClockSignal(),
        i_CE=Const(1),
        i_A=a,
        i_B=b,
        i_C=c[16:],
        i_D=c[:16],
        o_O=o,
    )


class MultiplyAdd(wiring.Component):
    """``a · b + c``, signed: a multiplier followed by an adder. It is made for ``up5k`` as the platform's
    ``sateen_technology``, where it is one SB_MAC16; elsewhere it is a :class:`Multiply` and an adder.

    One per cycle; ``o`` comes ``LATENCY`` = 4 cycles after the factors, a cycle after ``c``.

    Parameters
    ----------
    a_bits, b_bits : int
        Widths of the signed factors, 1 to 16.
    sum_bits : int
        Of ``c`` and ``o``, 1 to 32.

    Members
    -------
    a, b, c : In
        Factors, addend.
    o : Out
        Their sum, modulo its width.
    """

    LATENCY = Multiply.LATENCY + 1

    def __init__(self, *, a_bits: int, b_bits: int, sum_bits: int):
        for name, value, most in (("a_bits", a_bits, 16), ("b_bits", b_bits, 16), ("sum_bits", sum_bits, 32)):
            if not 1 <= value <= most:
                raise ValueError(f"{name} must be 1 to {most}, not {value!r}")
        super().__init__(
            {"a": In(signed(a_bits)), "b": In(signed(b_bits)), "c": In(signed(sum_bits)), "o": Out(signed(sum_bits))}
        )

    def elaborate(self, platform: object) -> Module:
        m = Module()
        if getattr(platform, "sateen_technology", None) != "up5k":
            m.submodules.multiply = multiply = Multiply(a_bits=len(self.a), b_bits=len(self.b))
            m.d.comb += [multiply.a.eq(self.a), multiply.b.eq(self.b)]
            m.d.comb += self.o.eq(delayed(m, (multiply.product + self.c)[: len(self.o)], name="sum"))
            return m
        a, b, c, o = Signal(signed(16)), Signal(signed(16)), Signal(signed(32)), Signal(32)
        m.d.comb += [a.eq(self.a), b.eq(self.b), c.eq(self.c), self.o.eq(o)]
        # Each half adds the addend at its pins to its half of the product, the upper half with the lower one's carry,
        # and registers the sum.
        halves = {
            f"p_{half}ADDSUB_{name}": value
            for half in ("TOP", "BOT")
            for name, value in (
                ("LOWERINPUT", Const(2, 2)),
                ("UPPERINPUT", Const(1, 1)),
                ("CARRYSELECT", Const(2 if half == "TOP" else 0, 2)),
            )
        }
        m.submodules.mult = _sb_mac16(
            a, b, c, o, **halves, p_TOPOUTPUT_SELECT=Const(1, 2), p_BOTOUTPUT_SELECT=Const(1, 2)
        )
        return m


class LogicMultiply(wiring.Component):
    """``a · b``, ``a`` of 8 bits, signed, from adders: for PEs beyond the part's hardware multipliers. The product is
    ``low + 16·high``.

    One product per cycle, latency ``LATENCY`` = 1 cycle: sums of four partial products each. The user adds the two
    halves, together with any other addend.

    Parameters
    ----------
    b_bits : int
        Width of ``b``.

    Members
    -------
    a, b : In
        Factors.
    low, high : Out
        ``b_bits + 4`` wide, signed.
    """

    LATENCY = 1

    def __init__(self, *, b_bits: int = 8) -> None:
        half = signed(b_bits + 4)
        super().__init__({"a": In(signed(8)), "b": In(signed(b_bits)), "low": Out(half), "high": Out(half)})

    def elaborate(self, platform: object) -> Module:
        m = Module()
        pairs = []
        for low in range(0, 8, 2):
            # The highest bit of a signed number counts negative.
            m.submodules[f"pair_{low}"] = pair = PartialProducts(b_bits=len(self.b), subtract=low == 6)
            m.d.comb += [pair.b.eq(self.b), pair.digits.eq(self.a[low : low + 2])]
            pairs.append(pair.o)
        for half, one, two in ((self.low, pairs[0], pairs[1]), (self.high, pairs[2], pairs[3])):
            m.d.comb += half.eq(delayed(m, one + (two << 2), name="half"))
        return m


class PartialProducts(wiring.Component):
    """``b·digits[0] + 2·b·digits[1]``, or with ``subtract`` the difference. Combinational.

    An ECP5's carry cell has two gates before its adder, which synthesis leaves unused: there the cells are
    instantiated, one a bit.

    Parameters
    ----------
    b_bits : int
        Width of ``b``.
    subtract : bool
        The second term is subtracted.

    Members
    -------
    b : In
        Signed.
    digits : In(2)
        Two bits of the other factor.
    o : Out
        ``b_bits + 2`` wide, signed.
    """

    def __init__(self, *, b_bits: int, subtract: bool):
        self.subtract = subtract
        super().__init__({"b": In(signed(b_bits)), "digits": In(2), "o": Out(signed(b_bits + 2))})

    def elaborate(self, platform: object) -> Module:
        m = Module()
        if getattr(platform, "sateen_technology", None) == "ecp5":
            self._ecp5(m)
        else:
            one, two = Mux(self.digits[0], self.b, 0), Mux(self.digits[1], self.b << 1, 0)
            m.d.comb += self.o.eq(one - two if self.subtract else one + two)
        return m

    def _ecp5(self, m: Module) -> None:
        """A carry cell's LUT says whether its two gated bits differ; if they do not, inputs A and B make its carry."""
        wide, ones = len(self.o), (Const(1, 1),) * 4
        bits = [self.b[min(place, len(self.b) - 1)] for place in range(wide)]
        gated = [((bits[place], self.digits[0]), (bits[place - 1], self.digits[1])) for place in range(1, wide)]
        # What is subtracted is inverted, and a one carried in.
        init = 0x8777 if self.subtract else 0x7888
        # At bit 0 nothing is added: its cell makes that carry, whatever its own carry input. A pin at one needs no
        # wire.
        cells = [
            (0x000F if self.subtract else 0, ones),
            *((init, (*b, *a) if self.subtract else (*a, *b)) for a, b in gated),
        ]
        cells += [(0, ones)] * (wide % 2)
        sums = Signal(wide + wide % 2)
        m.d.comb += self.o.eq(Cat(self.b[0] & self.digits[0], sums[1:wide]))
        carry_chain(m, cells, sums)


def carry_chain(m: Module, cells: Sequence[tuple[int, tuple[Value, ...]]], sums: Signal) -> None:
    """Carry cells of an ECP5, two in each CCU2C: the LUT's contents and inputs A to D of each, and the sums that they
    give. Their number is even."""
    carry: dict[str, Value] = {}
    for place in range(0, len(cells), 2):
        pins = {
            f"i_{pin}{half}": value
            for half in (0, 1)
            for pin, value in zip("ABCD", cells[place + half][1], strict=True)
        }
        before, out = carry, Signal(name=f"carry_{place}")
        carry = {"i_CIN": out}
        m.submodules[f"sum_{place}"] = Instance(
            "CCU2C", **pins, **before, p_INIT0=Const(cells[place][0], 16), p_INIT1=Const(cells[place + 1][0], 16),
            p_INJECT1_0="NO", p_INJECT1_1="NO", o_S0=sums[place], o_S1=sums[place + 1], o_COUT=out,
        )  # fmt: skip
