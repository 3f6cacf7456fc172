"""Post-processing: each lane requantizes with its own channel's parameters; pooled beats give their largest."""

import cocotb
import numpy as np
import pytest
from amaranth.lib import data
from cocotb.triggers import RisingEdge

from harness import parameters, plain, receive, reset, run, send
from sateen.hw.pipelined.postprocess import PostProcess
from sateen.hw.requantize import SETTINGS
from sateen.sim import golden

TAG = data.StructLayout({"address": 9})


@cocotb.test()
@cocotb.parametrize(pause=[0.0, 0.5])
async def matches_golden(dut, pause):
    lanes = parameters()["lanes"]
    component = PostProcess(lanes=lanes, tag=TAG)
    rng = np.random.default_rng(cocotb.RANDOM_SEED)
    await reset(dut)
    for taps in (1, 2, 9):
        setting = {
            "zero_point": int(rng.integers(-128, 128)),
            "low": -120,
            "high": 125,
            "rounding": int(rng.integers(2)),
        }
        dut.settings.value = SETTINGS.const(setting).as_bits()
        windows = 60 // taps + 3
        sums = rng.integers(-(2**15), 2**15, (windows, taps, lanes))
        bias = rng.integers(-(2**10), 2**10, (windows, 1, lanes))
        multiplier = rng.integers(2**30, 2**31, (windows, 1, lanes))
        shift = rng.integers(-10, -6, (windows, 1, lanes))
        expected = golden.requantize(sums + bias, multiplier, shift, **setting).max(axis=1)
        beats = [
            {
                "sums": [int(v) for v in sums[window, tap]],
                "channels": [
                    {"bias": int(b), "multiplier": int(q), "shift": int(s)}
                    for b, q, s in zip(bias[window, 0], multiplier[window, 0], shift[window, 0], strict=True)
                ],
                "first": tap == 0, "last": tap == taps - 1,
                # Only the last beat's tag counts.
                "tag": {"address": window if tap == taps - 1 else 511},
            }
            for window in range(windows) for tap in range(taps)
        ]  # fmt: skip
        cocotb.start_soon(send(dut, "i", beats, layout=component.i.payload.shape(), pause=pause))
        results = await receive(dut, "o", windows, layout=component.o.payload.shape())
        assert [result["tag"]["address"] for result in results] == list(range(windows))
        np.testing.assert_array_equal([result["data"] for result in results], expected)
        for _ in range(component.latency + 2):
            await RisingEdge(dut.clk)
            assert not dut.o__valid.value


@cocotb.test()
async def latency_is_as_documented(dut):
    component = PostProcess(lanes=parameters()["lanes"], tag=TAG)
    await reset(dut)
    beat = plain(component.i.payload.shape().const({}))
    cocotb.start_soon(send(dut, "i", [{**beat, "first": 1, "last": 1}], layout=component.i.payload.shape()))
    await RisingEdge(dut.i__valid)
    cycles = 0
    while not dut.o__valid.value:
        await RisingEdge(dut.clk)
        cycles += 1
    assert cycles - 1 == component.latency


@pytest.mark.parametrize("lanes", [1, 3])
def test_post_process(lanes):
    run(PostProcess(lanes=lanes, tag=TAG), __file__, lanes=lanes)


def test_rejects():
    with pytest.raises(ValueError, match="lanes must be 1 or more, not 0"):
        PostProcess(lanes=0, tag=TAG)
