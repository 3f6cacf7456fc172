"""Multipliers and the MAC: every product."""

import itertools
import random

import cocotb
import pytest
from cocotb.triggers import RisingEdge

from harness import parameters, reset, run
from sateen.hw.multiply import LogicMultiply, Multiply, MultiplyAdd
from sateen.hw.pe.mac import Mac


def signed(value, bits):
    return value - (value >> (bits - 1) << bits)


def product(dut):
    """Of either kind of multiplier."""
    return (
        dut.product.value.to_signed()
        if hasattr(dut, "product")
        else dut.low.value.to_signed() + 16 * dut.high.value.to_signed()
    )


@cocotb.test()
async def products(dut):
    """Corners of both factors first."""
    p = parameters()
    a_low, b_low = -(1 << (p["a_bits"] - 1)), -(1 << (p["b_bits"] - 1))
    corners = [(a, b) for a in (a_low, -1, 0, 1, -a_low - 1) for b in (b_low, -1, 0, 1, -b_low - 1)]
    steps = corners + [(random.randint(a_low, -a_low - 1), random.randint(b_low, -b_low - 1)) for _ in range(2000)]
    await reset(dut)
    expected = []
    for a, b in [*steps, *[(0, 0)] * p["latency"]]:
        dut.a.value, dut.b.value = a & ((1 << p["a_bits"]) - 1), b & ((1 << p["b_bits"]) - 1)
        expected.append(a * b)
        await RisingEdge(dut.clk)
        if len(expected) > p["latency"]:
            index = len(expected) - 1 - p["latency"]
            assert product(dut) == expected[index], f"step {index}: {steps[index]}"


@cocotb.test()
async def all_products(dut):
    """Every pair of int8 values."""
    latency, pairs = parameters()["latency"], list(itertools.product(range(-128, 128), repeat=2))
    await reset(dut)
    for index in range(len(pairs) + latency):
        if index < len(pairs):
            dut.a.value, dut.b.value = pairs[index][0] & 0xFF, pairs[index][1] & 0xFF
        await RisingEdge(dut.clk)
        if index >= latency:
            a, b = pairs[index - latency]
            assert product(dut) == a * b


@cocotb.test()
async def accumulates(dut):
    """The contract of :class:`PeSignature`, seen from outside: hops of one cycle, the sum ``latency`` cycles after its
    beat."""
    latency, bits = parameters()["latency"], parameters()["sum_bits"]
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


@pytest.mark.parametrize(
    ("a_bits", "b_bits", "technology"),
    [
        (17, 17, None),
        (18, 5, None),
        (18, 18, "ecp5"),
        (8, 8, "ecp5"),
        (18, 17, "gowin"),
        (9, 8, "gowin"),
        (16, 16, "up5k"),
        (8, 8, "up5k"),
        (17, 16, "up5k"),
        pytest.param(2, 2, None, marks=pytest.mark.prove),
    ],
)
def test_multiply(a_bits, b_bits, technology):
    multiply = Multiply(a_bits=a_bits, b_bits=b_bits)
    run(
        multiply,
        __file__,
        tests=["products"],
        technology=technology,
        a_bits=a_bits,
        b_bits=b_bits,
        latency=Multiply.LATENCY,
    )


@pytest.mark.parametrize("component", [Multiply(a_bits=8, b_bits=8), LogicMultiply()], ids=["multiplier", "logic"])
def test_int8(component):
    run(component, __file__, tests=["products", "all_products"], a_bits=8, b_bits=8, latency=component.LATENCY)


@pytest.mark.parametrize("b_bits", [8, 5, 9, pytest.param(2, marks=pytest.mark.prove)])
def test_logic_of_carry_cells(b_bits):
    """As it is built where the technology's cells are placed by hand."""
    component = LogicMultiply(b_bits=b_bits)
    tests = ["products", "all_products"] if b_bits == 8 else ["products"]
    run(component, __file__, tests=tests, technology="ecp5", a_bits=8, b_bits=b_bits, latency=component.LATENCY)


@pytest.mark.parametrize(
    ("multiplier", "technology", "weight_bits"),
    [(True, None, 8), (False, None, 8), (True, "up5k", 8), (True, "ecp5", 9), (False, "ecp5", 9), (True, "up5k", 9)],
)
def test_mac(multiplier, technology, weight_bits):
    mac = Mac(sum_bits=20, multiplier=multiplier, weight_bits=weight_bits)
    sizes = {"sum_bits": 20, "weight_bits": weight_bits, "latency": Mac.LATENCY[multiplier]}
    run(mac, __file__, tests=["accumulates"], technology=technology, **sizes)


@cocotb.test()
async def adds(dut):
    """A product and an addend: corners of both, sums past the end."""
    p = parameters()
    bits, latency = p["sum_bits"], p["latency"]
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


@pytest.mark.parametrize(("bits", "sum_bits", "technology"), [(16, 32, None), (16, 32, "up5k"), (8, 18, "up5k")])
def test_multiply_add(bits, sum_bits, technology):
    component = MultiplyAdd(a_bits=bits, b_bits=bits, sum_bits=sum_bits)
    sizes = {"a_bits": bits, "b_bits": bits, "sum_bits": sum_bits}
    run(component, __file__, tests=["adds"], technology=technology, latency=MultiplyAdd.LATENCY, **sizes)


@pytest.mark.parametrize("bits", [0, 19])
def test_rejects(bits):
    with pytest.raises(ValueError, match=f"b_bits must be 1 to 18, not {bits}"):
        Multiply(a_bits=8, b_bits=bits)
