"""The edges of an array of term MACs, where numbers become terms."""

from __future__ import annotations

from amaranth.hdl import Cat, Const, Module, Mux, Signal, Value, signed
from amaranth.lib import data, wiring
from amaranth.lib.wiring import In, Out, connect
from amaranth.utils import ceil_log2

from sateen.hw.pe.combine import CombinedLoader
from sateen.hw.pe.contract import Feeder, Loader
from sateen.hw.spec.pe import TERM_BEATS, TERM_GROUP, TERM_SLOTS, TERM_WEIGHTS, TermFields
from sateen.hw.stream.view import view

__all__ = [
    "EXPONENTS",
    "TERM",
    "WEIGHT_TERM",
    "Selector",
    "TermEncoder",
    "TermFeeder",
    "TermLoader",
    "activation_shape",
    "slot_weight_shape",
]

EXPONENTS = 8
"""Exponents of an int8's terms: 0 to 7."""
TERM = data.StructLayout({"valid": 1, "negative": 1, "exponent": 3})
WEIGHT_TERM = data.StructLayout({"valid": 1, "negative": 1, "exponent": 3, "index": ceil_log2(TERM_GROUP)})


def activation_shape(inputs: int = 1) -> data.StructLayout:
    """What a PE takes of the activations: a term of each, ``inputs`` for each weight; the number of the weight term."""
    return data.StructLayout(
        {"terms": data.ArrayLayout(data.ArrayLayout(TERM, inputs), TERM_GROUP), "slot": range(TERM_SLOTS)}
    )


def slot_weight_shape(inputs: int = 1) -> data.StructLayout:
    """A weight term, and the activation that it selects."""
    return data.StructLayout({**WEIGHT_TERM.members, **({"select": ceil_log2(inputs)} if inputs > 1 else {})})


def _fields(layout: TermFields, settings: Value) -> dict[str, Value]:
    """The fields of settings."""
    return {name: settings[low : low + width] for name, (low, width) in layout.items()}


class TermEncoder(wiring.Component):
    """The signed digits of an int8: ``i = Σ ±2^e`` over the bits ``e`` of ``digits``. Combinational.

    Members
    -------
    i : In
        The number.
    naf : In(1)
        Non-adjacent form; else HESE. Definition: :func:`sateen.sim.golden.terms.encode`.
    digits : Out
        A bit per power of two.
    negative : Out
        Which digits count negative; undefined where there is no digit.
    """

    def __init__(self) -> None:
        super().__init__({"i": In(signed(8)), "naf": In(1), "digits": Out(EXPONENTS), "negative": Out(EXPONENTS)})

    def elaborate(self, platform: object) -> Module:
        m = Module()
        magnitude, tripled = Signal(8), Signal(10)
        m.d.comb += [
            magnitude.eq((self.i ^ self.i[-1].replicate(8)) + self.i[-1]),
            tripled.eq(magnitude + (magnitude << 1)),
        ]
        bits = Cat(Const(0, 2), magnitude, Const(0, 2))
        for e in range(EXPONENTS):
            lower, below, here, above = bits[e : e + 4]
            m.d.comb += [
                self.digits[e].eq(Mux(self.naf, tripled[e + 1] ^ above, Mux(here, ~below, below & lower))),
                self.negative[e].eq((above & (self.naf | here)) ^ self.i[-1]),
            ]
        return m


class TermFeeder(Feeder):
    """Turns beats into slices of terms: the first has each activation's largest term, the second its next one; each
    slice is given once for every weight term.

    Settings: :data:`sateen.hw.spec.pe.TERM_BEATS`. The next slice is made, and the next beat encoded, while a slice is
    given. A slice takes at least 2 cycles: with a single weight term, waves without terms separate a beat's slices.
    """

    def __init__(self, *, rows: int, tag: data.Layout):
        super().__init__(rows=rows, group=TERM_GROUP, activation=activation_shape(), tag=tag)

    def elaborate(self, platform: object) -> Module:
        m = Module()
        count = self.rows * TERM_GROUP
        settings = _fields(TERM_BEATS, self.i.payload.settings)
        # `held`: the beat whose digits are left, and its number of `slices`; `following`: the next slice. The slice
        # that is given now is in the wave.
        marks = data.StructLayout({"slots": 6, "swap": 1, "first": 1, "last": 1, "tag": self.i.payload.tag.shape()})
        held, following = view(marks), view(marks)
        slices, ready, left = Signal(4), Signal(), Signal(6)
        last_slice, take, move, slot = Signal(), Signal(), Signal(), Signal(range(TERM_SLOTS))
        wave, given = self.o.payload, self.o.valid & self.o.ready
        m.d.comb += [
            self.o.valid.eq(left != 0),
            take.eq(~ready & (slices != 0)),
            move.eq((left == 0) | ((left == 1) & self.o.ready)),
            self.i.ready.eq((slices == 0) | (take & (slices == 1))),
            wave.last.eq(last_slice & (left == 1)),
            *(wave.activations[row].slot.eq(slot) for row in range(self.rows)),
        ]
        with m.If(given):
            m.d.sync += [left.eq(left - 1), slot.eq(slot + 1), wave.first.eq(0), wave.swap.eq(0)]
        with m.If(take):
            m.d.sync += [following.eq(held), following.last.eq(slices == 1), ready.eq(1), slices.eq(slices - 1)]
            m.d.sync += [held.first.eq(0), held.swap.eq(0)]
        with m.If(move & ready):
            m.d.sync += [
                ready.eq(0), left.eq(following.slots), slot.eq(0), last_slice.eq(following.last),
                wave.first.eq(following.first), wave.swap.eq(following.swap), wave.tag.eq(following.tag),
            ]  # fmt: skip
        with m.If(self.i.valid & self.i.ready):
            m.d.sync += [
                slices.eq(settings["terms"]), held.slots.eq(settings["slots"]), held.first.eq(1),
                held.swap.eq(self.i.payload.swap), held.tag.eq(self.i.payload.tag),
            ]  # fmt: skip
        for index in range(count):
            term = wave.activations[index // TERM_GROUP].terms[index % TERM_GROUP][0]
            self._element(m, index, term, naf=settings["naf"], take=take, move=move, ready=ready)
        return m

    def _element(
        self, m: Module, index: int, given: data.View, *, naf: Value, take: Value, move: Value, ready: Value
    ) -> None:
        """One activation: its remaining digits; the largest of them, ``following``; and the one that is ``given``,
        which is invalid if nothing follows."""
        m.submodules[f"encoder_{index}"] = encoder = TermEncoder()
        digits, negative = Signal(EXPONENTS, name=f"digits_{index}"), Signal(EXPONENTS, name=f"negative_{index}")
        largest, following = Signal(EXPONENTS, name=f"largest_{index}"), view(TERM, name=f"following_{index}")
        m.d.comb += [encoder.i.eq(self.i.payload.data[index]), encoder.naf.eq(naf), largest.eq(_highest(digits))]
        with m.If(take):
            m.d.sync += [
                following.valid.eq(digits.any()),
                following.negative.eq((negative & largest).any()),
                following.exponent.eq(_index(largest)),
                digits.eq(digits & ~largest),
            ]
        with m.If(self.i.valid & self.i.ready):
            m.d.sync += [digits.eq(encoder.digits), negative.eq(encoder.negative)]
        with m.If(move):
            m.d.sync += [given.eq(following), given.valid.eq(following.valid & ready)]


class Selector(wiring.Component):
    """The terms of a group of weights, one per ``step``: largest first, equal ones by index.

    Members
    -------
    load : In(1), digits, negative : In
        Loads the digits of a PE's weights, as :class:`TermEncoder` gives them.
    begin : In(1), mask : In
        Begins a group: the weights whose bits in ``mask`` are set. The first term is out 3 cycles later.
    step : In(1)
        Goes to the next term.
    o : Out
        The term; invalid when there are no more.
    """

    def __init__(self) -> None:
        super().__init__(
            {
                "load": In(1),
                "digits": In(data.ArrayLayout(EXPONENTS, TERM_GROUP)),
                "negative": In(data.ArrayLayout(EXPONENTS, TERM_GROUP)),
                "begin": In(1),
                "mask": In(TERM_GROUP),
                "step": In(1),
                "o": Out(WEIGHT_TERM),
            }
        )

    def elaborate(self, platform: object) -> Module:
        m = Module()
        # For each exponent: which weights have a term, and which a negative one.
        rows = [
            view(data.StructLayout({"any": TERM_GROUP, "negative": TERM_GROUP}), name=f"row_{e}")
            for e in range(EXPONENTS)
        ]
        with m.If(self.load):
            for e, row in enumerate(rows):
                for index in range(TERM_GROUP):
                    m.d.sync += [
                        row.any[index].eq(self.digits[index][e]),
                        row.negative[index].eq(self.negative[index][e]),
                    ]
        # Rows whose terms are still to be given; the next of them; the row whose terms are given now.
        row_shape = data.StructLayout({"exponent": 3, **rows[0].shape().members})
        waiting, following, current = Signal(EXPONENTS), view(row_shape), view(row_shape)
        chosen, lowest, fetch = Signal(EXPONENTS), Signal(TERM_GROUP), Signal()
        begun, fill = Signal(), Signal()
        m.d.comb += [chosen.eq(_highest(waiting)), lowest.eq(current.any & -current.any), fetch.eq(begun | fill)]
        m.d.sync += [begun.eq(self.begin), fill.eq(begun)]
        with m.If(self.begin):
            m.d.sync += [waiting[e].eq((row.any & self.mask).any()) for e, row in enumerate(rows)]
            m.d.sync += current.any.eq(0)
        with m.If(self.step):
            m.d.sync += current.any.eq(current.any & ~lowest)
            m.d.comb += fetch.eq((current.any & ~lowest) == 0)
        with m.If(fetch):
            m.d.sync += [current.eq(following), waiting.eq(waiting & ~chosen), following.exponent.eq(_index(chosen))]
            for name in ("any", "negative"):
                words = [Mux(chosen[e], row[name], 0) for e, row in enumerate(rows)]
                total: Value = Const(0, TERM_GROUP)
                for word in words:
                    total = total | word
                m.d.sync += following[name].eq(total & self.mask)
        m.d.comb += [
            self.o.valid.eq(current.any.any()),
            self.o.negative.eq((current.negative & lowest).any()),
            self.o.exponent.eq(current.exponent),
            self.o.index.eq(_index(lowest)),
        ]
        return m


class TermLoader(Loader):
    """Turns words into the largest terms of each group. Settings: :data:`sateen.hw.spec.pe.TERM_WEIGHTS`.

    A group takes ``terms + 3`` cycles; the words of the next PE arrive meanwhile.

    Parameters
    ----------
    rows : int
        Of PEs; matters only with selects.
    inputs : int
        Activations from which each weight selects; above 1, selects may precede words, see
        :class:`~sateen.hw.pe.combine.CombinedLoader`.
    """

    def __init__(self, *, cols: int, rows: int = 1, inputs: int = 1):
        self.rows, self.inputs = rows, inputs
        super().__init__(cols=cols, weight=slot_weight_shape(inputs), slots=TERM_SLOTS)

    def elaborate(self, platform: object) -> Module:
        m = Module()
        index, full = Signal(range(TERM_GROUP)), Signal()
        arriving = Signal(self.i.payload.settings.shape())
        load, begin, step, taken = Signal(), Signal(), Signal(), Signal()
        words = self._words(m, ready=~full | load, taken=taken)
        with m.If(load):
            m.d.sync += full.eq(0)
        with m.If(taken):
            m.d.sync += [index.eq(index + 1), arriving.eq(self.i.payload.settings), full.eq(index == TERM_GROUP - 1)]

        settings = Signal(self.i.payload.settings.shape())
        fields = _fields(TERM_WEIGHTS, settings)
        mask, slot, left, fill = Signal(TERM_GROUP), Signal(range(TERM_SLOTS)), Signal(6), Signal(2)
        size = Signal(TERM_GROUP)
        m.d.comb += size.eq((1 << (1 << _fields(TERM_WEIGHTS, arriving)["log2_group"])) - 1)
        with m.FSM():
            with m.State("idle"):
                with m.If(full):
                    m.d.comb += load.eq(1)
                    m.d.sync += [settings.eq(arriving), mask.eq(size), slot.eq(0)]
                    m.next = "begin"
            with m.State("begin"):
                m.d.comb += begin.eq(1)
                m.d.sync += [fill.eq(2), left.eq(fields["terms"])]
                m.next = "fill"
            with m.State("fill"):
                m.d.sync += fill.eq(fill - 1)
                with m.If(fill == 1):
                    m.next = "give"
            with m.State("give"):
                m.d.comb += [self.o.valid.eq(1), step.eq(self.o.ready)]
                m.d.comb += self.o.payload.last.eq((left == 1) & mask[-1])
                with m.If(self.o.ready):
                    m.d.sync += [left.eq(left - 1), slot.eq(slot + 1)]
                    with m.If(left == 1):
                        m.next = "begin"
                        for log2_group in range(ceil_log2(TERM_GROUP) + 1):
                            with m.If(fields["log2_group"] == log2_group):
                                m.d.sync += mask.eq(mask << (1 << log2_group))
                        with m.If(mask[-1]):
                            m.next = "idle"
        m.d.comb += self.o.payload.slot.eq(slot)
        naf = _fields(TERM_WEIGHTS, self.i.payload.settings)["naf"]
        for column, word in enumerate(words):
            selector = self._column(m, column, word, naf=naf, taken=taken, load=load)
            m.d.comb += [selector.begin.eq(begin), selector.mask.eq(mask), selector.step.eq(step)]
        return m

    def _column(self, m: Module, column: int, word: data.View, *, naf: Value, taken: Signal, load: Signal) -> Selector:
        """A column's encoder, the registers of a PE's encoded weights, and the selector that gives their terms."""
        m.submodules[f"encoder_{column}"] = encoder = TermEncoder()
        m.submodules[f"selector_{column}"] = selector = Selector()
        m.d.comb += [encoder.i.eq(word.value), encoder.naf.eq(naf), selector.load.eq(load)]
        # The words are shifted in, the last one at the top.
        for name in ("digits", "negative"):
            held = view(data.ArrayLayout(EXPONENTS, TERM_GROUP), name=f"{name}_{column}")
            m.d.comb += getattr(selector, name).eq(held)
            with m.If(taken):
                m.d.sync += held.as_value().eq(Cat(held.as_value()[EXPONENTS:], getattr(encoder, name)))
        weight = self.o.payload.weights[column]
        m.d.comb += [weight[name].eq(selector.o[name]) for name in WEIGHT_TERM.members]
        if self.inputs > 1:
            shape = data.ArrayLayout(ceil_log2(self.inputs), TERM_GROUP)
            held, current = view(shape, name=f"selects_{column}"), view(shape, name=f"current_selects_{column}")
            with m.If(taken):
                m.d.sync += held.as_value().eq(Cat(held.as_value(), word.select)[len(word.select) :])
            with m.If(load):
                m.d.sync += current.eq(held)
            m.d.comb += weight.select.eq(current[selector.o.index])
        return selector

    def _words(self, m: Module, *, ready: Value, taken: Signal) -> list[data.View]:
        """The columns' weights with their selects, one of each when ``taken``, which needs ``ready``."""
        shape = data.StructLayout({"value": signed(8), "select": ceil_log2(self.inputs)})
        if self.inputs > 1:
            m.submodules.combined = combined = CombinedLoader(rows=self.rows * TERM_GROUP, cols=self.cols, weight=shape)
            connect(m, wiring.flipped(self.i), combined.i)
            m.d.comb += [combined.o.ready.eq(ready), taken.eq(combined.o.valid & ready)]
            return list(combined.o.payload.weights)
        m.d.comb += [self.i.ready.eq(ready), taken.eq(self.i.valid & ready)]
        words = [view(shape, name=f"word_{column}") for column in range(self.cols)]
        m.d.comb += [word.value.eq(byte) for word, byte in zip(words, self.i.payload.word, strict=True)]
        return words


def _highest(bits: Value) -> Value:
    """The highest bit that is set, one-hot."""
    return Cat(bit & ~bits[place + 1 :].any() if place + 1 < len(bits) else bit for place, bit in enumerate(bits))


def _index(one_hot: Value) -> Value:
    """The place of the only bit that is set; 0 if none is."""
    width = ceil_log2(len(one_hot))
    return Cat(Cat(one_hot[place] for place in range(len(one_hot)) if place >> bit & 1).any() for bit in range(width))
