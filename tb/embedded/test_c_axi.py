"""The C driver behind AXI: a network through public masters and sinks, and a bus that fails."""

import random
from dataclasses import replace
from pathlib import Path
from tempfile import TemporaryDirectory

import cocotb
import numpy as np
from c_driver import CDriver
from cocotb.task import bridge, resume
from cocotb.triggers import ClockCycles

import seeds
from sateen.compiler import compile as compile_model
from sateen.graph import run as run_golden
from sateen.hw.axi import AxiAccelerator
from sateen.hw.spec.axi import MAGIC, Register, StatusBit
from sateen.hw.spec.config import PRESETS
from sateen.hw.spec.identity import Identity
from sateen.hw.spec.wire import Space
from sateen.testing import reset, simulate, to_verilog
from sateen.testing.axi import AxiLink
from sateen.testing.graphs import Builder, random_input

CONFIG = replace(PRESETS["tiny"], scratchpad_bytes=4096, weight_bytes=4096)


def models():
    graph = Builder((5, 5, 3), np.random.default_rng(1)).conv2d(6, (3, 3)).flatten().fully_connected(5).graph()
    net = compile_model(graph, CONFIG)
    zeros = replace(net.segments[0], program=np.zeros_like(net.segments[0].program))
    return {"net": net, "stuck": replace(net, segments=(zeros,)), "foreign": compile_model(graph, PRESETS["tiny"])}


class Bus:
    """What a host has: functions that reach the accelerator, each of which takes its time."""

    def __init__(self, dut):
        link = AxiLink(dut, CONFIG)
        self.clk, self.registers, self.source, self.sink = dut.clk, link.registers, link.source, link.sink
        self.pause = link.pause

    async def send(self, data):
        """Does not wait until all is taken."""
        await self.source.send(data)
        return True

    async def receive(self, size):
        frame = await self.sink.recv()
        assert len(frame.tdata) == size
        return bytes(frame.tdata)

    async def wait(self, looks):
        await ClockCycles(self.clk, 50)
        return True

    looks = 10_000

    async def patience(self, looks):
        await ClockCycles(self.clk, 10)
        return looks < self.looks


@bridge
def drive(bus, driver):
    """The driver in a thread of its own."""
    registers = bus.registers
    functions = [resume(f) for f in (registers.write_dword, registers.read_dword, bus.send, bus.receive)]
    wait, ok = resume(bus.wait), driver.Status.OK
    graph = driver.models["net"].graph
    x = random_input(graph, np.random.default_rng(random.randrange(2**31)), 2)
    expected = run_golden(graph, x)[graph.outputs[0]]

    def right(item):
        status, (y,) = driver.run("net", x[item : item + 1])
        assert status == ok
        np.testing.assert_array_equal(y[0], expected[item])

    assert driver.open_axi(*functions, wait) == ok
    assert driver.load("net") == ok
    right(0)
    assert driver.run("stuck", x[:1])[0] == driver.Status.OVERTIME and driver.place == 0
    right(1)
    assert driver.load("foreign") == driver.Status.OTHER_LAYOUT
    assert driver.read(Space.SCRATCHPAD, 0, 0) == (ok, b"")
    # A host that gives up a program stops it, and can go on.
    patience = resume(bus.patience)
    assert driver.open_axi(*functions, patience) == ok
    assert driver.load("stuck") == ok
    bus.looks = 30
    assert driver.run("stuck", x[:1])[0] == driver.Status.LOST
    assert driver.open_axi(*functions, wait) == ok
    right(0)


@cocotb.test()
async def runs_a_network(dut):
    bus = Bus(dut)
    await reset(dut, patience_ms=50)
    bus.pause(0.2)
    with TemporaryDirectory() as folder:
        await drive(bus, CDriver(Path(folder), **models()))


def test_axi():
    outcome = simulate(to_verilog(AxiAccelerator(CONFIG)), Path(__file__).stem, parameters={}, seed=seeds.own())
    assert outcome.tests and not outcome.failed, outcome.log


def test_failures(tmp_path):
    """A bus at which there is no accelerator, one of another format, and functions of the caller that fail."""
    driver = CDriver(tmp_path, **models())
    values = {Register.MAGIC: MAGIC, Register.FORMAT: Identity.FORMAT, Register.LAYOUT: CONFIG.layout_code}
    written = []

    def write(address, value):
        written.append((address, value))
        values[address] = value

    def opened(*, wait=None, receive=lambda size: bytes(size), send=lambda data: True):
        written.clear()
        return driver.open_axi(write, lambda address: values.get(address, 0), send, receive, wait)

    for register, wrong in ((Register.MAGIC, 0xFFFFFFFF), (Register.FORMAT, Identity.FORMAT + 1)):
        right, values[register] = values[register], wrong
        assert opened() == driver.Status.INCOMPATIBLE and not written
        values[register] = right
    assert opened() == driver.Status.OK and written == [(Register.HALT, 1)]
    assert opened(send=lambda data: False) == driver.Status.OK
    assert driver.write(Space.SCRATCHPAD, 0, b"abc") == driver.Status.LOST
    # Bytes that never arrive: the address does not count them.
    assert opened(wait=lambda looks: looks < 100) == driver.Status.OK
    assert driver.write(Space.SCRATCHPAD, 0, b"abc") == driver.Status.LOST
    assert opened(receive=lambda size: None) == driver.Status.OK
    assert driver.read(Space.SCRATCHPAD, 8, 3)[0] == driver.Status.LOST
    assert written[-4:] == [(Register.SPACE, 2), (Register.ADDRESS, 8), (Register.READ, 3), (Register.HALT, 1)]
    values[Register.STATUS] = 1 << StatusBit.READING
    assert opened(wait=lambda looks: looks < 3) == driver.Status.OK
    assert driver.read(Space.SCRATCHPAD, 8, 3)[0] == driver.Status.LOST
