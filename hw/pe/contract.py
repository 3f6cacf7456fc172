"""The contract between PEs and the array, and the parts at the array's edges."""

from __future__ import annotations

from typing import Any

from amaranth.hdl import Cat, Module, ShapeLike, Value, signed
from amaranth.lib import data, stream, wiring
from amaranth.lib.wiring import In, Out

from sateen.hw.pe.shape import ArrayShape
from sateen.hw.spec.pe import BEAT_SETTING_BITS, WEIGHT_SETTING_BITS, ZERO_POINT_BIT, window
from sateen.hw.stream.delay import dedicated_register

__all__ = ["Feeder", "Loader", "PeArray", "PeSignature", "beat_shape", "forward", "slot_shape", "wave_shape"]

INT8 = signed(8)


class PeSignature(wiring.Signature):
    """Ports of every PE, seen from inside it.

    Everything moves to the neighbour in one cycle: activations, ``swap`` and ``capture`` to the right, weights down. An
    activation at the PE's input in cycle ``t`` meets the partial sum at ``sum_i`` in cycle ``t + latency - 1``, and the
    total is at ``sum_o`` in cycle ``t + latency``.

    Parameters
    ----------
    activation : shape
        What a PE takes of the activations each cycle.
    weight : shape
        What it takes of the weights each cycle.
    slots : int
        Most captures that one PE's weights take.
    sum_bits : int
        Width of a partial sum.
    sample : shape or None
        What a kind with sliding windows takes from above.

    Members
    -------
    activation_i : In, activation_o : Out
        Part of a beat.
    slide_i : In(1), slide_o : Out(1)
        With an activation: the PE takes its sample instead. Only with ``sample``.
    sample_i : In, sample_o : Out
        The sample of a beat that slides; the PE below gets, with the same beat, the sample of the last such beat.
    swap_i : In(1), swap_o : Out(1)
        With an activation: from it on, the captured weights are the current ones.
    weight_i : In, weight_o : Out
        Moves down the column.
    capture_i : In, capture_o : Out
        ``valid``: ``weight_i`` is ``slot`` of this PE's next weights; together with a ``swap``, of those after the
        swapped ones.
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


def forward(m: Module, platform: object, pe: wiring.Component, *names: str) -> None:
    """Registers between a PE and its neighbours, for the ports of these names. Their contents do not matter before a
    beat arrives, so that they need no reset.

    They are dedicated: all PEs of a diagonal hold the same ``swap``, and synthesis would share one register between
    places all over the chip.
    """
    for name in names:
        m.d.comb += getattr(pe, f"{name}_o").eq(dedicated_register(m, platform, getattr(pe, f"{name}_i"), name=name))


def beat_shape(elements: int, tag: data.Layout) -> data.StructLayout:
    """What a feeder takes: ``elements`` int8 values; whether weights are swapped with them; whether they go to the
    columns; the layer's settings; a tag."""
    values = data.ArrayLayout(signed(8), elements)
    return data.StructLayout({"data": values, "swap": 1, "slide": 1, "settings": BEAT_SETTING_BITS, "tag": tag})


def wave_shape(activation: ShapeLike, rows: int, tag: data.Layout) -> data.StructLayout:
    """What a feeder gives each cycle: activations for every row; whether they are the ``first`` and ``last`` of their
    beat; ``swap``, with the first; whether they go to the columns; the beat's tag."""
    activations = data.ArrayLayout(activation, rows)
    return data.StructLayout({"activations": activations, "swap": 1, "slide": 1, "first": 1, "last": 1, "tag": tag})


def slot_shape(weight: ShapeLike, cols: int, slots: int) -> data.StructLayout:
    """What a loader gives each cycle: one of the ``slots`` of a row's weights, for every column; their zero point; its
    number; whether it is the row's last."""
    weights = data.ArrayLayout(weight, cols)
    return data.StructLayout({"weights": weights, "zero_point": INT8, "slot": range(slots), "last": 1})


class Feeder(wiring.Component):
    """The array's left edge: turns beats into waves, what the PEs take each cycle. This one forwards a beat of one
    element a row unchanged.

    Members
    -------
    i : In(stream)
        Beats, see :func:`beat_shape`.
    o : Out(stream)
        Waves, see :func:`wave_shape`; those after a beat's first follow without a pause.
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
            wave.activations.eq(self.activations(self.i.payload)),
            wave.swap.eq(self.i.payload.swap),
            wave.slide.eq(self.i.payload.slide),
            wave.first.eq(1),
            wave.last.eq(1),
            wave.tag.eq(self.i.payload.tag),
        ]
        return m

    def activations(self, beat: data.View) -> Any:
        """What the PEs take of a beat."""
        return beat.data


class Loader(wiring.Component):
    """The array's upper edge: turns words of weights into slots, what the PEs capture. This one forwards the words,
    truncated to the PEs' weights, and the zero point in their settings.

    Parameters
    ----------
    cols : int
        Weights that it gives at once, those of the first row first.
    row : int
        Of these, the weights of one row.
    per_byte : int
        Weights of as many rows that share a byte, the first one in its lowest bits.

    Members
    -------
    i : In(stream)
        ``word``: ``cols / per_byte`` int8; ``settings`` of the layer.
    o : Out(stream)
        Slots, see :func:`slot_shape`.
    """

    def __init__(
        self, *, cols: int, row: int | None = None, per_byte: int = 1, weight: ShapeLike = INT8, slots: int = 1
    ):
        self.cols, self.row, self.per_byte = cols, row or cols, per_byte
        words = data.ArrayLayout(signed(8), cols // per_byte)
        word = data.StructLayout({"word": words, "settings": WEIGHT_SETTING_BITS})
        super().__init__({"i": In(stream.Signature(word)), "o": Out(stream.Signature(slot_shape(weight, cols, slots)))})

    def elaborate(self, platform: object) -> Module:
        m = Module()
        m.d.comb += [
            self.o.valid.eq(self.i.valid),
            self.i.ready.eq(self.o.ready),
            *(self.o.payload.weights[place].eq(self._weight(place)) for place in range(self.cols)),
            self.o.payload.zero_point.eq(self.i.payload.settings[ZERO_POINT_BIT:]),
            self.o.payload.last.eq(1),
        ]
        return m

    def _weight(self, place: int) -> Value:
        """One of the weights that it gives, and the bits above it in its byte."""
        row, column = divmod(place, self.row)
        group, within = divmod(row, self.per_byte)
        byte = self.i.payload.word[group * self.row + column]
        return byte[within * 8 // self.per_byte :] if within else byte


class PeArray:
    """A kind of PE as an array: its PEs and the parts at the edges. A kind overrides what differs from the MAC.

    Parameters
    ----------
    shape : ArrayShape
        Its numbers. Where ``combine`` is above 1, a kind of one element a PE leaves the selection to
        :class:`~sateen.hw.pe.combine.Combined`.
    sum_bits : int
        Width of the sums below the array.
    tag : Layout
        What accompanies a beat.
    """

    def __init__(self, shape: ArrayShape, *, sum_bits: int, tag: data.Layout):
        self.shape, self.kind, self.sum_bits, self.tag = shape, shape.kind, sum_bits, tag
        self.rows, self.cols, self.inputs, self.weight_bits = shape.rows, shape.cols, shape.combine, shape.weight_bits

    def pe(self, row: int, column: int) -> wiring.Component:
        """The PE at a place, with a :class:`PeSignature`."""
        raise NotImplementedError

    def latency(self, row: int) -> int:
        """Latency of a row's PEs: at most ``kind.latency``, and at most that of the row above."""
        return self.kind.latency

    def slides(self, row: int) -> bool:
        """Whether a row's PEs take samples. Those of the rows below do, too."""
        return row >= self.rows - self.shape.sliding_rows

    def join(self, m: Module, row: int, line: list[wiring.Component]) -> None:
        """Connects what the PEs of a row have besides a :class:`PeSignature`."""

    def feeder(self) -> wiring.Component:
        """The feeder, as :class:`Feeder`."""
        return Feeder(rows=self.rows, tag=self.tag)

    def row_inputs(self, activations: data.View, row: int) -> Value:
        """The activations of a wave that the PEs of a row take."""
        return Cat(activations[place] for place in window(row, rows=self.rows, combine=self.inputs))

    def loader(self) -> wiring.Component:
        """The loader, as :class:`Loader`."""
        return Loader(
            cols=self.shape.weight_rows * self.cols, row=self.cols, per_byte=self.shape.weights_per_byte,
            weight=signed(self.loaded_bits),
        )  # fmt: skip

    @property
    def loaded_bits(self) -> int:
        """Width of the weights that the loader gives: bytes of the weight store, or fewer bits."""
        return min(8, self.weight_bits)

    def column_input(self, weight: Any, zero_point: Value) -> Value:
        """What the PEs of a column take of a loader's weight for it, a value of its shape, and the zero point: with
        weights of 9 bits, the difference."""
        return weight - zero_point if self.weight_bits > self.loaded_bits else weight

    def foot(self) -> wiring.Component | None:
        """The part below each column, of ``kind.foot`` cycles: ``i`` takes partial sums, the ``first`` of a beat
        marked; ``o`` gives their total so far."""
        return None
