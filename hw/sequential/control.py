"""The control of a sequential engine: walks over a program's layers, one memory access at a time."""

from __future__ import annotations

from amaranth.hdl import Cat, Const, Module, Mux, Signal, Value, signed
from amaranth.lib import data, stream, wiring
from amaranth.lib.memory import Memory
from amaranth.lib.wiring import In, Out
from amaranth.utils import ceil_log2

from weft.hw.memory import NO_COLLISIONS, last_read
from weft.hw.pe.contract import beat_shape
from weft.hw.requantize import SETTINGS
from weft.hw.sequential.accumulate import MARK_BITS
from weft.hw.sequential.counters import Cause
from weft.hw.spec.config import Config
from weft.hw.spec.descriptor import (
    ACTIVATION_DIMS,
    BIAS_BYTES,
    CHANNELS_DIM,
    CHUNK_DIM,
    DESCRIPTOR_WORDS,
    OUTPUT_DIMS,
    PARAMETER_BYTES,
    SECTIONS,
)
from weft.hw.spec.pe import BEAT_SETTING_BITS, WEIGHT_SETTING_BITS
from weft.hw.tile import tag_shape

__all__ = ["Control"]

ACTIVATIONS_AT = SECTIONS["weights"]
DIMS_AT = ACTIVATIONS_AT + 6
"""Words of a descriptor before the activation stream's counters, of ``DIM_WORDS`` each."""
DIM_WORDS = 3
OUTPUT_AT = ACTIVATIONS_AT + SECTIONS["activations"]
OUTPUT_DIMS_AT = OUTPUT_AT + 3
OUTPUT_DIM_WORDS = 2
OUTPUT_COUNTS = len(ACTIVATION_DIMS)
"""Where the output stream's counters stand behind the others."""


class Control(wiring.Component):
    """Runs descriptors: for each group of channels its tiles of weights, for each tile its beats; then, when the last sum has come, one
    result after the other.

    A descriptor's words stay in the program memory, and are read there when a counter advances. Only the innermost counter that has
    anything to count is at hand, in registers: while it counts, a beat is asked for in every cycle. Any other takes
    4 cycles, and 2 more for each that it passes on the way.

    Parameters
    ----------
    config : Config
        Of the engine.
    settle : int
        Cycles from the tile's last beat until all sums can be read.

    Members
    -------
    run : In(stream)
        ``first`` descriptor and their ``count``, 1 or more; taken while no program runs.
    busy : Out(1)
        A program runs.
    word_address, word : Out, In
        To and from the program memory; a word a cycle after ``word_read``.
    address, read, write, w_data : Out; line : In
        To and from the memory, see :class:`weft.hw.sequential.memory.BankedMemory`; weights stand behind the scratchpad.
    using : Out(1)
        The memory is in use, or what was read last is still needed.
    weights, beats : Out(stream)
        To the tile.
    computing, waiting : In(1)
        Of the tile.
    position, column : Out; sum : In
        A sum that is read; a cycle later, the sum.
    settings, parameter, start : Out; ready : In(1), result : In
        To and from :class:`weft.hw.sequential.requantize.SerialRequantize`.
    cause, finished, recorded
        To and from :class:`weft.hw.sequential.counters.SequentialCounters`.
    """

    def __init__(self, config: Config, *, settle: int):
        self.config, self.settle = config, settle
        self.address_bits = ceil_log2(config.scratchpad_bytes + config.weight_bytes)
        word = data.ArrayLayout(signed(8), config.cols)
        super().__init__(
            {
                "run": In(stream.Signature(data.StructLayout({"first": 8, "count": 8}))),
                "busy": Out(1),
                "word_address": Out(ceil_log2(config.descriptors * DESCRIPTOR_WORDS)),
                "word_read": Out(1),
                "word": In(32),
                "address": Out(self.address_bits),
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
                "cause": Out(Cause, init=Cause.ACTIVATIONS),
                "finished": Out(stream.Signature(8, always_ready=True)),
                "recorded": In(1),
            }
        )

    def elaborate(self, platform: object) -> Module:
        m = Module()
        layer = _Layer(self)
        m.submodules.counts = layer.counts
        m.d.comb += layer.counter.eq(layer.dim + Mux(layer.walks_output, OUTPUT_COUNTS, 0))
        m.d.comb += layer.remaining.eq(last_read(m, layer.counts, layer.counter))
        m.d.comb += [self.settings.eq(layer.settings), self.cause.eq(Cause.ACTIVATIONS)]
        self._hold(m, layer)
        with m.FSM():
            self._idle(m, layer)
            self._load(m, layer)
            self._weights(m, layer)
            self._beats(m, layer)
            self._walk(m, layer)
            self._flush(m, layer)
            self._results(m, layer)
            with m.State("record"):
                m.d.comb += [self.finished.valid.eq(1), self.finished.payload.eq(layer.place)]
                with m.If(self.recorded):
                    m.d.sync += [layer.place.eq(layer.place + 1), layer.left.eq(layer.left - 1)]
                    m.d.sync += [layer.origin.eq(layer.origin + DESCRIPTOR_WORDS), layer.pointer.eq(layer.origin + DESCRIPTOR_WORDS)]
                    m.next = "load"
                    with m.If(layer.left == 1):
                        m.next = "idle"
        with m.If(self.computing):
            m.d.comb += self.cause.eq(Cause.BUSY)
        with m.Elif(self.waiting):
            m.d.comb += self.cause.eq(Cause.WEIGHTS)
        return m

    def _hold(self, m: Module, layer: _Layer) -> None:
        """What was read for the tile stays where it is until the tile takes it; a beat is padded on the way."""
        held = (self.weights.valid & ~self.weights.ready) | (self.beats.valid & ~self.beats.ready)
        m.d.comb += [layer.free.eq(~held), self.using.eq(layer.accesses | self.weights.valid | self.beats.valid)]
        with m.If(layer.free):
            m.d.sync += [self.weights.valid.eq(0), self.beats.valid.eq(0)]
        mask, beat = Signal(self.config.rows), self.beats.payload
        for lane in range(self.config.rows):
            m.d.comb += beat.data[lane].eq(Mux(mask[lane], self.line[lane], layer.padding))
        for column in range(self.config.cols):
            m.d.comb += self.weights.payload.word[column].eq(self.line[column])
        m.d.comb += [beat.settings.eq(layer.beat_settings), beat.tag.keep.eq(1)]
        with m.If(layer.free):
            m.d.sync += [mask.eq(self._inside(m, layer)), beat.swap.eq(layer.opens_tile), beat.tag.address.eq(layer.opens_tile)]
            m.d.sync += beat.tag.first.eq(layer.opens_group)

    def _inside(self, m: Module, layer: _Layer) -> Value:
        """Which bytes of a beat are inside the input."""
        rows, x = self.config.rows, layer.at.x
        low, high = Signal(range(rows + 1)), Signal(range(rows + 1))

        def clamped(value: Value) -> Value:
            return Mux(value < 0, 0, Mux(value > rows, rows, value))

        m.d.comb += [low.eq(clamped(-x)), high.eq(clamped(layer.width - x))]
        inside = layer.at.row.as_unsigned() < layer.height
        return Cat(inside & (low <= lane) & (lane < high) for lane in range(rows))

    def _idle(self, m: Module, layer: _Layer) -> None:
        """Waits for a program."""
        assert DESCRIPTOR_WORDS == 32 + 16  # The product is a sum.
        first = (self.run.payload.first << 5) + (self.run.payload.first << 4)
        with m.State("idle"):
            m.d.comb += [self.run.ready.eq(1), self.cause.eq(Cause.LINK)]
            with m.If(self.run.valid):
                m.d.sync += [layer.origin.eq(first), layer.pointer.eq(first), layer.left.eq(self.run.payload.count), layer.place.eq(0)]
                m.next = "load"
        m.d.comb += self.busy.eq(layer.left != 0)

    def _load(self, m: Module, layer: _Layer) -> None:
        """Reads a descriptor through: the heads into registers, the counters' limits to where they count."""
        index, part, dim, here = Signal(range(DESCRIPTOR_WORDS + 1)), Signal(range(DIM_WORDS)), Signal(range(16)), Signal()
        word, write = self.word, layer.counts_write
        with m.State("load"):
            self._read_word(m, layer.pointer)
            m.d.sync += [layer.pointer.eq(layer.pointer + 1), index.eq(index + 1)]
            # The word of the cycle before.
            with m.Switch(index):
                with m.Case(1):
                    # The coordinates' origin is added to nothing.
                    m.d.sync += layer.at.eq(0)
                    m.d.sync += layer.weights_at.eq(self._first_weight())
                with m.Case(3):
                    m.d.sync += layer.one_scale.eq(word[30])
                with m.Case(ACTIVATIONS_AT + 1):
                    m.d.comb += layer.step.address.eq(word)
                    m.d.sync += layer.steps("address")
                with m.Case(ACTIVATIONS_AT + 2):
                    m.d.comb += layer.step.row.eq(word[:16])
                    m.d.sync += [*layer.steps("row"), layer.height.eq(word[16:])]
                with m.Case(ACTIVATIONS_AT + 3):
                    m.d.comb += layer.step.x.eq(word)
                    m.d.sync += layer.steps("x")
                with m.Case(ACTIVATIONS_AT + 4):
                    m.d.sync += layer.width.eq(word)
                with m.Case(ACTIVATIONS_AT + 5):
                    m.d.sync += Cat(layer.padding, layer.beat_settings).eq(word)
                with m.Case(DIMS_AT):
                    m.d.sync += [dim.eq(0), part.eq(0), layer.fast_dim.eq(0), layer.fast_left.eq(0), layer.fast_limit.eq(0)]
                with m.Case(OUTPUT_AT + 1):
                    m.d.sync += layer.result_at.eq(word)
                with m.Case(OUTPUT_AT + 2):
                    m.d.sync += [Cat(layer.channels, layer.taps).eq(word), layer.channels_left.eq(word)]
                with m.Case(OUTPUT_AT + 3):
                    m.d.sync += [layer.settings.eq(word), part.eq(0), dim.eq(OUTPUT_COUNTS)]
                with m.Case(0, 2, ACTIVATIONS_AT):
                    pass
                with m.Default():
                    m.d.sync += part.eq(part + 1)
                    m.d.comb += [write.en.eq(part == 0), write.addr.eq(dim), write.data.eq(word)]
                    with m.If(part == 0):
                        m.d.sync += here.eq(word[:16] != 1)
                        with m.If((word[:16] != 1) & (index <= OUTPUT_AT)):
                            m.d.sync += [layer.fast_left.eq(word[:16] - 1), layer.fast_limit.eq(word[:16] - 1), layer.fast_dim.eq(dim)]
                            m.d.sync += [layer.fast.row.eq(word[16:]), layer.fast_at.eq(layer.pointer)]
                    with m.If((part == 1) & here & (index <= OUTPUT_AT)):
                        m.d.sync += layer.fast.x.eq(word)
                    with m.If((part == 2) & here & (index <= OUTPUT_AT)):
                        m.d.sync += layer.fast.address.eq(word)
                    with m.If(part == Mux(index <= OUTPUT_AT, DIM_WORDS, OUTPUT_DIM_WORDS) - 1):
                        m.d.sync += [part.eq(0), dim.eq(dim + 1)]
            with m.If(index == DESCRIPTOR_WORDS):
                m.d.sync += index.eq(0)
                m.d.sync += [layer.opens_tile.eq(1), layer.opens_group.eq(1), layer.ended.eq(0), layer.opens_block.eq(1)]
                m.next = "weights"

    def _weights(self, m: Module, layer: _Layer) -> None:
        """Reads a tile's weights, row by row."""
        row = Signal(range(self.config.rows))
        with m.State("again"):
            self._read_word(m, layer.origin)
            m.next = "rewind"
        with m.State("rewind"):
            m.d.sync += layer.weights_at.eq(self._first_weight())
            m.next = "weights"
        with m.State("weights"):
            m.d.comb += [
                self.cause.eq(Cause.WEIGHTS),
                layer.accesses.eq(1),
                self.address.eq(self._weight_address(layer.weights_at)),
                self.read.eq(layer.free),
            ]
            with m.If(layer.free):
                m.d.sync += [self.weights.valid.eq(1), layer.weights_at.eq(layer.weights_at + 1), row.eq(row + 1)]
                with m.If(row == self.config.rows - 1):
                    m.d.sync += row.eq(0)
                    m.next = "beats"

    def _beats(self, m: Module, layer: _Layer) -> None:
        """Reads a tile's beats."""
        with m.State("beats"):
            m.d.comb += [layer.accesses.eq(1), self.address.eq(layer.at.address), self.read.eq(layer.free)]
            with m.If(layer.free):
                m.d.sync += [self.beats.valid.eq(1), layer.opens_tile.eq(0)]
                with m.If(layer.fast_left != 0):
                    m.d.comb += layer.step.eq(layer.fast)
                    m.d.sync += [layer.fast_left.eq(layer.fast_left - 1), *layer.steps("row", "x", "address")]
                    self._next_beat(m, layer, layer.fast_dim)
                with m.Else():
                    m.d.sync += [layer.fast_left.eq(layer.fast_limit), layer.walks_output.eq(0)]
                    m.d.sync += [layer.pointer.eq(layer.fast_at - (DIM_WORDS + 1)), layer.dim.eq(layer.fast_dim - 1)]
                    m.next = "walk"
                    with m.If(layer.fast_dim == 0):
                        m.d.sync += layer.ended.eq(1)
                        m.next = "flush"

    def _next_beat(self, m: Module, layer: _Layer, level: Value) -> None:
        """To the state that the counter which advanced leads to."""
        with m.If(level <= CHANNELS_DIM):
            m.next = "flush"
        with m.Elif(level <= CHUNK_DIM):
            m.d.sync += [layer.opens_tile.eq(1), layer.opens_group.eq(0)]
            m.next = "weights"
        with m.Else():
            m.next = "beats"

    def _walk(self, m: Module, layer: _Layer) -> None:
        """From the counter ``dim`` on, whose first word is at ``pointer``, outwards: the first that has more to count advances,
        those before it begin anew."""
        write, left = layer.counts_write, layer.remaining
        with m.State("walk"):
            self._walking(m, layer)
            self._read_word(m, layer.pointer)
            m.next = "test"
        with m.State("test"):
            self._walking(m, layer)
            m.d.comb += [write.addr.eq(layer.counter), write.en.eq(1)]
            m.d.comb += [write.data.eq(Mux(left == 1, self.word[:16], left - 1)), layer.step.row.eq(self.word[16:])]
            self._read_word(m, layer.pointer + 1)
            with m.If(left != 1):
                m.d.sync += layer.pointer.eq(layer.pointer + 2)
                with m.If(~layer.walks_output):
                    m.d.sync += layer.steps("row")
                m.next = "step"
            with m.Else():
                m.d.sync += [layer.dim.eq(layer.dim - 1)]
                m.d.sync += layer.pointer.eq(layer.pointer - Mux(layer.walks_output, OUTPUT_DIM_WORDS, DIM_WORDS))
                m.next = "walk"
                with m.If(layer.dim == 0):
                    m.d.sync += layer.group_ends.eq(1)
                    m.next = "wait"
                    with m.If(~layer.walks_output):
                        m.d.sync += layer.ended.eq(1)
                        m.next = "flush"
        with m.State("step"):
            self._walking(m, layer)
            m.d.comb += layer.step.x.eq(self.word)
            self._read_word(m, layer.pointer)
            with m.If(layer.walks_output):
                m.d.sync += layer.result_at.eq(layer.result_at + self.word)
                m.next = "parameters"
                with m.If(layer.dim <= CHANNELS_DIM):
                    m.d.sync += layer.group_ends.eq(1)
                    m.next = "wait"
            with m.Else():
                m.d.sync += layer.steps("x")
                m.next = "last step"
        with m.State("last step"):
            m.d.comb += layer.step.address.eq(self.word)
            m.d.sync += layer.steps("address")
            self._next_beat(m, layer, layer.dim)

    def _flush(self, m: Module, layer: _Layer) -> None:
        """Waits for the last sums of a group."""
        left = Signal(range(self.settle + 1), init=self.settle)
        with m.State("flush"):
            self._waiting_for_results(m, layer)
            m.d.sync += left.eq(left - 1)
            with m.If(self.beats.valid | self.computing | self.waiting):
                m.d.sync += left.eq(self.settle)
            with m.Elif(left == 0):
                m.d.sync += [left.eq(self.settle), self.position.eq(0), layer.window.eq(0), self.column.eq(0), layer.tap.eq(layer.taps)]
                m.d.sync += [layer.first_tap.eq(1), layer.pending.eq(0), layer.group_ends.eq(0)]
                with m.If(layer.opens_block | ~layer.one_scale):
                    m.d.sync += layer.scales_at.eq(layer.weights_at)
                m.next = "parameters"

    def _results(self, m: Module, layer: _Layer) -> None:
        """Requantizes one sum after the other, and brings the next one's parameters meanwhile; the largest of a window's is a result."""
        index = Signal(range(PARAMETER_BYTES))
        with m.State("parameters"):
            self._waiting_for_results(m, layer)
            of = Mux(index < BIAS_BYTES, layer.weights_at, layer.scales_at)
            m.d.comb += [layer.accesses.eq(1), self.read.eq(1), self.address.eq(self._weight_address(of + index) | self.column)]
            m.d.sync += [index.eq(index + 1), self.parameter.valid.eq(1)]
            with m.If(index == PARAMETER_BYTES - 1):
                m.d.sync += index.eq(0)
                m.next = "wait"
        with m.State("wait"):
            self._waiting_for_results(m, layer)
            m.d.sync += self.parameter.valid.eq(0)
            with m.If(self.ready):
                m.next = "take"
        m.d.comb += self.parameter.payload.eq(self.line[0])
        write_at, was_first, was_last, better, largest = (
            Signal.like(layer.result_at, name="write_at"), Signal(), Signal(), Signal(signed(8)), Signal(signed(8))
        )  # fmt: skip
        m.d.comb += [better.eq(Mux(was_first | (self.result > largest), self.result, largest)), self.w_data.eq(better)]
        with m.State("take"):
            self._waiting_for_results(m, layer)
            # Of the value before, if there was one.
            m.d.comb += [layer.accesses.eq(1), self.address.eq(write_at), self.write.eq(layer.pending & was_last)]
            m.d.sync += [largest.eq(better), layer.pending.eq(1), write_at.eq(layer.result_at + self.column)]
            m.d.sync += [was_first.eq(layer.first_tap), was_last.eq(layer.tap == 1)]
            self._next_group(m, layer)
            with m.If(~layer.group_ends):
                m.d.comb += self.start.eq(1)
                self._next_sum(m, layer)
            with m.Elif(layer.ended):
                m.next = "record"

    def _next_sum(self, m: Module, layer: _Layer) -> None:
        """One has been taken: to the next of its window, column, or position."""
        last_column = (self.column == self.config.cols - 1) | (layer.channels_left == self.column + 1)
        m.d.sync += [layer.tap.eq(layer.tap - 1), layer.first_tap.eq(0), self.position.eq(self.position + 1)]
        m.next = "parameters"
        with m.If(layer.tap == 1):
            m.d.sync += [layer.tap.eq(layer.taps), layer.first_tap.eq(1)]
            m.d.sync += [self.column.eq(self.column + 1), self.position.eq(layer.window)]
            with m.If(last_column):
                m.d.sync += [self.column.eq(0), self.position.eq(self.position + 1), layer.window.eq(self.position + 1)]
                m.d.sync += [layer.walks_output.eq(1), layer.dim.eq(len(OUTPUT_DIMS) - 1)]
                m.d.sync += layer.pointer.eq(layer.origin + DESCRIPTOR_WORDS - OUTPUT_DIM_WORDS)
                m.next = "walk"

    def _next_group(self, m: Module, layer: _Layer) -> None:
        """A group's results are all written: its parameters are passed over, or a block begins and all weights come once more."""
        brought = Mux(layer.one_scale & ~layer.opens_block, BIAS_BYTES, PARAMETER_BYTES)
        with m.If(layer.group_ends):
            m.d.sync += [layer.opens_tile.eq(1), layer.opens_group.eq(1), layer.opens_block.eq(0)]
            m.d.sync += [layer.weights_at.eq(layer.weights_at + brought), layer.channels_left.eq(layer.channels_left - self.config.cols)]
            m.next = "weights"
            with m.If(layer.dim == 0):
                m.d.sync += [layer.opens_block.eq(1), layer.channels_left.eq(layer.channels)]
                m.next = "again"

    def _waiting_for_results(self, m: Module, layer: _Layer) -> None:
        m.d.comb += self.cause.eq(Mux(layer.ended, Cause.OUTPUT, Cause.ACCUMULATORS))

    def _walking(self, m: Module, layer: _Layer) -> None:
        with m.If(layer.walks_output):
            self._waiting_for_results(m, layer)

    def _read_word(self, m: Module, address: Value) -> None:
        m.d.comb += [self.word_address.eq(address), self.word_read.eq(1)]

    def _first_weight(self) -> Value:
        """Where a descriptor's weights stand, by its first word."""
        return self.word + self.config.scratchpad_bytes // self.config.weight_word_bytes

    def _weight_address(self, word: Value) -> Value:
        return Cat(Const(0, ceil_log2(self.config.weight_word_bytes)), word)[: self.address_bits]


class _Layer:
    """What is known of the descriptor that runs."""

    def __init__(self, control: Control):
        config, bits = control.config, control.address_bits
        program = len(control.word_address)
        point = data.StructLayout({"row": signed(16), "x": signed(bits + 2), "address": bits})
        self.left, self.place = Signal(8), Signal(8)
        self.origin, self.pointer = Signal(program), Signal(program)
        self.weights_at, self.scales_at = (
            Signal(bits - ceil_log2(config.weight_word_bytes), name=name) for name in ("weights_at", "scales_at")
        )
        self.one_scale = Signal()
        self.at, self.fast, self.step = Signal(point), Signal(point), Signal(point)
        self.height, self.width, self.padding = Signal(16), Signal(bits + 1), Signal(signed(8))
        self.beat_settings = Signal(BEAT_SETTING_BITS)
        self.fast_dim, self.fast_left, self.fast_limit = Signal(range(16)), Signal(16), Signal(16)
        self.fast_at = Signal(program)
        self.dim, self.walks_output = Signal(range(16)), Signal()
        self.result_at, self.channels, self.channels_left = Signal(bits), Signal(16), Signal(16)
        self.pending, self.first_tap = Signal(), Signal()
        self.taps, self.tap, self.settings = Signal(16), Signal(16), Signal(SETTINGS)
        self.window = Signal.like(control.position)
        self.opens_tile, self.opens_group, self.opens_block, self.ended = Signal(), Signal(), Signal(), Signal()
        self.free, self.accesses, self.group_ends = Signal(), Signal(), Signal()
        self.counts = Memory(shape=16, depth=16, init=[], attrs=NO_COLLISIONS)
        self.counter, self.remaining = Signal(range(16)), Signal(16)
        self.counts_write = self.counts.write_port()

    def steps(self, *names: str) -> list:
        """The coordinates of these names advance by ``step``."""
        return [self.at[name].eq(self.at[name] + self.step[name]) for name in names]
