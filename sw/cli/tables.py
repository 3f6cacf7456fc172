"""Tables of text that never cut a name: what does not fit the width is left out or folded, column by column."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

from rich.cells import cell_len
from rich.style import Style
from rich.text import Text

from sateen.cli.printing import console, printable, width

__all__ = ["Column", "number", "print_table"]

GAP = 2


@dataclass(frozen=True)
class Column:
    """A column of a table."""

    heading: str
    right: bool = False
    """Numbers stand at the right."""
    rank: int = 0
    """0 for keys, which always stay. Of the others, the one with the highest rank goes first."""
    fold: bool = False
    """Its texts move to a line of their own below the row, instead of being left out."""


def number(heading: str, rank: int = 0) -> Column:
    """A column of numbers."""
    return Column(heading, right=True, rank=rank)


def print_table(
    columns: Sequence[Column], rows: Sequence[Sequence[str]], *, total: Sequence[str] | None = None, title: str = ""
) -> None:
    """Prints a table in the terminal's width; without a terminal, all of it.

    Parameters
    ----------
    rows
        A text for each column.
    total
        A last row, in bold; it may be shorter than the others.
    title
        A line above.
    """
    filled = [[printable(text) for text in row] for row in rows]
    if total is not None:
        filled.append([*total, *[""] * (len(columns) - len(total))])
    widths = [
        max(cell_len(text) for text in (column.heading, *(row[place] for row in filled)))
        for place, column in enumerate(columns)
    ]
    shown = _fitting(columns, widths)
    if title:
        console.print(title)
    line = _formatter(columns, widths, shown)
    console.print(Text(line([column.heading for column in columns])), style="bold")
    for index, row in enumerate(filled):
        style = Style(bold=total is not None and index == len(filled) - 1)
        console.print(Text(line(row)), style=style)
        for place, column in enumerate(columns):
            if place not in shown and column.fold and row[place]:
                console.print(Text(f"  {column.heading}: {row[place]}"), style=style)
    left_out = [column.heading for place, column in enumerate(columns) if place not in shown and not column.fold]
    if left_out:
        console.print(f"(left out in this width: {', '.join(left_out)})", style="dim")


def _fitting(columns: Sequence[Column], widths: Sequence[int]) -> list[int]:
    """Places of the columns that fit the width side by side."""
    shown, room = list(range(len(columns))), width()
    while room is not None and sum(widths[place] + GAP for place in shown) - GAP > room:
        candidates = [place for place in shown if columns[place].rank]
        if not candidates:
            break
        shown.remove(max(candidates, key=lambda place: (columns[place].rank, place)))
    return shown


def _formatter(
    columns: Sequence[Column], widths: Sequence[int], shown: Sequence[int]
) -> Callable[[Sequence[str]], str]:
    def line(texts: Sequence[str]) -> str:
        cells = []
        for place in shown:
            space = " " * (widths[place] - cell_len(texts[place]))
            cells.append(space + texts[place] if columns[place].right else texts[place] + space)
        return (" " * GAP).join(cells).rstrip()

    return line
