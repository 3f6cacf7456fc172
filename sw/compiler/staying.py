"""Tensors that stay in the scratchpad from one turn of the device to a later one, beside layers that are computed row
by row.

If a layer's tensors do not fit the scratchpad, all that one turn gives and another takes would pass the link, or go to
SDRAM and come back. Smaller tensors may as well stay. The layers between have less room then, take more tiles and
compute more rows twice; so a tensor stays only where that costs less than its bytes do.
"""

from __future__ import annotations

import math
from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass, field

from sateen.compiler.chains import Standing, byte_cycles, cost, largest
from sateen.compiler.lowering import Kernel, Lowered
from sateen.compiler.memory import Staying, plan
from sateen.compiler.schedule import DevicePhase, build_schedule
from sateen.graph import Graph, Op
from sateen.hw.spec.config import Config

__all__ = ["Search"]


@dataclass(frozen=True, kw_only=True)
class _Turn:
    """A phase of the schedule, as far as tensors concern it."""

    first: int
    """Index of the first operator, and of the last one."""
    last: int
    host: bool = False
    kernels: Sequence[Kernel] | None = None
    """Of layers that are computed row by row."""
    whole: bool = False
    """Layers on whole tensors."""
    takes: tuple[str, ...] = ()
    """Buffers that it needs of earlier turns."""
    gives: tuple[str, ...] = ()


@dataclass
class Search:
    """Looks for tensors that stay.

    Parameters
    ----------
    graph, device
        The graph, and what the device computes of it, lowered, by the operators' names.
    striped
        Names of the layers that are computed row by row.
    chains
        Those of them that are computed together, in order.
    config
        The device's.
    """

    graph: Graph
    device: Mapping[str, Lowered]
    striped: Collection[str]
    chains: Sequence[Sequence[str]]
    config: Config
    turns: list[_Turn] = field(init=False)
    _costs: dict[tuple[int, Standing], float] = field(init=False, default_factory=dict)

    def __post_init__(self) -> None:
        self.ops = {op.name: op for op in self.graph.ops}
        self.whole = [name for name in self.device if name not in self.striped]
        self.behind = [name for chain in self.chains for name in list(chain)[1:]]
        schedule = build_schedule(self.graph, self.whole, spill=True, behind=self.behind)
        self.buffer_of = schedule.buffer_of
        self.turns = [self._turn(phase) for phase in schedule.phases]

    def layers(self, name: str) -> list[Op]:
        """The layers that are computed together with one that is computed row by row, the first of them."""
        return [self.ops[each] for each in next((chain for chain in self.chains if name in chain), (name,))]

    def kernels(self, name: str) -> list[Kernel] | None:
        """Their kernels; ``None`` if they have none of rows."""
        found = [self.device[op.name].row_kernel for op in self.layers(name)]
        return None if None in found else [kernel for kernel in found if kernel is not None]

    def _turn(self, phase: object) -> _Turn:
        ops = self.graph.ops
        if isinstance(phase, DevicePhase):
            made = {self.buffer_of[ops[index].output] for index in phase.ops}
            return _Turn(first=phase.ops[0], last=phase.ops[-1], whole=True, takes=phase.writes, gives=tuple(made))
        index: int = phase.op  # type: ignore[attr-defined]
        op = ops[index]
        takes = tuple(self.buffer_of[name] for name in op.inputs)
        if op.name not in self.striped:
            return _Turn(first=index, last=index, host=True, takes=takes, gives=(op.output,))
        last = self.layers(op.name)[-1]
        return _Turn(first=index, last=index, kernels=self.kernels(op.name), takes=takes, gives=(last.output,))

    def find(self) -> dict[str, Staying]:
        """The tensors that stay, by their names, with their places. Those that save the most bytes are tried first."""
        found: dict[str, Staying] = {}
        if not self.striped:
            return found
        least = self._cost(found)
        for name in sorted(self._candidates(), key=lambda name: -self._size(name) * self._passages(name)):
            live = self._live(name)
            tried = [{**found, name: Staying(address=at, live=live)} for at in self._free(name, live, found)]
            best = min(tried, key=self._cost, default=found)
            if (total := self._cost(best)) < least:
                found, least = best, total
        return found

    def standing(self, turn: _Turn, staying: Mapping[str, Staying]) -> Standing:
        """What a turn's tiles find beside the tensors that stay."""
        taken = self._taken((turn.first, turn.last), staying)
        ends = [0, *(each.stop for each in taken)]
        begins = [*(each.start for each in taken), self.config.scratchpad_bytes]
        source, target = (staying.get(names[0]) if len(names) == 1 else None for names in (turn.takes, turn.gives))
        return Standing(
            room=max((range(first, end) for first, end in zip(ends, begins, strict=True)), key=len),
            source=None if source is None else source.address,
            target=None if target is None else target.address,
        )

    def _size(self, name: str) -> int:
        return math.prod(self.graph.tensors[name].shape[1:])

    def _passages(self, name: str) -> int:
        """How often a tensor is brought or saved if it does not stay."""
        return sum(name in turn.takes or name in turn.gives for turn in self.turns)

    def _candidates(self) -> Iterator[str]:
        """Tensors that the device alone makes and reads, in several turns, all of which leave them where they are."""
        results = {self.buffer_of[name] for name in self.graph.results}
        reshaped = {buffer for name, buffer in self.buffer_of.items() if name != buffer}
        for place, turn in enumerate(self.turns):
            for name in turn.gives if not turn.host else ():
                users = [later for later in self.turns[place + 1 :] if name in later.takes]
                if not users or name in results or name in reshaped or any(later.host for later in users):
                    continue
                between = self.turns[place : self.turns.index(users[-1]) + 1]
                ends = [each for each in (turn, *users) if not each.whole]
                if all(each.host or each.whole or each.kernels for each in between) and all(
                    self._is_dense(each, name) for each in ends
                ):
                    yield name

    def _is_dense(self, turn: _Turn, name: str) -> bool:
        """Whether a tensor that a turn takes or gives by rows consists of them, one behind the other."""
        assert turn.kernels
        first, last, size = turn.kernels[0], turn.kernels[-1], self._size(name)
        if name in turn.takes and (turn.takes != (name,) or first.flat or first.height * first.width != size):
            return False
        filled = last.target == 0 and last.out[0] * last.result_steps[0] == size
        return name not in turn.gives or filled

    def _live(self, name: str) -> tuple[int, int]:
        """The first and the last operator between which a tensor stays."""
        maker = next(turn for turn in self.turns if name in turn.gives)
        first = maker.first
        if maker.whole:
            first = next(index for index, op in enumerate(self.graph.ops) if op.output == name)
        user = [turn for turn in self.turns if name in turn.takes][-1]
        last = user.last
        if user.whole:
            reads = [index for index in range(user.first, user.last + 1) if name in self.graph.ops[index].inputs]
            last = max(reads)
        return first, last

    def _taken(self, live: tuple[int, int], staying: Mapping[str, Staying]) -> list[range]:
        """Addresses of the tensors that stay at some time between two operators, in order."""
        places = [
            range(each.address, each.address + self._size(name))
            for name, each in staying.items()
            if each.live[0] <= live[1] and live[0] <= each.live[1]
        ]
        return sorted(places, key=lambda place: place.start)

    def _free(self, name: str, live: tuple[int, int], staying: Mapping[str, Staying]) -> list[int]:
        """Places for one more: at the scratchpad's ends, and beside the others."""
        size, taken = self._size(name), self._taken(live, staying)
        wanted = [self.config.scratchpad_bytes - size, 0]
        wanted += [address for each in taken for address in (each.start - size, each.stop)]
        return [
            address
            for address in dict.fromkeys(wanted)
            if 0 <= address <= self.config.scratchpad_bytes - size
            and all(address + size <= each.start or each.stop <= address for each in taken)
        ]

    def _cost(self, staying: Mapping[str, Staying]) -> float:
        """Cycles of all turns, those of the bytes that they move among them; infinity if one lacks room."""
        total = 0.0
        for place, turn in enumerate(self.turns):
            if turn.kernels:
                total += self._by_rows(place, turn, self.standing(turn, staying))
            elif turn.whole:
                moved = [name for name in (*turn.takes, *turn.gives) if name not in staying and self._passes(name)]
                total += byte_cycles(self.config) * sum(map(self._size, moved))
        schedule = build_schedule(self.graph, self.whole, spill=True, behind=self.behind, staying=staying)
        fits = plan(self.graph, schedule, staying).peak <= self.config.scratchpad_bytes
        return total if fits else math.inf

    def _passes(self, name: str) -> bool:
        """Whether a tensor is made by one turn and taken by another."""
        return any(name in turn.takes for turn in self.turns)

    def _by_rows(self, place: int, turn: _Turn, standing: Standing) -> float:
        """Cycles of a turn that is computed row by row. Where its ends stand makes no difference."""
        key = Standing(
            room=range(len(standing.room)),
            source=None if standing.source is None else 0,
            target=None if standing.target is None else 0,
        )
        if (place, key) not in self._costs:
            assert turn.kernels
            tiles = largest(turn.kernels, self.config, key)
            found = math.inf if tiles is None else cost(turn.kernels, tiles, self.config, key)
            self._costs[place, key] = found
        return self._costs[place, key]

