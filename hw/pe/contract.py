"""The contract between PEs and the array, and what a kind has around its PEs."""

from __future__ import annotations

from amaranth.hdl import Cat, Module, ShapeLike, Value, signed
from amaranth.lib import data, stream, wiring
from amaranth.lib.wiring import In, Out

from sateen.hw.spec.pe import BEAT_SETTING_BITS, WEIGHT_SETTING_BITS, PeKind, window
from sateen.hw.stream.delay import kept

__all__ = ["Feeder", "Loader", "PeArray", "PeSignature", "beat_shape", "pass_on", "slot_shape", "wave_shape"]

INT8 = signed(8)


class PeSignature(wiring.Signature):
    """Ports of every PE, seen from inside it.

    Everything hops on to the neighbour in one cycle: activations, ``swap`` and ``capture`` to the right, weights down.
    What is at the PE's inputs in cycle ``t`` meets the partial sum at ``sum_i`` in cycle ``t + latency - 1``, and their
    total is at ``sum_o`` in cycle ``t + latency``.

    Parameters
    ----------
    activation : shape
        Of what a PE takes of the activations each cycle.
    weight : shape
        Of what it takes of the weights each cycle.
    slots : int
        Captures that one PE's weights take at most.
    sum_bits : int
        Width of a partial sum.
    sample : shape or None
        Of what a kind that has sliding windows takes from above.

    Members
    -------
    activation_i : In, activation_o : Out
        Part of a beat.
    slide_i : In(1), slide_o : Out(1)
        With an activation, which does not count then: the PE takes its sample instead. Only with ``sample``.
    sample_i : In, sample_o : Out
        With a beat that slides, a sample; to the PE below goes, with the same beat, the one that came with such a beat
        before.
    swap_i : In(1), swap_o : Out(1)
        With an activation: from it on, the captured weights are the current ones.
    weight_i : In, weight_o : Out
        On its way down.
    capture_i : In, capture_o : Out
        ``valid``: what is at ``weight_i`` is ``slot`` of this PE's next weights. With a ``swap`` it belongs to those
        after the swap's.
    sum_i : In, sum_o : Out
        Partial sum.
    """

    def __init__(
        self,
        *,
        activation: ShapeLike,
        weight: ShapeLike,
        slots: int = 1,
        sum_bits: int,
        sample: ShapeLike | None = None,
    ):
        capture = data.StructLayout({"valid": 1, "slot": range(slots)})
        members = {"activation": activation, "swap": 1, "weight": weight, "capture": capture, "sum": signed(sum_bits)}
        if sample is not None:
            members |= {"slide": 1, "sample": sample}
        super().__init__(
            {f"{name}_i": In(shape) for name, shape in members.items()}
            | {f"{name}_o": Out(shape) for name, shape in members.items()}
        )


def pass_on(m: Module, platform: object, pe: wiring.Component, *names: str) -> None:
    """Registers on a PE's way to its neighbours. What is in them counts for nothing until a beat comes, so that no
    reset reaches them.

    They are the PE's own: what goes to all rows is the same in all PEs of a diagonal, which lie all over the chip.
    """
    for name in names:
        m.d.comb += getattr(pe, f"{name}_o").eq(kept(m, platform, getattr(pe, f"{name}_i"), name=name))


def beat_shape(elements: int, tag: data.Layout) -> data.StructLayout:
    """What a feeder takes: ``elements`` int8 values, whether weights are swapped with them, whether they go to the
    columns, the layer's settings, a tag."""
    values = data.ArrayLayout(signed(8), elements)
    return data.StructLayout({"data": values, "swap": 1, "slide": 1, "settings": BEAT_SETTING_BITS, "tag": tag})


def wave_shape(activation: ShapeLike, rows: int, tag: data.Layout) -> data.StructLayout:
    """What a feeder gives each cycle: activations for every row; ``first`` and ``last`` of their beat; ``swap`` with
    the first; whether they go to the columns; its tag."""
    activations = data.ArrayLayout(activation, rows)
    return data.StructLayout({"activations": activations, "swap": 1, "slide": 1, "first": 1, "last": 1, "tag": tag})


def slot_shape(weight: ShapeLike, cols: int, slots: int) -> data.StructLayout:
    """What a loader gives each cycle: a part of the weights of every column's PE in a row, its number, and whether it
    is the last."""
    return data.StructLayout({"weights": data.ArrayLayout(weight, cols), "slot": range(slots), "last": 1})


class Feeder(wiring.Component):
    """At the array's left edge: beats become waves of what the PEs take. This one passes a beat of one element a row on
    as it is.

    Members
    -------
    i : In(stream)
        Beats, see :func:`beat_shape`.
    o : Out(stream)
        Waves, see :func:`wave_shape`; once the first of a beat is taken, the others follow each other.
    """

    def __init__(self, *, rows: int, tag: data.Layout, group: int = 1, activation: ShapeLike = INT8):
        self.rows = rows
        super().__init__(
            {
                "i": In(stream.Signature(beat_shape(rows * group, tag))),
                "o": Out(stream.Signature(wave_shape(activation, rows, tag))),
            }
        )

    def elaborate(self, platform: object) -> Module:
        m = Module()
        wave = self.o.payload
        m.d.comb += [
            self.o.valid.eq(self.i.valid),
            self.i.ready.eq(self.o.ready),
            wave.activations.eq(self.i.payload.data),
            wave.swap.eq(self.i.payload.swap),
            wave.slide.eq(self.i.payload.slide),
            wave.first.eq(1),
            wave.last.eq(1),
            wave.tag.eq(self.i.payload.tag),
        ]
        return m


class Loader(wiring.Component):
    """At the array's upper edge: words of weights become what the PEs capture. This one passes them on as they are, the
    bits that the PEs hold.

    Members
    -------
    i : In(stream)
        ``word``: ``cols`` int8 weights; ``settings`` of the layer.
    o : Out(stream)
        Slots, see :func:`slot_shape`.
    """

    def __init__(self, *, cols: int, weight: ShapeLike = INT8, slots: int = 1):
        self.cols = cols
        word = data.StructLayout({"word": data.ArrayLayout(signed(8), cols), "settings": WEIGHT_SETTING_BITS})
        super().__init__({"i": In(stream.Signature(word)), "o": Out(stream.Signature(slot_shape(weight, cols, slots)))})

    def elaborate(self, platform: object) -> Module:
        m = Module()
        m.d.comb += [
            self.o.valid.eq(self.i.valid),
            self.i.ready.eq(self.o.ready),
            *(self.o.payload.weights[column].eq(self.i.payload.word[column]) for column in range(self.cols)),
            self.o.payload.last.eq(1),
        ]
        return m


class PeArray:
    """What a kind of PE makes of an array: its PEs and what stands at the edges. A kind overrides what differs from the
    plain MAC's.

    Parameters
    ----------
    kind : PeKind
        The kind's numbers.
    rows, cols : int
        Of PEs.
    weight_bits : int
        Width of the weights.
    sum_bits : int
        Width of the sums below the array.
    multipliers : int
        PEs that may use hardware multipliers: whole rows, the upper ones.
    inputs : int
        Activations side by side that a PE's weights choose from, see :func:`sateen.hw.spec.pe.window`. A kind of one
        element a PE leaves that to :class:`~sateen.hw.pe.combine.Combined`.
    tag : Layout
        What goes with a beat.
    """

    def __init__(
        self,
        kind: PeKind,
        *,
        rows: int,
        cols: int,
        weight_bits: int,
        sum_bits: int,
        multipliers: int,
        inputs: int = 1,
        tag: data.Layout,
    ):
        self.kind, self.rows, self.cols, self.inputs, self.tag = kind, rows, cols, inputs, tag
        self.weight_bits, self.sum_bits, self.multipliers = weight_bits, sum_bits, multipliers

    def pe(self, row: int, column: int) -> wiring.Component:
        """The PE at a place, with a :class:`PeSignature`."""
        raise NotImplementedError

    def latency(self, row: int) -> int:
        """Of a row's PEs: ``kind.latency`` or less, and none more than of the row above."""
        return self.kind.latency

    def feeder(self) -> wiring.Component:
        """Makes waves of beats, as :class:`Feeder`."""
        return Feeder(rows=self.rows, tag=self.tag)

    def seen(self, activations: data.View, row: int) -> Value:
        """What the PEs of a row take of a wave."""
        return Cat(activations[place] for place in window(row, rows=self.rows, combine=self.inputs))

    def loader(self) -> wiring.Component:
        """Makes slots of words, as :class:`Loader`."""
        return Loader(cols=self.cols, weight=signed(self.weight_bits))

    def foot(self) -> wiring.Component | None:
        """Below each column, ``kind.foot`` cycles: ``i`` partial sums with ``first`` of their beat; ``o`` their total
        so far."""
        return None
