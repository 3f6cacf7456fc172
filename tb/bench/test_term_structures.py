"""Structures of processing elements that the benches compare: their arithmetic against plain integers, corners first,
and their cells of an ECP5 against what they are made of elsewhere."""

import itertools
import random

import pytest
from amaranth.sim import Simulator

import seeds
from carry_cells import BOTH, DIFFERENT, EITHER, KEPT, SIGNED, Chosen, GatedSum
from lean_elements import BitPlane, LeanMac, LogMac, PlaneFoot, Planes, TableSum, table
from sateen.fpga.flow import Technology
from sateen.fpga.tools import call
from sateen.hw.export import ports
from sateen.hw.pe.bitserial import Horner
from sateen.hw.rtlil import converted
from term_structures import Doubling, ExponentSums, TermDoubling, TermPlanes, TermShift, TermSorted

INT8 = [-128, -127, -1, 0, 1, 64, 127]


def drawn(name, count, low, high):
    draw = random.Random(f"{seeds.own()} {name}")
    return [draw.randrange(low, high) for _ in range(count)]


def simulate(component, bench):
    simulator = Simulator(component)
    simulator.add_clock(1e-6)
    simulator.add_testbench(bench)
    simulator.run()


async def capture(ctx, pe, weight, slot=0):
    """Gives a PE a weight, and then lets it be."""
    ctx.set(pe.weight_i, weight)
    ctx.set(pe.capture_i, {"valid": 1, "slot": slot})
    await ctx.tick()
    ctx.set(pe.capture_i, {"valid": 0, "slot": 0})


def products(pe, weights, activations, encode):
    """For each weight the sums of its products and a partial sum, which changes with each activation."""
    found = []

    async def bench(ctx):
        for weight in weights:
            await capture(ctx, pe, encode(weight))
            for place, activation in enumerate(activations):
                ctx.set(pe.activation_i, activation)
                ctx.set(pe.swap_i, int(place == 0))
                for _ in range(pe.latency - 1):
                    await ctx.tick()
                    ctx.set(pe.swap_i, 0)
                ctx.set(pe.sum_i, place - 3)
                await ctx.tick()
                found.append(ctx.get(pe.sum_o) - (place - 3))

    simulate(pe, bench)
    return found


@pytest.mark.parametrize(
    ("bits", "activation_bits"), [(2, 8), (3, 8), (4, 8), (5, 8), (6, 8), (7, 8), (8, 8), (4, 4), (2, 2)]
)
def test_lean_mac(bits, activation_bits):
    most, low = (1 << bits - 1) - 1, -1 << activation_bits - 1
    weights = sorted({-most, -1, 0, 1, most, *drawn("weights", 5, -most, most + 1)})
    activations = sorted({low, low + 1, -1, 0, 1, -low - 1, *drawn("activations", 5, low, -low)})
    got = products(
        LeanMac(bits, activation_bits), weights, activations,
        lambda weight: {"magnitude": abs(weight), "negative": int(weight < 0)},
    )  # fmt: skip
    assert got == [weight * activation for weight in weights for activation in activations]


def test_bit_plane():
    weights = [-128, -1, 0, 1, 127]
    assert products(BitPlane(8), weights, [1, 0, 1], int) == [w * x for w in weights for x in (1, 0, 1)]


def test_power_of_two():
    weights = [0, *(sign << e for e in range(8) for sign in (1, -1))]

    def encode(weight):
        if not weight:
            return {"exponent": 5, "negative": 1, "valid": 0}
        return {"exponent": abs(weight).bit_length() - 1, "negative": int(weight < 0), "valid": 1}

    assert products(LogMac(), weights, INT8, encode) == [w * x for w in weights for x in INT8]


def groups(size, weight):
    """Activations of whole groups."""
    corners = [[each] * size for each in (-128, 127, 0, -1)] + [[-128, 127] * (size // 2) + [0] * (size % 2)]
    some = drawn(f"group {weight}", 5 * size, -128, 128)
    return [*corners, *(some[low : low + size] for low in range(0, len(some), size))]


@pytest.mark.parametrize("bits", [2, 3, 4, 5, 8])
def test_table(bits):
    """Two tables one after the other, the second one written while the first is read."""
    most = (1 << bits - 1) - 1
    sets = [[-most] * 4, [most] * 4, [most, -most, 0, 1], drawn("weights", 4, -most, most + 1)]
    pe, feeder = TableSum(bits), Planes(4, folded=True)
    foot = PlaneFoot(partial_bits=len(pe.sum_o), sum_bits=22)

    async def one(ctx, activations, half, following):
        ctx.set(feeder.load, 1)
        for port, value in zip(feeder.i, activations, strict=True):
            ctx.set(port, value)
        await ctx.tick()
        ctx.set(feeder.load, 0)
        for plane in range(11):
            bits = ctx.get(feeder.o)
            ctx.set(pe.activation_i, bits & 7 | half << 3 | bits >> 3 << 4)
            if plane < 8:
                ctx.set(pe.weight_i, table(following)[plane])
            ctx.set(pe.capture_i, {"valid": int(plane < 8), "slot": plane % 8 | (1 - half) << 3})
            ctx.set(foot.i, ctx.get(pe.sum_o))
            ctx.set(foot.first, int(plane == 2))
            await ctx.tick()
        return ctx.get(foot.o) >> 1

    async def bench(ctx):
        ctx.set(pe.sum_i, 0)
        await one(ctx, [0] * 4, 1, sets[0])
        for place, weights in enumerate(sets):
            for activations in groups(4, place):
                got = await one(ctx, activations, place % 2, sets[(place + 1) % len(sets)])
                assert got == dot(weights, activations) + sum(weights) // 2, (weights, activations)

    simulate(together(pe, feeder, foot), bench)


def dot(weights, activations):
    return sum(w * x for w, x in zip(weights, activations, strict=True))


def together(*parts):
    from amaranth.hdl import Module

    m = Module()
    for place, part in enumerate(parts):
        m.submodules[f"part_{place}"] = part
    return m


def terms_of(size, count, exponents=None):
    """Random terms ``(index, exponent, negative)``, and the weights that they add up to."""
    values = drawn(f"terms {size} {count}", 3 * count, 0, 1 << 16)
    terms = [(values[3 * t] % size, values[3 * t + 1] % 8, values[3 * t + 2] % 2) for t in range(count)]
    if exponents is not None:
        terms = [(index, exponent, sign) for (index, _, sign), exponent in zip(terms, exponents, strict=True)]
    weights = [0] * size
    for index, exponent, negative in terms:
        weights[index] += (-1 if negative else 1) << exponent
    return terms, weights


EXTREMES = ([(0, 7, 1)] * 8, [-1024, *[0] * 7])


@pytest.mark.parametrize("slots", [8, 16])
def test_shifted_words(slots):
    pe, total = TermShift(slots), Doubling(partial_bits=19, sum_bits=22)
    terms, weights = EXTREMES if slots == 8 else terms_of(8, slots - 1)

    async def bench(ctx):
        for slot in range(slots):
            valid = slot < len(terms)
            index, exponent, negative = terms[slot] if valid else (3, 7, 1)
            term = {"index": index, "exponent": exponent, "negative": negative, "valid": int(valid)}
            await capture(ctx, pe, term, slot)
        for activations in groups(8, slots):
            got = await cycles(ctx, pe, total, slots, activations)
            assert got == dot(weights, activations), activations

    simulate(together(pe, total), bench)


async def cycles(ctx, pe, foot, slots, activations, doubles=None):
    """The foot's total after all slots; a number a cycle from the PE's latency on."""
    for cycle in range(slots + pe.latency):
        ctx.set(pe.activation_i, {"values": activations, "slot": min(cycle, slots - 1)})
        at = cycle - pe.latency
        ctx.set(foot.i, ctx.get(pe.sum_o))
        ctx.set(foot.last, int(at in (-1, slots - 1)))
        if doubles is not None and at >= 0:
            ctx.set(foot.double, doubles[at])
        await ctx.tick()
    return ctx.get(foot.o)


FALLING = [7, 6, 6, 5, 4, 3, 2, 1]


def test_sorted_terms():
    """The last term has exponent 1, and the fall to 0 is the last doubling."""
    pe, foot = TermSorted(8), Doubling(partial_bits=12, sum_bits=22)
    terms, weights = terms_of(7, 8, FALLING)
    index, _, negative = terms[3]
    weights[index] -= -32 if negative else 32
    terms[3] = (7, 5, 0)
    doubles = [0, *(a - b for a, b in itertools.pairwise(FALLING))]

    async def bench(ctx):
        for slot, (index, _, negative) in enumerate(terms):
            await capture(ctx, pe, {"index": index, "negative": negative}, slot)
        for activations in groups(7, 8):
            got = await cycles(ctx, pe, foot, 8, [*activations, 0], doubles)
            assert 2 * got == dot(weights, activations), activations

    simulate(together(pe, foot), bench)


def test_doubling_terms():
    pe = TermDoubling(8)
    terms, weights = terms_of(7, 8, FALLING)

    async def bench(ctx):
        for slot, (index, exponent, negative) in enumerate(terms):
            double = int(slot > 0 and exponent < FALLING[slot - 1])
            await capture(ctx, pe, {"index": index, "negative": negative, "double": double}, slot)
        for activations in groups(7, 8):
            for cycle in range(8 + 3):
                ctx.set(pe.activation_i, {"values": [*activations, 0], "slot": min(cycle, 7)})
                ctx.set(pe.sum_i, 1000)
                if cycle == 10:
                    break
                await ctx.tick()
            await ctx.tick()
            assert 2 * (ctx.get(pe.sum_o) - 1000) == dot(weights, activations), activations

    simulate(pe, bench)


@pytest.mark.parametrize("exponents", [4, 8])
def test_terms_of_bit_planes(exponents):
    pe, feeder = TermPlanes(exponents), Planes(8)
    foot = Horner(partial_bits=len(pe.sum_o), sum_bits=22)
    terms, weights = terms_of(8, exponents, range(exponents))
    terms[1] = (terms[1][0], 1, 2)
    weights = [0] * 8
    for index, exponent, negative in terms:
        weights[index] += (1, -1, 0)[negative] << exponent
    more = sum(1 << exponent for _, exponent, negative in terms if negative == 1)

    async def bench(ctx):
        for index, _, negative in terms:
            await capture(ctx, pe, {"index": index, "negative": int(negative == 1), "valid": int(negative != 2)})
        ctx.set(pe.swap_i, 1)
        await ctx.tick()
        ctx.set(pe.swap_i, 0)
        for activations in groups(8, exponents):
            ctx.set(feeder.load, 1)
            for port, value in zip(feeder.i, activations, strict=True):
                ctx.set(port, value)
            await ctx.tick()
            ctx.set(feeder.load, 0)
            for plane in range(8 + 3):
                ctx.set(pe.activation_i, ctx.get(feeder.o))
                ctx.set(foot.i, ctx.get(pe.sum_o))
                ctx.set(foot.first, int(plane == 3))
                await ctx.tick()
            assert ctx.get(foot.o) == dot(weights, activations) - more, activations

    simulate(together(pe, feeder, foot), bench)


def test_sums_by_exponent():
    pe = ExponentSums()
    some = [terms_of(8, 9), ([(0, 7, 1)] * 8, [-1024, *[0] * 7])]

    async def bench(ctx):
        for activations in groups(8, "sums"):
            wanted = 0
            for terms, weights in some:
                wanted += dot(weights, activations)
                for index, exponent, negative in terms:
                    ctx.set(pe.values_i, activations)
                    ctx.set(pe.term_i, {"index": index, "exponent": exponent, "negative": negative, "valid": 1})
                    await ctx.tick()
            ctx.set(pe.term_i, {"index": 0, "exponent": 0, "negative": 0, "valid": 0})
            await ctx.tick().repeat(2)
            got = 0
            for exponent in reversed(range(8)):
                ctx.set(pe.read, 1)
                ctx.set(pe.exponent, exponent)
                await ctx.tick()
                ctx.set(pe.read, 0)
                await ctx.tick()
                got = 2 * got + ctx.get(pe.sum_o)
            assert got == wanted, activations

    simulate(pe, bench)


@pytest.mark.parametrize(
    "make",
    [*(lambda gate=gate: GatedSum(5, gate) for gate in (BOTH, DIFFERENT, EITHER, KEPT, SIGNED)), lambda: Chosen(2, 8),
     lambda: Chosen(2, 4)],
)  # fmt: skip
def test_cells(make, tmp_path):
    """A solver finds no inputs for which the cells of an ECP5 and plain logic differ."""
    for name, platform in (("gold", None), ("gate", Technology("ecp5"))):
        part = make()
        (tmp_path / f"{name}.il").write_text(converted(part, name=name, ports=ports(part), platform=platform))
    script = (
        "read_verilog -DNO_INCLUDES +/lattice/common_sim.vh +/lattice/ccu2c_sim.vh",
        "read_rtlil gate.il", "hierarchy -top gate", "proc", "flatten", "read_rtlil gold.il", "proc",
        "miter -equiv -flatten gold gate both", "hierarchy -top both", "sat -verify -prove trigger 0 both",
    )  # fmt: skip
    (tmp_path / "prove.ys").write_text("\n".join(script))
    call("yosys", ["-q", "prove.ys"], tmp_path)
