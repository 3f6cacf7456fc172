"""A search as one self-contained page of HTML: latency against the share of the part, with a table of the front. Needs
the extra ``explore``."""

from __future__ import annotations

import html
from collections.abc import Mapping

import plotly.graph_objects as go

from sateen.explore.evaluate import Point
from sateen.explore.study import Search
from sateen.explore.target import Target

__all__ = ["page"]

HEAD = """<!doctype html>
<html lang="en">
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<title>{title}</title>
<style>
body {{ font: 16px/1.5 system-ui, sans-serif; margin: 0 auto; max-width: 72rem; padding: 1rem; color: #222; }}
table {{ border-collapse: collapse; display: block; overflow-x: auto; }}
th, td {{ padding: .3rem .7rem; text-align: right; border-bottom: 1px solid #ddd; white-space: nowrap; }}
th:last-child, td:last-child {{ text-align: left; font-family: ui-monospace, monospace; }}
</style>
<h1>{title}</h1>
<p>{text}</p>
"""


def page(search: Search, target: Target, weights: Mapping[str, float]) -> str:
    """The page of a search, of models with weights."""
    title = f"{', '.join(weights)} on {target.name}"
    serve = search.trials - sum(search.skipped.values())
    text = (
        f"{search.trials:,} configurations were looked at, of which {serve:,} serve and {len(search.front):,} are on "
        "the front. Latency is one inference of each model, as often as its weight says, by the cycle model and the "
        "bytes on the serial port; cells and clock are estimates."
    )
    figure = go.Figure(layout=_layout())
    figure.add_trace(_trace(search.front, "front", "lines+markers", "#1f6feb"))
    figure.add_trace(_trace([point for point in search.baseline if not point.problem], "by hand", "markers", "#d1690e"))
    chart = figure.to_html(full_html=False, include_plotlyjs=True, config={"responsive": True})
    head = HEAD.format(title=html.escape(title), text=html.escape(text))
    return head + chart + _table(search.front, weights) + "</html>\n"


def _layout() -> go.Layout:
    return go.Layout(
        template="plotly_white",
        xaxis={"title": "largest share of a resource", "tickformat": ".0%", "rangemode": "tozero"},
        yaxis={"title": "latency, ms", "type": "log"},
        hoverlabel={"align": "left"},
        margin={"l": 60, "r": 20, "t": 20, "b": 50},
    )


def _trace(points: list[Point], name: str, mode: str, colour: str) -> go.Scatter:
    return go.Scatter(
        x=[point.fill for point in points],
        y=[point.latency_ms for point in points],
        mode=mode,
        name=name,
        line={"color": colour, "shape": "hv"},
        marker={"color": colour, "size": 9, "symbol": "circle" if "lines" in mode else "diamond"},
        text=[_hover(point) for point in points],
        hovertemplate="%{text}<extra></extra>",
    )


def _hover(point: Point) -> str:
    cells = ", ".join(f"{name.replace('_', ' ')} {point.cells[name]:,} ({share:.0%})"
                      for name, share in point.shares.items())  # fmt: skip
    times = "<br>".join(
        f"{html.escape(each.model)}: {each.cycles:,} cycles, {each.compute_ms:.3g} ms + {each.link_ms:.3g} ms of port"
        for each in point.models
    )
    return f"{html.escape(point.config)}<br>{point.latency_ms:.4g} ms at {point.clock_mhz:g} MHz<br>{cells}<br>{times}"


def _table(points: list[Point], weights: Mapping[str, float]) -> str:
    names = list(points[0].shares) if points else []
    heads = ["latency, ms", "array, ms", "MHz", *(name.replace("_", " ") for name in names), "configuration"]
    rows = [
        [
            f"{point.latency_ms:.4g}",
            f"{point.weighted('compute_ms', weights):.4g}",
            f"{point.clock_mhz:g}",
            *(f"{point.cells[name]:,}" for name in names),
            point.config,
        ]
        for point in points
    ]
    body = "".join(f"<tr>{''.join(f'<td>{html.escape(cell)}</td>' for cell in row)}</tr>\n" for row in rows)
    return f"<table><tr>{''.join(f'<th>{html.escape(head)}</th>' for head in heads)}</tr>\n{body}</table>\n"
