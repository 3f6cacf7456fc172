"""Which module of the design each placed cell belongs to, and where it lies."""

from __future__ import annotations

import re
from collections import Counter
from dataclasses import dataclass
from typing import Any

from sateen.fpga.flow import Resources
from sateen.fpga.netlists import top_of
from sateen.fpga.parts import Part

__all__ = ["Cell", "Usage", "placed_cells"]

BOARD = "board"
"""The module of cells outside the accelerator: clock, reset, pins, heartbeat."""
TOOL = "(carry chains' ends)"
"""The module of cells that nextpnr adds by itself."""
PREFIX = "system.accelerator."


@dataclass(frozen=True)
class Cell:
    """One placed cell."""

    module: str
    """The module in the design, as ``engine.tile.pe_0_1``."""
    kind: str
    """The kind of cell, as nextpnr names it."""
    x: int
    y: int


@dataclass(frozen=True)
class Usage:
    """The cells of a placed design."""

    cells: tuple[Cell, ...]

    def modules(self, part: Part, *, depth: int = 2) -> dict[str, Resources]:
        """Cells per module, by names of at most ``depth`` levels. A cell that several modules share counts for one of
        them."""
        kinds = {kind: name for name, kind in part.used.items()}
        counts: dict[str, Counter[str]] = {}
        for cell in self.cells:
            if cell.kind in kinds:
                counts.setdefault(shorter(cell.module, depth), Counter())[kinds[cell.kind]] += 1
        empty = {"luts": 0, "registers": 0, "multipliers": 0, "block_rams": 0}
        return {name: Resources(**empty | counts[name]) for name in sorted(counts)}


def shorter(module: str, depth: int) -> str:
    """The first ``depth`` levels of a module's name."""
    return ".".join(module.split(".")[:depth])


def placed_cells(placed: dict[str, Any], netlist: dict[str, Any]) -> Usage:
    """The cells of a netlist that nextpnr wrote after placement. A cell's name begins with the name of a net, which
    begins with the name of a module. Yosys's netlist lists the modules."""
    scopes = {name for name, cell in top_of(netlist)["cells"].items() if cell["type"] == "$scopeinfo"}
    cells = []
    for name, cell in top_of(placed)["cells"].items():
        place = re.match(r"X(\d+)/Y(\d+)/", cell["attributes"].get("NEXTPNR_BEL", ""))
        if place:
            cells.append(Cell(_module(name, scopes), cell["type"], int(place[1]), int(place[2])))
    return Usage(tuple(cells))


def _module(cell: str, scopes: set[str]) -> str:
    """The innermost module whose name the cell's begins with."""
    if cell.startswith("$nextpnr"):
        return TOOL
    name = cell
    while name and name not in scopes:
        name = name.rpartition(".")[0]
    name = f"{name}."
    return (
        name.removeprefix(PREFIX)[:-1]
        if name.startswith(PREFIX) and name != PREFIX
        else "link"
        if name == PREFIX
        else BOARD
    )
