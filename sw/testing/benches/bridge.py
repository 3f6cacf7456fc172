"""SDRAM beside an engine: requests and moves keep their order, however long the engine holds a request back."""

from __future__ import annotations

import cocotb
from cocotb.triggers import ClockCycles, RisingEdge

from sateen.hw.bridge import SdramBridge
from sateen.hw.host import HOST_REQUEST, MOVE, host_request
from sateen.hw.spec.config import parse_config
from sateen.hw.spec.wire import Space
from sateen.testing.bench import Bench
from sateen.testing.dut import reset
from sateen.testing.streams import receive, send

CONFIG = parse_config("tiny,sdram=as4c32m16sb")
POWER_UP_CYCLES = 25_000
"""After which the chip's controller accepts requests."""


def bridge():
    return SdramBridge(CONFIG)


async def held_back(dut, move):
    """The engine's request that comes first, after the host's write and then a move were offered, long before it took
    one."""
    await reset(dut)
    write = {"space": Space.SCRATCHPAD, "address": 5, "write": 1, "data": 0x55}
    await send(dut, "i", [write], layout=HOST_REQUEST)
    moving = cocotb.start_soon(send(dut, "move", [{"address": 0, "length": 2, **move}], layout=MOVE))
    await ClockCycles(dut.clk, POWER_UP_CYCLES)
    (request,) = await receive(dut, "o", 1, layout=host_request(CONFIG.moved_bytes))
    dut.o__ready.value = 1
    assert (request["space"], request["address"], request["write"]) == (Space.SCRATCHPAD, 5, 1)
    assert request["data"] & 0xFF == 0x55
    return moving


@cocotb.test()
async def a_copy_waits_for_requests(dut):
    await (await held_back(dut, {"store": 0, "space": Space.SCRATCHPAD}))


@cocotb.test()
async def bytes_of_the_host_wait_for_requests(dut):
    """A request that the engine holds back is none of the bytes that the host writes into SDRAM."""
    moving = await held_back(dut, {"store": 1, "space": Space.SDRAM})
    data = [{"space": Space.SDRAM, "address": 0, "write": 1, "data": byte} for byte in (0x12, 0x34)]
    cocotb.start_soon(send(dut, "i", data, layout=HOST_REQUEST))
    while not dut.pins__dq_oe.value:
        await RisingEdge(dut.clk)
    assert dut.pins__dq_o.value == 0x3412
    await moving


BENCHES = [
    Bench(
        name="bridge",
        title="SDRAM beside an engine: moves wait for the requests before them",
        create=bridge,
    ),
]
