"""The charts of a report, as SVG inside a page: text stays text, and colours are the page's."""

from __future__ import annotations

import io
import math
import re
import warnings
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import matplotlib
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.patches import Rectangle
from matplotlib.ticker import MaxNLocator, NullFormatter

from sateen.hw.spec.config import Config
from sateen.report.limits import CAUSES, ENOUGH, causes, limit
from sateen.runtime import LayerRecord, RunRecord

__all__ = ["Chart", "draw"]

COLOURS = {
    name: f"#c0105{number:x}" for number, name in enumerate(["ink", "faint", "paper", "box", "lost", "roof", *CAUSES])
}
"""A placeholder for each of the page's colours, replaced by ``var(--name)`` in the end."""

WIDTH, LINE = 3.8, 0.24
"""Width of a chart and height of one layer in it, in inches; text has one size on a phone and in columns."""
LABEL, CHARACTER = 16, 0.075
"""Most characters of a layer's name, and the width of one inside a drawing, in inches."""

STYLE: dict[Any, Any] = {
    "svg.fonttype": "none",
    "svg.hashsalt": "sateen",
    "text.parse_math": False,
    "font.size": 9,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.axisbelow": True,
    "axes.grid": True,
    "grid.color": COLOURS["faint"],
    "grid.linewidth": 0.6,
    "axes.edgecolor": COLOURS["faint"],
    "axes.facecolor": "none",
    "figure.facecolor": "none",
    "legend.frameon": False,
    "ytick.major.size": 0,
    "xtick.major.size": 0,
    "legend.handlelength": 1,
    "legend.columnspacing": 1.2,
    **{name: COLOURS["ink"] for name in ("text.color", "axes.labelcolor", "xtick.color", "ytick.color")},
}


@dataclass(frozen=True)
class Chart:
    """A drawing with its title and caption."""

    name: str
    title: str
    caption: str
    svg: str


def draw(run: RunRecord) -> list[Chart]:
    """All charts of a run; none if the host ran everything."""
    if not run.layers:
        return []
    config = Config.from_dict(run.config)
    width = f"{config.rows * config.combine} + {config.weight_rows * config.cols} bytes a cycle"
    zeros = " Combined columns skip zeros, which still count as MACs." if config.combine > 1 else ""
    with matplotlib.rc_context(STYLE):
        return [
            Chart(
                "cycles",
                "Cycles",
                "Cycles of one inference. Ideal: with every PE at work in every cycle.",
                clock_cycles(run),
            ),
            Chart(
                "utilization",
                "Utilization",
                "MACs ÷ (cycles × PEs). Layers below the line name their limit.",
                utilization(run, config),
            ),
            Chart(
                "causes",
                "Where the cycles went",
                "Stalls by the device's counters, and rows and columns that a layer's shape leaves unused.",
                where_cycles_went(run, config),
            ),
            Chart(
                "roofline",
                "Roofline",
                f"Layers by number. The roofs are the array's peak, and {width}, which scratchpad and weight store "
                f"give together.{zeros}",
                roofline(run, config),
            ),
            Chart(
                "memory",
                "Scratchpad in use",
                "Bytes at each step; the line is the scratchpad's size.",
                memory_used(run, config),
            ),
            Chart(
                "plan",
                "Memory plan",
                "Addresses of tensors, from the first step that needs them to the last.",
                memory_map(run),
            ),
        ]


def clock_cycles(run: RunRecord) -> str:
    """Each layer's cycles, and its cycles with every PE at work."""
    figure, axes = _layers([layer.name for layer in run.layers])
    places = range(len(run.layers))
    axes.barh(places, [layer.cycles for layer in run.layers], 0.7, color=COLOURS["lost"], label="cycles")
    axes.barh(places, [layer.ideal_cycles for layer in run.layers], 0.7, color=COLOURS["useful"], label="ideal")
    for place, layer in enumerate(run.layers):
        axes.annotate(
            f"{layer.cycles:,}", (layer.cycles, place), (3, 0), textcoords="offset points", va="center", fontsize=8
        )
    axes.margins(x=0.2)
    _whole_numbers(axes)
    return _svg(figure, legend=2)


def utilization(run: RunRecord, config: Config) -> str:
    """Each layer's share of the array's peak, and the limits of those below the line."""
    figure, axes = _layers([layer.name for layer in run.layers])
    for place, layer in enumerate(run.layers):
        found = limit(layer, config)
        axes.barh(place, layer.utilization, 0.7, color=COLOURS["lost" if found else "useful"])
        text = f"{layer.utilization:.0%}" + (f" {found.title}" if found else "")
        box = {"facecolor": COLOURS["box"], "edgecolor": "none", "pad": 1}
        axes.annotate(
            text, (layer.utilization, place), (4, 0), textcoords="offset points", va="center", fontsize=8, bbox=box
        )
    axes.axvline(ENOUGH, color=COLOURS["roof"], linewidth=1, linestyle="--", zorder=0)
    axes.set_xlim(0, 1.1)
    axes.set_xticks([0, 0.2, 0.4, 0.6, 0.8, 1], ["0", "20", "40", "60", "80", "100 %"])
    return _svg(figure)


def where_cycles_went(run: RunRecord, config: Config) -> str:
    """Each layer's cycles by cause, in percent."""
    figure, axes = _layers([layer.name for layer in run.layers])
    parts = [causes(layer, config) for layer in run.layers]
    shown = [name for name in CAUSES if any(part[name] for part in parts)]
    left = [0.0] * len(parts)
    for name in shown:
        widths = [100 * part[name] / max(1, layer.cycles) for part, layer in zip(parts, run.layers, strict=True)]
        axes.barh(range(len(parts)), widths, 0.7, left=left, color=COLOURS[name], label=CAUSES[name])
        left = [start + width for start, width in zip(left, widths, strict=True)]
    axes.set_xlim(0, 100)
    axes.set_xticks([0, 25, 50, 75, 100], ["0", "25", "50", "75", "100 %"])
    return _svg(figure, legend=3)


def memory_used(run: RunRecord, config: Config) -> str:
    """The scratchpad's bytes in use at each step."""
    figure, axes = _layers([step.name for step in run.steps])
    for place, step in enumerate(run.steps):
        axes.barh(place, step.memory_bytes, 0.7, color=COLOURS["useful"])
        text = f"{step.memory_bytes:,}" + (" (host)" if step.host else "")
        inside = step.memory_bytes > config.scratchpad_bytes / 2
        axes.annotate(
            text,
            (step.memory_bytes, place),
            (-3 if inside else 3, 0),
            textcoords="offset points",
            va="center",
            fontsize=8,
            ha="right" if inside else "left",
            color=COLOURS["paper" if inside else "ink"],
        )
    axes.axvline(config.scratchpad_bytes, color=COLOURS["roof"], linewidth=1.5)
    axes.set_xlim(0, 1.03 * config.scratchpad_bytes)
    _whole_numbers(axes)
    return _svg(figure)


def memory_map(run: RunRecord) -> str:
    """The memory plan: each tensor's addresses, from the first step that needs it to the last."""
    figure, axes = _layers([step.name for step in run.steps])
    for number, tensor in enumerate(run.tensors):
        # Even the smallest tensors are visible.
        x, width = tensor.address, max(tensor.bytes, run.scratchpad_bytes // 100)
        fill = COLOURS[("useful", "rows", "output", "weights")[number % 4]]
        corner, height = (x, tensor.first - 0.5), tensor.last - tensor.first + 1
        axes.add_patch(Rectangle(corner, width, height, facecolor=fill, edgecolor=COLOURS["box"], linewidth=0.6))
        room = int(0.65 * WIDTH * tensor.bytes / run.scratchpad_bytes / CHARACTER)
        if room >= 3:
            axes.text(
                x + width / 2,
                (tensor.first + tensor.last) / 2,
                _short(tensor.name, room),
                ha="center",
                va="center",
                fontsize=8,
                color=COLOURS["paper"],
            )
    axes.set_xlim(0, 1.01 * max(1, run.scratchpad_bytes))
    _whole_numbers(axes)
    return _svg(figure)


def roofline(run: RunRecord, config: Config) -> str:
    """MACs a cycle over MACs a byte to the tile. Layers are labelled by number; close ones share a label."""
    figure = Figure(figsize=(WIDTH, 3.2), layout="constrained")
    axes = figure.subplots()
    peak = config.rows * config.cols * config.group
    width = config.rows * config.combine + config.weight_rows * config.cols
    points = {number: _intensity(layer) for number, layer in enumerate(run.layers, 1) if layer.macs and layer.cycles}
    every = [x for x, _ in points.values()] + [peak / width]
    low, high = min(every) / 2, max(every) * 4
    axes.loglog([low, peak / width, high], [low * width, peak, peak], color=COLOURS["roof"], linewidth=1.5)
    axes.text(
        low,
        1.2 * low * width,
        f" {width} bytes a cycle",
        fontsize=8,
        va="bottom",
        rotation=math.degrees(math.atan(width)),
        rotation_mode="anchor",
        transform_rotates_text=True,
    )
    axes.annotate(f"{peak:,} MACs a cycle", (high, peak), (0, 4), textcoords="offset points", ha="right", fontsize=8)
    axes.scatter(
        [x for x, _ in points.values()], [y for _, y in points.values()], s=22, color=COLOURS["useful"], zorder=3
    )
    for numbers in _clusters(points):
        x, y = max(points[number][0] for number in numbers), min(points[number][1] for number in numbers)
        axes.annotate(", ".join(map(str, numbers)), (x, y), (4, -3), textcoords="offset points", va="top", fontsize=8)
    floor = min([y for _, y in points.values()] + [peak / 4]) / 3
    axes.set(
        xlim=(low, high),
        ylim=(floor, 2 * max([peak, *(y for _, y in points.values())])),
        xlabel="MACs a byte",
        ylabel="MACs a cycle",
    )
    for axis in (axes.xaxis, axes.yaxis):
        axis.set_major_formatter(lambda value, _: f"{value:g}")
        axis.set_minor_formatter(NullFormatter())
    axes.minorticks_off()
    return _svg(figure)


def _intensity(layer: LayerRecord) -> tuple[float, float]:
    return layer.macs / (layer.weight_bytes + layer.activation_bytes), layer.macs / layer.cycles


def _clusters(points: dict[int, tuple[float, float]]) -> list[list[int]]:
    """Groups of points whose labels would overlap."""
    clusters: list[list[int]] = []
    for number, (x, y) in points.items():
        for cluster in clusters:
            other = points[cluster[0]]
            if max(x, other[0]) < 1.4 * min(x, other[0]) and max(y, other[1]) < 1.4 * min(y, other[1]):
                cluster.append(number)
                break
        else:
            clusters.append([number])
    return clusters


def _layers(names: Sequence[str]) -> tuple[Figure, Axes]:
    """A drawing with one line a layer, the first at the top."""
    figure = Figure(figsize=(WIDTH, 0.5 + LINE * max(2, len(names))), layout="constrained")
    axes = figure.subplots()
    axes.set_ylim(len(names) - 0.5, -0.5)
    axes.set_yticks(range(len(names)), [_short(name, LABEL) for name in names])
    axes.grid(False, axis="y")
    return figure, axes


def _whole_numbers(axes: Axes) -> None:
    axes.xaxis.set_major_locator(MaxNLocator(4, integer=True))
    axes.xaxis.set_major_formatter(lambda value, _: f"{value:,.0f}")


def _short(name: str, most: int) -> str:
    """A name, shortened in the middle, because its end is often a number."""
    return name if len(name) <= most else f"{name[: most // 2]}…{name[len(name) - (most - 1) // 2 :]}"


def _svg(figure: Figure, *, legend: int = 0) -> str:
    """A drawing as an element of a page, with a legend of ``legend`` columns below it."""
    if legend:
        figure.set_figheight(
            figure.get_figheight() + 0.25 * -(-len(figure.axes[0].get_legend_handles_labels()[0]) // legend)
        )
        figure.legend(loc="outside lower center", ncols=legend)
    file = io.StringIO()
    with warnings.catch_warnings():
        # The browser has the letters that Matplotlib's font lacks.
        warnings.simplefilter("ignore", UserWarning)
        figure.savefig(file, format="svg", metadata=dict.fromkeys(("Creator", "Date", "Format", "Type")))
    text = file.getvalue()
    text = text[text.index("<svg") :]
    # Several drawings share a page, so their parts need no names, and the page sets their sizes.
    text = re.sub(r' id="[A-Za-z0-9.]+_\d+"', "", text)
    text = re.sub(r' (width|height)="[\d.]+pt"', "", text, count=2)
    for name, code in COLOURS.items():
        text = text.replace(code, f"var(--{name})")
    return text
