"""The compiler: a graph and a configuration become a model that a device of that configuration runs by itself."""

from __future__ import annotations

import dataclasses
import os
from collections.abc import Sequence

import numpy as np
from numpy.typing import ArrayLike

from weft import lower
from weft.errors import CompileError
from weft.graph import Graph, Op, Reshape
from weft.hw.spec.config import Config, parse_config
from weft.hw.spec.counters import Counters
from weft.hw.spec.descriptor import Descriptor
from weft.model import Layer, Model, Part, Segment
from weft.network import Network
from weft.plan import plan
from weft.precision import precision, value_ranges
from weft.quantize import quantize
from weft.sim.cycles import predict

__all__ = ["compile"]

NOTHING = Counters(0, 0, 0, 0, 0, 0, 0)
Source = Graph | Network | str | os.PathLike[str]


def compile(source: Source, config: Config | str = "small", *, calibration: ArrayLike | None = None) -> Model:
    """Compiles a network for a configuration.

    Parameters
    ----------
    source
        A quantized :class:`~weft.graph.Graph`, a float :class:`~weft.network.Network`, or the path of a file of either.
    config
        The device's configuration, or what names it: ``"small,rows=8,cols=16"``.
    calibration
        For a float network: a batch of inputs [N, …], from which the ranges of its activations are taken.

    Raises
    ------
    CompileError
        If the device has no such operator, or a layer does not fit its memories.
    """
    if isinstance(config, str):
        config = parse_config(config)
    graph = _graph(source, calibration, config)
    memory = plan(graph, config)
    builder, ranges = _Builder(config), value_ranges(graph)
    layers = []
    for op in graph.ops:
        if isinstance(op, Reshape):
            continue
        x, y = graph.tensors[op.inputs[0]], graph.tensors[op.output]
        kernel = lower.kernel_of(op, x, y, config)
        kernel = dataclasses.replace(kernel, precision=precision(op, kernel, ranges[x.name], config))
        passes = _fastest(op, kernel, config, memory.addresses[x.name], memory.addresses[y.name])
        parts = [builder.add(op, piece) for piece in passes]
        layers.append(
            Layer(
                name=op.name,
                op=type(op).__name__,
                output=op.output,
                macs=op.macs({name: dataclasses.replace(t, shape=(1, *t.shape[1:])) for name, t in graph.tensors.items()}),
                parts=_joined(parts),
                predicted=NOTHING,
                memory_bytes=memory.used[op.name],
            )
        )
    if not layers:
        raise CompileError(f"graph {graph.name!r} has no operator that the device computes")
    predictions = builder.predictions()
    return Model(
        graph=graph,
        config=config,
        segments=tuple(builder.segments()),
        layers=tuple(
            dataclasses.replace(
                layer, predicted=_total([c for p in layer.parts for c in predictions[p.segment][p.first : p.first + p.count]])
            )
            for layer in layers
        ),
        addresses=dict(memory.addresses),
        scratchpad_bytes=memory.peak,
    )


def _graph(source: Source, calibration: ArrayLike | None, config: Config) -> Graph:
    if isinstance(source, (str, os.PathLike)):
        source = _load(source)
    if isinstance(source, Graph):
        return source
    if calibration is None:
        raise CompileError("a float network is quantized first: give a calibration batch of its inputs")
    return quantize(source, np.asarray(calibration), weight_bits=config.weight_bits)


def _load(path: str | os.PathLike[str]) -> Graph | Network:
    from weft.archive import ArchiveError

    reasons = []
    for kind in (Graph, Network):
        try:
            return kind.load(path)
        except ArchiveError as error:
            reasons.append(str(error))
        except OSError as error:
            raise CompileError(f"cannot read {path}: {error.strerror or error}") from error
    raise CompileError(reasons[0])


def _fastest(op: Op, kernel: lower.Kernel, config: Config, source: int, target: int) -> list[lower.Pass]:
    """The passes with the number of rows in a block that the cycle model likes best."""
    best: tuple[int, list[lower.Pass]] | None = None
    for rows in lower.block_rows(kernel, config):
        passes = lower.passes(
            op, kernel, config, source=source, target=target, rows=rows, words=config.weight_words
        )
        cycles = _total(predict([d for piece in passes for d in piece.descriptors], config)).cycles
        if best is None or cycles < best[0]:
            best = cycles, passes
    assert best is not None
    return best[1]


def _total(counters: Sequence[Counters]) -> Counters:
    return sum(counters, NOTHING)


def _joined(parts: Sequence[Part]) -> tuple[Part, ...]:
    """Parts with neighbours of the same segment made one."""
    joined: list[Part] = []
    for part in parts:
        if joined and joined[-1].segment == part.segment:
            joined[-1] = dataclasses.replace(joined[-1], count=joined[-1].count + part.count)
        else:
            joined.append(part)
    return tuple(joined)


class _Builder:
    """Packs passes into segments, each of which fits the weight store and the program memory."""

    def __init__(self, config: Config):
        self.config = config
        self._weights: list[list[np.ndarray]] = [[]]
        self._descriptors: list[list[Descriptor]] = [[]]

    def add(self, op: Op, piece: lower.Pass) -> Part:
        """Places a pass in the last segment, or begins a new one."""
        if len(piece.descriptors) > self.config.descriptors:
            over = len(piece.descriptors) - self.config.descriptors
            raise CompileError(
                f"{op} takes {len(piece.descriptors)} descriptors, {over} more than the program memory's "
                f"{self.config.descriptors}; raise descriptors or positions"
            )
        words = sum(len(weights) for weights in self._weights[-1])
        if (
            words + len(piece.weights) > self.config.weight_words
            or len(self._descriptors[-1]) + len(piece.descriptors) > self.config.descriptors
        ):
            self._weights.append([])
            self._descriptors.append([])
            words = 0
        first = len(self._descriptors[-1])
        self._weights[-1].append(piece.weights)
        self._descriptors[-1].extend(piece.placed(words))
        return Part(segment=len(self._descriptors) - 1, first=first, count=len(piece.descriptors))

    def predictions(self) -> list[list[Counters]]:
        """What the cycle model expects of each segment's descriptors, run in order."""
        return [predict(descriptors, self.config) for descriptors in self._descriptors]

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
