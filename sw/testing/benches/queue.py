"""A queue: every item once, in order; as many wait as there are places."""

from __future__ import annotations

import random

import cocotb
from cocotb.triggers import RisingEdge

from sateen.hw.stream.queue import Queue
from sateen.testing.bench import Bench
from sateen.testing.dut import parameters, reset
from sateen.testing.streams import receive, send


def queue(*, bits=12, depth=4):
    return Queue(bits, depth=depth)


@cocotb.test()
@cocotb.parametrize(("before", [0.0, 0.7]), ("behind", [0.0, 0.7]))
async def keeps_order(dut, before, behind):
    await reset(dut)
    items = [random.getrandbits(len(dut.i__payload)) for _ in range(200)]
    sending = cocotb.start_soon(send(dut, "i", items, pause=before))
    assert await receive(dut, "o", len(items), pause=behind) == items
    await sending


@cocotb.test()
async def holds_its_depth(dut):
    depth = parameters()["depth"]
    dut.o__ready.value = 0
    await reset(dut)
    dut.i__valid.value = 1
    taken = 0
    for _ in range(2 * depth):
        await RisingEdge(dut.clk)
        taken += int(dut.i__ready.value)
    assert taken == depth


BENCHES = [
    Bench(
        name="queue",
        title="every item once, in order; as many wait as there are places",
        create=queue,
    ),
]
