"""``sateen boards`` and ``sateen flash``."""

from __future__ import annotations

from pathlib import Path
from types import ModuleType
from typing import TYPE_CHECKING, Annotated

import typer

from sateen.cli.bitstream import BOARD
from sateen.cli.documents import BoardEntry, Boards
from sateen.cli.output import status
from sateen.cli.printing import JsonFile, console, write_document
from sateen.cli.tables import Column, number, print_table

if TYPE_CHECKING:
    from sateen.fpga.board import Board

__all__ = ["boards", "flash"]


def boards(json: JsonFile = None) -> None:
    """Lists the boards, each with its default configuration."""
    found = [
        BoardEntry(
            name=name,
            title=board.title,
            part=board.part.title,
            capacity=board.part.capacity,
            config=board.config,
            clock_hz=board.run_hz,
            baud=board.baud,
            bridge=board.bridge.title,
        )
        for name, board in _modules()[0].items()
    ]
    write_document(json, Boards(boards=found))
    columns = [Column("board"), Column("part", rank=1), number("LUTs", 3), number("DSPs", 4), number("block RAMs", 5)]
    columns += [number("clock", 2), Column("serial port", rank=6), Column("default configuration", fold=True, rank=7)]
    rows = [
        [
            board.name,
            board.part,
            *(f"{board.capacity[resource]:,}" for resource in ("luts", "multipliers", "block_rams")),
            f"{board.clock_hz / 1e6:g} MHz",
            f"{board.baud / 1e6:g} Mbaud, {board.bridge}",
            board.config,
        ]
        for board in found
    ]
    print_table(columns, rows)


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
    name = loader.name_of(path, next(filter(None, ports), "/dev/ttyUSB0"))
    console.print(f"{path} is loaded; run a model with: sateen run MODEL.sateen --input X.npy --device {name}")


def _modules() -> tuple[dict[str, Board], ModuleType]:
    """Boards and builder. Neither needs Amaranth until it generates hardware."""
    from sateen.fpga import build as builder
    from sateen.fpga.boards import BOARDS

    return BOARDS, builder
