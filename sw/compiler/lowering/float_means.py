"""Lowering of means in float32: convolutions, if their sums tell what float32 makes of a window."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Iterator

import numpy as np
from numpy.typing import NDArray

from sateen.compiler.lowering.fitting import Lane, bias_of
from sateen.compiler.lowering.kernel import Kernel
from sateen.compiler.lowering.weighted import depthwise_conv2d
from sateen.errors import CompileError
from sateen.graph.ops import DepthwiseConv2D, FloatAveragePool2D, Int8Array, Mean, Op, Tensor
from sateen.hw.spec.config import Config
from sateen.hw.spec.descriptor import Rounding
from sateen.sim import golden

__all__ = ["fitted_mean", "float_average_pool2d"]

WEIGHTS = (1, 64)
"""Weights of the values of a window: with larger ones the bias is finer."""
NUDGES = (0, 1, -1, 2, -2)
"""Changes of a scale that are tried, in float32's last place."""
BEYOND = 384
"""A result that no zero point brings into range."""
MOST_SUMS, MOST_VALUES = 1 << 22, 1 << 10
"""Limits on the compiler's work."""


def float_average_pool2d(op: FloatAveragePool2D, x: Tensor, y: Tensor, config: Config) -> Kernel | Iterator[Kernel]:
    """A depthwise convolution with equal weights."""
    wanted, sums = _means(op, x, y)
    weight, bias, lane = _fitted(op, x, y, (wanted, sums), op.count, (op.low, op.high))
    conv = DepthwiseConv2D(
        name=op.name, input=op.input, output=op.output,
        weights=np.full((x.shape[3], *op.size, 1), weight, np.int8),
        bias=np.full(x.shape[3], bias, np.int32),
        multiplier=np.full(x.shape[3], lane.multiplier, np.int32),
        shift=np.full(x.shape[3], lane.shift, np.int8),
        low=op.low, high=op.high, rounding=Rounding.FLOAT32,
        stride=op.stride, padding=op.padding, dilation=op.dilation,
    )  # fmt: skip
    return depthwise_conv2d(conv, x, dataclasses.replace(y, zero_point=lane.zero_point), config)


def fitted_mean(op: Mean, x: Tensor, y: Tensor) -> tuple[int, int, Lane]:
    """A weight for each value, a bias for the weighted sum of codes less zero points, and the lane that makes of it the
    mean or sum of real numbers."""
    tensors = {op.input: x, op.output: y}
    sums, count = _every_sum(op, x, op.count(tensors)), op.divisor(tensors)
    wanted = golden.real_mean(sums, x.quantization, y.quantization, count=count, base=y.base)
    return _fitted(op, x, y, (wanted, sums), count, (-128, 127))


def _every_sum(op: Op, x: Tensor, values: int) -> NDArray[np.int64]:
    """The sums that so many codes less zero points may have."""
    if values * 255 > MOST_SUMS:
        raise CompileError(f"{op}: a mean of {values} values is not proven to be exact on the device")
    return np.arange(values * (-128 - x.zero_point), values * (127 - x.zero_point) + 1)


def _fitted(
    op: Op, x: Tensor, y: Tensor, means: tuple[Int8Array, NDArray[np.int64]], count: int, limits: tuple[int, int]
) -> tuple[int, int, Lane]:
    """A weight, a bias and a lane that make of every sum the wanted mean. Scales near the right one are tried, and zero
    points may go into the bias."""
    wanted, sums = means
    for nudge in NUDGES:
        for weight in WEIGHTS:
            multiplier, shift = golden.quantize_multiplier(float(np.float32(x.scale / (count * y.scale * weight))))
            factor = min(multiplier + (nudge << 7), (1 << 31) - (1 << 7)) if multiplier else 0
            for point in dict.fromkeys((y.zero_point, -y.base)):
                lane = Lane(
                    multiplier=factor, shift=shift, rounding=Rounding.FLOAT32, zero_point=point, low=limits[0],
                    high=limits[1],
                )  # fmt: skip
                bias = bias_of(lane.ranges(wanted), sums * weight)
                if bias is not None and abs(bias) < 1 << 30:
                    return weight, bias, lane
    raise CompileError(f"{op}: no scale of the device gives its results in float32 for every sum")


def _means(op: FloatAveragePool2D, x: Tensor, y: Tensor) -> tuple[Int8Array, NDArray[np.int64]]:
    """The result for each sum of a window's codes less zero points, and these sums.

    Where float32 holds every sum of real numbers exactly, it is a function of the sum of codes. Else float32's error is
    bounded, and no sum may come so near to a tie.
    """
    values = math.prod(op.size)
    largest = max(-128 - x.zero_point, 127 - x.zero_point, key=abs)
    sums = _every_sum(op, x, values)
    scale, numbers = np.float32(x.scale), y.quantization
    if golden.sums_are_exact(x.quantization, values):
        means = golden.float32_mean(sums.astype(np.float32) * scale, op.count, numbers, op.base(y), fused=op.fused)
        return np.clip(means, op.low, op.high), sums
    if values > MOST_VALUES:
        raise CompileError(f"{op}: float32's sums of {values} real numbers are not proven to be exact on the device")
    least, most = -128 - x.zero_point, 127 - x.zero_point
    # Each value and each partial sum is rounded: from both ends, a partial sum has a least and a largest value.
    rows, columns = op.size if op.columns else (1, values)
    added = np.full(sums.shape, float(values * abs(largest)))
    for before in [*(list(range(2, rows + 1)) * columns), *(rows * column for column in range(2, columns + 1))]:
        behind = values - before
        upper = np.minimum(before * most, sums - behind * least)
        lower = np.maximum(before * least, sums - behind * most)
        added += np.maximum(np.abs(upper), np.abs(lower))
    unit = float(scale) / (op.count * float(np.float32(y.scale)))
    point = y.zero_point + op.base(y)
    exact = sums * unit + (point if op.fused else 0)
    error = 2.0**-24 * (added * unit + 2 * np.abs(sums * unit) + np.abs(exact)) * 1.01
    beside = np.abs(exact - np.floor(exact) - 0.5) <= error
    if (beside & (np.abs(exact) < BEYOND)).any():
        raise CompileError(f"{op}: float32's sums of real numbers depend on their order, and some come next to a tie")
    means = np.clip(np.rint(exact) + (0 if op.fused else point) - op.base(y), op.low, op.high).astype(np.int8)
    return means, sums
