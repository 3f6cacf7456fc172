"""The cycle model: how long a program takes, from its descriptors alone.

Follows the handshakes between the units, one tile of weights at a time: when its words arrive, when it becomes the
current one, when its beats are taken, when a half of the accumulators fills and drains. Equal to the device's own
counters within 1 %; short layers within 2 cycles, or within 6 with PEs that load weights more slowly than words arrive.
Each cause is within 10 cycles more.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Sequence
from math import prod

from sateen.hw.spec.config import Config
from sateen.hw.spec.counters import Counters
from sateen.hw.spec.descriptor import CHUNK_DIM, SECTIONS, Combine, Descriptor
from sateen.hw.spec.pe import SELECTS_BIT, Settings
from sateen.hw.spec.timing import PARAMETER_QUEUE_DEPTH, Timing
from sateen.sim.sequential import SequentialModel

__all__ = ["predict"]


def predict(descriptors: Sequence[Descriptor], config: Config) -> list[Counters]:
    """The counters of each descriptor of a run; ``link`` is zero."""
    model = SequentialModel(config) if config.engine == "sequential" else _Model(config)
    return [model.descriptor(descriptor) for descriptor in descriptors]


class _Model:
    """The state of the units between descriptors; all times are cycles since RUN."""

    def __init__(self, config: Config):
        self.config = config
        self.timing = Timing(config)
        self.done = 0
        self.output_loaded = self.timing.first_word
        self.last_beat = 0
        self.words_done = 0
        self.shadow_free = 0
        self.parameters_free = 0
        self.queue = deque([0] * PARAMETER_QUEUE_DEPTH, maxlen=PARAMETER_QUEUE_DEPTH)
        """The times at which the last words of parameters left their queue."""

    def descriptor(self, d: Descriptor) -> Counters:
        """Advances by one descriptor, and returns its counters."""
        return self._tiles(d) if d.output.combine == Combine.NONE else self._look_up(d)

    def _look_up(self, d: Descriptor) -> Counters:
        """A descriptor of lookups: tables are loaded, then pairs of lines follow as fast as the lanes take their
        results."""
        t, config, begin = self.timing, self.config, self.done
        weights_loaded = self._load()
        tables_full = (
            max(self.output_loaded, weights_loaded + t.weight_store_latency) + t.output_to_table + d.weights.words
        )
        taken, arrived = self._parameters(tables_full, config.parameter_words // config.weight_rows)
        opened = arrived + t.parameters_to_full
        self.parameters_free = opened + t.open_to_free
        lines, lanes = d.activations.positions, -(-d.output.channels // config.lanes)
        pairs = lines // 2
        # When the first pair is used, all but the last line of the second are there.
        drained = opened + max(pairs * lanes, (pairs - 2) * 2 * config.group + 1 + lanes) - 1
        # Three lines are taken before the tables are complete, and wait.
        first = self.output_loaded + t.line_latency
        waiting = max(0, tables_full - (first + 3 * config.group)) if lines > 3 else 0
        last_line = drained + 1 - lanes if lines > 3 else first + (lines - 1) * config.group
        self.last_beat = last_line + (lines > 3)
        self.words_done = max(weights_loaded, taken - t.prefetched_words)
        self.done = drained + t.drain_to_done
        cycles, busy, output = self.done - begin, lines, self.done - last_line - 1
        return Counters(
            cycles=cycles,
            busy=busy,
            weights=waiting,
            activations=cycles - busy - waiting - output,
            accumulators=0,
            output=output,
            link=0,
        )

    def _parameters(self, word: int, count: int) -> tuple[int, int]:
        """``count`` reads of parameters follow the read at time ``word``: when the last of them enters its queue, and
        when it leaves."""
        left = self.queue[-1]
        for _ in range(count):
            # Room is known in the cycle after a word has left.
            word = max(word + 1, self.queue[0] + 2)
            left = max(left, word, self.parameters_free) + 1
            self.queue.append(left)
        return word, left

    def _load(self) -> int:
        """Hands over the sections in order, each when its unit is free; returns when the weights' is loaded."""
        t = self.timing
        weights_loaded = max(self.output_loaded + t.spare_words, self.words_done) + SECTIONS["weights"]
        activations_loaded = max(weights_loaded, self.last_beat + 2) + SECTIONS["activations"]
        self.output_loaded = max(activations_loaded, self.done + 1) + SECTIONS["output"]
        return weights_loaded

    def _tiles(self, d: Descriptor) -> Counters:
        """A descriptor of products: tiles of weights, and their beats."""
        t, config, kind, pace = self.timing, self.config, self.config.pe_kind, _Pace(d, self.config)
        begin = self.done
        weights_loaded = self._load()
        begins = max(weights_loaded, begin + t.operand_settle) if d.weights.waits else weights_loaded
        word = begins + t.weight_store_latency + t.weights_to_tile
        ready = fetched = self.output_loaded + t.activation_latency
        starved = waiting = part = 0
        released = [0] * (4 if d.quarters else 2)
        requests = _Requests(t, self.output_loaded, config.group, pace)
        drained = self.output_loaded
        for _ in range(pace.blocks):
            left = d.output.channels
            for group in range(pace.groups):
                free = released[part] + t.release_to_beat
                fetched = max(fetched, free)
                for tile in range(pace.tiles):
                    word = max(word, self.shadow_free - pace.lead) + pace.load_cycles
                    first = max(ready, fetched)
                    requests.add_gap(ready, first)
                    starved += requests.wait(free - requests.latency) if tile == 0 else 0
                    waiting += max(0, word - first)
                    self.shadow_free = first = max(first, word)
                    # Lines that arrived while the array waited let the first beats follow faster than lines are read.
                    fetched = max(fetched, first - t.waiting_lines)
                    last = max(first + (pace.beats - 1) * pace.beat_cycles, fetched + (pace.beats - 1) * config.group)
                    ready, fetched = last + pace.beat_cycles, fetched + pace.beats * config.group
                    requests.add_tile(last)
                self.last_beat = ready - 1
                # A register slice is between. A loader that is slower than its words has taken those of the last row
                # early.
                reads = d.weights.parameters(group, config.weight_rows) // config.weight_rows
                taken, arrived = self._parameters(word - pace.row, reads)
                word = max(word, taken + 1 + kind.restart - (pace.row - pace.row_cycles))
                opened = max(self.last_beat + t.beat_to_full, arrived + t.parameters_to_full, drained + t.reopen)
                self.parameters_free = opened + t.open_to_free
                drained = opened + d.activations.positions * -(-min(left, config.cols) // config.lanes)
                released[part] = drained
                part = (part + 1) % len(released)
                left -= config.cols
        self.words_done = max(weights_loaded, word - kind.load - t.prefetched_words)
        self.done = drained + t.drain_to_done
        cycles, output = self.done - begin, self.done - self.last_beat - 1
        return Counters(
            cycles=cycles,
            busy=pace.busy,
            weights=waiting,
            activations=cycles - pace.busy - waiting - starved - output,
            accumulators=starved,
            output=output,
            link=0,
        )


class _Requests:
    """When the activation unit asks for a descriptor's lines. It is ahead of the tile: while it waits for accumulators,
    the tile may still have no beat of the group before."""

    def __init__(self, t: Timing, begin: int, group: int, pace: _Pace):
        self.latency = t.release_to_beat - t.release_to_free
        self.next = begin + t.activation_latency - self.latency
        """The next request's time."""
        self.gaps = deque([(begin, begin + t.activation_latency)], maxlen=8)
        """When the tile had no beat, the last few times."""
        self.lines = pace.beats * group
        count = min(pace.beats, t.waiting_lines)
        self.ahead = (count - 1) * pace.beat_cycles
        self.taken = deque([begin], maxlen=-(-t.waiting_lines // count))
        """When it took the first of the last beats of a tile: so many lines may wait for it."""

    def add_gap(self, begin: int, end: int) -> None:
        """The tile has no beat for some cycles, or none."""
        if begin < end:
            self.gaps.append((begin, end))

    def add_tile(self, last: int) -> None:
        """A tile's lines are asked for; its beats are taken up to time ``last``."""
        self.taken.append(last - self.ahead)
        self.next = max(self.next + self.lines, self.taken[0])

    def wait(self, end: int) -> int:
        """The next request waits for accumulators until a time; in how many of these cycles the tile has no beat."""
        starved = sum(max(0, min(end, last) - max(self.next, first)) for first, last in self.gaps)
        self.next = max(self.next, end)
        return starved


class _Pace:
    """A layer's numbers of tiles and beats, and the cycles that each takes."""

    def __init__(self, d: Descriptor, config: Config):
        counts, kind = [dim.count for dim in d.activations.dims], config.pe_kind
        settings = Settings(beats=d.activations.settings, weights=d.weights.settings)
        # Words of selects are between those of weights; a tile's first one is taken before there is room for weights.
        selects = config.select_words if settings.weights >> SELECTS_BIT & 1 else 0
        self.blocks, self.groups = counts[:2]
        self.tiles, self.beats = prod(counts[2 : CHUNK_DIM + 1]), prod(counts[CHUNK_DIM + 1 :])
        self.beat_cycles, self.row_cycles = kind.beat_cycles(settings), kind.row_cycles(settings)
        steps = config.rows // config.weight_rows
        self.load_cycles = max(config.tile_depth // config.weight_rows + selects, steps * self.row_cycles)
        self.row = self.load_cycles // steps
        self.lead = kind.lead + (selects > 0)
        self.busy = self.blocks * self.groups * self.tiles * self.beats * (kind.waves or kind.beat_cycles)(settings)
