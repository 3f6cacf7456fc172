"""Lowering: one operator of a graph becomes passes over the tile: descriptors and the weight words they consume."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Callable, Iterator
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from weft.errors import CompileError
from weft.graph import Conv2D, FullyConnected, MaxPool2D, Op, Tensor
from weft.hw.spec.config import Config
from weft.hw.spec.descriptor import (
    PARAMETER_BYTES,
    ActivationStream,
    Descriptor,
    Dim,
    OutputStream,
    Rounding,
    WeightStream,
)
from weft.hw.spec.pe import Precision

FULL = Precision()

__all__ = ["SUPPORTED", "Kernel", "Pass", "kernel_of", "passes"]


@dataclass(frozen=True, kw_only=True)
class Kernel:
    """What every supported operator is to the hardware: a convolution over lines of bytes, its results pooled by ``taps``.

    Coordinates are (row, x): lines of the input, and bytes within a line.
    """

    height: int
    """Lines of the input."""
    width: int
    """Bytes of a line."""
    out: tuple[int, int]
    """Rows and columns of results."""
    channels: int
    """Output channels."""
    origin: tuple[int, int]
    """Coordinates of the first byte of the first window; negative in padding."""
    stride: tuple[int, int]
    """What the coordinates change by from result to result, down and right."""
    taps: tuple[Dim, Dim]
    """Positions that are pooled into one result, with strides of (row, x)."""
    reduction: tuple[Dim, Dim]
    """Kernel rows and columns, with strides of (row, x)."""
    run: int
    """Consecutive bytes that each step of the reduction takes."""
    group_stride: int
    """What ``x`` changes by from one group of output channels to the next."""
    padding: int
    """int8 value."""
    weights: NDArray[np.int8]
    """[channels, kernel rows, kernel columns, run]."""
    parameters: NDArray[np.uint8]
    """[channels, PARAMETER_BYTES]."""
    zero_point: int
    low: int
    high: int
    rounding: int
    precision: Precision = FULL

    @property
    def pool(self) -> int:
        """Positions that are pooled into one result."""
        return self.taps[0].count * self.taps[1].count


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


def _parameters(bias: NDArray[np.int64], multiplier: NDArray[np.int32], shift: NDArray[np.int8]) -> NDArray[np.uint8]:
    columns = (bias.astype("<i8").astype("<i4"), multiplier.astype("<i4"), shift.astype("i1"))
    return np.hstack([column.view(np.uint8).reshape(len(column), -1) for column in columns])


def _fold(op: Conv2D | FullyConnected, zero_point: int) -> NDArray[np.uint8]:
    """The parameters with the input's zero point in the bias: ``Σ w·(a − z) = Σ w·a − z·Σ w``."""
    total = op.kept_weights.reshape(len(op.weights), -1).sum(axis=1)
    return _parameters(op.bias - zero_point * total, op.multiplier, op.shift)


def _conv2d(op: Conv2D, x: Tensor, y: Tensor, config: Config) -> Kernel:
    _, height, columns, channels = x.shape
    outputs, kernel_y, kernel_x, _ = op.weights.shape
    (top, _), (left, _) = op.padding
    weights = op.weights
    reduction = (Dim(kernel_y, (op.dilation[0], 0)), Dim(kernel_x, (0, op.dilation[1] * channels)))
    run = channels
    if op.dilation[1] == 1 and (op.terms is None or channels % op.terms.group == 0):
        # Neighbouring pixels are neighbouring bytes: a kernel row is one run. A group of weights does not reach over a pixel's end.
        run = kernel_x * channels
        weights = weights.reshape(outputs, kernel_y, 1, run)
        reduction = (reduction[0], Dim(1, (0, 0)))
    return Kernel(
        height=height,
        width=columns * channels,
        out=(y.shape[1], y.shape[2]),
        channels=outputs,
        origin=(-top, -left * channels),
        stride=(op.stride[0], op.stride[1] * channels),
        taps=(Dim(1, (0, 0)), Dim(1, (0, 0))),
        reduction=reduction,
        run=run,
        group_stride=0,
        padding=x.zero_point,
        weights=weights,
        parameters=_fold(op, x.zero_point),
        zero_point=y.zero_point,
        low=op.low,
        high=op.high,
        rounding=op.rounding,
    )


def _fully_connected(op: FullyConnected, x: Tensor, y: Tensor, config: Config) -> Kernel:
    as_conv = Conv2D(
        name=op.name, input=op.input, output=op.output, weights=op.weights[:, None, None, :], bias=op.bias,
        multiplier=op.multiplier, shift=op.shift, low=op.low, high=op.high, rounding=op.rounding, terms=op.terms,
    )  # fmt: skip
    image = dataclasses.replace(x, shape=(1, 1, 1, x.shape[-1]))
    return _conv2d(as_conv, image, dataclasses.replace(y, shape=(1, 1, 1, y.shape[-1])), config)


def _max_pool2d(op: MaxPool2D, x: Tensor, y: Tensor, config: Config) -> Kernel:
    """Every channel passes the tile unchanged, one position a tap, and the largest tap is kept on the way out."""
    _, height, columns, channels = x.shape
    (top, _), (left, _) = op.padding
    run = min(config.cols, channels)
    identity = np.zeros((channels, 1, 1, run), np.int8)
    identity[np.arange(channels), 0, 0, np.arange(channels) % config.cols] = 1
    zeros = np.zeros(channels, np.int64)
    # A scale of exactly 1: multiplier 2^30, shift 1.
    parameters = _parameters(zeros, np.full(channels, 1 << 30, np.int32), np.ones(channels, np.int8))
    return Kernel(
        height=height,
        width=columns * channels,
        out=(y.shape[1], y.shape[2]),
        channels=channels,
        origin=(-top, -left * channels),
        stride=(op.stride[0], op.stride[1] * channels),
        taps=(Dim(op.size[0], (1, 0)), Dim(op.size[1], (0, channels))),
        reduction=(Dim(1, (0, 0)), Dim(1, (0, 0))),
        run=run,
        group_stride=config.cols,
        padding=-128,
        weights=identity,
        parameters=parameters,
        zero_point=0,
        low=op.low,
        high=op.high,
        rounding=Rounding.DOUBLE,
    )


SUPPORTED: dict[type[Op], Callable[..., Kernel]] = {
    Conv2D: _conv2d,
    FullyConnected: _fully_connected,
    MaxPool2D: _max_pool2d,
}
"""The operators that the device computes, each with what it becomes."""


def kernel_of(op: Op, x: Tensor, y: Tensor, config: Config) -> Kernel:
    """The operator as a convolution over lines of bytes.

    Raises
    ------
    CompileError
        If the device has no such operator, or the weights exceed those of its PEs.
    """
    lower = SUPPORTED.get(type(op))
    if lower is None:
        names = ", ".join(kind.__name__ for kind in SUPPORTED)
        raise CompileError(f"{op}: the device has no such operator; it has {names}, and Reshape costs nothing")
    kernel = lower(op, x, y, config)
    most = 1 << (config.weight_bits - 1)
    low, high = int(kernel.weights.min()), int(kernel.weights.max())
    if low < -most or high >= most:
        raise CompileError(
            f"{op}: its weights reach from {low} to {high}, but the configuration holds weights of {config.weight_bits} bits, "
            f"{-most} to {most - 1}; quantize with weight_bits={config.weight_bits}, or raise the configuration's"
        )
    return kernel


def _words(kernel: Kernel, config: Config) -> NDArray[np.int8]:
    """The weight store's words, group after group of channels: [groups, words of a group, cols]."""
    chunks = -(-kernel.run // config.beat_bytes)
    groups = -(-kernel.channels // config.cols)
    rows, columns = kernel.weights.shape[1:3]
    padded = np.zeros((groups * config.cols, rows, columns, chunks * config.beat_bytes), np.int8)
    padded[: kernel.channels, :, :, : kernel.run] = kernel.weights
    weights = padded.reshape(groups, config.cols, -1).transpose(0, 2, 1)
    parameters = np.zeros((groups * config.cols, PARAMETER_BYTES), np.uint8)
    parameters[: kernel.channels] = kernel.parameters
    return np.concatenate(
        [weights, parameters.view(np.int8).reshape(groups, config.cols, -1).transpose(0, 2, 1)], axis=1
    )


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
    """One descriptor: ``groups`` of channels, ``y`` = (first row, rows of a block, blocks), ``x`` = (first column, columns)."""
    first_group, group_count = groups
    first_row, rows, blocks = y
    first_column, columns = x
    line, out_line = kernel.width, kernel.out[1] * kernel.channels
    chunks = -(-kernel.run // config.beat_bytes)
    settings = config.pe_kind.settings(kernel.precision)

    def at(row: int, byte: int) -> tuple[int, int, int]:
        return row, byte, row * line + byte

    start = at(
        kernel.origin[0] + first_row * kernel.stride[0],
        kernel.origin[1] + first_column * kernel.stride[1] + first_group * kernel.group_stride,
    )
    activations = ActivationStream(
        address=source + start[2],
        row=start[0],
        x=start[1],
        height=kernel.height,
        width=kernel.width,
        padding=kernel.padding,
        settings=settings.beats,
        dims=(
            Dim(blocks, at(rows * kernel.stride[0], 0)),
            Dim(group_count, at(0, kernel.group_stride)),
            *(Dim(dim.count, at(*dim.strides)) for dim in kernel.reduction),
            Dim(chunks, at(0, config.beat_bytes)),
            Dim(rows, at(kernel.stride[0], 0)),
            Dim(columns, at(0, kernel.stride[1])),
            *(Dim(dim.count, at(*dim.strides)) for dim in kernel.taps),
        ),
    )
    channel = first_group * config.cols
    output = OutputStream(
        address=target + first_row * out_line + first_column * kernel.channels + channel,
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
            Dim(columns, (kernel.channels,)),
        ),
    )
    words = kernel.reduction[0].count * kernel.reduction[1].count * chunks * config.beat_bytes
    return Descriptor(
        weights=WeightStream(base=0, blocks=blocks, groups=group_count, words=words, settings=settings.weights),
        activations=activations,
        output=output,
    )


def passes(
    op: Op, kernel: Kernel, config: Config, *, source: int, target: int, rows: int, words: int
) -> list[Pass]:
    """The operator's passes over the tile.

    Parameters
    ----------
    source, target : int
        Byte addresses of input and output.
    rows : int
        Rows of results in a block; fewer if the accumulators hold fewer.
    words : int
        Weight words that a pass may have: the weight store's depth.

    Raises
    ------
    CompileError
        If one group's weights, or one result's window, exceed a memory.
    """
    store = _words(kernel, config)
    groups, words_each = store.shape[:2]
    if words_each > words:
        over = (words_each - words) * config.weight_word_bytes
        raise CompileError(
            f"{op}: {config.cols} of its channels take {words_each * config.weight_word_bytes} bytes of weights, {over} more "
            f"than the weight store's {config.weight_bytes}; raise weight_bytes, or make the kernel smaller"
        )
    if kernel.pool > config.positions:
        raise CompileError(
            f"{op}: its window has {kernel.pool} taps, {kernel.pool - config.positions} more than the accumulators' "
            f"{config.positions} positions; raise positions, or pool in two steps"
        )
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
            weights = store[chosen[0] : chosen[0] + size].reshape(size * words_each, config.cols)
            result.append(Pass(weights=weights, descriptors=tuple(descriptors)))
    return result


def block_rows(kernel: Kernel, config: Config) -> list[int]:
    """Sensible numbers of rows in a block, largest first: those that leave no rest, and the most that fit."""
    results = max(1, config.positions // kernel.pool)
    most = max(1, min(kernel.out[0], results // min(kernel.out[1], results)))
    return [most, *(rows for rows in range(most - 1, 0, -1) if math.ceil(kernel.out[0] / rows) * rows == kernel.out[0])]
