"""Assembling a model: programs and weights packed into segments, and the steps of an inference over them."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Iterator, Mapping, Sequence

import numpy as np

from weft import lower, sliding
from weft.graph import Graph, Op
from weft.hw.spec.config import Config
from weft.hw.spec.counters import Counters
from weft.hw.spec.descriptor import Descriptor
from weft.kernel import Kernel
from weft.lookup import LookUp
from weft.model import Layer, Model, Part, Segment, Step, Tile, Traffic
from weft.plan import Plan
from weft.schedule import Turn
from weft.sim.cycles import predict
from weft.tiles import Stripe, room

__all__ = ["Assembler"]

NOTHING = Counters(0, 0, 0, 0, 0, 0, 0)


class Assembler:
    """A model in the making; its steps are appended in order."""

    def __init__(self, graph: Graph, config: Config, memory: Plan):
        self.graph, self.config, self.memory = graph, config, memory
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
            made = kernels[op.name]
            if isinstance(made, LookUp):
                passes = lower.look_up_passes(made, self.config, sources=sources, target=target)
            else:
                passes = [piece for kernel in made for piece in self._fastest(kernel, sources[kernel.source], target)]
            self._layer(op, self._placed(passes), self.memory.used[op.name])
        self.steps.append(Step(first=first, count=len(turn.ops), writes=turn.writes, reads=turn.reads))

    def tiled(self, op: Op, cut: Sequence[Stripe]) -> None:
        """Appends a layer that is computed row by row. Stripes that differ only in their place share their program."""
        inputs = len(op.inputs)
        base, used = inputs * max(stripe.source[1] for stripe in cut), room(cut, inputs)
        known: dict[tuple[object, ...], tuple[Part, ...]] = {}
        tiles = []
        for stripe in cut:
            made = stripe.made
            key = (made.size,) if isinstance(made, LookUp) else (made.height, made.out, made.origin)
            if key not in known:
                if isinstance(made, LookUp):
                    sources = [index * made.size for index in range(inputs)]
                    passes = lower.look_up_passes(made, self.config, sources=sources, target=base)
                else:
                    passes = self._fastest(made, 0, base)
                known[key] = tuple(self._placed(passes))
            tiles.append(Tile(source=stripe.source, address=base, target=stripe.target, parts=known[key]))
        self.peak = max(self.peak, used)
        self._layer(op, [part for tile in tiles for part in tile.parts], used)
        self.steps.append(Step(first=len(self.layers) - 1, count=1, tiles=tuple(tiles)))

    def model(self) -> Model:
        """What was assembled."""
        predictions, traffic = self._packer.predictions(), self._packer.traffic()
        return Model(
            graph=self.graph,
            config=self.config,
            segments=tuple(self._packer.segments()),
            layers=tuple(
                dataclasses.replace(
                    layer,
                    predicted=_total([c for p in layer.parts for c in predictions[p.segment][p.first : p.first + p.count]]),
                    traffic=sum((t for p in layer.parts for t in traffic[p.segment][p.first : p.first + p.count]), Traffic()),
                )
                for layer in self.layers
            ),
            steps=tuple(self.steps),
            addresses=dict(self.memory.addresses),
            lives=dict(self.memory.lives),
            scratchpad_bytes=self.peak,
        )

    def _layer(self, op: Op, parts: Sequence[Part], used: int) -> None:
        one = {
            name: dataclasses.replace(self.graph.tensors[name], shape=(1, *self.graph.tensors[name].shape[1:]))
            for name in (*op.inputs, op.output)
        }
        self.layers.append(
            Layer(
                name=op.name, op=type(op).__name__, output=op.output, macs=op.macs(one), parts=tuple(parts), predicted=NOTHING,
                traffic=Traffic(), memory_bytes=used,
            )
        )  # fmt: skip

    def _placed(self, passes: Sequence[lower.Pass]) -> list[Part]:
        return [part for piece in passes for part in self._packer.add(piece)]

    def _fastest(self, kernel: Kernel, source: int, target: int) -> list[lower.Pass]:
        """The passes that the cycle model likes best: by the number of rows in a block, or by the way of a sliding window."""
        best: tuple[int, list[lower.Pass]] | None = None
        for passes in self._ways(kernel, source, target):
            cycles = _total(predict([d for piece in passes for d in piece.descriptors], self.config)).cycles
            if best is None or cycles < best[0]:
                best = cycles, passes
        assert best is not None
        return best[1]

    def _ways(self, kernel: Kernel, source: int, target: int) -> Iterator[list[lower.Pass]]:
        config, places = self.config, {"source": source, "target": target, "words": self.config.weight_words}
        for rows in lower.block_rows(kernel, config):
            yield lower.passes(kernel, config, rows=rows, **places)
        for walk in sliding.walks(kernel, config) if sliding.fits(kernel, config) else ():
            if passes := lower.sliding_passes(kernel, config, walk, **places):
                yield passes


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

    def predictions(self) -> list[list[Counters]]:
        """What the cycle model expects of each segment's descriptors, run in order."""
        return [predict(descriptors, self.config) for descriptors in self._descriptors]

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
