"""Lowering: one operator of a graph becomes passes over the tile: descriptors and the weight words they consume."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from sateen.compiler import sliding
from sateen.compiler.kernel import Kernel, parameter_words
from sateen.compiler.lowering import copies, lookup
from sateen.compiler.lowering import weighted as layers
from sateen.errors import CompileError
from sateen.graph.ops import (
    Add,
    AveragePool2D,
    Broadcast,
    Concatenate,
    Conv2D,
    DepthwiseConv2D,
    FullyConnected,
    MaxPool2D,
    Mean,
    Multiply,
    Op,
    Pad,
    Requantize,
    Resize,
    Slice,
    Subtract,
    Table,
    Tensor,
)
from sateen.hw.spec.config import Config
from sateen.hw.spec.descriptor import (
    BIAS_BYTES,
    PARAMETER_BYTES,
    ActivationStream,
    Descriptor,
    Dim,
    OutputStream,
    WeightStream,
)
from sateen.hw.spec.pe import SELECTS_BIT

__all__ = [
    "SUPPORTED",
    "Kernel",
    "Lowered",
    "Pass",
    "block_rows",
    "kernels_of",
    "look_up_passes",
    "passes",
    "sliding_passes",
]


@dataclass(frozen=True, kw_only=True)
class Pass:
    """Descriptors that share one run of weight words: part of a layer's channels, or all of them."""

    weights: NDArray[np.int8]
    """[words, cols]."""
    descriptors: tuple[Descriptor, ...]
    """Weight addresses count from the first word of ``weights``."""

    def placed(self, base: int) -> tuple[Descriptor, ...]:
        """The descriptors with their weights standing from word ``base`` on."""
        return tuple(
            dataclasses.replace(d, weights=dataclasses.replace(d.weights, base=d.weights.base + base))
            for d in self.descriptors
        )

    def part(self, start: int, stop: int) -> Pass:
        """Some of the descriptors, with all weights."""
        return dataclasses.replace(self, descriptors=self.descriptors[start:stop])


Lowered = tuple[Kernel, ...] | lookup.LookUp
"""What an operator becomes."""

Lower = Callable[..., Kernel | lookup.LookUp | Iterator[Kernel]]

SUPPORTED: dict[type[Op], Lower] = {
    Add: lookup.add,
    AveragePool2D: copies.average_pool2d,
    Broadcast: copies.broadcast,
    Concatenate: copies.concatenate,
    Conv2D: layers.conv2d,
    DepthwiseConv2D: layers.depthwise_conv2d,
    FullyConnected: layers.fully_connected,
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
"""The operators that the device computes, each with what it becomes: one kernel, or several, or tables.

Called with the operator, the tensors of its inputs and output, and the configuration; a :class:`CompileError` says why
the device cannot.
"""


def kernels_of(op: Op, tensors: Mapping[str, Tensor], config: Config, *, cut: bool = False) -> Lowered:
    """The operator as convolutions over lines of bytes, or as tables; to ``cut`` it in stripes, as one convolution if
    it is one.

    Raises
    ------
    CompileError
        If the device has no such operator, its weights exceed those of the PEs, or it does not fit the memories.
    """
    lower: Lower | None = layers.lines if cut and isinstance(op, Conv2D) else SUPPORTED.get(type(op))
    if lower is None:
        raise CompileError(f"{op}: the device has no such operator")
    made = lower(op, *(tensors[name] for name in op.inputs), tensors[op.output], config)
    if isinstance(made, lookup.LookUp):
        return made
    kernels = (made,) if isinstance(made, Kernel) else tuple(made)
    most = 1 << (config.weight_bits - 1)
    low, high = (
        min(int(kernel.weights.min()) for kernel in kernels),
        max(int(kernel.weights.max()) for kernel in kernels),
    )
    if low < -most or high >= most:
        raise CompileError(
            f"{op}: its weights reach from {low} to {high}, but the configuration holds weights of {config.weight_bits} bits, "
            f"{-most} to {most - 1}; quantize with weight_bits={config.weight_bits}, or raise the configuration's"
        )
    for kernel in kernels:
        _check(op, kernel, config)
    return kernels


def _words(kernel: Kernel, config: Config) -> NDArray[np.int8]:
    """The weight store's words, group after group of channels: [groups, words of a group, cols]."""
    groups = -(-kernel.channels // config.cols)
    padded = np.zeros((groups * config.cols, kernel.group_words(config)), np.int8)
    if kernel.packing is None:
        rows, columns = kernel.weights.shape[1:3]
        runs = padded.reshape(len(padded), rows, columns, -1)
        runs[: kernel.channels, :, :, : kernel.run] = kernel.weights
    else:
        padded[: kernel.channels] = kernel.packing.words(config).reshape(kernel.channels, -1)
    weights = padded.reshape(groups, config.cols, -1).transpose(0, 2, 1)
    return np.concatenate([weights, parameter_words(kernel, config)], axis=1)


def _split(length: int, most: int) -> Iterator[tuple[int, int, int]]:
    """``length`` in equal parts of at most ``most`` and a rest: (start, size of a part, number of parts)."""
    size = min(length, most)
    count = length // size
    yield 0, size, count
    if length % size:
        yield count * size, length % size, 1


def _descriptor(
    kernel: Kernel, config: Config, *, source: int, target: int, groups: tuple[int, int],
    y: tuple[int, int, int], x: tuple[int, int],
) -> Descriptor:  # fmt: skip
    """One descriptor: ``groups`` of channels, ``y`` = (first row, rows of a block, blocks), ``x`` = (first column,
    columns)."""
    first_group, group_count = groups
    first_row, rows, blocks = y
    first_column, columns = x
    out_line, out_step = kernel.steps
    channel = first_group * config.cols
    output = OutputStream(
        address=target + kernel.target + first_row * out_line + first_column * out_step + channel,
        channels=min(kernel.channels - channel, group_count * config.cols),
        taps=kernel.pool,
        zero_point=kernel.zero_point,
        low=kernel.low,
        high=kernel.high,
        rounding=kernel.rounding,
        dims=(
            Dim(blocks, (rows * out_line,)),
            Dim(group_count, (config.cols,)),
            Dim(rows, (out_line,)),
            Dim(columns, (out_step,)),
        ),
    )
    settings = config.pe_kind.settings(kernel.precision).weights | (1 << SELECTS_BIT if kernel.packing else 0)
    return Descriptor(
        weights=WeightStream(
            base=0, blocks=blocks, groups=group_count, words=kernel.group_words(config), settings=settings
        ),
        activations=_activations(kernel, config, source=source, groups=groups, y=y, x=x),
        output=output,
    )


def _activations(
    kernel: Kernel, config: Config, *, source: int, groups: tuple[int, int], y: tuple[int, int, int], x: tuple[int, int]
) -> ActivationStream:
    """What :func:`_descriptor` reads."""
    first_group, group_count = groups
    first_row, rows, blocks = y
    first_column, columns = x
    windows, (kernel_y, kernel_x) = kernel.windows(config), kernel.reduction
    if windows.passes > 1:
        kernel_x = Dim(windows.passes, (0, 0))

    def at(row: int, byte: int) -> tuple[int, int, int]:
        place = row * kernel.width + byte
        return (0, place, place) if kernel.flat else (row, byte, place)

    start = at(
        kernel.origin[0] + first_row * kernel.stride[0],
        kernel.origin[1] + first_column * kernel.stride[1] + first_group * kernel.group_stride - windows.lead,
    )
    return ActivationStream(
        address=source + start[2],
        row=start[0],
        x=start[1],
        height=1 if kernel.flat else kernel.height,
        width=kernel.height * kernel.width if kernel.flat else kernel.width,
        padding=kernel.padding,
        settings=config.pe_kind.settings(kernel.precision).beats,
        dims=(
            Dim(blocks, at(rows * kernel.stride[0], 0)),
            Dim(group_count, at(0, kernel.group_stride)),
            *(Dim(dim.count, at(*dim.strides)) for dim in (kernel_y, kernel_x)),
            Dim(windows.count, at(0, windows.stride)),
            Dim(rows, at(kernel.stride[0], 0)),
            Dim(columns, at(0, kernel.stride[1])),
            *(Dim(dim.count, at(*dim.strides)) for dim in kernel.taps),
        ),
    )


def _check(op: Op, kernel: Kernel, config: Config) -> None:
    """:class:`CompileError` unless one group's weights and one result's window fit the memories."""
    words = _group_words(kernel, config)
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


def _group_words(kernel: Kernel, config: Config) -> int:
    """Words of one group of channels: weights and parameters."""
    return kernel.group_words(config) + PARAMETER_BYTES


def passes(kernel: Kernel, config: Config, *, source: int, target: int, rows: int, words: int) -> list[Pass]:
    """A kernel's passes over the tile.

    Parameters
    ----------
    source, target : int
        Byte addresses of input and output.
    rows : int
        Rows of results in a block; fewer if the accumulators hold fewer.
    words : int
        Weight words that a pass may have: the weight store's depth.

    The kernel must come from :func:`kernels_of`.
    """
    store = _words(kernel, config)
    groups, words_each = store.shape[:2]
    together = min(groups, words // words_each)
    results = config.positions // kernel.pool
    result = []
    for first, size, count in _split(groups, together):
        for part in range(count):
            chosen = (first + part * size, size)
            descriptors = []
            for column, columns, column_parts in _split(kernel.out[1], results):
                for piece in range(column_parts):
                    for y in _split(kernel.out[0], max(1, min(rows, results // columns))):
                        descriptors.append(
                            _descriptor(
                                kernel, config, source=source, target=target, groups=chosen, y=y,
                                x=(column + piece * columns, columns),
                            )
                        )  # fmt: skip
            result.append(_pass(store[chosen[0] : chosen[0] + size], descriptors, config))
    return result


def sliding_passes(
    kernel: Kernel, config: Config, walk: sliding.Walk, *, source: int, target: int, words: int
) -> list[Pass]:
    """As :func:`passes`, of a kernel whose window slides; none if a group's weights do not fit."""
    store = sliding.words(kernel, config, walk)
    groups, words_each = store.shape[:2]
    if words_each > words:
        return []
    result = []
    for first, size, count in _split(groups, min(groups, words // words_each)):
        for part in range(count):
            start = first + part * size
            made = sliding.descriptors(kernel, config, walk, source=source, target=target, groups=(start, size))
            result.append(_pass(store[start : start + size], made, config))
    return result


def _pass(groups: NDArray[np.int8], descriptors: Iterable[Descriptor], config: Config) -> Pass:
    """Groups of weight words, [groups, words, cols], with the descriptors that consume all of them. Scales that repeat
    are left out."""
    scales = groups[:, BIAS_BYTES - PARAMETER_BYTES :]
    one_scale = len(groups) > 1 and bool((scales == scales[0]).all())
    kept = [
        group[: BIAS_BYTES - PARAMETER_BYTES] if one_scale and index else group for index, group in enumerate(groups)
    ]
    return Pass(
        weights=np.concatenate(kept),
        descriptors=tuple(
            dataclasses.replace(d, weights=dataclasses.replace(d.weights, one_scale=one_scale)).in_quarters(
                config.positions
            )
            for d in descriptors
        ),
    )


def look_up_passes(made: lookup.LookUp, config: Config, *, sources: Sequence[int], target: int) -> list[Pass]:
    """As :func:`passes`, of tables; ``sources`` are the addresses of the operator's inputs."""
    one, other = (sources[index] for index in made.sources)
    return [
        Pass(weights=made.words(config), descriptors=(made.descriptor(config, sources=(one, other), target=target),))
    ]


def block_rows(kernel: Kernel, config: Config) -> list[int]:
    """Sensible numbers of rows in a block, largest first: those that leave no rest, and the most that fit."""
    results = max(1, config.positions // kernel.pool)
    most = max(1, min(kernel.out[0], results // min(kernel.out[1], results)))
    return [most, *(rows for rows in range(most - 1, 0, -1) if math.ceil(kernel.out[0] / rows) * rows == kernel.out[0])]
