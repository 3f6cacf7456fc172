"""The bench of ``classifier.v``: a model goes in through its pins, then images, and out come their digits."""

from __future__ import annotations

import cocotb
import numpy as np
from cocotb.clock import Clock
from cocotb.task import resume
from cocotb.triggers import ClockCycles, ReadOnly, RisingEdge

import sateen
from sateen.hw.spec.identity import Identity
from sateen.hw.spec.wire import Op
from sateen.testing import Host, StreamMonitor, StreamSource, golden, watchdog

IMAGES = 5
RESET_CYCLES = 64


def pins(name):
    """The three pins of a stream of ``classifier.v``."""
    return {"payload": f"{name}_data", "valid": f"{name}_valid", "ready": f"{name}_ready"}


class LoadPort:
    """The pins ``load_*`` as a link of Sateen's driver, which loads models: each write becomes a record."""

    def __init__(self, dut, config, *, pause):
        self.config, self.bytes = config, 0
        self.source = StreamSource(dut, names=pins("load"), pause=pause)
        self.transaction = resume(self._transaction)

    def hello(self):
        return Identity(self.config, "")

    async def _transaction(self, operations, *, busy_cycles=0):
        for operation in operations:
            header = operation.header
            assert header.op == Op.WRITE, "a model that is resident is loaded by writes alone"
            place = header.address.to_bytes(3, "little") + header.length.to_bytes(3, "little")
            await self.source.send(bytes([header.space]) + place + operation.data)
        return b""


async def digit(dut):
    """The next digit."""
    while True:
        await RisingEdge(dut.clk)
        await ReadOnly()
        if dut.digit_valid.value:
            found = int(dut.digit.value)
            await RisingEdge(dut.clk)
            return found


@cocotb.test()
@cocotb.parametrize(pause=[0.0, 0.5])
async def classifies(dut, pause):
    """Whatever the pauses of what comes in, each digit is that of the golden model."""
    dut.load_valid.value = dut.pixel_valid.value = 0
    dut.rst.value = 1
    cocotb.start_soon(Clock(dut.clk, 10, unit="ns").start())
    cocotb.start_soon(watchdog(2))
    # As long as it takes until what is undefined at the start has left the accelerator's pipelines.
    await ClockCycles(dut.clk, RESET_CYCLES)
    dut.rst.value = 0

    model = sateen.Model.load("digits.sateen")
    with np.load("images.npz") as file:
        images, labels = file["images"][:IMAGES], file["labels"][:IMAGES]
    host = Host(LoadPort(dut, model.config, pause=pause))
    await host.load(model)

    pixels = StreamSource(dut, names=pins("pixel"), pause=pause)
    monitor = StreamMonitor(dut, names=pins("pixel"))
    cocotb.start_soon(monitor.watch())
    scores = golden(model.graph, images)[model.graph.outputs[0]]
    for image, expected, label in zip(images, scores.argmax(axis=1), labels, strict=True):
        answer = cocotb.start_soon(digit(dut))
        await pixels.send(image.ravel().view(np.uint8))
        found = await answer
        dut._log.info("an image of a %d is classified as %d", label, found)
        assert found == expected
    assert len(monitor.items) == images.size
