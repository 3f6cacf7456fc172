"""The streams of a softmax: no line is lost or comes twice, each is subtracted from its own row's maximum, and no scale
is taken before it is there."""

from __future__ import annotations

import pytest
from amaranth.hdl import Assert, Assume, Cover, Module, Mux, Signal, signed

from prove import Order, contract, free, prove
from sateen.hw.pipelined.shares import FloatSum, total_latency
from sateen.hw.pipelined.softmax import Distances, Passes, Reciprocal
from sateen.hw.spec.timing import ADD_CYCLES

PACES = 4, 3
"""Cycles that entries take which are added up, and which are divided."""
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


def totals(m: Module) -> None:
    """Each row of numbers gives one sum, so many cycles after its last one, which stays until it is taken."""
    m.submodules.dut = dut = FloatSum(lanes=2)
    free(m, dut)
    contract(m, dut.o)
    latency, space = total_latency(2), ADD_CYCLES * 2
    since, after = Signal(range(latency + 1), init=latency), Signal(range(space + 3), init=space + 2)
    ended, waiting = Signal(), Signal(2)
    m.d.sync += [since.eq(since + (since != latency)), after.eq(after + (after != space + 2))]
    # As the passes have it: items come after their time, those of another row when the last one's sum is there alone.
    m.d.comb += Assume(dut.on & (~dut.valid | (after >= space + 2 * ended) & ~(ended & (waiting > 1))))
    with m.If(dut.valid):
        m.d.sync += [after.eq(1), ended.eq(dut.last)]
        with m.If(dut.last):
            m.d.sync += since.eq(1)
    finished = dut.valid & dut.last
    m.d.sync += waiting.eq(waiting + finished - (dut.o.valid & dut.o.ready))
    m.d.comb += Assert(~dut.o.valid | (waiting != 0))
    with m.If((since == latency) & (waiting != 0)):
        m.d.comb += Assert(dut.o.valid)
    m.d.comb += Cover(dut.o.valid & dut.o.ready & (waiting == 2))


def scales(m: Module, paces: tuple[int, int] | None = None) -> None:
    """Whatever is sent when: each scale is taken once, for the first entries of the row that it is there for."""
    m.submodules.dut = dut = Passes(cols=2, paces=paces)
    free(m, dut)
    on, begun, under_way = Signal(), Signal(), Signal(TAKEN_AFTER)
    waited, found = Signal(), Signal()
    m.d.comb += [
        Assume((dut.on == on) & (dut.begin == (on & ~begun)) & (dut.length >= 1) & (dut.length <= 4)),
        Assume(~dut.advance | (begun & dut.ready)),
        Assume(dut.ends == (dut.advance & dut.last_lanes)),
        dut.taken.eq(under_way[-1]),
    ]
    # What gives the scales: a stream.
    m.d.sync += [on.eq(1), begun.eq(on), under_way.eq(under_way << 1 | dut.row.begins)]
    m.d.sync += waited.eq(dut.scale & ~dut.taken)
    m.d.comb += Assume(~waited | dut.scale)
    with m.If(dut.taken):
        m.d.comb += Assert(dut.scale)
    m.d.comb += Assert(~(dut.row.begins & under_way.any()))
    m.d.comb += Assert(~dut.writes | ~dut.row.sums)
    m.d.sync += found.eq(found | dut.taken)
    m.d.comb += Cover(found & dut.row.begins)


def paces(m: Module) -> None:
    """Entries that take their time are followed by others no sooner, and wait for nothing but scales."""
    scales(m, PACES)
    dut = m.submodules.dut
    since, needed = Signal(range(max(PACES) + 1), init=max(PACES)), Signal(range(max(PACES) + 1))
    scaled, lines = Signal(), Signal()
    with m.If(since != max(PACES)):
        m.d.sync += since.eq(since + 1)
    with m.If(dut.advance):
        m.d.sync += [since.eq(1), needed.eq(Mux(dut.slow, Mux(scaled, PACES[1], PACES[0]), 1))]
    # A row has two lines, so that it is known here which pass they are of.
    m.d.comb += Assume(dut.length == 4)
    with m.If(dut.ends):
        m.d.sync += [lines.eq(~lines), scaled.eq(scaled ^ lines)]
    with m.If(since < needed):
        m.d.comb += Assert(~dut.ready)
    with m.Elif(dut.scale & ~dut.taken):
        m.d.comb += Cover(dut.ready & dut.slow & scaled)


def test_scales():
    prove(scales, cover=24)


def test_paces():
    prove(paces, cover=24)


@pytest.mark.prove
def test_lines():
    prove(lines, cover=5)


@pytest.mark.prove
def test_maxima():
    prove(maxima, depth=14, cover=14)


@pytest.mark.prove
def test_totals():
    prove(totals, cover=30)


@pytest.mark.prove
def test_reciprocals():
    prove(reciprocals)
