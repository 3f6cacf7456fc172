"""The tile: products of random and corner matrices, without bubbles, whatever the pauses; both kinds of multiplier."""

import itertools
import json

import cocotb
import numpy as np
import pytest
from cocotb.triggers import RisingEdge
from cocotb.utils import get_sim_time

from harness import parameters, reset, run, run_netlist, send
from sateen.fpga.flow import synthesize
from sateen.fpga.netlists import top_of
from sateen.fpga.parts import PARTS
from sateen.hw.spec.pe import (
    PE_KINDS,
    SELECTS_BIT,
    ZERO_POINT_BIT,
    Encoding,
    Precision,
    TermBudget,
    select_bits,
    window,
)
from sateen.hw.tile import Tile
from sateen.sim.golden.terms import quantize_terms

POSITION_BITS = 6
FULL = Precision()
SINGLE_TERM = TermBudget(group=8, weight_terms=1, data_terms=2, encoding=Encoding.HESE)
BUSY = []


def tile():
    p = parameters()
    return Tile(position_bits=POSITION_BITS, **p)


def problem(rng, component, lengths, precision=FULL):
    """Matrices of weights and the beats of each: corners first."""
    low, high = -(1 << (precision.activation_bits - 1)), (1 << (precision.activation_bits - 1)) - 1
    depth = component.rows * component.kind.group
    wide = depth * component.combine
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


def selects(component, weights):
    """Which of a row's activations each weight belongs to: any, but known from the weights; of a matrix without selects
    the first."""
    chosen = (weights.astype(np.int64) * 7 + np.arange(weights.size).reshape(weights.shape)) % component.combine
    return chosen if weights.flat[0] % 3 else np.zeros_like(chosen)


def loaded(component, weights, settings):
    """A matrix as it comes in, with its settings: with combined columns, rows after their selects if it has any."""
    point = zero_point(weights)
    rows, settings = list(weights + point), settings | (point & 0xFF) << ZERO_POINT_BIT
    if component.combine > 1 and weights.flat[0] % 3:
        bits, chosen, rows, settings = (
            select_bits(component.combine),
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
    together = np.array(rows).reshape(-1, component.weight_rows * component.cols)
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
            "settings": settings.beats,
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
        sums, np.concatenate([product(component, x, weights, precision) for weights, x in work])
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
    """Notes the cycles in which the PEs compute."""
    BUSY.clear()
    while True:
        await RisingEdge(dut.clk)
        if dut.busy.value:
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
    if component.combine == 1:
        return x @ weights
    side_by_side = x[:, [window(row, rows=len(weights), combine=component.combine) for row in range(len(weights))]]
    taken = np.take_along_axis(side_by_side[..., None], chosen[None, :, None, :], axis=2)[:, :, 0]
    return (taken * weights).sum(axis=1)


@cocotb.test()
@cocotb.parametrize(("give", [0.0, 0.4]), ("load", [0.0, 0.4]))
async def matches_matrix_product(dut, give, load):
    component, rng = tile(), np.random.default_rng(cocotb.RANDOM_SEED)
    await reset(dut)
    for precision in precisions(component):
        lengths = [1, 1, 2, component.rows, component.rows + 3, 1, *rng.integers(1, 2 * component.rows + 2, 12)]
        work = list(problem(rng, component, lengths, precision))
        await multiply(dut, component, work, precision=precision, give=give, load=load)


@cocotb.test()
async def leaves_no_bubble(dut):
    component, rng = tile(), np.random.default_rng(cocotb.RANDOM_SEED)
    await reset(dut)
    # Each matrix takes its beats, or the time of the next one's load if that is more.
    for precision in precisions(component):
        if precision.terms == SINGLE_TERM:
            continue  # Every second cycle of its beats is a pause.
        settings = component.kind.settings(precision)
        beat = component.kind.beat_cycles(settings)
        for length, selecting in itertools.product((1, component.rows, component.rows + 2), (False, True)):
            work = list(problem(rng, component, [length] * 8, precision))
            for weights, _ in work if component.combine > 1 else ():
                # Towards zero, which all matrices may hold.
                while bool(weights.flat[0] % 3) != selecting:
                    weights.flat[0] += 1 if weights.flat[0] < 0 or weights.flat[0] == 0 < weights.max() else -1
            load = component.rows * component.kind.group
            if selecting and component.combine > 1:
                load += -(-load // (8 // select_bits(component.combine)))
            load = max(load, component.rows * component.kind.row_cycles(settings)) // component.weight_rows
            taken = await multiply(dut, component, work, precision=precision)
            assert taken == 7 * max(length * beat, load) + length * beat


@cocotb.test()
@cocotb.parametrize(("give", [0.0, 0.4]), ("load", [0.0, 0.4]))
async def slides(dut, give, load):
    """Columns as filters over the beats, in turn with plain products; sums that are not kept do not appear."""
    component, rng = tile(), np.random.default_rng(cocotb.RANDOM_SEED)
    await reset(dut)
    history, slid = np.zeros((component.rows, component.cols), np.int64), 0
    words, beats, expected = [], [], []
    for index, length in enumerate(
        [1, 1, component.rows, 2 * component.rows, *rng.integers(1, 3 * component.rows, 12)]
    ):
        weights, x = (
            next(iter(problem(rng, component, [length])))
            if index < 4
            else (
                rng.integers(*weight_range(rng, index), (component.rows, component.cols), endpoint=True),
                rng.integers(-128, 128, (length, component.rows)),
            )
        )
        slide = bool(index % 3 != 1)
        words += loaded(component, weights, 0)
        for place, row in enumerate(x):
            # What the columns hold before they are filled may be anything.
            slid += slide
            keep = bool(rng.random() < 0.7) and not (slide and slid < component.rows)
            beats.append(
                {
                    "data": [int(v) for v in row],
                    "swap": place == 0,
                    "slide": slide,
                    "settings": 8,
                    "tag": {"keep": keep},
                }
            )
            sums = row @ weights
            if slide:
                samples = np.zeros(component.cols, np.int64)
                samples[: component.rows] = row[: component.cols]
                history = np.vstack([samples, history[:-1]])
                sums = (history * weights).sum(axis=0)
            if keep:
                expected.append(sums)
    cocotb.start_soon(send(dut, "weights", words, layout=component.weights.payload.shape(), pause=load))
    collected = cocotb.start_soon(results(dut, component, len(expected)))
    await send(dut, "i", beats, layout=component.i.payload.shape(), pause=give)
    sums, _ = await collected
    np.testing.assert_array_equal(sums, np.array(expected))


@pytest.mark.parametrize(
    ("pe", "rows", "cols", "weight_bits", "multipliers"),
    [
        ("mac", 1, 1, 8, None), ("mac", 3, 5, 8, 7), ("mac", 8, 4, 8, 32), ("mac", 16, 2, 8, 0), ("mac", 4, 3, 5, 6),
        ("mac", 5, 3, 8, 11), ("mac", 4, 3, 9, 6), ("mac", 16, 1, 9, 0), ("mac", 2, 1, 9, None),
        ("bitserial", 1, 1, 8, None), ("bitserial", 5, 3, 8, None), ("bitserial", 4, 2, 2, None),
        ("bitserial", 4, 2, 9, None), ("interleaved", 4, 2, 9, None),
        pytest.param("balanced", 4, 2, 9, None, marks=pytest.mark.prove),
        pytest.param("bitserial", 16, 2, 8, None, marks=pytest.mark.prove),
        ("balanced", 1, 1, 8, None), ("balanced", 5, 3, 8, None),
        pytest.param("balanced", 4, 2, 3, None, marks=pytest.mark.prove),
        ("interleaved", 1, 1, 8, None), ("interleaved", 5, 3, 8, None), ("interleaved", 4, 2, 4, None),
        ("term", 1, 1, 8, None), pytest.param("term", 3, 2, 8, None, marks=pytest.mark.prove),
    ],
)  # fmt: skip
def test_tile(pe, rows, cols, weight_bits, multipliers):
    settings = {"pe": pe, "rows": rows, "cols": cols, "weight_bits": weight_bits, "multipliers": multipliers}
    tests = [
        "matches_matrix_product",
        "leaves_no_bubble",
        *(["slides"] if PE_KINDS[pe].sliding and weight_bits >= 8 else []),
    ]
    run(Tile(position_bits=POSITION_BITS, **settings), __file__, tests=tests, **settings)


@pytest.mark.parametrize(
    ("pe", "rows", "cols", "weight_rows", "weight_bits", "multipliers"),
    [
        ("mac", 4, 3, 2, 9, 6), ("mac", 16, 1, 4, 8, 8), ("mac", 4, 2, 4, 9, 0), ("mac", 6, 2, 3, 5, None),
        ("bitserial", 8, 2, 4, 9, None),
    ],
)  # fmt: skip
def test_rows_loaded_at_once(pe, rows, cols, weight_rows, weight_bits, multipliers):
    settings = {"pe": pe, "rows": rows, "cols": cols, "weight_bits": weight_bits, "multipliers": multipliers}
    settings["weight_rows"] = weight_rows
    tests = ["matches_matrix_product", "leaves_no_bubble", *(["slides"] if pe == "mac" and weight_bits >= 8 else [])]
    run(Tile(position_bits=POSITION_BITS, **settings), __file__, tests=tests, **settings)


@pytest.mark.fpga
def test_netlist():
    """What Yosys made of a tile for ECP5, half its rows of multipliers and half of LUTs, from the vendor's cells."""
    settings = {"pe": "mac", "rows": 4, "cols": 4, "weight_bits": 9, "multipliers": 8}
    netlist, cells = synthesize(Tile(position_bits=POSITION_BITS, **settings), PARTS["ecp5-85f"])
    assert cells.multipliers == 8
    run_netlist(netlist, __file__, tests=["matches_matrix_product", "leaves_no_bubble", "slides"], **settings)


def test_elements_keep_their_registers():
    """Synthesis does not make one register of those that hold the same in all elements of a diagonal."""
    netlist, _ = synthesize(Tile(rows=2, cols=3, multipliers=0, position_bits=POSITION_BITS), PARTS["ecp5-85f"])
    nets = top_of(json.loads(netlist.read_text()))["netnames"]
    for name in ("slide", "swap"):
        names = {f"pe_{row}_{column}.{name}_o" for row in range(2) for column in range(2)}
        assert len({nets[net]["bits"][0] for net in names & nets.keys()}) == len(names)


@pytest.mark.parametrize(("pe", "combine", "weight_bits"), [
    ("mac", 2, 8), ("mac", 16, 8), ("bitserial", 4, 8), ("balanced", 3, 8), ("interleaved", 8, 8), ("term", 3, 8),
    ("mac", 3, 9),
])  # fmt: skip
def test_combined_columns(pe, combine, weight_bits):
    rows, cols = (2, 2) if pe == "term" else (3, 4)
    settings = {
        "pe": pe,
        "rows": rows,
        "cols": cols,
        "weight_bits": weight_bits,
        "combine": combine,
        "multipliers": 4 if combine == 2 else None,
    }
    run(
        Tile(position_bits=POSITION_BITS, **settings),
        __file__,
        tests=["matches_matrix_product", "leaves_no_bubble"],
        **settings,
    )


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"rows": 0}, "rows must be 1 or more, not 0"),
        ({"cols": 0}, "cols must be 1 or more, not 0"),
        ({"pe": "abacus"}, "pe must be one of mac, bitserial, balanced, interleaved, term, not 'abacus'"),
        ({"weight_bits": 1}, "weight_bits must be 2 to 9, not 1"),
        ({"pe": "term", "weight_bits": 4}, "weight_bits must be 8 with pe=term, not 4"),
        ({"multipliers": 7}, "multipliers must be 0 to 6 (rows × cols), not 7"),
        ({"combine": 17}, "combine must be 1 to 16, not 17"),
        ({"weight_rows": 3}, "weight_rows must be a divisor of rows (2), and 1 with combine or pe=term, not 3"),
        (
            {"weight_rows": 2, "combine": 2},
            "weight_rows must be a divisor of rows (2), and 1 with combine or pe=term, not 2",
        ),
    ],
)
def test_rejects(settings, message):
    with pytest.raises(ValueError) as error:
        Tile(**{"rows": 2, "cols": 3, "position_bits": 4, **settings})
    assert str(error.value) == message
