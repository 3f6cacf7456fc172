"""Fetch: every request answered once, in order, whatever the consumer does."""

from __future__ import annotations

import random

import cocotb
from cocotb.triggers import RisingEdge

from sateen.hw.stream.fetch import Fetch
from sateen.testing.bench import Bench
from sateen.testing.dut import parameters, reset
from sateen.testing.streams import receive, send


def fetch(*, latency=3, sliced=True):
    return Fetch(address=8, data_shape=16, tag=5, latency=latency, sliced=sliced)


def answer(address):
    """What the memory of the bench holds."""
    return address << 8 | address ^ 0x5A


async def memory(dut, latency):
    """Answers address with a function of it, ``latency`` cycles later."""
    pending = [0] * latency
    while True:
        await RisingEdge(dut.clk)
        pending.append(int(dut.address.value))
        dut.data.value = answer(pending.pop(0))


@cocotb.test()
@cocotb.parametrize(("give", [0.0, 0.5]), ("take", [0.0, 0.7]))
async def answers_in_order(dut, give, take):
    latency = parameters()["latency"]
    component = fetch(**parameters())
    requests = [(random.randrange(256), random.randrange(32)) for _ in range(300)]
    await reset(dut)
    # The harness's memory adds the register of its own assignment.
    cocotb.start_soon(memory(dut, latency - 1))
    items = [{"address": address, "tag": tag} for address, tag in requests]
    cocotb.start_soon(send(dut, "i", items, layout=component.i.payload.shape(), pause=give))
    answers = await receive(dut, "o", len(requests), layout=component.o.payload.shape(), pause=take)
    for index, (got, (address, tag)) in enumerate(zip(answers, requests, strict=True)):
        assert (got["data"], got["tag"]) == (answer(address), tag), f"request {index}"
    await cocotb.triggers.ClockCycles(dut.clk, 2)
    assert dut.empty.value == 1


@cocotb.test()
async def one_a_cycle(dut):
    latency = parameters()["latency"]
    await reset(dut)
    dut.i__valid.value = 1
    dut.o__ready.value = 1
    taken = 0
    for _ in range(200 + latency + 3):
        await RisingEdge(dut.clk)
        taken += int(dut.o__valid.value)
    assert taken >= 199


BENCHES = [
    Bench(
        name="fetch",
        title="requests to a memory, answered in order whatever the consumer does",
        create=fetch,
    ),
]
