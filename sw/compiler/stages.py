"""The compiler's stages: they turn a network and a configuration into a model that a device runs by itself."""

from __future__ import annotations

import dataclasses
import os
import warnings
from collections.abc import Sequence
from typing import Any

import numpy as np

from sateen.compiler.assembly import assemble, bytes_per_inference
from sateen.compiler.choice import choose
from sateen.compiler.lowering import lower, lower_operator, reason_for_parts
from sateen.compiler.model import Model
from sateen.compiler.placement import Placement, place
from sateen.compiler.precision import set_precision
from sateen.compiler.rewrites import join_sums, rewrite, unfold
from sateen.compiler.verification import verify_program
from sateen.errors import CompileError, SateenWarning
from sateen.frontends import load
from sateen.frontends.torch import is_torch
from sateen.graph import Graph, Op, Real, Recurrent, Weighted, Wide
from sateen.hw.spec.config import Config, parse_config
from sateen.quantize import quantize, quantize_file, quantize_torch

__all__ = ["compile"]

COMBINE = ("auto", "off")
SHOWN = 6
"""Operators that a warning names."""
WIDE_REMEDY = "the array multiplies 8 bits by 8, so quantize activations to int8 for the device"
RECURRENT_REMEDY = (
    "the device's results have 8 bits, so configure one with recurrent=1024, or quantize an SVDF with a state of int8, "
    "or an LSTM from float ONNX, for the device"
)
HOST_TYPES = [
    (Wide, "int16 activations", WIDE_REMEDY),
    (Real, "real numbers", "the device computes what is quantized"),
    (Recurrent, "recurrent states of 16 bits", RECURRENT_REMEDY),
]
"""Operators that the host computes for their types, what they compute with, and how to avoid it."""
Source = Any
"""A graph, a network, a path, or a program or module of PyTorch."""


def compile(
    source: Source,
    config: Config | str = "small",
    *,
    calibration: Any = None,
    example_inputs: Sequence[Any] | None = None,
    strict: bool = False,
    combine: str = "auto",
) -> Model:
    """Compiles a network for a configuration.

    Parameters
    ----------
    source
        A quantized :class:`~sateen.graph.graph.Graph`, a float :class:`~sateen.graph.network.Network`, or the path of a
        file: of either, or a model of TensorFlow Lite, ONNX or PyTorch (``torch.export.save``). Or a PyTorch program
        (``torch.export.ExportedProgram``) or module, float or quantized by PT2E.
    config
        The device's configuration, or its name: ``"small,rows=8,cols=16"``.
    calibration
        For a float source: representative inputs [N, …], from which the ranges of its activations are taken; for a
        PyTorch one also a loader of batches.
    example_inputs
        For a PyTorch module: a tensor, or a tuple of them, with which it is exported. Without, the first of
        ``calibration``.
    strict
        Refuse what the device lacks. Otherwise the host runs it, with a :class:`~sateen.errors.SateenWarning`.
    combine
        ``"auto"``: on a device that combines columns, pack layers in fewer tiles where that takes fewer cycles
        (:attr:`sateen.compiler.model.Layer.combining`), and reorder channels between layers where that helps.
        ``"off"``: pack none.

    Raises
    ------
    CompileError
        With ``strict``, if the device lacks an operator, or one does not fit its memories.
    GraphError
        If a model's file is damaged, not quantized, or has an operator that is not known here.
    InternalError
        If the finished programs and weights are not the graph's: a mistake of the compiler.
    """
    if combine not in COMBINE:
        raise CompileError(f"combine must be {' or '.join(COMBINE)}, not {combine!r}")
    if isinstance(config, str):
        config = parse_config(config)
    combines = combine == "auto" and config.combine > 1
    graph = read(source, calibration, config, example_inputs)
    rewritten = rewrite(graph, config, combine=combines)
    # Unfolded images take room, which others may need, and so do tensors that are added to others' results.
    faster = join_sums(unfold(rewritten, config), config, lambda op, graph: _is_lowered(op, graph, config))
    precise = set_precision(lower(faster.graph, config), config)
    placed = place(precise, config)
    if faster is not rewritten and (placed.schedule.spill or placed.refused):
        plain = set_precision(lower(rewritten.graph, config), config)
        others = place(plain, config)
        # What the device lacks either way is no reason.
        if placed.schedule.spill or placed.refused.keys() - others.refused.keys():
            precise, placed = plain, others
    report_refused(placed, strict=strict)
    report_parts(placed, config)

    def made(placed: Placement, *, roomy: bool = True) -> Model:
        orders = rewritten.channel_orders
        chosen = choose(placed, config, combine=combines, channel_orders=orders, roomy=roomy)
        return assemble(placed, chosen, config)

    model = made(placed)
    if not model.resident:
        # What saves cycles takes descriptors and words. Beside tensors that stay each tile has a program of its own.
        # These may be what no longer fits.
        small = [made(placed, roomy=False)] if config.overlap else []
        small += [made(place(precise, config, staying=False), roomy=False)] if placed.staying else []
        model = min((model, *small), key=bytes_per_inference)
    verify_program(model)
    return dataclasses.replace(model, trusted=True)


def _is_lowered(op: Op, graph: Graph, config: Config) -> bool:
    """Whether the device computes an operator."""
    try:
        lower_operator(op, graph.tensors, config)
    except CompileError:
        return False
    return True


def read(source: Source, calibration: Any, config: Config, example_inputs: Sequence[Any] | None = None) -> Graph:
    """The first stage: a front end reads the file; a float network is quantized."""
    if is_torch(source):
        made = quantize_torch(source, calibration, example_inputs=example_inputs)
        return made if isinstance(made, Graph) else made.graph
    if isinstance(source, (str, os.PathLike)):
        source = load(source) if calibration is None else quantize_file(source, calibration)
    if isinstance(source, Graph):
        return source
    if calibration is None:
        raise CompileError("a float network is quantized first: give a calibration batch of its inputs")
    return quantize(source, np.asarray(calibration), weight_bits=min(8, config.weight_bits))


def report_refused(placed: Placement, *, strict: bool) -> None:
    """Warns of each operator that the device cannot run, and of those on int16 activations and real numbers; with
    ``strict`` the first of these is an error."""
    for op in placed.graph.ops:
        if strict and isinstance(op, Wide):
            raise CompileError(f"{op}: {WIDE_REMEDY}; compile without strict to run it on the host")
        if strict and isinstance(op, Real):
            raise CompileError(f"{op}: it computes with real numbers; compile without strict to run it on the host")
        if strict and isinstance(op, Recurrent) and op.HOST_ONLY:
            raise CompileError(f"{op}: {RECURRENT_REMEDY}; compile without strict to run it on the host")
        if strict and op.name in placed.refused:
            raise CompileError(f"{op}: {placed.refused[op.name]}; compile without strict to run it on the host")
    for name, reason in placed.refused.items():
        warnings.warn(f"layer {name!r} runs on the host: {reason}", SateenWarning, stacklevel=3)
    for kind, what, remedy in HOST_TYPES:
        found = [op for op in placed.graph.ops if isinstance(op, kind) and op.HOST_ONLY]
        if found:
            compute = "operator computes" if len(found) == 1 else "operators compute"
            # By the names that the file has; its kinds of operators are others.
            names = shown([repr(op.name) for op in found])
            text = f"{len(found)} {compute} with {what}, on the host: {names}; {remedy}"
            warnings.warn(text, SateenWarning, stacklevel=3)


def report_parts(placed: Placement, config: Config) -> None:
    """Warns of layers on the device that take more cycles because its PEs do not hold their weights."""
    layers: dict[str, list[Op]] = {}
    for op in placed.graph.ops:
        kernels = placed.device[op.name].kernels if op.name in placed.device else ()
        if isinstance(op, Weighted) and any(kernel.parts > 1 for kernel in kernels):
            layers.setdefault(reason_for_parts(op.weights, config), []).append(op)
    for reason, ops in layers.items():
        what = "layer multiplies its weights" if len(ops) == 1 else "layers multiply their weights"
        cost = "in parts, which takes two or three times as many cycles"
        text = f"{len(ops)} {what} {cost}: {shown(ops)}; {reason}"
        warnings.warn(text, SateenWarning, stacklevel=3)


def shown(ops: Sequence[Op | str]) -> str:
    """The first operators by name, and how many more there are."""
    return ", ".join(map(str, ops[:SHOWN])) + (f" and {len(ops) - SHOWN} more" if len(ops) > SHOWN else "")
