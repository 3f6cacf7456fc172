"""The compiler: a graph and a configuration become a model that a device of that configuration runs by itself."""

from __future__ import annotations

import dataclasses
import os
import warnings
from collections.abc import Mapping

import numpy as np
from numpy.typing import ArrayLike

from sateen.compiler.assembly import Assembler
from sateen.compiler.broadcast import broadcasted
from sateen.compiler.lowering import lower
from sateen.compiler.memory import Plan, plan
from sateen.compiler.model import Model
from sateen.compiler.schedule import Schedule, schedule
from sateen.compiler.stripes import Stripe, stripes
from sateen.errors import CompileError, SateenWarning
from sateen.frontends.sources import load, quantized
from sateen.graph.graph import Graph, Op, Reshape
from sateen.graph.network import Network
from sateen.hw.spec.config import Config, parse_config
from sateen.quantize.calibration import quantize
from sateen.quantize.precision import precision, value_ranges
from sateen.sparsity.permute import permuted

__all__ = ["compile"]

COMBINE = ("auto", "off")
Source = Graph | Network | str | os.PathLike[str]


def compile(
    source: Source,
    config: Config | str = "small",
    *,
    calibration: ArrayLike | None = None,
    strict: bool = False,
    combine: str = "auto",
) -> Model:
    """Compiles a network for a configuration.

    Parameters
    ----------
    source
        A quantized :class:`~sateen.graph.graph.Graph`, a float :class:`~sateen.graph.network.Network`, or the path of a
        file: of either, or a quantized model of TensorFlow Lite or ONNX.
    config
        The device's configuration, or what names it: ``"small,rows=8,cols=16"``.
    calibration
        For a float network or float ONNX model: a batch of inputs [N, …], from which the ranges of its activations are
        taken.
    strict
        Refuse what the device lacks, in place of running it on the host with a :class:`~sateen.errors.SateenWarning`.

    combine
        ``"auto"``: on a device that combines columns, layers are packed in fewer tiles where that takes fewer cycles
        (:attr:`sateen.compiler.model.Layer.combining`), channels between layers being put in another order where that
        helps; ``"off"``: none is.

    Raises
    ------
    CompileError
        With ``strict``, if the device lacks an operator, or one does not fit its memories.
    GraphError
        If a model's file is damaged, not quantized, or has an operator that is not known here.
    """
    if combine not in COMBINE:
        raise CompileError(f"combine must be {' or '.join(COMBINE)}, not {combine!r}")
    if isinstance(config, str):
        config = parse_config(config)
    graph = _graph(source, calibration, config)
    notes: dict[str, str] = {}
    if combine == "auto" and config.combine > 1:
        graph, notes = permuted(graph, config)
    graph = broadcasted(graph, config)
    kernels, reasons = _placed(graph, config)
    order, memory, cuts = _scheduled(graph, config, kernels, reasons)
    if reasons and strict:
        first = next(op for op in graph.ops if op.name in reasons)
        raise CompileError(f"{first}: {reasons[first.name]}; compile without strict to run it on the host")
    for name, reason in reasons.items():
        warnings.warn(f"layer {name!r} runs on the host: {reason}", SateenWarning, stacklevel=2)
    assembler = Assembler(graph, config, memory, combine=combine == "auto", notes=notes)
    for turn in order.turns:
        for op in (graph.ops[place] for place in turn.ops):
            if op.name in cuts:
                assembler.tiled(op, cuts[op.name])
            elif turn.host:
                assembler.host(op, reasons.get(op.name, ""))
        if not turn.host:
            assembler.stretch(turn, kernels)
    return assembler.model()


def _graph(source: Source, calibration: ArrayLike | None, config: Config) -> Graph:
    if isinstance(source, (str, os.PathLike)):
        source = load(source) if calibration is None else quantized(source, calibration)
    if isinstance(source, Graph):
        return source
    if calibration is None:
        raise CompileError("a float network is quantized first: give a calibration batch of its inputs")
    return quantize(source, np.asarray(calibration), weight_bits=config.weight_bits)


def _placed(graph: Graph, config: Config) -> tuple[dict[str, lower.Lowered], dict[str, str]]:
    """The kernels of each operator that runs on the device; and why each of the others does not that is none of the
    host's."""
    kernels: dict[str, lower.Lowered] = {}
    reasons: dict[str, str] = {}
    ranges = value_ranges(graph)
    for op in graph.ops:
        if op.HOST or isinstance(op, Reshape):
            continue
        try:
            made = lower.kernels_of(op, graph.tensors, config)
        except CompileError as error:
            reasons[op.name] = str(error).removeprefix(f"{op}: ")
            continue
        kernels[op.name] = _precise(op, made, ranges, config)
    return kernels, reasons


def _precise(op: Op, made: lower.Lowered, ranges: Mapping[str, tuple[int, int]], config: Config) -> lower.Lowered:
    """Kernels with the precision that they are computed in."""
    if not isinstance(made, tuple):
        return made
    return tuple(
        dataclasses.replace(kernel, precision=precision(op, kernel, ranges[op.inputs[kernel.source]], config))
        for kernel in made
    )


def _scheduled(
    graph: Graph, config: Config, kernels: dict[str, lower.Lowered], reasons: dict[str, str]
) -> tuple[Schedule, Plan, dict[str, list[Stripe]]]:
    """An order of turns whose tensors fit the scratchpad. What cannot fit is computed in stripes, or moves to the host."""
    cuts: dict[str, list[Stripe]] = {}
    spill = False
    while True:
        whole = [name for name in kernels if name not in cuts]
        order = schedule(graph, whole, spill=spill)
        memory = plan(graph, order)
        if memory.peak <= config.scratchpad_bytes:
            return order, memory, cuts
        if not spill:
            spill = True
            continue
        worst = max((op for op in graph.ops if op.name in whole), key=lambda op: memory.used[op.name])
        try:
            made = lower.kernels_of(worst, graph.tensors, config, cut=True)
            cuts[worst.name] = stripes(worst, _precise(worst, made, value_ranges(graph), config), config)
        except CompileError as error:
            reasons[worst.name] = str(error).removeprefix(f"{worst}: ")
            del kernels[worst.name]
