"""Terms on their way to the PEs: the encoder, and what gives a number's or a group's largest terms first."""

from __future__ import annotations

from functools import partial
from types import SimpleNamespace

import pytest
from amaranth.hdl import Array, Assert, Assume, Cat, Cover, Module, Mux, Signal, Value
from amaranth.lib import data

from prove import Order, any_const, any_seq, contract, free, prove
from sateen.hw.pe.term_edges import EXPONENTS, Selector, TermEncoder, TermFeeder, TermLoader
from sateen.hw.spec.pe import TERM_BEATS, TERM_GROUP, TERM_SLOTS, TERM_WEIGHTS, TermFields

TAG = data.StructLayout({"tag": 1})


def encoder(m: Module) -> None:
    """The digits make up the number; NAF's have no neighbours, and no other signed digits of that number are fewer."""
    m.submodules.dut = dut = TermEncoder()
    free(m, dut)
    digits = dut.digits
    m.d.comb += Assert((digits & ~dut.negative) - (digits & dut.negative) == dut.i)
    plus, minus = any_const(m, EXPONENTS + 1, "plus"), any_const(m, EXPONENTS + 1, "minus")
    with m.If(dut.naf):
        m.d.comb += Assert((digits & (digits << 1)) == 0)
        m.d.comb += Assert(sum(digits) <= 4)
        with m.If(plus - minus == dut.i):
            m.d.comb += Assert(sum(digits) <= sum(plus) + sum(minus))
    with m.Else():
        m.d.comb += Assert(sum(digits) <= 5)


def test_encoder():
    prove(encoder, depth=1)


class Digit:
    """One signed digit of a group of numbers, any of them, and what is asked of terms that are given largest first.

    It is given once, with its sign, if it is there; what is given before it is larger, or as large and of a lower
    index.
    """

    def __init__(self, m: Module):
        self.exponent, self.index = any_const(m, range(EXPONENTS), "exponent"), any_const(m, range(TERM_GROUP), "index")
        self.there, self.negative, self.given = Signal(name="there"), Signal(name="negative"), Signal(name="given")
        m.submodules.reference = self.encoder = TermEncoder()

    def of(self, m: Module, number: Value, naf: Value) -> tuple[Value, Value]:
        """Whether the digit is there, and negative, in a number."""
        m.d.comb += [self.encoder.i.eq(number), self.encoder.naf.eq(naf)]
        return self.encoder.digits.bit_select(self.exponent, 1), self.encoder.negative.bit_select(self.exponent, 1)

    def take(self, there: Value, negative: Value) -> list[object]:
        """Statements that begin to follow it."""
        return [self.there.eq(there), self.negative.eq(negative), self.given.eq(0)]

    def check(self, m: Module, term: Value, index: Value, *, taken: Value, group: Value | bool = True) -> None:
        """``term`` is given now, ``index`` being the number that it is of; ``group``: the digit's number is among those
        that give now."""
        wanted, this = Signal(name="wanted"), Signal(name="this")
        m.d.comb += [wanted.eq(self.there & group & ~self.given)]
        m.d.comb += this.eq(term.valid & (term.exponent == self.exponent) & (index == self.index))
        with m.If(wanted):
            m.d.comb += Assert(term.valid)
            m.d.comb += Assert(
                (term.exponent > self.exponent) | ((term.exponent == self.exponent) & (index <= self.index))
            )
        with m.If(this):
            m.d.comb += Assert(wanted)
            m.d.comb += Assert(term.negative == self.negative)
            with m.If(taken):
                m.d.sync += self.given.eq(1)


def selector(m: Module) -> None:
    """As the loader uses it: words, or another mask, then a beginning, and three cycles later step by step."""
    m.submodules.dut = dut = Selector()
    free(m, dut)
    digit = Digit(m)
    loaded, age, end = Signal(), Signal(range(4)), any_seq(m, 1, "end")
    mask = Signal(TERM_GROUP)
    m.d.sync += mask.eq(dut.mask)
    m.d.comb += [
        Assume(~dut.load | (age == 0)),
        Assume(~dut.begin | (loaded & (age == 0) & ~dut.load)),
        Assume(~dut.step | (age == 3)),
        Assume((age == 0) | (dut.mask == mask)),
    ]
    with m.If(dut.load):
        digits, negative = (
            Array(word)[digit.index].bit_select(digit.exponent, 1) for word in (dut.digits, dut.negative)
        )
        m.d.sync += [loaded.eq(1), *digit.take(digits, negative)]
    with m.If(dut.begin):
        m.d.sync += [age.eq(1), digit.given.eq(0)]
    with m.Elif((age == 1) | (age == 2) | ((age == 3) & end)):
        m.d.sync += age.eq(age + 1)
    with m.If(age == 3):
        digit.check(m, dut.o, dut.o.index, taken=dut.step, group=dut.mask.bit_select(digit.index, 1))
    m.d.comb += Cover(digit.given)


def fields(layout: TermFields, settings: Value, *names: str) -> list[Value]:
    """Settings by name."""
    return [settings[low : low + width] for low, width in (layout[name] for name in names)]


def term_feeder(m: Module, *, digits: bool) -> None:
    """A beat's waves: for each of its slices every slot, with the marks that belong there.

    ``digits``: an activation's largest terms, one a slice. For that, beats come and waves go without a pause: the rest
    is proven with them.
    """
    m.submodules.dut = dut = TermFeeder(rows=1, tag=TAG)
    free(m, dut)
    contract(m, dut.o)
    terms, slots, naf = fields(TERM_BEATS, dut.i.payload.settings, "terms", "slots", "naf")
    # Counters of many bits are beyond a proof for all time.
    most_terms, most_slots = (8, TERM_SLOTS) if digits else (3, 3)
    m.d.comb += Assume((terms >= 1) & (terms <= most_terms) & (slots >= 1) & (slots <= most_slots))
    wave = dut.o.payload
    ends = SimpleNamespace(valid=dut.o.valid & wave.last, ready=dut.o.ready)
    meta = Cat(terms, slots, dut.i.payload.swap, dut.i.payload.tag)
    order = Order(m, dut.i, ends, capacity=3, expected=meta, compare=False)
    if digits:
        m.d.comb += Assume(dut.i.valid & dut.o.ready)
    digit = Digit(m)
    found = digit.of(m, Array(dut.i.payload.data)[digit.index], naf)
    slice_, slot = Signal(4), Signal(6)
    with m.If(order.starts):
        m.d.sync += digit.take(*found)
    item_terms, item_slots, item_swap, item_tag = order.item[:4], order.item[4:10], order.item[10], order.item[11:]
    with m.If(dut.o.valid & order.here):
        first = (slice_ == 0) & (slot == 0)
        m.d.comb += Assert(wave.activations[0].slot == slot)
        m.d.comb += Assert(wave.first == first)
        m.d.comb += Assert(wave.swap == (first & item_swap))
        m.d.comb += Assert(wave.last == ((slot == item_slots - 1) & (slice_ == item_terms - 1)))
        m.d.comb += Assert(wave.tag.as_value() == item_tag)
        term = Signal(wave.activations[0].terms[0][0].shape())
        m.d.comb += term.eq(Array(wave.activations[0].terms[k].as_value() for k in range(TERM_GROUP))[digit.index])
        if digits:
            digit.check(m, term, digit.index, taken=dut.o.ready & (slot == item_slots - 1))
        with m.If(dut.o.ready):
            m.d.sync += slot.eq(slot + 1)
            with m.If(slot == item_slots - 1):
                m.d.sync += [slot.eq(0), slice_.eq(slice_ + 1)]
    m.d.comb += Cover(order.found & (digit.given | (not digits)))


def term_loader(m: Module, *, digits: bool) -> None:
    """A row's slots, of each group as many as its budget. ``digits``: they are its largest terms; without a pause, as
    for the feeder."""
    m.submodules.dut = dut = TermLoader(cols=1)
    free(m, dut)
    contract(m, dut.o)
    slot = dut.o.payload
    settings = dut.i.payload.settings
    terms, log2_group, naf = fields(TERM_WEIGHTS, settings, "terms", "log2_group", "naf")
    m.d.comb += Assume((terms >= 1) & (((terms << 3) >> log2_group) <= (TERM_SLOTS if digits else 8)))
    if digits:
        m.d.comb += Assume(dut.i.valid & dut.o.ready)
    # A row is eight words; the digit is in one of them.
    before, number, held = Signal.like(settings), Signal(range(TERM_GROUP)), Signal(2)
    digit = Digit(m)
    found = Mux(number == digit.index, Cat(digit.of(m, dut.i.payload.word[0], naf)), held)
    with m.If(dut.i.valid & dut.i.ready):
        m.d.sync += [number.eq(number + 1), before.eq(settings), held.eq(found)]
        m.d.comb += Assume((number == 0) | (settings == before))
    whole = SimpleNamespace(valid=dut.i.valid & (number == TERM_GROUP - 1), ready=dut.i.ready)
    ends = SimpleNamespace(valid=dut.o.valid & slot.last, ready=dut.o.ready)
    order = Order(m, whole, ends, capacity=2, expected=Cat(terms, log2_group), compare=False)
    with m.If(order.starts):
        m.d.sync += digit.take(*found)
    item_terms, item_log2 = order.item[:6], order.item[6:]
    count, place, group = Signal(6), Signal(6), Signal(4)
    with m.If(dut.o.valid & order.here):
        m.d.comb += Assert(slot.slot == count)
        m.d.comb += Assert(slot.last == ((place == item_terms - 1) & (((group + 1) << item_log2) == TERM_GROUP)))
        if digits:
            digit.check(
                m, slot.weights[0], slot.weights[0].index, taken=dut.o.ready, group=(digit.index >> item_log2) == group
            )
        with m.If(dut.o.ready):
            m.d.sync += [count.eq(count + 1), place.eq(place + 1)]
            with m.If(place == item_terms - 1):
                m.d.sync += [place.eq(0), group.eq(group + 1)]
    m.d.comb += Cover(order.found & (digit.given | (not digits)))


@pytest.mark.prove
def test_selector():
    prove(selector, cover=12)


@pytest.mark.prove
@pytest.mark.parametrize("build", [term_feeder, term_loader])
def test_schedule(build):
    prove(partial(build, digits=False), cover=24)


@pytest.mark.prove
@pytest.mark.parametrize("build, cycles", [(term_feeder, 14), (term_loader, 24)])
def test_contents(build, cycles):
    """Of the first beat, up to eight slices; of the first row, up to ten slots."""
    prove(partial(build, digits=True), depth=cycles, cover=cycles)
