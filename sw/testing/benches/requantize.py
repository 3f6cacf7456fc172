"""Requantization, bit for bit, at its corners and everywhere."""

from __future__ import annotations

import random

import cocotb
import numpy as np
from cocotb.triggers import ClockCycles, RisingEdge
from cocotb.utils import get_sim_time

from sateen.hw.requantize import SETTINGS, Requantize
from sateen.hw.sequential.requantize import SerialRequantize
from sateen.hw.spec.descriptor import Rounding
from sateen.hw.spec.parameters import PARAMETER_BYTES
from sateen.hw.spec.timing import SERIAL_SHIFTS
from sateen.sim import golden
from sateen.testing.bench import Bench
from sateen.testing.dut import CLOCK_NS, reset

LOW, HIGH = -(2**31), 2**31 - 1


def corners():
    """(sum, bias, multiplier, shift): ends of every range, ties of every shift, powers of two."""
    for acc in (LOW, LOW + 1, -1, 0, 1, HIGH):
        for shift in (-31, -30, -8, -1, 0, 1, 7, 8, 30):
            for multiplier in (0, 1, 2**29, 2**30, 2**30 + 1, HIGH):
                yield acc, 0, multiplier, shift
    for shift in range(-31, 1):
        for value in (-5, -3, -2, -1, 1, 2, 3, 5):
            # multiplier 2^30 halves: the result is value + 1/2 exactly.
            yield (2 * value + 1) << min(-shift, 24), 0, 2**30, shift
            yield ((2 * value + 1) << min(-shift, 24)) + random.choice([-1, 1]), 0, 2**30, shift
    for bias in (-(2**30), 2**30, LOW, HIGH):
        yield HIGH, bias, 2**30, -24
        yield LOW, bias, 2**31 - 5, -28


def near_ties(count, bits=31):
    """Sums on both sides of a tie, for multipliers of so many bits: random ones, products of small numbers, and powers
    of two."""
    for _ in range(count):
        multiplier = random.choice(
            [random.randint(2**30, HIGH), 2**30, random.randint(1, 255) * random.randint(1, 255) << 14]
        )
        multiplier = multiplier << (31 - multiplier.bit_length()) >> (31 - bits) << (31 - bits)
        shift, result = random.randint(-31, 8), random.randint(-257, 256)
        acc = ((2 * result + 1) << (30 - shift)) // multiplier + random.choice([-1, 0, 0, 1, 1, 2])
        if LOW <= acc <= HIGH:
            yield acc, 0, multiplier, shift
    for places in range(1, 8):
        for base in (-(2**31), -(2**30), 2**24, 2**30 - 2**6, 2**31 - 2**7):
            # Ties of a sum's own rounding.
            acc = base + (random.randint(0, 15) << places) + (1 << places - 1)
            for near in (acc - 1, acc, acc + 1):
                yield max(LOW, min(near, HIGH)), 0, random.randint(2**23, 2**24 - 1) << 7, random.randint(-24, -20)


def cases(count, bits=31):
    """Corners, then random values whose results are mostly in range, then anything, and what lies near ties.
    Multipliers of FLOAT32 may have to be of 24 bits."""
    for acc, bias, multiplier, shift in _cases(count, bits):
        yield acc, bias, multiplier >> (31 - bits) << (31 - bits), shift


def _cases(count, bits):
    yield from corners()
    yield from near_ties(count, bits)
    for _ in range(count):
        shift, multiplier = (
            random.randint(-31, 30),
            random.randint(1, HIGH) >> random.choice([0, 0, random.randint(1, 30)]),
        )
        reach = min(HIGH, (600 << (31 - shift)) // max(1, multiplier))
        yield random.randint(-reach, reach), random.randint(-100, 100), multiplier, shift
    for _ in range(count):
        yield random.randint(LOW, HIGH), random.randint(LOW, HIGH), random.randint(0, HIGH), random.randint(-31, 30)


def shares():
    """Shifts that only rows of a softmax have, and exponentials next to half a share."""
    for shift in (-32, -33):
        for multiplier in (2**30, 2**30 + 12345, HIGH):
            tie = (1 << 30 - shift) // multiplier
            for acc in (0, 1, *range(tie - 2, tie + 3), HIGH - 1, HIGH):
                yield min(acc, HIGH), 0, multiplier, shift


def requantize(*, float_rounding=True):
    return Requantize(float_rounding=float_rounding)


def applicable(p, tests):
    """Without FLOAT32 the others are the same."""
    return [name for name in tests if p["float_rounding"] or name != "matches_golden_in_float32"]


def serial_requantize():
    return SerialRequantize()


@cocotb.test()
@cocotb.parametrize(rounding=[Rounding.DOUBLE, Rounding.SINGLE])
async def matches_golden(dut, rounding):
    await matches(dut, rounding)


@cocotb.test()
async def matches_golden_in_float32(dut):
    await matches(dut, Rounding.FLOAT32)


async def matches(dut, rounding):
    await reset(dut)
    for zero_point, low, high in [(0, -128, 127), (-128, -128, 127), (127, -128, 127), (5, -7, 100), (-3, 4, 4)]:
        values = [*cases(500), *(shares() if rounding == Rounding.DOUBLE else ())]
        setting = {"zero_point": zero_point, "low": low, "high": high, "rounding": rounding}
        dut.settings.value = SETTINGS.const(setting).as_bits()
        results = []
        for index in range(len(values) + Requantize.LATENCY):
            if index < len(values):
                acc, bias, multiplier, shift = values[index]
                dut.i.value = acc & 0xFFFFFFFF
                # As CHANNEL lays it out, at the speed of plain integers.
                dut.channel.value = (bias & 0xFFFFFFFF) | multiplier << 32 | (shift & 0xFF) << 64
            await RisingEdge(dut.clk)
            if index >= Requantize.LATENCY:
                results.append(dut.o.value.to_signed())
        compare(values, results, setting)
    await ClockCycles(dut.clk, 1)


@cocotb.test()
@cocotb.parametrize(rounding=[Rounding.DOUBLE, Rounding.SINGLE, Rounding.FLOAT32])
async def one_by_one(dut, rounding):
    """The serial form, and how long each value takes; the next one's parameters come meanwhile."""
    await reset(dut)

    def cycle():
        return round(get_sim_time("ns")) // CLOCK_NS

    for zero_point, low, high in [(0, -128, 127), (-128, -7, 127)]:
        bits = 24 if rounding == Rounding.FLOAT32 else 31
        values, results, started = list(cases(150, bits)), [], 0
        setting = {"zero_point": zero_point, "low": low, "high": high, "rounding": rounding}
        dut.settings.value = SETTINGS.const(setting).as_bits()
        for acc, bias, multiplier, shift in [*values, (0, 0, 0, 0)]:
            for byte in ((bias & 0xFFFFFFFF) | multiplier << 32 | (shift & 0xFF) << 64).to_bytes(
                PARAMETER_BYTES, "little"
            ):
                if pause := random.choice([0, 0, 0, 1, 2]):
                    dut.valid.value = 0
                    await ClockCycles(dut.clk, pause)
                dut.valid.value, dut.byte.value = 1, byte
                await RisingEdge(dut.clk)
            dut.valid.value, dut.i.value = 0, random.getrandbits(32)
            await RisingEdge(dut.clk)
            if waited := not int(dut.ready.value):
                await RisingEdge(dut.ready)
                await RisingEdge(dut.clk)
            if started:
                results.append(dut.o.value.to_signed())
                expected = SerialRequantize.LATENCY + max(0, values[len(results) - 1][3] - SERIAL_SHIFTS)
                taken = cycle() - 1 - started
                assert taken == expected if waited else taken >= expected
            dut.start.value, dut.i.value = 1, acc & 0xFFFFFFFF
            started = cycle()
            await RisingEdge(dut.clk)
            dut.start.value = 0
        await ClockCycles(dut.clk, 64)
        compare(values, results, setting)


def compare(values, results, setting):
    acc, bias, multiplier, shift = (np.array(column, np.int64) for column in zip(*values, strict=True))
    expected = golden.requantize(acc + bias, multiplier, shift, **setting)
    wrong = np.flatnonzero(np.array(results) != expected)
    assert not len(wrong), f"{values[wrong[0]]}: {results[wrong[0]]}, not {expected[wrong[0]]} ({len(wrong)} wrong)"


BENCHES = [
    Bench(
        name="requantize",
        title="a sum becomes int8: bias, multiplier, shift and rounding",
        create=requantize, only=("matches_golden", "matches_golden_in_float32"), applies=applicable,
    ),
    Bench(
        name="serial-requantize",
        title="the same, a bit at a time",
        create=serial_requantize, only=("one_by_one",),
    ),
]
