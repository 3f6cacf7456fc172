"""Tables of what models take: cycles, counted and predicted, and their time on builds that were placed."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial

import results
from results import Record
from tabular import NONE, named, number, share, table

__all__ = ["LEAN", "PLACED", "SENT", "TABLES", "TALL"]

SENT = "sent"
"""Of weights that come over the link in each inference."""
FASTEST = "large,weight_rows=4,overlap=1,window_skip=16,residual=2"
"""16 rows of 16 PEs with everything that saves cycles."""
LEAN = "large,weight_bits=8,weight_rows=2,overlap=1,window_skip=16,residual=2"
"""The same with weights of 8 bits, two rows of which are loaded at once: fewer registers, and a faster clock."""
TALL = "large,weight_bits=8,rows=24,weight_bytes=294912,weight_rows=2,overlap=1,window_skip=16,window_rows=9"
"""24 rows of 16 PEs, with what else fits an LFE5U-85F then."""
PLACED = (
    "large,weight_bits=8,rows=24,weight_bytes=294912,weight_rows=2,overlap=1,lanes=8,multipliers=112,window_rows=15"
)
"""24 rows with half the lanes, which nextpnr can place."""


COUNTED = {"models": "large", "fastest": FASTEST, "lean": LEAN, "tall": TALL, "tall-placed": PLACED}
"""Of each table of models by the simulated device's counters, the configuration."""


def _counted(configuration: str) -> str:
    """Public models on a configuration, by the simulated device's counters."""
    heads = ["model", ">layers", ">MACs", ">cycles", ">used", "tensors equal to", ""]
    rows = [
        [
            named(one, one["name"]), number(one["layers"]), number(one["macs"]), number(one["cycles"]),
            share(one["utilization"]), f"{one['reference']}, {one['equal']}/{one['tensors']}",
            ", ".join(SENT if note == "streamed" else note for note in one["notes"]),
        ]
        for one in results.of_kind("model")
        if one["configuration"] == configuration
    ]  # fmt: skip
    return table(heads, rows)


def weight_rows() -> str:
    """A model of fully connected layers by ``weight_rows``."""
    counted = [one for one in results.of_kind("model") if one["name"] == "ad_autoencoder"]
    others = set(COUNTED.values()) - {"large"}
    found = [one for one in counted if one["configuration"] not in others]
    return table(
        ["configuration", ">cycles"],
        [[named(one, f"`{one['configuration']}`"), number(one["cycles"])] for one in found],
    )


def steps() -> str:
    """What models take by the cycle model on `large`, a row for each configuration, and what it takes where it has been
    placed."""
    found, grades = _predicted(), ("grade 6", "grade 8")
    names, configurations = (list(dict.fromkeys(key[axis] for key in found)) for axis in (1, 0))
    rows = []
    for each in configurations:
        built = [one for one in _placed() if one["configuration"] == each]
        clocks = [[max(one["reached_mhz"]) for one in built if one["part"].endswith(grade)] for grade in grades]
        cycles = (_sent(number(found[each, name]["cycles"]), found[each, name]) for name in names)
        placed = (number(built[0]["luts"]) if built else NONE, *(str(max(some)) if some else NONE for some in clocks))
        rows.append([f"`{each}`", *cycles, *placed])
    heads = [*names, "LUTs", *(f"MHz, speed {grade}" for grade in grades)]
    return table(["configuration", *(f">{head}" for head in heads)], rows)


def benchmarks() -> str:
    """What models take by the cycle model on each build of `large`, at the clock that its slowest placement reached."""
    found = _predicted()
    names = list(dict.fromkeys(name for _, name in found))
    rows = []
    for one in _placed():
        clock, configuration = min(one["reached_mhz"]), one["configuration"]
        if (configuration, names[0]) in found:
            predicted = [found[configuration, name] for name in names]
            times = (_sent(f"{each['cycles'] / clock / 1000:.3f}", each) for each in predicted)
            placements = ", ".join(f"{reached:.1f}" for reached in one["reached_mhz"])
            rows.append([f"`{one['name']}`", f"`{configuration}`", placements, *times])
    return table(["board", "configuration", ">MHz of each placement", *(f">{name}, ms" for name in names)], rows)


def _predicted() -> dict[tuple[str, str], Record]:
    """What models take on `large`, by configuration and model."""
    predicted = [one for one in results.of_kind("predicted") if one["configuration"].startswith("large")]
    return {(one["configuration"], one["name"]): one for one in predicted}


def _sent(text: str, one: Record) -> str:
    return f"{text}, {SENT}" if one["streamed"] else text


def _placed() -> list[Record]:
    """Builds of `large` for boards."""
    return [one for one in results.of_kind("board") if one["configuration"].startswith("large")]


TABLES: dict[str, Callable[[], str]] = {
    **{name: partial(_counted, configuration) for name, configuration in COUNTED.items()},
    "benchmarks": benchmarks,
    "steps": steps,
    "weight-rows": weight_rows,
}
