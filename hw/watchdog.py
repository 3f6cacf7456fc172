"""Ends programs that run for longer than they may."""

from __future__ import annotations

from amaranth.hdl import Array, Module, Mux, Signal
from amaranth.lib import stream, wiring
from amaranth.lib.wiring import In, Out, connect

from sateen.hw.host import LIMITED_RUN, RUN
from sateen.hw.spec.wire import LIMIT_BITS

__all__ = ["Watchdog", "guard"]


class Watchdog(wiring.Component):
    """Stands between the host's runs and the engine, and counts a program's cycles.

    Adds no latency to a run. A program that still runs ``4 ** limit`` cycles after it was taken is halted soon after;
    with a limit of 0 never. Powers of 4 spare a comparator.

    Members
    -------
    i : In(stream)
        Runs with a limit, see :data:`sateen.hw.host.LIMITED_RUN`.
    o : Out(stream)
        The same runs for the engine.
    busy : In(1), place : In(8)
        Of the engine, see :class:`sateen.hw.host.EngineSignature`.
    halt : In(1)
        The host's.
    stop : Out(1)
        To the engine: the host's ``halt``, or time is up. A register.
    overtime : Out(1), late : Out(8)
        The last program was ended by the limit; the place in the run of the descriptor that ran then. Until the next
        run is taken or ``halt``.
    """

    def __init__(self) -> None:
        super().__init__(
            {
                "i": In(stream.Signature(LIMITED_RUN)),
                "o": Out(stream.Signature(RUN)),
                "busy": In(1),
                "place": In(8),
                "halt": In(1),
                "stop": Out(1),
                "overtime": Out(1),
                "late": Out(8),
            }
        )

    def elaborate(self, platform: object) -> Module:
        m = Module()
        cycles, limit, up = Signal(2 * (1 << LIMIT_BITS) - 1), Signal(LIMIT_BITS), Signal()
        m.d.comb += [
            self.o.valid.eq(self.i.valid),
            self.o.payload.first.eq(self.i.payload.first),
            self.o.payload.count.eq(self.i.payload.count),
            self.i.ready.eq(self.o.ready),
        ]
        m.d.sync += [
            # A cycle later another program might run, if this one has ended by itself.
            self.stop.eq(self.halt | (up & self.busy)),
            cycles.eq(Mux(self.busy, cycles + 1, 0)),
            up.eq((limit != 0) & Array(cycles[::2])[limit]),
        ]
        with m.If(up & self.busy):
            m.d.sync += [self.overtime.eq(1), self.late.eq(self.place), limit.eq(0)]
        with m.If(self.halt):
            m.d.sync += [self.overtime.eq(0), limit.eq(0)]
        with m.If(self.o.valid & self.o.ready):
            m.d.sync += [limit.eq(self.i.payload.limit), self.overtime.eq(0)]
        return m


def guard(m: Module, engine: wiring.Component) -> Watchdog:
    """A watchdog for an engine, whose ``run`` and ``halt`` it drives."""
    m.submodules.watchdog = watchdog = Watchdog()
    connect(m, watchdog.o, engine.run)
    m.d.comb += [watchdog.busy.eq(engine.busy), watchdog.place.eq(engine.place), engine.halt.eq(watchdog.stop)]
    return watchdog
