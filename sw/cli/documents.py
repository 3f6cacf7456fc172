"""What commands write with ``--json``: a dataclass each, whose FORMAT names its kind and version.

A new field or another meaning of one is a new version. ``sateen schema`` prints the JSON Schemas.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, ClassVar

from sateen.cli.bench import BenchRecord
from sateen.cli.devices import Devices
from sateen.cli.mlperf import Measured
from sateen.cli.printing import Document
from sateen.cli.quantize import Quantization
from sateen.cli.tell import Told
from sateen.cli.verify import Verification
from sateen.explore.evaluate import Point
from sateen.fpga.record import BuildRecord
from sateen.report.compare import Accuracy, Measurement
from sateen.report.energy import EnergyRecord
from sateen.report.outlook import Outlook
from sateen.runtime import RunRecord

__all__ = ["DOCUMENTS"]


@dataclass(frozen=True, kw_only=True)
class BoardEntry:
    """One board."""

    name: str
    """What ``sateen build --board`` takes."""
    title: str
    part: str
    capacity: dict[str, int]
    """Resources of the part."""
    config: str
    """The default configuration, as PRESET[,field=value…]."""
    clock_hz: int
    """Clock of the default configuration."""
    baud: int
    """Rate of the serial port, bits per second."""
    bridge: str
    """The chip between the serial port and the host."""


@dataclass(frozen=True, kw_only=True)
class Boards:
    """What ``sateen boards`` lists."""

    FORMAT: ClassVar[str] = "sateen.boards/1"

    boards: list[BoardEntry]


@dataclass(frozen=True, kw_only=True)
class ToolEntry:
    """A program or package that some part of Sateen calls."""

    name: str
    version: str | None
    """``null`` if it is missing."""
    purpose: str
    install: str
    """The command that installs it."""


@dataclass(frozen=True, kw_only=True)
class Doctor:
    """What ``sateen doctor`` found."""

    FORMAT: ClassVar[str] = "sateen.doctor/1"

    python: str
    system: str
    machine: str
    tools: list[ToolEntry]


@dataclass(frozen=True, kw_only=True)
class LayerEntry:
    """A layer on the device."""

    name: str
    op: str
    output: str
    """Name of its output tensor."""
    shape: list[int]
    """Shape of one item's output."""
    macs: int
    descriptors: int
    predicted_cycles: int
    memory_bytes: int
    """Scratchpad in use while it runs."""
    note: str
    """Why it takes more cycles than its weights need, if it does."""


@dataclass(frozen=True, kw_only=True)
class HostEntry:
    """An operator that the host runs."""

    name: str
    op: str
    reason: str
    """Why, if a device might run it."""


@dataclass(frozen=True, kw_only=True)
class ModelEntry:
    """A compiled model, as ``sateen compile`` and ``sateen info`` describe it."""

    FORMAT: ClassVar[str] = "sateen.info/1"

    file: str
    model: str
    """The model's own name."""
    config: dict[str, Any]
    """The configuration that it was compiled for, without fields that were added later and have their defaults."""
    macs: int
    cycles: int
    """Of one inference, by the cycle model, without the link."""
    resident: bool
    """Weights and program stay on the device; those of other models are sent, or copied from SDRAM, each time."""
    segments: int
    """Parts in which weights and program are sent."""
    weight_bytes: int
    """Weights and channel parameters."""
    weight_bytes_available: int
    scratchpad_bytes: int
    scratchpad_bytes_available: int
    tiled_layers: int
    """Layers that are computed row by row, since their tensors do not fit the scratchpad."""
    layers: list[LayerEntry]
    host: list[HostEntry]
    warnings: list[str]
    """Of reading the model and of compiling it; none of a model that is compiled already."""
    outlook: Outlook


@dataclass(frozen=True, kw_only=True)
class Demo(RunRecord):
    """The record of ``sateen demo``: that of a run, and what came out."""

    accuracy: float
    """Share of the digits that were classified correctly."""


@dataclass(frozen=True, kw_only=True)
class Tile:
    """One tile on one part, and its speed."""

    measured: Measurement
    inferences_per_second: float | None
    """``null`` if it does not fit the part."""
    per_thousand_luts: float | None
    """Inferences per second for each 1000 LUTs of the tile."""


@dataclass(frozen=True, kw_only=True)
class Comparison:
    """What ``sateen compare-pe`` measured."""

    FORMAT: ClassVar[str] = "sateen.compare-pe/1"

    tiles: list[Tile]
    budgets: list[Accuracy]


@dataclass(frozen=True, kw_only=True)
class Verified:
    """A configuration that was placed."""

    config: str
    clock_mhz: float
    """What it was to reach."""
    fits: bool
    lacks: str
    """Of what the part has too little; empty if it fits."""
    reached_mhz: float | None
    """The clock that the timing analysis allows; ``null`` if it does not fit."""
    luts: int | None
    registers: int | None


@dataclass(frozen=True, kw_only=True)
class Exploration:
    """What ``sateen explore`` found."""

    FORMAT: ClassVar[str] = "sateen.explore/2"

    target: str
    """The board or part."""
    models: list[str]
    weights: dict[str, float]
    """Per model, what one of its inferences counts in the latency."""
    limits: dict[str, int]
    """Per resource, how much a configuration might use."""
    trials: int
    """Configurations looked at."""
    skipped: dict[str, int]
    """Of these, how many were no candidates, by reason: ``fit``, ``compile``, ``host``, ``unknown``."""
    over: dict[str, int]
    """Of those that do not fit, how many need more of a resource than its limit; one may need more of several."""
    front: list[Point]
    """The configurations that no other one beats in latency and in the share of the part, the fastest first."""
    by_hand: list[Point]
    """The board's own and the presets, by the same estimates; the fastest first, those that do not serve last."""
    verified: list[Verified]


DOCUMENTS: dict[str, type[Document]] = {
    "boards": Boards,
    "doctor": Doctor,
    "devices": Devices,
    "build": BuildRecord,
    "info": ModelEntry,
    "run": RunRecord,
    "demo": Demo,
    "tell": Told,
    "mlperf": Measured,
    "verify": Verification,
    "quantize": Quantization,
    "compare-pe": Comparison,
    "cocotb": BenchRecord,
    "explore": Exploration,
    "energy": EnergyRecord,
}
"""Every document, by the name that ``sateen schema`` takes. ``compile`` writes the one of ``info``."""
