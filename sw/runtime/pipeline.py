"""Inferences of which the next goes to the device while the last is computed."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any, Protocol

import numpy as np

from sateen.compiler import Model, Part, Step, runs
from sateen.errors import DeviceError
from sateen.graph import Array
from sateen.hw.spec.counters import Counters
from sateen.hw.spec.wire import Space
from sateen.runtime.frames import Operation, reached, read, wait, write
from sateen.runtime.frames import run as start
from sateen.runtime.inference import ZERO, Runner, part_records
from sateen.runtime.inference import Job as RunnerJob
from sateen.runtime.values import Values
from sateen.runtime.window import Job

__all__ = [
    "TURN_ITEMS", "Item", "Overlaps", "Piece", "Sharing", "Tensors", "Turn", "one_turn", "take_turn",
]  # fmt: skip

TURN_ITEMS = 16
"""Inferences after which others get the device."""
Tensors = dict[str, Array]


@dataclass(frozen=True)
class Turn:
    """A model whose every inference is one turn of the device: inputs in, a program, results out."""

    model: Model
    step: Step
    part: Part
    """What the device runs."""
    before: tuple[Step, ...]
    after: tuple[Step, ...]
    """What the host runs."""

    spilled = waited = 0
    """No tensors lie in SDRAM."""

    @property
    def parts(self) -> tuple[Part, ...]:
        """What may run."""
        return (self.part,)

    @property
    def span(self) -> tuple[int, int]:
        """The number of the first layer, and of all."""
        return self.step.first, self.step.count

    def begin(self, device: Sharing) -> None:
        """A turn of the device's begins."""

    def item(self, device: Sharing, piece: Piece) -> Item:
        """An inference."""
        return Item(self, piece.inputs, profiled=piece.profiled)

    def alone(self, piece: Piece) -> None:
        """Runs an inference that cannot overlap: there is none."""


def one_turn(model: Model) -> Turn | None:
    """The model's only turn on the device; ``None`` if it has none or several, or computes row by row, or has states,
    so that its inferences wait for one another."""
    places = [place for place, step in enumerate(model.steps) if not step.host]
    if len(places) != 1 or model.graph.states or model.steps[places[0]].tiles:
        return None
    step = model.steps[places[0]]
    layers = model.layers[step.first : step.first + step.count]
    parts = runs([part for layer in layers for part in layer.parts])
    if len(parts) != 1:
        return None
    return Turn(model, step, parts[0], tuple(model.steps[: places[0]]), tuple(model.steps[places[0] + 1 :]))


class Item:
    """One inference.

    Parameters
    ----------
    turn : Turn
    inputs : dict
        [1, …] each, in the shapes of the graph.
    profiled : bool
        Read the counters.
    """

    def __init__(self, turn: Turn, inputs: Mapping[str, Array], *, profiled: bool = False):
        self.turn, self.profiled = turn, profiled
        self.counters: list[Counters] = []
        """Of each of the model's layers, if they are read."""
        self.values = Values(turn.model.graph, inputs)
        self._compute(turn.before)

    def _compute(self, steps: tuple[Step, ...]) -> None:
        graph = self.turn.model.graph
        ops = {op.name: op for op in graph.ops}
        for step in steps:
            op = ops[step.host]
            self.values[op.output] = op.execute(graph.tensors, self.values)

    def operations(self, limit: int) -> list[Operation]:
        """What the device does, with the cycles after which it ends the program."""
        model, part = self.turn.model, self.turn.part
        addresses, step = model.addresses, self.turn.step
        writes = [write(Space.SCRATCHPAD, addresses[name], self.values[name].tobytes()) for name in step.writes]
        counted = [read(Space.COUNTERS, 0, part.count * Counters.LAYOUT.size)] if self.profiled else []
        reads = [read(Space.SCRATCHPAD, addresses[name], model.size(name)) for name in step.reads]
        return [*writes, start(part.first, part.count, limit=limit), wait(), *counted, *reads]

    def busy(self, limit: int) -> int:
        """Cycles that its program takes at most."""
        return reached(limit)

    def finish(self, answer: bytes) -> Tensors:
        """The outputs, from what the device has answered."""
        model, part = self.turn.model, self.turn.part
        if self.profiled:
            size = part.count * Counters.LAYOUT.size
            records, answer = part_records(part, answer[:size]), answer[size:]
            for layer in model.layers:
                places = [(own.segment, own.first + each) for own in layer.parts for each in range(own.count)]
                self.counters.append(sum((records[place] for place in places), ZERO))
        for name in self.turn.step.reads:
            size = model.size(name)
            data, answer = answer[:size], answer[size:]
            self.values[name] = np.frombuffer(data, np.int8).reshape(1, *model.graph.tensors[name].shape[1:])
        self._compute(self.turn.after)
        return {name: self.values[name] for name in model.graph.results}


class Sharing(Runner, Protocol):
    """What turns need of a device."""

    turn: Any
    """Held during a turn."""

    def stream(
        self, model: Model, part: Part | None, source: Callable[[], Job | None], *, poll_seconds: float | None = None
    ) -> None:
        """Places the segment of a part, if there is one, and executes jobs of a model's inferences."""

    def calling(
        self, model: Model, jobs: Sequence[RunnerJob], following: Sequence[int], leading: Sequence[Operation]
    ) -> tuple[list[Operation], int] | None:
        """The operations of an inference in one CALL, and the cycles that it takes at most; ``None`` if it takes
        more, or leaves other segments on the device than it finds."""

    def limit(self, model: Model) -> int:
        """Cycles after which the device ends a program of a model."""

    def explain(self, error: DeviceError, model: Model, *parts: Part) -> DeviceError:
        """An error of a program, with the layer."""

    def forget(self) -> None:
        """What the device holds is unknown."""


@dataclass(frozen=True, eq=False, kw_only=True)
class Piece:
    """One inference of a batch, and who waits for it."""

    inputs: Mapping[str, Array]
    profiled: bool = False
    done: Callable[[Tensors, list[Counters]], None]
    failed: Callable[[BaseException], None]


class Overlapping(Protocol):
    """An inference that may overlap with others."""

    counters: list[Counters]
    """Of each of the model's layers, if they are read."""

    def operations(self, limit: int) -> Sequence[Operation]:
        """What the device does, with the cycles after which it ends a program."""

    def busy(self, limit: int) -> int:
        """Cycles that its programs take at most."""

    def finish(self, answer: bytes) -> Tensors:
        """The outputs, from what the device has answered."""


class Overlaps(Protocol):
    """How a model's inferences overlap, as :class:`Turn` is."""

    @property
    def model(self) -> Model:
        """The model."""

    @property
    def part(self) -> Part | None:
        """What runs, if that is always the same."""

    @property
    def spilled(self) -> int:
        """Bytes of tensors copied from and into SDRAM since the turn began."""

    @property
    def waited(self) -> int:
        """Cycles in which the array waited for SDRAM, in the last inference that is profiled."""

    @property
    def parts(self) -> tuple[Part, ...]:
        """What may run."""

    @property
    def span(self) -> tuple[int, int]:
        """The number of the first layer that runs, and how many do."""

    def begin(self, device: Sharing) -> None:
        """A turn of the device's begins. What needs the link is done here."""

    def item(self, device: Sharing, piece: Piece) -> Overlapping | None:
        """An inference; ``None`` if it must run alone."""

    def alone(self, piece: Piece) -> None:
        """Runs an inference that :meth:`item` refused."""


def take_turn(
    device: Sharing, turn: Overlaps, source: Callable[[], Piece | None], *, poll_seconds: float | None = None
) -> list[Piece]:
    """Inferences in a turn of the device's, at most :data:`TURN_ITEMS`.

    The turn ends with the first that fails. Those that were on the way behind it are returned, to be done again: what
    the device held by then is unknown.
    """
    begun: list[Piece] = []
    again: list[Piece] = []
    held: list[Piece] = []
    count, broken = 0, False
    limit = device.limit(turn.model)

    def job() -> Job | None:
        nonlocal count
        while not broken and not held and count < TURN_ITEMS and (piece := source()) is not None:
            count += 1
            try:
                item = turn.item(device, piece)
            except Exception as error:
                piece.failed(error)
                continue
            if item is None:
                # It runs when those before it have ended.
                held.append(piece)
                break
            begun.append(piece)
            return Job(
                operations=item.operations(limit), busy_cycles=item.busy(limit), finish=partial(finish, piece, item)
            )
        return None

    def finish(piece: Piece, item: Overlapping, answer: bytes | DeviceError) -> None:
        nonlocal broken
        begun.remove(piece)
        if broken:
            again.append(piece)
        elif isinstance(answer, DeviceError):
            broken = True
            piece.failed(device.explain(answer, turn.model, *turn.parts))
        else:
            try:
                outputs = item.finish(answer)
            except Exception as error:
                piece.failed(error)
            else:
                piece.done(outputs, item.counters)

    with device.turn:
        try:
            turn.begin(device)
            device.stream(turn.model, turn.part, job, poll_seconds=poll_seconds)
            while held and not broken:
                turn.alone(held.pop())
                device.stream(turn.model, turn.part, job, poll_seconds=poll_seconds)
        except Exception as error:
            # It is the oldest one's. Where none had begun, the next one's.
            waiting = begun or held
            failed = waiting.pop(0) if waiting else source()
            if failed is None:
                raise
            failed.failed(error)
        if broken:
            device.forget()
    return [*again, *begun, *held]
