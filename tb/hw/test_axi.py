"""The accelerator behind AXI, with the public masters and sinks of cocotbext-axi: the real driver runs a network
through them."""

import itertools
import random
from dataclasses import replace

import cocotb
import numpy as np
import pytest
from cocotb.clock import Clock
from cocotb.task import bridge, resume
from cocotb.triggers import ClockCycles
from cocotbext.axi import AxiLiteBus, AxiLiteMaster, AxiStreamBus, AxiStreamSink, AxiStreamSource

from graphs import Builder, random_input
from harness import run
from sateen.compiler import compile as compile_model
from sateen.graph import run as run_golden
from sateen.hw.axi import AxiAccelerator
from sateen.hw.spec.axi import MAGIC, Register
from sateen.hw.spec.config import PRESETS
from sateen.hw.spec.identity import Identity
from sateen.hw.spec.wire import Op
from sateen.runtime import Device

CONFIG = replace(PRESETS["tiny"], scratchpad_bytes=4096, weight_bytes=4096)


class AxiLink:
    """What :class:`sateen.runtime.device.Device` wants of a link, over AXI."""

    def __init__(self, dut):
        self.registers = AxiLiteMaster(AxiLiteBus.from_prefix(dut, "s_axil"), dut.clk, dut.rst)
        self.source = AxiStreamSource(AxiStreamBus.from_prefix(dut, "s_axis"), dut.clk, dut.rst)
        self.sink = AxiStreamSink(AxiStreamBus.from_prefix(dut, "m_axis"), dut.clk, dut.rst)
        self.bytes = 0
        self.transaction = resume(self._transaction)
        self.limit = 0

    def hello(self):
        return Identity(CONFIG, "")

    async def _transaction(self, operations, *, busy_cycles=0):
        result = b""
        for operation in operations:
            header = operation.header
            if header.op in (Op.READ, Op.WRITE):
                await self.registers.write_dword(Register.SPACE, header.space)
                await self.registers.write_dword(Register.ADDRESS, header.address)
            if header.op == Op.WRITE:
                await self.source.send(operation.data)
                await self.source.wait()
            if header.op == Op.READ:
                await self.registers.write_dword(Register.READ, header.length)
                frame = await self.sink.recv()
                assert len(frame.tdata) == header.length
                result += bytes(frame.tdata)
            if header.op == Op.RUN:
                await self.registers.write_dword(Register.LIMIT, header.address)
                await self.registers.write_dword(Register.RUN, header.space | header.length << 8)
            if header.op == Op.WAIT:
                while await self.registers.read_dword(Register.STATUS):
                    pass
        return result

    def pause(self, share):
        """Each side of each channel pauses as often as that."""
        writing, reading = self.registers.write_if, self.registers.read_if
        channels = [writing.aw_channel, writing.w_channel, writing.b_channel, reading.ar_channel, reading.r_channel]
        for channel in [*channels, self.source, self.sink]:
            channel.set_pause_generator(random.random() < share for _ in itertools.count())


@bridge
def infer(link, graph, x):
    return Device(link).load(compile_model(graph, CONFIG)).run(x)


@cocotb.test()
@cocotb.parametrize(pause=[0.0, 0.5])
async def runs_a_network(dut, pause):
    cocotb.start_soon(Clock(dut.clk, 10, unit="ns").start())
    link = AxiLink(dut)
    dut.rst.value = 1
    await ClockCycles(dut.clk, 5)
    dut.rst.value = 0
    await ClockCycles(dut.clk, 5)
    link.pause(pause)
    assert await link.registers.read_dword(Register.MAGIC) == MAGIC
    assert await link.registers.read_dword(Register.FORMAT) == Identity.FORMAT
    build = await link.registers.read_dwords(Register.BUILD_LOW, 2)
    assert f"{build[1]:08x}{build[0]:08x}" == CONFIG.digest
    assert await link.registers.read_dword(0xFC) == 0

    rng = np.random.default_rng(random.randrange(2**31))
    graph = Builder((5, 5, 3), rng).conv2d(6, (3, 3), padding=((1, 1), (1, 1))).flatten().fully_connected(5).graph()
    x = random_input(graph, rng)
    np.testing.assert_array_equal(await infer(link, graph, x), run_golden(graph, x)[graph.outputs[0]])


def test_axi():
    run(AxiAccelerator(CONFIG), __file__)


def test_rejects():
    with pytest.raises(ValueError, match="build must be at most 16 hexadecimal digits, not '11112222333344445'"):
        AxiAccelerator(CONFIG, build="11112222333344445")
