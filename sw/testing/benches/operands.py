"""Results that become words of weights: each byte in its column, whatever the gaps."""

from __future__ import annotations

import random

import cocotb
from amaranth.lib import data
from cocotb.triggers import RisingEdge

from sateen.hw.pipelined.operands import OperandWriter
from sateen.testing.bench import Bench
from sateen.testing.dut import parameters, reset

ADDRESS_BITS, LATENCY = 9, 2


def writer(*, cols=6, lanes=4, weight_rows=1):
    return OperandWriter(cols=cols, lanes=lanes, address_bits=ADDRESS_BITS, weight_rows=weight_rows)


@cocotb.test()
async def writes_each_byte(dut):
    """All places of the first result, with all lanes, one, or any; some beyond the word."""
    component = writer(**parameters())
    cols, lanes, stride = component.cols, component.lanes, 1 << component.column_bits
    await reset(dut)
    items = [(column, mask) for column in range(stride) for mask in (2**lanes - 1, 1, 1 << lanes - 1)]
    items += [(random.randrange(stride), random.randrange(2**lanes)) for _ in range(300)]
    wanted, found = {}, {}
    pending = [None] * LATENCY
    for column, mask in [*items, *[(0, 0)] * (LATENCY + 2)]:
        given = mask and random.random() < 0.8
        word, values = random.randrange(2**ADDRESS_BITS // stride), [random.randrange(256) for _ in range(lanes)]
        dut.enable.value, dut.mask.value = int(bool(given)), mask
        dut.address.value = word * stride + column
        dut.results.value = data.ArrayLayout(8, lanes).const(values).as_bits()
        written = {}
        if given:
            places = [(column + lane, values[lane]) for lane in range(lanes) if mask >> lane & 1]
            written = {(word, place): value for place, value in places if place < cols}
        pending.append(written)
        await RisingEdge(dut.clk)
        wanted = pending.pop(0) or {}
        enable, values = int(dut.w_enable.value), int(dut.w_data.value)
        first = int(dut.w_address.value) * component.weight_rows
        found = {
            (first + place // stride, place % stride): values >> 8 * place & 0xFF
            for place in range(len(dut.w_enable))
            if enable >> place & 1
        }
        assert found == wanted, (found, wanted)


BENCHES = [
    Bench(
        name="operand-writer",
        title="results become bytes of words of weights",
        create=writer,
        only=("writes_each_byte",),
    ),
]
