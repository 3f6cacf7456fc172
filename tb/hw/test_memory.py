"""Memories: what was written is read, at the documented latency, whatever the depth."""

import random

import cocotb
import pytest
from amaranth.lib import data
from cocotb.triggers import RisingEdge

from harness import parameters, reset, run
from sateen.hw.memory import BlockMemory, Scratchpad


@cocotb.test()
async def words_match_model(dut):
    lanes, depth = parameters()["lanes"], parameters()["depth"]
    shape, latency = data.ArrayLayout(8, lanes), BlockMemory(lanes=lanes, depth=depth).latency
    await reset(dut)
    model: dict[int, list[int]] = {}
    addresses = [0, depth - 1, depth // 2, min(depth - 1, 2047), min(depth - 1, 2048)]
    reads = []
    for cycle in range(1500):
        address = random.choice(addresses) if random.random() < 0.5 else random.randrange(depth)
        enable, word = random.randrange(1 << lanes), [random.randrange(256) for _ in range(lanes)]
        # Each word is written whole before it is written in part.
        if address not in model:
            enable = (1 << lanes) - 1
        read = random.choice(list(model) or [address])
        dut.w_address.value, dut.w_data.value, dut.w_enable.value = address, shape.const(word).as_bits(), enable
        dut.r_address.value = read
        # A word that is written in this cycle may be old or new, or anything.
        reads.append(list(model[read]) if read in model and read != address else None)
        await RisingEdge(dut.clk)
        if cycle >= latency:
            want = reads[cycle - latency]
            got = [int(byte) for byte in shape.from_bits(int(dut.r_data.value))]
            assert want is None or got == want, f"cycle {cycle}"
        model[address] = [
            new if enable >> i & 1 else old
            for i, (new, old) in enumerate(zip(word, model.get(address, word), strict=True))
        ]


@cocotb.test()
async def bytes_match_model(dut):
    banks, depth = parameters()["banks"], parameters()["depth"]
    component = Scratchpad(banks=banks, depth=depth)
    shape, size = data.ArrayLayout(8, banks), banks * depth
    await reset(dut)
    # Fill it, one line a cycle.
    model = [random.randrange(256) for _ in range(size)]
    dut.w_enable.value = (1 << banks) - 1
    for address in range(0, size, banks):
        dut.w_address.value = address
        dut.w_data.value = shape.const(model[address : address + banks]).as_bits()
        await RisingEdge(dut.clk)
    # Only then is the last line there.
    dut.w_enable.value = 0
    for _ in range(component.write_latency):
        await RisingEdge(dut.clk)
    history, reads = [], []
    for cycle in range(1200):
        start = random.choice([0, 1, banks - 1, size - banks, random.randrange(size - banks + 1)])
        line, enable = [random.randrange(256) for _ in range(banks)], random.randrange(1 << banks)
        dut.w_address.value, dut.w_data.value, dut.w_enable.value = start, shape.const(line).as_bits(), enable
        history.append(list(model))
        for lane in range(banks):
            if enable >> lane & 1:
                model[start + lane] = line[lane]
        read = random.randrange(size - banks + 1)
        dut.r_address.value = read
        # This read sees the writes of `write_latency` cycles ago and before.
        seen = history[max(0, cycle - component.write_latency + 1)]
        reads.append(seen[read : read + banks])
        await RisingEdge(dut.clk)
        if cycle >= component.read_latency:
            assert [int(byte) for byte in shape.from_bits(int(dut.r_data.value))] == reads[
                cycle - component.read_latency
            ]


@pytest.mark.parametrize(("lanes", "depth"), [
    (1, 1), (3, 5), (2, 5000), (10, 2049), (1, 9000),
    pytest.param(4, 2048, marks=pytest.mark.prove), pytest.param(2, 2049, marks=pytest.mark.prove),
])  # fmt: skip
def test_block_memory(lanes, depth):
    run(BlockMemory(lanes=lanes, depth=depth), __file__, tests=["words_match_model"], lanes=lanes, depth=depth)


@pytest.mark.parametrize(("lanes", "depth"), [
    (1, 2048), (3, 1024), (2, 1025), (6, 4500),
    pytest.param(4, 5000, marks=pytest.mark.prove), pytest.param(6, 2600, marks=pytest.mark.prove),
])  # fmt: skip
def test_block_memory_on_ecp5(lanes, depth):
    memory = BlockMemory(lanes=lanes, depth=depth)
    run(memory, __file__, tests=["words_match_model"], technology="ecp5", lanes=lanes, depth=depth)


@pytest.mark.parametrize(("banks", "depth"), [(2, 8), (8, 20), (16, 32), pytest.param(4, 16, marks=pytest.mark.prove)])
def test_scratchpad(banks, depth):
    run(Scratchpad(banks=banks, depth=depth), __file__, tests=["bytes_match_model"], banks=banks, depth=depth)


def test_rejects():
    with pytest.raises(ValueError, match="lanes must be 1 or more, not 0"):
        BlockMemory(lanes=0, depth=4)
    with pytest.raises(ValueError, match="depth must be 1 or more, not 0"):
        BlockMemory(lanes=4, depth=0)
    with pytest.raises(ValueError, match="banks must be a power of two of 2 or more, not 6"):
        Scratchpad(banks=6, depth=4)
