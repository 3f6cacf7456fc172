"""The term MAC adds signed powers of two, and with full budgets they are the dot product."""

from __future__ import annotations

from functools import partial

import pytest
from amaranth.hdl import Assert, Assume, Const, Cover, Module, Mux, Signal, Value, signed

from prove import any_const, free, prove
from sateen.hw.pe.shape import ArrayShape
from sateen.hw.pe.term import TermMac
from sateen.hw.pe.term_edges import WEIGHT_TERM
from sateen.hw.spec.pe import TERM_BEATS, TERM_GROUP, TERM_WEIGHTS
from sateen.hw.tile import Tile


def term_mac(m: Module) -> None:
    """Every sum, of whatever weight terms have been captured and swapped in: ``sum_i ± 2^(e + e')``, or ``sum_i``
    without two terms."""
    m.submodules.dut = dut = TermMac(sum_bits=16)
    free(m, dut)
    # One slot, any: the two halves' terms.
    slot = any_const(m, dut.activation_i.slot.shape(), "slot")
    following, current, weight = Signal(WEIGHT_TERM), Signal(WEIGHT_TERM), Signal(WEIGHT_TERM)
    m.d.comb += weight.eq(Mux(dut.swap_i, following, current))
    m.d.sync += current.eq(weight)
    with m.If(dut.swap_i):
        m.d.sync += following.eq(current)
    with m.If(dut.capture_i.valid & (dut.capture_i.slot == slot)):
        m.d.sync += following.eq(dut.weight_i)
    term = Signal.like(dut.activation_i.terms[0][0])
    with m.Switch(weight.index):
        for index in range(TERM_GROUP):
            with m.Case(index):
                m.d.comb += term.eq(dut.activation_i.terms[index][0])
    used, product = Signal(), Signal(signed(16))
    m.d.comb += used.eq(dut.activation_i.slot == slot)
    with m.If(weight.valid & term.valid):
        power = Signal(15)
        m.d.comb += power.eq(1 << (weight.exponent + term.exponent))
        m.d.comb += product.eq(Mux(weight.negative ^ term.negative, -power, power))
    for stage in range(3):
        used, product, before = (
            Signal(name=f"used_{stage}"),
            Signal(signed(16), name=f"product_{stage}"),
            (used, product),
        )
        m.d.sync += [used.eq(before[0]), product.eq(before[1])]
    sum_i = Signal(signed(16))
    m.d.sync += sum_i.eq(dut.sum_i)
    with m.If(used):
        m.d.comb += Assert(dut.sum_o == (sum_i + product)[:16].as_signed())
    m.d.comb += Cover(used & (product != 0))


def test_term_mac():
    """Seven cycles: from a capture over swaps to the sum are five."""
    prove(term_mac, depth=7, cover=7)


def dot_product(m: Module, *, elements: int, bits: int, terms: int) -> None:
    """A tile of one PE: a group of weights and a beat, all 0 but for ``elements`` of ``bits`` bits, any.

    ``terms``: of such an element at most.
    """
    m.submodules.dut = dut = Tile(ArrayShape(rows=1, cols=1, pe="term"), position_bits=1)
    weights = [any_const(m, signed(bits), f"weight_{n}") for n in range(elements)]
    values = [any_const(m, signed(bits), f"activation_{n}") for n in range(elements)]
    places = [any_const(m, range(TERM_GROUP), f"place_{n}") for n in range(elements)]
    naf = any_const(m, 1, "is_naf")
    for before, place in zip(places, places[1:], strict=False):
        m.d.comb += Assume(before < place)
    number, sent = Signal(range(TERM_GROUP + 1)), Signal()

    def at(index, items):
        value = Const(0, signed(8))
        for place, item in zip(places, items, strict=True):
            value = Mux(place == index, item, value)
        return value

    def settings(fields, **values):
        return sum(Value.cast(value) << fields[name][0] for name, value in values.items())

    m.d.comb += [
        dut.weights.valid.eq(number != TERM_GROUP),
        dut.weights.payload.word[0].eq(at(number, weights)),
        dut.weights.payload.settings.eq(settings(TERM_WEIGHTS, terms=elements * terms, log2_group=3, naf=naf)),
        dut.i.valid.eq(~sent),
        *(dut.i.payload.data[index].eq(at(index, values)) for index in range(TERM_GROUP)),
        dut.i.payload.swap.eq(1),
        dut.i.payload.tag.keep.eq(1),
        dut.i.payload.settings.eq(settings(TERM_BEATS, slots=elements * terms, terms=terms, naf=naf)),
    ]
    m.d.sync += [number.eq(number + (dut.weights.valid & dut.weights.ready)), sent.eq(sent | dut.i.ready)]
    with m.If(dut.o.valid):
        m.d.comb += Assert(dut.o.payload.sums[0] == sum(w * a for w, a in zip(weights, values, strict=True)))
    m.d.comb += Cover(dut.o.valid)


@pytest.mark.prove
@pytest.mark.parametrize("elements, bits, terms, cycles", [(1, 6, 4, 47), (2, 4, 2, 40)])
def test_dot_product(elements, bits, terms, cycles):
    prove(partial(dot_product, elements=elements, bits=bits, terms=terms), depth=cycles, cover=cycles)
