"""Tables of what helps to choose a configuration: what was found, what it takes of energy, and how work scales."""

from __future__ import annotations

import json

import results
from sateen.fpga.boards import BOARDS
from sateen.fpga.energy import FILE as ENERGY
from tabular import NONE, named, number, table

__all__ = ["energy", "energy_figures", "explored", "scaling"]

BENCHMARK = {
    "ic_resnet8": "image classification", "kws_dscnn": "keyword spotting", "ad_autoencoder": "anomaly detection",
    "visual_wake_words": "visual wake words",
}  # fmt: skip
"""MLPerf Tiny's models."""
ICEBREAKER = BOARDS["icebreaker"].config
EXPLORED = (("ulx3s-85f", "large", "large,weight_rows=4,overlap=1"), ("icebreaker", ICEBREAKER, None))
"""By board, what was made by hand, and what ``sateen explore`` found."""


def explored() -> str:
    """What the search found for the benchmark's models, where it is placed, against what was made by hand."""
    boards = {(one["name"], one["configuration"]): one for one in results.of_kind("board")}
    cycles = {
        (one["name"], one["configuration"]): one["cycles"]
        for kind in ("predicted", "model")
        for one in results.of_kind(kind)
    }
    heads = ["model", "board", "by hand", ">placed, MHz", ">array, ms", "found", ">placed, MHz", ">array, ms"]
    rows = []
    for board, hand, found in EXPLORED:
        for model, title in BENCHMARK.items():
            cells = [title, board]
            for config in (hand, found):
                if config is None:
                    cells += ["none faster that fits", NONE, NONE]
                    continue
                one, name = boards[board, config], config.partition(",")[0] + ",…" if config == ICEBREAKER else config
                ms = cycles[model, config] / one["clock_mhz"] / 1e3
                cells += [f"`{name}`", f"{max(one['reached_mhz'])}, runs at {one['clock_mhz']:g}", f"{ms:.3g}"]
            rows.append(cells)
    return table(heads, rows)


def energy() -> str:
    """What an inference takes by estimate."""
    heads = ["model", "board, configuration", ">ms", ">logic, µJ", ">multipliers", ">block RAMs", ">clock",
             ">what switches", ">the idle part", ">together, from … to"]  # fmt: skip
    rows = []
    order = list(BENCHMARK)
    found = results.of_kind("energy")
    found.sort(key=lambda one: (one["board"] == "icebreaker", one["configuration"], order.index(one["name"])))
    for one in found:
        low, high = (one[f"dynamic_{end}_uj"] + one[f"static_{end}_uj"] for end in ("low", "high"))
        terms = (one[f"{term}_uj"] for term in ("logic", "multipliers", "memory", "clock", "dynamic", "static"))
        config = one["configuration"]
        if config == ICEBREAKER:
            config = f"{config.partition(',')[0]},…"
        rows.append(
            [
                named(one, BENCHMARK.get(one["name"], one["name"])), f"{one['board']}, `{config}`",
                f"{one['cycles'] / one['clock_mhz'] / 1e3:.3g}", *map(_uj, terms),
                f"{_uj(one['dynamic_uj'] + one['static_uj'])}, {_uj(low)} … {_uj(high)}",
            ]
        )  # fmt: skip
    return table(heads, rows)


def _uj(value: float) -> str:
    return f"{value:,.0f}" if value >= 100 else f"{value:.3g}"


def energy_figures() -> str:
    """What the estimates of energy are made of."""
    data = json.loads(ENERGY.read_text())
    heads = ["technology", "figure", ">value", ">from", ">to", "rule", "source"]
    rows = [
        [technology, figure, f"{one['pj']:g} pJ", f"{one['low']:g}", f"{one['high']:g}", one["rule"], one["source"]]
        for technology, found in data["technologies"].items()
        for figure, one in found["terms"].items()
    ]
    rows += [
        [one["technology"], f"static, {one['luts']:,} LUTs", f"{one['mw']:g} mW", f"{one['low']:g}", f"{one['high']:g}",
         one["rule"], one["source"]]
        for one in data["static"]
    ]  # fmt: skip
    sources = [f"- {name}: [{one['title']}]({one['where']}). {one['what']}" for name, one in data["sources"].items()]
    return "\n".join([table(heads, rows), "", *sources])


SCALED = {
    "explore": "explore", "verify": "whole models, simulated", "build": "build --seeds 2", "compare-pe": "compare-pe",
}  # fmt: skip
"""Names of work that several processes do."""


def scaling() -> str:
    """How much sooner several processes are done."""
    rows = []
    for one in results.of_kind("scaling"):
        what = SCALED[one["name"]] + (f", {one['trials']:,} trials" if "trials" in one else "")
        what += f" of {len(one['models'])} model{'s' * (len(one['models']) > 1)}" if "models" in one else ""
        rows.append(
            [named(one, what), str(one["jobs"]), number(one["seconds_of_one"]), number(one["seconds"]),
             f"{one['ratio']:.2f}"]
        )  # fmt: skip
    if not rows:
        return "Nothing has been entered; `python bench/scaling.py` measures it, on a machine that does nothing else."
    return table(["work", ">processes", ">seconds by one", ">by these", ">times sooner"], rows)
