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
    bitstream: Annotated[
        Path | None, typer.Argument(help="The file to load; by default, what sateen build --board wrote here.")
    ] = None,
    board: Annotated[str, typer.Option("--board", "-b", help=f"{BOARD} By default, the one on USB.")] = "",
    keep: Annotated[bool, typer.Option("--keep", help="Write to the memory that the board boots from.")] = False,
) -> None:
    """Finds the board on USB, asks its part where JTAG can, and loads a bitstream into it."""
    boards, builder = _modules()
    from sateen.fpga import flash as loader
    from sateen.fpga.usb import SYSTEM, attached

    if board:
        builder.find_board(board)
        loader.check(board, bitstream or Path(board + builder.SUFFIX[boards[board].part.family]))
    device = None
    # Other systems have no such list; the loader looks by itself.
    if SYSTEM.is_dir() or not board:
        board, device = loader.find(board, attached(), boards)
        console.print(f"found {boards[board].title}: {device}")
    place = boards[board]
    path = bitstream or Path(board + builder.SUFFIX[place.part.family])
    loader.check(board, path)
    with status(f"loading {path}"):
        if part := loader.detect(place):
            console.print(f"its part is {part}")
        loader.flash(place, board, path, persistent=keep)
    # Loading may have given the port another number.
    ports = [each.port(place) for each in attached() if device is not None and each.place == device.place]
    port = next(filter(None, ports), "/dev/ttyUSB0")
    console.print(f"{path} is loaded; run a model with: sateen run MODEL.sateen --input X.npy --device serial:{port}")


def _modules() -> tuple[dict[str, Board], ModuleType]:
    """Boards and builder. Neither needs Amaranth until it generates hardware."""
    from sateen.fpga import build as builder
    from sateen.fpga.boards import BOARDS

    return BOARDS, builder
