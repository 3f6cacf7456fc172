"""The sequential engine: its parts and how they are connected."""

from __future__ import annotations

from amaranth.hdl import Array, Cat, DomainRenamer, Module, Mux, ResetSignal, Signal
from amaranth.lib import wiring
from amaranth.lib.memory import Memory
from amaranth.lib.wiring import connect

from sateen.hw.host import EngineSignature
from sateen.hw.memory import NO_COLLISIONS, last_read
from sateen.hw.pe.shape import ArrayShape
from sateen.hw.sequential.accumulate import MARK_BITS, SequentialAccumulators
from sateen.hw.sequential.control import Control
from sateen.hw.sequential.counters import SequentialCounters
from sateen.hw.sequential.memory import BankedMemory
from sateen.hw.sequential.requantize import SerialRequantize
from sateen.hw.spec.config import Config
from sateen.hw.spec.counters import RECORD_WORDS
from sateen.hw.spec.descriptor import DESCRIPTOR_WORDS
from sateen.hw.spec.timing import flush_cycles
from sateen.hw.spec.wire import Space
from sateen.hw.stream.delay import reset_domains
from sateen.hw.tile import Tile

__all__ = ["SequentialEngine"]

WORD_BYTES = 4


class SequentialEngine(wiring.Component):
    """An engine of a few thousand LUTs: one control for all streams, one memory with one port for activations and
    weights, one serial requantizer. Its results are the pipelined engine's, bit for bit.

    Loading of weights, beats and results follow each other: nothing overlaps.

    Ports: :class:`sateen.hw.host.EngineSignature`. The host's requests to a memory wait while a program uses it.
    Scratchpad and weights are one memory: an address past the end of one is in the other.
    """

    def __init__(self, *, config: Config):
        self.config = config
        super().__init__(EngineSignature())

    def elaborate(self, platform: object) -> Module:
        m = Module()
        config = self.config
        tile = Tile(ArrayShape.of(config), position_bits=MARK_BITS, edge_stages=0)
        sums = SequentialAccumulators(cols=config.cols, positions=config.positions, sum_bits=tile.shape.sum_bits)
        control, requantize = Control(config, flush_cycles=flush_cycles(config)), SerialRequantize()
        counters = SequentialCounters(descriptors=config.descriptors)
        reset_domains(m, platform, ["program"], self.halt | ResetSignal(allow_reset_less=True))
        for name, unit in (
            ("tile", tile),
            ("sums", sums),
            ("control", control),
            ("requantize", requantize),
            ("counters", counters),
        ):
            m.submodules[name] = DomainRenamer("program")(unit)
        # A run waits until the reset after a halt has reached the units.
        halted = Signal(2)
        m.d.sync += halted.eq(Cat(self.halt, halted))
        with m.If(~self.halt & ~halted.any()):
            connect(m, wiring.flipped(self.run), control.run)

        connect(m, control.weights, tile.weights)
        connect(m, control.beats, tile.i)
        connect(m, tile.o, sums.i)
        connect(m, control.finished, counters.finished)
        m.d.comb += [
            self.busy.eq(control.busy),
            self.place.eq(control.finished.payload),
            control.computing.eq(tile.busy),
            control.waiting.eq(tile.waiting),
            sums.position.eq(control.position),
            requantize.settings.eq(control.settings),
            requantize.valid.eq(control.parameter.valid),
            requantize.byte.eq(control.parameter.payload),
            requantize.i.eq(Array(sums.sums[column] for column in range(config.cols))[control.column]),
            requantize.start.eq(control.start),
            control.ready.eq(requantize.ready | requantize.ending),
            control.result.eq(requantize.o),
            counters.cause.eq(control.cause),
        ]
        self._memories(m, control, counters)
        return m

    def _memories(self, m: Module, control: Control, counters: SequentialCounters) -> None:
        """Connects the memories with the control, and while that does not use them, with the host."""
        config, request = self.config, self.request.payload
        to_memory = (request.space == Space.SCRATCHPAD) | (request.space == Space.WEIGHTS)
        to_program = request.space == Space.PROGRAM
        in_use = control.using
        taken, asked = Signal(), Signal()
        m.d.comb += [
            self.request.ready.eq(~(to_memory & in_use) & ~(to_program & control.word_read)),
            taken.eq(self.request.valid & self.request.ready),
            asked.eq(taken & ~request.write),
        ]
        m.submodules.memory = memory = BankedMemory(
            banks=config.banks, depth=-(-(config.scratchpad_bytes + config.weight_bytes) // config.banks)
        )
        wanted = request.address + Mux(request.space == Space.WEIGHTS, config.scratchpad_bytes, 0)
        m.d.comb += [
            memory.address.eq(Mux(in_use, control.address, wanted)),
            memory.read.eq(Mux(in_use, control.read, asked & to_memory)),
            memory.write.eq(Mux(in_use, control.write, taken & request.write & to_memory)),
            memory.w_data.eq(Mux(in_use, control.w_data, request.data)),
            control.line.eq(memory.r_data),
        ]
        words = []
        for byte in range(WORD_BYTES):
            program: Memory = Memory(shape=8, depth=config.descriptors * DESCRIPTOR_WORDS, init=[], attrs=NO_COLLISIONS)
            m.submodules[f"program_{byte}"] = program
            write = program.write_port()
            m.d.comb += [
                write.addr.eq(request.address[2:]),
                write.data.eq(request.data),
                write.en.eq(taken & request.write & to_program & (request.address[:2] == byte)),
            ]
            words.append(last_read(m, program, Mux(control.word_read, control.word_address, request.address[2:])))
        m.d.comb += control.word.eq(Cat(words))
        records: Memory = Memory(shape=32, depth=config.descriptors * RECORD_WORDS, init=[], attrs=NO_COLLISIONS)
        m.submodules.records = records
        write, read = records.write_port(), last_read(m, records, request.address[2:])
        m.d.comb += [write.addr.eq(counters.address), write.data.eq(counters.data), write.en.eq(counters.enable)]
        # The answer, a cycle later.
        space, place = Signal.like(request.space), Signal(2)
        m.d.sync += [self.response.valid.eq(asked), space.eq(request.space), place.eq(request.address[:2])]
        record = [read[8 * byte : 8 * byte + 8] for byte in range(WORD_BYTES)]
        m.d.comb += self.response.payload.eq(memory.r_data[0])
        with m.If(space == Space.PROGRAM):
            m.d.comb += self.response.payload.eq(Array(words)[place])
        with m.If(space == Space.COUNTERS):
            m.d.comb += self.response.payload.eq(Array(record)[place])
