"""An abort frees an engine in a few cycles, whatever state its registers are in; so no program, and no fault of a unit,
can keep a new session waiting."""

from __future__ import annotations

from unittest.mock import patch

import pytest
from amaranth.hdl import Assert, Cover, Module, Mux, Signal, Value
from amaranth.lib import wiring

from prove import free, prove, stand_in
from sateen.hw.host import HostPort
from sateen.hw.pipelined.engine import Engine
from sateen.hw.sequential.engine import SequentialEngine
from sateen.hw.spec.config import PRESETS, parse_config
from sateen.hw.spec.wire import Space

ABORT_CYCLES = 6
"""From an abort until the engine takes a run and its memories are free."""
HOST_CYCLES = 3
"""From when all memories are free until the host's port takes requests."""


class AnyRequests(stand_in(HostPort)):
    """Any requests of the host to the memories."""

    made: list[AnyRequests] = []

    def __init__(self, *, latencies: dict[Space, int], width: int = 1):
        super().__init__(latencies=latencies, width=width)
        self.made.append(self)

    def free(self) -> Value:
        """No memory is in use."""
        ports = [getattr(self, space.name.lower()) for space in self.latencies]
        ready = [port.write_ready & port.read_ready for port in ports]
        return Value.cast(sum(ready)) == len(ready)


def aborted(m: Module, engine: wiring.Component, is_free: Value) -> None:
    """After a halt and until the next run is taken, nothing runs, and ``is_free`` holds."""
    m.submodules.dut = engine
    free(m, engine)
    cycles, halted = Signal(range(ABORT_CYCLES + 1)), Signal()
    m.d.sync += cycles.eq(Mux(engine.halt, 1, Mux(cycles == ABORT_CYCLES, cycles, cycles + 1)))
    with m.If(engine.halt):
        m.d.sync += halted.eq(1)
    with m.Elif(engine.run.valid & engine.run.ready):
        m.d.sync += halted.eq(0)
    with m.If(halted & (cycles == ABORT_CYCLES) & ~engine.halt):
        m.d.comb += Assert(~engine.busy & engine.run.ready & is_free)
        m.d.comb += Cover(engine.run.valid)


def serves(m: Module) -> None:
    """Requests and answers keep the streams' contract; while all memories are free, requests are taken."""
    m.submodules.dut = dut = HostPort(latencies={Space.SCRATCHPAD: 2, Space.WEIGHTS: 1})
    free(m, dut)
    ready = [port.write_ready & port.read_ready for port in (dut.scratchpad, dut.weights)]
    cycles = Signal(range(HOST_CYCLES + 1))
    m.d.sync += cycles.eq(Mux(ready[0] & ready[1], Mux(cycles == HOST_CYCLES, cycles, cycles + 1), 0))
    with m.If(cycles == HOST_CYCLES):
        m.d.comb += Assert(dut.i.ready)


@pytest.mark.prove
def test_sequential():
    engine = SequentialEngine(config=PRESETS["micro"])
    prove(lambda m: aborted(m, engine, engine.request.ready), depth=12, anywhere=True, cover=12)


@pytest.mark.prove
@pytest.mark.parametrize(
    "text",
    ["tiny", "tiny,pe=bitserial", "tiny,overlap=1", "tiny,products=1", "tiny,products=1,overlap=1",
     "tiny,positions=256,softmax=1"],
)
def test_pipelined(text):
    """Whatever the host asks for; what is assumed is what the sequential engine's cover meets."""
    with patch("sateen.hw.pipelined.engine.HostPort", AnyRequests):
        engine = Engine(config=parse_config(text))
        inside = engine.elaborate(None)
        with patch.object(engine, "elaborate", lambda platform: inside):
            prove(lambda m: aborted(m, engine, AnyRequests.made[-1].free()), depth=12, anywhere=True)


@pytest.mark.prove
def test_host_port():
    prove(serves)
