"""Memories: what was written is read, at the documented latency, whatever the depth."""

from __future__ import annotations

import random

import cocotb
from amaranth.lib import data
from cocotb.triggers import RisingEdge

from sateen.hw.memory import BlockMemory
from sateen.hw.scratchpad import Scratchpad
from sateen.testing.bench import Bench
from sateen.testing.dut import parameters, reset


def block_memory(*, lanes=4, depth=1024):
    return BlockMemory(lanes=lanes, depth=depth)


def scratchpad(*, banks=8, depth=64, logic=0, back=0):
    return Scratchpad(banks=banks, depth=depth, logic=bool(logic), reads_back=bool(back))


def reading_back(p, tests):
    """Only some memories read where they write."""
    return [name for name in tests if p["back"] or name != "reads_back"]


@cocotb.test()
async def words_match_model(dut):
    lanes, depth = parameters()["lanes"], parameters()["depth"]
    shape, latency = data.ArrayLayout(8, lanes), block_memory(lanes=lanes, depth=depth).latency
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


async def filled(dut, banks, size):
    """Fills a scratchpad with random bytes, one line a cycle; returns these."""
    model = [random.randrange(256) for _ in range(size)]
    dut.w_enable.value = (1 << banks) - 1
    for address in range(0, size, banks):
        dut.w_address.value = address
        dut.w_data.value = data.ArrayLayout(8, banks).const(model[address : address + banks]).as_bits()
        await RisingEdge(dut.clk)
    return model


@cocotb.test()
async def bytes_match_model(dut):
    banks, depth = parameters()["banks"], parameters()["depth"]
    component = scratchpad(banks=banks, depth=depth)
    shape, size = data.ArrayLayout(8, banks), banks * depth
    await reset(dut)
    model = await filled(dut, banks, size)
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


@cocotb.test()
async def reads_back(dut):
    """In cycles without a write, the line at the write's address comes, as all writes before have left it."""
    banks, depth = parameters()["banks"], parameters()["depth"]
    component = scratchpad(banks=banks, depth=depth, back=1)
    shape, size = data.ArrayLayout(8, banks), banks * depth
    await reset(dut)
    model = await filled(dut, banks, size)
    corners, reads, start = [0, 1, banks - 1, size - banks, size - banks - 1], [], 0
    for cycle in range(1500):
        # Often what has just been written, whole or in part.
        start = start if random.random() < 0.3 else random.choice([*corners, random.randrange(size - banks + 1)])
        line, enable = [random.randrange(256) for _ in range(banks)], random.choice([0, random.randrange(1 << banks)])
        dut.w_address.value, dut.w_data.value, dut.w_enable.value = start, shape.const(line).as_bits(), enable
        dut.r_address.value = random.choice([start, random.randrange(size - banks + 1)])
        for lane in range(banks):
            if enable >> lane & 1:
                model[start + lane] = line[lane]
        reads.append(None if enable else model[start : start + banks])
        await RisingEdge(dut.clk)
        want = reads[cycle - component.back_latency] if cycle >= component.back_latency else None
        if want is not None:
            assert [int(byte) for byte in shape.from_bits(int(dut.back_data.value))] == want, f"cycle {cycle}"


BENCHES = [
    Bench(
        name="block-memory",
        title="words with an enable for each byte, at the documented latency",
        create=block_memory, only=("words_match_model",),
    ),
    Bench(
        name="scratchpad",
        title="lines of bytes at any address, written and read at once",
        create=scratchpad, only=("bytes_match_model", "reads_back"), applies=reading_back,
    ),
]
