"""Cells and tables of Markdown, as the documentation has them."""

from __future__ import annotations

from collections.abc import Iterable

from results import Record

__all__ = ["NONE", "UNKNOWN", "named", "number", "share", "table"]

NONE = "–"
UNKNOWN = "\N{NO-BREAK SPACE}†"
"""Behind what names a figure of which the commit is not known."""


def table(heads: Iterable[str], rows: Iterable[Iterable[str]]) -> str:
    """Lines of Markdown. Heads that begin with ``>`` are those of numbers."""
    heads = list(heads)
    rule = "|".join("---:" if head.startswith(">") else "---" for head in heads)
    lines = [f"| {' | '.join(head.removeprefix('>') for head in heads)} |", f"|{rule}|"]
    lines += [f"| {' | '.join(row)} |" for row in rows]
    if any(f"{UNKNOWN} |" in line for line in lines):
        lines += ["", f"{UNKNOWN.strip()} Measured before commits were recorded."]
    return "\n".join(lines)


def number(value: float | None) -> str:
    return NONE if value is None else f"{value:,}"


def named(one: Record, text: str) -> str:
    """A row's first cell, which says whether it is known of what the row was measured."""
    return f"{text}{UNKNOWN}" if one["commit"] == "unknown" else text


def share(value: float | None, digits: int = 0) -> str:
    return NONE if value is None else f"{value:.{digits}%}"
