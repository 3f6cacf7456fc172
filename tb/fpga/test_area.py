"""The estimators of cells and clock, against the syntheses that they come from."""

import json
from dataclasses import replace

import pytest

from sateen.fpga.area import FILE, AreaUnknown, area, cells_by_group, error_of
from sateen.fpga.blocks import blocks
from sateen.fpga.boards import BOARDS
from sateen.fpga.parts import PARTS
from sateen.fpga.speed import speed
from sateen.hw.spec.config import parse_config

TABLE = json.loads(FILE.read_text())
POINTS = [pytest.param(point, id=f"{point['part']}-{point['config']}") for point in TABLE["points"]]
WITHIN = 0.1
"""Largest deviation of a fit from what it was fitted to."""


@pytest.mark.parametrize("point", POINTS)
def test_large_cells_are_exact(point):
    found = blocks(parse_config(point["config"]), PARTS[point["part"]])
    assert found.multipliers == point["multipliers"]
    assert found.block_rams == point["block_rams"]
    assert found.single_port_rams == point.get("single_port_rams", 0)


@pytest.mark.parametrize("point", POINTS)
def test_cells_are_near(point):
    found = area(parse_config(point["config"]), PARTS[point["part"]])
    for name in ("luts", "registers"):
        took = sum(counts[name] for counts in point["groups"].values())
        assert getattr(found, name) == pytest.approx(took, rel=WITHIN)


def test_errors_on_configurations_that_were_left_out():
    """The estimate that the search relies on is off by 10 % at most in the mean."""
    for key, error in TABLE["errors"].items():
        if error["points"] >= 4:
            assert error["luts"] <= 0.1 and error["registers"] <= 0.1, key
    assert error_of(parse_config("small"), PARTS["ecp5-85f"]).points >= 4


@pytest.mark.parametrize(
    "config, multipliers, block_rams",
    [
        ("small", 84, 64),
        ("large", 144, 208),
        ("small,weight_rows=2", 84, 62),
        ("tiny,multipliers=7", 4 + 8, 28),
        ("tiny,pe=packed", 8 + 8, 28),
        ("large,pe=packed,multipliers=144", 72 + 80, 208),
        ("tiny,pe=bitserial", 8, 28),
        ("small,positions=1024", 84, 80),
    ],
)
def test_rules_of_large_cells(config, multipliers, block_rams):
    found = blocks(parse_config(config), PARTS["ecp5-85f"])
    assert (found.multipliers, found.block_rams) == (multipliers, block_rams)


def test_more_takes_more():
    """Every size that grows lets the estimate grow or stay."""
    part, small = PARTS["ecp5-85f"], parse_config("small")
    base = area(small, part)
    for change in ({"rows": 12}, {"cols": 12}, {"lanes": 8}, {"scratchpad_bytes": 65536}, {"weight_bits": 9}):
        more = area(replace(small, **change), part)
        assert more.luts >= base.luts and more.registers >= base.registers, change


def test_what_was_not_measured_is_not_guessed():
    with pytest.raises(AreaUnknown, match="no synthesis of a pipelined engine on up5k"):
        area(parse_config("small"), PARTS["ice40-up5k"])
    assert speed(parse_config("small"), PARTS["ice40-up5k"], 5000) is None
    with pytest.raises(AreaUnknown, match="no synthesis of a configuration with products=1"):
        area(parse_config("small,products=1"), PARTS["ecp5-85f"])


@pytest.mark.parametrize("option", ["overlap=1", "window_skip=16", "residual=2"])
def test_options_are_those_of_the_points(option, monkeypatch):
    """They take more, and are unknown where no such configuration was synthesized."""
    part, plain = PARTS["ecp5-85f"], parse_config("small,rows=12")
    more = parse_config(f"small,rows=12,{option}")
    assert area(more, part).luts > area(plain, part).luts
    assert area(more, part).registers > area(plain, part).registers
    assert ("residual" in cells_by_group(more, part)) == (more.residual > 0)
    monkeypatch.setattr("sateen.fpga.area._table", lambda: {**TABLE, "options": {}})
    area(plain, part)
    with pytest.raises(AreaUnknown, match=f"no synthesis of a configuration with {option}"):
        area(more, part)


@pytest.mark.parametrize("name", ["ulx3s-85f", "versa-ecp5", "orangecrab-85f", "icebreaker", "ice40-hx8k"])
def test_clocks_of_the_boards(name):
    """The boards' own clocks are within what is expected of their configurations."""
    board = BOARDS[name]
    config = replace(board.parse(), sdram=None, link="uart")
    found = speed(config, board.part, area(config, board.part).luts)
    assert found.mhz >= board.run_hz / 1e6 and found.error < 0.15


def test_the_clock_falls_with_size():
    for part in (PARTS["ecp5-85f"], BOARDS["ecpix5-85f"].part):
        few, many = (speed(parse_config("small"), part, luts).mhz for luts in (10_000, 60_000))
        assert many < few
    # Term MACs limit the faster part.
    slow = speed(parse_config("small,pe=term,weight_bits=8"), part, 10_000)
    assert slow.mhz < few
