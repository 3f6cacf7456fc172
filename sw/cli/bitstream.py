"""``sateen build``."""

from __future__ import annotations

import json as json_module
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from sateen.cli.output import status
from sateen.cli.printing import JsonFile, console, write_json
from sateen.cli.tables import Column, number, print_table
from sateen.cli.work import SchedulerOption, spread
from sateen.errors import InputError, SateenError
from sateen.files import atomic_write, read_bytes

if TYPE_CHECKING:
    from sateen.fpga.build import Build, Recipe

__all__ = ["BOARD", "build"]

BOARD = "The board's name, as sateen boards lists it."


def build(
    board: Annotated[str | None, typer.Option("--board", "-b", help=BOARD)] = None,
    config: Annotated[str | None, typer.Option(help="PRESET[,field=value…]; by default the board's own.")] = None,
    output: Annotated[
        Path | None, typer.Option("--output", "-o", help="The bitstream's file; by default the board's name.")
    ] = None,
    seeds: Annotated[int, typer.Option(min=1, help="Placements to try; the best is kept.")] = 1,
    jobs: Annotated[int, typer.Option(min=1, help="Placements to run at a time.")] = 1,
    scheduler: SchedulerOption = "",
    again: Annotated[Path | None, typer.Option("--again", help="Record (.json) of a build to repeat.")] = None,
    html: Annotated[Path | None, typer.Option("--html", help="Write a page with the floorplan.")] = None,
    json: JsonFile = None,
) -> None:
    """Writes a bitstream for a board, and beside it a record of how it was made (.json)."""
    from sateen.fpga import build as builder
    from sateen.fpga.estimate import processor_seconds
    from sateen.fpga.tools import ClockMissed

    if (board is None) == (again is None):
        raise InputError("name a board with --board, or a build's record with --again")
    if again is not None:
        recipe = _recorded(again)
    else:
        place = builder.find_board(board or "")
        asked = place.parse(config or "")
        recipe = builder.Recipe(board=board or "", config=place.with_pll_clock(asked), seeds=tuple(range(1, seeds + 1)))
        error = recipe.config.clock_hz / asked.clock_hz - 1
        console.print(f"clock {recipe.config.clock_hz / 1e6:g} MHz from the PLL, {error:+.2%} off the requested one")
        port = f"serial port {recipe.config.baud:,} baud, {place.baud_error(recipe.config):+.2%} off the bridge's rate"
        speed = "full" if place.usb_phy is None else "high"
        links = {"usb": f"USB at {speed} speed", "ethernet": f"gigabit Ethernet, udp:{recipe.config.address}"}
        console.print(links.get(recipe.config.link, port))
    path = output or Path(recipe.board)
    _check(path, builder.SUFFIX[builder.find_board(recipe.board).part.family])
    least, most = (max(1, round(seconds / 60)) for seconds in processor_seconds(recipe.config))
    each = " for each seed" if len(recipe.seeds) > 1 else ""
    console.print(
        f"builds of this size take about {least} to {most} min of a processor{each}, most of it for placement and "
        "routing; what was built before is kept"
    )
    missed = None
    try:
        with status(f"building for {recipe.board}"), spread(scheduler, jobs if scheduler else 1) as run:
            result = builder.build(recipe, jobs=jobs, spread=run)
    except ClockMissed as error:
        # All that the build has found is there to look at; sateen flash refuses it.
        missed, result = error, error.build
    files = result.save(path)
    if html is not None:
        _write_page(html, result)
    if json is not None:
        write_json(json, result.document())
    _print(result)
    console.print(f"{files[0]}: {len(result.bitstream):,} bytes, build {recipe.identity}; its record is {files[1]}")
    if missed is not None:
        raise missed


def _check(path: Path, suffix: str) -> None:
    """Refuses, before an hour of work, a name that cannot be that of the bitstream."""
    from sateen.fpga.build import SUFFIX

    other = path.suffix in {*SUFFIX.values(), ".json"} - {suffix}
    if other:
        raise InputError(f"{path} cannot be the bitstream's name: this board's end with {suffix}")
    if not path.parent.is_dir():
        raise InputError(f"there is no folder {path.parent}; make it, or choose another with --output")


def _recorded(path: Path) -> Recipe:
    from sateen.fpga.build import Recipe

    try:
        recipe = Recipe.load(json_module.loads(read_bytes(path))["recipe"])
    except OSError as error:
        raise InputError(f"cannot read {path}: {error.strerror or error}") from error
    except (ValueError, KeyError, TypeError, RecursionError) as error:
        raise InputError(
            f"{path} is not the record of a build; sateen build writes one beside the bitstream"
        ) from error
    here = Recipe(board=recipe.board, config=recipe.config, seeds=recipe.seeds)
    versions = [(name, here.tools.get(name), there) for name, there in recipe.tools.items()]
    differ = [f"{name} is {ours} here, {theirs} there" for name, ours, theirs in versions if ours != theirs]
    if here.gateware != recipe.gateware:
        differ.append("the gateware's sources differ")
    if differ:
        raise SateenError(f"{path} cannot be repeated: {'; '.join(differ)}; install the versions that it was made with")
    return recipe


def _write_page(path: Path, result: Build) -> None:
    from sateen.fpga.page import page

    with atomic_write(path, "wb") as file:
        file.write(page(result).encode())


def _print(result: Build) -> None:
    """Prints cells per module and of the part, clock and critical path."""
    from sateen.fpga.build import MARGIN

    resources, capacity = result.report.resources, result.board.part.capacity
    columns = [Column("module"), *(number(name.replace("_", " "), rank=1) for name in capacity)]
    modules = result.usage.modules(result.board.part).items()
    rows = [[module, *(f"{getattr(cells, name):,}" for name in capacity)] for module, cells in modules]
    total = ["total", *(f"{getattr(resources, name):,} of {most:,}" for name, most in capacity.items())]
    print_table(columns, rows, total=total)
    report = result.report
    console.print(
        f"{report.clock_mhz} MHz reached with seed {report.seed}, {result.margin:+.0%} over {result.clock_mhz:g} MHz"
    )
    if result.margin < MARGIN:
        console.print(
            f"less than {MARGIN:.0%}, and the timing analysis is optimistic; try --seeds 4, or a lower clock_hz"
        )
    if report.path.steps:
        console.print(
            f"critical path, {report.path.logic_ns + report.path.wires_ns:.1f} ns; its cells are in the record:"
        )
    for line in report.path.lines():
        console.print(f"  {line}")
