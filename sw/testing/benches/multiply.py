"""Multipliers and the MAC: every product."""

from __future__ import annotations

import itertools
import random

import cocotb
from cocotb.triggers import RisingEdge

from sateen.hw.multiply import LogicMultiply, Multiply, MultiplyAdd
from sateen.hw.pe.mac import Mac
from sateen.hw.pe.packed import PackedMultiply
from sateen.testing.bench import Bench
from sateen.testing.dut import parameters, reset


def signed(value, bits):
    return value - (value >> (bits - 1) << bits)


def product(dut):
    """Of either kind of multiplier."""
    return (
        dut.product.value.to_signed()
        if hasattr(dut, "product")
        else dut.low.value.to_signed() + 16 * dut.high.value.to_signed()
    )


def multiply(*, a_bits=8, b_bits=8):
    return Multiply(a_bits=a_bits, b_bits=b_bits)


def logic_multiply(*, b_bits=8):
    return LogicMultiply(b_bits=b_bits)


def mac(*, sum_bits=20, multiplier=1, weight_bits=8):
    return Mac(sum_bits=sum_bits, multiplier=bool(multiplier), weight_bits=weight_bits)


def multiply_add(*, a_bits=16, b_bits=16, sum_bits=32):
    return MultiplyAdd(a_bits=a_bits, b_bits=b_bits, sum_bits=sum_bits)


def packed_multiply(*, b_bits=8):
    return PackedMultiply(b_bits=b_bits)


def factors():
    """The widths of a multiplier's factors, and its latency."""
    p = parameters()
    return p.get("a_bits", 8), p["b_bits"], Multiply.LATENCY if "a_bits" in p else LogicMultiply.LATENCY


def int8_only(p, tests):
    """All products are those of two int8 values."""
    return tests if p.get("a_bits", 8) == p["b_bits"] == 8 else [name for name in tests if name != "all_products"]


@cocotb.test()
async def products(dut):
    """Corners of both factors first."""
    a_bits, b_bits, latency = factors()
    a_low, b_low = -(1 << (a_bits - 1)), -(1 << (b_bits - 1))
    corners = [(a, b) for a in (a_low, -1, 0, 1, -a_low - 1) for b in (b_low, -1, 0, 1, -b_low - 1)]
    steps = corners + [(random.randint(a_low, -a_low - 1), random.randint(b_low, -b_low - 1)) for _ in range(2000)]
    await reset(dut)
    expected = []
    for a, b in [*steps, *[(0, 0)] * latency]:
        dut.a.value, dut.b.value = a & ((1 << a_bits) - 1), b & ((1 << b_bits) - 1)
        expected.append(a * b)
        await RisingEdge(dut.clk)
        if len(expected) > latency:
            index = len(expected) - 1 - latency
            assert product(dut) == expected[index], f"step {index}: {steps[index]}"


@cocotb.test()
async def all_products(dut):
    """Every pair of int8 values."""
    latency, pairs = factors()[2], list(itertools.product(range(-128, 128), repeat=2))
    await reset(dut)
    for index in range(len(pairs) + latency):
        if index < len(pairs):
            dut.a.value, dut.b.value = pairs[index][0] & 0xFF, pairs[index][1] & 0xFF
        await RisingEdge(dut.clk)
        if index >= latency:
            a, b = pairs[index - latency]
            assert product(dut) == a * b


@cocotb.test()
async def packed_products(dut):
    """All corners of the three factors, then any, that of one product a cycle before the other's."""
    bits, latency = parameters()["b_bits"], PackedMultiply.LATENCY
    low, high = -255 if bits == 9 else -(1 << (bits - 1)), (1 << (bits - 1)) - 1
    weights, activations = sorted({low, low + 1, -1, 0, 1, high - 1, high}), (-128, -127, -65, -1, 0, 1, 64, 127)
    steps = list(itertools.product(activations, weights, weights))
    steps += [(random.randint(-128, 127), *(random.randint(low, high) for _ in range(2))) for _ in range(3000)]
    await reset(dut)
    for index, (a, *factors_of_it) in enumerate([*steps, *[(0, 0, 0)] * (latency + 1)]):
        dut.a.value = a & 0xFF
        dut.low.value, dut.high.value = (factor & ((1 << bits) - 1) for factor in factors_of_it)
        await RisingEdge(dut.clk)
        for name, place, late in (("low", 1, latency), ("high", 2, latency + 1)):
            if 0 <= index - late < len(steps):
                step = steps[index - late]
                assert getattr(dut, f"{name}_product").value.to_signed() == step[0] * step[place], (name, step)


@cocotb.test()
async def accumulates(dut):
    """The contract of :class:`PeSignature`, seen from outside: hops of one cycle, the sum ``latency`` cycles after its
    beat."""
    latency, bits = Mac.LATENCY[bool(parameters()["multiplier"])], parameters()["sum_bits"]
    # Weights of 9 bits are differences of two bytes.
    low, high = (-255, 255) if parameters()["weight_bits"] == 9 else (-128, 127)
    widths = {"activation": 8, "weight": parameters()["weight_bits"]}
    await reset(dut)
    following = current = 0
    totals, hops = {}, {}
    for cycle in range(2000):
        beat = {
            "activation": random.choice([-128, -1, 0, 127, random.randint(-128, 127)]),
            "weight": random.choice([low, -1, 0, high, random.randint(low, high)]),
            "swap": int(random.random() < 0.3), "capture": int(random.random() < 0.3),
        }  # fmt: skip
        addend = random.choice([-(1 << (bits - 1)), 0, (1 << (bits - 1)) - 1, random.getrandbits(bits - 2)])
        for name, value in beat.items():
            getattr(dut, f"{name}_i").value = value & ((1 << widths.get(name, 1)) - 1)
        dut.sum_i.value = addend & ((1 << bits) - 1)
        current = following if beat["swap"] else current
        following = beat["weight"] if beat["capture"] else following
        totals[cycle + latency] = beat["activation"] * current
        totals[cycle + 1] = totals.get(cycle + 1, 0) + addend
        hops[cycle + 1] = beat
        await RisingEdge(dut.clk)
        if cycle > latency:
            assert dut.sum_o.value.to_signed() == signed(totals[cycle] & ((1 << bits) - 1), bits)
            for name, value in hops[cycle].items():
                port = getattr(dut, f"{name}_o").value
                assert (port.to_signed() if name in widths else int(port)) == value


@cocotb.test()
async def adds(dut):
    """A product and an addend: corners of both, sums past the end."""
    p = parameters()
    bits, latency = p["sum_bits"], MultiplyAdd.LATENCY
    a_low, b_low, c_low = (-(1 << (p[name] - 1)) for name in ("a_bits", "b_bits", "sum_bits"))
    await reset(dut)
    products, addends = [], []
    for cycle in range(3000):
        a, b, c = (
            random.choice([low, -1, 0, 1, -low - 1, random.randint(low, -low - 1)]) for low in (a_low, b_low, c_low)
        )
        dut.a.value, dut.b.value, dut.c.value = a & (2 * -a_low - 1), b & (2 * -b_low - 1), c & (2 * -c_low - 1)
        products.append(a * b)
        addends.append(c)
        await RisingEdge(dut.clk)
        if cycle >= latency:
            expected = products[cycle - latency] + addends[cycle - 1]
            assert dut.o.value.to_signed() == signed(expected & ((1 << bits) - 1), bits), f"cycle {cycle}"


BENCHES = [
    Bench(
        name="multiply",
        title="a pipelined product in the FPGA's multipliers",
        create=multiply, only=("products", "all_products",), applies=int8_only,
    ),
    Bench(
        name="logic-multiply",
        title="a product of an int8 value in carry chains",
        create=logic_multiply, only=("products", "all_products",), applies=int8_only,
    ),
    Bench(
        name="mac",
        title="the multiply-accumulator: hops of one cycle, sums at its latency",
        create=mac, only=("accumulates",),
    ),
    Bench(
        name="packed-multiply",
        title="two products of a hardware multiplier, corners and any",
        create=packed_multiply, only=("packed_products",),
    ),
    Bench(
        name="multiply-add",
        title="a product and an addend in one multiplier",
        create=multiply_add, only=("adds",),
    ),
]
