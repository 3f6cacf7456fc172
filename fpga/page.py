"""A build as one self-contained page of HTML: cells per module, clock, critical path, floorplan."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Callable, Iterable
from pathlib import Path

from jinja2 import Environment, FileSystemLoader, StrictUndefined
from markupsafe import Markup

from sateen.fpga.build import MARGIN, Build
from sateen.fpga.usage import Cell, shorter

__all__ = ["floorplan", "page"]

COLOURS = (
    "#4477aa",
    "#ee6677",
    "#228833",
    "#ccbb44",
    "#66ccee",
    "#aa3377",
    "#ee8866",
    "#44bb99",
    "#aaaa00",
    "#99ddff",
    "#ffaabb",
    "#77aadd",
)
"""Colours that the colour-blind can tell apart (Paul Tol's schemes). Modules beyond the twelve largest are grey."""
REST = "#bbbbbb"
SCALE = 7
"""Units of the drawing per tile of the part."""


def page(build: Build) -> str:
    """The page of a build."""
    environment = Environment(
        loader=FileSystemLoader(Path(__file__).parent),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.filters |= {
        "grouped": "{:,}".format,
        "percent": "{:+.0%}".format,
        "words": lambda name: name.replace("_", " "),
    }
    cells, part = build.usage.cells, build.board.part
    tile = [cell for cell in cells if cell.module.startswith("engine.tile.pe_")]
    return environment.get_template("page.html.j2").render(
        build=build,
        board=build.board,
        part=part,
        margin=MARGIN,
        modules=build.usage.modules(part),
        resources=list(part.capacity),
        used={name: getattr(build.report.resources, name) for name in part.capacity},
        plan=floorplan(cells, lambda cell: shorter(cell.module, 2), cells),
        rows=floorplan(tile, lambda cell: "row " + re.sub(r"engine\.tile\.pe_(\d+)_.*", r"\1", cell.module), cells),
    )


def floorplan(cells: Iterable[Cell], label: Callable[[Cell], str], area: Iterable[Cell]) -> Markup:
    """The places of cells, as SVG. Each tile of the part has the colour of the label that most of its cells have.

    Parameters
    ----------
    cells
        The cells to draw.
    label
        A cell's label, which its colour stands for.
    area
        Cells whose places set the size of the drawing.
    """
    places: dict[tuple[int, int], Counter[str]] = {}
    for cell in cells:
        places.setdefault((cell.x, cell.y), Counter())[label(cell)] += 1
    area = list(area)
    width, height = max(cell.x for cell in area) + 1, max(cell.y for cell in area) + 1
    totals = sum(places.values(), Counter())
    colours = {name: colour for (name, _), colour in zip(totals.most_common(), COLOURS, strict=False)}

    def fill(names: Counter[str]) -> str:
        return colours.get(names.most_common(1)[0][0], REST)

    drawn = [
        f'<rect x="{x * SCALE}" y="{y * SCALE}" width="{SCALE - 1}" height="{SCALE - 1}" fill="{fill(names)}">'
        f"<title>X{x} Y{y}: {', '.join(f'{name} {count}' for name, count in names.most_common())}</title></rect>"
        for (x, y), names in sorted(places.items())
    ]
    frame = f'<rect width="{width * SCALE}" height="{height * SCALE}" class="part"/>'
    keys = [*colours.items(), *([("others", REST)] if len(totals) > len(colours) else [])]
    legend = "".join(f'<li><i style="background:{colour}"></i>{name}</li>' for name, colour in sorted(keys))
    view = f"0 0 {width * SCALE} {height * SCALE}"
    picture = f'<svg viewBox="{view}" role="img" aria-label="floorplan">{frame}{"".join(drawn)}</svg>'
    return Markup(f'<figure>{picture}<ul class="key">{legend}</ul></figure>')
