"""Kernels for sums, means and largest values over whole axes."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Iterator

import numpy as np

from sateen.compiler.lowering.fitting import Lane
from sateen.compiler.lowering.float_means import fitted_mean
from sateen.compiler.lowering.kernel import Kernel, diagonal
from sateen.compiler.lowering.weighted import conv2d
from sateen.errors import CompileError
from sateen.graph.ops import Conv2D, Mean, Op, ReduceMax, Tensor
from sateen.hw.spec.config import Config
from sateen.hw.spec.nests import Dim

__all__ = ["mean", "reduce_max"]


def _view(op: Op, x: Tensor, axes: tuple[int, ...]) -> tuple[int, int, int]:
    """The input as three axes, of which the middle one is reduced."""
    reduced = [axis for axis in sorted(axes) if x.shape[axis] > 1]
    if not reduced:
        return math.prod(x.shape[1:]), 1, 1
    first, last = reduced[0], reduced[-1]
    if any(x.shape[axis] > 1 and axis not in axes for axis in range(first, last)):
        raise CompileError(f"{op}: axes {axes} of {x.shape}, which are not neighbours, have no kernel")
    return math.prod(x.shape[1:first]), math.prod(x.shape[first : last + 1]), math.prod(x.shape[last + 1 :])


def mean(op: Mean, x: Tensor, y: Tensor, config: Config) -> Kernel | Iterator[Kernel]:
    """The mean or sum over neighbouring axes: a depthwise convolution with weights of 1, or over the last axes a
    convolution with one channel of results."""
    multiplier, shift = op.scaling({op.input: x, op.output: y})
    if shift > 0 and multiplier < 1 << 30:
        raise CompileError(f"{op}: its scale is too large for the device")
    weight, bias = 1, 0
    lane = Lane(multiplier=multiplier, shift=shift, rounding=op.rounding, zero_point=y.zero_point, low=-128, high=127)
    if op.is_real({op.input: x, op.output: y}):
        weight, bias, lane = fitted_mean(op, x, y)
    if len(x.shape) == 4 and 3 not in op.axes:
        _, height, width, inner = x.shape
        image, size = (height, width), (height if 1 in op.axes else 1, width if 2 in op.axes else 1)
    else:
        outer, count, inner = _view(op, x, op.axes)
        image, size = (outer, count), (1, count)
        if inner == 1:
            return _over_channels(op, x, y, config, image, weight, bias, lane)
    return diagonal(
        np.full((inner, *size), weight, np.int8),
        (*image, inner),
        (image[0] // size[0], image[1] // size[1]),
        config,
        bias=bias - weight * x.zero_point * math.prod(size),
        **dataclasses.asdict(lane),
    )


def _over_channels(
    op: Mean, x: Tensor, y: Tensor, config: Config, image: tuple[int, int], weight: int, bias: int, lane: Lane
) -> Kernel | Iterator[Kernel]:
    results, count = image
    conv = Conv2D(
        name=op.name,
        input=op.input,
        output=op.output,
        weights=np.full((1, 1, 1, count), weight, np.int8),
        bias=np.full(1, bias, np.int32),
        multiplier=np.full(1, lane.multiplier, np.int32),
        shift=np.full(1, lane.shift, np.int8),
        rounding=op.rounding,
    )
    source, target = (
        dataclasses.replace(tensor, shape=(1, 1, results, channels), file_layout=None)
        for tensor, channels in ((x, count), (y, 1))
    )
    return conv2d(conv, source, dataclasses.replace(target, zero_point=lane.zero_point), config)


def reduce_max(op: ReduceMax, x: Tensor, y: Tensor, config: Config) -> Kernel:
    """The largest over neighbouring axes, as pooling with one window."""
    outer, count, inner = _view(op, x, op.axes)
    return diagonal(
        np.ones((inner, 1, 1), np.int8),
        (outer, count, inner),
        (outer, 1),
        config,
        pooling=(Dim(1, (1, 0)), Dim(count, (0, inner))),
    )
