"""Tables and pairs: words become entries, lines pairs, whatever the pauses; what is made of two entries."""

from __future__ import annotations

import random

import cocotb
import numpy as np
from amaranth.hdl import signed
from amaranth.lib import data
from cocotb.triggers import RisingEdge

from sateen.hw.pipelined.accumulate import Accumulators
from sateen.hw.pipelined.lookup import ENTRY, Combiner, LookUp, pair_shape
from sateen.hw.spec.combining import Combine
from sateen.hw.spec.parameters import TABLE_ENTRIES
from sateen.testing.bench import Bench
from sateen.testing.dut import parameters, reset
from sateen.testing.streams import plain, receive, send


def look_up(*, cols=4, beat_bytes=8):
    return LookUp(cols=cols, beat_bytes=beat_bytes)


def combiner(*, squares=False):
    return Combiner(squares=squares)


def accumulators_with_tables(*, cols=4, positions=256):
    return Accumulators(cols=cols, positions=positions, sum_bits=20, tables=True)


@cocotb.test()
@cocotb.parametrize(("pause", [0.0, 0.4]))
async def brings_tables(dut, pause):
    """Twice: the second tables come when the first are given up."""
    p, rng = parameters(), np.random.default_rng(cocotb.RANDOM_SEED)
    component = look_up(**p)
    await reset(dut)
    for _ in range(2):
        tables = rng.integers(-(2**31), 2**31, (2, TABLE_ENTRIES))
        tables[:, :2] = [-(2**31), 2**31 - 1]
        lines = np.stack(tables, axis=1) if p["cols"] >= 8 else tables.reshape(-1, 1)
        raw = np.zeros((len(lines), p["cols"]), np.int8)
        raw[:, : 4 * lines.shape[1]] = np.ascontiguousarray(lines.astype("<i4")).view(np.int8)
        got = np.zeros_like(tables)
        written = []

        async def watch(got=got, written=written):
            while True:
                await RisingEdge(dut.clk)
                entry = plain(ENTRY.from_bits(int(dut.write.value)))
                for table in range(2):
                    if entry["enable"] >> table & 1:
                        got[table, entry["index"]] = entry["entries"][table]
                        written.append((table, entry["index"]))

        watching = cocotb.start_soon(watch())
        sender = cocotb.start_soon(
            send(dut, "words", raw.tolist(), layout=component.words.payload.shape(), pause=pause)
        )
        for _ in range(5):
            await RisingEdge(dut.clk)
        assert not written, "nothing is written while the memories are in use"
        dut.open.value = 1
        while not dut.full.value:
            await RisingEdge(dut.clk)
        await sender
        for _ in range(3):
            await RisingEdge(dut.clk)
        watching.cancel()
        assert (got == tables).all() and len(written) == 2 * TABLE_ENTRIES
        assert dut.full.value
        dut.open.value = 0
        for _ in range(2):
            await RisingEdge(dut.clk)
        assert not dut.full.value


@cocotb.test()
@cocotb.parametrize(("give", [0.0, 0.4]), ("take", [0.0, 0.4]))
async def gathers_pairs(dut, give, take):
    p, rng = parameters(), np.random.default_rng(cocotb.RANDOM_SEED)
    component = look_up(**p)
    await reset(dut)
    lines = rng.integers(-128, 128, (80, p["beat_bytes"]))
    cocotb.start_soon(send(dut, "i", lines.tolist(), layout=component.i.payload.shape(), pause=give))
    pairs = await receive(dut, "o", len(lines) // 2, layout=pair_shape(p["cols"]), pause=take)
    used = min(p["cols"], p["beat_bytes"])
    assert (np.array(pairs)[:, :, :used] == (lines & 0xFF).reshape(-1, 2, p["beat_bytes"])[:, :, :used]).all()


@cocotb.test()
async def takes_a_line_a_cycle(dut):
    p = parameters()
    component = look_up(**p)
    await reset(dut)
    lines = [[k] * p["beat_bytes"] for k in range(40)]
    sender = cocotb.start_soon(send(dut, "i", lines, layout=component.i.payload.shape()))
    dut.o__ready.value = 1
    for _ in range(42):
        await RisingEdge(dut.clk)
    assert sender.done()


@cocotb.test()
async def combines(dut):
    await reset(dut)
    corners = [-512, -1, 0, 1, 511]
    modes = (Combine.NONE, Combine.ADD, Combine.MULTIPLY, *([Combine.SQUARE] if parameters()["squares"] else []))
    for combine in modes:
        bits = {Combine.MULTIPLY: 9, Combine.SQUARE: 14}.get(combine, 30)
        pairs = [(a, b) for a in corners for b in corners]
        pairs += [
            (random.randrange(-(1 << bits), 1 << bits), random.randrange(-(1 << bits), 1 << bits)) for _ in range(200)
        ]
        dut.combine.value = combine
        for cycle in range(len(pairs) + Combiner.LATENCY):
            a, b = pairs[min(cycle, len(pairs) - 1)]
            dut.a.value, dut.b.value = a, b
            await RisingEdge(dut.clk)
            if cycle >= Combiner.LATENCY:
                a, b = pairs[cycle - Combiner.LATENCY]
                assert dut.o.value.to_signed() == [a, a + b, a * b, (a + b) ** 2][combine]


@cocotb.test()
async def looks_up(dut):
    """Entries of both tables, each column's own bytes; then sums, as if there had been no tables."""
    cols, positions = parameters()["cols"], parameters()["positions"]
    component, rng = (
        accumulators_with_tables(cols=cols, positions=positions),
        np.random.default_rng(cocotb.RANDOM_SEED),
    )
    sums_shape = data.ArrayLayout(signed(32), cols)
    await reset(dut)
    tables = rng.integers(-(2**31), 2**31, (2, TABLE_ENTRIES))
    for index in range(TABLE_ENTRIES):
        for enable in (3,) if index % 2 else (1, 2):
            entries = [int(tables[t, index]) if enable >> t & 1 else 77 for t in range(2)]
            dut.write.value = ENTRY.const({"enable": enable, "index": index, "entries": entries}).as_bits()
            await RisingEdge(dut.clk)
    dut.write.value, dut.look_up.value = 0, 1
    pairs = rng.integers(0, 256, (300, 2, cols))
    pairs[:2] = [[[0] * cols, [255] * cols], [[255] * cols, [0] * cols]]
    for cycle in range(len(pairs) + component.LATENCY):
        dut.pair.value = pair_shape(cols).const(pairs[min(cycle, len(pairs) - 1)].tolist()).as_bits()
        await RisingEdge(dut.clk)
        if cycle >= component.LATENCY:
            found = pairs[cycle - component.LATENCY]
            assert plain(sums_shape.from_bits(int(dut.sums.value))) == tables[0][found[0]].tolist()
            assert plain(sums_shape.from_bits(int(dut.second_entries.value))) == tables[1][found[1]].tolist()
    dut.look_up.value = 0
    layout = component.i.payload.shape()
    dut.i__valid.value = 1
    dut.i__payload.value = layout.const(
        {"sums": [7] * cols, "tag": {"address": 3, "first": 1, "last": 1, "keep": 1}}
    ).as_bits()
    await RisingEdge(dut.clk)
    dut.i__valid.value = 0
    dut.i__payload.value = layout.const({"sums": [7] * cols}).as_bits()
    dut.r_address.value = 3
    while not dut.full.value:
        await RisingEdge(dut.clk)
    for _ in range(component.LATENCY + 1):
        await RisingEdge(dut.clk)
    assert plain(sums_shape.from_bits(int(dut.sums.value))) == [7] * cols


BENCHES = [
    Bench(
        name="look-up",
        title="words become entries of tables, lines become pairs",
        create=look_up, only=("brings_tables", "gathers_pairs", "takes_a_line_a_cycle",),
    ),
    Bench(
        name="combiner",
        title="what is made of two entries: a sum, a product or a square",
        create=combiner, only=("combines",),
    ),
    Bench(
        name="tables",
        title="tables in the accumulators' memory, then sums as if there had been none",
        create=accumulators_with_tables, only=("looks_up",),
    ),
]
