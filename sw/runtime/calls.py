"""Inferences of several parts that overlap: each sends its inputs and a CALL and receives its outputs, so that the next
inputs travel while the device computes."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from copy import copy

from sateen.compiler import Model
from sateen.graph import Array
from sateen.hw.spec.counters import Counters
from sateen.runtime.inference import AT_ONCE, Inference, Job
from sateen.runtime.link import Operation
from sateen.runtime.pipeline import Piece, Sharing, Tensors
from sateen.runtime.slots import visits
from sateen.runtime.spill import Spill

__all__ = ["CalledTurn", "called_turn"]

TRIES = 3
"""Inferences after which the next one finds on the device what all that follow will find."""


def called_turn(model: Model) -> CalledTurn | None:
    """The turn of a model in SDRAM, unless the host computes between the device's steps, or inferences wait for one
    another because of states."""
    places = [place for place, step in enumerate(model.steps) if not step.host]
    together = places == list(range(len(model.steps)))[places[0] : places[-1] + 1] if places else False
    parts = sum(map(len, visits(model)))
    return CalledTurn(model) if together and not model.graph.states and parts < AT_ONCE else None


class CalledTurn:
    """A model in SDRAM whose every inference may be one CALL. See :class:`sateen.runtime.pipeline.Turn`."""

    def __init__(self, model: Model):
        self.model, self.part = model, None
        self.parts = tuple(part for step in visits(model) for part in step)
        self.inference: Inference | None = None
        """Runs those that do not overlap."""
        self.spilled = self.waited = 0
        """See :class:`sateen.runtime.pipeline.Overlaps`."""
        self._failures = 0

    @property
    def span(self) -> tuple[int, int]:
        """The number of the first layer, and of all."""
        return 0, len(self.model.layers)

    def begin(self, device: Sharing) -> None:
        """A turn of the device's begins. What needs the link is done here."""
        self.inference, self.spilled = Inference(device, self.model), 0
        # What failed before may do now.
        self._failures = min(self._failures, TRIES)
        if device.shelf is not None:
            device.shelf.load(self.model)

    def item(self, device: Sharing, piece: Piece) -> CalledItem | None:
        """An inference; ``None`` if it must run alone: its counters are wanted, what is on the device is not what an
        inference leaves there, or its operations are more than a CALL."""
        assert self.inference is not None
        if piece.profiled or self._failures > TRIES:
            return None
        item = CalledItem(device, self.inference, piece.inputs)
        if item.calls is None:
            self._failures += 1
            return None
        self._failures, self.spilled = 0, self.spilled + item.spilled
        return item

    def alone(self, piece: Piece) -> None:
        """Runs an inference that :meth:`item` refused."""
        assert self.inference is not None and self.inference.spill is not None
        self.inference.spill.moved = 0
        try:
            found = self.inference.run(piece.inputs, layers=False, profiled=piece.profiled)
        except Exception as error:
            piece.failed(error)
        else:
            self.spilled += self.inference.spill.moved
            self.waited = self.inference.waited if piece.profiled else self.waited
            piece.done(*found)


class CalledItem:
    """One inference. See :class:`sateen.runtime.pipeline.Item`."""

    def __init__(self, device: Sharing, inference: Inference, inputs: Mapping[str, Array]):
        self.counters: list[Counters] = []
        self._deferred = _Deferred(inference)
        jobs, following = self._deferred.prepare(inputs)
        self.spilled = self._deferred.spill.moved
        """Bytes of tensors that it moves from and to SDRAM."""
        self.calls = None
        if self._deferred.complete:
            self.calls = device.calling(inference.model, jobs, following, self._deferred.leading)

    def operations(self, limit: int) -> Sequence[Operation]:
        """What the device does."""
        assert self.calls is not None
        return self.calls[0]

    def busy(self, limit: int) -> int:
        """Cycles that its programs take at most."""
        assert self.calls is not None
        return self.calls[1]

    def finish(self, answer: bytes) -> Tensors:
        """The outputs, from what the device has answered."""
        return self._deferred.finish(answer)


class _Deferred(Inference):
    """An inference that first says what it needs of the device, and goes on when that has answered."""

    def __init__(self, inference: Inference):
        self.__dict__.update(vars(inference))
        assert inference.spill is not None
        self.spill: Spill = copy(inference.spill)
        self.spill.here, self.spill.moved = set(), 0
        self.leading: list[Operation] = []
        """What is sent first."""
        self.complete = True
        """The host needs nothing from SDRAM behind the device's steps."""
        self._last = max(place for place, step in enumerate(self.model.steps) if not step.host)

    def prepare(self, inputs: Mapping[str, Array]) -> tuple[list[Job], Sequence[int]]:
        """Runs the steps up to the device's last. Returns what that runs, and the segments that are needed behind."""
        self._begin(inputs, profiled=False)
        for number in range(self._last + 1):
            self._step(number, layers=False)
        steps, graph = self.model.steps[self._last + 1 :], self.model.graph
        needed = [*graph.results, *(name for step in steps for name in self.ops[step.host].inputs)]
        self.complete = not any(self.spill.has(name) and not self.values.knows(name) for name in needed)
        jobs = [job for each in self._waiting for job in each.jobs]
        return jobs, self._waiting[-1].following

    def finish(self, answer: bytes) -> Tensors:
        """Takes what the device has read, and runs the other steps; the graph's results."""
        waiting, self._waiting = self._waiting, []
        for each in waiting:
            answer = each.finish(answer)
        for number in range(self._last + 1, len(self.model.steps)):
            self._step(number, layers=False)
        return {name: self.values[name] for name in self.model.graph.results}

    def _send(self, operation: Operation) -> None:
        self.leading.append(operation)
