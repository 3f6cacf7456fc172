"""The host's port: bytes reach their memory, and come back in order from memories of different latency."""

from __future__ import annotations

import random

import cocotb
from cocotb.triggers import RisingEdge

from sateen.hw.host import HOST_REQUEST, HostPort
from sateen.hw.spec.wire import Space
from sateen.testing.bench import Bench
from sateen.testing.dut import reset
from sateen.testing.streams import receive, send

LATENCIES = {Space.COUNTERS: 3, Space.SCRATCHPAD: 6, Space.WEIGHTS: 3, Space.PROGRAM: 4}


def contents(space, address):
    return (address * 5 + space * 77) & 0xFF


async def memory(dut, space, pause, written):
    """Answers reads after the space's latency, and is not always ready."""
    prefix = space.name.lower()
    names = ("address", "write", "write_enable", "read_enable", "write_ready", "read_ready", "read")
    pin = {name: getattr(dut, f"{prefix}__{name}") for name in names}
    pending = [0] * (LATENCIES[space] - 1)
    while True:
        pin["write_ready"].value, pin["read_ready"].value = random.random() >= pause, random.random() >= pause
        await RisingEdge(dut.clk)
        address = int(pin["address"].value)
        pending.append(address)
        pin["read"].value = contents(space, pending.pop(0))
        if pin["write_enable"].value and pin["write_ready"].value:
            written.append((space, address, int(pin["write"].value)))


def host_port():
    return HostPort(latencies=LATENCIES)


@cocotb.test()
@cocotb.parametrize(pause=[0.0, 0.5])
async def routes_bytes(dut, pause):
    written, writes, reads, requests = [], [], [], []
    for _ in range(400):
        space, address = random.choice(list(LATENCIES)), random.choice([0, 2**24 - 1, random.randrange(2**24)])
        value, write = random.randrange(256), random.random() < 0.5
        requests.append({"space": space, "address": address, "write": write, "data": value})
        (writes if write else reads).append((space, address, value))
    # A space that no memory has is taken and forgotten.
    requests.insert(7, {"space": 7, "address": 0, "write": 1, "data": 0})
    await reset(dut)
    for space in LATENCIES:
        cocotb.start_soon(memory(dut, space, pause, written))
    cocotb.start_soon(send(dut, "i", requests, layout=HOST_REQUEST, pause=pause))
    answers = await receive(dut, "o", len(reads))
    assert answers == [contents(space, address) for space, address, _ in reads]
    for _ in range(20):
        await RisingEdge(dut.clk)
    assert written == writes


BENCHES = [
    Bench(
        name="host-port",
        title="the host's bytes reach their memory, and come back in order",
        create=host_port,
    ),
]
