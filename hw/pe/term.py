"""The term MAC: numbers are sums of signed powers of two, as many as a layer's budget allows."""

from __future__ import annotations

from amaranth.hdl import Array as Choice
from amaranth.hdl import Cat, Const, Module, Mux, Signal, Value, signed
from amaranth.lib import data, wiring
from amaranth.lib.memory import Memory
from amaranth.lib.wiring import In, Out
from amaranth.utils import ceil_log2

from sateen.hw.pe.contract import PeArray, PeSignature, forward
from sateen.hw.pe.term_edges import EXPONENTS, TERM, TermFeeder, TermLoader, activation_shape, slot_weight_shape
from sateen.hw.spec.pe import TERM_GROUP, TERM_SLOTS, window
from sateen.hw.stream.view import view

__all__ = ["Array", "TermMac", "Total"]


class TermMac(wiring.Component):
    """Adds the product of one weight term and one activation term to the partial sum. Contract:
    :class:`~sateen.hw.pe.contract.PeSignature`.

    Latency 3 cycles: the weight term from its memory, the term of its activation, the sum. A product of two terms is
    one bit, so that a PE needs neither a shifter nor an accumulator: the array's foot adds up the sums of a beat's
    cycles (:class:`Total`).

    Parameters
    ----------
    sum_bits : int
        Width of a partial sum: 16 + log2(rows).
    inputs : int
        Activations from which each weight selects.
    """

    def __init__(self, *, sum_bits: int, inputs: int = 1):
        self.inputs, self.weight = inputs, slot_weight_shape(inputs)
        super().__init__(
            PeSignature(activation=activation_shape(inputs), weight=self.weight, slots=TERM_SLOTS, sum_bits=sum_bits)
        )

    def elaborate(self, platform: object) -> Module:
        m = Module()
        forward(m, platform, self, "activation", "swap", "weight", "capture")
        # One half of the memory has the current weights, the other takes the next ones. An iCE40 has no LUT memories,
        # so that synthesis uses registers.
        style = (
            {} if getattr(platform, "sateen_technology", None) in ("ice40", "up5k") else {"ram_style": "distributed"}
        )
        memory: Memory = Memory(shape=self.weight, depth=2 * TERM_SLOTS, init=[], attrs=style)
        m.submodules.weights = memory
        write, read = memory.write_port(), memory.read_port(domain="comb")
        before, half = Signal(), Signal()
        weight = view(self.weight)
        m.d.comb += [
            half.eq(before ^ self.swap_i),
            read.addr.eq(Cat(self.activation_i.slot, half)),
            write.addr.eq(Cat(self.capture_i.slot, ~half)),
            write.data.eq(self.weight_i),
            write.en.eq(self.capture_i.valid),
        ]
        m.d.sync += [before.eq(half), weight.eq(read.data)]

        # `exponent` 15 is no term.
        term, exponent, negative = view(TERM), Signal(4), Signal()
        inputs = [[terms[place].as_value() for place in range(self.inputs)] for terms in self.activation_o.terms]
        chosen = [Choice(terms)[weight.select] if self.inputs > 1 else terms[0] for terms in inputs]
        m.d.comb += term.eq(Choice(chosen)[weight.index])
        m.d.sync += [
            exponent.eq(Mux(weight.valid & term.valid, weight.exponent + term.exponent, 15)),
            negative.eq(weight.valid & term.valid & (weight.negative ^ term.negative)),
        ]
        power = Signal(2 * EXPONENTS - 1)
        m.d.comb += [power[e].eq(exponent == e) for e in range(len(power))]
        # Negated and added at once: the complement, and a one that is carried in.
        addend = power ^ negative.replicate(len(self.sum_o))
        m.d.sync += self.sum_o.eq((Cat(Const(1, 1), self.sum_i) + Cat(negative, addend))[1:])
        return m


class Total(wiring.Component):
    """Adds up the cycles of a beat: ``o = first ? i : o + i``, a cycle later."""

    def __init__(self, *, partial_bits: int, sum_bits: int):
        super().__init__({"i": In(signed(partial_bits)), "first": In(1), "o": Out(signed(sum_bits))})

    def elaborate(self, platform: object) -> Module:
        m = Module()
        m.d.sync += self.o.eq(Mux(self.first, 0, self.o) + self.i)
        return m


class Array(PeArray):
    """Encoders at both edges, one-bit products in between, totals below. A PE selects the activation of each of its
    terms anyway; where columns are combined, it selects among more."""

    @property
    def partial_bits(self) -> int:
        """Width of one cycle's sum."""
        return 16 + ceil_log2(self.rows)

    def pe(self, row: int, column: int) -> TermMac:
        return TermMac(sum_bits=self.partial_bits, inputs=self.inputs)

    def feeder(self) -> TermFeeder:
        return TermFeeder(rows=self.rows * self.inputs, tag=self.tag)

    def loader(self) -> TermLoader:
        return TermLoader(cols=self.cols, rows=self.rows, inputs=self.inputs)

    def row_inputs(self, activations: data.View, row: int) -> Value:
        flat = [terms.as_value() for line in activations for (terms,) in line.terms]
        elements = range(row * TERM_GROUP, (row + 1) * TERM_GROUP)
        windows = [window(element, rows=self.rows * TERM_GROUP, combine=self.inputs) for element in elements]
        return Cat([flat[place] for places in windows for place in places], activations[0].slot)

    def foot(self) -> Total:
        return Total(partial_bits=self.partial_bits, sum_bits=self.sum_bits)
