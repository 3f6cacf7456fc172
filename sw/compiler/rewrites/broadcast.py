"""Sums and products of tensors whose shapes broadcast. The device combines equal shapes only, so the smaller tensor is
repeated first."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping

from sateen.compiler.rewrites.base import Rewritten
from sateen.graph import Binary, Broadcast, Op, Tensor
from sateen.hw.spec.config import Config

__all__ = ["repeat_smaller"]


def repeat_smaller(given: Rewritten, config: Config, combine: bool) -> Rewritten:
    """Adds a :class:`Broadcast` for each tensor that is smaller than the sum or product that reads it, if the device
    computes sums and products."""
    if not config.tables:
        return given
    graph = given.graph
    tensors: dict[str, Tensor] = dict(graph.tensors)
    ops: list[Op] = []
    for op in graph.ops:
        repeats = _repeats(op, tensors) if isinstance(op, Binary) and not op.is_for_host(tensors) else {}
        for field, tensor in repeats.items():
            tensors[tensor.name] = tensor
            ops.append(Broadcast(name=tensor.name, input=getattr(op, field), output=tensor.name))
        ops.append(dataclasses.replace(op, **{field: tensor.name for field, tensor in repeats.items()}))
    graph = dataclasses.replace(graph, tensors=tensors, ops=ops)
    return dataclasses.replace(given, graph=graph)


def _repeats(op: Binary, tensors: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """By the operator's fields: the repeated tensors that it is to read in place of smaller ones."""
    wanted, result = tensors[op.output].shape, {}
    for field in ("a", "b"):
        x = tensors[getattr(op, field)]
        if len(x.shape) == len(wanted) and x.shape[1:] != wanted[1:]:
            shape = (x.shape[0], *wanted[1:])
            result[field] = dataclasses.replace(
                x, name=f"{op.name}.{field}", shape=shape, file_layout=None, channel_order=None
            )
    return result
