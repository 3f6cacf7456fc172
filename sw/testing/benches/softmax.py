"""Softmax of rows: distances to each row's maximum, which lines are added up and which are scaled, and the scales."""

from __future__ import annotations

import random

import cocotb
import numpy as np
from amaranth.hdl import signed
from amaranth.lib import data
from cocotb.triggers import RisingEdge

from sateen.hw.pipelined.softmax import ROW, SCALE, Distances, Passes, RowScales, scales_latency
from sateen.sim import golden
from sateen.testing.bench import Bench
from sateen.testing.dut import parameters, reset
from sateen.testing.streams import plain, receive, send

PACES = 4, 7
"""Cycles that lanes take which are added up, and which are scaled."""


def distances(*, width=6, beat_bytes=8):
    return Distances(width=width, beat_bytes=beat_bytes)


def passes(*, cols=6, paced=0):
    return Passes(cols=cols, paces=PACES if paced else None)


def row_scales(*, lanes=3):
    return RowScales(lanes=lanes)


@cocotb.test()
@cocotb.parametrize(("give", [0.0, 0.4]), ("take", [0.0, 0.4]))
async def subtracts_from_maxima(dut, give, take):
    """Two layers of rows, of one line and of more; between them, lines that pass unchanged."""
    p, rng = parameters(), np.random.default_rng(cocotb.RANDOM_SEED)
    layout = distances(**p).i.payload.shape()
    width = p["width"]
    await reset(dut)
    for lines, rows in ((1, 9), (3, 5)):
        plain_lines = rng.integers(-128, 128, (4, p["beat_bytes"]))
        dut.on.value = 0
        given = [{"line": line.tolist(), "begin": random.randrange(2)} for line in plain_lines]
        cocotb.start_soon(send(dut, "i", given, layout=layout, pause=give))
        got = await receive(dut, "o", len(given), layout=layout["line"].shape, pause=take)
        assert (np.array(got) == plain_lines).all()

        dut.on.value = 1
        content = rng.integers(-128, 128, (rows + 4, lines, p["beat_bytes"]))
        content[2, :, :width], content[3, :, :width] = 127, -128
        content[4, 0, 0] = -128
        order = [step + 2 - number for step in range(rows + 2) for number in range(3)]
        given = [
            {"line": line.tolist(), "begin": index == 0} for row in order for index, line in enumerate(content[row])
        ]
        cocotb.start_soon(send(dut, "i", given, layout=layout, pause=give))
        got = np.array(await receive(dut, "o", 2 * lines * (rows + 2), layout=layout["line"].shape, pause=take))
        got = got.reshape(rows + 2, 2, lines, -1)
        largest = content[:, :, :width].max(axis=(1, 2), keepdims=True)
        wanted = (largest - content[:, :, :width]).astype(np.uint8).view(np.int8)
        for step in range(2, rows + 2):
            assert (got[step - 1, 0, :, :width] == wanted[step]).all(), f"the second pass over row {step}"
            assert (got[step, 1, :, :width] == wanted[step]).all(), f"the third pass over row {step}"


@cocotb.test()
async def takes_a_line_a_cycle(dut):
    p = parameters()
    await reset(dut)
    dut.on.value, dut.o__ready.value = 1, 1
    given = [{"line": [k] * p["beat_bytes"], "begin": k % 4 == 0} for k in range(40)]
    sender = cocotb.start_soon(send(dut, "i", given, layout=distances(**p).i.payload.shape()))
    for _ in range(42):
        await RisingEdge(dut.clk)
    assert sender.done()


@cocotb.test()
@cocotb.parametrize(pause=[0.0, 0.5])
async def tells_passes_apart(dut, pause):
    """Rows of one line and of more; lines of one or several groups of lanes; scales that come soon or late."""
    cols = parameters()["cols"]
    await reset(dut)
    for length, rows, groups in ((1, 3, 1), (cols, 4, 2), (cols + 1, 3, 1), (3 * cols - 1, 5, 3)):
        dut.on.value, dut.length.value, dut.begin.value = 0, length, 0
        if parameters()["paced"]:
            dut.slow.value = 0
        await RisingEdge(dut.clk)
        dut.on.value = 1
        await RisingEdge(dut.clk)
        sums, scaled, waits, age = 0, 0, -1, 0
        lines = [min(cols, length - start) for start in range(0, length, cols)]
        walked = [(step, number, index) for step in range(rows + 2) for number in (1, 2) for index in range(len(lines))]
        dut.begin.value = 1
        for place, (step, number, index) in enumerate(walked):
            for group in range(groups):
                if place or group:
                    dut.begin.value = 0
                else:
                    left = int(dut.channels.value)
                    assert left == length
                    await RisingEdge(dut.clk)
                    dut.begin.value = 0
                last = group == groups - 1
                while True:
                    # A scale is there a while after its sum, and taken a while after the first entries.
                    dut.taken.value = waits == 0
                    dut.scale.value = scaled < sums and age > 4
                    goes = random.random() >= pause
                    dut.last_lanes.value = last
                    dut.advance.value = dut.ends.value = 0
                    await RisingEdge(dut.clk)
                    taken, age = waits == 0, age + 1
                    if taken:
                        scaled, age = scaled + 1, 0
                    waits = max(-1, waits - 1)
                    first = number == 2 and index == 0 and group == 0 and step > 0
                    wanted = not first or (scaled < sums and age > 5 and waits < 0)
                    if goes and dut.ready.value:
                        assert wanted or not first, "results without a scale"
                        break
                dut.taken.value = 0
                dut.advance.value, dut.ends.value = 1, last
                if last and place + 1 < len(walked):
                    following = walked[place + 1][2]
                    assert int(dut.channels.value) == length - cols * following
                await RisingEdge(dut.clk)
                row = plain(ROW.from_bits(int(dut.row.value)))
                ends = number == 1 and index == len(lines) - 1 and last
                assert row["sums"] == (number == 1) and row["begins"] == first
                assert number == 2 or row["last"] == ends
                assert dut.writes.value == (number == 2 and step >= 2)
                age += 1
                if ends:
                    sums, age = sums + 1, 0 if scaled == sums - 1 else age
                if first:
                    waits = 3
        dut.advance.value = dut.ends.value = 0


@cocotb.test()
async def takes_its_time(dut):
    """With paces, lanes are ready so many cycles after those before, neither sooner nor later."""
    await reset(dut)
    for slow in (1, 0, 1):
        dut.on.value, dut.length.value, dut.slow.value, dut.scale.value, dut.taken.value = 0, 10, slow, 1, 1
        dut.begin.value = dut.advance.value = dut.ends.value = 0
        await RisingEdge(dut.clk)
        dut.on.value = 1
        await RisingEdge(dut.clk)
        dut.begin.value = 1
        await RisingEdge(dut.clk)
        dut.begin.value = 0
        lines = -(-10 // parameters()["cols"])
        for item in range(12 * lines):
            # Two groups of lanes in each line; passes alternate.
            scales, ends = item // (2 * lines) % 2, item % 2
            dut.advance.value, dut.last_lanes.value, dut.ends.value = 1, 1 if ends else 0, ends
            await RisingEdge(dut.clk)
            assert dut.ready.value
            dut.advance.value = dut.ends.value = 0
            for _ in range((PACES[scales] if slow else 1) - 1):
                await RisingEdge(dut.clk)
                assert not dut.ready.value


@cocotb.test()
@cocotb.parametrize(pause=[0.0, 0.5])
async def scales_rows(dut, pause):
    """Rows of every size of sum, each with the exponential of its maximum; some entries are masked."""
    lanes, rng = parameters()["lanes"], np.random.default_rng(cocotb.RANDOM_SEED)
    await reset(dut)
    layout = data.ArrayLayout(signed(32), lanes)
    rows = [np.full(count, 2**31 - 1) for count in (1, 2, 4, 2047)]
    rows += [np.array([2**31 - 1, *[2**11 - 1] * 30]), np.array([2**31 - 1, *[2**11] * 30])]
    for _ in range(12):
        row = rng.integers(0, 2**31 >> rng.integers(0, 12), rng.integers(1, 90))
        row[rng.integers(len(row))] = 2**31 - 1
        rows.append(row)
    dut.on.value = 1
    for row in rows:
        places = -(-len(row) // lanes)
        padded = np.concatenate([row, rng.integers(0, 2**31, places * lanes - len(row))]).reshape(places, lanes)
        for index, entries in enumerate(padded):
            while random.random() < pause:
                dut.valid.value = 0
                await RisingEdge(dut.clk)
            used = min(lanes, len(row) - index * lanes)
            dut.valid.value, dut.last.value, dut.mask.value = 1, index == places - 1, 2**used - 1
            dut.entries.value = layout.const(entries.tolist()).as_bits()
            await RisingEdge(dut.clk)
        dut.valid.value = 0
        cycles = 0
        while not dut.o__valid.value:
            await RisingEdge(dut.clk)
            cycles += 1
        assert cycles == scales_latency(lanes)
        multiplier, shift = (int(value[0]) for value in golden.row_scales(row.astype(np.int64)))
        scale = plain(SCALE.from_bits(int(dut.o__payload.value)))
        assert scale == {"multiplier": multiplier, "shift": shift}, row
        dut.o__ready.value = 1
        await RisingEdge(dut.clk)
        dut.o__ready.value = 0
        await RisingEdge(dut.clk)
        assert not dut.o__valid.value


@cocotb.test()
async def forgets(dut):
    """What is under way when a layer ends, at any time, does not count for the next one."""
    lanes = parameters()["lanes"]
    await reset(dut)
    layout = data.ArrayLayout(signed(32), lanes)
    for wait in (0, 1, 3, 6, 20, scales_latency(lanes) - 2, scales_latency(lanes) + 1):
        for number in range(2):
            dut.on.value = 1
            dut.valid.value, dut.last.value, dut.mask.value = 1, 1, 1
            dut.entries.value = layout.const([2**31 - 1 if number else 2**25] + [0] * (lanes - 1)).as_bits()
            await RisingEdge(dut.clk)
            dut.valid.value = 0
            for _ in range(wait if number == 0 else scales_latency(lanes)):
                await RisingEdge(dut.clk)
            if number:
                multiplier, shift = (int(value[0]) for value in golden.row_scales(np.array([2**31 - 1])))
                assert plain(SCALE.from_bits(int(dut.o__payload.value))) == {"multiplier": multiplier, "shift": shift}
            dut.on.value = 0
            for _ in range(5):
                await RisingEdge(dut.clk)
            assert not dut.o__valid.value


BENCHES = [
    Bench(
        name="distances",
        title="lines of rows become distances to the row's maximum",
        create=distances, only=("subtracts_from_maxima", "takes_a_line_a_cycle"),
    ),
    Bench(
        name="passes",
        title="which lines of a softmax are added up, and which are scaled and written",
        create=passes, only=("tells_passes_apart", "takes_its_time"),
        applies=lambda p, tests: [test for test in tests if p["paced"] or test != "takes_its_time"],
    ),
    Bench(
        name="row-scales",
        title="sums of exponentials, and their reciprocals",
        create=row_scales, only=("scales_rows", "forgets"),
    ),
]  # fmt: skip
