"""The host's link to an accelerator behind AXI, with the masters and sinks of cocotbext-axi."""

from __future__ import annotations

import itertools
import random
from collections.abc import Iterable
from typing import Any

from cocotb.task import resume
from cocotbext.axi import AxiLiteBus, AxiLiteMaster, AxiStreamBus, AxiStreamSink, AxiStreamSource

from sateen.hw.spec.axi import Register
from sateen.hw.spec.config import Config
from sateen.hw.spec.identity import Identity
from sateen.hw.spec.wire import Op
from sateen.runtime.link import Operation

__all__ = ["AxiLink"]


class AxiLink:
    """What the driver wants of a link, over AXI: give it to :class:`sateen.testing.Host`.

    Parameters
    ----------
    dut
        Has the ports of ``sateen verilog --part accelerator-axi``.
    config : Config
        The accelerator's configuration, which its registers do not tell.
    """

    def __init__(self, dut: Any, config: Config):
        self.config = config
        self.registers = AxiLiteMaster(AxiLiteBus.from_prefix(dut, "s_axil"), dut.clk, dut.rst)
        self.source = AxiStreamSource(AxiStreamBus.from_prefix(dut, "s_axis"), dut.clk, dut.rst)
        self.sink = AxiStreamSink(AxiStreamBus.from_prefix(dut, "m_axis"), dut.clk, dut.rst)
        self.bytes = 0
        self.transaction = resume(self._transaction)

    def hello(self) -> Identity:
        """The device's identity."""
        return Identity(self.config, "")

    def pause(self, share: float) -> None:
        """Each side of each channel pauses as often as that from now on."""
        writing, reading = self.registers.write_if, self.registers.read_if
        channels = [writing.aw_channel, writing.w_channel, writing.b_channel, reading.ar_channel, reading.r_channel]
        for channel in [*channels, self.source, self.sink]:
            channel.set_pause_generator(random.random() < share for _ in itertools.count())

    async def _transaction(self, operations: Iterable[Operation], *, busy_cycles: int = 0) -> bytes:
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
