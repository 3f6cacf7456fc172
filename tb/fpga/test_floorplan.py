"""Where multipliers and block RAMs are put: column by column, floor by floor, each at a site of its own."""

import json
import re

import pytest

from sateen.fpga import floorplan
from sateen.fpga.floorplan import Site, plan_sites, sites
from sateen.fpga.flow import Resources, Technology, synthesize
from sateen.fpga.netlists import prepare, top_of
from sateen.fpga.parts import PARTS
from sateen.hw.export import ports
from sateen.hw.pipelined.weight_store import WeightStore
from sateen.hw.rtlil import converted
from sateen.hw.spec.config import parse_config
from sateen.hw.top import Accelerator

ECP5 = PARTS["ecp5-85f"]


def cells(**used):
    return Resources(**{"luts": 0, "registers": 0, "multipliers": 0, "block_rams": 0, **used})


@pytest.fixture
def netlist(tmp_path, monkeypatch):
    """Eight multipliers of PEs, four of lanes, five block RAMs; a part with two rows of eight and of three sites."""
    names = [(f"top.tile.pe_{row}_{column}.mult", "MULT18X18D") for row in range(2) for column in range(4)]
    names += [(f"top.postprocess.lane_{lane}.mult", "MULT18X18D") for lane in range(4)]
    names += [(f"top.scratchpad.bank_{bank}.ram", "DP16KD") for bank in range(2)]
    names += [(f"top.weight_store.memory.block_0.ram_{lane}", "DP16KD") for lane in range(2)] + [
        ("top.program.ram", "DP16KD"),
        ("top.x", "LUT4"),
    ]
    free = {"MULT18X18D": (8, 10, "MULT18"), "DP16KD": (3, 20, "EBR")}
    places = {
        kind: [Site(y, 4 * x, f"X{4 * x}/Y{y}/{name}") for y in (at, at + 8) for x in range(many)]
        for kind, (many, at, name) in free.items()
    }
    monkeypatch.setattr(floorplan, "sites", lambda part: places)
    file = tmp_path / "sateen.json"
    top = {
        "attributes": {"top": "1"},
        "ports": {},
        "cells": {name: {"type": kind, "connections": {}} for name, kind in names},
    }
    file.write_text(json.dumps({"modules": {"sateen": top}}))
    return file


def test_columns_stand_side_by_side(netlist):
    chosen = plan_sites(netlist, ECP5, cells(multipliers=150))
    assert len(set(chosen.values())) == 8 + 4 + 5
    # PEs first, then lanes, by halves; columns from left to right.
    assert [chosen[f"top.tile.pe_0_{column}.mult"] for column in range(4)] == [
        f"X{x}/Y10/MULT18" for x in (4, 12, 20, 28)
    ]
    assert [chosen[f"top.postprocess.lane_{lane}.mult"] for lane in range(4)] == [
        f"X{x}/Y18/MULT18" for x in (4, 12, 20, 28)
    ]
    above = {name for name, site in chosen.items() if "/Y20/" in site}
    assert above >= {f"top.weight_store.memory.block_0.ram_{lane}" for lane in range(2)}
    assert "top.program.ram" not in above


@pytest.mark.parametrize("weight_rows", [1, 2])
def test_weight_store_is_above_the_array(weight_rows):
    store = WeightStore(parse_config(f"small,weight_bytes=16384,weight_rows={weight_rows}"))
    text = converted(store, name="weight_store", ports=ports(store), platform=Technology("ecp5"))
    modules = re.split(r"^module \\", text, flags=re.MULTILINE)[1:]
    names = [
        f"{module.split()[0]}.{cell}" for module in modules for cell in re.findall(r"cell \\DP16KD \\(\S+)", module)
    ]
    blocks = floorplan._blocks(names)
    assert blocks and {block.floor for block in blocks} == {weight_rows - 1}
    assert len({block.column for block in blocks}) >= 4, "they should be spread over the width of the part"


def test_several_of_a_column_are_in_rows_of_their_own():
    names = [f"top.postprocess.lane_{lane}.{part}.mult" for lane in range(2) for part in "ab"]
    assert [block.cell for block in floorplan._blocks(names)] == [names[0], names[2], names[1], names[3]]


def test_netlist_says_where(netlist):
    chosen = plan_sites(netlist, ECP5, cells(block_rams=200))
    placed = json.loads(prepare(netlist.read_bytes(), chosen))["modules"]["sateen"]["cells"]
    assert {name: cell["attributes"]["BEL"] for name, cell in placed.items() if "attributes" in cell} == chosen


@pytest.mark.parametrize(
    ("part", "used"), [("ecp5-85f", {"multipliers": 100, "block_rams": 150}), ("ice40-hx8k", {"block_rams": 32})]
)
def test_nextpnr_chooses_where_there_is_room(netlist, part, used):
    assert plan_sites(netlist, PARTS[part], cells(**used)) == {}
    assert json.loads(prepare(netlist.read_bytes(), {})) == json.loads(netlist.read_bytes())


@pytest.mark.fpga
def test_sites_of_a_part():
    found = sites(ECP5)
    assert {kind: len(set(places)) for kind, places in found.items()} == {"MULT18X18D": 156, "DP16KD": 208}
    assert {kind: len({site.y for site in places}) for kind, places in found.items()} == {"MULT18X18D": 3, "DP16KD": 4}


@pytest.mark.fpga
def test_every_floor_has_cells():
    file, _ = synthesize(Accelerator(parse_config("small")), ECP5)
    top = top_of(json.loads(file.read_text()))
    names = [name for name, cell in top["cells"].items() if cell["type"] in floorplan.CELLS]
    for floor in floorplan.FLOORS[:1] + floorplan.FLOORS[2:]:
        assert any(re.search(floor, name) for name in names), floor
