"""Inferences of which the next goes to the device while the last is computed."""

from __future__ import annotations

import threading
from collections import deque
from collections.abc import Callable, Mapping
from concurrent.futures import Future
from dataclasses import dataclass, field
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
from sateen.runtime.inference import ZERO, Values, part_records
from sateen.runtime.turns import Turns
from sateen.runtime.window import Job

__all__ = ["TURN_ITEMS", "Item", "Piece", "Submissions", "Tensors", "Turn", "one_turn", "take_turn"]

TURN_ITEMS = 16
"""Inferences after which others get the device."""
POLL_SECONDS = 0.002
"""How often a new submission is looked for while the last one is computed."""
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


class Sharing(Protocol):
    """What turns need of a device."""

    turn: Any
    """Held during a turn."""

    def stream(
        self, model: Model, part: Part, source: Callable[[], Job | None], *, poll_seconds: float | None = None
    ) -> None:
        """Places a model, and executes jobs of its inferences."""

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


def take_turn(
    device: Sharing, turn: Turn, source: Callable[[], Piece | None], *, poll_seconds: float | None = None
) -> list[Piece]:
    """Inferences in a turn of the device's, at most :data:`TURN_ITEMS`.

    The turn ends with the first that fails. Those that were on the way behind it are returned, to be done again: what
    the device held by then is unknown.
    """
    begun: list[Piece] = []
    again: list[Piece] = []
    count, broken = 0, False
    limit = device.limit(turn.model)

    def job() -> Job | None:
        nonlocal count
        while not broken and count < TURN_ITEMS and (piece := source()) is not None:
            count += 1
            try:
                item = Item(turn, piece.inputs, profiled=piece.profiled)
            except Exception as error:
                piece.failed(error)
                continue
            begun.append(piece)
            return Job(
                operations=item.operations(limit),
                busy_cycles=reached(limit),
                finish=partial(finish, piece, item),
            )
        return None

    def finish(piece: Piece, item: Item, answer: bytes | DeviceError) -> None:
        nonlocal broken
        begun.remove(piece)
        if broken:
            again.append(piece)
        elif isinstance(answer, DeviceError):
            broken = True
            piece.failed(device.explain(answer, turn.model, turn.part))
        else:
            try:
                outputs = item.finish(answer)
            except Exception as error:
                piece.failed(error)
            else:
                piece.done(outputs, item.counters)

    with device.turn:
        try:
            device.stream(turn.model, turn.part, job, poll_seconds=poll_seconds)
        except Exception as error:
            # It is the oldest one's. Where none had begun, the next one's.
            failed = begun.pop(0) if begun else source()
            if failed is None:
                raise
            failed.failed(error)
        if broken:
            device.forget()
    return [*again, *begun]


class Submissions:
    """Batches that threads have submitted to a loaded model. A thread works on them as long as there are any.

    Parameters
    ----------
    device : Sharing
    turn : Turn, optional
        The model's; without one, its inferences do not overlap.
    run : callable
        Runs a batch then, as :meth:`sateen.runtime.LoadedModel.run`.
    combine : callable
        The outputs of a batch from those of its items.
    """

    def __init__(
        self,
        device: Sharing,
        turn: Turn | None,
        *,
        run: Callable[[Any], Any],
        combine: Callable[[list[Tensors]], Any],
    ):
        self.device, self.turn, self.run, self.combine = device, turn, run, combine
        self._waiting: deque[Submission] = deque()
        self._pieces: deque[Piece] = deque()
        self._lock, self._working, self._closed = Turns(), False, False

    def submit(self, x: Any, inputs: Mapping[str, Array]) -> Future[Any]:
        """Runs a batch when those before it have run.

        Parameters
        ----------
        x
            As the user gave it.
        inputs
            The same, in the shapes of the graph.
        """
        submission = Submission(Future(), x, inputs)
        with self._lock:
            if self._closed:
                raise DeviceError("the device is closed; open it again")
            self._waiting.append(submission)
            if not self._working:
                self._working = True
                threading.Thread(target=self._work, daemon=True, name="sateen submissions").start()
        return submission.future

    def close(self) -> None:
        """Cancels what has not begun. What has is finished by whoever works on it. In a fork all is the parent's."""
        if not self._lock.here:
            return
        with self._lock:
            self._closed = True
            waiting = list(self._waiting)
            self._waiting.clear()
        for submission in waiting:
            submission.future.cancel()

    def _work(self) -> None:
        while True:
            with self._lock:
                if not self._waiting and not self._pieces:
                    self._working = False
                    return
            try:
                if self.turn is None:
                    self._run_whole()
                else:
                    again = take_turn(self.device, self.turn, self._next, poll_seconds=POLL_SECONDS)
                    self._pieces.extendleft(reversed(again))
            except BaseException:
                # The next submission begins a thread of its own.
                with self._lock:
                    self._working = False
                raise

    def _begin(self) -> Submission | None:
        """The next submission that is not cancelled."""
        while True:
            with self._lock:
                if not self._waiting:
                    return None
                submission = self._waiting.popleft()
            if submission.future.set_running_or_notify_cancel():
                return submission

    def _run_whole(self) -> None:
        if (submission := self._begin()) is not None:
            try:
                submission.future.set_result(self.run(submission.x))
            except BaseException as error:
                submission.fail(error)

    def _next(self) -> Piece | None:
        """The next item of the batches that have begun, or the first of the next batch."""
        while not self._pieces:
            submission = self._begin()
            if submission is None:
                return None
            self._pieces.extend(submission.pieces(self.combine))
        return self._pieces.popleft()


@dataclass(frozen=True, eq=False)
class Submission:
    """A batch, and its results so far."""

    future: Future[Any]
    x: Any
    inputs: Mapping[str, Array]
    outputs: dict[int, Tensors] = field(default_factory=dict)

    def fail(self, error: BaseException) -> None:
        """The batch's first error is its result."""
        if not self.future.done():
            self.future.set_exception(error)

    def pieces(self, combine: Callable[[list[Tensors]], Any]) -> list[Piece]:
        """Its items."""
        count = len(next(iter(self.inputs.values())))

        def done(item: int, outputs: Tensors, _: list[Counters]) -> None:
            self.outputs[item] = outputs
            if len(self.outputs) == count and not self.future.done():
                try:
                    self.future.set_result(combine([self.outputs[each] for each in range(count)]))
                except Exception as error:
                    self.fail(error)

        return [
            Piece(
                inputs={name: values[item : item + 1] for name, values in self.inputs.items()},
                done=partial(done, item),
                failed=self.fail,
            )
            for item in range(count)
        ]
