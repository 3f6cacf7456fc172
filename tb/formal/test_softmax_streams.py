"""The streams of a softmax: no line is lost or comes twice, each is subtracted from its own row's maximum, and no scale
is taken before it is there."""

from __future__ import annotations

import pytest
from amaranth.hdl import Assert, Assume, Cover, Module, Mux, Signal, signed

from prove import Order, contract, free, prove
from sateen.hw.pipelined.softmax import Distances, Passes, Reciprocal

TAKEN_AFTER = 3
"""Cycles from the first entries that a scale is for until it is taken; in the output unit there are more."""


def lines(m: Module) -> None:
    """Which pass a line is of says whether it comes out."""
    m.submodules.dut = dut = Distances(width=1, beat_bytes=1)
    free(m, dut)
    contract(m, dut.o)
    before, here = Signal(range(3), init=2), Signal(range(3))
    m.d.comb += [Assume(dut.on), here.eq(Mux(dut.i.payload.begin, Mux(before == 2, 0, before + 1), before))]
    with m.If(dut.i.valid & dut.i.ready):
        m.d.sync += before.eq(here)
    m.d.comb += Assert(dut.o.valid == (dut.i.valid & (here != 0)))
    begins, since = dut.i.payload.begin & (here == 0), Signal(range(dut.settle + 1), init=dut.settle)
    with m.If(since != dut.settle):
        m.d.sync += since.eq(since + 1)
    with m.If(dut.i.valid & dut.i.ready & (here == 0)):
        m.d.sync += since.eq(1)
    m.d.comb += Assert(dut.i.ready == Mux(here == 0, ~begins | (since == dut.settle), dut.o.ready))
    m.d.comb += Cover((here == 2) & dut.o.valid & dut.o.ready)


def maxima(m: Module) -> None:
    """Lines of the second and third pass are subtracted from their rows' maxima, however short passes are."""
    m.submodules.dut = dut = Distances(width=1, beat_bytes=1)
    free(m, dut)
    before, here, value = Signal(range(3), init=2), Signal(range(3)), dut.i.payload.line[0]
    begin, passes = dut.i.payload.begin, Signal(range(8))
    largest, one, two = (Signal(signed(8), name=name) for name in ("largest", "one", "two"))
    m.d.comb += [Assume(dut.on), here.eq(Mux(begin, Mux(before == 2, 0, before + 1), before))]
    with m.If(dut.i.valid & dut.i.ready):
        m.d.sync += before.eq(here)
        with m.If(begin & (passes != 7)):
            m.d.sync += passes.eq(passes + 1)
        with m.If(here == 0):
            m.d.sync += largest.eq(Mux(begin | (value > largest), value, largest))
            with m.If(begin):
                m.d.sync += [one.eq(largest), two.eq(one)]
    with m.If(dut.o.valid):
        m.d.comb += Assert(dut.o.payload[0].as_unsigned() == (Mux(here == 2, two, one) - value)[:8])
    m.d.comb += Cover((passes == 7) & dut.o.valid)


def reciprocals(m: Module) -> None:
    """Each sum gives one scale, which stays until it is taken."""
    m.submodules.dut = dut = Reciprocal()
    free(m, dut)
    m.d.comb += Assume(dut.on)
    contract(m, dut.o)
    Order(m, dut.i, dut.o, capacity=2, compare=False, expected=dut.i.payload[0])


def scales(m: Module) -> None:
    """Whatever is sent when: each scale is taken once, for the first entries of the row that it is there for."""
    m.submodules.dut = dut = Passes(cols=2)
    free(m, dut)
    begun, under_way = Signal(), Signal(TAKEN_AFTER)
    waited, found = Signal(), Signal()
    m.d.comb += [
        Assume(dut.on & (dut.begin == ~begun) & (dut.length >= 1) & (dut.length <= 4)),
        Assume(~dut.advance | (begun & dut.ready)),
        Assume(dut.ends == (dut.advance & dut.last_lanes)),
        dut.taken.eq(under_way[-1]),
    ]
    # What gives the scales: a stream.
    m.d.sync += [begun.eq(1), under_way.eq(under_way << 1 | dut.row.begins), waited.eq(dut.scale & ~dut.taken)]
    m.d.comb += Assume(~waited | dut.scale)
    with m.If(dut.taken):
        m.d.comb += Assert(dut.scale)
    m.d.comb += Assert(~(dut.row.begins & under_way.any()))
    m.d.comb += Assert(~dut.writes | ~dut.row.sums)
    m.d.sync += found.eq(found | dut.taken)
    m.d.comb += Cover(found & dut.row.begins)


def test_scales():
    prove(scales, cover=24)


@pytest.mark.prove
def test_lines():
    prove(lines, cover=5)


@pytest.mark.prove
def test_maxima():
    prove(maxima, depth=14, cover=14)


@pytest.mark.prove
def test_reciprocals():
    prove(reciprocals)
