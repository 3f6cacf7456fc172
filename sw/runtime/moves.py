"""What moves between SDRAM and a device's memories in an inference, and for how long its array waits: a model of
:class:`sateen.hw.bridge.SdramBridge`, as :mod:`sateen.sim.cycles` is one of the engines.

It knows the operations of a run by the same rules as :class:`~sateen.runtime.inference.Inference` and
:class:`~sateen.runtime.device.Device`, of an inference behind another one of the same model.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from sateen.compiler import Model, Part, Step, runs
from sateen.graph import Reshape
from sateen.hw.spec.config import Config
from sateen.hw.spec.sdram import find_chip
from sateen.hw.spec.wire import OpHeader, Space
from sateen.runtime.frames import MOST_MOVED
from sateen.runtime.slots import Piece, Plan, Stock, visits
from sateen.runtime.spill import ALIGNMENT, spilled

__all__ = ["MemoryUse", "Move", "memory_use", "move_cycles"]

BEGIN_CYCLES = 19
"""From the cycle in which a move is asked for to that in which its first byte may pass, and those behind its last."""
ROW_CYCLES = 2
"""Of the command bus, to open a row ahead."""
REFRESH_CYCLES = 2
"""That a refresh takes besides the chip's own times."""
OPERATION_CYCLES = OpHeader.LAYOUT.size + 4
"""Between the end of a move, or a RUN, and the next operation."""


@dataclass(frozen=True, kw_only=True)
class Move:
    """A COPY, or with ``store`` a STORE."""

    space: Space
    store: bool = False
    position: int
    """The first byte in SDRAM."""
    place: int
    """The first byte in the device's memory."""
    length: int


@dataclass(frozen=True, kw_only=True)
class MemoryUse:
    """What an inference needs of SDRAM."""

    moved: int = 0
    """Bytes of weights, programs and tensors that are copied from and stored into it."""
    cycles: int = 0
    """Cycles in which they move and no layer runs: the array waits for memory."""


@dataclass(frozen=True, kw_only=True)
class _Turn:
    """A RUN with the moves before it, those during it, and those behind."""

    before: Sequence[Move]
    cycles: int
    """Of the layers that run."""
    during: Sequence[Move]
    after: Sequence[Move]


def move_cycles(move: Move, config: Config) -> float:
    """Cycles of a move; refreshes count by their share."""
    assert config.sdram is not None
    chip, width = find_chip(config.sdram), config.moved_bytes
    timing, size = chip.timing(config.clock_hz), chip.data_bits // 8
    if not move.length:
        return 2
    before = min(-move.position % width, move.length)
    wholes = 0
    aligned = not move.store and (move.place + before) % width == 0
    if width > 1 and (move.space == Space.SCRATCHPAD or aligned):
        wholes = (move.length - before) // width
    passed = move.length - wholes * (width - 1)
    words = (move.position + move.length - 1) // size - move.position // size + 1
    rows = words >> chip.column_bits
    edges = 0 if chip.masks or not move.store else 2 * BEGIN_CYCLES
    cycles = BEGIN_CYCLES + edges + passed + (ROW_CYCLES * rows if wholes else 0)
    refresh = timing.rp + timing.rfc + timing.rcd + REFRESH_CYCLES
    # While bytes pass one by one, those of words that wait hide a refresh.
    return cycles * (1 + refresh / timing.refresh) if wholes or move.store else cycles


def memory_use(model: Model, config: Config) -> MemoryUse:
    """What one inference of many needs of the SDRAM of a device; nothing if that has none."""
    if config.sdram is None or not model.segments:
        return MemoryUse()
    walk = _Walk(model, config)
    for _ in walk.turns():
        pass
    moved, cycles = 0, 0.0
    for turn in walk.turns():
        moved += sum(move.length for moves in (turn.before, turn.during, turn.after) for move in moves)
        cycles += sum(move_cycles(move, config) for move in (*turn.before, *turn.after))
        now = 0.0
        for move in turn.during:
            now += 2 * OPERATION_CYCLES
            ends = now + move_cycles(move, config)
            cycles += max(0.0, ends - max(now, turn.cycles))
            now = ends
    return MemoryUse(moved=moved, cycles=round(cycles))


class _Walk:
    """The turns of inferences, one after the other."""

    def __init__(self, model: Model, config: Config):
        self.model, self.config = model, config
        self.roots = {op.output: op.input for op in model.graph.ops if isinstance(op, Reshape)}
        self.ops = {op.name: op for op in model.graph.ops}
        self.visits = visits(model)
        self.stock = Stock(Plan(model, config))
        self.starts = [0]
        for segment in model.segments:
            weights = len(segment.weights) * config.weight_word_bytes
            self.starts.append(self.starts[-1] + weights + segment.program.nbytes)
        self.tensors: dict[str, int] = {}
        """By the tensor that others reshape, its place in SDRAM."""
        place = 0
        for name, size in spilled(model, self.root).items():
            self.tensors[name] = place
            place += -(-size // ALIGNMENT) * ALIGNMENT

    def root(self, name: str) -> str:
        """The tensor that a tensor reshapes."""
        while name in self.roots:
            name = self.roots[name]
        return name

    def turns(self) -> Iterator[_Turn]:
        """Those of one inference."""
        stored = set[str]()
        for number, step in enumerate(self.model.steps):
            if step.tiles:
                yield from self._tiled(number, step)
                inputs = self.ops[self.model.layers[step.first].name].inputs
                ends = (*inputs, self.model.layers[step.first + step.count - 1].output)
                stored |= {self.root(name) for name in ends if name not in step.inside}
            elif not step.host:
                layers = self.model.layers[step.first : step.first + step.count]
                parts = runs([part for layer in layers for part in layer.parts])
                bring = [
                    self._move(name, self.model.addresses[name], (0, self.model.size(name)))
                    for name in step.writes
                    if self.root(name) in stored & self.tensors.keys()
                ]
                save = [
                    self._move(name, self.model.addresses[name], (0, self.model.size(name)), store=True)
                    for name in step.reads
                    if self.root(name) in self.tensors
                ]
                jobs = [(part, bring if part is parts[0] else [], save if part is parts[-1] else []) for part in parts]
                yield from self._jobs(jobs, number)
                stored |= {self.root(name) for name in step.reads}

    def _tiled(self, number: int, step: Step) -> Iterator[_Turn]:
        output = self.model.layers[step.first + step.count - 1].output
        names = self.ops[self.model.layers[step.first].name].inputs
        jobs = []
        for tile in step.tiles:
            parts = runs(tile.parts)
            bring = [
                self._move(name, tile.pieces[0].source_address + index * tile.source[1], tile.source)
                for index, name in enumerate(names)
                if name not in step.inside
            ]
            save = []
            if self.root(output) in self.tensors and output not in step.inside:
                save = [self._move(output, tile.address, tile.target, store=True)]
            jobs += [(part, bring if part is parts[0] else [], save if part is parts[-1] else []) for part in parts]
        yield from self._jobs(jobs, number)

    def _jobs(self, jobs: Sequence[tuple[Part, list[Move], list[Move]]], number: int) -> Iterator[_Turn]:
        steps = (*self.visits[number + 1 :], *self.visits[: number + 1])
        behind = [part.segment for step in steps for part in step]
        for place, (part, before, after) in enumerate(jobs):
            placing = self._copies(self.stock.needed(part.segment))
            upcoming = [*(job[0].segment for job in jobs[place + 1 :]), *behind]
            yield _Turn(
                before=[*placing, *before], cycles=self.stock.plan.time(part),
                during=self._copies(self.stock.ahead(part, upcoming)), after=after,
            )  # fmt: skip

    def _copies(self, pieces: Sequence[Piece]) -> list[Move]:
        """What copies pieces of segments."""
        moves = []
        for piece in pieces:
            weights = self.stock.plan.sizes[piece.segment][Space.WEIGHTS]
            position = self.starts[piece.segment] + piece.first + (weights if piece.space == Space.PROGRAM else 0)
            place = self.stock.plan.address(piece.segment, piece.space) + piece.first
            for start in range(0, piece.count, MOST_MOVED):
                size = min(MOST_MOVED, piece.count - start)
                moves.append(Move(space=piece.space, position=position + start, place=place + start, length=size))
        return moves

    def _move(self, name: str, address: int, span: tuple[int, int], *, store: bool = False) -> Move:
        first, length = span
        return Move(
            space=Space.SCRATCHPAD, store=store, position=self.tensors[self.root(name)] + first, place=address,
            length=length,
        )  # fmt: skip
