"""The sequential engine's own parts: its memory, and what a device of it refuses."""

from __future__ import annotations

import random

import cocotb
from amaranth.lib import data
from cocotb.triggers import RisingEdge

from sateen.hw.sequential.memory import BankedMemory
from sateen.testing.bench import Bench
from sateen.testing.dut import parameters, reset


def banked_memory(*, banks=4, depth=64):
    return BankedMemory(banks=banks, depth=depth)


@cocotb.test()
async def bytes_stay(dut):
    """What is read is what was written last, and stays while nothing is read."""
    banks, size = parameters()["banks"], parameters()["banks"] * parameters()["depth"]
    shape = data.ArrayLayout(8, banks)
    await reset(dut)
    model: dict[int, int] = {}
    dut.read.value, dut.write.value = 0, 1
    corners = [0, 1, banks - 1, banks, size - banks, size - 1, size // 2 - 1]
    for address in corners + [random.randrange(size) for _ in range(300)]:
        for byte in range(address, min(address + banks, size)):
            model[byte] = random.randrange(256)
            dut.address.value, dut.w_data.value = byte, model[byte]
            await RisingEdge(dut.clk)
    wanted = None
    for cycle in range(3000):
        address = random.choice(list(model))
        reads, writes = random.choice([(0, 0), (1, 0), (1, 0), (0, 1)])
        byte = random.randrange(256)
        dut.read.value, dut.write.value, dut.address.value, dut.w_data.value = reads, writes, address, byte
        await RisingEdge(dut.clk)
        if wanted is not None:
            got = [int(each) for each in shape.from_bits(int(dut.r_data.value))]
            assert all(want in (None, each) for want, each in zip(wanted, got, strict=True)), (
                f"cycle {cycle}: {got}, not {wanted}"
            )
        # What a writing leaves of what was read before is not said.
        wanted = None if writes else [model.get(each) for each in range(address, address + banks)] if reads else wanted
        if writes:
            model[address] = byte


BENCHES = [
    Bench(
        name="banked-memory",
        title="the sequential engine's memory: what is read is what was written last",
        create=banked_memory,
    ),
]
