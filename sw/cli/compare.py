"""``sateen compare-pe``."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from sateen.cli.documents import Comparison, Tile
from sateen.cli.output import status
from sateen.cli.printing import JsonFile, console, write_document
from sateen.cli.tables import Column, number, print_table
from sateen.cli.work import SchedulerOption, spread
from sateen.errors import InputError, SateenError
from sateen.extras import install_hint
from sateen.files import atomic_write

__all__ = ["compare_pe"]

LARGEST = 64
KEPT = {"array": 0, "per 1000 LUTs": 1, "inferences/s": 2, "cycles": 3, "accuracy": 0, "fewer": 1}
"""Ranks of the columns that stay longest where the terminal is narrow."""
COMPARED = ("ecp5-85f", "ice40-hx8k")
"""Parts to compare on by default: one with hardware multipliers, one without."""


def compare_pe(
    array: Annotated[str, typer.Option(help="Rows and columns of the arrays of equal size.")] = "4x4",
    luts: Annotated[int, typer.Option(help="LUTs to fill with the arrays of equal area.", min=100)] = 6500,
    part: Annotated[list[str] | None, typer.Option(help="Parts to place on; by default an ECP5 and an iCE40.")] = None,
    jobs: Annotated[int, typer.Option(min=1, help="Kinds of PEs to measure at a time.")] = 1,
    scheduler: SchedulerOption = "",
    json: JsonFile = Path("compare-pe.json"),
    markdown: Annotated[Path, typer.Option("--markdown", help="File for the tables, for documents.")] = Path(
        "compare-pe.md"
    ),
) -> None:
    """Synthesizes, places and simulates tiles of every kind of processing element, with the digits network.

    Takes an hour or more the first time; results are cached.
    """
    from sateen.fpga.parts import PARTS
    from sateen.report.compare import accuracies, measure

    parts = part or list(COMPARED)
    for name in parts:
        if name not in PARTS:
            raise InputError(f"--part must be one of {', '.join(PARTS)}, not {name!r}")
    rows, cols = _array(array)
    graph, x, labels = _digits()
    with status("measuring") as tell, spread(scheduler, jobs, ["sateen.report.compare"]) as run:
        found = []
        for one in measure(graph, x, parts, rows=rows, cols=cols, luts=luts, progress=tell, spread=run):
            found.append(one)
            clock = "does not fit" if one.clock_mhz is None else f"{one.clock_mhz} MHz"
            console.print(
                f"{one.part}: {one.pe} {one.rows}×{one.cols}: {one.luts} LUTs, {clock}, {one.cycles:,} cycles"
            )
        tell("term budgets")
        budgets = list(accuracies(graph, x, labels, rows=rows, cols=cols))
    tables = []
    for name in parts:
        tables.append((f"{PARTS[name].title}", *_measurements([one for one in found if one.part == name])))
    tables.append((f"Term budgets, {rows}×{cols} term MACs, {len(labels)} digits", *_accuracies(budgets)))
    for title, headings, lines in tables:
        console.print()
        # The key, the array's size and the last two figures stay longest.
        columns = [Column(headings[0]), *(number(h, rank=KEPT.get(h, 9)) for h in headings[1:])]
        print_table(columns, lines, title=title)
    with atomic_write(markdown) as file:
        file.write("\n".join(_markdown(*table) for table in tables))
    speeds = [
        Tile(measured=one, inferences_per_second=one.inferences_per_second, per_thousand_luts=one.per_thousand_luts)
        for one in found
    ]
    write_document(json, Comparison(tiles=speeds, budgets=budgets))
    console.print(f"\nSaved as {markdown} and {json}.")


def _array(text: str) -> tuple[int, int]:
    sizes = text.split("x")
    if len(sizes) != 2 or not all(size.isdecimal() and 4 <= int(size) <= LARGEST for size in sizes):
        raise InputError(f"--array must be two numbers from 4 to {LARGEST}, as 4x4, not {text!r}")
    return int(sizes[0]), int(sizes[1])


def _digits():  # type: ignore[no-untyped-def]
    try:
        from sateen.digits import load_data, load_network

        train, _, images, labels = load_data()
    except ImportError as error:
        raise SateenError(f"the comparison needs scikit-learn's digits ({error}); {install_hint('demo')}") from error
    from sateen.quantize import quantize

    graph = quantize(load_network(), train)
    return graph, graph.tensors[graph.inputs[0]].quantize(images), labels


def _measurements(found):  # type: ignore[no-untyped-def]
    headings = ["PE", "array", "LUTs", "registers", "multipliers", "MHz", "cycles", "inferences/s", "per 1000 LUTs"]
    lines = [
        [
            one.pe,
            f"{one.rows}×{one.cols}",
            f"{one.luts:,}",
            f"{one.registers:,}",
            f"{one.multipliers}",
            _number(one.clock_mhz),
            f"{one.cycles:,}",
            _number(one.inferences_per_second),
            _number(one.per_thousand_luts),
        ]
        for one in found
    ]
    return headings, lines


def _number(value: float | None) -> str:
    return "does not fit" if value is None else f"{value:,.0f}"


def _accuracies(found):  # type: ignore[no-untyped-def]
    baseline = max(one.pairs for one in found)
    headings = ["budget", "accuracy", "term pairs", "fewer", "cycles"]
    lines = []
    for one in found:
        budget = one.budget
        name = "exact" if budget is None else f"g={budget.group} k={budget.weight_terms} s={budget.data_terms}"
        fewer = "" if budget is None else f"{baseline / one.pairs:.1f}×"
        lines.append([name, f"{one.accuracy:.1%}", f"{one.pairs:,}", fewer, f"{one.cycles:,}"])
    return headings, lines


def _markdown(title: str, headings: list[str], lines: list[list[str]]) -> str:
    rows = [headings, ["---", *["---:"] * (len(headings) - 1)], *lines]
    return "\n".join([f"{title}:", "", *(f"| {' | '.join(row)} |" for row in rows), ""])
