"""Post-processing: each lane requantizes with its own channel's parameters; pooled beats give their largest."""

from __future__ import annotations

import cocotb
import numpy as np
from amaranth.lib import data
from cocotb.triggers import RisingEdge

from sateen.hw.pipelined.postprocess import PostProcess
from sateen.hw.requantize import SETTINGS
from sateen.sim import golden
from sateen.testing.bench import Bench
from sateen.testing.dut import parameters, reset
from sateen.testing.streams import plain, receive, send

TAG = data.StructLayout({"address": 9})


def post_process(*, lanes=3):
    return PostProcess(lanes=lanes, tag=TAG)


@cocotb.test()
@cocotb.parametrize(pause=[0.0, 0.5])
async def matches_golden(dut, pause):
    lanes = parameters()["lanes"]
    component = post_process(lanes=lanes)
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
    component = post_process(lanes=parameters()["lanes"])
    await reset(dut)
    beat = plain(component.i.payload.shape().const({}))
    cocotb.start_soon(send(dut, "i", [{**beat, "first": 1, "last": 1}], layout=component.i.payload.shape()))
    await RisingEdge(dut.i__valid)
    cycles = 0
    while not dut.o__valid.value:
        await RisingEdge(dut.clk)
        cycles += 1
    assert cycles - 1 == component.latency


BENCHES = [
    Bench(
        name="post-process",
        title="requantization by channel, and pooling",
        create=post_process,
    ),
]
