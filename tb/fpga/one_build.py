"""A build as tests have it, without synthesis and placement."""

from dataclasses import replace

from sateen.fpga.build import Build, Recipe
from sateen.fpga.flow import Report, Resources
from sateen.fpga.timing import parse_path
from sateen.fpga.usage import Cell, Usage
from sateen.hw.spec.config import PRESETS

MHZ = 1_000_000
TINY = PRESETS["tiny"]


def step(kind, delay, source, target=None, to=(3, 4)):
    """A step of nextpnr's report."""
    return {
        "type": kind, "delay": delay,
        "from": {"cell": source, "loc": [3, 4], "port": "Q"},
        "to": {"cell": target or source, "loc": list(to), "port": "A"},
    }  # fmt: skip


def made():
    """A build with two seeds, of which the second was the better."""
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
