"""A floorplan of multipliers and block RAMs, for designs that use nearly all of a part's.

A part has these cells in a few rows. nextpnr places them last, which scatters them where few sites are free: the wires
of ``large`` became twice as long as necessary, and it could not be routed. Here these cells are placed first, in the
shape of the array: column by column over the width of the part, from the weights at the top to the activations at the
bottom. nextpnr places everything else around them.
"""

from __future__ import annotations

import json
import re
from collections import Counter, defaultdict
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

from sateen.fpga.netlists import top_of
from sateen.fpga.parts import Part
from sateen.fpga.tools import cached, call, produce
from sateen.progress import report as tell

if TYPE_CHECKING:
    from sateen.fpga.flow import Resources

__all__ = ["plan_sites", "sites"]

FULL = 0.8
"""From this share of a part's multipliers or block RAMs on, they are placed here."""
FLOORS = (
    r"weight_store\.memory\.(?:lanes_(?P<first>\d+)\.)?block_(?P<row>\d+).*?ram_(?P<column>\d+)",
    r"weight_store\.memory\.lane_(?P<column>\d+)_chunk_\d+_block_(?P<row>\d+).*?ram_",
    r"tile\.pe_(?P<row>\d+)_(?P<column>\d+)",
    r"accumulators\.column_(?P<column>\d+)_half_(?P<row>\d+)",
    r"output\.combiner_(?P<column>\d+)",
    r"postprocess\.lane_(?P<column>\d+)",
    r"scratchpad\.bank_(?P<column>\d+)",
)
"""Modules by name, from top to bottom; all others lie below them. A device has one of the two weight stores."""
CELLS = ("MULT18X18D", "DP16KD")


class Site(NamedTuple):
    """A site for one cell."""

    y: int
    x: int
    name: str


class _Block(NamedTuple):
    """One cell, in the order in which sites are assigned, row by row."""

    floor: int
    row: int
    column: float
    """Position over the width of the part, 0 to 1."""
    cell: str


def plan_sites(netlist: Path, part: Part, cells: Resources) -> dict[str, str]:
    """Sites for multipliers and block RAMs, by the cell's name; none where nextpnr does as well alone.

    Parameters
    ----------
    netlist
        Yosys's netlist, in JSON.
    cells
        The cells of the netlist.
    """
    used = max(
        getattr(cells, name) / part.capacity[name] if part.capacity[name] else 0
        for name in ("multipliers", "block_rams")
    )
    if part.family != "ecp5" or used < FULL:
        return {}
    top = top_of(json.loads(netlist.read_text()))
    result: dict[str, str] = {}
    for kind, free in sites(part).items():
        blocks = _blocks([name for name, cell in top["cells"].items() if cell["type"] == kind])
        rows = defaultdict(list)
        for site in sorted(free):
            rows[site.y].append(site)
        # Every row of the part gets its share.
        for left, row in zip(range(len(rows), 0, -1), rows.values(), strict=True):
            count = -(-len(blocks) // left)
            here, blocks = sorted(blocks[:count], key=lambda block: (block.column, block)), blocks[count:]
            result |= {
                block.cell: row[place].name
                for place, block in zip(_places([b.column for b in here], len(row)), here, strict=True)
            }
    return result


def _places(columns: list[float], count: int) -> list[int]:
    """For each column, in order, one of ``count`` places in a row: the nearest that those before and after it leave."""
    places: list[int] = []
    for column in columns:
        places.append(max(int(column * count), places[-1] + 1 if places else 0))
    return [min(place, count - len(places) + index) for index, place in enumerate(places)]


def _blocks(names: list[str]) -> list[_Block]:
    """Cells in order of assignment. Several cells of one column get rows of their own."""
    found, many = [], Counter[tuple[int, int, int]]()
    for name in sorted(names):
        floor, match = next(
            ((floor, match) for floor, text in enumerate(FLOORS) if (match := re.search(text, name))),
            (len(FLOORS), None),
        )
        row, first, column = (
            int(match.groupdict().get(key) or 0) if match else 0 for key in ("row", "first", "column")
        )
        many[floor, row, first + column] += 1
        found.append((floor, row + many[floor, row, first + column] - 1, first + column, name))
    widths = {floor: 1 + max(column for at, _, column, _ in found if at == floor) for floor, *_ in found}
    return sorted(_Block(floor, row, (column + 0.5) / widths[floor], name) for floor, row, column, name in found)


def sites(part: Part) -> dict[str, list[Site]]:
    """Every site for a multiplier or a block RAM, found by letting nextpnr place a design that uses them all."""
    counts = dict(zip(CELLS, (part.capacity["multipliers"], part.capacity["block_rams"]), strict=True))
    pins = {"MULT18X18D": ".CLK0(clock), .A0(clock)", "DP16KD": ".CLKA(clock), .CLKB(clock)"}
    lines = [
        f"(* keep *) {kind} {kind}_{place} ({pins[kind]});" for kind, count in counts.items() for place in range(count)
    ]
    text = "\n".join(["module sateen(input clock);", *lines, "endmodule\n"])
    folder = cached(f"sites {part.arguments}\n{text}", f"yowasp-nextpnr-{part.router}")

    def make(work: Path) -> None:
        (work / "sites.v").write_text(text)
        tell("finding the part's sites, once")
        call("yosys", ["-q", "-p", f"read_verilog sites.v; {part.synthesis} -top sateen -json sites.json"], work)
        call(
            f"nextpnr-{part.router}",
            [*part.arguments, "--json", "sites.json", "--no-route", "--write", "placed.json", "-q"],
            work,
        )
        cells = top_of(json.loads((work / "placed.json").read_text()))["cells"].values()
        found = [(cell["type"], cell["attributes"]["NEXTPNR_BEL"]) for cell in cells if cell["type"] in CELLS]
        (work / "found.json").write_text(json.dumps(found))
        (work / "found.json").replace(folder / "sites.json")

    produce(folder, "sites.json", make)
    result: dict[str, list[Site]] = defaultdict(list)
    for kind, name in json.loads((folder / "sites.json").read_text()):
        x, y, _ = name.split("/")
        result[kind].append(Site(int(y[1:]), int(x[1:]), name))
    return result
