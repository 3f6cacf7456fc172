"""The engine: everything between the host's port and the scratchpad's results."""

from __future__ import annotations

from amaranth.hdl import Array, Module, Mux, ResetInserter, Signal
from amaranth.lib import data, stream, wiring
from amaranth.lib.wiring import In, Out, connect
from amaranth.utils import ceil_log2

from weft.hw.accumulate import Accumulators
from weft.hw.activations import ActivationUnit
from weft.hw.delay import delayed
from weft.hw.host import HOST_REQUEST, HostPort, MemoryPort
from weft.hw.memory import BlockMemory, Scratchpad
from weft.hw.output import OutputUnit
from weft.hw.post import PostProcess
from weft.hw.requantize import CHANNEL, SETTINGS
from weft.hw.sequencer import CauseCounters, Sequencer
from weft.hw.slice import RegisterSlice
from weft.hw.spec.config import Config
from weft.hw.spec.counters import Counters
from weft.hw.spec.descriptor import DESCRIPTOR_WORDS
from weft.hw.spec.pe import WEIGHT_SETTING_BITS
from weft.hw.spec.wire import Space
from weft.hw.tile import Tile
from weft.hw.weights import ChannelParameters, WeightUnit

__all__ = ["Engine"]


class Engine(wiring.Component):
    """The accelerator without its link: memories, units, tile, accumulators, post-processing, sequencer, counters.

    Members
    -------
    request : In(stream)
        The host's bytes to write and to read, see :class:`weft.hw.host.HostPort`. Reads of the scratchpad wait while the
        tile reads it, writes while results are written.
    response : Out(stream), always ready
        The bytes read, in order.
    run : In(stream)
        ``first`` descriptor and ``count``.
    busy : Out(1)
        A program runs.
    halt : In(1)
        Stops the program at once. Memories keep what they hold.
    """

    def __init__(self, *, config: Config):
        self.config = config
        super().__init__(
            {
                "request": In(stream.Signature(HOST_REQUEST)),
                "response": Out(stream.Signature(8, always_ready=True)),
                "run": In(stream.Signature(data.StructLayout({"first": 8, "count": 8}))),
                "busy": Out(1),
                "halt": In(1),
            }
        )

    def elaborate(self, platform: object) -> Module:
        m = Module()
        config = self.config
        address_bits = ceil_log2(config.scratchpad_bytes)
        position_bits = ceil_log2(config.positions)

        m.submodules.scratchpad = scratchpad = Scratchpad(banks=config.banks, depth=config.scratchpad_bytes // config.banks)
        m.submodules.weight_store = weight_store = BlockMemory(lanes=config.cols, depth=config.weight_words)
        m.submodules.program = program = BlockMemory(lanes=4, depth=config.descriptors * DESCRIPTOR_WORDS)
        m.submodules.records = records = BlockMemory(lanes=4, depth=config.descriptors * Counters.LAYOUT.size // 4)

        tile = Tile(
            rows=config.rows,
            cols=config.cols,
            pe=config.pe,
            position_bits=position_bits,
            weight_bits=config.weight_bits,
            multipliers=config.multipliers,
        )
        accumulators = Accumulators(cols=config.cols, positions=config.positions, sum_bits=tile.sum_bits)
        post = PostProcess(lanes=config.lanes, tag=OutputUnit.tag_shape(lanes=config.lanes, address_bits=address_bits))
        parameters = ChannelParameters(cols=config.cols, channel=CHANNEL)
        sequencer = Sequencer(descriptors=config.descriptors, read_latency=program.LATENCY)
        weights = WeightUnit(
            cols=config.cols, address_bits=len(weight_store.r_address), read_latency=weight_store.LATENCY, setting_bits=WEIGHT_SETTING_BITS
        )
        activations = ActivationUnit(
            lanes=config.rows,
            group=config.group,
            address_bits=address_bits,
            position_bits=position_bits,
            read_latency=scratchpad.read_latency,
        )
        output = OutputUnit(
            cols=config.cols,
            lanes=config.lanes,
            position_bits=position_bits,
            address_bits=address_bits,
            sum_latency=accumulators.LATENCY,
            channel=CHANNEL,
            settings=SETTINGS,
        )
        causes = CauseCounters(descriptors=config.descriptors)
        halt = Signal()
        m.d.sync += halt.eq(self.halt)
        for unit in (sequencer, weights, activations, output, tile, accumulators, post, parameters, causes):
            m.submodules[type(unit).__name__.lower()] = ResetInserter(halt)(unit)

        # The sequencer and its units.
        connect(m, wiring.flipped(self.run), sequencer.run)
        m.d.comb += self.busy.eq(sequencer.busy)
        connect(m, sequencer.weights, weights.load)
        connect(m, sequencer.activations, activations.load)
        connect(m, sequencer.output, output.load)
        m.d.sync += activations.go.eq(output.loaded)

        # Weights and channels' parameters.
        connect(m, weights.weights, tile.weights)
        connect(m, weights.parameters, parameters.i)
        m.d.comb += [
            parameters.take.eq(output.take),
            output.parameters_full.eq(parameters.full),
            output.channels.eq(parameters.o),
        ]

        # Activations through the tile to the accumulators.
        beat = activations.o.payload
        m.d.comb += [
            tile.i.valid.eq(activations.o.valid),
            tile.i.payload.data.eq(beat.data),
            tile.i.payload.swap.eq(beat.swap),
            tile.i.payload.slide.eq(beat.slide),
            tile.i.payload.settings.eq(beat.settings),
            tile.i.payload.tag.eq(beat.tag),
            activations.o.ready.eq(tile.i.ready),
            activations.drained.eq(output.drained),
        ]
        connect(m, tile.o, accumulators.i)

        # Accumulators through post-processing to the scratchpad.
        m.d.comb += [
            output.full.eq(accumulators.full),
            accumulators.drained.eq(output.drained),
            accumulators.r_address.eq(output.position),
            output.sums.eq(accumulators.sums),
            post.settings.eq(output.settings),
        ]
        connect(m, output.o, post.i)
        result = post.o.payload
        m.d.comb += output.done.eq(post.o.valid & result.tag.final)
        m.d.comb += sequencer.done.eq(output.done)

        connect(m, sequencer.finished, causes.finished)
        m.d.comb += [
            causes.busy.eq(sequencer.busy),
            causes.computing.eq(tile.busy),
            causes.waiting.eq(tile.waiting),
            causes.ending.eq(activations.o.valid & tile.i.ready & beat.final),
            causes.starved.eq(activations.starved),
        ]

        # The host's port, which waits for the units.
        m.submodules.host = host = HostPort(
            latencies={
                Space.COUNTERS: records.LATENCY,
                Space.SCRATCHPAD: scratchpad.read_latency,
                Space.WEIGHTS: weight_store.LATENCY,
                Space.PROGRAM: program.LATENCY,
            }
        )
        m.submodules.requests = requests = RegisterSlice(HOST_REQUEST)
        connect(m, wiring.flipped(self.request), requests.i)
        connect(m, requests.o, host.i)
        connect(m, host.o, wiring.flipped(self.response))
        _share_words(m, host.weights, weight_store, weights)
        _share_words(m, host.program, program, sequencer)
        _share_words(m, host.counters, records, None)
        m.d.comb += [
            sequencer.data.eq(program.r_data.as_value()),
            weights.data.eq(weight_store.r_data),
            records.w_address.eq(causes.address),
            records.w_data.as_value().eq(causes.data),
            records.w_enable.eq(causes.enable.replicate(4)),
        ]
        port = host.scratchpad
        m.d.comb += [
            scratchpad.r_address.eq(Mux(activations.reading, activations.address, port.address)),
            activations.data.as_value().eq(scratchpad.r_data.as_value()),
            port.read.eq(scratchpad.r_data[0]),
            port.ready.eq(Mux(port.write_enable, ~post.o.valid, ~activations.reading)),
        ]
        with m.If(post.o.valid):
            m.d.comb += [
                scratchpad.w_address.eq(result.tag.address),
                scratchpad.w_data.as_value().eq(result.data.as_value()),
                scratchpad.w_enable.eq(result.tag.mask),
            ]
        with m.Else():
            m.d.comb += [
                scratchpad.w_address.eq(port.address),
                scratchpad.w_data[0].eq(port.write),
                scratchpad.w_enable.eq(port.write_enable),
            ]
        return m


def _share_words(m: Module, port: MemoryPort, memory: BlockMemory, unit: Sequencer | WeightUnit | None) -> None:
    """Gives the host's byte port a memory of words: writing always, unless it is read only; reading while ``unit`` does not.

    A write takes a cycle more than the port has it: it is far to the block RAMs.
    """
    lane_bits = ceil_log2(memory.lanes)
    lane, word = port.address[:lane_bits], port.address[lane_bits:]
    if unit is None:
        m.d.comb += [port.ready.eq(1), memory.r_address.eq(word)]
    else:
        m.d.comb += [
            port.ready.eq(port.write_enable | ~unit.reading),
            memory.r_address.eq(Mux(unit.reading, unit.address, word)),
        ]
        m.d.sync += [
            memory.w_address.eq(word),
            memory.w_data.as_value().eq(port.write.replicate(memory.lanes)),
            memory.w_enable.eq(port.write_enable << lane),
        ]
    lane = delayed(m, lane, memory.LATENCY, name="lane")
    m.d.comb += port.read.eq(Array(memory.r_data[index] for index in range(memory.lanes))[lane])
