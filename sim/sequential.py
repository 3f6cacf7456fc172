"""The cycle model of the sequential engine: its control, state by state, from the descriptors alone.

Equal to the device's own counters to the cycle, but for channels whose scale is 2^7 or larger, which take longer.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache
from math import prod

from sateen.hw.spec.config import Config
from sateen.hw.spec.counters import Counters
from sateen.hw.spec.descriptor import CHANNELS_DIM, CHUNK_DIM, DESCRIPTOR_WORDS, PARAMETER_BYTES, Descriptor
from sateen.hw.spec.pe import Settings
from sateen.hw.spec.timing import RECORD, REQUANTIZE, settle

__all__ = ["SequentialModel"]

LOAD = DESCRIPTOR_WORDS + 1
"""Cycles in which a descriptor is read."""
REWIND = 2
"""Cycles until a block's weights begin anew."""
FIRST = PARAMETER_BYTES + 1
"""Cycles from a group's last sum to its first requantization."""


@dataclass(frozen=True)
class _Pace:
    """What the tiles of a layer have in common."""

    rows: int
    counts: tuple[int, ...]
    """Of the counters that walk over positions."""
    fast: int
    """The counter that is at hand."""
    fed: bool
    """A register at the array's edge takes beats before it computes."""
    beat: int
    """Cycles of a beat."""

    def walk(self, level: int) -> int:
        """Cycles from a beat to the next that a counter's advance costs."""
        return 0 if level == self.fast else 2 * (self.fast - level) + 2


@dataclass(frozen=True)
class _Edge:
    """The array's edge, in cycles from a state of the control on."""

    slot: int = 0
    """When what was read last is taken."""
    room: int = 0
    """When another beat can be."""
    busy_from: int = 0
    busy_until: int = 0
    """The PEs' latest stretch of cycles at work."""

    def shifted(self, cycles: int) -> _Edge:
        """From a later state on; what is long past is forgotten."""
        return _Edge(*(max(value - cycles, -1) for value in (self.slot, self.room, self.busy_from, self.busy_until)))

    def busy(self, start: int, end: int) -> int:
        """Cycles of the latest stretch within others."""
        return max(0, min(end, self.busy_until) - max(start, self.busy_from))


@lru_cache(maxsize=4096)
def _tile(pace: _Pace, edge: _Edge) -> tuple[int, int, _Edge]:
    """A tile's weights and beats: when its last beat is asked for, how many cycles wait for weights, and the edge."""
    asked = max(0, edge.slot) + pace.rows
    waiting = asked - edge.busy(0, asked)
    for level in [None, *_between(pace.counts, CHUNK_DIM + 1)]:
        asked = asked if level is None else max(asked + 1 + pace.walk(level), edge.slot)
        taken = max(asked + 1, edge.room)
        first = taken + pace.fed
        busy_from = edge.busy_from if first <= edge.busy_until else first
        edge = _Edge(slot=taken, room=taken + pace.beat, busy_from=busy_from, busy_until=first + pace.beat)
    return asked, waiting, edge


class SequentialModel:
    """Follows a run; between descriptors nothing remains but the writing of the last one's record."""

    def __init__(self, config: Config):
        self.config = config
        self.before = 0

    def descriptor(self, d: Descriptor) -> Counters:
        """Advances by one descriptor and says where its cycles went."""
        config, kind = self.config, self.config.pe_kind
        counts = tuple(dim.count for dim in d.activations.dims)
        settings = Settings(beats=d.activations.settings, weights=d.weights.settings)
        fast = max((dim for dim, count in enumerate(counts) if count > 1), default=0)
        pace = _Pace(
            rows=config.rows,
            counts=counts[CHUNK_DIM + 1 :],
            fast=fast,
            fed=kind.feed > 0,
            beat=kind.beat_cycles(settings),
        )
        blocks, groups = counts[:2]
        cycles, weights, results, output = self.before + LOAD, 0, 0, 0
        asked, waiting, edge = self._group(pace, counts)
        for index in range(blocks * groups):
            group = index % groups
            last = index == blocks * groups - 1
            # All counters are passed over on the way to the next group, or to the end.
            level = 0 if group == groups - 1 else CHANNELS_DIM
            flushed = asked + 1 + (2 * fast if last else pace.walk(level))
            idle = max(flushed, edge.busy_until)
            values = d.activations.positions * min(d.output.channels - group * config.cols, config.cols)
            done = idle + settle(config) + 1 + FIRST + REQUANTIZE * values + 1
            cycles += done + (REWIND if level == 0 and not last else 0)
            weights += waiting
            output = done - flushed - edge.busy(flushed, done)
            results += 0 if last else output
        self.before = RECORD
        busy = prod(counts) * pace.beat
        return Counters(
            cycles=cycles,
            busy=busy,
            weights=weights,
            activations=cycles - busy - weights - results - output,
            accumulators=results,
            output=output,
            link=0,
        )

    def _group(self, pace: _Pace, counts: tuple[int, ...]) -> tuple[int, int, _Edge]:
        """A group's tiles, as :func:`_tile` has one."""
        start = waiting = 0
        edge, asked = _Edge(), 0
        for level in [None, *_between(counts[CHANNELS_DIM + 1 : CHUNK_DIM + 1], CHANNELS_DIM + 1)]:
            if level is not None:
                begin = asked + 1 + pace.walk(level)
                start, edge = start + begin, edge.shifted(begin)
            asked, waited, edge = _tile(pace, edge)
            waiting += waited
        return (
            start + asked,
            waiting,
            _Edge(*(start + value for value in (edge.slot, edge.room, edge.busy_from, edge.busy_until))),
        )


def _between(counts: tuple[int, ...], first: int) -> list[int]:
    """The counters, of which the outermost has number ``first``, that advance between the values of a nest."""
    result: list[int] = []
    for place, count in reversed(list(enumerate(counts, first))):
        result = (result + [place]) * (count - 1) + result
    return result
