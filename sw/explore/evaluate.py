"""What one configuration takes for the models: cells and clock by the estimators, cycles by the cycle model."""

from __future__ import annotations

import warnings
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

from sateen.compiler import Model, compile
from sateen.errors import SateenError
from sateen.explore.target import Target
from sateen.fpga.area import AreaUnknown, area
from sateen.fpga.build import MARGIN
from sateen.fpga.flow import Resources
from sateen.fpga.speed import speed
from sateen.graph import Graph
from sateen.hw.spec.config import Config
from sateen.report.outlook import timing

__all__ = ["ModelTime", "Point", "Task"]


@dataclass(frozen=True, kw_only=True)
class ModelTime:
    """One inference of one model, by the cycle model and the bytes on the serial port."""

    model: str
    cycles: int
    compute_ms: float
    link_ms: float
    resident: bool
    """Weights and program stay on the device."""
    host_layers: int
    """Layers that the host runs because this device cannot."""


@dataclass(frozen=True, kw_only=True)
class Point:
    """One configuration, and what it takes by estimate."""

    config: str
    """``PRESET[,field=value…]``, with its clock."""
    clock_mhz: float = 0.0
    """The clock that it runs at: what it is expected to reach, less the builds' margin."""
    cells: dict[str, int] = field(default_factory=dict)
    """Per resource, what it takes by estimate."""
    shares: dict[str, float] = field(default_factory=dict)
    """Per resource, what that is of the limit."""
    latency_ms: float = 0.0
    """Weighted sum of the models' inferences, array and serial port."""
    models: list[ModelTime] = field(default_factory=list)
    known: bool = False
    """The board's own configuration, which is known to fit."""
    problem: str = ""
    """Why it is no candidate; empty for others."""
    reason: str = ""
    """The kind of problem: ``fit``, ``compile``, ``host`` or ``unknown``."""

    def weighted(self, name: str, weights: Mapping[str, float]) -> float:
        """The weighted sum of a field of the models' times."""
        return sum(weights[each.model] * float(getattr(each, name)) for each in self.models)

    @property
    def fill(self) -> float:
        """The largest share of any resource."""
        return max(self.shares.values(), default=0.0)

    @property
    def excess(self) -> float:
        """By how much it misses the limits, 0 or less if it fits."""
        return 0.0 if self.known and not self.reason else self.fill - 1.0 if self.shares else 1.0

    def dominates(self, other: Point) -> bool:
        """Whether it is at least as fast and as small as the other, and better in one."""
        mine, theirs = (self.latency_ms, self.fill), (other.latency_ms, other.fill)
        return mine != theirs and all(a <= b for a, b in zip(mine, theirs, strict=True))

    @classmethod
    def load(cls, fields: dict[str, Any]) -> Point:
        """The inverse of :func:`dataclasses.asdict`."""
        return cls(**{**fields, "models": [ModelTime(**each) for each in fields["models"]]})


@dataclass(frozen=True, kw_only=True)
class Task:
    """Models and what they are to run on. It can be sent to another process."""

    graphs: dict[str, Graph]
    weights: dict[str, float]
    """Per model, what one of its inferences counts in the sum."""
    target: Target
    host_layers: int | None = None
    """Most layers that may be left to the host, in all models together; ``None`` for any number."""

    def evaluate(self, config: Config) -> Point:
        """What a configuration takes, at the clock that it is expected to reach; its own does not matter. The board's
        configuration runs at the board's clock."""
        own = self.target.own(config)
        try:
            cells = area(config, self.target.part)
            reached = speed(config, self.target.part, cells.luts)
        except AreaUnknown as error:
            return Point(config=config.text, problem=str(error), reason="unknown")
        if reached is None:
            text = f"no placement of a {config.engine} engine on {self.target.part.title}"
            return Point(config=config.text, problem=text, reason="unknown")
        clocked = own or self.target.clocked(config, reached.mhz / (1 + MARGIN))
        if clocked is None:
            return Point(config=config.text, problem="the board makes no such clock", reason="unknown")
        point = Point(
            config=f"{clocked.text},clock_hz={clocked.clock_hz}",
            clock_mhz=clocked.clock_hz / 1e6,
            cells=_cells(cells),
            shares=self.target.shares(cells),
            known=own is not None,
        )
        strict = self.target.asked if own is not None else tuple(point.shares)
        over = [name for name, share in point.shares.items() if share > 1 and name in strict]
        if over:
            return replace(point, problem=self._missing(cells, over), reason="fit")
        return self._timed(point, clocked)

    def _missing(self, cells: Resources, names: Sequence[str]) -> str:
        limits = self.target.limits
        texts = [f"{name.replace('_', ' ')} {getattr(cells, name):,} of {limits[name]:,}" for name in names]
        return f"does not fit: {', '.join(texts)}"

    def _timed(self, point: Point, config: Config) -> Point:
        times = []
        for name, graph in self.graphs.items():
            try:
                found = timing(_compiled(graph, config), config)
            except SateenError as error:
                return replace(point, problem=f"{name}: {error}", reason="compile")
            times.append(
                ModelTime(
                    model=name,
                    cycles=found.cycles,
                    compute_ms=found.compute_ms,
                    link_ms=found.link_ms,
                    resident=found.resident,
                    host_layers=found.host_layers,
                )
            )
        latency = sum(self.weights[each.model] * (each.compute_ms + each.link_ms) for each in times)
        timed = replace(point, models=times, latency_ms=latency)
        on_host = sum(each.host_layers for each in times)
        if self.host_layers is not None and on_host > self.host_layers:
            return replace(timed, problem=f"the host would run {on_host} layers", reason="host")
        return timed


def _compiled(graph: Graph, config: Config) -> Model:
    with warnings.catch_warnings(action="ignore"):
        return compile(graph, config)


def _cells(cells: Resources) -> dict[str, int]:
    names = ("luts", "registers", "multipliers", "block_rams", "single_port_rams")
    return {name: getattr(cells, name) for name in names}
