"""Netlists in JSON: Yosys's output, prepared for nextpnr."""

from __future__ import annotations

import json
from collections import Counter
from typing import Any

__all__ = ["UNCONNECTED", "prepare", "top_of"]

UNCONNECTED = ["x"]
"""The connection of a pin without a net."""


def prepare(netlist: bytes, sites: dict[str, str]) -> bytes:
    """A netlist for nextpnr: with sites for some cells, and without cells at the ends of carry chains.

    Parameters
    ----------
    netlist
        Yosys's netlist.
    sites
        Sites of cells, by the cells' names.
    """
    document = json.loads(netlist)
    cells = top_of(document)["cells"]
    for name, site in sites.items():
        cells[name].setdefault("attributes", {})["BEL"] = site
    _loosen_carries(top_of(document))
    return json.dumps(document).encode()


def top_of(document: dict[str, Any]) -> dict[str, Any]:
    """The top module of a netlist. Those that nextpnr writes have no other module."""
    modules = document["modules"].values()
    return next((module for module in modules if int(str(module["attributes"].get("top", 0)), 2)), next(iter(modules)))


def _loosen_carries(top: dict[str, Any]) -> None:
    """Saves the cells that nextpnr spends on the ends of ECP5 carry chains (CCU2C): one for each end that has a net.

    A carry out that nothing uses loses its net. A chain whose first carry is constant begins with a half-cell that
    generates its own carry from the inputs A and B: a half-cell that does not propagate takes its carry from the first
    four bits of its table. A LUT then computes that half-cell's sum.
    """
    cells = top["cells"]
    nets = [
        *(bits for cell in cells.values() for bits in cell["connections"].values()),
        *(port["bits"] for port in top["ports"].values()),
    ]
    uses = Counter(bit for bits in nets for bit in bits)
    for name, cell in [(name, cell) for name, cell in cells.items() if cell["type"] == "CCU2C"]:
        pins = cell["connections"]
        if uses[pins["COUT"][0]] == 1:
            pins["COUT"] = UNCONNECTED
        first, c, d = (pins[pin][0] for pin in ("CIN", "C0", "D0"))
        if cell["parameters"]["INJECT1_0"] != "NO" or not {first, c, d} <= {"0", "1"}:
            continue
        table = int(cell["parameters"]["INIT0"], 2)
        passes = [table >> (4 * int(c) + 8 * int(d) + inputs) & 1 for inputs in range(4)]
        carries = [int(first) if passed else table >> inputs & 1 for inputs, passed in enumerate(passes)]
        if uses[pins["S0"][0]] > 1:
            sums = "".join(str(passed ^ int(first)) for passed in reversed(passes))
            cells[f"{name}$sum"] = {
                "type": "LUT4", "parameters": {"INIT": 4 * sums}, "attributes": {},
                "port_directions": {"A": "input", "B": "input", "C": "input", "D": "input", "Z": "output"},
                "connections": {"A": pins["A0"], "B": pins["B0"], "C": ["0"], "D": ["0"], "Z": pins["S0"]},
            }  # fmt: skip
        pins |= {"CIN": UNCONNECTED, "S0": UNCONNECTED, "C0": ["1"], "D0": ["1"]}
        cell["parameters"]["INIT0"] = "".join(map(str, reversed(carries))).zfill(16)
