"""onnxruntime's softmax: float32 sums of rows, and shares in them."""

from __future__ import annotations

import random

import cocotb
import numpy as np
from cocotb.triggers import RisingEdge

from sateen.hw.pipelined.shares import Share, Shares, entries_shape, total_latency
from sateen.hw.spec.timing import ADD_CYCLES, DIVIDE_CYCLES
from sateen.sim import golden
from sateen.testing.bench import Bench
from sateen.testing.dut import parameters, reset


def shares(*, lanes=3):
    return Shares(lanes=lanes)


def row(values, scale, steps=256, zero_point=-128):
    """Entries of both tables for a row of codes, and its shares."""
    x = np.array(values, np.int8)
    output = 1 / (steps + 0.25), zero_point
    assert golden.real_steps(output[0]) == steps
    entries = golden.real_entries(scale, x.size, output)[:, int(x.max()) - x.astype(np.int64)]
    return entries, golden.real_softmax(x[None], scale, output)[0]


def corners():
    """Rows of one value, of equal ones and of shares on a tie; exponentials that are denormal or zero; values that
    ascend and descend; long rows; all numbers of steps."""
    yield from (row([5], 0.1, steps) for steps in (1, 127, 255, 256))
    yield from (row([9] * length, 0.1, steps) for length in (2, 3, 4, 6, 16, 40) for steps in (1, 3, 255, 253))
    yield from (row([127, -128, 126, 0], scale, 256, -128) for scale in (0.5, 0.65, 0.7, 3.0, 1e4, 1e-30))
    # The first sums are those of denormal numbers.
    yield row([-128, -127, -126, -128, -120, 40, 127], 0.64)
    yield from (row(np.arange(-128, 128, 5)[::turn], scale) for turn in (1, -1) for scale in (0.01, 0.1, 0.68))
    rng = np.random.default_rng(cocotb.RANDOM_SEED)
    yield row(rng.integers(-128, 128, 300), 0.02, 255)
    for _ in range(20):
        length, scale = int(rng.integers(1, 40)), 10 ** rng.uniform(-3, 1)
        yield row(rng.integers(-128, 128, length), scale, int(rng.integers(1, 257)), -128)


class Rows:
    """Drives the unit with rows, and looks at what comes out of it."""

    def __init__(self, dut, pause):
        self.dut, self.pause, self.cycle, self.wanted = dut, pause, 0, []
        self.lanes = parameters()["lanes"]
        self.layout = entries_shape(self.lanes)

    async def tick(self, item=None):
        self.dut.i.value = item or 0
        await RisingEdge(self.dut.clk)
        self.cycle += 1
        for start, codes in self.wanted:
            if start + Share.LATENCY <= self.cycle:
                found = int(self.dut.o.value)
                assert [np.int8(np.uint8(found >> 8 * lane & 0xFF)) for lane in range(len(codes))] == codes
        stays = Share.LATENCY + DIVIDE_CYCLES - 1
        self.wanted = [each for each in self.wanted if self.cycle < each[0] + stays]

    async def send(self, entries, codes=None):
        """Sends a row to be added up, or if there are codes, to be divided."""
        count, sums = entries.shape[1], codes is None
        for first in range(0, count, self.lanes):
            part = np.pad(entries[:, first : first + self.lanes] & 0xFFFFFFFF, ((0, 0), (0, self.lanes)), mode="edge")
            flags = {"sums": sums, "last": sums and first + self.lanes >= count, "begins": not sums and not first}
            fields = {"first": part[0, : self.lanes].tolist(), "second": part[1, : self.lanes].tolist()}
            mask = (1 << min(self.lanes, count - first)) - 1
            if not sums:
                self.wanted.append((self.cycle + 1, list(codes[first : first + self.lanes])))
            await self.tick(self.layout.const({"valid": not sums, "row": flags, "mask": mask, **fields}).as_bits())
            for _ in range((ADD_CYCLES * self.lanes if sums else DIVIDE_CYCLES) - 1):
                await self.tick()
            while random.random() < self.pause:
                await self.tick()


@cocotb.test()
@cocotb.parametrize(pause=[0.0, 0.4])
async def divides_by_sums(dut, pause):
    """The sum of a row, then shares of the row before, as the passes of a softmax come."""
    await reset(dut)
    dut.on.value, before, rows = 1, None, Rows(dut, pause)
    dut.zero_point.value = -128
    await rows.tick()
    for entries, codes in corners():
        await rows.send(entries)
        if before is not None:
            assert dut.total.value, "the sum before this one has not been taken"
            await rows.send(*before)
        cycles = 0
        while not dut.total.value:
            await rows.tick()
            cycles += 1
        if before is None and not pause:
            # Those of the last item have passed.
            assert cycles == total_latency(rows.lanes) - ADD_CYCLES * rows.lanes + 1
        before = entries, codes
    await rows.send(*before)
    for _ in range(Share.LATENCY + DIVIDE_CYCLES):
        await rows.tick()
    assert not rows.wanted and not dut.total.value


@cocotb.test()
async def adds_the_zero_point(dut):
    """Shares beyond 127 are 127."""
    await reset(dut)
    dut.on.value, rows = 1, Rows(dut, 0)
    for zero_point in (-128, -1, 0, 100, 127):
        dut.zero_point.value = zero_point
        for _ in range(4):
            await rows.tick()
        for values in ([3, 3, 3], [50, -50]):
            entries, codes = row(values, 0.05, 255, zero_point)
            await rows.send(entries)
            for _ in range(total_latency(rows.lanes)):
                await rows.tick()
            await rows.send(entries, codes)
            for _ in range(Share.LATENCY):
                await rows.tick()


@cocotb.test()
async def forgets(dut):
    """What is under way when a layer ends, at any time, does not count for the next one."""
    await reset(dut)
    dut.zero_point.value = -128
    rows, large = Rows(dut, 0), row([0] * 30, 0.1)
    for wait in range(2 * total_latency(rows.lanes)):
        dut.on.value = 1
        await rows.tick()
        await rows.send(large[0][:, : rows.lanes])
        for _ in range(wait):
            await rows.tick()
        dut.on.value = 0
        await rows.tick()
        dut.on.value = 1
        await rows.tick()
        assert not dut.total.value
        entries, codes = row([5, -3, 7], 0.05)
        await rows.send(entries)
        for _ in range(total_latency(rows.lanes)):
            await rows.tick()
        await rows.send(entries, codes)
        for _ in range(Share.LATENCY + 1):
            await rows.tick()
        dut.on.value = 0
        for _ in range(Share.LATENCY):
            await rows.tick()


BENCHES = [
    Bench(name="shares", title="float32 sums of rows, and shares in them as onnxruntime rounds them", create=shares),
]
