"""A tile with selects is the dense tile of the weights that its selects spread out."""

from __future__ import annotations

from functools import partial

import pytest
from amaranth.hdl import Array, Assert, Cat, Const, Cover, Module, Mux, Signal, signed

from prove import any_const, prove
from sateen.hw.pe.shape import ArrayShape
from sateen.hw.spec.pe import SELECTS_BIT, select_bits, window
from sateen.hw.tile import Tile

ROWS, COMBINE, MATRICES = 2, 2, 2
CYCLES = 22
"""In which both tiles give all of their sums."""


def equals_dense(m: Module, *, pe: str, cols: int, weight_bits: int, selects: bool = True) -> None:
    """Two matrices, each with a beat, all of them any: both tiles give the same sums, whenever they take and give them.

    ``selects``: the first matrix has them, the second has none.
    """
    numbers = {"cols": cols, "pe": pe, "weight_bits": weight_bits}
    m.submodules.dut = dut = Tile(ArrayShape(rows=ROWS, combine=COMBINE, **numbers), position_bits=1)
    m.submodules.dense = dense = Tile(ArrayShape(rows=ROWS * COMBINE, **numbers), position_bits=1)
    words, spread, beats = [], [], []
    for number in range(MATRICES):
        given = number == 0 if selects else True
        weights = [
            [any_const(m, signed(weight_bits), f"weight_{number}_{r}_{c}") for c in range(cols)] for r in range(ROWS)
        ]
        chosen = [
            [any_const(m, COMBINE.bit_length() - 1, f"select_{number}_{r}_{c}") for c in range(cols)]
            for r in range(ROWS)
        ]
        if given:
            words.append((1, [Cat(chosen[r][c] for r in range(ROWS)) for c in range(cols)]))
        words += [(given, line) for line in weights]
        for byte in range(ROWS * COMBINE):
            row, select = next(
                (r, s) for r in range(ROWS) for s in range(COMBINE) if window(r, rows=ROWS, combine=COMBINE)[s] == byte
            )
            takes = [chosen[row][c] == select if given else Const(select == 0) for c in range(cols)]
            spread.append((0, [Mux(takes[c], weights[row][c], 0) for c in range(cols)]))
        beats.append([any_const(m, signed(8), f"activation_{number}_{byte}") for byte in range(ROWS * COMBINE)])
    assert select_bits(COMBINE) == 1
    results = [
        _results(m, tile, given, beats, name)
        for tile, given, name in ((dut, words, "selects"), (dense, spread, "dense"))
    ]
    for column in range(cols):
        (count, sums), (dense_count, dense_sums) = (one[column] for one in results)
        for number in range(MATRICES):
            with m.If((count > number) & (dense_count > number)):
                m.d.comb += Assert(sums[number] == dense_sums[number])
    m.d.comb += Cover((results[0][-1][0] == MATRICES) & (results[1][-1][0] == MATRICES))


def _results(m: Module, tile: Tile, words: list, beats: list, name: str) -> list:
    """Gives a tile its words and beats; of each column, how many sums have come, and which."""
    word, beat = Signal(range(len(words) + 1), name=f"{name}_word"), Signal(range(MATRICES + 1), name=f"{name}_beat")
    flow = tile.weights.payload
    m.d.comb += [
        tile.weights.valid.eq(word < len(words)),
        flow.settings.eq(Array([Const(given, 1) for given, _ in words])[word] << SELECTS_BIT),
        *(flow.word[column].eq(Array([line[column] for _, line in words])[word]) for column in range(tile.cols)),
        tile.i.valid.eq(beat < MATRICES),
        tile.i.payload.swap.eq(1),
        tile.i.payload.settings.eq(8),
        tile.i.payload.tag.keep.eq(1),
        *(value.eq(Array([line[place] for line in beats])[beat]) for place, value in enumerate(tile.i.payload.data)),
    ]
    m.d.sync += [
        word.eq(word + (tile.weights.valid & tile.weights.ready)),
        beat.eq(beat + (tile.i.valid & tile.i.ready)),
    ]
    columns, valid = [], tile.o.valid
    for column in range(tile.cols):
        count = Signal(range(MATRICES + 2), name=f"{name}_count_{column}")
        sums = Array(Signal(signed(32), name=f"{name}_sum_{column}_{number}") for number in range(MATRICES))
        with m.If(valid):
            m.d.sync += [sums[count].eq(tile.o.payload.sums[column]), count.eq(count + 1)]
        columns.append((count, sums))
        # Each column a cycle after the one before.
        valid, before = Signal(name=f"{name}_valid_{column}"), valid
        m.d.sync += valid.eq(before)
    return columns


@pytest.mark.prove
@pytest.mark.parametrize("selects", [True, False], ids=["then dense", "both"])
def test_equals_dense(selects):
    prove(partial(equals_dense, pe="mac", cols=1, weight_bits=2, selects=selects), depth=CYCLES, cover=CYCLES)
