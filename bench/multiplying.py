"""The tables of processing elements, and of structures that could become one."""

from __future__ import annotations

import math
from collections.abc import Callable

import results
from results import Record
from tabular import NONE, named, number, share, table

__all__ = ["TABLES"]

WHOLE = "activations of 8"
"""What a structure's point is called with activations of 8 bits."""
COLUMN = 64
"""Weights of a column, to which a foot belongs."""
COLUMNS = 16
"""Columns that share what stands before a row."""


def elements(part: str) -> str:
    """Tiles of each kind of processing element on a part."""
    heads = ["PE", ">array", ">LUTs", ">registers", ">multipliers", ">MHz", ">cycles"]
    heads += [">inferences/s", ">per 1000 LUTs"]
    rows = []
    for one in (one for one in results.of_kind("element") if one["part"] == part):
        clock, rate, per = one["reached_mhz"], one["inferences_per_second"], one["per_1000_luts"]
        end = [number(clock), number(one["cycles"]), number(rate), number(per)]
        if clock is None:
            end = ["does not fit", number(one["cycles"]), NONE, NONE]
        cells = (number(one[name]) for name in ("luts", "registers", "multipliers"))
        rows.append([named(one, one["name"]), one["array"], *cells, *end])
    return table(heads, rows)


def tiles() -> str:
    """Ways to multiply in a tile."""
    heads = ["PEs", ">array", ">LUTs", ">a PE", ">registers", ">multipliers", ">MHz"]
    rows = []
    for one in results.of_kind("tile"):
        each = one["luts"] / math.prod(map(int, one["array"].split("×")))
        cells = [number(one["luts"]), f"{each:.0f}", number(one["registers"]), number(one["multipliers"])]
        clock = number(one["reached_mhz"]) + (f", multipliers {one['fast_mhz']}" if one["fast_mhz"] else "")
        rows.append([named(one, f"`{one['name']}`"), one["array"], *cells, clock])
    return table(heads, rows)


def structures() -> str:
    """Structures at whole activations, the fastest for its LUTs first."""
    found = [one for one in results.of_kind("structure") if not _narrow(one)]
    heads = ["structure", "", ">LUTs", ">with its share", ">registers", ">MHz", ">MACs a cycle", ">million MAC/s a LUT"]
    rows = []
    for one in sorted(found, key=rate, reverse=True):
        point = "" if one["point"] == WHOLE else one["point"]
        cells = [number(one["luts"]), f"{_luts(one):.1f}", number(one["registers"]), number(one["reached_mhz"])]
        end = [f"{one['weights'] / one['cycles']:.3g}", f"{rate(one):.2f}", share(one["accuracy"], 1)]
        rows.append([named(one, one["name"]), point, *cells, *end])
    return table([*heads, ">accuracy"], rows)


def narrow() -> str:
    """Structures by the width of the activations: million MAC/s for a LUT."""
    found: dict[str, dict[str, Record]] = {}
    for one in results.of_kind("structure"):
        name, _, rest = one["name"].partition(", weights of ")
        bits = rest.partition(",")[0]
        found.setdefault(f"{name}, weights of {bits}" if bits else name, {})[one["point"]] = one
    points = [f"activations of {bits}" for bits in (8, 4, 3, 2, 1)]
    heads = [">8 bits", ">4 bits", ">3 bits", ">2 bits", ">1 bit"]
    rows = [
        [name, *(f"{rate(of[point]):.2f}" if point in of else NONE for point in points)]
        for name, of in found.items()
        if any(map(_narrow, of.values()))
    ]
    return table(["structure", *heads], rows)


def rate(one: Record) -> float:
    """Million products a second for a LUT."""
    return one["reached_mhz"] * one["weights"] / one["cycles"] / _luts(one)


def _luts(one: Record) -> float:
    """Of a PE with its share of a column's foot and of what stands before a row."""
    return one["luts"] + one["foot_luts"] * one["weights"] / COLUMN + one["feeder_luts"] / COLUMNS


def _narrow(one: Record) -> bool:
    return one["point"].startswith("activations") and one["point"] != WHOLE


def shared_bytes() -> str:
    """A network with narrow weights, alone in a byte and with others."""
    heads = ["configuration", ">bits of a weight", ">bytes of the weight store", ">cycles"]
    rows = [
        [named(one, f"`{one['configuration']}`"), number(one["bits"]), number(one["bytes"]), number(one["cycles"])]
        for one in results.of_kind("narrow")
    ]
    return table(heads, rows)


TABLES: dict[str, Callable[[], str]] = {
    "elements-ecp5": lambda: elements("ecp5-85f"),
    "elements-ice40": lambda: elements("ice40-hx8k"),
    "shared-bytes": shared_bytes,
    "structures": structures,
    "structures-narrow": narrow,
    "tiles": tiles,
}
