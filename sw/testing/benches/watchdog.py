"""The watchdog: a program ends at its limit, not before, and one without a limit never."""

from __future__ import annotations

import random

import cocotb
from cocotb.triggers import ClockCycles, RisingEdge

from sateen.hw.watchdog import Watchdog
from sateen.testing.bench import Bench
from sateen.testing.dut import reset


async def start(dut, limit):
    """Gives it a run, which the engine takes a few cycles later."""
    layout = watchdog().i.payload.shape()
    item = {"first": random.randrange(256), "count": random.randrange(1, 256), "limit": limit}
    dut.i__payload.value, dut.i__valid.value, dut.o__ready.value = layout.const(item).as_bits(), 1, 0
    await ClockCycles(dut.clk, random.randrange(1, 4))
    assert dut.o__valid.value and not dut.i__ready.value
    assert int(dut.o__payload.value) == item["first"] | item["count"] << 8
    dut.o__ready.value = 1
    await RisingEdge(dut.clk)
    dut.i__valid.value, dut.busy.value = 0, 1


async def stops(dut, cycles):
    """The cycle in which the engine is stopped, counted from its first one; ``None`` if it is not."""
    for cycle in range(cycles):
        await RisingEdge(dut.clk)
        if dut.stop.value:
            return cycle
    return None


def watchdog():
    return Watchdog()


@cocotb.test()
async def ends_programs(dut):
    await reset(dut)
    for limit in (1, 2, 3, 4, 5):
        dut.place.value = place = random.randrange(256)
        await start(dut, limit)
        assert 4**limit <= await stops(dut, 4**limit + 10) <= 4**limit + 3
        dut.busy.value, dut.place.value = 0, 0
        await ClockCycles(dut.clk, 3)
        assert dut.overtime.value and dut.late.value == place
        # A program that ends in time, and one that is halted by the host.
        await start(dut, limit + 1)
        await ClockCycles(dut.clk, 4**limit)
        assert not dut.overtime.value
        if limit % 2:
            dut.halt.value = 1
            await RisingEdge(dut.clk)
            dut.halt.value = 0
        dut.busy.value = 0
        assert await stops(dut, 40) in (None, 0) and not dut.overtime.value
    for limit in (0, 15):
        await start(dut, limit)
        assert await stops(dut, 5000) is None and not dut.overtime.value
        dut.busy.value = 0
        await ClockCycles(dut.clk, 2)


BENCHES = [
    Bench(
        name="watchdog",
        title="a program ends at its limit, not before",
        create=watchdog,
    ),
]
