"""The unit of recurrent layers: sums become values of 16 bits, and four of them a cell of an LSTM."""

from __future__ import annotations

from typing import Any

from amaranth.hdl import Cat, Const, Module, Mux, Signal, Value, signed
from amaranth.lib import data, stream, wiring
from amaranth.lib.memory import Memory
from amaranth.lib.wiring import In, Out
from amaranth.utils import ceil_log2

from sateen.hw.multiply import Multiply
from sateen.hw.pipelined.curve import PLACE_BITS, Curve
from sateen.hw.requantize import CHANNEL, SETTINGS, Requantize
from sateen.hw.spec.recurrent import (
    ADDS_BIT,
    CELL_POWERS,
    CLIP_BITS,
    FIRST_BIT,
    JOINS_BIT,
    POWER_BIT,
    SHIFT_BIT,
    TARGET_BITS,
    UNIT_CYCLES,
    UNIT_SUMS,
    Target,
)
from sateen.hw.stream.delay import delayed
from sateen.hw.stream.mux import indexed_mux
from sateen.hw.stream.view import view

__all__ = ["NUMBERS", "Cells", "cells_latency"]

NUMBERS = data.ArrayLayout(32, 3)
"""The words of :class:`sateen.hw.spec.recurrent.Recurrent`."""
LOW, HIGH = -(1 << 15), (1 << 15) - 1
HALF = 1 << 30
"""The multiplier of a power of two."""
UNIT_BITS = 15
"""Curves count in two to minus this power."""
PLACE_SHIFT = 12
"""Bits that are rounded off a cell times the factor of the place at which its hyperbolic tangent is."""
VALUE_TIME = Requantize.LATENCY + 1
"""When the first gate's value is there. All times are cycles since its sum was at the requantizer."""
CURVE_TIME = VALUE_TIME + 1 + Curve.LATENCY
"""When its curve is."""
FORGET_TIME, INPUT_TIME = CURVE_TIME + 4, CURVE_TIME + 6
"""When the forget gate is multiplied by the cell, and the input gate by what is new."""
CELL_TIME = INPUT_TIME + Multiply.LATENCY + Requantize.LATENCY + 2
"""When the new cell is there."""
BENT_TIME = CELL_TIME + Multiply.LATENCY + 1 + Curve.LATENCY
"""When its hyperbolic tangent is."""
OUTPUT_TIME = BENT_TIME + 3
"""When that is multiplied by the output gate: in a cycle in which nothing else is multiplied or requantized."""
HIDDEN_TIME = OUTPUT_TIME + Multiply.LATENCY + Requantize.LATENCY + 1
"""When the hidden value is there."""


class Cells(wiring.Component):
    """Takes the sums of a descriptor with :class:`~sateen.hw.spec.recurrent.Recurrent`, one in two cycles, and gives
    their results; those of other descriptors pass in the same cycle.

    Everything is a pipeline in which each part has its fixed cycles of the eight in which four sums are taken: a
    requantizer, a multiplier and :class:`~sateen.hw.pipelined.curve.Curve`. Sums of gates come in the even ones; in the
    odd ones the same requantizer takes the products of cells that came before.

    Model: :class:`sateen.sim.golden.RecurrentUnit`.

    Parameters
    ----------
    lanes : int
        Sums of an item, a multiple of 4.
    words : int
        Words of 16 bits that are kept, a power of two.
    item_latency : int
        Cycles from an item's offer to its sums.
    tag : StructLayout
        What accompanies results: ``address``, ``mask``, ``final``, and perhaps ``part``.

    Members
    -------
    on : In(1)
        The descriptor is one of these. Steady from ``begin`` until its final result.
    begin : In(1)
        Pulses before the first item of any descriptor.
    numbers, settings, origin : In
        The descriptor's numbers, settings and address of its first result, steady from ``begin`` until its final
        result.
    offered : In(1), mask : In(lanes)
        There is an item, and which of its lanes count, the first ones. It stays until it is ``taken``.
    taken : Out(1)
        Pulses in the last of an item's cycles, eight for four lanes that count.
    sums, channels, tag : In
        The item's, ``item_latency`` cycles late, as long as it stays.
    results : In(stream), o : Out(stream), always ready
        ``data`` per lane, and ``tag``.
    """

    def __init__(self, *, lanes: int, words: int, item_latency: int, tag: data.StructLayout):
        if lanes < 1 or lanes % UNIT_SUMS:
            raise ValueError(f"lanes must be a multiple of {UNIT_SUMS}, not {lanes!r}")
        self.lanes, self.words, self.item_latency, self.tag_shape = lanes, words, item_latency, tag
        result = data.StructLayout({"data": data.ArrayLayout(signed(8), lanes), "tag": tag})
        super().__init__(
            {
                "on": In(1), "begin": In(1), "numbers": In(NUMBERS), "settings": In(SETTINGS),
                "origin": In(tag["address"].shape), "offered": In(1), "mask": In(lanes), "taken": Out(1),
                "sums": In(data.ArrayLayout(signed(32), lanes)), "channels": In(data.ArrayLayout(CHANNEL, lanes)),
                "tag": In(tag), "results": In(stream.Signature(result, always_ready=True)),
                "o": Out(stream.Signature(result, always_ready=True)),
            }
        )  # fmt: skip

    def elaborate(self, platform: object) -> Module:
        m = Module()
        modes, number, settings = self.numbers[0], self.numbers[2], self.settings
        self.target = Signal(TARGET_BITS)
        self.adds, self.joins, self.cells = Signal(), Signal(), Signal()
        # Numbers come while the sums of the descriptor before still pass through what its results no longer need.
        with m.If(self.begin):
            m.d.sync += [
                self.target.eq(modes), self.adds.eq(modes[ADDS_BIT]), self.joins.eq(modes[JOINS_BIT]),
                self.cells.eq(modes[:TARGET_BITS] == Target.CELLS),
            ]  # fmt: skip
        total, channel, self.phase = self._items(m)
        odd, power = self.phase[0], number[POWER_BIT : POWER_BIT + 4]
        word = self._memory(m)

        m.submodules.multiply = multiply = Multiply(a_bits=16, b_bits=18)
        m.submodules.requantize = requantize = Requantize(bits=16)
        product, rescaled = multiply.product, requantize.o
        own = view(CHANNEL, name="own")
        m.d.comb += own.multiplier.eq(Mux(self._at(OUTPUT_TIME + Multiply.LATENCY), self.numbers[1], HALF))
        with m.If(self._at(OUTPUT_TIME + Multiply.LATENCY)):
            m.d.comb += own.shift.eq(number[SHIFT_BIT:].as_signed())
        with m.Elif(self._at(INPUT_TIME + Multiply.LATENCY)):
            m.d.comb += own.shift.eq(1 - 2 * UNIT_BITS - CELL_POWERS[0] - power)
        with m.Else():
            m.d.comb += own.shift.eq(1 - UNIT_BITS)
        m.d.comb += [
            requantize.i.eq(Mux(odd, product[:32].as_signed(), total)),
            requantize.channel.eq(Mux(odd, own, channel)),
        ]

        value, narrow = Signal(signed(16), reset_less=True), Signal(signed(8), reset_less=True)
        point, low, high = settings.zero_point, settings.low, settings.high
        m.d.sync += [
            value.eq(_clipped(rescaled + Mux(self.adds, word.as_signed(), 0))),
            narrow.eq(_within(rescaled + point, low, high)),
        ]
        self._lstm(m, value, rescaled, delayed(m, word, name="old"), multiply, 3 << power, number[:CLIP_BITS])
        self._results(m, value, narrow)
        return m

    def _at(self, time: int) -> Value:
        """Whether it is that time of some cell."""
        return self.phase == time % UNIT_CYCLES

    def _items(self, m: Module) -> tuple[Signal, data.View, Signal]:
        """Takes items apart: a sum and its channel, and which of the eight cycles it is."""
        units = self.lanes // UNIT_SUMS
        slot, phase, going = Signal(range(UNIT_CYCLES)), Signal(range(UNIT_CYCLES)), Signal()
        head = Signal(range(max(2, units)))
        more = indexed_mux([*(self.mask[UNIT_SUMS * (index + 1)] for index in range(units - 1)), Const(0)], head)
        m.d.sync += slot.eq(Mux(self.begin, 0, slot + 1))
        with m.If(slot == -self.item_latency % UNIT_CYCLES):
            m.d.sync += [going.eq(self.offered & self.on), head.eq(Mux(going & more, head + 1, 0))]
        m.d.comb += [
            self.taken.eq(going & ~more & (slot == (-self.item_latency - 1) % UNIT_CYCLES)),
            phase.eq(slot - 2),
        ]
        shown = delayed(m, going, self.item_latency - 1, name="shown", reset=True)
        unit = delayed(m, head, self.item_latency - 1, name="unit")
        lane = Cat(slot[1:], unit)
        given, channel = Signal(signed(32), reset_less=True), view(CHANNEL, name="given_channel")
        m.d.sync += given.eq(indexed_mux(list(self.sums), lane))
        channels = [channel.as_value() for channel in self.channels]
        m.d.comb += channel.eq(delayed(m, indexed_mux(channels, lane), name="channel"))
        total = Signal(signed(32), reset_less=True)
        with m.If(slot[0]):
            m.d.sync += total.eq(given + Mux(self.joins & slot[1:].any(), total << 8, 0))

        # What accompanies four sums: which of them count, and for all but the first stages of cells, whether they do.
        masks = [self.tag.mask[UNIT_SUMS * index :][:UNIT_SUMS] for index in range(units)]
        later = indexed_mux([*(mask[0] for mask in masks[1:]), Const(0)], unit)
        early: dict[str, int] = {"mask": UNIT_SUMS, "address": len(self.tag.address)}
        ends: dict[str, int] = {name: 1 for name in ("final", "part") if name in self.tag_shape.members}
        first = view(data.StructLayout(early | ends), name="unit")
        m.d.comb += [
            first.mask.eq(indexed_mux(masks, unit) & shown.replicate(UNIT_SUMS)),
            first.address.eq(self.tag.address + Cat(Const(0, 2), unit)),
            *(getattr(first, name).eq(getattr(self.tag, name) & ~later) for name in ends),
        ]
        self.units: list[data.View] = []
        layouts = [first.shape()] * 3 + [data.StructLayout({"mask": UNIT_SUMS} | ends)] * (HIDDEN_TIME // 8 - 2)
        before = first
        for index, layout in enumerate(layouts):
            here = view(layout, name=f"unit_{index}")
            names = list(layout.members)
            values = Cat(getattr(before, name) for name in names)
            held = Signal(len(values), name=f"held_unit_{index}")
            with m.If(self.begin):
                m.d.sync += held.eq(0)
            with m.Elif(phase == UNIT_CYCLES - 1):
                m.d.sync += held.eq(values)
            m.d.comb += Cat(getattr(here, name) for name in names).eq(held)
            self.units.append(here)
            before = here
        return total, channel, phase

    def _counts(self, time: int, gate: int = UNIT_SUMS - 1) -> Value:
        """Whether it is that time of a cell, or other four sums, of which one counts."""
        return self._at(time) & self.units[time // UNIT_CYCLES].mask[gate]

    def _memory(self, m: Module) -> Signal:
        """The words: read for each sum, and for each cell; the word that was asked for two cycles before."""
        memory: Any = Memory(shape=16, depth=self.words, init=[])
        m.submodules.memory = memory
        self.port, read = memory.write_port(), memory.read_port()
        bits = ceil_log2(self.words)
        addend, self.cell = Signal(bits), [Signal(bits, name=f"cell_{name}") for name in ("read", "written")]
        asks = [self._counts(VALUE_TIME - 3 + 2 * gate, gate) for gate in range(UNIT_SUMS)]
        m.d.sync += addend.eq(addend + Cat(asks).any())
        for count, time in zip(self.cell, (FORGET_TIME - 3, CELL_TIME), strict=True):
            m.d.sync += count.eq(count + self._counts(time))
        with m.If(self.begin):
            m.d.sync += [addend.eq(self.numbers[0][FIRST_BIT:]), *(count.eq(0) for count in self.cell)]
        m.d.comb += read.addr.eq(Mux(self.phase[0], self.cell[0], addend))
        return delayed(m, read.data, name="word")

    def _lstm(
        self, m: Module, value: Signal, rescaled: Value, old: Signal, multiply: Multiply, factor: Value, clip: Value
    ) -> None:
        """From gates to cells, and from those to hidden values."""
        m.submodules.curve = curve = Curve()
        place, tanh, odd = Signal(signed(PLACE_BITS), reset_less=True), Signal(reset_less=True), self.phase[0]
        near = (multiply.product + (1 << PLACE_SHIFT - 1)) >> PLACE_SHIFT
        m.d.sync += [place.eq(Mux(odd, (value << 1) + value, near)), tanh.eq(~odd | self._at(VALUE_TIME + 4))]
        m.d.comb += [curve.i.eq(place), curve.tanh.eq(tanh)]

        gates = [Signal(signed(16), name=name, reset_less=True) for name in ("input", "forget", "new", "output")]
        for gate, register in enumerate(gates):
            with m.If(self._at(CURVE_TIME + 2 * gate)):
                m.d.sync += register.eq(curve.o)
        entered, forget, new, output = gates
        for late in range(4):
            with m.If(self._at(CURVE_TIME + 6)):
                later = Signal(signed(16), name=f"output_{late}", reset_less=True)
                m.d.sync += later.eq(output)
                output = later
        bent = Signal(signed(16), reset_less=True)
        with m.If(self._at(BENT_TIME)):
            m.d.sync += bent.eq(curve.o)

        kept, fresh, cell = (Signal(signed(16), name=name, reset_less=True) for name in ("kept", "fresh", "cell"))
        with m.If(self._at(FORGET_TIME + Multiply.LATENCY + Requantize.LATENCY)):
            m.d.sync += kept.eq(rescaled)
        with m.If(self._at(INPUT_TIME + Multiply.LATENCY + Requantize.LATENCY)):
            m.d.sync += fresh.eq(_clipped(kept + rescaled))
        with m.If(self._at(CELL_TIME - 1)):
            limit = Cat(clip, 0).as_signed()
            m.d.sync += cell.eq(Mux(clip == 0, fresh, _within(fresh, -limit, limit)))
        with m.If(self._at(FORGET_TIME)):
            m.d.comb += [multiply.a.eq(forget), multiply.b.eq(old.as_signed())]
        with m.Elif(self._at(INPUT_TIME)):
            m.d.comb += [multiply.a.eq(entered), multiply.b.eq(new)]
        with m.Elif(self._at(CELL_TIME)):
            m.d.comb += [multiply.a.eq(cell), multiply.b.eq(factor)]
        with m.Else():
            m.d.comb += [multiply.a.eq(output), multiply.b.eq(bent)]
        self.next_cell = cell

    def _results(self, m: Module, value: Signal, narrow: Signal) -> None:
        """Values become words, or results; results of other descriptors pass."""
        times = [VALUE_TIME + 2 * gate for gate in range(UNIT_SUMS)]
        counts = Cat(
            self._counts(time, gate) & (~self.joins if gate < UNIT_SUMS - 1 else 1) for gate, time in enumerate(times)
        )
        here, there = (self.units[time // UNIT_CYCLES] for time in (times[0], times[-1]))
        first = self._at(times[0])
        unit = view(here.shape(), name="unit_here")
        hidden, emits, last = Signal(), Signal(), Signal()
        ends = self.units[HIDDEN_TIME // UNIT_CYCLES]
        m.d.comb += [
            unit.eq(Mux(first, here, there)),
            hidden.eq(self._counts(HIDDEN_TIME) & self.cells),
            emits.eq(counts.any() & ~self.cells),
            last.eq(counts[-1] | Cat(c & ~unit.mask[gate + 1] for gate, c in enumerate(counts[:-1])).any()),
        ]
        keeps, wide = self.target == Target.WORDS, self.target == Target.WIDE
        gate = Cat(counts[1] | counts[3], counts[2] | counts[3])
        writes = self._counts(CELL_TIME) & self.cells
        m.d.comb += [
            self.port.en.eq((emits & keeps) | writes),
            self.port.addr.eq(Mux(self.cells, self.cell[1], Mux(self.joins, unit.address >> 2, unit.address + gate))),
            self.port.data.eq(Mux(self.cells, self.next_cell, value)),
        ]
        address, valid, result = Signal.like(self.origin), Signal(), view(self.o.payload.shape(), name="result")
        m.d.sync += address.eq(Mux(self.begin, self.origin, address + Mux(emits | hidden, Mux(wide, 2, 1), 0)))
        m.d.comb += [
            result.data[0].eq(Mux(wide, (value[:8] ^ 0x80).as_signed(), narrow)),
            result.data[1].eq(value[8:].as_signed()),
            result.tag.address.eq(address),
            result.tag.mask.eq(Mux(keeps, 0, Mux(wide, 3, 1))),
        ]
        for name in ("final", "part"):
            if name in self.tag_shape.members:
                flag = Mux(self.cells, getattr(ends, name), getattr(unit, name) & last)
                m.d.comb += getattr(result.tag, name).eq(flag)
        m.d.sync += valid.eq(emits | hidden)
        m.d.comb += [
            self.o.valid.eq(valid | self.results.valid),
            self.o.payload.eq(Mux(valid, delayed(m, result, name="result"), self.results.payload)),
        ]


def _clipped(value: Value) -> Value:
    """The nearest number of 16 bits."""
    return _within(value, LOW, HIGH)


def _within(value: Value, low: Value | int, high: Value | int) -> Value:
    return Mux(value < low, low, Mux(value > high, high, value))


def cells_latency(target: int) -> int:
    """Cycles from a sum at the requantizer to its result; of cells, from the first gate's."""
    return 1 + (HIDDEN_TIME if target == Target.CELLS else VALUE_TIME)
