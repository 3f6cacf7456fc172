"""The choice among the ways to compute layers, with their neighbours in mind: where layers overlap, the way that is the
fastest alone may end with results for which the next layer waits, and another one with none."""

from __future__ import annotations

from collections.abc import Sequence

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

    Begins with each kernel's first way, which should be the fastest alone. Then, kernel by kernel, it takes the way
    with which this kernel and its two neighbours take the fewest cycles, until nothing changes. The result takes no
    more cycles than the first ways do.
    """
    chain = _Chain(ways, config)
    first = [0] * len(ways)
    chosen = list(first)
    for _ in range(SWEEPS):
        before = list(chosen)
        for place, alternatives in enumerate(ways):
            around = range(max(0, place - 1), min(len(ways), place + 2))

            def cost(index: int, place: int = place, around: range = around) -> tuple[int, bool]:
                trial = [*chosen[:place], index, *chosen[place + 1 :]]
                return chain.cycles(around, trial), index != chosen[place]

            if len(alternatives) > 1:
                chosen[place] = min(range(len(alternatives)), key=cost)
        if chosen == before:
            break
    whole = range(len(ways))
    return chosen if chain.cycles(whole, chosen) < chain.cycles(whole, first) else first


class _Chain:
    """Predictions for kernels in sequence. How far a way's first descriptor may read ahead of another way's last one is
    found once."""

    def __init__(self, ways: Sequence[Sequence[Way]], config: Config):
        self.config = config
        self.ways = [[overlapped(way, config) for way in alternatives] for alternatives in ways]
        self.last: dict[tuple[int, int, int], Descriptor] = {}

    def cycles(self, places: range, chosen: Sequence[int]) -> int:
        """What the kernels at some places take, from the first of them on."""
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
