"""Kernels for layers without weights: each channel passes the tile alone and is scaled, summed or only moved."""

from __future__ import annotations

import dataclasses
import itertools
import math
from collections.abc import Iterator

import numpy as np

from sateen.compiler.lowering.fitting import Lane, bias_of
from sateen.compiler.lowering.kernel import Kernel, diagonal
from sateen.compiler.lowering.lookup import LookUp, unary
from sateen.errors import CompileError
from sateen.graph.ops import (
    AveragePool2D,
    Broadcast,
    Concatenate,
    MaxPool2D,
    Pad,
    Requantize,
    Tensor,
)
from sateen.hw.spec.config import Config
from sateen.hw.spec.descriptor import Rounding
from sateen.hw.spec.nests import Dim
from sateen.sim import golden

__all__ = ["average_pool2d", "broadcast", "concatenate", "max_pool2d", "pad", "requantize"]

AVERAGE_WEIGHT = 64
"""Factor of the values of a mean. With it the requantization's first rounding leaves its second one exact."""
LARGEST_COUNT = 65535
"""Limit of a descriptor's channels."""
LARGEST_MEAN = 4096
"""Values of the largest mean of which the compiler tries every sum."""

Image = tuple[int, int, int]


def _ones(channels: int, size: tuple[int, int] = (1, 1), weight: int = 1) -> np.ndarray:
    return np.full((channels, *size), weight, np.int8)


def _image(tensor: Tensor, axes: int = 3) -> Image:
    """Height, width and channels of an item, which has at most ``axes`` axes."""
    shape = tensor.shape[1:]
    if len(shape) > axes:
        raise CompileError(f"{tensor} has more than {axes + 1} axes, which has no kernel")
    height, width, channels = (1,) * (3 - len(shape)) + shape
    return height, width, channels


def max_pool2d(op: MaxPool2D, x: Tensor, y: Tensor, config: Config) -> Kernel:
    """Every channel passes the tile unchanged, one position for each element of the window. The output unit keeps the
    largest."""
    height, columns, channels = _image(x)
    (top, _), (left, _) = op.padding
    return diagonal(
        _ones(channels),
        (height, columns, channels),
        (y.shape[1], y.shape[2]),
        config,
        stride=op.stride,
        origin=(-top, -left, 0),
        padding=-128,
        low=op.low,
        high=op.high,
        pooling=(Dim(op.size[0], (1, 0)), Dim(op.size[1], (0, channels))),
    )


def average_pool2d(op: AveragePool2D, x: Tensor, y: Tensor, config: Config) -> Iterator[Kernel]:
    """Depthwise convolutions with equal weights, one for each set of results whose windows hold equally many pixels of
    the image."""
    rounding = Rounding.SINGLE if op.ties_up else Rounding.DOUBLE
    (top, _), (left, _) = op.padding
    channels, strides = x.shape[3], (op.stride[0], op.stride[1])
    for first_row, rows, window_rows in _equal_windows(op, 0, x.shape[1], y.shape[1]):
        for first_column, columns, window_columns in _equal_windows(op, 1, x.shape[2], y.shape[2]):
            multiplier, shift = _division(op, window_rows * window_columns)
            origin = (first_row * strides[0] - top, first_column * strides[1] - left, 0)
            # The bias matters for ties only: it rounds them up, whatever the multiplier's own rounding is.
            averaged = diagonal(
                _ones(channels, op.size, AVERAGE_WEIGHT),
                _image(x),
                (rows, columns),
                config,
                stride=strides,
                origin=origin,
                bias=int(op.ties_up),
                multiplier=multiplier,
                shift=shift,
                low=op.low,
                high=op.high,
                rounding=rounding,
            )
            line = y.shape[2] * channels
            if (rows, columns) != y.shape[1:3]:
                target = first_row * line + first_column * channels
                averaged = _placed(averaged, target=target, spacing=(line, channels))
            yield averaged


def _equal_windows(op: AveragePool2D, axis: int, size: int, results: int) -> Iterator[tuple[int, int, int]]:
    """Runs of results along an axis of ``size`` whose windows hold equally many of its positions: (first result, number
    of results, positions in a window)."""
    starts = np.arange(results) * op.stride[axis] - op.padding[axis][0]
    first = 0
    for held, same in itertools.groupby(np.minimum(starts + op.size[axis], size) - np.maximum(starts, 0)):
        count = len(list(same))
        yield first, count, int(held)
        first += count


def _division(op: AveragePool2D, count: int) -> tuple[int, int]:
    """Multiplier and shift that divide every sum of ``count`` int8 values as the definition divides it."""
    rounding = Rounding.SINGLE if op.ties_up else Rounding.DOUBLE
    multiplier, shift = golden.quantize_multiplier(1 / (AVERAGE_WEIGHT * count))
    # Whether they do depends on the window's size alone: every possible sum is tried.
    sums = np.arange(-128 * count, 127 * count + 1) if count <= LARGEST_MEAN else np.zeros(0, np.int64)
    means = (sums + count // 2) // count if op.ties_up else np.sign(sums) * ((np.abs(sums) + count // 2) // count)
    scaled = golden.requantize(sums * AVERAGE_WEIGHT + int(op.ties_up), multiplier, shift, rounding=rounding)
    if not sums.size or not np.array_equal(scaled, means):
        raise CompileError(f"{op}: a mean of {count} values is not proven to be exact on the device")
    return multiplier, shift


def requantize(op: Requantize, x: Tensor, y: Tensor, config: Config) -> Kernel | LookUp:
    """Scales every value. Where float32 defines the results, with a scale that gives them all; else by a table."""
    if op.rounding == Rounding.FLOAT32:
        return _float32_requantize(op, x, y, config)
    if op.shift > 0 and 0 < op.multiplier < 1 << 30:
        raise CompileError(f"{op}: its scale is too large for the device")
    lane = Lane(
        multiplier=op.multiplier, shift=op.shift, rounding=op.rounding, zero_point=y.zero_point, low=op.low,
        high=op.high,
    )  # fmt: skip
    return _scaled(x, lane, 1, -x.zero_point, config)


def _scaled(x: Tensor, lane: Lane, weight: int, bias: int, config: Config) -> Kernel:
    """Each value times a weight, plus a bias, requantized."""
    size = math.prod(x.shape[1:])
    channels = max(divisor for divisor in range(1, config.cols + 1) if size % divisor == 0)
    image = (1, size // channels, channels)
    return diagonal(_ones(channels, weight=weight), image, image[:2], config, bias=bias, **dataclasses.asdict(lane))


def _float32_requantize(op: Requantize, x: Tensor, y: Tensor, config: Config) -> Kernel | LookUp:
    codes = np.arange(-128, 128)
    wanted = op.execute({op.input: x, op.output: y}, {op.input: codes.astype(np.int8)})
    scale = float(np.float32(x.scale) / np.float32(y.scale))
    for nudge in (0, 1, -1, 2, -2):
        for weight in (1, AVERAGE_WEIGHT):
            multiplier, shift = golden.quantize_multiplier(scale / weight)
            lane = Lane(
                multiplier=min(multiplier + (nudge << 7), (1 << 31) - (1 << 7)), shift=shift, rounding=op.rounding,
                zero_point=y.zero_point, low=op.low, high=op.high,
            )  # fmt: skip
            bias = bias_of(lane.ranges(wanted), (codes - x.zero_point) * weight)
            if multiplier and bias is not None:
                return _scaled(x, lane, weight, bias - x.zero_point * weight, config)
    return unary(op, wanted, x, config)


def pad(op: Pad, x: Tensor, y: Tensor, config: Config) -> Iterator[Kernel]:
    """A copy whose first window begins in the padding; along the last axis, results of no weights beside it."""
    if len(op.padding) > 3:
        raise CompileError(f"{op}: {x} has more than 4 axes, which has no kernel")
    image, padding = _image(x), ((0, 0),) * (3 - len(op.padding)) + op.padding
    out = (image[0] + sum(padding[0]), image[1] + sum(padding[1]))
    before, after = padding[2]
    copy = diagonal(_ones(image[2]), image, out, config, origin=(-padding[0][0], -padding[1][0], 0), padding=op.value)
    if not before and not after:
        yield copy
        return
    pixel = before + image[2] + after
    spacing = (out[1] * pixel, pixel)
    yield _placed(copy, target=before, spacing=spacing)
    for first, count in ((0, before), (before + image[2], after)):
        if count:
            # Whatever it reads is multiplied by zero.
            fill = diagonal(np.zeros((count, 1, 1), np.int8), (1, 1, count), out, config, stride=(0, 0), bias=op.value)
            yield _placed(fill, target=first, spacing=spacing)


def broadcast(op: Broadcast, x: Tensor, y: Tensor, config: Config) -> Kernel:
    """A copy with a stride of 0 along the axes that grow."""
    # Neighbouring axes that all grow, or all stay, are merged.
    sizes: list[tuple[int, int]] = []
    for size, wanted in zip(x.shape[1:], y.shape[1:], strict=True):
        if sizes and (size == wanted) == (sizes[-1][0] == sizes[-1][1]):
            sizes[-1] = (sizes[-1][0] * size, sizes[-1][1] * wanted)
        elif wanted > 1:
            sizes.append((size, wanted))
    if len(sizes) in (1, 2) and sizes[-1][1] > LARGEST_COUNT:
        # In two steps, since there is a counter left.
        size, wanted = sizes.pop()
        inner = next(count for count in range(LARGEST_COUNT, 0, -1) if wanted % count == 0)
        sizes += [(count if size == wanted else 1, count) for count in (wanted // inner, inner)]
    if len(sizes) > 3:
        raise CompileError(
            f"{op}: from {x.shape} to {y.shape} axes that grow and others take more turns than a kernel has"
        )
    (height, rows), (width, columns), (depth, channels) = [(1, 1)] * (3 - len(sizes)) + sizes
    stride = (int(height == rows), int(width == columns))
    repeats = 1 if depth == channels else channels
    return diagonal(_ones(channels), (height, width, depth), (rows, columns), config, outputs=repeats, stride=stride)


def concatenate(op: Concatenate, *tensors_and_config: Tensor | Config) -> Iterator[Kernel]:
    """A copy of each source to its place in the result."""
    *tensors, config = tensors_and_config
    assert isinstance(config, Config)
    sources, y = [tensor for tensor in tensors if isinstance(tensor, Tensor)][:-1], tensors[-1]
    assert isinstance(y, Tensor)
    # Lines along the axes before the axis of concatenation; the other axes are within a line.
    lines, inner = math.prod(y.shape[1 : op.axis]), math.prod(y.shape[op.axis + 1 :])
    line, begin = y.shape[op.axis] * inner, 0
    for place, source in enumerate(sources):
        size = source.shape[op.axis] * inner
        channels = y.shape[-1] if inner > 1 else size
        yield _placed(
            diagonal(_ones(channels), (lines, size // channels, channels), (lines, size // channels), config),
            source=place, target=begin, spacing=(line, channels),
        )  # fmt: skip
        begin += size


def _placed(kernel: Kernel, *, target: int, spacing: tuple[int, int], source: int = 0) -> Kernel:
    """The kernel with its results at other addresses."""
    return dataclasses.replace(kernel, source=source, target=target, spacing=spacing)
