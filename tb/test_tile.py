"""The tile: products of random and corner matrices, without bubbles, whatever the pauses; both kinds of multiplier."""

import itertools

import cocotb
import numpy as np
import pytest
from cocotb.triggers import ClockCycles, RisingEdge
from cocotb.utils import get_sim_time

from harness import parameters, reset, run, send
from weft.hw.multiply import LogicMultiply, Multiply
from weft.hw.tile import Tile

POSITION_BITS = 6


def tile():
    p = parameters()
    return Tile(rows=p["rows"], cols=p["cols"], position_bits=POSITION_BITS, multipliers=p["multipliers"])


def problem(rng, component, lengths):
    """Matrices of weights and the beats of each: corners first."""
    depth = component.rows * component.kind.group
    for index, length in enumerate(lengths):
        weights = rng.integers(-128, 128, (depth, component.cols))
        x = rng.integers(-128, 128, (length, depth))
        if index == 0:
            weights[:], x[:] = -128, -128
        elif index == 1:
            weights[:], x[:] = 127, -128
        yield weights, x


async def results(dut, component, count):
    """Collects the sums of ``count`` beats, each column a cycle later than the one before."""
    sums = [[] for _ in range(component.cols)]
    tags, valid = [], [0] * component.cols
    shape = component.o.payload.shape()
    while len(sums[-1]) < count:
        await RisingEdge(dut.clk)
        payload = shape.from_bits(int(dut.o__payload.value))
        valid = [int(dut.o__valid.value), *valid[:-1]]
        if valid[0]:
            tags.append(payload.tag)
        for column in range(component.cols):
            if valid[column]:
                sums[column].append(payload.sums[column])
    return np.array(sums).T, tags


async def multiply(dut, component, work, *, give=0.0, load=0.0):
    """Runs a list of (weights, beats); checks sums and tags; gives the cycles from the first beat to the last."""
    beats = [
        {
            "data": [int(v) for v in row], "swap": index == 0,
            "tag": {"address": (place := next(counter)) % 2**POSITION_BITS, "first": place % 3 == 0, "last": place % 5 == 0},
        }
        for counter in [itertools.count()] for _, x in work for index, row in enumerate(x)
    ]  # fmt: skip
    words = [[int(v) for v in row] for weights, _ in work for row in weights]
    cocotb.start_soon(send(dut, "weights", words, layout=component.weights.payload.shape(), pause=load))
    collected = cocotb.start_soon(results(dut, component, len(beats)))
    begin = get_sim_time("ns")
    await send(dut, "i", beats, layout=component.i.payload.shape(), pause=give)
    taken = (get_sim_time("ns") - begin) / 10
    sums, tags = await collected
    np.testing.assert_array_equal(sums, np.concatenate([x @ weights for weights, x in work]))
    for beat, tag in zip(beats, tags, strict=True):
        assert (tag.address, tag["first"], tag["last"]) == (beat["tag"]["address"], beat["tag"]["first"], beat["tag"]["last"])
    return taken


@cocotb.test()
@cocotb.parametrize(("give", [0.0, 0.4]), ("load", [0.0, 0.4]))
async def matches_matrix_product(dut, give, load):
    component, rng = tile(), np.random.default_rng(cocotb.RANDOM_SEED)
    await reset(dut)
    lengths = [1, 1, 2, component.rows, component.rows + 3, 1, *rng.integers(1, 2 * component.rows + 2, 12)]
    await multiply(dut, component, list(problem(rng, component, lengths)), give=give, load=load)


@cocotb.test()
async def leaves_no_bubble(dut):
    component, rng = tile(), np.random.default_rng(cocotb.RANDOM_SEED)
    await reset(dut)
    # The first matrix must come in; then every matrix takes its beats, or `rows` cycles if those are more.
    for length in (1, component.rows, component.rows + 2):
        work = list(problem(rng, component, [length] * 8))
        taken = await multiply(dut, component, work)
        first_load = component.rows
        assert taken == first_load + 7 * max(length, component.rows) + length


@pytest.mark.parametrize(("rows", "cols", "multipliers"), [(1, 1, None), (3, 5, 7), (8, 4, 32), (16, 2, 0)])
def test_tile(rows, cols, multipliers):
    component = Tile(rows=rows, cols=cols, position_bits=POSITION_BITS, multipliers=multipliers)
    run(component, __file__, tests=["matches_matrix_product", "leaves_no_bubble"],
        rows=rows, cols=cols, multipliers=multipliers)  # fmt: skip


@cocotb.test()
async def all_products(dut):
    latency = parameters()["latency"]
    await reset(dut)
    dut.load.value = 1
    pairs = list(itertools.product(range(-128, 128), repeat=2))
    for index in range(len(pairs) + latency):
        if index < len(pairs):
            dut.a.value, dut.b.value = pairs[index][0] & 0xFF, pairs[index][1] & 0xFF
        await RisingEdge(dut.clk)
        if index >= latency:
            a, b = pairs[index - latency]
            assert dut.product.value.to_signed() == a * b
    # A factor that is not loaded stays.
    dut.load.value = 0
    dut.b.value = 5
    dut.a.value = 3
    await ClockCycles(dut.clk, latency + 1)
    assert dut.product.value.to_signed() == 3 * 127


@pytest.mark.parametrize("component", [Multiply(a_bits=8, b_bits=8), LogicMultiply()], ids=["multiplier", "logic"])
def test_multiply(component):
    run(component, __file__, tests=["all_products"], latency=component.LATENCY)


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"rows": 0}, "rows must be 1 or more, not 0"),
        ({"cols": 0}, "cols must be 1 or more, not 0"),
        ({"pe": "abacus"}, "pe must be one of mac, not 'abacus'"),
        ({"multipliers": 7}, "multipliers must be 0 to 6 (rows × cols), not 7"),
    ],
)
def test_rejects(settings, message):
    with pytest.raises(ValueError) as error:
        Tile(**{"rows": 2, "cols": 3, "position_bits": 4, **settings})
    assert str(error.value) == message


def test_multiply_rejects():
    with pytest.raises(ValueError, match="a_bits must be 1 to 18, not 19"):
        Multiply(a_bits=19, b_bits=8)
