"""Assembly: packs programs and weights into segments, and lists the steps of an inference."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Collection, Iterator, Mapping, Sequence

import numpy as np

from sateen.compiler.ahead import overlapped
from sateen.compiler.choice import Chosen, ChosenStripe
from sateen.compiler.model import Layer, Model, Part, Piece, Segment, Step, Tile, Traffic, runs
from sateen.compiler.norms import check_norms
from sateen.compiler.passes import Pass
from sateen.compiler.placement import Placement
from sateen.compiler.schedule import DevicePhase, HostPhase
from sateen.compiler.stripes import Stripe
from sateen.graph import Graph, Op
from sateen.hw.spec.config import Config
from sateen.hw.spec.counters import Counters
from sateen.hw.spec.descriptor import Descriptor
from sateen.hw.spec.residual import sum_words
from sateen.sim.cycles import predict

__all__ = ["assemble", "bytes_per_inference"]

ZERO = Counters(0, 0, 0, 0, 0, 0, 0)


def assemble(placed: Placement, chosen: Mapping[str, Chosen], config: Config) -> Model:
    """The compiled model: every layer's passes in segments, with what the cycle model expects of them.

    Where segments come from SDRAM, they take half the memories, if there are several: one is copied while another is
    computed.
    """
    model = _assembled(placed, chosen, config, share=1)
    if config.sdram and config.engine == "pipelined" and not model.resident:
        return _assembled(placed, chosen, config, share=2)
    return model


def bytes_per_inference(model: Model) -> int:
    """Bytes of data that cross the link in one inference of many, or go to and from SDRAM: tensors, and segments each
    time that another one is needed. Frames and commands are not counted."""
    total, visited = 0, list[int]()
    for step in model.steps:
        layers = model.layers[step.first : step.first + step.count]
        total += sum(model.size(name) for name in (*step.writes, *step.reads))
        if step.tiles:
            inputs = next(op.inputs for op in model.graph.ops if op.name == layers[0].name)
            sent, taken = sum(name not in step.inside for name in inputs), layers[-1].output not in step.inside
            total += sum(tile.source[1] * sent + tile.target[1] * taken for tile in step.tiles)
            visited += [part.segment for tile in step.tiles for part in tile.parts]
        else:
            visited += [part.segment for layer in layers for part in layer.parts]
    for before, number in zip([*visited[-1:], *visited], visited, strict=False):
        if number != before:
            segment = model.segments[number]
            total += len(segment.weights) * model.config.weight_word_bytes + segment.program.nbytes
    return total


def _assembled(placed: Placement, chosen: Mapping[str, Chosen], config: Config, *, share: int) -> Model:
    assembler = _Assembler(placed.graph, config, share)
    for phase in placed.schedule.phases:
        if isinstance(phase, DevicePhase):
            assembler.device_phase(phase, chosen)
        else:
            assembler.host_phase(phase, placed, chosen)
    return assembler.model(placed)


class _Assembler:
    """Builds a model. Steps are appended in order."""

    def __init__(self, graph: Graph, config: Config, share: int):
        self.graph, self.config = graph, config
        self.layers: list[Layer] = []
        self.steps: list[Step] = []
        self._segments = _Segments(config, share)

    def device_phase(self, phase: DevicePhase, chosen: Mapping[str, Chosen]) -> None:
        """Appends consecutive layers of the device."""
        first = len(self.layers)
        for op in (self.graph.ops[index] for index in phase.ops):
            self._layer(op, self._parts(chosen[op.name].passes), chosen[op.name])
        self.steps.append(Step(first=first, count=len(phase.ops), writes=phase.writes, reads=phase.reads))

    def host_phase(self, phase: HostPhase, placed: Placement, chosen: Mapping[str, Chosen]) -> None:
        """Appends an operator of the host, or layers in stripes."""
        op = self.graph.ops[phase.op]
        if op.name in placed.stripes:
            names = next((chain for chain in placed.chains if op.name in chain), (op.name,))
            ops = {each.name: each for each in self.graph.ops}
            self._stripes([ops[name] for name in names], [chosen[name] for name in names], placed.staying)
        else:
            self.steps.append(Step(host=op.name, reason=placed.refused.get(op.name, "")))

    def _stripes(self, ops: Sequence[Op], chosen: Sequence[Chosen], staying: Collection[str]) -> None:
        """Appends layers that are computed row by row. Tiles that share the passes of all layers share a program."""
        kinds: dict[tuple[int, ...], list[ChosenStripe]] = {}
        tiles = list(zip(*(layer.stripes for layer in chosen), strict=True))
        for stripes in tiles:
            kinds.setdefault(tuple(id(stripe.passes) for stripe in stripes), list(stripes))
        self._segments.make_room([piece for stripes in kinds.values() for each in stripes for piece in each.passes])
        parts = {key: [tuple(self._parts(each.passes)) for each in stripes] for key, stripes in kinds.items()}
        made = []
        for stripes in tiles:
            own = parts[tuple(id(stripe.passes) for stripe in stripes)]
            made.append(Tile(pieces=tuple(_piece(each.stripe, some) for each, some in zip(stripes, own, strict=True))))
        first = len(self.layers)
        for place, (op, layer) in enumerate(zip(ops, chosen, strict=True)):
            self._layer(op, [part for tile in made for part in tile.pieces[place].parts], layer)
        inside = tuple(name for name in (*ops[0].inputs, ops[-1].output) if name in staying)
        self.steps.append(Step(first=first, count=len(ops), tiles=tuple(made), inside=inside))

    def model(self, placed: Placement) -> Model:
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
            scratchpad_bytes=max([placed.memory.peak, *self._ends()]),
        )

    def _ends(self) -> Iterator[int]:
        """Where what is computed row by row ends in the scratchpad."""
        inputs = {op.name: len(op.inputs) for op in self.graph.ops}
        for step in self.steps:
            for tile in step.tiles:
                yield tile.pieces[0].source_address + inputs[self.layers[step.first].name] * tile.source[1]
                yield from (piece.address + piece.target[1] for piece in tile.pieces)

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


def _piece(stripe: Stripe, parts: tuple[Part, ...]) -> Piece:
    return Piece(
        source_address=stripe.source_address, source=stripe.source, address=stripe.address, target=stripe.target,
        parts=parts,
    )  # fmt: skip


def _traffic(descriptor: Descriptor, config: Config) -> Traffic:
    weights, activations = descriptor.weights, descriptor.activations
    beats = math.prod(dim.count for dim in activations.dims)
    words = sum(weights.words + weights.parameters(group, config.weight_rows) for group in range(weights.groups))
    before = sum_words(config.weight_rows) if weights.residual else 0
    # All groups have equally many beats; the last may lack columns. Looked-up pairs do not use the columns.
    channels = min(descriptor.output.channels, weights.groups * config.cols)
    return Traffic(
        beats=beats,
        columns=0 if weights.tables else beats * channels // weights.groups,
        weight_bytes=(weights.blocks * words + before) * config.cols,
        activation_bytes=beats * (config.cols if activations.sliding else config.beat_bytes),
    )


class _Segments:
    """Packs passes into segments, each of which fits the weight store and the program memory.

    A segment takes one part in ``share`` of both, or more only where passes that belong together need it.
    """

    def __init__(self, config: Config, share: int):
        self.config, self.share = config, share
        self._weights: list[list[np.ndarray]] = []
        self._descriptors: list[list[Descriptor]] = []
        self._known: list[dict[bytes, int]] = []
        """Of each segment, the first word of each pass's weights, by these weights."""
        self._whole = False
        """The last segment may take all of the memories."""

    def _has_room(self, words: int, descriptors: int) -> bool:
        """Whether the last segment has room for more."""
        if not self._weights:
            return False
        words += sum(len(weights) for weights in self._weights[-1])
        return self._fits(words, len(self._descriptors[-1]) + descriptors, 1 if self._whole else self.share)

    def _fits(self, words: int, descriptors: int, share: int) -> bool:
        return words <= self.config.weight_words // share and descriptors <= self.config.descriptors // share

    def _begin(self, *, whole: bool = False) -> None:
        """Begins a segment."""
        self._weights.append([])
        self._descriptors.append([])
        self._known.append({})
        self._whole = whole

    def make_room(self, pieces: Sequence[Pass]) -> None:
        """Begins a new segment if passes do not all fit the last one, but an empty one: they are run again and again,
        and segments would be exchanged each time."""
        words = sum(len(weights) for weights in {piece.weights.tobytes(): piece.weights for piece in pieces}.values())
        count = sum(len(piece.descriptors) for piece in pieces)
        if self._fits(words, count, 1) and not self._has_room(words, count):
            self._begin(whole=not self._fits(words, count, self.share))

    def add(self, piece: Pass) -> list[Part]:
        """Places a pass in the last segment, or begins a new segment. A pass of too many descriptors is split. Weights
        that are there already are used again, unless the device writes them."""
        limit = self.config.descriptors
        if len(piece.descriptors) > limit:
            starts = range(0, len(piece.descriptors), limit)
            return [part for start in starts for part in self.add(piece.part(start, start + limit))]
        written = any(d.output.to_weights or d.weights.waits for d in piece.descriptors)
        known = b"" if written else piece.weights.tobytes()
        more = 0 if self._known and known in self._known[-1] else len(piece.weights)
        if not self._has_room(more, len(piece.descriptors)):
            self._begin()
        words = self._known[-1].get(known)
        if words is None:
            words = sum(len(weights) for weights in self._weights[-1])
            self._weights[-1].append(piece.weights)
            if known:
                self._known[-1][known] = words
        first = len(self._descriptors[-1])
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
        for each in self._descriptors:
            check_norms(each)
        return [
            Segment(
                program=np.frombuffer(b"".join(d.encode() for d in descriptors), np.uint8),
                weights=np.concatenate(weights),
                count=len(descriptors),
            )
            for weights, descriptors in zip(self._weights, self._descriptors, strict=True)
        ]
