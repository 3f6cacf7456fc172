"""The output unit: which sums go to post-processing, with which parameters, and where their results belong."""

from __future__ import annotations

import random
import struct
from dataclasses import replace

import cocotb
from amaranth.hdl import signed
from amaranth.lib import data
from cocotb.triggers import RisingEdge

from sateen.hw.pipelined.features import Features
from sateen.hw.pipelined.output import OutputUnit
from sateen.hw.requantize import CHANNEL, SETTINGS
from sateen.hw.spec.descriptor import OutputStream
from sateen.hw.spec.nests import Dim
from sateen.sim.streams import items
from sateen.testing.bench import Bench
from sateen.testing.dut import parameters, reset
from sateen.testing.streams import send

LATENCY, POSITION_BITS, ADDRESS_BITS = 3, 6, 14


def unit(*, cols=6, lanes=4):
    return OutputUnit(
        cols=cols, lanes=lanes, position_bits=POSITION_BITS, address_bits=ADDRESS_BITS, sum_latency=LATENCY,
        channel=CHANNEL, settings=SETTINGS, features=Features(),
    )  # fmt: skip


def stream(cols, *, channels, rows=1, columns=1, blocks=1, taps=1, address=0):
    line = columns * channels
    return OutputStream(
        address=address,
        channels=channels,
        taps=taps,
        zero_point=random.randint(-128, 127),
        low=-100,
        high=99,
        rounding=random.randint(0, 1),
        dims=(
            Dim(blocks, (rows * line,)),
            Dim(-(-channels // cols), (cols,)),
            Dim(rows, (line,)),
            Dim(columns, (channels,)),
        ),
    )


def streams(cols, lanes):
    """Corners first: one result, one channel too many for the columns, taps, several blocks."""
    yield stream(cols, channels=1)
    yield stream(cols, channels=cols + 1, rows=2, columns=3, address=77)
    yield stream(cols, channels=lanes, taps=4, columns=5)
    yield stream(cols, channels=2 * cols, rows=3, columns=2, blocks=3)
    yield replace(stream(cols, channels=6 * cols, rows=3, columns=4, blocks=2, address=5), quarters=True)
    for _ in range(4):
        yield stream(
            cols, channels=random.randint(1, 3 * cols), rows=random.randint(1, 3), columns=random.randint(1, 4),
            blocks=random.randint(1, 3), taps=random.randint(1, 4), address=random.randrange(9000),
        )  # fmt: skip


class Surroundings:
    """Accumulators and parameters: what they hold tells which half and which group it was."""

    def __init__(self, dut, cols, delay):
        self.dut, self.cols, self.delay = dut, cols, delay
        self.half = self.group = 0
        self.half_wait = self.group_wait = delay

    def sum(self, half, position, column):
        return half << 16 | position << 8 | column

    async def work(self):
        dut, shape = self.dut, data.ArrayLayout(signed(32), self.cols)
        channels = data.ArrayLayout(CHANNEL, self.cols)
        pending = [(0, 0)] * (LATENCY - 1)
        while True:
            dut.full.value = self.half_wait == 0
            dut.parameters_full.value = self.group_wait == 0
            await RisingEdge(dut.clk)
            pending.append((self.half, int(dut.position.value)))
            half, position = pending.pop(0)
            dut.sums.value = shape.const([self.sum(half, position, c) for c in range(self.cols)]).as_bits()
            self.half_wait = max(0, self.half_wait - 1)
            self.group_wait = max(0, self.group_wait - 1)
            if dut.drained.value:
                assert dut.full.value, "released a half that was not complete"
                self.half, self.half_wait = self.half + 1, self.delay
            if dut.take.value:
                assert dut.parameters_full.value, "took parameters that were not complete"
                dut.channels.value = channels.const(
                    [{"bias": c, "multiplier": self.group, "shift": 0} for c in range(self.cols)]
                ).as_bits()
                self.group, self.group_wait = self.group + 1, self.delay


@cocotb.test()
@cocotb.parametrize(delay=[0, 1, 30])
async def matches_definition(dut, delay):
    cols, lanes = parameters()["cols"], parameters()["lanes"]
    component = unit(cols=cols, lanes=lanes)
    around = Surroundings(dut, cols, delay)
    dut.done.value = 0
    await reset(dut)
    cocotb.start_soon(around.work())
    halves = 0
    for layer in streams(cols, lanes):
        section = layer.encode()
        await send(dut, "load", struct.unpack(f"<{len(section) // 4}I", section))
        settings = SETTINGS.from_bits(int(dut.settings.value))
        assert (settings.zero_point, settings.low, settings.high, settings.rounding) == (
            layer.zero_point, layer.low, layer.high, layer.rounding,
        )  # fmt: skip
        expected = items(layer, cols=cols, lanes=lanes, positions=1 << POSITION_BITS)
        for want in expected:
            while not dut.o__valid.value:
                await RisingEdge(dut.clk)
            got = component.o.payload.shape().from_bits(int(dut.o__payload.value))
            assert (got["first"], got["last"], got.tag.address, got.tag.mask, got.tag.final) == (
                want.first, want.last, want.address, want.mask, want.final,
            ), f"{want} of {layer}"  # fmt: skip
            for lane in range(lanes):
                if want.mask >> lane & 1:
                    column = want.channel + lane
                    assert got.sums[lane] == around.sum(halves + want.half, want.position, column), f"{want} of {layer}"
                    assert (got.channels[lane].bias, got.channels[lane].multiplier) == (column, halves + want.half)
            await RisingEdge(dut.clk)
        halves += expected[-1].half + 1
        assert not dut.load__ready.value
        dut.done.value = 1
        await RisingEdge(dut.clk)
        dut.done.value = 0
        await RisingEdge(dut.clk)
        assert dut.load__ready.value


BENCHES = [
    Bench(
        name="output-unit",
        title="which sums go to post-processing, and where their results belong",
        create=unit,
    ),
]
