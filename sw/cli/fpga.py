"""``sateen boards`` and ``sateen flash``."""

from __future__ import annotations

import re
from pathlib import Path
from types import ModuleType
from typing import TYPE_CHECKING, Annotated

import typer
from rich.table import Table

from sateen.cli.bitstream import BOARD
from sateen.cli.output import console, status

if TYPE_CHECKING:
    from sateen.fpga.board import Board

__all__ = ["boards", "flash"]


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
