"""The tile: products of random and corner matrices, without bubbles, whatever the pauses; both kinds of multiplier."""

import json

import pytest

from harness import run, run_netlist
from sateen.fpga.flow import synthesize
from sateen.fpga.netlists import top_of
from sateen.fpga.parts import PARTS
from sateen.hw.pe.shape import ArrayShape
from sateen.hw.tile import Tile
from sateen.testing.benches.tile import POSITION_BITS


@pytest.mark.parametrize(
    ("pe", "rows", "cols", "weight_bits", "multipliers"),
    [
        ("mac", 1, 1, 8, None), ("mac", 3, 5, 8, 7), ("mac", 8, 4, 8, 32), ("mac", 4, 3, 5, 6),
        pytest.param("mac", 16, 2, 8, 0, marks=pytest.mark.prove),
        ("mac", 5, 3, 8, 11), ("mac", 4, 3, 9, 6), ("mac", 16, 1, 9, 0), ("mac", 2, 1, 9, None),
        ("packed", 5, 4, 9, 12),
        pytest.param("packed", 4, 2, 8, None, marks=pytest.mark.prove),
        pytest.param("packed", 3, 6, 4, 6, marks=pytest.mark.prove),
        pytest.param("packed", 16, 2, 8, 18, marks=pytest.mark.prove),
        ("bitserial", 1, 1, 8, None), ("bitserial", 5, 3, 8, None), ("bitserial", 4, 2, 2, None),
        ("bitserial", 4, 2, 9, None), ("interleaved", 4, 2, 9, None),
        pytest.param("balanced", 4, 2, 9, None, marks=pytest.mark.prove),
        pytest.param("bitserial", 16, 2, 8, None, marks=pytest.mark.prove),
        ("balanced", 1, 1, 8, None), ("balanced", 5, 3, 8, None),
        pytest.param("balanced", 4, 2, 3, None, marks=pytest.mark.prove),
        ("interleaved", 1, 1, 8, None), ("interleaved", 5, 3, 8, None),
        pytest.param("interleaved", 4, 2, 4, None, marks=pytest.mark.prove),
        ("term", 1, 1, 8, None), pytest.param("term", 3, 2, 8, None, marks=pytest.mark.prove),
    ],
)  # fmt: skip
def test_tile(pe, rows, cols, weight_bits, multipliers):
    settings = {"pe": pe, "rows": rows, "cols": cols, "weight_bits": weight_bits, "multipliers": multipliers}
    run("tile", **settings)


@pytest.mark.parametrize(
    ("pe", "rows", "cols", "weight_rows", "weight_bits", "multipliers"),
    [
        ("mac", 4, 3, 2, 9, 6), ("mac", 16, 1, 4, 8, 8), ("mac", 4, 2, 4, 9, 0), ("mac", 6, 2, 3, 5, None),
        ("bitserial", 8, 2, 4, 9, None), pytest.param("packed", 8, 2, 4, 8, 8, marks=pytest.mark.prove),
    ],
)  # fmt: skip
def test_rows_loaded_at_once(pe, rows, cols, weight_rows, weight_bits, multipliers):
    settings = {"pe": pe, "rows": rows, "cols": cols, "weight_bits": weight_bits, "multipliers": multipliers}
    settings["weight_rows"] = weight_rows
    run("tile", **settings)


@pytest.mark.parametrize(
    ("pe", "rows", "weight_rows", "weight_bits", "per_byte"),
    [("mac", 4, 2, 4, 2), ("mac", 8, 4, 3, 2), ("mac", 8, 4, 2, 4), ("bitserial", 4, 2, 4, 2)],
)
def test_weights_that_share_a_byte(pe, rows, weight_rows, weight_bits, per_byte):
    settings = {"pe": pe, "rows": rows, "cols": 3, "weight_bits": weight_bits, "multipliers": 6}
    run("tile", weight_rows=weight_rows, weights_per_byte=per_byte, **settings)


@pytest.mark.parametrize(
    ("rows", "cols", "weight_rows", "multipliers", "window_rows"),
    [(12, 5, 4, 25, None), (2, 11, 1, 0, None), (11, 1, 1, None, None), (12, 7, 2, 0, 3)],
)
def test_delays_in_memories(rows, cols, weight_rows, multipliers, window_rows):
    """On an ECP5: of weights and samples on their way to far columns and from row to row, of all that enters far
    rows. Samples that enter below other rows wait longest, in a memory and registers."""
    settings = {"rows": rows, "cols": cols, "weight_rows": weight_rows, "multipliers": multipliers}
    settings["window_rows"] = window_rows
    run("tile", technology="ecp5", weight_bits=9, **settings)


@pytest.mark.parametrize(
    ("pe", "rows", "cols", "multipliers", "beats", "window_rows"),
    [
        ("mac", 9, 2, 10, 16, None), pytest.param("mac", 10, 3, None, 32, None, marks=pytest.mark.prove),
        pytest.param("packed", 11, 2, 4, 16, None, marks=pytest.mark.prove), ("mac", 12, 2, 8, 16, 9),
        pytest.param("packed", 11, 2, 4, 0, 4, marks=pytest.mark.prove), ("mac", 6, 2, 10, 0, 3),
    ],
)  # fmt: skip
def test_windows(pe, rows, cols, multipliers, beats, window_rows):
    """Some skip beats, some slide over the last rows only."""
    settings = {"pe": pe, "rows": rows, "cols": cols, "multipliers": multipliers, "window_rows": window_rows}
    run("tile", window_skip=beats, **settings)


@pytest.mark.parametrize("technology", [None, "ecp5"])
def test_zero_points_of_activations(technology):
    run("tile", technology=technology, rows=4, cols=3, weight_bits=9, activation_bits=9)


@pytest.mark.fpga
@pytest.mark.parametrize(
    ("settings", "multipliers"),
    [
        ({"pe": "mac", "rows": 4, "multipliers": 8}, 8),
        ({"pe": "packed", "rows": 4, "multipliers": 8}, 4),
        # With delays in memories.
        ({"pe": "mac", "rows": 8, "multipliers": 16, "weight_rows": 4}, 16),
    ],
)
def test_netlist(settings, multipliers):
    """What Yosys made of a tile for ECP5, half its rows of multipliers and half of LUTs, from the vendor's cells."""
    settings = {**settings, "cols": 4, "weight_bits": 9}
    netlist, cells = synthesize(Tile(ArrayShape(**settings), position_bits=POSITION_BITS), PARTS["ecp5-85f"])
    assert cells.multipliers == multipliers
    run_netlist(netlist, "tile", **settings)


def test_elements_keep_their_registers():
    """Synthesis does not make one register of those that hold the same in all elements of a diagonal."""
    tile = Tile(ArrayShape(rows=2, cols=3, multipliers=0), position_bits=POSITION_BITS)
    netlist, _ = synthesize(tile, PARTS["ecp5-85f"])
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
    run("tile", **settings)


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"rows": 0}, "rows must be 1 or more, not 0"),
        ({"cols": 0}, "cols must be 1 or more, not 0"),
        ({"pe": "abacus"}, "pe must be one of mac, packed, bitserial, balanced, interleaved, term, not 'abacus'"),
        ({"weight_bits": 1}, "weight_bits must be 2 to 9, not 1"),
        ({"pe": "term", "weight_bits": 4}, "weight_bits must be 8 with pe=term, not 4"),
        ({"multipliers": 7}, "multipliers must be 0 to 6 (rows × cols), not 7"),
        ({"combine": 17}, "combine must be 1 to 16, not 17"),
        ({"pe": "packed"}, "cols must be a multiple of 2 with pe=packed, not 3"),
        ({"pe": "packed", "cols": 2, "combine": 2}, "combine must be 1 with pe=packed, not 2"),
        ({"weight_rows": 3}, "weight_rows must be a divisor of rows (2), and 1 with combine or pe=term, not 3"),
        (
            {"weights_per_byte": 2, "weight_bits": 4},
            "weights_per_byte must be 1, or 2 or 4, a divisor of weight_rows (1), with at most 8 bits of weights in a "
            "byte, not 2",
        ),
        (
            {"weight_rows": 2, "combine": 2},
            "weight_rows must be a divisor of rows (2), and 1 with combine or pe=term, not 2",
        ),
        ({"window_rows": 3}, "window_rows must be 0 to 2 (rows), not 3"),
        (
            {"rows": 4, "window_rows": 2, "window_skip": 16},
            "window_skip must be 0 without combine=1 and 3 rows over which windows slide, not 16",
        ),
    ],
)
def test_rejects(settings, message):
    with pytest.raises(ValueError) as error:
        ArrayShape(**{"rows": 2, "cols": 3, **settings})
    assert str(error.value) == message
