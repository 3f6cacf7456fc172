"""The record of a build, as JSON: how it was made, and what came out."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, ClassVar

__all__ = ["BuildRecord", "ClockEntry", "EndEntry", "PathEntry", "StepEntry"]


@dataclass(frozen=True, kw_only=True)
class ClockEntry:
    """The clock of a build."""

    mhz: float
    """What the build runs at."""
    reached_mhz: float
    """The highest that the timing analysis allows, with the best seed."""
    margin: float
    """By how much the latter exceeds the former, as a share of the former."""
    by_seed: dict[str, float]
    """The highest clock of each seed, in MHz."""
    pll: dict[str, Any]
    """The PLL's cell, input and settings."""


@dataclass(frozen=True, kw_only=True)
class EndEntry:
    """One end of a step."""

    cell: str
    """nextpnr's name of the cell."""
    place: list[int]
    """Its column and row on the part."""


@dataclass(frozen=True, kw_only=True)
class StepEntry:
    """One step of the critical path."""

    kind: str
    """``clk-to-q``, ``logic``, ``routing`` or ``setup``."""
    delay_ns: float
    source: EndEntry
    target: EndEntry


@dataclass(frozen=True, kw_only=True)
class PathEntry:
    """The critical path."""

    start: str
    """The register that it begins at: module, name, place in the array."""
    end: str
    """The register that it ends at."""
    logic_ns: float
    """Nanoseconds in cells."""
    wires_ns: float
    """Nanoseconds in wires."""
    steps: list[StepEntry]


@dataclass(frozen=True, kw_only=True)
class BuildRecord:
    """What ``sateen build`` writes beside a bitstream, and with ``--json``."""

    FORMAT: ClassVar[str] = "sateen.build/1"

    identity: str
    """The build's name, which the device reports."""
    recipe: dict[str, Any]
    """All that the bitstream depends on; ``sateen build --again`` repeats it."""
    seed: int
    """The seed of the placer that gave the bitstream."""
    clock: ClockEntry
    critical_path: PathEntry
    resources: dict[str, int]
    """Cells in use."""
    capacity: dict[str, int]
    """Cells of the part."""
    modules: dict[str, dict[str, int]]
    """Cells in use by module."""
    bitstream_bytes: int
    bitstream_sha256: str
