"""The control of a sequential engine: walks over a program's layers, one memory access at a time."""

from __future__ import annotations

from amaranth.hdl import Cat, Const, Module, Mux, Signal, Value, signed
from amaranth.lib import data, stream, wiring
from amaranth.lib.wiring import In, Out
from amaranth.utils import ceil_log2

from sateen.hw.host import RUN, descriptor_address
from sateen.hw.pe.contract import beat_shape
from sateen.hw.requantize import SETTINGS
from sateen.hw.sequential.accumulate import MARK_BITS
from sateen.hw.sequential.counters import Cause
from sateen.hw.sequential.layer import Layer
from sateen.hw.spec.config import Config
from sateen.hw.spec.descriptor import DESCRIPTOR_WORDS
from sateen.hw.spec.parameters import BIAS_BYTES, PARAMETER_BYTES
from sateen.hw.spec.pe import WEIGHT_SETTING_BITS, ZERO_POINT_BIT
from sateen.hw.sums import tag_shape

__all__ = ["Control"]


class Control(wiring.Component):
    """Runs descriptors: for each group of channels its tiles of weights, for each tile its beats; when the last sum has
    arrived, one result after the other.

    The innermost counter that counts above 1 gives a beat per cycle. The advance of any other counter takes 4 cycles,
    and 2 more for each counter between the two (:class:`~sateen.hw.sequential.layer.Layer`).

    Parameters
    ----------
    config : Config
        Of the engine.
    flush_cycles : int
        Cycles from the tile's last beat until all sums can be read, :func:`sateen.hw.spec.timing.flush_cycles`.

    Members
    -------
    run : In(stream)
        ``first`` descriptor and their ``count``, 1 or more; taken while no program runs.
    busy : Out(1)
        A program runs.
    word_address, word : Out, In
        To and from the program memory; a word a cycle after ``word_read``.
    address, read, write, w_data : Out; line : In
        To and from the memory, see :class:`sateen.hw.sequential.memory.BankedMemory`; weights come after the
        scratchpad.
    using : Out(1)
        The memory is in use, or its last line is still needed.
    weights, beats : Out(stream)
        To the tile.
    computing, waiting : In(1)
        Of the tile.
    position, column : Out
        The sum that the requantizer gets a cycle later.
    settings, parameter, start : Out; ready : In(1), result : In
        To and from :class:`sateen.hw.sequential.requantize.SerialRequantize`, which is ``ready`` in the next cycle.
    cause : Out, finished : Out(stream)
        To :class:`sateen.hw.sequential.counters.SequentialCounters`.
    """

    def __init__(self, config: Config, *, flush_cycles: int):
        self.config, self.flush_cycles = config, flush_cycles
        word = data.ArrayLayout(signed(8), config.cols)
        super().__init__(
            {
                "run": In(stream.Signature(RUN)),
                "busy": Out(1),
                "word_address": Out(ceil_log2(config.descriptors * DESCRIPTOR_WORDS)),
                "word_read": Out(1),
                "word": In(32),
                "address": Out(ceil_log2(config.scratchpad_bytes + config.weight_bytes)),
                "read": Out(1),
                "write": Out(1),
                "w_data": Out(8),
                "line": In(data.ArrayLayout(8, config.banks)),
                "using": Out(1),
                "weights": Out(stream.Signature(data.StructLayout({"word": word, "settings": WEIGHT_SETTING_BITS}))),
                "beats": Out(stream.Signature(beat_shape(config.rows, tag_shape(MARK_BITS)))),
                "computing": In(1),
                "waiting": In(1),
                "position": Out(ceil_log2(config.positions)),
                "column": Out(range(max(2, config.cols))),
                "settings": Out(SETTINGS),
                "parameter": Out(stream.Signature(8, always_ready=True)),
                "start": Out(1),
                "ready": In(1),
                "result": In(signed(8)),
                "cause": Out(Cause, init=Cause.ACTIVATIONS),  # type: ignore[call-arg]
                "finished": Out(stream.Signature(8)),
            }
        )

    def elaborate(self, platform: object) -> Module:
        m = Module()
        layer = Layer(self.config)
        layer.connect(m)
        m.d.comb += [
            self.word_address.eq(layer.word_address),
            self.word_read.eq(layer.word_read),
            layer.word.eq(self.word),
        ]
        m.d.comb += self.settings.eq(layer.settings)
        idle, loads_weights, accesses = Signal(), Signal(), Signal()
        free = self._hold(m, layer, accesses)
        with m.FSM():
            self._between_descriptors(m, layer, idle)
            layer.load(m)
            with m.State("weights"):
                m.d.comb += [loads_weights.eq(1), accesses.eq(1)]
                self._load_weights(m, layer, free)
            with m.State("beats"):
                m.d.comb += [accesses.eq(1), self.address.eq(layer.at.address), self.read.eq(free)]
                with m.If(free):
                    m.d.sync += [self.beats.valid.eq(1), layer.opens_tile.eq(0)]
                    layer.next_beat(m)
            layer.walk(m)
            self._results(m, layer, accesses)
        with m.If(self.computing):
            m.d.comb += self.cause.eq(Cause.BUSY)
        with m.Elif(self.waiting | loads_weights):
            m.d.comb += self.cause.eq(Cause.WEIGHTS)
        with m.Elif(layer.drains):
            m.d.comb += self.cause.eq(Mux(layer.ended, Cause.OUTPUT, Cause.ACCUMULATORS))
        with m.Else():
            m.d.comb += self.cause.eq(Mux(idle, Cause.LINK, Cause.ACTIVATIONS))
        return m

    def _hold(self, m: Module, layer: Layer, accesses: Value) -> Signal:
        """Holds what was read for the tile until the tile takes it; pads beats. Returns whether something else may be
        read."""
        free, rows, beat = Signal(), self.config.rows, self.beats.payload
        m.d.comb += [
            free.eq(~(self.weights.valid & ~self.weights.ready) & ~(self.beats.valid & ~self.beats.ready)),
            # From registers only: the memory's address depends on it.
            self.using.eq(accesses | self.weights.valid | self.beats.valid),
            self.weights.payload.settings.eq(layer.zero_point << ZERO_POINT_BIT),
            beat.settings.eq(layer.beat_settings),
            beat.tag.keep.eq(1),
            *(self.weights.payload.word[column].eq(self.line[column]) for column in range(self.config.cols)),
        ]
        inside = Signal(rows)
        with m.If(free):
            m.d.sync += [self.weights.valid.eq(0), self.beats.valid.eq(0), inside.eq(self._inside(m, layer))]
            m.d.sync += [
                beat.swap.eq(layer.opens_tile),
                beat.tag.address.eq(layer.opens_tile),
                beat.tag.first.eq(layer.opens_group),
            ]
        m.d.comb += [beat.data[lane].eq(Mux(inside[lane], self.line[lane], layer.padding)) for lane in range(rows)]
        return free

    def _inside(self, m: Module, layer: Layer) -> Value:
        """Which bytes of a beat are inside the input: ``0 ≤ row < height`` and ``0 ≤ x + lane < width``."""
        rows, x = self.config.rows, layer.at.x
        low, high = Signal(range(rows + 1)), Signal(range(rows + 1))

        def clamped(value: Value) -> Value:
            return Mux(value < 0, 0, Mux(value > rows, rows, value))

        m.d.comb += [low.eq(clamped(-x)), high.eq(clamped(layer.width - x))]
        return Cat((layer.at.row.as_unsigned() < layer.height) & (low <= lane) & (lane < high) for lane in range(rows))

    def _between_descriptors(self, m: Module, layer: Layer, idle: Signal) -> None:
        """The states between descriptors."""
        left, place = Signal(8), Signal(8)
        m.d.comb += [self.busy.eq(left != 0), self.finished.payload.eq(place)]
        first = descriptor_address(self.run.payload.first)
        with m.State("idle"):
            m.d.comb += [self.run.ready.eq(1), idle.eq(1)]
            with m.If(self.run.valid):
                m.d.sync += [
                    layer.origin.eq(first),
                    layer.pointer.eq(first),
                    left.eq(self.run.payload.count),
                    place.eq(0),
                ]
                m.next = "load"
        with m.State("record"):
            m.d.comb += self.finished.valid.eq(1)
            with m.If(self.finished.ready):
                following = layer.origin + DESCRIPTOR_WORDS
                m.d.sync += [
                    layer.origin.eq(following),
                    layer.pointer.eq(following),
                    left.eq(left - 1),
                    place.eq(place + 1),
                ]
                m.next = "load"
                with m.If(left == 1):
                    m.next = "idle"

    def _load_weights(self, m: Module, layer: Layer, free: Value) -> None:
        """In a state: reads a tile's weights, row by row."""
        row = Signal(range(self.config.rows))
        m.d.comb += [self.address.eq(self._weight_address(layer.weight_word)), self.read.eq(free)]
        with m.If(free):
            m.d.sync += [self.weights.valid.eq(1), layer.weight_word.eq(layer.weight_word + 1), row.eq(row + 1)]
            with m.If(row == self.config.rows - 1):
                m.d.sync += row.eq(0)
                m.next = "beats"

    def _results(self, m: Module, layer: Layer, accesses: Signal) -> None:
        """The states that requantize one sum after the other and read the next one's parameters meanwhile; the largest
        value of a window is its result."""
        index, scale_word = Signal(range(PARAMETER_BYTES)), Signal.like(layer.weight_word, name="scale_word")
        tap, first_tap, window = Signal(16), Signal(), Signal.like(self.position, name="window")
        # Of the value in the requantizer.
        pending, was_first, was_last = Signal(), Signal(), Signal()
        write_address = Signal.like(layer.result_address, name="write_address")
        largest, better = Signal(signed(8)), Signal(signed(8))
        m.d.comb += [better.eq(Mux(was_first | (self.result > largest), self.result, largest)), self.w_data.eq(better)]
        flushing = Signal(range(self.flush_cycles + 1))
        with m.State("flush"):
            m.d.comb += layer.drains.eq(1)
            m.d.sync += [self.position.eq(0), window.eq(0), self.column.eq(0), tap.eq(layer.taps), first_tap.eq(1)]
            m.d.sync += [pending.eq(0), layer.group_ends.eq(0), flushing.eq(flushing + 1)]
            with m.If(layer.opens_block | ~layer.one_scale):
                m.d.sync += scale_word.eq(layer.weight_word)
            with m.If(self.beats.valid | self.computing | self.waiting):
                m.d.sync += flushing.eq(0)
            with m.Elif(flushing == self.flush_cycles):
                m.d.sync += flushing.eq(0)
                m.next = "parameters"
        with m.State("parameters"):
            of = Mux(index < BIAS_BYTES, layer.weight_word, scale_word)
            m.d.comb += [layer.drains.eq(1), accesses.eq(1), self.read.eq(1)]
            m.d.comb += self.address.eq(self._weight_address(of + index) | self.column)
            m.d.sync += [index.eq(index + 1), self.parameter.valid.eq(1)]
            with m.If(index == PARAMETER_BYTES - 1):
                m.d.sync += index.eq(0)
                m.next = "wait"
        m.d.comb += self.parameter.payload.eq(self.line[0])
        with m.State("wait"):
            m.d.comb += layer.drains.eq(1)
            m.d.sync += self.parameter.valid.eq(0)
            with m.If(self.ready):
                m.next = "take"
        with m.State("take"):
            m.d.comb += [
                layer.drains.eq(1),
                accesses.eq(1),
                self.address.eq(write_address),
                self.write.eq(pending & was_last),
            ]
            m.d.sync += [largest.eq(better), pending.eq(1), write_address.eq(layer.result_address + self.column)]
            m.d.sync += [was_first.eq(first_tap), was_last.eq(tap == 1)]
            with m.If(layer.group_ends):
                self._next_group(m, layer)
            with m.Else():
                m.d.comb += self.start.eq(1)
                m.d.sync += [tap.eq(tap - 1), first_tap.eq(0)]
                with m.If(tap == 1):
                    m.d.sync += [tap.eq(layer.taps), first_tap.eq(1)]
                self._next_sum(m, layer, tap == 1, window)

    def _next_sum(self, m: Module, layer: Layer, last_tap: Value, window: Signal) -> None:
        """In ``take``: goes to the next sum of a window, to the window's next column, or to the next window."""
        m.d.sync += self.position.eq(self.position + 1)
        m.next = "parameters"
        with m.If(last_tap & (self.column != self.config.cols - 1) & (layer.channels_left != self.column + 1)):
            m.d.sync += [self.column.eq(self.column + 1), self.position.eq(window)]
        with m.Elif(last_tap):
            m.d.sync += [self.column.eq(0), window.eq(self.position + 1)]
            layer.next_result(m)

    def _next_group(self, m: Module, layer: Layer) -> None:
        """In ``take``: skips the group's parameters, and goes to the next group, to the next block with the first
        weights again, or to the descriptor's end."""
        parameter_words = Mux(layer.one_scale & ~layer.opens_block, BIAS_BYTES, PARAMETER_BYTES)
        m.d.sync += [layer.opens_tile.eq(1), layer.opens_group.eq(1), layer.opens_block.eq(0)]
        m.d.sync += [
            layer.weight_word.eq(layer.weight_word + parameter_words),
            layer.channels_left.eq(layer.channels_left - self.config.cols),
        ]
        m.next = "weights"
        with m.If(layer.ended):
            m.next = "record"
        with m.Elif(layer.dim == 0):
            m.d.sync += [layer.opens_block.eq(1), layer.channels_left.eq(layer.channels)]
            m.next = "again"

    def _weight_address(self, word: Value) -> Value:
        return Cat(Const(0, ceil_log2(self.config.weight_word_bytes)), word)[: len(self.address)]
