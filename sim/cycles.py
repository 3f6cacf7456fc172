"""The cycle model: how long a program takes, from its descriptors alone.

Follows the handshakes between the units, one tile of weights at a time: when its words arrive, when it becomes the
current one, when its beats are taken, when a half of the accumulators fills and drains. Equal to the device's own
counters within 1 %; short layers within 2 cycles, or within 6 with PEs that load weights more slowly than words arrive.
Where a layer with residual bytes follows one without, its items may begin at another of the times that they have, so
that it ends earlier or later by an item's cycles. Each cause is within 10 cycles more; but with ``overlap``, lines that
wait for the normalization of rows before them are counted as waiting for the memory, and by the device as waiting for
results if a descriptor follows.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Sequence
from math import prod

from sateen.hw.spec.combining import Combine
from sateen.hw.spec.config import Config
from sateen.hw.spec.counters import Counters
from sateen.hw.spec.descriptor import MOST_AHEAD, SECTIONS, Descriptor
from sateen.hw.spec.nests import CHUNK_DIM
from sateen.hw.spec.pe import SELECTS_BIT, Settings
from sateen.hw.spec.recurrent import UNIT_CYCLES, UNIT_SUMS, Target
from sateen.hw.spec.residual import sum_words
from sateen.hw.spec.timing import PARAMETER_QUEUE_DEPTH, Timing
from sateen.sim.passes import normalize, walk
from sateen.sim.sequential import SequentialModel

__all__ = ["predict"]


def predict(descriptors: Sequence[Descriptor], config: Config) -> list[Counters]:
    """The counters of each descriptor of a run; ``link`` is zero."""
    if config.engine == "sequential":
        sequential = SequentialModel(config)
        return [sequential.descriptor(descriptor) for descriptor in descriptors]
    model = _Model(config)
    counters = [model.descriptor(descriptor) for descriptor in descriptors]
    if config.overlap and counters:
        # The last one's results are nobody else's.
        output = model.done - model.last_beat - 1
        cycles, busy = model.late
        counters[-1] += Counters(output + cycles, busy, 0, cycles - busy, 0, output, 0)
    return counters


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
        self.drains: list[int] = []
        """The times at which parts of the accumulators were drained: those of this descriptor, with ``overlap`` of
        all."""
        self.next_request = self.activations_loaded = 0
        self.gates: list[tuple[int, int]] = []
        """Lines that the next descriptor may read before a time, and that time."""
        self.sum_free = 0
        """When the words of the next residual sum can be taken, after those of the last."""
        self.done_before, self.halves_before = 0, False
        """Of the descriptor before, with ``overlap``: when it was done, and whether it took halves."""
        self.late = 0, 0
        """Cycles of its last beat that count for the next one, since a beat of several cycles is taken in its first;
        and those of them in which the PEs compute."""

    def descriptor(self, d: Descriptor) -> Counters:
        """Advances by one descriptor, and returns its counters."""
        return self._tiles(d) if d.output.combine == Combine.NONE else self._look_up(d)

    def _look_up(self, d: Descriptor) -> Counters:
        """A descriptor of lookups: tables are loaded, then pairs of lines follow as fast as the lanes take their
        results."""
        t, config, begin = self.timing, self.config, self._begin()
        weights_loaded = self._load()
        if d.weights.words:
            tables_full = (
                max(self.output_loaded, weights_loaded + t.weight_store_latency) + t.output_to_table + d.weights.words
            )
            taken, arrived = self._parameters(tables_full, config.parameter_words // config.weight_rows)
        else:
            taken, arrived = self._parameters(
                weights_loaded + t.weight_store_latency - 1, config.parameter_words // config.weight_rows
            )
            tables_full = self.output_loaded + t.loaded_to_full
        opened = max(arrived + t.parameters_to_full, tables_full)
        self.parameters_free = opened + t.open_to_free
        request = max([self._first_request(), *(time for _, time in self.gates)])
        first = request + t.line_latency - t.loaded_to_first
        if d.output.softmax or d.output.layer_norm:
            lines = prod(dim.count for dim in d.activations.dims)
            if d.output.softmax:
                walked = walk(d, config, first=first, opened=opened, tables_full=tables_full)
            else:
                walked = normalize(d, config, first=first, tables_full=tables_full)
            drained, waiting, last_line = walked.drained, walked.waiting, walked.last_line + 1
            self.last_beat = last_line
        else:
            lines, lanes = d.activations.positions, -(-d.output.channels // config.lanes)
            pairs = lines // 2
            # When the first pair is used, all but the last line of the second are there.
            drained = opened + max(pairs * lanes, (pairs - 2) * 2 * config.group + 1 + lanes) - 1
            if not d.weights.words:
                # A pair is there a cycle after its second line.
                drained = max(drained, first + config.group + pairs * lanes, first + (lines - 1) * config.group + lanes)
            # Four lines are taken before the tables are complete. Of more, the fifth waits.
            waiting = max(0, tables_full - (first + 3 * config.group)) if lines > 4 else 0
            last_line = drained + 1 - lanes if lines > 4 else first + (lines - 1) * config.group
            self.last_beat = last_line + (lines > 4)
        self.words_done = max(weights_loaded, taken - t.prefetched_words)
        done_before, self.done = self.done, drained + t.drain_to_done
        cycles, busy, output = self.done - begin, lines, self.done - last_line - 1
        if config.overlap:
            self.next_request = last_line - first + request + 1
            self.gates = [(0, self.done + t.done_to_request)]
            late, self.late = self.late, (0, 0)
            cycles, output = self.last_beat + 1 - begin + late[0], max(0, done_before - begin)
            busy += late[1]
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
        if self.config.overlap:
            handed = self.output_loaded + t.spare_words + SECTIONS["weights"]
            weights_loaded = max(handed + 1, self.words_done + SECTIONS["weights"])
            activations_loaded = max(handed, self.activations_loaded) + SECTIONS["activations"]
            self.activations_loaded = activations_loaded
        self.output_loaded = max(activations_loaded, self.done + 1) + SECTIONS["output"]
        return weights_loaded

    def _begin(self) -> int:
        """The time from which on cycles are the next descriptor's."""
        if not self.config.overlap:
            self.drains.clear()
            return self.done
        return self.last_beat + 1 if self.last_beat else 0

    def _first_request(self) -> int:
        """The time of a descriptor's first request, as far as the sections and the one before are concerned; the time
        from which the section of the next one is taken."""
        t = self.timing
        if not self.config.overlap:
            return self.output_loaded + t.loaded_to_first
        request = max(self.activations_loaded + t.loaded_to_request, self.next_request + t.request_to_request)
        self.activations_loaded = request - t.loaded_to_request
        return request

    def _part_free(self, quarters: bool, parts: int) -> int:
        """When the next part of the accumulators is free, after so many of this descriptor."""

        def drained(back: int) -> int:
            return self.drains[-back] if len(self.drains) >= back else 0

        if not quarters:
            return drained(2)
        if parts < 4 and self.halves_before:
            t = self.timing
            return max(drained(4), min(drained(2), self.done_before + t.done_to_request - t.release_to_free))
        return drained(4)

    def _drained(self, d: Descriptor, opened: int, channels: int) -> int:
        """When the last sums of a part of the accumulators are read, after it was opened."""
        positions, t = d.activations.positions, self.timing
        if d.output.recurrent is None:
            items = positions * -(-channels // self.config.lanes)
            if d.output.residual is None:
                return opened + items
            begin = opened + 1
            begin += (self.output_loaded + t.loaded_to_item - begin) % t.residual_pace
            return begin + t.residual_pace * (items - 1)
        begin = opened + t.opened_to_unit
        begin += (self.output_loaded + t.loaded_to_unit - begin) % UNIT_CYCLES
        return begin + UNIT_CYCLES * positions * -(-channels // UNIT_SUMS) - 1

    def _drain_to_done(self, d: Descriptor, channels: int) -> int:
        """From the reading of a part's last sums, of so many channels, to the writing of its last result."""
        t, recurrent = self.timing, d.output.recurrent
        if recurrent is None:
            return t.drain_to_done if d.output.residual is None else t.drain_to_sum
        if recurrent.target == Target.CELLS:
            return t.drain_to_hidden
        return t.drain_to_value + 2 * ((channels - 1) % UNIT_SUMS)

    def _set_gates(self, d: Descriptor, drains: list[int]) -> None:
        """When the next descriptor may read how many lines, after one whose parts were drained at given times."""
        t, ahead, late = self.timing, d.output.ahead, self._drain_to_done(d, self.config.cols)
        written = [time + late + t.part_to_request for time in reversed(drains[-len(ahead) - 1 :])]
        written[0] = self.done + t.done_to_request
        self.gates = [(line, time) for line, time in zip((*ahead, 0), written, strict=False) if line < MOST_AHEAD]

    def _tiles(self, d: Descriptor) -> Counters:
        """A descriptor of products: tiles of weights, and their beats."""
        t, config, kind, pace = self.timing, self.config, self.config.pe_kind, _Pace(d, self.config)
        begin, first_part = self._begin(), len(self.drains)
        weights_loaded = self._load()
        begins = max(weights_loaded, self.done + t.operand_settle) if d.weights.waits else weights_loaded
        word = begins + t.weight_store_latency
        if d.weights.residual:
            # One by one, when the descriptor that used those before is done.
            word = max(begins + t.sum_latency, self.sum_free) + sum_words(config.weight_rows)
        word += kind.load
        requests = _Requests(t, self._first_request(), config.group, pace, self.gates)
        fetched = requests.next + requests.latency
        ready = max(fetched, begin) if config.overlap else fetched
        requests.add_gap(begin, ready)
        starved = waiting = behind = 0
        drained = self.drains[-1] if self.drains else 0
        may_open = self.output_loaded + t.loaded_to_open
        for _ in range(pace.blocks):
            left = d.output.channels
            for group in range(pace.groups):
                free = self._part_free(d.quarters, len(self.drains) - first_part) + t.release_to_beat
                fetched = max(fetched, free)
                for tile in range(pace.tiles):
                    word = max(word, self.shadow_free - pace.lead) + pace.load_cycles
                    gate = requests.pass_gates()
                    fetched = max(fetched, gate.first)
                    first = max(ready, fetched)
                    requests.add_gap(ready, first)
                    behind += requests.wait(gate.first - requests.latency)
                    starved += requests.wait(free - requests.latency) if tile == 0 else 0
                    behind += requests.wait_within(gate, first + gate.place * pace.beat_cycles)
                    waiting += max(0, word - first)
                    self.shadow_free = first = max(first, word)
                    # Lines that arrived while the array waited let the first beats follow faster than lines are read.
                    fetched = max(fetched, first - t.waiting_lines)
                    last = max(first + (pace.beats - 1) * pace.beat_cycles, fetched + (pace.beats - 1) * config.group)
                    last = max(last, gate.last)
                    ready, fetched = last + pace.beat_cycles, max(fetched + pace.beats * config.group, gate.last + 1)
                    requests.add_tile(last, gate.last)
                self.last_beat = ready - 1
                # A loader that is slower than its words has taken those of the last row early.
                reads = d.weights.parameters(group, config.weight_rows) // config.weight_rows
                taken, arrived = self._parameters(word - pace.row + 1, reads)
                word = max(word, taken + kind.restart - (pace.row - pace.row_cycles))
                opened = max(self.last_beat + t.beat_to_full, arrived + t.parameters_to_full, drained + t.reopen)
                opened = max(opened, may_open)
                self.parameters_free = opened + t.open_to_free
                drained = self._drained(d, opened, min(left, config.cols))
                self.drains.append(drained)
                left -= config.cols
        self.words_done = max(weights_loaded, word - kind.load - t.prefetched_words)
        self.done = drained + self._drain_to_done(d, left + config.cols)
        if d.output.residual is not None:
            self.sum_free = self.done
        cycles, busy, output = self.done - begin, pace.busy, self.done - self.last_beat - 1
        if config.overlap:
            late, self.late = self.late, pace.late
            cycles, busy = self.last_beat + 1 - begin + late[0] - self.late[0], busy + late[1] - self.late[1]
            starved = min(starved, cycles - busy - waiting)
            output, self.next_request = min(behind, cycles - busy - waiting - starved), requests.next
            self._set_gates(d, self.drains[first_part:])
            self.done_before, self.halves_before = self.done, not d.quarters
        return Counters(
            cycles=cycles,
            busy=busy,
            weights=waiting,
            activations=cycles - busy - waiting - starved - output,
            accumulators=starved,
            output=output,
            link=0,
        )


class _Gate:
    """When lines of a tile of weights may be read and arrive, as far as results of the descriptor before are
    concerned."""

    def __init__(self) -> None:
        self.first = self.last = 0
        """When the first and the last line arrive, at the earliest."""
        self.place = self.time = 0
        """The line behind the first that waits longest, and until when."""

    def add(self, place: int, time: int, *, latency: int, lines: int) -> None:
        """The line at ``place`` may be read from ``time`` on."""
        if place == 0:
            self.first = max(self.first, time + latency)
        self.last = max(self.last, time + latency + lines - 1 - place)
        if place and time > self.time:
            self.place, self.time = place, time


class _Requests:
    """When the activation unit asks for a descriptor's lines. It is ahead of the tile: while it waits for accumulators,
    the tile may still have no beat of the group before."""

    def __init__(self, t: Timing, first: int, group: int, pace: _Pace, gates: list[tuple[int, int]]):
        self.latency = t.release_to_beat - t.release_to_free
        self.next = first
        """The next request's time."""
        self.gaps: deque[tuple[int, int]] = deque(maxlen=8)
        """When the tile had no beat, the last few times."""
        self.lines = pace.beats * group
        self.gates, self.line = gates, 0
        """:attr:`_Model.gates`, and the number of the next line."""
        count = min(pace.beats, t.waiting_lines)
        self.ahead = (count - 1) * pace.beat_cycles
        self.taken = deque([first], maxlen=-(-t.waiting_lines // count))
        """When it took the first of the last beats of a tile: so many lines may wait for it."""

    def pass_gates(self) -> _Gate:
        """What the next tile's lines wait for."""
        gate, end = _Gate(), self.line + self.lines
        for line, time in self.gates:
            if line < end:
                place = max(0, line - self.line)
                gate.add(place, time, latency=self.latency, lines=self.lines)
        self.line = end
        return gate

    def add_gap(self, begin: int, end: int) -> None:
        """The tile has no beat for some cycles, or none."""
        if begin < end:
            self.gaps.append((begin, end))

    def add_tile(self, last: int, arrival: int) -> None:
        """A tile's lines are asked for; its beats are taken up to time ``last``, and the last line does not arrive
        before ``arrival``."""
        self.taken.append(last - self.ahead)
        self.next = max(self.next + self.lines, self.taken[0], arrival - self.latency + 1)

    def idle(self, begin: int, end: int) -> int:
        """In how many cycles between two times the tile has no beat."""
        return sum(max(0, min(end, last) - max(begin, first)) for first, last in self.gaps)

    def wait_within(self, gate: _Gate, idle: int) -> int:
        """A line behind the tile's first waits for results; the tile has no beat from a time on. In how many cycles
        that is why."""
        asked = self.next + gate.place
        if gate.time <= asked:
            return 0
        self.add_gap(idle, gate.time + self.latency)
        return self.idle(asked, gate.time)

    def wait(self, end: int) -> int:
        """The next request waits until a time; in how many of these cycles the tile has no beat."""
        starved = self.idle(self.next, end)
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
        steps = config.rows // config.loaded_rows
        self.load_cycles = max(config.tile_words // config.weight_rows + selects, steps * self.row_cycles)
        self.row = self.load_cycles // steps
        self.lead = kind.lead + (selects > 0)
        waves = (kind.waves or kind.beat_cycles)(settings)
        self.busy = self.blocks * self.groups * self.tiles * self.beats * waves
        self.late = (self.beat_cycles, waves) if self.beat_cycles > 1 else (0, 0)
        """:attr:`_Model.late`."""
