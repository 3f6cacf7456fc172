"""The inverse root of the sum of squares of a layer's results."""

from __future__ import annotations

import cocotb
import numpy as np
from amaranth.hdl import signed
from amaranth.lib import data
from cocotb.triggers import RisingEdge

from sateen.hw.pipelined.norms import InverseRoot, inverse_root_latency
from sateen.hw.pipelined.softmax import SCALE
from sateen.sim import golden
from sateen.testing.bench import Bench
from sateen.testing.dut import parameters, reset


def inverse_root(*, lanes=3):
    return InverseRoot(lanes=lanes)


def tensors(rng):
    """Corners first: nothing, a one, the smallest and the largest codes, a long tensor."""
    yield np.zeros(1)
    yield np.array([0, -1])
    yield np.full(5, -128)
    yield np.full(64, 127)
    yield rng.integers(-128, 128, 3000)
    for _ in range(60):
        yield rng.integers(-128, 128, rng.integers(1, 40)) >> rng.integers(0, 8)


@cocotb.test()
@cocotb.parametrize(pause=[0.0, 0.4])
async def matches_definition(dut, pause):
    """Between tensors that count stand results that do not; a scale stays until the next one's."""
    lanes, rng = parameters()["lanes"], np.random.default_rng(cocotb.RANDOM_SEED)
    layout, latency = data.ArrayLayout(signed(8), lanes), inverse_root_latency(lanes)
    dut.valid.value = 0
    await reset(dut)

    async def give(codes, *, ignored):
        dut.ignored.value = int(ignored)
        for start in range(0, len(codes), lanes):
            while rng.random() < pause:
                dut.valid.value, dut.done.value = 0, int(rng.integers(2))
                await RisingEdge(dut.clk)
            some = codes[start : start + lanes]
            # What the mask leaves out may be anything.
            dut.results.value = layout.const([*map(int, some), *([77] * (lanes - len(some)))]).as_bits()
            dut.mask.value = (1 << len(some)) - 1
            dut.valid.value, dut.done.value = 1, int(start + lanes >= len(codes))
            await RisingEdge(dut.clk)
        dut.valid.value = 0

    for codes in tensors(rng):
        await give(codes, ignored=False)
        # Results that do not count come at once.
        await give(rng.integers(-128, 128, 2 * lanes), ignored=True)
        for _ in range(latency):
            await RisingEdge(dut.clk)
        scale = SCALE.from_bits(int(dut.o.value))
        multiplier, shift = golden.inverse_root(golden.sum_of_squares(codes))
        assert (scale.multiplier, scale.shift) == (multiplier[0], shift[0]), f"of {codes}"


@cocotb.test()
async def is_there_in_time(dut):
    """A scale comes :func:`inverse_root_latency` cycles after the last results, not before."""
    lanes = parameters()["lanes"]
    dut.valid.value = 0
    await reset(dut)
    dut.valid.value, dut.done.value, dut.ignored.value, dut.mask.value = 1, 1, 0, 1
    dut.results.value = 3
    await RisingEdge(dut.clk)
    dut.valid.value = 0
    await RisingEdge(dut.clk)
    waited = 0
    while not SCALE.from_bits(int(dut.o.value)).multiplier:
        await RisingEdge(dut.clk)
        waited += 1
    assert waited + 1 == inverse_root_latency(lanes)


BENCHES = [
    Bench(
        name="inverse-root",
        title="the inverse root of the sum of squares of a layer's results",
        create=inverse_root,
    ),
]
