"""Accumulators: 32-bit sums over several tiles, while the other half is read; wrap; the shortest distances."""

from __future__ import annotations

import cocotb
import numpy as np
from amaranth.hdl import signed
from amaranth.lib import data
from cocotb.triggers import RisingEdge

from sateen.hw.pipelined.accumulate import Accumulators
from sateen.testing.bench import Bench
from sateen.testing.dut import parameters, reset

SUM_BITS = 20


class Skewed:
    """Plays the tile: column ``c`` of a beat comes ``c`` cycles after its tag."""

    def __init__(self, dut, component):
        self.dut, self.component, self.line = dut, component, []

    async def cycle(self, beat=None):
        self.line = [beat, *self.line][: self.component.cols]
        shape = self.component.i.payload.shape()
        sums = [
            self.line[c]["sums"][c] if c < len(self.line) and self.line[c] else 0 for c in range(self.component.cols)
        ]
        tag = beat["tag"] if beat else {"address": 0, "first": 0, "last": 0}
        self.dut.i__payload.value = shape.const({"sums": sums, "tag": tag}).as_bits()
        self.dut.i__valid.value = beat is not None
        await RisingEdge(self.dut.clk)


def accumulators(*, cols=4, positions=64, in_place=0, logic=0):
    return Accumulators(
        cols=cols, positions=positions, sum_bits=SUM_BITS, in_place=bool(in_place), logic=bool(logic)
    )


@cocotb.test()
@cocotb.parametrize(slow=[False, True], parts=[2, 4])
async def matches_sums(dut, slow, parts):
    """Fills halves, or quarters, while the ones before are read, slowly or at once. In place, quarters have sums of
    several beats, too, one right after the other."""
    cols, positions, in_place = parameters()["cols"], parameters()["positions"], parameters().get("in_place", 0)
    component = accumulators(cols=cols, positions=positions, in_place=in_place)
    rng = np.random.default_rng(cocotb.RANDOM_SEED)
    await reset(dut)
    tile, filled, free = Skewed(dut, component), [], [parts]

    async def read():
        shape = data.ArrayLayout(signed(32), cols)
        while True:
            while not dut.full.value:
                await RisingEdge(dut.clk)
            begin, expected = filled.pop(0)
            for _ in range(60 if slow else 0):
                await RisingEdge(dut.clk)
            count = len(expected)
            for cycle in range(count + component.LATENCY):
                dut.r_address.value = begin + min(cycle, count - 1)
                # The half may be freed with its last address.
                dut.drained.value = cycle == count - 1
                await RisingEdge(dut.clk)
                if cycle >= component.LATENCY:
                    got = [int(v) for v in shape.from_bits(int(dut.sums.value))]
                    assert got == expected[cycle - component.LATENCY].tolist()
                if cycle == count:
                    free[0] += 1

    cocotb.start_soon(read())
    for part in range(12):
        while free[0] == 0:
            await tile.cycle()
        free[0] -= 1
        begin = positions // 2 * (parts == 4 and part % 4 // 2)
        used = int(rng.choice([1, component.REVISIT, positions if parts == 2 else positions // 2]))
        stays = in_place and parts == 4 and rng.random() < 0.7
        used = 1 if stays else used
        tiles = int(rng.integers(1, 5)) if parts == 2 or stays else 1
        total = np.zeros((used, cols), np.int64)
        for index in range(tiles):
            for position in range(used):
                sums = rng.integers(-(2 ** (SUM_BITS - 1)), 2 ** (SUM_BITS - 1), cols)
                total[position] += sums
                last = index == tiles - 1 and position == used - 1
                if last:
                    filled.append((begin, total))
                tag = {"address": begin + position, "first": index == 0, "last": last}
                tag |= {"stay": stays and index > 0} if in_place else {}
                await tile.cycle({"sums": [int(v) for v in sums], "tag": tag})
                if rng.random() < 0.2:
                    await tile.cycle()
            for _ in range(0 if stays else component.REVISIT - used):
                await tile.cycle()
    while filled or free[0] != parts:
        await tile.cycle()


BENCHES = [
    Bench(
        name="accumulators",
        title="the sums of a layer, wrapped to 32 bits, while the other half is read",
        create=accumulators,
    ),
]
