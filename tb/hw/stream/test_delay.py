"""Delays of several values: by registers, and by memories of LUTs on an ECP5."""

import random

import pytest
from amaranth.back import rtlil
from amaranth.hdl import Module, Signal, signed
from amaranth.lib import data
from amaranth.sim import Simulator

from sateen.fpga.flow import Technology
from sateen.hw.stream.delay import delayed_together

FLAGS = data.StructLayout({"valid": 1, "slot": 3})


@pytest.mark.parametrize("technology", [None, "ecp5"])
@pytest.mark.parametrize("cycles", [1, 3, 4, 5, 16, 17, 18, 21, 34, 37, 54])
def test_values_come_after_so_many_cycles(technology, cycles):
    m = Module()
    byte, flags = Signal(signed(8)), Signal(FLAGS)
    late_byte, late_flags = delayed_together(
        m, technology and Technology(technology), {"byte": byte, "flags": flags}, cycles, long=3
    )
    assert late_byte.shape() == signed(8) and late_flags.shape() == FLAGS
    draw = random.Random(cycles)
    sent = [(draw.randrange(-128, 128), draw.randrange(16)) for _ in range(100)]

    async def bench(ctx):
        got = []
        for value, flag in sent:
            ctx.set(byte, value)
            ctx.set(flags.as_value(), flag)
            got.append((ctx.get(late_byte), ctx.get(late_flags.as_value())))
            await ctx.tick()
        assert got == [(0, 0)] * cycles + sent[: len(sent) - cycles]

    simulator = Simulator(m)
    simulator.add_clock(1e-6)
    simulator.add_testbench(bench)
    simulator.run()


@pytest.mark.parametrize(("cycles", "memories"), [(10, 0), (11, 1), (27, 1), (28, 2)])
def test_long_delays_take_memories(cycles, memories):
    m = Module()
    outputs = delayed_together(m, Technology("ecp5"), {"byte": Signal(8, name="byte")}, cycles)
    assert rtlil.convert(m, ports=outputs).count("cell $memrd_v2") == memories
