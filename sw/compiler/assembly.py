"""Assembly: packs programs and weights into segments, and lists the steps of an inference."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Mapping, Sequence

import numpy as np

from sateen.compiler.ahead import overlapped
from sateen.compiler.choice import Chosen
from sateen.compiler.model import Layer, Model, Part, Segment, Step, Tile, Traffic, runs
from sateen.compiler.passes import Pass
from sateen.compiler.placement import Placement
from sateen.compiler.schedule import DevicePhase, HostPhase
from sateen.graph import Graph, Op
from sateen.hw.spec.config import Config
from sateen.hw.spec.counters import Counters
from sateen.hw.spec.descriptor import Descriptor
from sateen.sim.cycles import predict

__all__ = ["assemble"]

ZERO = Counters(0, 0, 0, 0, 0, 0, 0)


def assemble(placed: Placement, chosen: Mapping[str, Chosen], config: Config) -> Model:
    """The compiled model: every layer's passes in segments, with what the cycle model expects of them."""
    assembler = _Assembler(placed.graph, config)
    for phase in placed.schedule.phases:
        if isinstance(phase, DevicePhase):
            assembler.device_phase(phase, chosen)
        else:
            assembler.host_phase(phase, placed, chosen)
    striped = [layer.memory_bytes for layer in chosen.values() if layer.stripes]
    return assembler.model(placed, max([placed.memory.peak, *striped]))


class _Assembler:
    """Builds a model. Steps are appended in order."""

    def __init__(self, graph: Graph, config: Config):
        self.graph, self.config = graph, config
        self.layers: list[Layer] = []
        self.steps: list[Step] = []
        self._segments = _Segments(config)

    def device_phase(self, phase: DevicePhase, chosen: Mapping[str, Chosen]) -> None:
        """Appends consecutive layers of the device."""
        first = len(self.layers)
        for op in (self.graph.ops[index] for index in phase.ops):
            self._layer(op, self._parts(chosen[op.name].passes), chosen[op.name])
        self.steps.append(Step(first=first, count=len(phase.ops), writes=phase.writes, reads=phase.reads))

    def host_phase(self, phase: HostPhase, placed: Placement, chosen: Mapping[str, Chosen]) -> None:
        """Appends an operator of the host, or a layer in stripes."""
        op = self.graph.ops[phase.op]
        if op.name in placed.stripes:
            self._stripes(op, chosen[op.name])
        else:
            self.steps.append(Step(host=op.name, reason=placed.refused.get(op.name, "")))

    def _stripes(self, op: Op, chosen: Chosen) -> None:
        """Appends a layer that is computed row by row. Stripes that share their passes share their program."""
        parts: dict[int, tuple[Part, ...]] = {}
        tiles = []
        for chosen_stripe in chosen.stripes:
            key = id(chosen_stripe.passes)
            if key not in parts:
                parts[key] = tuple(self._parts(chosen_stripe.passes))
            stripe = chosen_stripe.stripe
            tiles.append(
                Tile(source=stripe.source, address=chosen.result_address, target=stripe.target, parts=parts[key])
            )
        self._layer(op, [part for tile in tiles for part in tile.parts], chosen)
        self.steps.append(Step(first=len(self.layers) - 1, count=1, tiles=tuple(tiles)))

    def model(self, placed: Placement, scratchpad_bytes: int) -> Model:
        """The assembled model."""
        predictions, traffic = self._predictions(), self._segments.traffic()
        layers = []
        for layer in self.layers:
            places = [(part.segment, part.first + offset) for part in layer.parts for offset in range(part.count)]
            predicted = sum((predictions[place] for place in places), ZERO)
            sent = sum((traffic[segment][index] for segment, index in places), Traffic())
            layers.append(dataclasses.replace(layer, predicted=predicted, traffic=sent))
        return Model(
            graph=self.graph,
            config=self.config,
            segments=tuple(self._segments.finished()),
            layers=tuple(layers),
            steps=tuple(self.steps),
            addresses=dict(placed.memory.addresses),
            live_ranges=dict(placed.memory.live_ranges),
            scratchpad_bytes=scratchpad_bytes,
        )

    def _predictions(self) -> dict[tuple[int, int], Counters]:
        """What the cycle model expects of each (segment, descriptor). It starts afresh with every run."""
        found: dict[tuple[int, int], Counters] = {}
        for step in self.steps:
            layers = self.layers[step.first : step.first + step.count]
            together = tuple(part for layer in layers for part in layer.parts)
            for parts in [tile.parts for tile in step.tiles] or [together]:
                for run in runs(parts):
                    expected = predict(self._segments.descriptors(run), self.config)
                    found |= {(run.segment, run.first + offset): counters for offset, counters in enumerate(expected)}
        return found

    def _layer(self, op: Op, parts: Sequence[Part], chosen: Chosen) -> None:
        one_item = {
            name: dataclasses.replace(self.graph.tensors[name], shape=(1, *self.graph.tensors[name].shape[1:]))
            for name in (*op.inputs, op.output)
        }
        self.layers.append(
            Layer(
                name=op.name,
                op=type(op).__name__,
                output=op.output,
                macs=op.macs(one_item),
                parts=tuple(parts),
                predicted=ZERO,
                traffic=Traffic(),
                memory_bytes=chosen.memory_bytes,
                combining=chosen.combining,
            )
        )

    def _parts(self, passes: Sequence[Pass]) -> list[Part]:
        return [part for piece in passes for part in self._segments.add(piece)]


def _traffic(descriptor: Descriptor, config: Config) -> Traffic:
    weights, activations = descriptor.weights, descriptor.activations
    beats = math.prod(dim.count for dim in activations.dims)
    words = sum(weights.words + weights.parameters(group, config.weight_rows) for group in range(weights.groups))
    # All groups have equally many beats; the last may lack columns. Looked-up pairs do not use the columns.
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
        """Places a pass in the last segment, or begins a new segment. A pass of too many descriptors is split."""
        limit = self.config.descriptors
        if len(piece.descriptors) > limit:
            starts = range(0, len(piece.descriptors), limit)
            return [part for start in starts for part in self.add(piece.part(start, start + limit))]
        words = sum(len(weights) for weights in self._weights[-1]) if self._weights else 0
        if (
            not self._weights
            or words + len(piece.weights) > self.config.weight_words
            or len(self._descriptors[-1]) + len(piece.descriptors) > limit
        ):
            self._weights.append([])
            self._descriptors.append([])
            words = 0
        first = len(self._descriptors[-1])
        self._weights[-1].append(piece.weights)
        self._descriptors[-1].extend(piece.relocated(words))
        if self.config.overlap:
            since = max(0, first - 1)
            self._descriptors[-1][since:] = overlapped(self._descriptors[-1][since:], self.config)
        return [Part(segment=len(self._descriptors) - 1, first=first, count=len(piece.descriptors))]

    def descriptors(self, part: Part) -> list[Descriptor]:
        """The descriptors of a part."""
        return self._descriptors[part.segment][part.first : part.first + part.count]

    def traffic(self) -> list[list[Traffic]]:
        """What each segment's descriptors send to the tile."""
        return [[_traffic(d, self.config) for d in descriptors] for descriptors in self._descriptors]

    def finished(self) -> list[Segment]:
        """The segments, ready to be sent."""
        return [
            Segment(
                program=np.frombuffer(b"".join(d.encode() for d in descriptors), np.uint8),
                weights=np.concatenate(weights),
                count=len(descriptors),
            )
            for weights, descriptors in zip(self._weights, self._descriptors, strict=True)
        ]
