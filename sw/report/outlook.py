"""What to expect of a compiled model: does it fit, what bounds it, how long it takes on boards, and what would help.

Every figure is the cycle model's, or counts bytes of the serial port; nothing is measured on hardware.
"""

from __future__ import annotations

import warnings
from dataclasses import dataclass, replace
from typing import Any

from sateen.compiler import Model, bytes_per_inference, compile
from sateen.errors import SateenError
from sateen.fpga.boards import BOARDS
from sateen.graph import Graph, Reshape
from sateen.hw.spec.config import PRESETS, Config
from sateen.report.limits import CAUSES, causes
from sateen.runtime.limits import expected_cycles
from sateen.runtime.moves import memory_use
from sateen.runtime.record import predicted_layers
from sateen.runtime.spill import spilled

__all__ = ["Change", "Outlook", "Share", "Timing", "outlook", "timing"]

BITS = 10
"""Bits of the serial port for each byte: a start bit, eight bits of data, a stop bit."""
WORTHWHILE = 0.95
"""A change is named if it leaves at most this share of the time."""


@dataclass(frozen=True, kw_only=True)
class Share:
    """What some of the array's cycles go to."""

    cause: str
    cycles: int
    share: float
    """Of all cycles of an inference."""


@dataclass(frozen=True, kw_only=True)
class Timing:
    """One inference on a board with its default configuration, or on a device of the model's own configuration."""

    board: str
    """The board's name; empty for a device of the model's configuration and its clock and serial port."""
    config: str
    clock_hz: int
    baud: int
    matches: bool
    """The model as it is compiled runs there."""
    resident: bool
    """Weights and program stay on the device."""
    host_layers: int
    """Layers that the host runs because this device cannot."""
    cycles: int
    """Of the accelerator's layers, by the cycle model."""
    compute_ms: float
    memory_bytes: int
    """Bytes of weights, programs and tensors that are copied from SDRAM and into it."""
    memory_cycles: int
    """Cycles in which they move while no layer runs, by the model of moves: the array waits for memory."""
    memory_ms: float
    link_bytes: int
    """Payload over the serial port: inputs, outputs, and unless they are in SDRAM weights that do not stay and
    what does not fit the scratchpad."""
    link_ms: float
    """The least that the serial port takes for the payload."""

    @property
    def total_ms(self) -> float:
        """Layers, SDRAM and serial port, one after the other."""
        return self.compute_ms + self.memory_ms + self.link_ms


@dataclass(frozen=True, kw_only=True)
class Change:
    """A configuration that takes less time, and how much."""

    config: str
    cycles: int
    link_bytes: int
    compute_ms: float
    memory_ms: float
    link_ms: float
    factor: float
    """How many times less time an inference takes, serial port and SDRAM included."""


@dataclass(frozen=True, kw_only=True)
class Outlook:
    """What to expect of a model."""

    timing: Timing
    """With the model's own configuration."""
    bound: list[Share]
    """Where the accelerator's cycles go, the largest share first."""
    changes: list[Change]
    """Other configurations that take less time, the best first."""
    boards: list[Timing]
    """The model on every board's default configuration."""


def outlook(model: Model) -> Outlook:
    """What to expect of a model. Compiles it for other configurations, which takes as long as compiling it a dozen
    times."""
    own = timing(model, model.config)
    compiled: dict[str, Model | None] = {}

    def other(config: Config) -> Model | None:
        if config.layout == model.config.layout and config.engine == model.config.engine:
            return model
        key = repr((sorted(config.layout.items()), config.engine, config.pe))
        if key not in compiled:
            compiled[key] = _compiled(model.graph, config)
        return compiled[key]

    changes = []
    for name, config in _changes(model.config):
        changed = other(config)
        if changed is None:
            continue
        found = timing(changed, config)
        before, after = own.total_ms, found.total_ms
        if 0 < after <= WORTHWHILE * before and found.host_layers <= own.host_layers:
            changes.append(
                Change(
                    config=name,
                    cycles=found.cycles,
                    link_bytes=found.link_bytes,
                    compute_ms=found.compute_ms,
                    memory_ms=found.memory_ms,
                    link_ms=found.link_ms,
                    factor=before / after,
                )
            )
    boards = []
    for name, board in BOARDS.items():
        config = board.parse()
        on_board = other(config)
        if on_board is not None:
            matches = on_board is model
            boards.append(replace(timing(on_board, config), board=name, config=board.config, matches=matches))
    return Outlook(
        timing=own,
        bound=bound(model),
        changes=sorted(changes, key=lambda change: -change.factor),
        boards=boards,
    )


def timing(model: Model, config: Config) -> Timing:
    """One inference on a device of a configuration, which may have another engine or kind of PE than the model's."""
    cycles = expected_cycles(model, config)
    link_bytes = bytes_per_inference(model) if config.sdram is None else _link_bytes_with_sdram(model)
    memory = memory_use(model, config)
    return Timing(
        board="",
        config=config.text,
        clock_hz=config.clock_hz,
        baud=config.line_baud,
        matches=True,
        resident=model.resident,
        host_layers=len(model.fallbacks),
        cycles=cycles,
        compute_ms=1e3 * cycles / config.clock_hz,
        memory_bytes=memory.moved,
        memory_cycles=memory.cycles,
        memory_ms=1e3 * memory.cycles / config.clock_hz,
        link_bytes=link_bytes,
        link_ms=1e3 * link_bytes * BITS / config.line_baud,
    )


def bound(model: Model) -> list[Share]:
    """Where the accelerator's cycles go, the largest share first."""
    sums = dict.fromkeys(CAUSES, 0)
    for layer in predicted_layers(model):
        for cause, cycles in causes(layer, model.config).items():
            sums[cause] += cycles
    total = sum(sums.values())
    found = sorted(((cause, cycles) for cause, cycles in sums.items() if cycles), key=lambda each: -each[1])
    return [Share(cause=CAUSES[cause], cycles=cycles, share=cycles / total) for cause, cycles in found]


def _changes(config: Config) -> list[tuple[str, Config]]:
    """Configurations to try."""
    found = [
        (name, replace(preset, clock_hz=config.clock_hz, baud=config.baud, link=config.link))
        for name, preset in PRESETS.items()
    ]
    changes: list[dict[str, Any]] = [{"weight_rows": 4}, {"overlap": 1}, {"combine": 4}]
    for change in changes:
        try:
            found.append((",".join(f"{field}={value}" for field, value in change.items()), replace(config, **change)))
        except ValueError:
            continue
    return [(name, each) for name, each in found if each.layout != config.layout]


def _compiled(graph: Graph, config: Config) -> Model | None:
    """The graph for another configuration; ``None`` if it cannot be compiled for it."""
    try:
        with warnings.catch_warnings(action="ignore"):
            return compile(graph, config)
    except SateenError:
        return None


def _link_bytes_with_sdram(model: Model) -> int:
    """The same if the device has SDRAM, for all weights and the tensors that go there: of these, the host writes those
    that it gives, and reads those that it takes."""
    roots: dict[str, str] = {}
    for op in model.graph.ops:
        if isinstance(op, Reshape):
            roots[op.output] = roots.get(op.input, op.input)

    def root(name: str) -> str:
        return roots.get(name, name)

    ops = {op.name: op for op in model.graph.ops}
    host = [ops[step.host] for step in model.steps if step.host]
    gives = {root(name) for name in (*model.graph.sources, *(op.output for op in host))}
    takes = {root(name) for name in (*model.graph.results, *(name for op in host for name in op.inputs))} - gives
    apart = spilled(model, root)
    total = sum(size * ((name in gives) + (name in takes)) for name, size in apart.items())
    for step in model.steps:
        moved = [*step.writes, *step.reads]
        if step.tiles and (output := model.layers[step.first + step.count - 1].output) not in step.inside:
            moved.append(output)
        total += sum(model.size(name) for name in moved if root(name) not in apart)
    return total
