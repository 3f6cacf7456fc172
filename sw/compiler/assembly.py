"""Assembling a model: programs and weights packed into segments, and the steps of an inference over them."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from sateen.compiler import sliding
from sateen.compiler.combining import Packer
from sateen.compiler.kernel import Kernel
from sateen.compiler.lowering import lower
from sateen.compiler.lowering.lookup import LookUp
from sateen.compiler.memory import Plan
from sateen.compiler.model import Combining, Layer, Model, Part, Segment, Step, Tile, Traffic, runs
from sateen.compiler.schedule import Turn
from sateen.compiler.stripes import Stripe, room
from sateen.graph.graph import Graph, Op
from sateen.graph.ops import Weighted
from sateen.hw.spec.config import Config
from sateen.hw.spec.counters import Counters
from sateen.hw.spec.descriptor import PARAMETER_BYTES, Descriptor
from sateen.sim.cycles import predict

__all__ = ["Assembler"]


@dataclass(frozen=True, kw_only=True)
class _Way:
    """A kernel's passes over the tile, and what the cycle model expects of them."""

    kernel: Kernel
    passes: list[lower.Pass]
    cycles: int
    combining: Combining = Combining()


NOTHING = Counters(0, 0, 0, 0, 0, 0, 0)


class Assembler:
    """A model in the making; its steps are appended in order."""

    def __init__(
        self,
        graph: Graph,
        config: Config,
        memory: Plan,
        *,
        combine: bool = True,
        notes: Mapping[str, str] | None = None,
    ):
        self.graph, self.config, self.memory = graph, config, memory
        self.packer = Packer(config) if combine and config.combine > 1 else None
        self.notes = notes or {}
        self.peak = memory.peak
        self.layers: list[Layer] = []
        self.steps: list[Step] = []
        self._packer = _Packer(config)

    def host(self, op: Op, reason: str) -> None:
        """Appends an operator of the host."""
        self.steps.append(Step(host=op.name, reason=reason))

    def stretch(self, turn: Turn, kernels: Mapping[str, lower.Lowered]) -> None:
        """Appends layers of the device."""
        first = len(self.layers)
        for op in (self.graph.ops[place] for place in turn.ops):
            sources, target = [self.memory.addresses[name] for name in op.inputs], self.memory.addresses[op.output]
            made, combining = kernels[op.name], Combining()
            if isinstance(made, LookUp):
                passes = lower.look_up_passes(made, self.config, sources=sources, target=target)
            else:
                ways = [self._fastest(op, kernel, sources[kernel.source], target) for kernel in made]
                passes = [piece for way in ways for piece in way.passes]
                combining = sum((way.combining for way in ways), combining)
            self._layer(op, self._placed(passes), self.memory.used[op.name], combining)
        self.steps.append(Step(first=first, count=len(turn.ops), writes=turn.writes, reads=turn.reads))

    def tiled(self, op: Op, cut: Sequence[Stripe]) -> None:
        """Appends a layer that is computed row by row. Stripes that differ only in their place share their program."""
        inputs = len(op.inputs)
        base, used = inputs * max(stripe.source[1] for stripe in cut), room(cut, inputs)
        known: dict[tuple[object, ...], tuple[Part, ...]] = {}
        tiles, combining = [], Combining()
        for stripe in cut:
            made = stripe.made
            key = (made.size,) if isinstance(made, LookUp) else (made.height, made.out, made.origin)
            if key not in known:
                if isinstance(made, LookUp):
                    sources = [index * made.size for index in range(inputs)]
                    passes = lower.look_up_passes(made, self.config, sources=sources, target=base)
                else:
                    way = self._fastest(op, made, 0, base)
                    passes, combining = way.passes, combining + way.combining
                known[key] = tuple(self._placed(passes))
            tiles.append(Tile(source=stripe.source, address=base, target=stripe.target, parts=known[key]))
        self.peak = max(self.peak, used)
        self._layer(op, [part for tile in tiles for part in tile.parts], used, combining)
        self.steps.append(Step(first=len(self.layers) - 1, count=1, tiles=tuple(tiles)))

    def model(self) -> Model:
        """What was assembled."""
        predictions, traffic = self._predictions(), self._packer.traffic()
        return Model(
            graph=self.graph,
            config=self.config,
            segments=tuple(self._packer.segments()),
            layers=tuple(
                dataclasses.replace(
                    layer,
                    predicted=_total(
                        [predictions[p.segment, p.first + place] for p in layer.parts for place in range(p.count)]
                    ),
                    traffic=sum(
                        (t for p in layer.parts for t in traffic[p.segment][p.first : p.first + p.count]), Traffic()
                    ),
                )
                for layer in self.layers
            ),
            steps=tuple(self.steps),
            addresses=dict(self.memory.addresses),
            lives=dict(self.memory.lives),
            scratchpad_bytes=self.peak,
        )

    def _predictions(self) -> dict[tuple[int, int], Counters]:
        """By segment and descriptor, what the cycle model expects: it begins anew with every run."""
        found: dict[tuple[int, int], Counters] = {}
        for step in self.steps:
            layers = self.layers[step.first : step.first + step.count]
            for parts in [tile.parts for tile in step.tiles] or [
                tuple(part for layer in layers for part in layer.parts)
            ]:
                for run in runs(parts):
                    expected = predict(self._packer.descriptors(run), self.config)
                    found |= {(run.segment, run.first + place): counters for place, counters in enumerate(expected)}
        return found

    def _layer(self, op: Op, parts: Sequence[Part], used: int, combining: Combining) -> None:
        if not isinstance(op, Weighted):
            combining = dataclasses.replace(combining, reason="")
        combining = dataclasses.replace(combining, order=self.notes.get(op.name, ""))
        one = {
            name: dataclasses.replace(self.graph.tensors[name], shape=(1, *self.graph.tensors[name].shape[1:]))
            for name in (*op.inputs, op.output)
        }
        self.layers.append(
            Layer(
                name=op.name,
                op=type(op).__name__,
                output=op.output,
                macs=op.macs(one),
                parts=tuple(parts),
                predicted=NOTHING,
                traffic=Traffic(),
                memory_bytes=used,
                combining=combining,
            )
        )

    def _placed(self, passes: Sequence[lower.Pass]) -> list[Part]:
        return [part for piece in passes for part in self._packer.add(piece)]

    def _fastest(self, op: Op, kernel: Kernel, source: int, target: int) -> _Way:
        """What the cycle model likes best: by the number of rows in a block, by the way of a sliding window, by tiles
        with selects."""
        plain = min(self._ways(kernel, source, target), key=lambda way: way.cycles)
        if self.packer is None:
            return plain
        budget = getattr(op, "terms", None)
        packed = (
            [] if budget else [way for one in self.packer.packed(kernel) for way in self._blocks(one, source, target)]
        )
        best = min(packed, key=lambda way: way.cycles, default=None)
        if budget:
            reason = "its term budget is that of neighbouring weights, which packing would part"
        elif best is None:
            reason = self.packer.why_not(kernel)
        elif best.cycles < plain.cycles:
            return dataclasses.replace(best, combining=self._combining(best.kernel, kernel, plain, ""))
        else:
            tiles, dense = best.kernel.tiles(self.config), kernel.tiles(self.config)
            reason = (
                f"in {tiles} tiles instead of {dense} it takes {best.cycles:,} cycles, and {plain.cycles:,} as it is"
            )
        return dataclasses.replace(plain, combining=self._combining(kernel, kernel, plain, reason))

    def _combining(self, made: Kernel, kernel: Kernel, plain: _Way, reason: str) -> Combining:
        config, tiles = self.config, made.tiles(self.config)
        groups = -(-made.channels // config.cols)
        return Combining(
            tiles=tiles,
            dense_tiles=kernel.tiles(config),
            nonzeros=made.nonzeros,
            dense_cycles=plain.cycles,
            reason=reason,
            cells=tiles // groups * config.tile_depth * made.channels,
        )

    def _ways(self, kernel: Kernel, source: int, target: int) -> Iterator[_Way]:
        """Without selects."""
        config = self.config
        yield from self._blocks(kernel, source, target)
        for walk in sliding.walks(kernel, config) if sliding.fits(kernel, config) else ():
            if passes := lower.sliding_passes(
                kernel, config, walk, source=source, target=target, words=config.weight_words
            ):
                yield self._way(kernel, passes)

    def _blocks(self, kernel: Kernel, source: int, target: int) -> Iterator[_Way]:
        """By the number of rows in a block; none if a group's weights do not fit."""
        config = self.config
        if kernel.group_words(config) + PARAMETER_BYTES > config.weight_words:
            return
        for rows in lower.block_rows(kernel, config):
            yield self._way(
                kernel, lower.passes(kernel, config, source=source, target=target, rows=rows, words=config.weight_words)
            )

    def _way(self, kernel: Kernel, passes: list[lower.Pass]) -> _Way:
        cycles = _total(predict([d for piece in passes for d in piece.descriptors], self.config)).cycles
        return _Way(kernel=kernel, passes=passes, cycles=cycles)


def _total(counters: Sequence[Counters]) -> Counters:
    return sum(counters, NOTHING)


def _traffic(descriptor: Descriptor, config: Config) -> Traffic:
    weights, activations = descriptor.weights, descriptor.activations
    beats = math.prod(dim.count for dim in activations.dims)
    words = sum(weights.words + weights.parameters(group) for group in range(weights.groups))
    # All groups have equally many beats; the last may lack columns. Pairs that are looked up pass the columns by.
    channels = min(descriptor.output.channels, weights.groups * config.cols)
    return Traffic(
        beats=beats,
        columns=0 if weights.tables else beats * channels // weights.groups,
        weight_bytes=weights.blocks * words * config.cols,
        activation_bytes=beats * (config.cols if activations.sliding else config.beat_bytes),
    )


class _Packer:
    """Packs passes into segments, each of which fits the weight store and the program memory."""

    def __init__(self, config: Config):
        self.config = config
        self._weights: list[list[np.ndarray]] = []
        self._descriptors: list[list[Descriptor]] = []

    def add(self, piece: lower.Pass) -> list[Part]:
        """Places a pass in the last segment, or begins a new one; one of many descriptors is placed in pieces."""
        most = self.config.descriptors
        if len(piece.descriptors) > most:
            starts = range(0, len(piece.descriptors), most)
            return [part for start in starts for part in self.add(piece.part(start, start + most))]
        words = sum(len(weights) for weights in self._weights[-1]) if self._weights else 0
        if (
            not self._weights
            or words + len(piece.weights) > self.config.weight_words
            or len(self._descriptors[-1]) + len(piece.descriptors) > most
        ):
            self._weights.append([])
            self._descriptors.append([])
            words = 0
        first = len(self._descriptors[-1])
        self._weights[-1].append(piece.weights)
        self._descriptors[-1].extend(piece.placed(words))
        return [Part(segment=len(self._descriptors) - 1, first=first, count=len(piece.descriptors))]

    def descriptors(self, part: Part) -> list[Descriptor]:
        """Those of a part of a segment."""
        return self._descriptors[part.segment][part.first : part.first + part.count]

    def traffic(self) -> list[list[Traffic]]:
        """What each segment's descriptors send to the tile."""
        return [[_traffic(d, self.config) for d in descriptors] for descriptors in self._descriptors]

    def segments(self) -> list[Segment]:
        """The segments, ready to be sent."""
        return [
            Segment(
                program=np.frombuffer(b"".join(d.encode() for d in descriptors), np.uint8),
                weights=np.concatenate(weights),
                count=len(descriptors),
            )
            for weights, descriptors in zip(self._weights, self._descriptors, strict=True)
        ]
