"""Where the segments of a model stand in a device's memories, and what of them is copied when.

Segments that come from SDRAM have places of their own, so that later ones are copied while others run: a segment may
lie where one stood that has run. Weights and programs have memories of their own, and need not be copied together.
"""

from __future__ import annotations

from bisect import bisect_left, bisect_right
from collections.abc import Iterable, Sequence
from copy import copy
from dataclasses import dataclass, replace
from functools import cached_property
from itertools import cycle, islice

from sateen.compiler import Model, Part, runs
from sateen.compiler.verification.decoding import records
from sateen.hw.spec.config import Config
from sateen.hw.spec.descriptor import DESCRIPTOR_WORDS
from sateen.hw.spec.wire import Space
from sateen.sim.cycles import predict

__all__ = ["DESCRIPTOR_BYTES", "Piece", "Plan", "Slot", "Stock", "visits"]

DESCRIPTOR_BYTES = 4 * DESCRIPTOR_WORDS
MEMORIES = (Space.WEIGHTS, Space.PROGRAM)
WIDTH = 256
"""Arrangements that the search keeps."""
TRIED = 32
"""Of them, those of which all copies are followed, at most."""
FOLLOWED = 2048
"""Segments whose copies are followed, about, in all of these."""
BESIDE = 3
"""Segments back beside which the search tries a place."""
GRAIN = 256
"""Bytes of which as many are copied as there is time for."""
SHARE = 0.95
"""Of the cycles of a run, those that copies may take."""
COPY_CYCLES = 48
"""That a copy takes besides its bytes, with the operation that asks for it."""


@dataclass(frozen=True, kw_only=True)
class Slot:
    """The place of a segment in the device's memories, in words of weights and in descriptors."""

    words: range
    descriptors: range


@dataclass(frozen=True, kw_only=True)
class Piece:
    """Bytes of a segment's weights or program."""

    segment: int
    space: Space
    first: int
    count: int


class Plan:
    """Where a model's segments go. In a pipelined engine with SDRAM each has a place that lets as much of it as
    possible be copied while others run; elsewhere all stand at the memories' beginning.

    Parameters
    ----------
    model : Model
    config : Config
        The device's.
    """

    def __init__(self, model: Model, config: Config):
        self.model, self.config = model, config
        word = config.weight_word_bytes
        self.sizes = [
            {Space.WEIGHTS: len(each.weights) * word, Space.PROGRAM: each.program.nbytes} for each in model.segments
        ]
        """Bytes of each segment in each memory."""

    @property
    def bytes(self) -> int:
        """Bytes of all segments."""
        return sum(sum(sizes.values()) for sizes in self.sizes)

    @cached_property
    def slots(self) -> tuple[Slot, ...]:
        """Each segment's place."""
        segments, config = self.model.segments, self.config
        words, descriptors = [len(each.weights) for each in segments], [each.count for each in segments]
        if config.sdram is None or config.engine != "pipelined" or len(segments) < 2:
            return _slots([range(count) for count in words], [range(count) for count in descriptors])
        times = [0] * len(segments)
        for part in self.parts:
            times[part.segment] += self.time(part)
        copies = [[size[space] / config.moved_bytes for size in self.sizes] for space in MEMORIES]
        (program, *_) = _arranged(descriptors, copies[1], times, room=config.descriptors, grain=1)
        found = _arranged(words, copies[0], times, room=config.weight_words, grain=config.weight_rows)
        tried = found[: max(1, min(TRIED, FOLLOWED // len(segments)))]
        return min((_slots(places, program) for places in tried), key=self._waiting)

    @cached_property
    def parts(self) -> list[Part]:
        """What runs in an inference, in order."""
        return [part for step in visits(self.model) for part in step]

    @cached_property
    def cycles(self) -> list[list[int]]:
        """Cycles of each descriptor of each segment, by the cycle model."""
        return [[each.cycles for each in predict(records(one.program), self.config)] for one in self.model.segments]

    def time(self, part: Part) -> int:
        """Cycles of a part, by the cycle model."""
        return sum(self.cycles[part.segment][part.first : part.first + part.count])

    def address(self, segment: int, space: Space) -> int:
        """The byte at which a segment stands in a memory."""
        unit = self.config.weight_word_bytes if space == Space.WEIGHTS else DESCRIPTOR_BYTES
        return _place(self.slots[segment], space).start * unit

    def _waiting(self, slots: tuple[Slot, ...]) -> float:
        """Cycles in which copies of segments go on and nothing runs, about, of the second of several inferences."""
        plan = copy(self)
        plan.slots = slots
        stock, count, cycles = Stock(plan), len(self.parts), 0.0
        for number, part in enumerate(2 * self.parts):
            waits = sum(self.copy_cycles(piece) for piece in stock.needed(part.segment))
            upcoming = (each.segment for each in islice(cycle(self.parts), number + 1, number + 1 + count))
            waits += max(0.0, sum(map(self.copy_cycles, stock.ahead(part, upcoming))) - self.time(part))
            cycles += waits if number >= count else 0.0
        return cycles

    def copy_cycles(self, piece: Piece) -> float:
        """What a piece takes, about."""
        return COPY_CYCLES + piece.count / self.config.moved_bytes


class Stock:
    """What of a model's segments is in a device's memories, by what was asked to be copied."""

    def __init__(self, plan: Plan):
        self.plan = plan
        self._here: dict[Space, dict[int, int]] = {space: {} for space in MEMORIES}
        """By memory and segment, how many of its first bytes are there."""

    def copy(self) -> Stock:
        """The same, to try what is copied next."""
        other = copy(self)
        other._here = {space: dict(here) for space, here in self._here.items()}
        return other

    def same(self, other: Stock) -> bool:
        """Whether another one says the same."""
        return self._here == other._here

    def needed(self, segment: int) -> list[Piece]:
        """What must be copied before a segment runs."""
        return [piece for space in MEMORIES for piece in self._take(space, segment)]

    def ahead(self, part: Part, upcoming: Iterable[int]) -> list[Piece]:
        """What is copied while a part runs: of the segments that are needed next, in this order, as much as there is
        time for, and the whole of the next one. None lies where one stands that is needed before it."""
        plan, width, pieces = self.plan, self.plan.config.moved_bytes, list[Piece]()
        time, passed = SHARE * plan.time(part), {part.segment}
        kept = {space: _Kept(self._range(part.segment, space)) for space in MEMORIES if not self._whole(space)}
        begins = {
            space: {each for each in self._begins[space] if each not in self._range(part.segment, space)}
            for space in kept
        }  # fmt: skip
        for number, segment in enumerate(upcoming):
            if number and (time - COPY_CYCLES) * width < GRAIN:
                break
            if segment in passed:
                continue
            for space, ranges in list(kept.items()):
                most = max(0, int((time - COPY_CYCLES) * width)) // GRAIN * GRAIN
                place = self._range(segment, space)
                room = ranges.first(place[self._here[space].get(segment, 0) :])
                for piece in self._take(space, segment, room if number == 0 else min(room, most)):
                    time -= plan.copy_cycles(piece)
                    pieces.append(piece)
                ranges.add(place)
                begins[space] = {each for each in begins[space] if each not in place}
                if not begins[space] and not self._started(space, ranges):
                    # Nothing of those behind may be copied.
                    del kept[space]
            if not kept:
                break
            passed.add(segment)
        return pieces

    def _whole(self, space: Space) -> bool:
        """Whether all segments are there."""
        return sum(self._here[space].values()) == self._bytes[space]

    @cached_property
    def _bytes(self) -> dict[Space, int]:
        """Bytes of all segments in each memory."""
        return {space: sum(size[space] for size in self.plan.sizes) for space in MEMORIES}

    def _range(self, segment: int, space: Space) -> range:
        """A segment's bytes in a memory."""
        begin = self.plan.address(segment, space)
        return range(begin, begin + self.plan.sizes[segment][space])

    def _started(self, space: Space, kept: _Kept) -> bool:
        """Whether the next byte of any segment of which others are there may be copied."""
        ranges = (self._range(segment, space)[count:] for segment, count in self._here[space].items())
        return any(kept.first(each[:1]) for each in ranges)

    @cached_property
    def _begins(self) -> dict[Space, set[int]]:
        """Where segments stand in each memory."""
        return {space: {self.plan.address(each, space) for each in range(len(self.plan.sizes))} for space in MEMORIES}

    def _take(self, space: Space, segment: int, most: int | None = None) -> list[Piece]:
        """The bytes that are missing, or the first of them. What they lie on is gone."""
        here = self._here[space]
        first = here.get(segment, 0)
        count = self.plan.sizes[segment][space] - first
        count = count if most is None else min(count, most)
        if not count:
            return []
        begin = self.plan.address(segment, space) + first
        self._here[space] = {
            other: size
            for other, size in here.items()
            if (start := self.plan.address(other, space)) >= begin + count
            or start + self.plan.sizes[other][space] <= begin
        } | {segment: first + count}
        return [Piece(segment=segment, space=space, first=first, count=count)]


def visits(model: Model) -> list[list[Part]]:
    """By step, the parts that run, in order."""
    found = []
    for step in model.steps:
        layers = model.layers[step.first : step.first + step.count]
        if step.tiles:
            found.append([part for tile in step.tiles for part in runs(tile.parts)])
        else:
            found.append(runs([part for layer in layers for part in layer.parts]))
    return found


def _slots(words: Iterable[range], descriptors: Iterable[range]) -> tuple[Slot, ...]:
    return tuple(Slot(words=one, descriptors=other) for one, other in zip(words, descriptors, strict=True))


def _place(slot: Slot, space: Space) -> range:
    return slot.words if space == Space.WEIGHTS else slot.descriptors


class _Kept:
    """Bytes of a memory, as few ranges in order."""

    def __init__(self, first: range):
        self._ranges = [first] if first else []

    def add(self, new: range) -> None:
        """Adds those of a range."""
        if not new:
            return
        begin = bisect_left(self._ranges, new.start, key=lambda each: each.stop)
        end = bisect_right(self._ranges, new.stop, key=lambda each: each.start)
        if met := self._ranges[begin:end]:
            new = range(min(new.start, met[0].start), max(new.stop, met[-1].stop))
        self._ranges[begin:end] = [new]

    def first(self, place: range) -> int:
        """How many bytes of a range come before the first of these."""
        index = bisect_right(self._ranges, place.start, key=lambda each: each.stop)
        begin = self._ranges[index].start if index < len(self._ranges) else place.stop
        return max(0, min(begin, place.stop) - place.start)


@dataclass(frozen=True, eq=False, kw_only=True, slots=True)
class _Arrangement:
    """The place of a segment behind those of others, and when it has run if copies go on without a pause."""

    before: _Arrangement | None = None
    place: range = range(0)
    end: float = 0.0
    copied: float = 0.0
    """When all copies have ended."""
    round: tuple[range, ...] = ()
    """The places of all segments, from the second round on."""

    def with_one(self, place: range, copy: float, time: float) -> _Arrangement:
        """The same with the next segment at a place, copied once those that stood there have run."""
        copied = max(self.copied, self._free(place)) + copy
        return _Arrangement(
            before=self, place=place, end=max(copied, self.end) + time, copied=copied, round=self.round
        )  # fmt: skip

    def _free(self, place: range) -> float:
        """When the last segment that stood at a place has run."""
        each = self
        while each.before is not None:
            if place.start < each.place.stop and each.place.start < place.stop:
                return each.end
            each = each.before
        return 0.0

    def places(self, most: int) -> tuple[range, ...]:
        """The last places, in order, ``most`` of them if there are as many."""
        found, each = list[range](), self
        while each.before is not None and len(found) < most:
            found.append(each.place)
            each = each.before
        return tuple(reversed(found))


def _arranged(
    sizes: Sequence[int], copies: Sequence[float], times: Sequence[float], *, room: int, grain: int
) -> list[tuple[range, ...]]:
    """Places in a memory of ``room`` words for segments that run one after the other, again and again: at its
    beginning, at its end, or beside one of the segments before, as lets two rounds end the soonest. The best that a
    beam search finds, in order."""
    kept = [_Arrangement()]
    for segment, size in enumerate(sizes):
        made = []
        for each in kept:
            # One without bytes stands anywhere.
            starts = [0, room - size] if size else [0]
            for place in each.places(BESIDE) if size else ():
                starts += [place.stop + -place.stop % grain, place.start - size]
            for start in dict.fromkeys(start // grain * grain for start in starts):
                if 0 <= start <= room - size:
                    made.append(each.with_one(range(start, start + size), copies[segment], times[segment]))
        kept = _best(made)
    kept = [replace(each, round=each.places(len(sizes))) for each in kept]
    for segment in range(len(sizes)):
        kept = _best([each.with_one(each.round[segment], copies[segment], times[segment]) for each in kept])
    return [each.round for each in kept]


def _best(arrangements: Iterable[_Arrangement]) -> list[_Arrangement]:
    return sorted(arrangements, key=lambda each: (each.end, each.copied))[:WIDTH]
