"""A stream from one clock to another: every item, in order, whichever clock is faster, whoever pauses."""

from __future__ import annotations

import random

import cocotb
from cocotb.clock import Clock
from cocotb.triggers import Timer

from sateen.hw.stream.crossing import Crossing
from sateen.testing.bench import Bench
from sateen.testing.dut import parameters, reset
from sateen.testing.streams import StreamSink, StreamSource


def crossing(*, depth=32, read=False):
    """``read``: the other clock is the reader's, else the writer's."""
    domains = ("sync", "other") if read else ("other", "sync")
    return Crossing(12, depth=depth, write_domain=domains[0], read_domain=domains[1])


async def begin(dut, period_ps):
    await reset(dut)
    clock = Clock(dut.other_clk, period_ps, unit="ps")
    cocotb.start_soon(clock.start())
    dut.rst.value, dut.other_rst.value = 1, 1
    await Timer(1, "us")
    dut.rst.value, dut.other_rst.value = 0, 0
    read = parameters()["read"]
    clocks = {"i": dut.clk if read else dut.other_clk, "o": dut.other_clk if read else dut.clk}
    return (lambda pause: StreamSource(dut, "i", clock=clocks["i"], pause=pause)), (
        lambda pause: StreamSink(dut, "o", clock=clocks["o"], pause=pause)
    )


@cocotb.test()
@cocotb.parametrize(("period_ps", [3002, 8000, 9998, 10002, 41006]), ("give", [0.0, 0.5]), ("take", [0.0, 0.7]))
async def keeps_order(dut, period_ps, give, take):
    source, sink = await begin(dut, period_ps)
    items = [random.randrange(4096) for _ in range(300)]
    cocotb.start_soon(source(give).send(items))
    assert await sink(take).receive(len(items)) == items


@cocotb.test()
async def fills(dut):
    """With nobody who takes, it holds what it says, and nothing is lost."""
    depth = parameters()["depth"]
    source, sink = await begin(dut, 8000)
    sending = cocotb.start_soon(source(0.0).send(range(3 * depth)))
    await Timer(4 * depth * 10, "ns")
    assert not sending.done() and not dut.i__ready.value
    assert await sink(0.0).receive(3 * depth) == list(range(3 * depth))


@cocotb.test()
async def one_a_cycle(dut):
    """Of the slower clock, however many items."""
    source, sink = await begin(dut, 8000)
    count = 1000
    cocotb.start_soon(source(0.0).send(range(count)))
    sink = sink(0.0)
    await sink.receive(20)
    began = cocotb.utils.get_sim_time("ns")
    await sink.receive(count - 20)
    assert (cocotb.utils.get_sim_time("ns") - began) / (count - 20) < 10.3


BENCHES = [
    Bench(
        name="crossing",
        title="a stream from one clock to another, in order, whichever is faster",
        create=crossing,
    ),
]
