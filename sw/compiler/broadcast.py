"""Sums and products of tensors whose shapes broadcast: the device repeats the smaller one, and combines tensors of one
shape then."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping, Sequence

from sateen.compiler.lowering.lower import kernels_of
from sateen.errors import CompileError
from sateen.graph.graph import Graph
from sateen.graph.ops import Binary, Broadcast, Op, Tensor
from sateen.hw.spec.config import Config

__all__ = ["broadcasted"]


def broadcasted(graph: Graph, config: Config) -> Graph:
    """The graph with a :class:`Broadcast` before each operator that would be the device's but for its tensors' shapes."""
    tensors: dict[str, Tensor] = dict(graph.tensors)
    ops: list[Op] = []
    for op in graph.ops:
        repeats = _repeats(op, tensors) if isinstance(op, Binary) else {}
        more = {tensor.name: tensor for tensor in repeats.values()}
        chain: list[Op] = [
            Broadcast(name=tensor.name, input=getattr(op, field), output=tensor.name)
            for field, tensor in repeats.items()
        ]
        chain.append(dataclasses.replace(op, **{field: tensor.name for field, tensor in repeats.items()}))
        if repeats and _lowered(chain, tensors | more, config):
            tensors |= more
            ops += chain
        else:
            ops.append(op)
    return dataclasses.replace(graph, tensors=tensors, ops=ops)


def _repeats(op: Binary, tensors: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """What fields of the operator are to name in place of tensors that are smaller than its result."""
    wanted, result = tensors[op.output].shape, {}
    for field in ("a", "b"):
        x = tensors[getattr(op, field)]
        if len(x.shape) == len(wanted) and x.shape[1:] != wanted[1:]:
            shape = (x.shape[0], *wanted[1:])
            result[field] = dataclasses.replace(x, name=f"{op.name}.{field}", shape=shape, own=None, order=None)
    return result


def _lowered(chain: Sequence[Op], tensors: Mapping[str, Tensor], config: Config) -> bool:
    """Whether the device computes all of it."""
    try:
        for op in chain:
            kernels_of(op, tensors, config)
    except CompileError:
        return False
    return True
