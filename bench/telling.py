"""Tables of language models' figures."""

from __future__ import annotations

from collections.abc import Callable

import results
from results import Record
from tabular import NONE, number, share, table

__all__ = ["TABLES"]

SPEED = (">clock, MHz", ">placed, MHz", ">tokens/s")


def _language(part: str) -> list[Record]:
    return [one for one in results.of_kind("language") if one["part"] == part]


def _quality(one: Record) -> list[str]:
    return [f"{one['perplexity']:.3f}", share(one["agreement"], 1)]


def _speed(one: Record, configuration: str) -> list[str]:
    """The clock of the configuration, the one that its placement reached, and tokens/s at the lower one."""
    boards = [each for each in results.of_kind("board") if each["configuration"] == configuration]
    reached = max((max(each["reached_mhz"]) for each in boards), default=None)
    clock = min(one["clock_mhz"], reached or one["clock_mhz"])
    placed = NONE if reached is None else f"{reached:g}"
    return [f"{one['clock_mhz']:g}", placed, number(round(one["tokens_per_second"] * clock / one["clock_mhz"]))]


def quality() -> str:
    """Integers against real numbers."""
    rows = [[one["name"], *_quality(one)] for one in _language("quality")]
    return table(["numbers", ">perplexity", ">same choice"], rows)


def speed() -> str:
    """Products with weights by configuration."""
    rows = [
        [f"`{one['name']}`", number(one["cycles"]), *_speed(one, one["name"])] for one in _language("speed")
    ]
    return table(["configuration", ">cycles a token", *SPEED], rows)


def whole() -> str:
    """Whole decoders by configuration and position."""
    rows = [
        [f"`{one['configuration']}`", number(one["positions"]), number(one["cycles"]),
         *_speed(one, one["configuration"])]
        for one in _language("whole")
    ]  # fmt: skip
    return table(["configuration", ">tokens before and this one", ">cycles", *SPEED], rows)


def micro() -> str:
    """microGPT on a device."""
    rows = [
        [f"`{one['name']}`", number(one["cycles"]), number(one["predicted"]), *_speed(one, one["name"])]
        for one in _language("micro")
    ]
    return table(["configuration", ">cycles a token", ">by the cycle model", *SPEED], rows)


def memory() -> str:
    """Weights that come from SDRAM."""
    rows = [
        [f"`{one['name']}`", number(one["bytes"]), number(one["cycles"]), number(one["waited"]),
         *_speed(one, one["name"])]
        for one in _language("memory")
    ]  # fmt: skip
    heads = [">bytes from SDRAM", ">cycles a token", ">of them waiting"]
    return table(["configuration", *heads, *SPEED], rows)


def budget() -> str:
    """Eviction of positions."""
    rows = [[one["name"], number(one["bytes"]), *_quality(one)] for one in _language("budget")]
    return table(["positions kept", ">bytes of cache", ">perplexity", ">same choice"], rows)


def rank() -> str:
    """Queries, keys and values of low rank."""
    rows = []
    full = next(iter(_language("rank")))["weights"]
    for one in _language("rank"):
        cells = [number(one["weights"]), number(full - one["weights"]), number(one["cycles"])]
        rows.append([one["name"], *cells, f"{one['float_perplexity']:.3f}", *_quality(one)])
    heads = ["rank", ">weights", ">saved", ">cycles a token", ">perplexity in float32", ">in int8", ">same choice"]
    return table(heads, rows)


def ahead() -> str:
    """Guessed tokens."""
    rows = [
        [one["name"], number(one["passes"]), number(one["cycles"]), number(one["tokens_per_second"])]
        for one in _language("ahead")
    ]
    return table(["tokens guessed", ">passes", ">cycles a pass", ">tokens/s"], rows)


def fusion() -> str:
    """Matrices of one input, apart and together."""
    rows = [[one["name"], number(one["matrices"]), number(one["cycles"])] for one in _language("fusion")]
    return table(["matrices of one input", ">programs", ">cycles a token"], rows)


TABLES: dict[str, Callable[[], str]] = {
    "ahead": ahead,
    "budget": budget,
    "fusion": fusion,
    "memory": memory,
    "micro": micro,
    "quality": quality,
    "rank": rank,
    "speed": speed,
    "whole": whole,
}
