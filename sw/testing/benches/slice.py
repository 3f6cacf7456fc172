"""The register slice: every item once, in order, one per cycle."""

from __future__ import annotations

import random

import cocotb
from cocotb.triggers import RisingEdge

from sateen.hw.stream.slice import RegisterSlice
from sateen.testing.bench import Bench
from sateen.testing.dut import reset
from sateen.testing.streams import receive, send


def register_slice(*, bits=8):
    return RegisterSlice(bits)


@cocotb.test()
@cocotb.parametrize(("give", [0.0, 0.5]), ("take", [0.0, 0.5]))
async def passes_on(dut, give, take):
    await reset(dut)
    items = [random.getrandbits(len(dut.i__payload)) for _ in range(500)]
    cocotb.start_soon(send(dut, "i", items, pause=give))
    assert await receive(dut, "o", len(items), pause=take) == items


@cocotb.test()
async def one_a_cycle(dut):
    await reset(dut)
    dut.i__valid.value = dut.o__ready.value = 1
    taken = 0
    for _ in range(100):
        await RisingEdge(dut.clk)
        taken += int(dut.o__valid.value)
    assert taken == 99


BENCHES = [
    Bench(
        name="register-slice",
        title="every item once, in order, one a cycle",
        create=register_slice,
    ),
]
