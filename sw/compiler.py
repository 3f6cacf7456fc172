"""The compiler: a graph and a configuration become a model that a device of that configuration runs by itself."""

from __future__ import annotations

import dataclasses
import os
import warnings
from collections.abc import Sequence

import numpy as np
from numpy.typing import ArrayLike

from weft import lower
from weft.errors import CompileError, WeftWarning
from weft.graph import Graph, Op, Reshape
from weft.hw.spec.config import Config, parse_config
from weft.hw.spec.counters import Counters
from weft.hw.spec.descriptor import Descriptor
from weft.model import Layer, Model, Part, Segment
from weft.network import Network
from weft.plan import Plan, plan
from weft.precision import precision, value_ranges
from weft.quantize import quantize
from weft.sim.cycles import predict
from weft.sources import load
from weft.steps import steps

__all__ = ["compile"]

NOTHING = Counters(0, 0, 0, 0, 0, 0, 0)
Source = Graph | Network | str | os.PathLike[str]


def compile(
    source: Source, config: Config | str = "small", *, calibration: ArrayLike | None = None, strict: bool = False
) -> Model:
    """Compiles a network for a configuration.

    Parameters
    ----------
    source
        A quantized :class:`~weft.graph.Graph`, a float :class:`~weft.network.Network`, or the path of a file: of either, or
        a quantized model of TensorFlow Lite.
    config
        The device's configuration, or what names it: ``"small,rows=8,cols=16"``.
    calibration
        For a float network: a batch of inputs [N, …], from which the ranges of its activations are taken.
    strict
        Refuse what the device lacks, in place of running it on the host with a :class:`~weft.errors.WeftWarning`.

    Raises
    ------
    CompileError
        If tensors do not fit the device's memories; with ``strict``, if the device lacks an operator or a layer does not fit.
    GraphError
        If a model's file is damaged, not quantized, or has an operator that is not known here.
    """
    if isinstance(config, str):
        config = parse_config(config)
    graph = _graph(source, calibration)
    kernels, reasons = _placed(graph, config)
    if reasons and strict:
        raise CompileError(f"{next(iter(reasons.values()))}; compile without strict to run it on the host")
    for name, reason in reasons.items():
        warnings.warn(f"layer {name!r} runs on the host: {reason}", WeftWarning, stacklevel=2)
    memory = plan(graph, config, kernels)
    builder, layers = _Builder(config), []
    for op in graph.ops:
        if op.name in kernels:
            layers.append(_layer(graph, op, kernels[op.name], memory, builder))
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
        steps=steps(graph, kernels, reasons, memory.addresses),
        addresses=dict(memory.addresses),
        scratchpad_bytes=memory.peak,
    )


def _graph(source: Source, calibration: ArrayLike | None) -> Graph:
    if isinstance(source, (str, os.PathLike)):
        source = load(source)
    if isinstance(source, Graph):
        return source
    if calibration is None:
        raise CompileError("a float network is quantized first: give a calibration batch of its inputs")
    return quantize(source, np.asarray(calibration))


def _placed(graph: Graph, config: Config) -> tuple[dict[str, tuple[lower.Kernel, ...]], dict[str, str]]:
    """The kernels of each operator that runs on the device; and why each of the others does not that is none of the host's."""
    kernels: dict[str, tuple[lower.Kernel, ...]] = {}
    reasons: dict[str, str] = {}
    ranges = value_ranges(graph)
    for op in graph.ops:
        if op.HOST or isinstance(op, Reshape):
            continue
        inputs, output = [graph.tensors[name] for name in op.inputs], graph.tensors[op.output]
        try:
            made = lower.kernels_of(op, inputs, output, config)
            for kernel in made:
                lower.check(op, kernel, config)
        except CompileError as error:
            reasons[op.name] = str(error)
            continue
        kernels[op.name] = tuple(
            dataclasses.replace(kernel, precision=precision(op, kernel, ranges[op.inputs[kernel.source]], config)) for kernel in made
        )
    return kernels, reasons


def _layer(graph: Graph, op: Op, kernels: Sequence[lower.Kernel], memory: Plan, builder: _Builder) -> Layer:
    """An operator on the device, its program and weights added to the builder's."""
    parts = [
        part
        for kernel in kernels
        for piece in _fastest(op, kernel, builder.config, memory.addresses[op.inputs[kernel.source]], memory.addresses[op.output])
        for part in builder.add(op, piece)
    ]
    one = {name: dataclasses.replace(graph.tensors[name], shape=(1, *graph.tensors[name].shape[1:]), own=None) for name in (*op.inputs, op.output)}
    return Layer(
        name=op.name,
        op=type(op).__name__,
        output=op.output,
        macs=op.macs(one),
        parts=_joined(parts),
        predicted=NOTHING,
        memory_bytes=memory.used[op.name],
    )


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
        self._weights: list[list[np.ndarray]] = []
        self._descriptors: list[list[Descriptor]] = []

    def add(self, op: Op, piece: lower.Pass) -> list[Part]:
        """Places a pass in the last segment, or begins a new one; one of many descriptors is placed in pieces."""
        most = self.config.descriptors
        if len(piece.descriptors) > most:
            starts = range(0, len(piece.descriptors), most)
            return [part for start in starts for part in self.add(op, piece.part(start, start + most))]
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
