"""The tile: products of random and corner matrices, without bubbles, whatever the pauses; both kinds of multiplier."""

from __future__ import annotations

import itertools

import cocotb
import numpy as np
from cocotb.triggers import FallingEdge, RisingEdge
from cocotb.utils import get_sim_time

from sateen.hw.pe.shape import ArrayShape
from sateen.hw.spec.pe import (
    ACTIVATION_POINT_BIT,
    PE_KINDS,
    SELECTS_BIT,
    SKIP_BIT,
    ZERO_POINT_BIT,
    Encoding,
    Precision,
    TermBudget,
    sample_ages,
    select_bits,
    window,
)
from sateen.hw.tile import Tile
from sateen.sim.golden.terms import quantize_terms
from sateen.testing.bench import Bench
from sateen.testing.dut import parameters, reset
from sateen.testing.streams import send

POSITION_BITS = 6
FULL = Precision()
SINGLE_TERM = TermBudget(group=8, weight_terms=1, data_terms=2, encoding=Encoding.HESE)
BUSY: list[int] = []


def tile(*, rows=4, cols=4, pe="mac", weight_bits=8, multipliers=None, combine=1, weight_rows=1,
         weights_per_byte=1, activation_bits=8, window_rows=None,
         window_skip=0):  # fmt: skip
    shape = ArrayShape(
        rows=rows, cols=cols, pe=pe, weight_bits=weight_bits, multipliers=multipliers, combine=combine,
        weight_rows=weight_rows, weights_per_byte=weights_per_byte, activation_bits=activation_bits,
        window_rows=window_rows, window_skip=window_skip,
    )  # fmt: skip
    return Tile(shape, position_bits=POSITION_BITS)


def applicable(p, tests):
    """Windows slide over plain int8 products only."""
    slides = PE_KINDS[p["pe"]].sliding and p["weight_bits"] >= 8 and p["combine"] == 1
    if PE_KINDS[p["pe"]].columns > 1:
        slides = slides and p["multipliers"] is not None and p["multipliers"] <= (p["rows"] - 1) * p["cols"]
    return [name for name in tests if slides or name != "slides"]


def problem(rng, component, lengths, precision=FULL):
    """Matrices of weights and the beats of each: corners first."""
    low, high = -(1 << (precision.activation_bits - 1)), (1 << (precision.activation_bits - 1)) - 1
    depth = component.rows * component.kind.group
    wide = depth * component.shape.combine
    for index, length in enumerate(lengths):
        least, most = weight_range(rng, index)
        weights = rng.integers(least, most + 1, (depth, component.cols))
        x = rng.integers(low, high + 1, (length, wide))
        if index == 0:
            weights[:], x[:] = least, low
        elif index == 1:
            weights[:], x[:] = most, low
        yield weights, x


def weight_range(rng, index):
    """The least and the largest weight of a matrix: those of its bits, or with 9 bits, of int8 less some zero point.
    The first two matrices have the corners."""
    bits = parameters()["weight_bits"]
    if bits < 9:
        return -(1 << (bits - 1)), (1 << (bits - 1)) - 1
    zero_point = (127, -128, 0, -1)[index] if index < 4 else int(rng.integers(-128, 128))
    return -128 - zero_point, 127 - zero_point


def zero_point(weights):
    """One that makes codes of weights: any, but known from the weights; 0 for those of a narrow PE."""
    if parameters()["weight_bits"] < 9:
        return 0
    least, most = max(-128, -128 - int(weights.min())), min(127, 127 - int(weights.max()))
    return least + int(abs(weights.astype(np.int64).sum())) % (most - least + 1)


def activation_point(x):
    """What the tile subtracts from the bytes of beats: any int8, but known from them; those of one value get the
    farthest. 0 without products of two tensors."""
    if parameters()["activation_bits"] < 9:
        return 0
    if (x == x.flat[0]).all():
        return 127 if x.flat[0] < 0 else -128
    return int(abs(x.astype(np.int64).sum())) % 256 - 128


def selects(component, weights):
    """Which of a row's activations each weight belongs to: any, but known from the weights; of a matrix without selects
    the first."""
    chosen = (weights.astype(np.int64) * 7 + np.arange(weights.size).reshape(weights.shape)) % component.shape.combine
    return chosen if weights.flat[0] % 3 else np.zeros_like(chosen)


def loaded(component, weights, settings):
    """A matrix as it comes in, with its settings: with combined columns, rows after their selects if it has any."""
    point = zero_point(weights)
    rows, settings = list(weights + point), settings | (point & 0xFF) << ZERO_POINT_BIT
    if component.shape.combine > 1 and weights.flat[0] % 3:
        bits, chosen, rows, settings = (
            select_bits(component.shape.combine),
            selects(component, weights),
            [],
            settings | 1 << SELECTS_BIT,
        )
        for first in range(0, len(weights), 8 // bits):
            some = slice(first, first + 8 // bits)
            rows += [
                sum(select << bits * place for place, select in enumerate(chosen[some])).astype(np.int8),
                *(weights[some] + point),
            ]
    rows = np.array(rows)
    # Those of neighbouring rows share a byte, the first in its lowest bits.
    count = component.shape.weights_per_byte
    bits = 8 // count
    if count > 1:
        rows = sum((rows[place::count].astype(np.uint8) & (1 << bits) - 1) << bits * place for place in range(count))
        rows = rows.astype(np.uint8).view(np.int8)
    together = rows.reshape(-1, component.weight_rows // count * component.cols)
    return [{"word": [int(v) for v in words], "settings": settings} for words in together]


async def results(dut, component, count):
    """Collects the sums of ``count`` beats, each column a cycle later than the one before."""
    sums = [[] for _ in range(component.cols)]
    tags, valid = [], [0] * component.cols
    shape = component.o.payload.shape()
    while len(sums[-1]) < count:
        await RisingEdge(dut.clk)
        valid = [int(dut.o__valid.value), *valid[:-1]]
        if not any(valid):
            # Nothing comes in the cycles between.
            if not dut.o__valid.value:
                await RisingEdge(dut.o__valid)
            continue
        payload = shape.from_bits(int(dut.o__payload.value))
        if valid[0]:
            tags.append(payload.tag)
        for column in range(component.cols):
            if valid[column]:
                sums[column].append(payload.sums[column])
    return np.array(sums).T, tags


async def multiply(dut, component, work, *, precision=FULL, give=0.0, load=0.0):
    """Runs a list of (weights, beats); checks sums and tags; returns the cycles from the first busy one to the last."""
    settings = component.kind.settings(precision)
    beats = [
        {
            "data": [int(v) for v in row],
            "swap": index == 0,
            "settings": settings.beats | (activation_point(x) & 0xFF) << ACTIVATION_POINT_BIT,
            "tag": {
                "address": (place := next(counter)) % 2**POSITION_BITS,
                "first": place % 3 == 0,
                "last": place % 5 == 0,
                "keep": 1,
            },
        }
        for counter in [itertools.count()]
        for _, x in work
        for index, row in enumerate(x)
    ]
    words = [word for weights, _ in work for word in loaded(component, weights, settings.weights)]
    cocotb.start_soon(send(dut, "weights", words, layout=component.weights.payload.shape(), pause=load))
    collected = cocotb.start_soon(results(dut, component, len(beats)))
    busy = cocotb.start_soon(busy_cycles(dut))
    await send(dut, "i", beats, layout=component.i.payload.shape(), pause=give)
    sums, tags = await collected
    np.testing.assert_array_equal(
        sums, np.concatenate([product(component, x - activation_point(x), weights, precision) for weights, x in work])
    )
    for beat, tag in zip(beats, tags, strict=True):
        assert (tag.address, tag["first"], tag["last"]) == (
            beat["tag"]["address"],
            beat["tag"]["first"],
            beat["tag"]["last"],
        )
    busy.cancel()
    return BUSY[-1] - BUSY[0] + 1


async def busy_cycles(dut):
    """Notes the first cycle in which the PEs compute, and the last of each time without a pause."""
    BUSY.clear()
    while True:
        if not dut.busy.value:
            await RisingEdge(dut.busy)
        await RisingEdge(dut.clk)
        BUSY.append(round(get_sim_time("ns") / 10))
        await FallingEdge(dut.busy)
        BUSY.append(round(get_sim_time("ns") / 10))


def precisions(component):
    """Those that make a difference to the kind of PE."""
    budgets = [
        TermBudget(group=8, weight_terms=4, data_terms=1, encoding=Encoding.HESE),
        TermBudget(group=8, weight_terms=12, data_terms=2, encoding=Encoding.NAF),
        TermBudget(group=4, weight_terms=5, data_terms=3, encoding=Encoding.HESE),
        TermBudget(group=2, weight_terms=8, data_terms=5, encoding=Encoding.HESE),
        TermBudget(group=1, weight_terms=1, data_terms=1, encoding=Encoding.NAF),
        SINGLE_TERM,
    ]
    everything = [
        FULL,
        *(Precision(activation_bits=bits) for bits in (1, 4, 5)),
        *(Precision(terms=budget) for budget in budgets),
    ]
    return list({component.kind.settings(p): p for p in everything}.values())


def product(component, x, weights, precision):
    """What the tile computes: the plain product, of what terms a term PE keeps."""
    chosen = selects(component, weights)
    if component.kind.group > 1:
        budget = precision.terms
        weights = quantize_terms(weights.T, group=budget.group, terms=budget.weight_terms, encoding=budget.encoding).T
        x = quantize_terms(x[..., None], group=1, terms=budget.data_terms, encoding=budget.encoding)[..., 0]
    combine = component.shape.combine
    if combine == 1:
        return x @ weights
    side_by_side = x[:, [window(row, rows=len(weights), combine=combine) for row in range(len(weights))]]
    taken = np.take_along_axis(side_by_side[..., None], chosen[None, :, None, :], axis=2)[:, :, 0]
    return (taken * weights).sum(axis=1)


@cocotb.test()
@cocotb.parametrize(("give", [0.0, 0.4]), ("load", [0.0, 0.4]))
async def matches_matrix_product(dut, give, load):
    component, rng = tile(**parameters()), np.random.default_rng(cocotb.RANDOM_SEED)
    await reset(dut)
    for precision in precisions(component):
        lengths = [1, 1, 2, component.rows, component.rows + 3, 1, *rng.integers(1, 2 * component.rows + 2, 12)]
        work = list(problem(rng, component, lengths, precision))
        await multiply(dut, component, work, precision=precision, give=give, load=load)


@cocotb.test()
async def leaves_no_bubble(dut):
    component, rng = tile(**parameters()), np.random.default_rng(cocotb.RANDOM_SEED)
    await reset(dut)
    # Each matrix takes its beats, or the time of the next one's load if that is more.
    for precision in precisions(component):
        if precision.terms == SINGLE_TERM:
            continue  # Every second cycle of its beats is a pause.
        settings = component.kind.settings(precision)
        beat = component.kind.beat_cycles(settings)
        for length, selecting in itertools.product((1, component.rows, component.rows + 2), (False, True)):
            work = list(problem(rng, component, [length] * 8, precision))
            for weights, _ in work if component.shape.combine > 1 else ():
                # Towards zero, which all matrices may hold.
                while bool(weights.flat[0] % 3) != selecting:
                    weights.flat[0] += 1 if weights.flat[0] < 0 or weights.flat[0] == 0 < weights.max() else -1
            load = component.rows * component.kind.group
            if selecting and component.shape.combine > 1:
                load += -(-load // (8 // select_bits(component.shape.combine)))
            load = max(load, component.rows * component.kind.row_cycles(settings)) // component.weight_rows
            taken = await multiply(dut, component, work, precision=precision)
            assert taken == 7 * max(length * beat, load) + length * beat


@cocotb.test()
@cocotb.parametrize(("give", [0.0, 0.4]), ("load", [0.0, 0.4]))
async def slides(dut, give, load):
    """Columns as filters over the beats, in turn with plain products; sums that are not kept do not appear. Matrices
    that follow each other skip different numbers of beats."""
    component, rng = tile(**parameters()), np.random.default_rng(cocotb.RANDOM_SEED)
    await reset(dut)
    skips = [0, 1, component.shape.window_skip, *rng.integers(0, component.shape.window_skip + 1, 5)]
    # Over the last rows only, where the others share multipliers.
    still = next(each for each in range(component.rows) if component.array.slides(each))
    deepest = max(sample_ages(component.rows - still, component.shape.window_skip)) + 1
    history, slid, skip = np.zeros((deepest, component.cols), np.int64), 0, 0
    words, beats, expected = [], [], []
    for index, length in enumerate([1, 1, deepest, 2 * deepest, *rng.integers(1, 3 * deepest, 12)]):
        weights, x = (
            next(iter(problem(rng, component, [length])))
            if index < 4
            else (
                rng.integers(*weight_range(rng, index), (component.rows, component.cols), endpoint=True),
                rng.integers(-128, 128, (length, component.rows)),
            )
        )
        slide = bool(index % 3 != 1)
        if slide and component.shape.window_skip and skip != (skip := int(skips[index % len(skips)])):
            slid = 0
        words += loaded(component, weights, 0)
        for place, row in enumerate(x):
            # What the columns hold before they are filled may be anything.
            slid += slide
            ages = sample_ages(component.rows - still, skip)
            keep = bool(rng.random() < 0.7) and not (slide and slid <= ages[-1])
            beats.append(
                {
                    "data": [int(v) for v in row],
                    "swap": place == 0,
                    "slide": slide,
                    "settings": 8 | skip << SKIP_BIT,
                    "tag": {"keep": keep},
                }
            )
            sums = row @ weights
            if slide:
                samples = np.zeros(component.cols, np.int64)
                samples[: component.rows] = row[: component.cols]
                history = np.vstack([samples, history[:-1]])
                sums = row[:still] @ weights[:still]
                sums = sums + (history[ages] * weights[still:]).sum(axis=0)
            if keep:
                expected.append(sums)
    cocotb.start_soon(send(dut, "weights", words, layout=component.weights.payload.shape(), pause=load))
    collected = cocotb.start_soon(results(dut, component, len(expected)))
    await send(dut, "i", beats, layout=component.i.payload.shape(), pause=give)
    sums, _ = await collected
    np.testing.assert_array_equal(sums, np.array(expected))


BENCHES = [
    Bench(
        name="tile",
        title="products of matrices, without bubbles, on every kind of processing element",
        create=tile,
        applies=applicable,
    ),
]
