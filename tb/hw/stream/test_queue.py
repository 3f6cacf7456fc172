"""A queue: every item once, in order; as many wait as there are places."""

import random

import cocotb
import pytest
from cocotb.triggers import RisingEdge

from harness import parameters, receive, reset, run, send
from sateen.hw.stream.queue import Queue


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


@pytest.mark.parametrize(("bits", "depth"), [(12, 2), (100, 16)])
def test_queue(bits, depth):
    run(Queue(bits, depth=depth), __file__, depth=depth)


def test_rejects():
    with pytest.raises(ValueError, match="depth must be a power of two of 2 or more, not 12"):
        Queue(8, depth=12)
