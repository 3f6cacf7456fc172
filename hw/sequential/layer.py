"""The layer that a sequential engine runs: how its descriptor is read, and how its counters advance."""

from __future__ import annotations

from amaranth.hdl import Cat, Module, Mux, Signal, Value, signed
from amaranth.lib import data
from amaranth.lib.memory import Memory
from amaranth.utils import ceil_log2

from sateen.hw.memory import NO_COLLISIONS, last_read
from sateen.hw.requantize import SETTINGS
from sateen.hw.spec.config import Config
from sateen.hw.spec.descriptor import (
    DESCRIPTOR_WORDS,
    DIM_WORDS,
    OUTPUT_DIM_WORDS,
    SECTIONS,
    ActivationStream,
    OutputStream,
)
from sateen.hw.spec.nests import ACTIVATION_DIMS, CHANNELS_DIM, CHUNK_DIM, COUNT_BITS, OUTPUT_DIMS
from sateen.hw.spec.pe import BEAT_SETTING_BITS, ZERO_POINT_BIT
from sateen.hw.stream.view import view

__all__ = ["Layer"]

ACTIVATIONS = SECTIONS["weights"]
"""The section's first word in a descriptor, likewise of ``OUTPUT``."""
OUTPUT = ACTIVATIONS + SECTIONS["activations"]
HEAD, OUTPUT_HEAD = ActivationStream.HEAD.size // 4 + 1, OutputStream.HEAD.size // 4
"""Words of the two sections before their counters; the activations' last one is that of sliding windows."""
assert OUTPUT + SECTIONS["output"] == DESCRIPTOR_WORDS
OUTPUT_COUNTS = len(ACTIVATION_DIMS)
"""The output stream's counters are numbered after the others."""


class Layer:
    """The registers of a descriptor, and the states of :class:`sateen.hw.sequential.control.Control` that walk over it.

    The descriptor's words stay in the program memory, and are read there when a counter advances; a memory of 16 words
    has the counters' values. Only the innermost counter of the activation stream that counts above 1 is in registers,
    ``inner``.
    """

    def __init__(self, config: Config):
        self.config = config
        self.address_bits = bits = ceil_log2(config.scratchpad_bytes + config.weight_bytes)
        program = ceil_log2(config.descriptors * DESCRIPTOR_WORDS)
        # The program memory: a word arrives a cycle after it is read.
        self.word_address, self.word_read, self.word = Signal(program), Signal(), Signal(32)
        self.origin, self.pointer = Signal(program), Signal(program)
        self.counts: Memory = Memory(shape=COUNT_BITS, depth=16, init=[], attrs=NO_COLLISIONS)
        self.count_write = self.counts.write_port()
        self.counter, self.count = Signal(range(16)), Signal(COUNT_BITS)

        self.weight_word = Signal(bits - ceil_log2(config.weight_word_bytes))
        self.one_scale, self.zero_point = Signal(), Signal(8)
        point = data.StructLayout({"row": signed(16), "x": signed(bits + 2), "address": bits})
        self.at, self.step, self.inner = view(point), view(point), view(point)
        self.height, self.width = Signal(16), Signal(bits + 1)
        self.padding, self.beat_settings = Signal(signed(8)), Signal(BEAT_SETTING_BITS)
        self.inner_dim, self.inner_word = Signal(range(16)), Signal(program)
        self.inner_left, self.inner_limit = Signal(COUNT_BITS), Signal(COUNT_BITS)
        self.result_address, self.channels, self.channels_left = Signal(bits), Signal(16), Signal(16)
        self.taps, self.settings = Signal(16), view(SETTINGS)

        # Whether the output stream's counters are walked over, and which counter is tried.
        self.walks_output, self.dim = Signal(), Signal(range(16))
        # What the next beat is the first of; whether none is left; whether all results of the group are requested.
        self.opens_tile, self.opens_group, self.opens_block = Signal(), Signal(), Signal()
        self.ended, self.group_ends = Signal(), Signal()
        # Only results are under way.
        self.drains = Signal()

    def connect(self, m: Module) -> None:
        """The connections outside the states."""
        m.submodules.counts = self.counts
        m.d.comb += self.counter.eq(self.dim + Mux(self.walks_output, OUTPUT_COUNTS, 0))
        m.d.comb += self.count.eq(last_read(m, self.counts, self.counter))

    def read(self, m: Module, address: Value) -> None:
        """Reads a word of the program."""
        m.d.comb += [self.word_address.eq(address), self.word_read.eq(1)]

    def advance(self, m: Module, *names: str) -> None:
        """Adds ``step`` to these coordinates."""
        m.d.sync += [self.at[name].eq(self.at[name] + self.step[name]) for name in names]

    def first_weight(self) -> Value:
        """The word address of the weights, behind the scratchpad, from a descriptor's first word."""
        return self.word + self.config.scratchpad_bytes // self.config.weight_word_bytes

    def load(self, m: Module) -> None:
        """The state ``load``, which reads a descriptor, its heads into registers, and sets all counters; and the states
        that rewind the weights for the next block."""
        with m.State("again"):
            self.read(m, self.origin)
            m.next = "rewind"
        with m.State("rewind"):
            m.d.sync += self.weight_word.eq(self.first_weight())
            m.next = "weights"
        index = Signal(range(DESCRIPTOR_WORDS + 1))
        with m.State("load"):
            self.read(m, self.pointer)
            m.d.sync += [self.pointer.eq(self.pointer + 1), index.eq(index + 1)]
            # The word of the cycle before.
            with m.Switch(index):
                with m.Case(1):
                    # The coordinates start at zero, and their origin is added.
                    m.d.sync += [self.weight_word.eq(self.first_weight()), self.at.eq(0)]
                with m.Case(3):
                    m.d.sync += [self.one_scale.eq(self.word[30]), self.zero_point.eq(self.word[ZERO_POINT_BIT:])]
                with m.Case(ACTIVATIONS + 1):
                    m.d.comb += self.step.address.eq(self.word)
                    self.advance(m, "address")
                with m.Case(ACTIVATIONS + 2):
                    m.d.comb += self.step.row.eq(self.word[:16])
                    m.d.sync += self.height.eq(self.word[16:])
                    self.advance(m, "row")
                with m.Case(ACTIVATIONS + 3):
                    m.d.comb += self.step.x.eq(self.word)
                    self.advance(m, "x")
                with m.Case(ACTIVATIONS + 4):
                    m.d.sync += self.width.eq(self.word)
                with m.Case(ACTIVATIONS + 5):
                    m.d.sync += Cat(self.padding, self.beat_settings).eq(self.word)
                with m.Case(OUTPUT + 1):
                    m.d.sync += self.result_address.eq(self.word)
                with m.Case(OUTPUT + 2):
                    m.d.sync += [Cat(self.channels, self.taps).eq(self.word), self.channels_left.eq(self.word)]
                with m.Case(OUTPUT + 3):
                    m.d.sync += self.settings.eq(self.word)
            self._load_counters(m, index)
            with m.If(index == DESCRIPTOR_WORDS):
                m.d.sync += [
                    index.eq(0),
                    self.opens_tile.eq(1),
                    self.opens_group.eq(1),
                    self.opens_block.eq(1),
                    self.ended.eq(0),
                ]
                m.next = "weights"

    def _load_counters(self, m: Module, index: Signal) -> None:
        """In ``load``: the counters after each section's head."""
        part, dim, counts = Signal(range(DIM_WORDS)), Signal(range(16)), Signal()
        in_output, limit = index > OUTPUT, self.word[:COUNT_BITS]
        with m.Switch(index):
            with m.Case(*range(ACTIVATIONS + 1), *range(OUTPUT + 1, OUTPUT + 1 + OUTPUT_HEAD)):
                m.d.sync += [part.eq(0), dim.eq(Mux(in_output, OUTPUT_COUNTS, 0))]
            with m.Case(*range(ACTIVATIONS + 1, ACTIVATIONS + 1 + HEAD)):
                m.d.sync += [self.inner_dim.eq(0), self.inner_left.eq(0), self.inner_limit.eq(0)]
            with m.Default():
                m.d.sync += part.eq(part + 1)
                m.d.comb += [
                    self.count_write.addr.eq(dim),
                    self.count_write.data.eq(limit),
                    self.count_write.en.eq(part == 0),
                ]
                with m.If(part == 0):
                    m.d.sync += counts.eq(limit != 1)
                    with m.If((limit != 1) & ~in_output):
                        m.d.sync += [
                            self.inner_dim.eq(dim),
                            self.inner_word.eq(self.pointer),
                            self.inner.row.eq(self.word[16:]),
                        ]
                        m.d.sync += [self.inner_left.eq(limit - 1), self.inner_limit.eq(limit - 1)]
                with m.If((part == 1) & counts & ~in_output):
                    m.d.sync += self.inner.x.eq(self.word)
                with m.If((part == 2) & counts):
                    m.d.sync += self.inner.address.eq(self.word)
                with m.If(part == Mux(in_output, OUTPUT_DIM_WORDS, DIM_WORDS) - 1):
                    m.d.sync += [part.eq(0), dim.eq(dim + 1)]

    def next_beat(self, m: Module) -> None:
        """Goes to the next beat, if there is one: ``inner`` advances, or else a counter outside it."""
        with m.If(self.inner_left != 0):
            m.d.comb += self.step.eq(self.inner)
            m.d.sync += self.inner_left.eq(self.inner_left - 1)
            self.advance(m, "row", "x", "address")
            self._continue(m, self.inner_dim)
        with m.Else():
            m.d.sync += [self.inner_left.eq(self.inner_limit), self.walks_output.eq(0), self.dim.eq(self.inner_dim - 1)]
            # `inner_word` is the word after its own first one; this is the first word of the next counter outwards.
            m.d.sync += self.pointer.eq(self.inner_word - (1 + DIM_WORDS))
            m.next = "walk"
            with m.If(self.inner_dim == 0):
                m.d.sync += self.ended.eq(1)
                m.next = "flush"

    def next_result(self, m: Module) -> None:
        """Goes to the address of the next results."""
        m.d.sync += [self.walks_output.eq(1), self.dim.eq(len(OUTPUT_DIMS) - 1)]
        m.d.sync += self.pointer.eq(self.origin + DESCRIPTOR_WORDS - OUTPUT_DIM_WORDS)
        m.next = "walk"

    def walk(self, m: Module) -> None:
        """The states that go outwards from counter ``dim``, whose first word is at ``pointer``: the first counter that
        has more to count advances, those inside it begin again."""
        again, write = self.count == 1, self.count_write
        with m.State("walk"):
            m.d.comb += self.drains.eq(self.walks_output)
            self.read(m, self.pointer)
            m.next = "test"
        with m.State("test"):
            m.d.comb += self.drains.eq(self.walks_output)
            m.d.comb += [write.addr.eq(self.counter), write.en.eq(1)]
            m.d.comb += [
                write.data.eq(Mux(again, self.word[:COUNT_BITS], self.count - 1)),
                self.step.row.eq(self.word[COUNT_BITS:]),
            ]
            self.read(m, self.pointer + 1)
            with m.If(~again):
                m.d.sync += self.pointer.eq(self.pointer + 2)
                with m.If(~self.walks_output):
                    self.advance(m, "row")
                m.next = "step"
            with m.Else():
                m.d.sync += [self.dim.eq(self.dim - 1)]
                m.d.sync += self.pointer.eq(self.pointer - Mux(self.walks_output, OUTPUT_DIM_WORDS, DIM_WORDS))
                m.next = "walk"
                with m.If(self.dim == 0):
                    with m.If(self.walks_output):
                        m.d.sync += self.group_ends.eq(1)
                        m.next = "wait"
                    with m.Else():
                        m.d.sync += self.ended.eq(1)
                        m.next = "flush"
        with m.State("step"):
            m.d.comb += self.drains.eq(self.walks_output)
            m.d.comb += self.step.x.eq(self.word)
            self.read(m, self.pointer)
            with m.If(self.walks_output):
                m.d.sync += self.result_address.eq(self.result_address + self.word)
                m.next = "parameters"
                with m.If(self.dim <= CHANNELS_DIM):
                    m.d.sync += self.group_ends.eq(1)
                    m.next = "wait"
            with m.Else():
                self.advance(m, "x")
                m.next = "last step"
        with m.State("last step"):
            m.d.comb += self.step.address.eq(self.word)
            self.advance(m, "address")
            self._continue(m, self.dim)

    def _continue(self, m: Module, dim: Value) -> None:
        """Goes to the state that follows the advance of counter ``dim``."""
        with m.If(dim <= CHANNELS_DIM):
            m.next = "flush"
        with m.Elif(dim <= CHUNK_DIM):
            m.d.sync += [self.opens_tile.eq(1), self.opens_group.eq(0)]
            m.next = "weights"
        with m.Else():
            m.next = "beats"
