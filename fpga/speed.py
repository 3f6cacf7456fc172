"""The clock that a configuration reaches, without placement: by a simple model of the placements that were measured."""

from __future__ import annotations

import json
from dataclasses import dataclass
from functools import cache
from typing import Any

from sateen.fpga.area import FILE
from sateen.fpga.blocks import multiplier_pes
from sateen.fpga.parts import Part
from sateen.hw.spec.config import Config

__all__ = ["Speed", "machine_of", "speed"]


@dataclass(frozen=True, kw_only=True)
class Speed:
    """An estimated clock."""

    mhz: float
    """What the timing analysis would allow."""
    error: float
    """Mean deviation, as a share, on the placements that could be left out of the fit: of machines with several."""
    points: int
    """These placements."""


def machine_of(engine: str, part: Part) -> str:
    """The name of an engine on parts of one technology and speed grade."""
    grade = part.arguments[part.arguments.index("--speed") + 1] if "--speed" in part.arguments else ""
    return f"{engine} on {part.technology}" + (f", grade {grade}" if grade else "")


def speed(config: Config, part: Part, luts: int) -> Speed | None:
    """The clock that a configuration with so many LUTs reaches on a part; ``None`` if nothing like it was placed.

    The machine around the array gets slower with its size, by a power of its LUTs, from the placements on parts of the
    same speed. An array alone, measured by kind of PE, limits it further.
    """
    table = _table()
    machine = table["machines"].get(machine_of(config.engine, part))
    if machine is None:
        return None
    logic = config.pe in ("mac", "packed") and multiplier_pes(config) < config.rows * config.cols
    kind = "mac-logic" if logic else config.pe
    arrays = table["arrays"].get(part.family, {})
    mhz = machine["mhz"] * (luts / machine["luts"]) ** -machine["power"]
    if kind in arrays:
        mhz = min(mhz, arrays[kind])
    return Speed(mhz=round(mhz, 1), error=table["error"], points=table["points"])


@cache
def _table() -> dict[str, Any]:
    found: dict[str, Any] = json.loads(FILE.read_text())["speed"]
    return found
