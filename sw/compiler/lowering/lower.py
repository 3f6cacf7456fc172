"""Lowering: what each operator of a graph is to the device."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from sateen.compiler.lowering import copies, lookup, weighted
from sateen.compiler.lowering.kernel import Kernel
from sateen.compiler.lowering.lookup import LookUp
from sateen.errors import CompileError
from sateen.graph import (
    Add,
    AveragePool2D,
    Broadcast,
    Concatenate,
    Conv2D,
    DepthwiseConv2D,
    FullyConnected,
    Graph,
    MaxPool2D,
    Mean,
    Multiply,
    Op,
    Pad,
    Requantize,
    Reshape,
    Resize,
    Slice,
    Subtract,
    Table,
    Tensor,
)
from sateen.hw.spec.config import Config
from sateen.hw.spec.descriptor import PARAMETER_BYTES

__all__ = ["LOWERINGS", "Lowered", "LoweredGraph", "lower", "lower_operator"]

Lowering = Callable[..., Kernel | LookUp | Iterator[Kernel]]

LOWERINGS: dict[type[Op], Lowering] = {
    Add: lookup.add,
    AveragePool2D: copies.average_pool2d,
    Broadcast: copies.broadcast,
    Concatenate: copies.concatenate,
    Conv2D: weighted.conv2d,
    DepthwiseConv2D: weighted.depthwise_conv2d,
    FullyConnected: weighted.fully_connected,
    MaxPool2D: copies.max_pool2d,
    Mean: copies.mean,
    Multiply: lookup.multiply,
    Pad: copies.pad,
    Requantize: copies.requantize,
    Resize: copies.resize,
    Slice: copies.slice_,
    Subtract: lookup.add,
    Table: lookup.table,
}
"""The operators that the device computes, each with the function that lowers it.

Called with the operator, the tensors of its inputs and its output, and the configuration. It gives one kernel, several,
or tables. A :class:`CompileError` says why the device cannot compute it.
"""


@dataclass(frozen=True, kw_only=True)
class Lowered:
    """One operator as the device computes it: by kernels, or by tables."""

    kernels: tuple[Kernel, ...] = ()
    """Convolutions over lines of bytes, one after the other."""
    tables: LookUp | None = None
    """In place of kernels."""
    rows: Kernel | None = None
    """The whole operator as one kernel over one tensor, which can be cut into stripes of rows; ``None`` if there is
    none."""

    def each(self, change: Callable[[Kernel], Kernel]) -> Lowered:
        """A copy with other kernels; ``tables`` stay."""
        rows = None if self.rows is None else change(self.rows)
        return dataclasses.replace(self, kernels=tuple(change(kernel) for kernel in self.kernels), rows=rows)


@dataclass(frozen=True, kw_only=True)
class LoweredGraph:
    """A graph, each operator lowered or with the reason why the device does not compute it."""

    graph: Graph
    lowered: Mapping[str, Lowered]
    """By the operators' names."""
    refused: Mapping[str, str]
    """Reasons, by the operators' names. Operators that only the host computes, and reshapes, stand in neither."""


def lower(graph: Graph, config: Config) -> LoweredGraph:
    """Lowers each operator of a graph, once."""
    lowered: dict[str, Lowered] = {}
    refused: dict[str, str] = {}
    for op in graph.ops:
        if op.HOST_ONLY or isinstance(op, Reshape):
            continue
        try:
            lowered[op.name] = lower_operator(op, graph.tensors, config)
        except CompileError as error:
            refused[op.name] = str(error).removeprefix(f"{op}: ")
    return LoweredGraph(graph=graph, lowered=lowered, refused=refused)


def lower_operator(op: Op, tensors: Mapping[str, Tensor], config: Config) -> Lowered:
    """Lowers one operator.

    Raises
    ------
    CompileError
        If the device has no such operator, its weights are wider than those of the PEs, or it does not fit the
        memories.
    """
    lowering = LOWERINGS.get(type(op))
    if lowering is None:
        raise CompileError(f"{op}: the device has no such operator")
    arguments = (*(tensors[name] for name in op.inputs), tensors[op.output], config)
    made = lowering(op, *arguments)
    if isinstance(made, LookUp):
        return Lowered(tables=made)
    kernels = (made,) if isinstance(made, Kernel) else tuple(made)
    _check_weights(op, kernels, config)
    for kernel in kernels:
        _check(op, kernel, config)
    return Lowered(kernels=kernels, rows=_rows(op, kernels, arguments, config))


def _rows(op: Op, kernels: tuple[Kernel, ...], arguments: Sequence[Any], config: Config) -> Kernel | None:
    """The operator as one kernel over one tensor."""
    if isinstance(op, Conv2D):
        whole = weighted.lines(op, *arguments)
        try:
            _check(op, whole, config)
        except CompileError:
            return None
        return whole
    return kernels[0] if len(kernels) == 1 and len(op.inputs) == 1 else None


def _check_weights(op: Op, kernels: tuple[Kernel, ...], config: Config) -> None:
    """:class:`CompileError` unless all weights have the width of the PEs'."""
    most = 1 << (config.weight_bits - 1)
    low = min(int(kernel.weights.min()) for kernel in kernels)
    high = max(int(kernel.weights.max()) for kernel in kernels)
    if low < -most or high >= most:
        raise CompileError(
            f"{op}: its weights reach from {low} to {high}, but the configuration holds weights of {config.weight_bits} "
            f"bits, {-most} to {most - 1}; quantize with weight_bits={config.weight_bits}, or raise the configuration's"
        )


def _check(op: Op, kernel: Kernel, config: Config) -> None:
    """:class:`CompileError` unless one group's weights and one result's window fit the memories."""
    words = kernel.group_words(config) + PARAMETER_BYTES
    if words > config.weight_words:
        over = (words - config.weight_words) * config.weight_word_bytes
        raise CompileError(
            f"{op}: {config.cols} of its channels take {words * config.weight_word_bytes} bytes of weights, {over} more "
            f"than the weight store's {config.weight_bytes}; raise weight_bytes, or make the kernel smaller"
        )
    if kernel.pool > config.positions:
        raise CompileError(
            f"{op}: its window has {kernel.pool} taps, {kernel.pool - config.positions} more than the accumulators' "
            f"{config.positions} positions; raise positions, or pool in two steps"
        )
    counts = {
        "lines": kernel.height,
        "columns of results": kernel.out[1],
        "channels": kernel.channels,
        "bytes in a line": kernel.width,
    }
    for what, count in counts.items():
        most = 32767 if what == "lines" else 65535 if what != "bytes in a line" else 2**31 - 1
        if count > most:
            raise CompileError(f"{op}: it has {count} {what}, more than the {most} that a descriptor can say")
