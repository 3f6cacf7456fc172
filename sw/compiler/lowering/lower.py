"""Lowering: turns each operator of a graph into kernels or tables."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from sateen.compiler.lowering import (
    arrange,
    copies,
    float_means,
    layer_norm,
    lookup,
    products,
    recurrent,
    reduction,
    resizing,
    softmax,
    transposed,
    transposition,
    weighted,
)
from sateen.compiler.lowering.kernel import Kernel
from sateen.compiler.lowering.lookup import LookUp
from sateen.compiler.lowering.products import ProductOfTwo
from sateen.errors import CompileError
from sateen.graph import Graph
from sateen.graph.ops import (
    Add,
    AveragePool2D,
    Broadcast,
    Concatenate,
    Conv2D,
    DepthToSpace,
    DepthwiseConv2D,
    FeatureBytes,
    FloatAveragePool2D,
    FullyConnected,
    LayerNorm,
    LstmBytes,
    MatrixProduct,
    MaxPool2D,
    Mean,
    Multiply,
    NormalizedProduct,
    Op,
    Pad,
    ReduceMax,
    Requantize,
    Reshape,
    ResidualConv2D,
    Resize,
    ResizeBilinear,
    Slice,
    Softmax,
    SpaceToDepth,
    SquaredDifference,
    Subtract,
    Sum,
    Table,
    TableProduct,
    Take,
    Tensor,
    TimeBytes,
    Transpose,
    TransposeConv2D,
    TurnedConv2D,
    Unfold,
    Weighted,
)
from sateen.hw.spec.config import Config
from sateen.hw.spec.descriptor import Rounding
from sateen.hw.spec.parameters import table_words
from sateen.hw.spec.residual import sum_words

__all__ = ["LOWERINGS", "Lowered", "LoweredGraph", "lower", "lower_operator"]

Lowering = Callable[..., Kernel | LookUp | ProductOfTwo | Iterator[Kernel]]

LOWERINGS: dict[type[Op], Lowering] = {
    Add: lookup.add,
    AveragePool2D: copies.average_pool2d,
    Broadcast: copies.broadcast,
    Concatenate: copies.concatenate,
    Conv2D: weighted.conv2d,
    DepthToSpace: arrange.depth_to_space,
    DepthwiseConv2D: weighted.depthwise_conv2d,
    FeatureBytes: recurrent.feature_bytes,
    FloatAveragePool2D: float_means.float_average_pool2d,
    FullyConnected: weighted.fully_connected,
    LayerNorm: layer_norm.layer_norm,
    LstmBytes: recurrent.lstm_bytes,
    MatrixProduct: products.matrix_product,
    MaxPool2D: copies.max_pool2d,
    Mean: reduction.mean,
    Multiply: lookup.multiply,
    NormalizedProduct: weighted.normalized_product,
    Pad: copies.pad,
    ReduceMax: reduction.reduce_max,
    Requantize: copies.requantize,
    ResidualConv2D: weighted.residual_conv2d,
    Resize: arrange.resize,
    ResizeBilinear: resizing.resize_bilinear,
    Slice: arrange.slice_,
    Softmax: softmax.softmax,
    SpaceToDepth: arrange.space_to_depth,
    SquaredDifference: lookup.squared_difference,
    Subtract: lookup.add,
    Sum: reduction.mean,
    Table: lookup.table,
    TableProduct: lookup.table_product,
    Take: arrange.take,
    TimeBytes: recurrent.time_bytes,
    Transpose: transposition.transpose,
    TransposeConv2D: transposed.transpose_conv2d,
    TurnedConv2D: weighted.turned_conv2d,
    Unfold: arrange.unfold,
}
"""The operators that the device computes, each with the function that lowers it.

Called with the operator, the tensors of its inputs and its output, and the configuration. It returns one kernel,
several, tables, or a product of two tensors. It raises :class:`CompileError` with the reason if the device cannot
compute the operator.
"""


@dataclass(frozen=True, kw_only=True)
class Lowered:
    """An operator in the form in which the device computes it: kernels, or tables."""

    kernels: tuple[Kernel, ...] = ()
    """Convolutions over lines of bytes, one after the other."""
    tables: LookUp | None = None
    """If given, there are no kernels."""
    product: ProductOfTwo | None = None
    """The same."""
    row_kernel: Kernel | None = None
    """The whole operator as one kernel over one tensor, which can be cut into stripes of rows; ``None`` if there is no
    such kernel."""
    uncut: str = ""
    """Why there is no such kernel."""

    def map_kernels(self, function: Callable[[Kernel], Kernel]) -> Lowered:
        """A copy in which each kernel is replaced by the function's result."""
        row_kernel = None if self.row_kernel is None else function(self.row_kernel)
        kernels = tuple(function(kernel) for kernel in self.kernels)
        return dataclasses.replace(self, kernels=kernels, row_kernel=row_kernel)


@dataclass(frozen=True, kw_only=True)
class LoweredGraph:
    """A graph; each operator is lowered, or refused with a reason."""

    graph: Graph
    lowered: Mapping[str, Lowered]
    """By the operators' names."""
    refused: Mapping[str, str]
    """Reasons, by the operators' names. Operators for the host only, reshapes, and transpositions that the device does
    not compute are in neither mapping."""


def lower(graph: Graph, config: Config) -> LoweredGraph:
    """Lowers each operator of a graph, once."""
    lowered: dict[str, Lowered] = {}
    refused: dict[str, str] = {}
    for op in graph.ops:
        if isinstance(op, Weighted) and graph.tensors[op.output].dtype != "int8":
            refused[op.name] = "its result is not quantized, and the device gives int8 results only"
            continue
        if op.is_for_host(graph.tensors) or isinstance(op, Reshape):
            continue
        if isinstance(op, Softmax) and not config.softmax:
            # The host computes it as a matter of course, as it does what follows a classifier's last layer.
            continue
        try:
            lowered[op.name] = lower_operator(op, graph.tensors, config)
        except CompileError as error:
            # The host transposes as a matter of course.
            if isinstance(op, Transpose):
                continue
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
    result = lowering(op, *arguments)
    if isinstance(result, LookUp):
        _check_tables(op, result, config)
        _check_rounding(op, (result.lane.rounding,), config)
        return Lowered(tables=result)
    if isinstance(result, ProductOfTwo):
        for kernel in (*result.copies, result.kernel):
            _check(op, kernel, config)
        return Lowered(product=result, uncut="it multiplies two tensors")
    kernels = (result,) if isinstance(result, Kernel) else tuple(result)
    _check_weights(op, kernels, config)
    for kernel in kernels:
        _check(op, kernel, config)
    try:
        return Lowered(kernels=kernels, row_kernel=_row_kernel(op, kernels, arguments, config))
    except CompileError as error:
        return Lowered(kernels=kernels, uncut=str(error).removeprefix(f"{op}: "))


def _row_kernel(op: Op, kernels: tuple[Kernel, ...], arguments: Sequence[Any], config: Config) -> Kernel:
    """The operator as one kernel over one tensor; :class:`CompileError` if there is no such kernel."""
    if isinstance(op, Conv2D):
        kernel = weighted.row_by_row(op, *arguments)
        _check(op, kernel, config)
        return kernel
    if len(op.inputs) > 1:
        raise CompileError(f"{op}: it reads {len(op.inputs)} tensors")
    if len(kernels) > 1:
        raise CompileError(f"{op}: it takes {len(kernels)} passes over its input")
    kernel = kernels[0]
    if kernel.recurrent:
        raise CompileError(f"{op}: the unit that takes its sums gives all of its results at a time")
    down, right = kernel.result_steps
    if down < (kernel.out[1] - 1) * right + kernel.channels:
        raise CompileError(f"{op}: its rows of results do not stand one behind the other")
    return kernel


def _check_weights(op: Op, kernels: tuple[Kernel, ...], config: Config) -> None:
    """Raises :class:`CompileError` unless the PEs are wide enough for all weights."""
    limit = 1 << (config.weight_bits - 1)
    low = min(int(kernel.weights.min()) for kernel in kernels)
    high = max(int(kernel.weights.max()) for kernel in kernels)
    if low < -limit or high >= limit:
        raise CompileError(
            f"{op}: its weights reach from {low} to {high}, but the configuration holds weights of "
            f"{config.weight_bits} bits, {-limit} to {limit - 1}; quantize with "
            f"weight_bits={config.weight_bits}, or raise the configuration's"
        )


def _check_tables(op: Op, tables: LookUp, config: Config) -> None:
    """Raises :class:`CompileError` unless both tables fit the weight store."""
    words = max(table_words(config.cols), tables.table_words(config)) + config.parameter_words
    if words > config.weight_words:
        raise CompileError(
            f"{op}: its tables take {words * config.weight_word_bytes} bytes of the weight store, which has "
            f"{config.weight_bytes}; raise weight_bytes"
        )


def _check_rounding(op: Op, roundings: Sequence[int], config: Config) -> None:
    """Raises :class:`CompileError` unless the device has these roundings."""
    if Rounding.FLOAT32 in roundings and not config.float_rounding:
        raise CompileError(f"{op}: it rounds as onnxruntime does, for which a device needs float_rounding=1")


def _check(op: Op, kernel: Kernel, config: Config) -> None:
    """Raises :class:`CompileError` unless one group's weights and one result's window fit the memories, and the device
    rounds so."""
    _check_rounding(op, (kernel.rounding, *((kernel.residual.rounding,) if kernel.residual else ())), config)
    words = kernel.group_words(config) + config.parameter_words
    words += sum_words(config.weight_rows) if kernel.residual else 0
    if words > config.weight_words:
        over = (words - config.weight_words) * config.weight_word_bytes
        raise CompileError(
            f"{op}: {config.cols} of its channels take {words * config.weight_word_bytes} bytes of weights, "
            f"{over} more than the weight store's {config.weight_bytes}; raise weight_bytes, or make the kernel smaller"
        )
    if kernel.pool_size > config.positions:
        raise CompileError(
            f"{op}: its window has {kernel.pool_size} taps, {kernel.pool_size - config.positions} more than the "
            f"accumulators' {config.positions} positions; raise positions, or pool in two steps"
        )
    # Also a counter of one value has a step.
    steps, (rows, columns) = [dim.strides[:2] for dim in (*kernel.reduction, *kernel.pooling)], kernel.span
    counts = {
        "lines": kernel.height,
        "lines from result to result": abs(kernel.stride[0]),
        "lines from row to row of its window": max(abs(row) for row, _ in steps),
        "lines from its first window to its last": rows,
        "bytes from column to column of its window": max(abs(x) for _, x in steps),
        "bytes from its first window to its last": rows * kernel.width + columns,
        "lines of padding in front": max(0, -kernel.origin[0]),
        "columns of results": kernel.out[1],
        "channels": kernel.channels,
        "bytes in a line": kernel.width,
    }
    for what, count in counts.items():
        limit = 32767 if what.startswith("lines") else 2**31 - 1 if what.startswith("bytes") else 65535
        if count > limit:
            raise CompileError(f"{op}: it has {count} {what}, more than the {limit} that a descriptor can say")
