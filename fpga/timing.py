"""The critical path of a routed design, for people: which registers, and what is logic and what wire."""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Any

from sateen.fpga.floorplan import FLOORS
from sateen.fpga.record import EndEntry, PathEntry, StepEntry

__all__ = ["Path", "Register", "Step", "parse_path"]

CELL = r"_(?:TRELLIS_|SB_|DFF|LUT\d|CCU2C|ALU|PFUMX|L6MUX|MUX2|FD1|MULT)"
"""Where Yosys begins to name a cell by its kind, behind the name of a net."""
LOGIC = ("clk-to-q", "logic", "setup")


@dataclass(frozen=True)
class Step:
    """One step of a path."""

    kind: str
    """nextpnr's ``clk-to-q``, ``logic``, ``routing`` or ``setup``."""
    delay_ns: float
    source: str
    """The cell that it leaves."""
    target: str
    """The cell that it reaches, for all but ``routing`` the same."""
    places: tuple[tuple[int, int], tuple[int, int]]
    """Their columns and rows on the part."""

    def __str__(self) -> str:
        return f"{self.delay_ns:.2f} ns {self.kind} {self.source} → {self.target}"


@dataclass(frozen=True)
class Register:
    """An end of a path: a register, memory or multiplier."""

    module: str
    """Its module in the accelerator, as ``engine.tile.pe_3_5``; ``board`` for what lies outside."""
    signal: str
    """Its name there; empty if it has none."""
    row: int | None
    column: int | None
    """Where it belongs in the array, if it does."""

    def __str__(self) -> str:
        array = [f"{name} {value}" for name, value in (("row", self.row), ("column", self.column)) if value is not None]
        return ".".join(filter(None, (self.module, self.signal))) + (f" ({', '.join(array)})" if array else "")


@dataclass(frozen=True)
class Path:
    """The path that limits the clock; without steps if nothing does."""

    steps: tuple[Step, ...] = ()

    @property
    def start(self) -> Register:
        """The register that it begins at."""
        return register(self.steps[0].source if self.steps else "")

    @property
    def end(self) -> Register:
        """The register that it ends at."""
        return register(self.steps[-1].target if self.steps else "")

    @property
    def logic_ns(self) -> float:
        """Nanoseconds in cells."""
        return sum(step.delay_ns for step in self.steps if step.kind in LOGIC)

    @property
    def wires_ns(self) -> float:
        """Nanoseconds in wires."""
        return sum(step.delay_ns for step in self.steps if step.kind not in LOGIC)

    @property
    def cells(self) -> int:
        """Cells of logic between the registers."""
        return sum(step.kind == "logic" for step in self.steps)

    @property
    def wires(self) -> int:
        """Wires between cells that lie apart."""
        return sum(step.kind not in LOGIC and step.places[0] != step.places[1] for step in self.steps)

    def lines(self) -> list[str]:
        """The path in four lines."""
        if not self.steps:
            return []
        return [
            f"from   {self.start}",
            f"to     {self.end}",
            f"logic  {self.logic_ns:.1f} ns: the registers and {self.cells} cell{'s'[: self.cells != 1]} between them",
            f"wires  {self.wires_ns:.1f} ns: {self.wires} wire{'s'[: self.wires != 1]} between cells that lie apart",
        ]

    def record(self) -> PathEntry:
        """The path for the record of a build."""
        return PathEntry(
            start=str(self.start),
            end=str(self.end),
            logic_ns=round(self.logic_ns, 3),
            wires_ns=round(self.wires_ns, 3),
            steps=[
                StepEntry(
                    kind=step.kind,
                    delay_ns=round(step.delay_ns, 3),
                    source=EndEntry(cell=step.source, place=list(step.places[0])),
                    target=EndEntry(cell=step.target, place=list(step.places[1])),
                )
                for step in self.steps
            ],
        )


def parse_path(steps: list[dict[str, Any]]) -> Path:
    """A critical path of nextpnr's report."""
    return Path(
        tuple(
            Step(
                kind=step["type"],
                delay_ns=step["delay"],
                source=step["from"]["cell"],
                target=step["to"]["cell"],
                places=(_place(step["from"]), _place(step["to"])),
            )
            for step in steps
        )
    )


def _place(end: dict[str, Any]) -> tuple[int, int]:
    x, y = end["loc"]
    return x, y


def register(cell: str) -> Register:
    """The register that a cell is, by its name. Yosys names it after the net at its output: modules, signal, bit, and
    then kinds of cells."""
    name = re.split(CELL, re.sub(r"\.\d+_RAM$", "", cell.removeprefix("system.")), maxsplit=1)[0]
    inside = name.startswith("accelerator.")
    name = name.removeprefix("accelerator.")
    row = column = None
    for floor in FLOORS:
        if found := re.search(floor, name):
            groups = found.groupdict()
            row = int(groups["row"]) if groups.get("row") else None
            column = int(groups.get("first") or 0) + int(groups["column"])
            break
    if column is None and (found := re.search(r"\b(?:bank|lane|column|combiner)_(\d+)", name)):
        column = int(found[1])
    # Bits and numbers that keep names apart, and names that the generator made up, tell nothing.
    parts = [re.sub(r"\$\d*$|\[\d+\]$", "", part) for part in name.split(".")]
    parts = [part for part in parts if part and not part.isdigit() and not part.startswith("$")]
    named = len(parts) > 1 and not name.rpartition(".")[2].startswith("$")
    module, signal = (parts[:-1], parts[-1]) if named or not inside else (parts, "")
    return Register(".".join(module) if inside else "board", signal if inside else ".".join(parts), row, column)
