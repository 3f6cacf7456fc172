"""The choice among the ways to compute layers, with their neighbours in mind: where layers overlap, the way that is the
fastest alone may end with results for which the next layer waits, and another one with none."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import product

from sateen.compiler.ahead import overlapped
from sateen.hw.spec.config import Config
from sateen.hw.spec.descriptor import Descriptor
from sateen.sim.cycles import predict

__all__ = ["Way", "choose_together"]

Way = Sequence[Descriptor]
"""The descriptors of one way to compute a kernel."""
SWEEPS = 3
"""How often at most all choices of a sequence are looked at again."""


def choose_together(ways: Sequence[Sequence[Way]], config: Config) -> list[int]:
    """For each kernel of a sequence that the device runs without a stop, which of its ways to take.

    Begins with each kernel's first way, which should be the fastest alone, and with that of the fewest descriptors.
    Then, kernel by kernel, it takes the way with which this kernel and its two neighbours take the fewest cycles, until
    nothing changes; and then the ways of two kernels at a time. The result takes no more cycles than the first ways do.
    """
    chain, whole = _Chain(ways, config), range(len(ways))
    fewest = [min(range(len(each)), key=lambda way: len(each[way])) for each in ways]
    starts = [[0] * len(ways), *([fewest] if any(fewest) else [])]
    found = [each for start in starts for each in (start, chain.improved(start))]
    return min(found, key=lambda chosen: chain.cycles(whole, chosen))


class _Chain:
    """Predictions for kernels in sequence. How far a way's first descriptor may read ahead of another way's last one is
    found once."""

    def __init__(self, ways: Sequence[Sequence[Way]], config: Config):
        self.config = config
        self.ways = [[overlapped(way, config) for way in alternatives] for alternatives in ways]
        self.last: dict[tuple[int, int, int], Descriptor] = {}
        self.known: dict[tuple[range, tuple[int, ...]], int] = {}
        """Cycles by places and their ways."""

    def improved(self, start: Sequence[int]) -> list[int]:
        """The choice to which those of one kernel lead, and then those of two neighbours at a time."""
        chosen = list(start)
        for together in (1, 2):
            for _ in range(SWEEPS):
                before = list(chosen)
                for place in range(len(chosen) - together + 1):
                    chosen = self._best(chosen, place, place + together)
                if chosen == before:
                    break
        return chosen

    def _best(self, chosen: list[int], begin: int, end: int) -> list[int]:
        """The best choice for the kernels from ``begin`` to ``end``, beside the others."""
        around = range(max(0, begin - 1), min(len(chosen), end + 1))
        some = product(*(range(len(ways)) for ways in self.ways[begin:end]))
        trials = [[*chosen[:begin], *each, *chosen[end:]] for each in some]
        return min([chosen, *trials], key=lambda trial: self.cycles(around, trial))

    def cycles(self, places: range, chosen: Sequence[int]) -> int:
        """What the kernels at some places take, from the first of them on."""
        key = places, tuple(chosen[place] for place in places)
        if key not in self.known:
            self.known[key] = self._predicted(places, chosen)
        return self.known[key]

    def _predicted(self, places: range, chosen: Sequence[int]) -> int:
        program: list[Descriptor] = []
        for place in places:
            if program:
                program[-1] = self._last(place - 1, chosen[place - 1], chosen[place])
            program += self.ways[place][chosen[place]]
        return sum(counters.cycles for counters in predict(program, self.config))

    def _last(self, place: int, way: int, following: int) -> Descriptor:
        """The last descriptor of a way of the kernel at ``place``, before a way of the next kernel."""
        key = place, way, following
        if key not in self.last:
            pair = self.ways[place][way][-1], self.ways[place + 1][following][0]
            self.last[key] = overlapped(pair, self.config)[0]
        return self.last[key]
