"""Where numbers become terms: the encoder on every number; the loader's and the feeder's terms, the definition's worked
cases first."""

from __future__ import annotations

import cocotb
import numpy as np
from amaranth.lib import data
from cocotb.triggers import Timer

from sateen.hw.pe.term_edges import TermEncoder, TermFeeder, TermLoader
from sateen.hw.spec.pe import PE_KINDS, TERM_GROUP, Encoding, Precision, TermBudget
from sateen.sim.golden.terms import encode, quantize_terms
from sateen.testing.bench import Bench
from sateen.testing.dut import reset
from sateen.testing.streams import receive, send

COLS, ROWS = 2, 2
TAG = data.StructLayout({"place": 8})
# Group by group: 64, 3, 14 in four terms become 64, 4, 14; 27 is 32 - 4 - 1, or 32 - 8 + 4 - 1; then the corners.
WORKED = [
    [64, 3, 14, 0, 0, 0, 0, 0],
    [27, -27, 5, 12, 1, 0, 0, 0],
    [-128] * 8,
    [127] * 8,
    [0] * 8,
    [-64, 64, 64, 3, 5, -1, 1, 0],
]
BUDGETS = [
    TermBudget(),
    TermBudget(group=8, weight_terms=4, data_terms=1, encoding=Encoding.HESE),
    TermBudget(group=8, weight_terms=9, data_terms=2, encoding=Encoding.NAF),
    TermBudget(group=4, weight_terms=5, data_terms=3, encoding=Encoding.HESE),
    TermBudget(group=1, weight_terms=1, data_terms=4, encoding=Encoding.NAF),
    TermBudget(group=8, weight_terms=1, data_terms=3, encoding=Encoding.HESE),
]


def settings(budget):
    return PE_KINDS["term"].settings(Precision(terms=budget))


def numbers(count):
    """The worked cases, then random ones."""
    rng = np.random.default_rng(cocotb.RANDOM_SEED)
    return np.concatenate([np.array(WORKED), rng.integers(-128, 128, (count - len(WORKED), TERM_GROUP))])


def encoder():
    return TermEncoder()


def loader():
    return TermLoader(cols=COLS)


def feeder():
    return TermFeeder(rows=ROWS, tag=TAG)


@cocotb.test()
async def encodes_every_number(dut):
    for encoding in (Encoding.HESE, Encoding.NAF):
        for value in range(-128, 128):
            dut.i.value, dut.naf.value = value & 0xFF, int(encoding == Encoding.NAF)
            await Timer(1, "ns")
            there, negative = int(dut.digits.value), int(dut.negative.value)
            digits = [(there >> e & 1) * (1 - 2 * (negative >> e & 1)) for e in range(8)]
            assert digits == encode([value], encoding)[0][:8].tolist(), value


@cocotb.test()
@cocotb.parametrize(("pause", [0.0, 0.4]))
async def loads_largest_terms(dut, pause):
    component = loader()
    await reset(dut)
    for budget in BUDGETS:
        rows = numbers(20 * COLS).reshape(-1, COLS, TERM_GROUP)
        words = [
            {"word": row[:, k].tolist(), "settings": settings(budget).weights}
            for row in rows
            for k in range(TERM_GROUP)
        ]
        sender = cocotb.start_soon(send(dut, "i", words,
                                        layout=component.i.payload.shape(), pause=pause))  # fmt: skip
        slots = TERM_GROUP // budget.group * budget.weight_terms
        answers = await receive(dut, "o", slots * len(rows), pause=pause, layout=component.o.payload.shape())
        await sender
        for place, row in enumerate(rows):
            given = answers[place * slots : (place + 1) * slots]
            assert [slot["slot"] for slot in given] == list(range(slots))
            assert [slot["last"] for slot in given] == [0] * (slots - 1) + [1]
            for column in range(COLS):
                kept = np.zeros(TERM_GROUP, np.int64)
                order = []
                for number, slot in enumerate(given):
                    term = slot["weights"][column]
                    if term["valid"]:
                        kept[term["index"]] += (-1 if term["negative"] else 1) << term["exponent"]
                        order.append((number // budget.weight_terms, -term["exponent"], term["index"]))
                expected = quantize_terms(
                    row[column], group=budget.group, terms=budget.weight_terms, encoding=budget.encoding
                )
                assert kept.tolist() == expected.tolist(), f"{row[column]} in {budget}"
                assert order == sorted(order), "largest first, of equal ones the lowest index"


@cocotb.test()
@cocotb.parametrize(("pause", [0.0, 0.4]))
async def feeds_largest_terms(dut, pause):
    component = feeder()
    await reset(dut)
    for budget in BUDGETS:
        beats = numbers(12 * ROWS).reshape(-1, ROWS * TERM_GROUP)
        items = [
            {
                "data": beat.tolist(),
                "swap": place % 3 == 0,
                "slide": 0,
                "settings": settings(budget).beats,
                "tag": {"place": place},
            }
            for place, beat in enumerate(beats)
        ]
        cocotb.start_soon(send(dut, "i", items, layout=component.i.payload.shape(), pause=pause))
        slots = TERM_GROUP // budget.group * budget.weight_terms
        waves = await receive(
            dut, "o", slots * budget.data_terms * len(beats), pause=pause, layout=component.o.payload.shape()
        )
        for place, beat in enumerate(beats):
            given = waves[place * slots * budget.data_terms :][: slots * budget.data_terms]
            assert [wave["first"] for wave in given] == [1] + [0] * (len(given) - 1)
            assert [wave["last"] for wave in given] == [0] * (len(given) - 1) + [1]
            assert [wave["swap"] for wave in given] == [int(place % 3 == 0)] + [0] * (len(given) - 1)
            assert all(wave["tag"]["place"] == place for wave in given)
            fed = np.zeros((ROWS, TERM_GROUP), np.int64)
            for number, wave in enumerate(given):
                for row in range(ROWS):
                    assert wave["activations"][row]["slot"] == number % slots
                    # A slice stays for all the slots.
                    for index, (term,) in enumerate(wave["activations"][row]["terms"]) if number % slots == 0 else ():
                        if term["valid"]:
                            fed[row, index] += (-1 if term["negative"] else 1) << term["exponent"]
            expected = quantize_terms(beat[:, None], group=1, terms=budget.data_terms, encoding=budget.encoding)[:, 0]
            assert fed.ravel().tolist() == expected.tolist()


BENCHES = [
    Bench(
        name="term-encoder",
        title="every number as signed powers of two",
        create=encoder, only=("encodes_every_number",),
    ),
    Bench(
        name="term-loader",
        title="the largest terms of groups of weights",
        create=loader, only=("loads_largest_terms",),
    ),
    Bench(
        name="term-feeder",
        title="the largest terms of activations, wave by wave",
        create=feeder, only=("feeds_largest_terms",),
    ),
]
