"""Processing elements that multiply by a budget of terms, which are not part of the machine, for comparison by
``bench/terms.py``.

Each holds eight weights, or seven, as k signed powers of two that the loader has chosen. All follow
:class:`sateen.hw.pe.contract.PeSignature`. Sums are those of a column of :data:`~lean_elements.ELEMENTS` weights.
"""

from __future__ import annotations

from amaranth.hdl import Module, Mux, Signal, Value, signed
from amaranth.lib import data, wiring
from amaranth.lib.memory import Memory
from amaranth.lib.wiring import In, Out
from amaranth.utils import ceil_log2

from carry_cells import BOTH, EITHER, Chosen, GatedSum
from lean_elements import ELEMENTS, add, remembered, shifted
from sateen.hw.pe.contract import PeSignature, forward
from sateen.hw.stream.delay import delayed

GROUP = 8
ROWS = ceil_log2(ELEMENTS // GROUP)
"""log2 of the PEs of a column."""
TERM = data.StructLayout({"index": 3, "exponent": 3, "negative": 1, "valid": 1})
PLACED = data.StructLayout({"index": 3, "negative": 1})
"""A term whose exponent is that of its place; one of index 7 is 0, for the activation there is."""
PLANED = data.StructLayout({"index": 3, "negative": 1, "valid": 1})
"""A term whose exponent is that of its place, or none."""


def group_signature(term: data.StructLayout, slots: int, sum_bits: int) -> PeSignature:
    """Ports of a PE that takes a group's activations and a term's place in its memory, which holds ``slots`` current
    terms and as many next ones; ``slots`` is a power of two."""
    if slots < 2 or slots & (slots - 1):
        raise ValueError(f"slots must be a power of two from 2, not {slots!r}")
    activation = data.StructLayout({"values": data.ArrayLayout(signed(8), GROUP), "slot": range(2 * slots)})
    return PeSignature(activation=activation, weight=term, slots=2 * slots, sum_bits=sum_bits)


def choose(m: Module, values: data.View | list[Value], index: Value, negative: Value, *, name: str = "chosen") -> Value:
    """One of eight values, in one's complement if ``negative``."""
    first = Value.cast(values[0])
    m.submodules[name] = chosen = Chosen(len(first), GROUP)
    m.d.comb += [chosen.i[place].eq(values[place]) for place in range(GROUP)]
    m.d.comb += [chosen.index.eq(index), chosen.negative.eq(negative)]
    return chosen.o.as_signed()


class TermShift(wiring.Component):
    """Adds one of eight activations, shifted, a term a cycle; below is a :class:`Doubling` that never does. Latency 4:
    the term, its activation, the shifted one, the sum.

    Parameters
    ----------
    slots : int
        Most terms of the eight weights.
    """

    latency = 4

    def __init__(self, slots: int):
        super().__init__(group_signature(TERM, slots, 16 + ROWS))

    def elaborate(self, platform: object) -> Module:
        m = Module()
        forward(m, platform, self, "activation", "weight", "capture")
        term = remembered(m, self, self.activation_i.slot)
        chosen = delayed(m, choose(m, self.activation_o.values, term.index, term.negative), name="chosen")
        exponent, negative, valid = (delayed(m, term[name], name=name) for name in ("exponent", "negative", "valid"))
        product = delayed(m, shifted(chosen, exponent, negative), name="product")
        adds, carry = delayed(m, valid, name="adds"), delayed(m, valid & negative, name="carry")
        m.d.sync += self.sum_o.eq(add(m, "add", self.sum_i, product, d=adds, carry=carry))
        return m


class TermSorted(wiring.Component):
    """Adds one of seven activations, a term a cycle, by falling exponents: the accumulators double between them.

    The exponents' fall is one for the whole array (``slot``'s schedule), so that the accumulators stand below it
    (:class:`Doubling`), one a column. A PE has no shifter; where it has no term in its turn, it adds 0, by index 7.
    Latency 3: the term, its activation, the sum.
    """

    latency = 3

    def __init__(self, slots: int):
        super().__init__(group_signature(PLACED, slots, 9 + ROWS))

    def elaborate(self, platform: object) -> Module:
        m = Module()
        forward(m, platform, self, "activation", "weight", "capture")
        term = remembered(m, self, self.activation_i.slot)
        chosen = delayed(m, choose(m, self.activation_o.values, term.index, term.negative), name="chosen")
        carry = delayed(m, term.negative, name="carry")
        m.d.sync += self.sum_o.eq(add(m, "add", self.sum_i, chosen, carry=carry))
        return m


class Doubling(wiring.Component):
    """``o = 2·t + i`` if ``double``, else ``t + i``, a cycle later; ``t`` is 0 after ``last``, else as ``o``."""

    def __init__(self, *, partial_bits: int, sum_bits: int):
        ports = {"i": In(signed(partial_bits)), "last": In(1), "double": In(1), "o": Out(signed(sum_bits))}
        super().__init__(ports)

    def elaborate(self, platform: object) -> Module:
        m = Module()
        m.submodules.add = adder = GatedSum(len(self.o), EITHER)
        total = Signal.like(self.o)
        m.d.comb += [
            adder.a.eq(self.i),
            adder.b.eq(total << 1),
            adder.c.eq(total),
            adder.d.eq(self.double.replicate(len(self.o))),
        ]
        # The total has a register of its own, which is reset and needs no gates.
        m.d.sync += [total.eq(adder.o), self.o.eq(adder.o)]
        with m.If(self.last):
            m.d.sync += total.eq(0)
        return m


class TermDoubling(wiring.Component):
    """As :class:`TermSorted`, but each PE has its own accumulator, and its terms say where they double: the exponents'
    fall is the PE's own. Seven weights; a term's ``valid`` is ``double``. With the last slot the total joins the sum
    from above.

    Latency 4: the term, its activation, the accumulator, the sum.
    """

    latency = 4

    def __init__(self, slots: int):
        shape = data.StructLayout({"index": 3, "negative": 1, "double": 1})
        super().__init__(group_signature(shape, slots, 16 + 3 + ROWS))

    def elaborate(self, platform: object) -> Module:
        m = Module()
        forward(m, platform, self, "activation", "weight", "capture")
        term = remembered(m, self, self.activation_i.slot)
        chosen = delayed(m, choose(m, self.activation_o.values, term.index, term.negative), name="chosen")
        carry, double = delayed(m, term.negative, name="carry"), delayed(m, term.double, name="double")
        first = delayed(m, self.activation_o.slot[:-1] == 0, name="first")
        total = Signal(signed(16 + 3))
        before = Mux(first, 0, Mux(double, total << 1, total))[: len(total)]
        m.d.sync += [
            total.eq(add(m, "accumulate", before, chosen, carry=carry)),
            self.sum_o.eq(self.sum_i + total),
        ]
        return m


class TermPlanes(wiring.Component):
    """Adds up a bit plane of eight activations: for each exponent one of them, as the bit of that place. A plane a
    cycle, latency 3: the chosen bits, the sum; below is a :class:`sateen.hw.pe.bitserial.Horner`.

    A negative term's bit is inverted, for -b = (1 - b) - 1: the sum of a beat is larger by minus the negative terms'
    powers of two, since its planes' weights add up to -1. That belongs into the bias.

    Parameters
    ----------
    exponents : int
        Terms of the eight weights, one for each.

    Members
    -------
    weight : In
        Captured one after the other, that of the lowest exponent first.
    """

    latency = 3

    def __init__(self, exponents: int):
        self.exponents = exponents
        super().__init__(PeSignature(activation=GROUP, weight=PLANED, sum_bits=exponents + ROWS + 1))

    def elaborate(self, platform: object) -> Module:
        m = Module()
        forward(m, platform, self, "activation", "swap", "weight", "capture")
        m.submodules.add = adder = GatedSum(len(self.sum_i), BOTH)
        after = self.weight_i
        for e in reversed(range(self.exponents)):
            following, term = (Signal(PLANED, name=f"{name}_{e}", reset_less=True) for name in ("following", "term"))
            with m.If(self.capture_i.valid):
                m.d.sync += following.eq(after)
            with m.If(self.swap_i):
                m.d.sync += term.eq(following)
            after = following
            chosen = choose(m, list(self.activation_o), term.index, term.negative, name=f"chosen_{e}")
            m.d.comb += [
                adder.c[e].eq(delayed(m, chosen, name=f"bit_{e}")),
                adder.d[e].eq(delayed(m, term.valid, name=f"valid_{e}")),
            ]
        m.d.comb += adder.a.eq(self.sum_i)
        m.d.sync += self.sum_o.eq(adder.o)
        return m


class ExponentSums(wiring.Component):
    """Sums of activations by exponent, in a memory of LUTs. The weights move through, a term a cycle; the sums stay.

    Reading takes a cycle an exponent, from 7 to 0, during which a PE adds nothing; ``read`` and ``sum_i`` pass the sums
    down to a :class:`sateen.hw.pe.bitserial.Horner` without its ``first``. A sum that has been read is 0.

    Members
    -------
    values : In
        Eight activations, in the cycle of ``term``.
    term : In(TERM)
    read : In(1), exponent : In(3)
        Gives the sum of an exponent, a cycle later; else ``sum_o`` is ``sum_i``, a cycle later.
    """

    def __init__(self) -> None:
        self.width = 8 + 2 + ceil_log2(ELEMENTS)
        values = data.ArrayLayout(signed(8), GROUP)
        super().__init__(
            {
                "values_i": In(values), "values_o": Out(values), "term_i": In(TERM), "term_o": Out(TERM),
                "read": In(1), "exponent": In(3), "sum_i": In(signed(self.width)), "sum_o": Out(signed(self.width)),
            }
        )  # fmt: skip

    def elaborate(self, platform: object) -> Module:
        m = Module()
        forward(m, platform, self, "values", "term")
        memory: Memory = Memory(shape=signed(self.width), depth=GROUP, init=[], attrs={"ram_style": "distributed"})
        m.submodules.sums = memory
        write, read = memory.write_port(), memory.read_port(domain="comb")
        term = self.term_o
        chosen = delayed(m, choose(m, self.values_o, term.index, term.negative), name="chosen")
        negative, valid = (delayed(m, term[name], name=name) for name in ("negative", "valid"))
        exponent = Signal(3)
        m.d.sync += exponent.eq(Mux(self.read, self.exponent, term.exponent))
        reading = delayed(m, self.read, name="reading")
        total = add(m, "add", read.data, chosen, carry=negative)
        m.d.comb += [
            read.addr.eq(exponent),
            write.addr.eq(exponent),
            write.en.eq(valid | reading),
            write.data.eq(Mux(reading, 0, total)),
        ]
        m.d.sync += self.sum_o.eq(Mux(reading, read.data, self.sum_i))
        return m
