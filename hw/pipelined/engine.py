"""The pipelined engine: memories, units and how they are connected."""

from __future__ import annotations

from typing import Any

from amaranth.hdl import Cat, DomainRenamer, Module, Mux, ResetSignal, Signal, Value
from amaranth.lib import wiring
from amaranth.lib.wiring import connect
from amaranth.utils import ceil_log2

from sateen.hw.host import EngineSignature, HostPort
from sateen.hw.memory import BlockMemory
from sateen.hw.pipelined.accumulate import Accumulators
from sateen.hw.pipelined.activations import ActivationUnit
from sateen.hw.pipelined.cells import Cells
from sateen.hw.pipelined.layer_norm import LayerNorm
from sateen.hw.pipelined.lookup import LookUp
from sateen.hw.pipelined.norms import InverseRoot
from sateen.hw.pipelined.operands import OperandWriter
from sateen.hw.pipelined.output import OutputUnit
from sateen.hw.pipelined.postprocess import PostProcess
from sateen.hw.pipelined.sequencer import CauseCounters, Sequencer
from sateen.hw.pipelined.shares import Shares
from sateen.hw.pipelined.sharing import byte_latency, share_with_host
from sateen.hw.pipelined.softmax import Distances, RowScales
from sateen.hw.pipelined.weight_store import WeightStore
from sateen.hw.pipelined.weights import ChannelParameters, WeightUnit, parameter_word
from sateen.hw.requantize import CHANNEL, SETTINGS
from sateen.hw.scratchpad import Scratchpad
from sateen.hw.spec.config import Config, ceil_pow2
from sateen.hw.spec.counters import RECORD_WORDS
from sateen.hw.spec.descriptor import DESCRIPTOR_WORDS, SECTIONS
from sateen.hw.spec.pe import WEIGHT_SETTING_BITS
from sateen.hw.spec.timing import PARAMETER_QUEUE_DEPTH
from sateen.hw.spec.wire import Space
from sateen.hw.stream.delay import delayed, reset_domains
from sateen.hw.stream.queue import Queue
from sateen.hw.tile import Tile

__all__ = ["Engine"]


class Engine(wiring.Component):
    """The accelerator without its link: sequencer, units, tile, accumulators, post-processing, memories, counters.

    Ports: :class:`sateen.hw.host.EngineSignature`. Of the host's requests, reads of the scratchpad wait while beats are
    read, writes while results are written.
    """

    def __init__(self, *, config: Config):
        self.config = config
        super().__init__(EngineSignature(config.moved_bytes))

    def elaborate(self, platform: object) -> Module:
        m = Module()
        units = _Units(self.config)
        resettable = [name for name in vars(units) if name not in _MEMORIES]
        reset_domains(m, platform, resettable, self.halt | ResetSignal(allow_reset_less=True))
        for name, unit in vars(units).items():
            m.submodules[name] = DomainRenamer(name)(unit) if name in resettable else unit
        self.results = (units.cells if self.config.recurrent else units.postprocess).o
        """What is written: addresses and bytes."""
        self._control(m, units)
        self._compute(m, units)
        if self.config.tables:
            self._look_up(m, units)
        if self.config.softmax:
            self._softmax(m, units)
        if self.config.products:
            self._write_operands(m, units)
        if self.config.norms:
            self._normalize(m, units)
        if self.config.recurrent:
            self._recur(m, units)
        self._memories(m, units)
        return m

    def _control(self, m: Module, u: _Units) -> None:
        """The sequencer and its units; the counters."""
        # A run waits until the reset after a halt has reached the units.
        halted = Signal(3)
        m.d.sync += halted.eq(Cat(self.halt, halted))
        with m.If(~self.halt & ~halted.any()):
            connect(m, wiring.flipped(self.run), u.sequencer.run)
        weights = u.sequencer.weights
        if self.config.overlap:
            # A section waits there until the weight unit has made its requests, and does not hold up those behind it.
            connect(m, weights, u.section_queue.i)
            weights = u.section_queue.o
        connect(m, weights, u.weights.load)
        connect(m, u.sequencer.activations, u.activations.load)
        connect(m, u.sequencer.output, u.output.load)
        if self.config.overlap:
            self._overlap(m, u)
        else:
            m.d.sync += u.activations.go.eq(u.output.loaded)
        connect(m, u.sequencer.finished, u.causes.finished)
        beats = u.activations.o
        m.d.comb += [
            self.busy.eq(u.sequencer.busy),
            self.place.eq(u.sequencer.finished.payload),
            u.sequencer.done.eq(u.output.done),
            u.causes.busy.eq(u.sequencer.busy),
            u.causes.computing.eq(u.tile.busy),
            u.causes.waiting.eq(u.tile.waiting),
            u.causes.ending.eq(beats.valid & beats.ready & beats.payload.final),
            u.causes.starved.eq(u.activations.starved),
        ]

    def _overlap(self, m: Module, u: _Units) -> None:
        """Lets the activation unit run ahead of results."""
        activations, output, causes, result = u.activations, u.output, u.causes, self.results
        m.d.comb += [
            activations.running.eq(~output.load.ready),
            activations.ahead.eq(output.ahead),
            activations.written.eq(result.valid & result.payload.tag.part),
            activations.done.eq(output.done),
            causes.behind.eq(activations.behind),
            causes.begin.eq(u.sequencer.run.valid & u.sequencer.run.ready),
            causes.count.eq(u.sequencer.run.payload.count),
        ]

    def _compute(self, m: Module, u: _Units) -> None:
        """Weights and activations to the tile, sums to the accumulators, and through post-processing to the
        scratchpad."""
        connect(m, u.weights.weights, u.tile.weights)
        connect(m, u.weights.parameters, u.parameter_queue.i)
        connect(m, u.parameter_queue.o, u.parameters.i)
        connect(m, u.tile.o, u.accumulators.i)
        connect(m, u.output.o, u.postprocess.i)
        beat = u.activations.o.payload
        m.d.comb += [
            u.parameters.take.eq(u.output.take),
            u.output.parameters_full.eq(u.parameters.full),
            u.output.channels.eq(u.parameters.o),
            u.tile.i.valid.eq(u.activations.o.valid & ~beat.pairs),
            *(
                getattr(u.tile.i.payload, name).eq(getattr(beat, name))
                for name in ("data", "swap", "slide", "settings", "tag")
            ),
            u.activations.o.ready.eq(u.tile.i.ready),
            u.activations.drained.eq(u.output.drained),
            u.output.full.eq(u.accumulators.full),
            u.accumulators.drained.eq(u.output.drained),
            u.accumulators.r_address.eq(u.output.position),
            u.output.sums.eq(u.accumulators.sums),
            u.postprocess.settings.eq(u.output.settings),
            u.output.done.eq(self.results.valid & self.results.payload.tag.final),
        ]

    def _look_up(self, m: Module, u: _Units) -> None:
        """Tables to the accumulators' memories, and pairs of lines past the tile."""
        connect(m, u.weights.tables, u.layer_norm.words if self.config.layer_norm else u.look_up.words)
        beats, lines, marks = u.activations.o, u.look_up.i, []
        payload, valid = lines.payload, beats.valid & beats.payload.pairs
        if self.config.softmax:
            lines, payload = u.distances.i, u.distances.i.payload.line
            marks.append(u.distances.i.payload.begin.eq(beats.payload.swap))
            connect(m, u.distances.o, u.look_up.i)
        if self.config.layer_norm:
            lines, payload = self._layer_norm(m, u, lines, payload)
        if self.config.softmax or self.config.layer_norm:
            # Whether lines are those of rows is known when the output unit has the layer.
            valid &= u.output.look_up
        m.d.comb += [payload.eq(beats.payload.data), *marks, lines.valid.eq(valid)]
        m.d.comb += [
            u.look_up.open.eq(u.output.look_up),
            u.accumulators.write.eq(delayed(m, u.look_up.write, name="table")),
            u.accumulators.look_up.eq(u.output.look_up),
            u.accumulators.pair.eq(u.look_up.o.payload),
            u.output.second_entries.eq(u.accumulators.second_entries),
            u.output.tables_full.eq(u.look_up.full),
            u.output.pair.eq(u.look_up.o.valid),
            u.look_up.o.ready.eq(u.output.pair_taken),
        ]
        if self.config.direct:
            m.d.comb += [u.look_up.loads.eq(u.output.loads), u.output.codes.eq(u.look_up.o.payload)]
        with m.If(beats.payload.pairs):
            m.d.comb += [
                beats.ready.eq(lines.ready),
                u.causes.computing.eq(lines.valid & lines.ready),
                u.causes.waiting.eq(lines.valid & ~lines.ready & ~u.look_up.full),
            ]

    def _layer_norm(
        self, m: Module, u: _Units, lines: wiring.PureInterface, payload: Any
    ) -> tuple[wiring.PureInterface, Any]:
        """Rows are normalized on the way to ``lines`` and their ``payload``. Returns both of what comes before."""
        unit = u.layer_norm
        connect(m, unit.passed, u.look_up.words)
        m.d.comb += [
            unit.on.eq(u.output.normalizes),
            unit.go.eq(u.look_up.full),
            payload.eq(unit.o.payload),
            lines.valid.eq(unit.o.valid),
            unit.o.ready.eq(lines.ready),
        ]
        return unit.i, unit.i.payload

    def _softmax(self, m: Module, u: _Units) -> None:
        """Which lookups are a softmax's; exponentials to their sums, and rows' scales back."""
        connect(m, u.scales.o, u.output.scales)
        m.d.comb += [
            u.distances.on.eq(u.output.softmax),
            u.look_up.alone.eq(u.output.softmax),
            u.scales.on.eq(u.output.softmax & ~u.output.shared if self.config.softmax == 2 else u.output.softmax),
            u.scales.valid.eq(u.output.row.sums),
            u.scales.last.eq(u.output.row.last),
            u.scales.mask.eq(u.output.o.payload.tag.mask),
            u.scales.entries.eq(u.output.o.payload.sums),
        ]
        if self.config.softmax == 2:
            m.d.comb += [
                u.shares.on.eq(u.output.shared),
                u.shares.zero_point.eq(u.output.settings.zero_point),
                u.shares.i.eq(u.output.entries),
                u.output.total.eq(u.shares.total),
                u.postprocess.shared.eq(u.output.shared),
                u.postprocess.shares.eq(u.shares.o),
            ]

    def _normalize(self, m: Module, u: _Units) -> None:
        """The squares of results to their sum, and its inverse root back."""
        result = u.postprocess.o.payload
        m.d.comb += [
            u.norm.valid.eq(u.postprocess.o.valid),
            u.norm.mask.eq(result.tag.mask),
            u.norm.results.eq(result.data),
            u.norm.done.eq(result.tag.final),
            u.norm.ignored.eq(u.output.normalized),
            u.output.norm.eq(u.norm.o),
        ]

    def _recur(self, m: Module, u: _Units) -> None:
        """Items of recurrent layers to their unit, past post-processing."""
        connect(m, u.postprocess.o, u.cells.results)
        names = {"on": "recurrent", "begin": "loaded"}
        m.d.comb += [
            getattr(u.cells, name).eq(getattr(u.output, names.get(name, name)))
            for name in ("on", "begin", "numbers", "settings", "origin", "offered", "mask")
        ]
        m.d.comb += [
            *(getattr(u.cells, name).eq(getattr(u.output.o.payload, name)) for name in ("sums", "channels", "tag")),
            u.output.taken.eq(u.cells.taken),
        ]

    def _write_operands(self, m: Module, u: _Units) -> None:
        """Results to the weight store, whose unit waits for them."""
        result = u.postprocess.o.payload
        m.d.comb += [
            u.weights.done.eq(u.output.done),
            u.operands.enable.eq(u.postprocess.o.valid & u.output.to_weights),
            u.operands.address.eq(result.tag.address),
            u.operands.mask.eq(result.tag.mask),
            *(to.eq(value) for to, value in zip(u.operands.results, result.data, strict=True)),
        ]

    def _memories(self, m: Module, u: _Units) -> None:
        """Connects the memories with the units, and with the host's port, which gives way to them."""
        m.submodules.host = host = HostPort(
            latencies={
                Space.COUNTERS: byte_latency(u.records),
                Space.SCRATCHPAD: u.scratchpad.read_latency,
                Space.WEIGHTS: byte_latency(u.weight_store),
                Space.PROGRAM: byte_latency(u.program),
            },
            width=self.config.moved_bytes,
        )
        connect(m, wiring.flipped(self.request), host.i)
        connect(m, host.o, wiring.flipped(self.response))
        share_with_host(m, host.weights, u.weight_store, u.weights, u.operands if self.config.products else None)
        share_with_host(m, host.program, u.program, u.sequencer)
        share_with_host(m, host.counters, u.records, None)
        m.d.comb += [
            u.sequencer.data.eq(u.program.r_data.as_value()),
            *(
                to.eq(u.weight_store.r_data[lane])
                for to, lane in zip(u.weights.data, u.weight_store.columns, strict=True)
            ),
            u.records.w_address.eq(u.causes.address),
            u.records.w_data.as_value().eq(u.causes.data),
            u.records.w_enable.eq(u.causes.enable.replicate(4)),
        ]
        port, scratchpad, result = host.scratchpad, u.scratchpad, self.results.payload
        m.d.comb += [
            scratchpad.r_address.eq(Mux(u.activations.reading, u.activations.address, port.address)),
            u.activations.data.as_value().eq(scratchpad.r_data.as_value()),
            port.read.eq(Cat(scratchpad.r_data[lane] for lane in range(self.config.moved_bytes))),
            port.write_ready.eq(~self.results.valid),
            port.read_ready.eq(~u.activations.reading),
        ]
        # From registers: results come from all over the chip. Bytes that are not enabled may be anything, so that only
        # one lane has a multiplexer.
        m.d.sync += scratchpad.w_data.as_value().eq(result.data.as_value())
        with m.If(self.results.valid):
            m.d.sync += [scratchpad.w_address.eq(result.tag.address), scratchpad.w_enable.eq(result.tag.mask)]
            if self.config.products:
                with m.If(u.output.to_weights):
                    m.d.sync += scratchpad.w_enable.eq(0)
        with m.Else():
            m.d.sync += [
                scratchpad.w_address.eq(port.address),
                *(to.eq(byte) for to, byte in zip(scratchpad.w_data, _bytes(port.write), strict=False)),
                scratchpad.w_enable.eq(port.write_enable),
            ]


_MEMORIES = ("scratchpad", "weight_store", "program", "records")


class _Units:
    """The parts of a configuration's engine; each attribute is a submodule."""

    def __init__(self, config: Config):
        address_bits, position_bits = ceil_log2(config.scratchpad_bytes), ceil_log2(config.positions)
        weight_bits = ceil_log2(config.weight_words) + ceil_log2(config.cols)
        result_bits = max(address_bits, weight_bits) if config.products else address_bits
        self.scratchpad = Scratchpad(
            banks=config.banks, depth=config.scratchpad_bytes // config.banks, logic=bool(config.lutram)
        )  # fmt: skip
        self.weight_store = WeightStore(config)
        self.program = BlockMemory(lanes=4, depth=config.descriptors * DESCRIPTOR_WORDS)
        self.records = BlockMemory(lanes=4, depth=config.descriptors * RECORD_WORDS)
        self.sequencer = Sequencer(descriptors=config.descriptors, read_latency=self.program.latency)
        self.weights = WeightUnit(
            cols=config.cols, address_bits=len(self.weight_store.r_address), read_latency=self.weight_store.latency,
            setting_bits=WEIGHT_SETTING_BITS, weight_rows=config.weight_rows, waits=bool(config.products),
            repeats=bool(config.products), direct=bool(config.direct),
        )  # fmt: skip
        self.parameters = ChannelParameters(cols=config.cols, channel=CHANNEL, weight_rows=config.weight_rows)
        self.parameter_queue = Queue(parameter_word(config.cols, config.weight_rows), depth=PARAMETER_QUEUE_DEPTH)
        self.activations = ActivationUnit(
            lanes=config.rows * config.combine,
            group=config.group,
            address_bits=address_bits,
            position_bits=position_bits,
            read_latency=self.scratchpad.read_latency,
            write_latency=self.scratchpad.write_latency,
            overlap=bool(config.overlap),
        )
        self.tile = Tile(
            rows=config.rows,
            cols=config.cols,
            pe=config.pe,
            position_bits=position_bits,
            weight_bits=config.weight_bits,
            multipliers=config.multipliers,
            combine=config.combine,
            weight_rows=config.weight_rows,
            activation_bits=config.activation_bits,
            in_place=bool(config.overlap),
            window_skip=config.window_skip,
        )
        self.accumulators = Accumulators(
            cols=config.cols, positions=config.positions, sum_bits=self.tile.sum_bits, tables=config.tables,
            apart=bool(config.direct), in_place=bool(config.overlap), logic=bool(config.lutram),
        )  # fmt: skip
        self.output = OutputUnit(
            cols=config.cols, lanes=config.lanes, position_bits=position_bits, address_bits=result_bits,
            sum_latency=self.accumulators.LATENCY, channel=CHANNEL, settings=SETTINGS, tables=config.tables,
            products=bool(config.products), softmax=config.softmax, squares=bool(config.squares),
            direct=bool(config.direct), norms=bool(config.norms), recurrent=bool(config.recurrent),
            layer_norm=bool(config.layer_norm), overlap=bool(config.overlap),
        )  # fmt: skip
        self.postprocess = PostProcess(lanes=config.lanes, tag=self.output.tag, shares=config.softmax == 2)
        self.causes = CauseCounters(descriptors=config.descriptors, overlap=bool(config.overlap))
        if config.overlap:
            self.section_queue = Queue(32, depth=ceil_pow2(SECTIONS["weights"]))
        if config.tables:
            self.look_up = LookUp(
                cols=config.cols, beat_bytes=config.beat_bytes, softmax=bool(config.softmax),
                direct=bool(config.direct),
            )  # fmt: skip
        if config.layer_norm:
            self.layer_norm = LayerNorm(cols=config.cols, beat_bytes=config.beat_bytes, longest=config.layer_norm)
        if config.norms:
            self.norm = InverseRoot(lanes=config.lanes)
        if config.recurrent:
            self.cells = Cells(
                lanes=config.lanes, words=config.recurrent, item_latency=self.output.latency, tag=self.output.tag
            )  # fmt: skip
        if config.softmax:
            self.distances = Distances(width=config.cols, beat_bytes=config.beat_bytes)
            self.scales = RowScales(lanes=config.lanes)
        if config.softmax == 2:
            self.shares = Shares(lanes=config.lanes)
        if config.products:
            self.operands = OperandWriter(
                cols=config.cols, lanes=config.lanes, address_bits=weight_bits, weight_rows=config.weight_rows
            )


def _bytes(value: Value) -> list[Value]:
    return [value[first : first + 8] for first in range(0, len(value), 8)]
