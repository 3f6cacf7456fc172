"""Operations of inferences as lists, which lie in SDRAM beside a model's weights: one CALL runs many of them.

What an inference asks of a device depends on what is there already, and is the same for all but the first. So the first
few are rehearsed when a model is loaded, without a device. Where a run later asks for operations that are in a list, it
sends a CALL in their place; all others are sent as they are.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from itertools import groupby
from types import SimpleNamespace
from typing import Any, cast

import numpy as np

from sateen.compiler import Model, Part
from sateen.graph import Array
from sateen.graph.ops import Op
from sateen.hw.spec.config import Config
from sateen.hw.spec.wire import Op as Code
from sateen.hw.spec.wire import OpHeader
from sateen.runtime.frames import MOST_MOVED, Operation, moved_cycles, reached, wait
from sateen.runtime.frames import run as start
from sateen.runtime.inference import Inference, Job, Runner
from sateen.runtime.limits import allowed_cycles, limit_of
from sateen.runtime.slots import Piece, Plan, Stock

__all__ = ["Lists", "Placing", "called", "ordered", "rehearsed"]

LISTABLE = (Code.RUN, Code.WAIT, Code.SEEK, Code.COPY, Code.STORE)
LEAST = 3
"""Operations for which a CALL is worth while."""
SIZE = OpHeader.LAYOUT.size
MOST_BYTES = MOST_MOVED // SIZE * SIZE
"""Of one CALL."""
REHEARSED = 4
"""Inferences, at most: each finds what the one before has copied."""
TENSORS = 1 << 31
"""Where tensors begin in a list before it has a place; the model begins at 0."""
HEADER = np.dtype([("op", "u1"), ("space", "u1"), ("length", "<u2"), ("address", "<u4")])
Placing = Callable[[Sequence[Piece]], tuple[list[Operation], int]]
"""Gives the operations that copy pieces of segments into a device's memories, and their cycles besides the link's."""


def ordered(
    stock: Stock, jobs: Sequence[Job], following: Sequence[int], placing: Placing, limit: Callable[[Part], int],
    *, ahead: bool,
) -> tuple[list[Operation], int]:  # fmt: skip
    """The operations that run parts one after the other, and the cycles that they take at most.

    Parameters
    ----------
    stock
        What is on the device; it is told what is copied.
    following
        Segments that are needed behind these parts.
    limit
        Cycles after which the device ends a part's program.
    ahead
        Copy what is needed next while a part runs.
    """
    operations, busy = list[Operation](), 0
    for place, (part, before, after) in enumerate(jobs):
        here, cycles = placing(stock.needed(part.segment))
        upcoming = [*(job[0].segment for job in jobs[place + 1 :]), *following]
        beside, more = placing(stock.ahead(part, upcoming)) if ahead else ([], 0)
        # A program may wait for copies beside it.
        most = limit(part) + cycles + more
        first = part.first + stock.plan.slots[part.segment].descriptors.start
        # What is written comes first, so that one CALL runs the rest.
        operations += [*before, *here, start(first, part.count, limit=most), *beside, wait(), *after]
        busy += reached(most) + cycles + more + moved_cycles([*before, *after])
    return operations, busy


def rehearsed(model: Model, config: Config, plan: Plan, copying: Placing) -> Lists:
    """The lists of a model's inferences, by what ``copying`` says of a model at byte 0 of the SDRAM."""
    rehearsal = _Rehearsal(model, config, plan, copying)
    graph, data, before = model.graph, b"", b""
    inputs = {name: np.zeros((1, *graph.tensors[name].shape[1:]), np.int8) for name in graph.sources}
    inference = _Inference(cast(Runner, rehearsal), model)
    for _ in range(REHEARSED if model.segments else 0):
        rehearsal.asked = []
        inference.run(inputs, layers=False, profiled=False)
        runs = [_encoded(group) for listed, group in _groups(rehearsal.asked) if listed]
        if b"".join(runs) == before:
            break
        before = b"".join(runs)
        for each in runs:
            if _find(data, each) is None:
                data += each
    return Lists(data=data, tensors=rehearsal.reserved)


@dataclass(frozen=True, kw_only=True)
class Lists:
    """Operations one behind the other, of a model that begins at byte 0 of the SDRAM."""

    data: bytes
    tensors: int
    """Bytes of tensors, which lie at the SDRAM's end, and for the list at :data:`TENSORS`."""

    def placed(self, base: int, capacity: int) -> bytes:
        """The same, of a model that begins at byte ``base`` of an SDRAM."""
        headers = np.frombuffer(self.data, HEADER).copy()
        seeks, address = headers["op"] == Code.SEEK, headers["address"].astype(np.int64)
        moved = np.where(address >= TENSORS, address - TENSORS + capacity - self.tensors, address + base)
        headers["address"] = np.where(seeks, moved, address)
        return headers.tobytes()


def called(operations: Sequence[Operation], lists: bytes, place: int) -> list[Operation]:
    """The same operations, with a CALL for those that stand together in lists, which lie at byte ``place`` of the
    SDRAM."""
    found = list[Operation]()
    for listed, group in _groups(operations):
        first = _find(lists, encoded := _encoded(group)) if listed else None
        if first is None:
            found += group
        else:
            for begin in range(0, len(encoded), MOST_BYTES):
                length = min(MOST_BYTES, len(encoded) - begin)
                found.append(Operation(OpHeader(Code.CALL, length=length, address=place + first + begin)))
    return found


class _Rehearsal:
    """What an inference uses of a device, which notes what it is asked, and answers zeros."""

    def __init__(self, model: Model, config: Config, plan: Plan, copying: Placing):
        self.model, self.config, self.copying = model, config, copying
        self.stock, self.allowed = Stock(plan), allowed_cycles(model, config)
        self.link = SimpleNamespace(transaction=_zeros)
        self.shelf, self.reserved = SimpleNamespace(reserve=self._reserve), 0
        self.asked: list[Operation] = []

    def _reserve(self, size: int) -> int:
        self.reserved = size
        return TENSORS

    def run_all(
        self, model: Model, jobs: Sequence[Job], following: Sequence[int] = (), leading: Sequence[Operation] = ()
    ) -> bytes:
        """See :meth:`sateen.runtime.device.Device.run_all`."""

        def limit(part: Part) -> int:
            return limit_of(self.stock.plan, part, self.allowed)

        operations, _ = ordered(self.stock, jobs, following, self.copying, limit, ahead=True)
        # No list goes on from one request to the next.
        self.asked += [*operations, Operation(OpHeader(Code.READ))]
        return _zeros(operations)


class _Inference(Inference):
    """One whose host computes nothing."""

    def _computed(self, op: Op) -> Array:
        return np.zeros((1, *self.model.graph.tensors[op.output].shape[1:]), np.int8)


def _zeros(operations: Sequence[Operation], **_: Any) -> bytes:
    return bytes(sum(each.header.length for each in operations if each.header.op == Code.READ))


def _groups(operations: Sequence[Operation]) -> Iterator[tuple[bool, list[Operation]]]:
    """Operations that stand together in a list, and others."""
    for listable, group in groupby(operations, key=lambda each: each.header.op in LISTABLE):
        each = list(group)
        yield listable and len(each) >= LEAST, each


def _encoded(operations: Sequence[Operation]) -> bytes:
    return b"".join(each.header.encode() for each in operations)


def _find(lists: bytes, wanted: bytes) -> int | None:
    """Where operations stand in lists."""
    place = lists.find(wanted)
    while place >= 0 and place % SIZE:
        place = lists.find(wanted, place + 1)
    return place if place >= 0 else None
