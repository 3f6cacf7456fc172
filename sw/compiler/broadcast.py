"""Sums and products of tensors whose shapes broadcast: the smaller tensor is repeated first, as the device combines
equal shapes."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping

from sateen.graph import Binary, Broadcast, Graph, Op, Tensor

__all__ = ["repeat_smaller"]


def repeat_smaller(graph: Graph) -> Graph:
    """The graph with a :class:`Broadcast` for each tensor that is smaller than the sum or product that reads it."""
    tensors: dict[str, Tensor] = dict(graph.tensors)
    ops: list[Op] = []
    for op in graph.ops:
        repeats = _repeats(op, tensors) if isinstance(op, Binary) else {}
        for field, tensor in repeats.items():
            tensors[tensor.name] = tensor
            ops.append(Broadcast(name=tensor.name, input=getattr(op, field), output=tensor.name))
        ops.append(dataclasses.replace(op, **{field: tensor.name for field, tensor in repeats.items()}))
    return dataclasses.replace(graph, tensors=tensors, ops=ops)


def _repeats(op: Binary, tensors: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """By the operator's fields: the tensors in the shape of its result that it is to read in place of smaller ones."""
    wanted, result = tensors[op.output].shape, {}
    for field in ("a", "b"):
        x = tensors[getattr(op, field)]
        if len(x.shape) == len(wanted) and x.shape[1:] != wanted[1:]:
            shape = (x.shape[0], *wanted[1:])
            result[field] = dataclasses.replace(
                x, name=f"{op.name}.{field}", shape=shape, file_layout=None, channel_order=None
            )
    return result
