"""Batches that threads submit to a loaded model, and wait for later."""

from __future__ import annotations

import threading
from collections import deque
from collections.abc import Callable, Mapping
from concurrent.futures import Future
from dataclasses import dataclass, field
from functools import partial
from typing import Any

from sateen.errors import DeviceError
from sateen.graph import Array
from sateen.hw.spec.counters import Counters
from sateen.runtime.pipeline import Overlaps, Piece, Sharing, Tensors, take_turn
from sateen.runtime.turns import Turns

__all__ = ["Submissions"]

POLL_SECONDS = 0.002
"""How often a new submission is looked for while the last one is computed."""


class Submissions:
    """Batches that threads have submitted to a loaded model. A thread works on them as long as there are any.

    Parameters
    ----------
    device : Sharing
    turn : Overlaps, optional
        The model's; without one, its inferences do not overlap.
    run : callable
        Runs a batch then, as :meth:`sateen.runtime.LoadedModel.run`.
    combine : callable
        The outputs of a batch from those of its items.
    """

    def __init__(
        self,
        device: Sharing,
        turn: Overlaps | None,
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
