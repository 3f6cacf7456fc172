"""Assembly: programs and weights packed into segments, and the steps of an inference over them."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Mapping, Sequence

import numpy as np

from sateen.compiler.choice import Chosen
from sateen.compiler.model import Layer, Model, Part, Segment, Step, Tile, Traffic, runs
from sateen.compiler.passes import Pass
from sateen.compiler.placement import Placement
from sateen.compiler.schedule import Turn
from sateen.graph import Graph, Op
from sateen.hw.spec.config import Config
from sateen.hw.spec.counters import Counters
from sateen.hw.spec.descriptor import Descriptor
from sateen.sim.cycles import predict

__all__ = ["assemble"]

NOTHING = Counters(0, 0, 0, 0, 0, 0, 0)


def assemble(placed: Placement, chosen: Mapping[str, Chosen], config: Config) -> Model:
    """The compiled model: every layer's passes in segments, with what the cycle model expects of them."""
    assembler = _Assembler(placed.graph, config)
    for turn in placed.schedule.turns:
        assembler.turn(turn, placed, chosen)
    return assembler.model(
        placed, max([placed.memory.peak, *(one.memory_bytes for one in chosen.values() if one.stripes)])
    )


class _Assembler:
    """A model in the making; its steps are appended in order."""

    def __init__(self, graph: Graph, config: Config):
        self.graph, self.config = graph, config
        self.layers: list[Layer] = []
        self.steps: list[Step] = []
        self._segments = _Segments(config)

    def turn(self, turn: Turn, placed: Placement, chosen: Mapping[str, Chosen]) -> None:
        """Appends an operator of the host, a layer in stripes, or consecutive layers of the device."""
        ops = [self.graph.ops[place] for place in turn.ops]
        if not turn.host:
            first = len(self.layers)
            for op in ops:
                self._layer(op, self._placed(chosen[op.name].passes), chosen[op.name])
            self.steps.append(Step(first=first, count=len(ops), writes=turn.writes, reads=turn.reads))
        for op in ops if turn.host else ():
            if op.name in placed.stripes:
                self._stripes(op, chosen[op.name])
            else:
                self.steps.append(Step(host=op.name, reason=placed.refused.get(op.name, "")))

    def _stripes(self, op: Op, chosen: Chosen) -> None:
        """Appends a layer that is computed row by row. Stripes that share their passes share their program."""
        known: dict[int, tuple[Part, ...]] = {}
        tiles = []
        for one in chosen.stripes:
            if id(one.passes) not in known:
                known[id(one.passes)] = tuple(self._placed(one.passes))
            tiles.append(
                Tile(
                    source=one.stripe.source,
                    address=chosen.result_address,
                    target=one.stripe.target,
                    parts=known[id(one.passes)],
                )
            )
        self._layer(op, [part for tile in tiles for part in tile.parts], chosen)
        self.steps.append(Step(first=len(self.layers) - 1, count=1, tiles=tuple(tiles)))

    def model(self, placed: Placement, scratchpad_bytes: int) -> Model:
        """What was assembled."""
        predictions, traffic = self._predictions(), self._segments.traffic()
        return Model(
            graph=self.graph,
            config=self.config,
            segments=tuple(self._segments.made()),
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
            addresses=dict(placed.memory.addresses),
            lives=dict(placed.memory.lives),
            scratchpad_bytes=scratchpad_bytes,
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
                    expected = predict(self._segments.descriptors(run), self.config)
                    found |= {(run.segment, run.first + place): counters for place, counters in enumerate(expected)}
        return found

    def _layer(self, op: Op, parts: Sequence[Part], chosen: Chosen) -> None:
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
                memory_bytes=chosen.memory_bytes,
                combining=chosen.combining,
            )
        )

    def _placed(self, passes: Sequence[Pass]) -> list[Part]:
        return [part for piece in passes for part in self._segments.add(piece)]


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


class _Segments:
    """Packs passes into segments, each of which fits the weight store and the program memory."""

    def __init__(self, config: Config):
        self.config = config
        self._weights: list[list[np.ndarray]] = []
        self._descriptors: list[list[Descriptor]] = []

    def add(self, piece: Pass) -> list[Part]:
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

    def made(self) -> list[Segment]:
        """The segments, ready to be sent."""
        return [
            Segment(
                program=np.frombuffer(b"".join(d.encode() for d in descriptors), np.uint8),
                weights=np.concatenate(weights),
                count=len(descriptors),
            )
            for weights, descriptors in zip(self._weights, self._descriptors, strict=True)
        ]
