"""The cycle model of the sequential engine: its control, state by state, from the descriptors alone.

Equal to the device's own counters to the cycle, but for channels whose scale is 2^7 or larger, which take longer.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache
from math import prod

from sateen.hw.spec.config import Config
from sateen.hw.spec.counters import Counters
from sateen.hw.spec.descriptor import DESCRIPTOR_WORDS, Descriptor
from sateen.hw.spec.nests import CHANNELS_DIM, CHUNK_DIM
from sateen.hw.spec.parameters import PARAMETER_BYTES
from sateen.hw.spec.pe import Settings
from sateen.hw.spec.timing import RECORD_CYCLES, REQUANTIZE_CYCLES, flush_cycles

__all__ = ["SequentialModel"]

LOAD = DESCRIPTOR_WORDS + 1
"""Cycles for reading a descriptor."""
REWIND = 2
"""Cycles for going back to the first weights, for the next block."""
FIRST = PARAMETER_BYTES + 1
"""Cycles from a group's last sum to its first requantization."""


@dataclass(frozen=True)
class _Pace:
    """The numbers that all tiles of a layer share."""

    rows: int
    counts: tuple[int, ...]
    """Counts of the counters that walk over positions."""
    inner: int
    """The innermost counter that counts above 1, which the control has in registers."""
    fed: bool
    """A register at the array's edge takes a beat before the array computes."""
    beat: int
    """Cycles of a beat."""

    def walk(self, level: int) -> int:
        """Extra cycles between two beats when the counter ``level`` advances."""
        return 0 if level == self.inner else 2 * (self.inner - level) + 2


@dataclass(frozen=True)
class _Edge:
    """The array's edge; all times in cycles from a state of the control on."""

    slot: int = 0
    """When the last line that was read is taken."""
    room: int = 0
    """When another beat can be taken."""
    busy_from: int = 0
    busy_until: int = 0
    """The latest interval in which the PEs work."""

    def shifted(self, cycles: int) -> _Edge:
        """The same, from a later state on; times before that become −1."""
        return _Edge(*(max(value - cycles, -1) for value in (self.slot, self.room, self.busy_from, self.busy_until)))

    def busy(self, start: int, end: int) -> int:
        """Cycles of that interval from ``start`` to ``end``."""
        return max(0, min(end, self.busy_until) - max(start, self.busy_from))


@lru_cache(maxsize=4096)
def _tile(pace: _Pace, edge: _Edge) -> tuple[int, int, _Edge]:
    """A tile's weights and beats: when its last beat is requested, the cycles that wait for weights, and the edge
    then."""
    requested = max(0, edge.slot) + pace.rows
    waiting = requested - edge.busy(0, requested)
    for level in [None, *_advances(pace.counts, CHUNK_DIM + 1)]:
        requested = requested if level is None else max(requested + 1 + pace.walk(level), edge.slot)
        taken = max(requested + 1, edge.room)
        first = taken + pace.fed
        busy_from = edge.busy_from if first <= edge.busy_until else first
        edge = _Edge(slot=taken, room=taken + pace.beat, busy_from=busy_from, busy_until=first + pace.beat)
    return requested, waiting, edge


class SequentialModel:
    """Follows a run. Between descriptors, only the writing of the last one's record is left."""

    def __init__(self, config: Config):
        self.config = config
        self.record_left = 0

    def descriptor(self, d: Descriptor) -> Counters:
        """Advances by one descriptor, and returns its counters."""
        config, kind = self.config, self.config.pe_kind
        counts = tuple(dim.count for dim in d.activations.dims)
        settings = Settings(beats=d.activations.settings, weights=d.weights.settings)
        inner = max((dim for dim, count in enumerate(counts) if count > 1), default=0)
        pace = _Pace(
            rows=config.rows,
            counts=counts[CHUNK_DIM + 1 :],
            inner=inner,
            fed=kind.feed > 0,
            beat=kind.beat_cycles(settings),
        )
        blocks, groups = counts[:2]
        cycles, weights, results, output = self.record_left + LOAD, 0, 0, 0
        requested, waiting, edge = self._group(pace, counts)
        for index in range(blocks * groups):
            group = index % groups
            last = index == blocks * groups - 1
            # The control passes all counters on the way to the next group, or to the end.
            level = 0 if group == groups - 1 else CHANNELS_DIM
            flushed = requested + 1 + (2 * inner if last else pace.walk(level))
            idle = max(flushed, edge.busy_until)
            values = d.activations.positions * min(d.output.channels - group * config.cols, config.cols)
            done = idle + flush_cycles(config) + 1 + FIRST + REQUANTIZE_CYCLES * values + 1
            cycles += done + (REWIND if level == 0 and not last else 0)
            weights += waiting
            output = done - flushed - edge.busy(flushed, done)
            results += 0 if last else output
        self.record_left = RECORD_CYCLES
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
        edge, requested = _Edge(), 0
        for level in [None, *_advances(counts[CHANNELS_DIM + 1 : CHUNK_DIM + 1], CHANNELS_DIM + 1)]:
            if level is not None:
                begin = requested + 1 + pace.walk(level)
                start, edge = start + begin, edge.shifted(begin)
            requested, waited, edge = _tile(pace, edge)
            waiting += waited
        return (
            start + requested,
            waiting,
            _Edge(*(start + value for value in (edge.slot, edge.room, edge.busy_from, edge.busy_until))),
        )


def _advances(counts: tuple[int, ...], first: int) -> list[int]:
    """The counters that advance between the items of a nest, in order; the outermost is number ``first``."""
    result: list[int] = []
    for place, count in reversed(list(enumerate(counts, first))):
        result = (result + [place]) * (count - 1) + result
    return result
