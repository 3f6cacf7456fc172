"""Netlists in JSON: as Yosys writes them, and as nextpnr is to have them."""

from __future__ import annotations

import json
from collections import Counter
from typing import Any

__all__ = ["UNCONNECTED", "prepare", "top_of"]

UNCONNECTED = ["x"]
"""What a pin is connected to that has no net."""


def prepare(netlist: bytes, sites: dict[str, str]) -> bytes:
    """A netlist as nextpnr is to have it.

    Parameters
    ----------
    netlist
        As Yosys writes it.
    sites
        Where cells are to lie, by their names.
    """
    document = json.loads(netlist)
    cells = top_of(document)["cells"]
    for name, site in sites.items():
        cells[name].setdefault("attributes", {})["BEL"] = site
    _loosen_carries(top_of(document))
    return json.dumps(document).encode()


def top_of(document: dict[str, Any]) -> dict[str, Any]:
    """The top module of a netlist; nextpnr's own have no other."""
    modules = document["modules"].values()
    return next((module for module in modules if int(str(module["attributes"].get("top", 0)), 2)), next(iter(modules)))


def _loosen_carries(top: dict[str, Any]) -> None:
    """Spares the cells that nextpnr takes for each end of a chain of an ECP5's CCU2C which has a net, though no one
    minds what it says.

    A carry that nothing uses gets none. A chain whose first carry is constant begins with a half that makes its own,
    from its inputs A and B: where a half passes no carry on, it says what the first four bits of its table say. Its sum
    is a LUT's then.
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
