"""Sums, products and the like with a constant of one value are functions of one byte, hence tables: the constant need
not be repeated, sent to the device, or read there."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace

import numpy as np

from sateen.compiler.rewrites.base import Rewritten
from sateen.graph import Array, Binary, Op, Reshape, Table, Tensor
from sateen.graph.ops import Constant
from sateen.hw.spec.config import Config

__all__ = ["tabulate_constants", "without_unread"]

CODES = np.arange(-128, 128).astype(np.int8)


def tabulate_constants(given: Rewritten, config: Config, combine: bool) -> Rewritten:
    """Turns each operator on a tensor of its result's shape and a constant of one value into a :class:`Table`, if the
    device has tables. The operator itself gives the results."""
    if not config.tables:
        return given
    graph = given.graph
    values: dict[str, Array] = {}
    ops: list[Op] = []
    for op in graph.ops:
        if isinstance(op, Constant):
            values[op.output] = op.values
        elif isinstance(op, Reshape) and op.input in values:
            values[op.output] = values[op.input]
        table = _table(op, graph.tensors, values) if isinstance(op, Binary) else None
        ops.append(table or op)
    if not any(isinstance(op, Table) and isinstance(old, Binary) for op, old in zip(ops, graph.ops, strict=True)):
        return given
    return replace(given, graph=replace(graph, ops=without_unread(ops, graph.results, set(values))))


def _table(op: Binary, tensors: Mapping[str, Tensor], values: Mapping[str, Array]) -> Table | None:
    """The operator as a table; ``None`` if it is not a function of one byte."""
    for x, constant in ((op.a, op.b), (op.b, op.a)):
        if op.is_for_host(tensors) or x in values or constant not in values:
            continue
        all_values = values[constant]
        if tensors[x].shape[1:] != tensors[op.output].shape[1:] or (all_values != all_values.flat[0]).any():
            continue
        axes = (1,) * (len(tensors[x].shape) - 1)
        one = all_values.reshape(-1)[:1].reshape(1, *axes)
        results = op.execute(tensors, {x: CODES.reshape(-1, *axes), constant: one})
        function = f"{type(op).__name__} with {tensors[constant].dequantize(all_values.flat[0]):g}"
        return Table(name=op.name, input=x, output=op.output, table=results.reshape(-1), function=function)
    return None


def without_unread(ops: list[Op], outputs: Sequence[str], constants: set[str]) -> list[Op]:
    """The operators without constants that nothing reads any more."""
    kept: list[Op] = []
    read = set(outputs)
    for op in reversed(ops):
        if op.output in read or op.output not in constants:
            kept.append(op)
            read |= set(op.inputs)
    return kept[::-1]
