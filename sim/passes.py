"""The cycles of rows, of softmax and layer normalization: when lines are taken, and when their entries leave."""

from __future__ import annotations

from collections import deque
from dataclasses import dataclass

from sateen.hw.spec.config import Config
from sateen.hw.spec.descriptor import Descriptor, Rounding
from sateen.hw.spec.timing import Timing, row_cycles

__all__ = ["Passes", "normalize", "walk"]


@dataclass(frozen=True)
class Passes:
    """What passes over rows take; times are cycles, as the caller's."""

    last_line: int
    """When the last line is taken."""
    drained: int
    """When its last entries are read."""
    waiting: int
    """Cycles in which a line waits for the tables."""


def walk(d: Descriptor, config: Config, *, first: int, opened: int, tables_full: int) -> Passes:
    """Follows each line of a softmax through the pairs' register slice, whose two places hold the lines of a sum or of
    results until all lanes have taken them.

    Parameters
    ----------
    d, config
        The descriptor, and what it is compiled for.
    first, opened, tables_full
        When the first line is there, when the first entries can be read, and when the tables are complete.
    """
    t, group, lanes = Timing(config), config.group, config.lanes
    steps, length = d.output.dims[2].count, d.output.channels
    counts = [-(-min(config.cols, length - start) // lanes) for start in range(0, length, config.cols)]
    taken, waiting = first - group, 0
    arrivals = deque([first - group], maxlen=max(1, t.waiting_lines // group))
    """When the last lines were taken: so many may wait."""
    read = opened - 1
    """When the last entries of the line before are read."""
    left = deque([0, 0], maxlen=2)
    """When the last two lines left the slice."""
    arrival = first - group
    free = scale = settled = 0
    real = d.output.rounding == Rounding.FLOAT32
    paces, pace = t.paces if real else (1, 1), 1
    """Cycles that entries take in a sum and in results, and that those before take."""
    """When the reciprocal may begin; when the scale of the next results is there; when a row's maximum is known."""
    for step in range(steps):
        added = 0
        for number in range(3):
            for line, count in enumerate(counts):
                arrival = max(arrival + group, arrivals[0])
                ready = max(arrival, taken + 1)
                first_of_row = settled if number == line == 0 else 0
                taken = max(ready, left[0] + 1 if number else first_of_row)
                waiting += max(0, min(taken, tables_full) - ready)
                arrivals.append(taken)
                if not number:
                    continue
                begins = max(read + pace, taken + 1)
                pace = paces[number - 1]
                if number == 2 and line == 0 and step:
                    # The scale is there unless the one before has not been taken.
                    begins = max(begins, scale)
                    marked = begins + (t.entries_to_taken if real else t.entries_to_scale)
                read = begins + (count - 1) * pace
                left.append(read)
            if number == 0:
                settled = taken + t.row_to_row
            if number == 1:
                added = read + (t.entries_to_total if real else t.entries_to_sum)
        if real:
            # A sum that is done waits until the one before has been taken.
            scale = max(added, marked if step else 0)
            continue
        # The sum of this step, once that of the step before is done; its scale, once that one's has been taken.
        done = max(added, free) + t.reciprocal - 1
        scale = free = max(done, marked if step else 0) + 1
    return Passes(last_line=taken, drained=read, waiting=waiting)


def normalize(d: Descriptor, config: Config, *, first: int, tables_full: int) -> Passes:
    """Follows each line of a layer normalization: lines come in equal pairs, of which the first one's bytes are used,
    a byte a cycle. Parameters are those of :func:`walk`."""
    t, group, width = Timing(config), config.group, d.output.channels
    rows, lines = (dim.count for dim in d.output.dims[2:])
    arrivals = deque([first - group], maxlen=max(1, t.waiting_lines // group))
    arrival, waiting, free = first - group, 0, tables_full
    taken, ended = first - 1, 0
    for _ in range(rows):
        for _ in range(lines):
            for again in (False, True):
                arrival = max(arrival + group, arrivals[0])
                ready = max(arrival, taken + 1)
                taken = ready if again else max(ready, free)
                waiting += max(0, min(taken, tables_full) - ready)
                arrivals.append(taken)
                if not again:
                    free = taken + width
        # From a row's first line on, as if all had come in time.
        ended = free + row_cycles(0, config.layer_norm) + 5 * lines * width
        free = ended
    drained = ended + t.row_to_entries - 1 + -(-width // config.lanes)
    return Passes(last_line=taken, drained=drained, waiting=waiting)
