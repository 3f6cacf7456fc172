"""``sateen boards``, ``sateen build`` and ``sateen flash``."""

from __future__ import annotations

import json as json_module
import re
from pathlib import Path
from types import ModuleType
from typing import TYPE_CHECKING, Annotated

import typer
from rich.table import Table

from sateen.cli.output import console, status
from sateen.errors import InputError, SateenError
from sateen.files import atomic_write

if TYPE_CHECKING:
    from sateen.fpga.board import Board
    from sateen.fpga.build import Build, Recipe

__all__ = ["boards", "build", "flash"]

BOARD = "The board's name, as sateen boards lists it."


def boards() -> None:
    """Lists the boards, each with its default configuration."""
    boards, _ = _modules()
    table = Table(box=None, pad_edge=False)
    for heading in ("board", "part", "LUTs", "DSPs", "block RAMs", "default configuration", "clock", "serial port"):
        table.add_column(heading, justify="right" if heading in ("LUTs", "DSPs", "block RAMs", "clock") else "left")
    for name, board in boards.items():
        capacity = board.part.capacity
        table.add_row(
            name,
            board.part.title,
            *(f"{capacity[resource]:,}" for resource in ("luts", "multipliers", "block_rams")),
            re.sub(",.*", ",…", board.config),
            f"{board.run_hz / 1e6:g} MHz",
            f"{board.baud / 1e6:g} Mbaud, {board.bridge.title}",
        )
    console.print(table)
    for name, board in boards.items():
        if "," in board.config:
            console.print(f"{name}: {board.config}", soft_wrap=True)


def build(
    board: Annotated[str | None, typer.Option("--board", "-b", help=BOARD)] = None,
    config: Annotated[str | None, typer.Option(help="PRESET[,field=value…]; by default the board's own.")] = None,
    output: Annotated[
        Path | None, typer.Option("--output", "-o", help="The files' name without suffix; by default the board's.")
    ] = None,
    seeds: Annotated[int, typer.Option(min=1, help="Placements to try; the best is kept.")] = 1,
    jobs: Annotated[int, typer.Option(min=1, help="Placements to run at a time.")] = 1,
    again: Annotated[Path | None, typer.Option("--again", help="Record (.json) of a build to repeat.")] = None,
    html: Annotated[Path | None, typer.Option("--html", help="Write a page with the floorplan.")] = None,
) -> None:
    """Writes a bitstream for a board, and beside it a record of how it was made (.json)."""
    known, builder = _modules()
    if (board is None) == (again is None):
        raise InputError("name a board with --board, or a build's record with --again")
    if again is not None:
        recipe = _recorded(again)
    else:
        place = builder.find_board(board)
        asked = place.parse(config or "")
        recipe = builder.Recipe(board=board, config=place.with_pll_clock(asked), seeds=tuple(range(1, seeds + 1)))
        error = recipe.config.clock_hz / asked.clock_hz - 1
        console.print(f"clock {recipe.config.clock_hz / 1e6:g} MHz from the PLL, {error:+.2%} off the requested one")
        console.print(
            f"serial port {recipe.config.baud:,} baud, {place.baud_error(recipe.config):+.2%} off the bridge's rate"
        )
    with status(f"building for {recipe.board} …") as tell:
        result = builder.build(recipe, jobs=jobs, tell=lambda step: tell(f"{step} …"))
    files = result.save(output or Path(recipe.board))
    if html is not None:
        _write_page(html, result)
    _print(result)
    console.print(f"{files[0]}: {len(result.bitstream):,} bytes, build {recipe.identity}; its record is {files[1]}")


def flash(
    board: Annotated[str, typer.Option("--board", "-b", help=BOARD)],
    bitstream: Annotated[
        Path | None, typer.Argument(help="The file to load; by default, what sateen build --board wrote here.")
    ] = None,
    keep: Annotated[bool, typer.Option("--keep", help="Write to the memory that the board boots from.")] = False,
) -> None:
    """Loads a bitstream into a board."""
    _, builder = _modules()
    from sateen.fpga.flash import flash as load

    place = builder.find_board(board)
    path = bitstream or Path(board + builder.SUFFIX[place.part.family])
    with status(f"loading {path} …"):
        load(place, board, path, persistent=keep)
    console.print(
        f"{path} is loaded; run a model with: sateen run MODEL.sateen --input X.npy --device serial:/dev/ttyUSB0",
    )


def _modules() -> tuple[dict[str, Board], ModuleType]:
    """Boards and builder. Neither needs Amaranth until it generates hardware."""
    from sateen.fpga import build as builder
    from sateen.fpga.boards import BOARDS

    return BOARDS, builder


def _recorded(path: Path) -> Recipe:
    from sateen.fpga.build import Recipe

    try:
        recipe = Recipe.load(json_module.loads(path.read_text())["recipe"])
    except OSError as error:
        raise InputError(f"cannot read {path}: {error.strerror or error}") from error
    except (ValueError, KeyError, TypeError) as error:
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
    table = Table(box=None, pad_edge=False)
    table.add_column("module")
    for name in capacity:
        table.add_column(name.replace("_", " "), justify="right")
    for module, cells in result.usage.modules(result.board.part).items():
        table.add_row(module, *(f"{getattr(cells, name):,}" for name in capacity))
    table.add_row(
        "total", *(f"{getattr(resources, name):,} of {most:,}" for name, most in capacity.items()), style="bold"
    )
    console.print(table)
    report = result.report
    console.print(
        f"{report.clock_mhz} MHz reached with seed {report.seed}, {result.margin:+.0%} over {result.clock_mhz:g} MHz"
    )
    if result.margin < MARGIN:
        console.print(
            f"less than {MARGIN:.0%}, and the timing analysis is optimistic; try --seeds 4, or a lower clock_hz"
        )
    for step in result.report.path:
        console.print(f"  {step}")
