"""The pipelined engine: memories, units and how they are connected."""

from __future__ import annotations

from typing import Any

from amaranth.hdl import Cat, DomainRenamer, Module, Mux, ResetSignal, Signal, Value
from amaranth.lib import wiring
from amaranth.lib.wiring import connect

from sateen.hw.host import EngineSignature, HostPort
from sateen.hw.pipelined.sharing import byte_latency, share_with_host
from sateen.hw.pipelined.units import Units
from sateen.hw.spec.config import Config
from sateen.hw.spec.wire import Space
from sateen.hw.stream.delay import delayed, reset_domains

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
        units = Units(self.config)
        resettable = [name for name in vars(units) if name not in _MEMORIES]
        reset_domains(m, platform, resettable, self.halt | ResetSignal(allow_reset_less=True))
        for name, unit in vars(units).items():
            m.submodules[name] = DomainRenamer(name)(unit) if name in resettable else unit
        self.narrow = (units.residual if self.config.residual else units.postprocess).o
        """Results of 8 bits: addresses and bytes."""
        self.results = units.cells.o if self.config.recurrent else self.narrow
        """What is written."""
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
        if self.config.residual:
            self._add_residual(m, units)
        if self.config.recurrent:
            self._recur(m, units)
        self._memories(m, units)
        return m

    def _control(self, m: Module, u: Units) -> None:
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

    def _overlap(self, m: Module, u: Units) -> None:
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

    def _compute(self, m: Module, u: Units) -> None:
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

    def _look_up(self, m: Module, u: Units) -> None:
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
        self, m: Module, u: Units, lines: wiring.PureInterface, payload: Any
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

    def _softmax(self, m: Module, u: Units) -> None:
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

    def _normalize(self, m: Module, u: Units) -> None:
        """The squares of results to their sum, and its inverse root back."""
        result = self.narrow.payload
        m.d.comb += [
            u.norm.valid.eq(self.narrow.valid),
            u.norm.mask.eq(result.tag.mask),
            u.norm.results.eq(result.data),
            u.norm.done.eq(result.tag.final),
            u.norm.ignored.eq(u.output.normalized),
            u.output.norm.eq(u.norm.o),
        ]

    def _add_residual(self, m: Module, u: Units) -> None:
        """Words of sums, results and lines of residual bytes to their unit."""
        unit, item = u.residual, u.output.o
        connect(m, u.weights.sums, unit.words)
        connect(m, u.postprocess.o, unit.i)
        m.d.comb += [
            unit.on.eq(u.output.residual),
            unit.offset.eq(u.output.offset),
            unit.done.eq(u.output.done),
            unit.coming.valid.eq(item.valid),
            unit.coming.address.eq(item.payload.tag.address),
            *(to.eq(byte) for to, byte in zip(unit.line, u.scratchpad.back_data, strict=False)),
        ]

    def _recur(self, m: Module, u: Units) -> None:
        """Items of recurrent layers to their unit, past post-processing."""
        connect(m, self.narrow, u.cells.results)
        names = {"on": "recurrent", "begin": "loaded"}
        m.d.comb += [
            getattr(u.cells, name).eq(getattr(u.output, names.get(name, name)))
            for name in ("on", "begin", "numbers", "settings", "origin", "offered", "mask")
        ]
        m.d.comb += [
            *(getattr(u.cells, name).eq(getattr(u.output.o.payload, name)) for name in ("sums", "channels", "tag")),
            u.output.taken.eq(u.cells.taken),
        ]

    def _write_operands(self, m: Module, u: Units) -> None:
        """Results to the weight store, whose unit waits for them."""
        result = self.narrow.payload
        m.d.comb += [
            u.weights.done.eq(u.output.done),
            u.operands.enable.eq(self.narrow.valid & u.output.to_weights),
            u.operands.address.eq(result.tag.address),
            u.operands.mask.eq(result.tag.mask),
            *(to.eq(value) for to, value in zip(u.operands.results, result.data, strict=True)),
        ]

    def _memories(self, m: Module, u: Units) -> None:
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
        busy = self.results.valid | u.residual.reading if self.config.residual else self.results.valid
        m.d.comb += [
            scratchpad.r_address.eq(Mux(u.activations.reading, u.activations.address, port.address)),
            u.activations.data.as_value().eq(scratchpad.r_data.as_value()),
            port.read.eq(Cat(scratchpad.r_data[lane] for lane in range(self.config.moved_bytes))),
            port.write_ready.eq(~busy),
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
        if self.config.residual:
            # Never in the same cycle.
            with m.Elif(u.residual.reading):
                m.d.sync += [scratchpad.w_address.eq(u.residual.address), scratchpad.w_enable.eq(0)]
        with m.Else():
            m.d.sync += [
                scratchpad.w_address.eq(port.address),
                *(to.eq(byte) for to, byte in zip(scratchpad.w_data, _bytes(port.write), strict=False)),
                scratchpad.w_enable.eq(port.write_enable),
            ]


_MEMORIES = ("scratchpad", "weight_store", "program", "records")


def _bytes(value: Value) -> list[Value]:
    return [value[first : first + 8] for first in range(0, len(value), 8)]
