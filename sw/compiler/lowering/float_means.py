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
from sateen.graph.ops import DepthwiseConv2D, FloatAveragePool2D, Int8Array, Tensor
from sateen.hw.spec.config import Config
from sateen.hw.spec.descriptor import Rounding
from sateen.sim import golden

__all__ = ["float_average_pool2d"]

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
    for weight, lane in _lanes(op, x, y):
        bias = bias_of(lane.ranges(wanted), sums * weight)
        if bias is not None and abs(bias) < 1 << 30:
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
    raise CompileError(f"{op}: no scale of the device gives its results in float32 for every sum")


def _lanes(op: FloatAveragePool2D, x: Tensor, y: Tensor) -> Iterator[tuple[int, Lane]]:
    """Weights of values, and scales near the right one with them. Zero points may go into the bias."""
    for nudge in NUDGES:
        for weight in WEIGHTS:
            scale = float(np.float32(x.scale / (op.count * y.scale * weight)))
            multiplier, shift = golden.quantize_multiplier(scale)
            for point in dict.fromkeys((y.zero_point, -y.base)):
                factor = min(multiplier + (nudge << 7), (1 << 31) - (1 << 7)) if multiplier else 0
                yield weight, Lane(
                    multiplier=factor, shift=shift, rounding=Rounding.FLOAT32, zero_point=point, low=op.low,
                    high=op.high,
                )  # fmt: skip


def _means(op: FloatAveragePool2D, x: Tensor, y: Tensor) -> tuple[Int8Array, NDArray[np.int64]]:
    """The result for each sum of a window's codes less zero points, and these sums.

    Where float32 holds every sum of real numbers exactly, it is a function of the sum of codes. Else float32's error is
    bounded, and no sum may come so near to a tie.
    """
    values = math.prod(op.size)
    largest = max(-128 - x.zero_point, 127 - x.zero_point, key=abs)
    if values * 255 > MOST_SUMS:
        raise CompileError(f"{op}: a mean of {values} values is not proven to be exact on the device")
    sums = np.arange(values * (-128 - x.zero_point), values * (127 - x.zero_point) + 1)
    scale, numbers = np.float32(x.scale), y.quantization
    if _bits(scale) + (values * abs(largest)).bit_length() <= 24:
        means = golden.float32_mean(sums.astype(np.float32) * scale, op.count, numbers, y.base, fused=op.fused)
        return np.clip(means, op.low, op.high), sums
    if values > MOST_VALUES:
        raise CompileError(f"{op}: float32's sums of {values} real numbers are not proven to be exact on the device")
    least, most = -128 - x.zero_point, 127 - x.zero_point
    # Each value and each partial sum is rounded: from both ends, a partial sum has a least and a largest value.
    rows, columns = op.size if not op.fused and op.stride[1] <= 2 else (1, values)
    added = np.full(sums.shape, float(values * abs(largest)))
    for before in [*(list(range(2, rows + 1)) * columns), *(rows * column for column in range(2, columns + 1))]:
        behind = values - before
        upper = np.minimum(before * most, sums - behind * least)
        lower = np.maximum(before * least, sums - behind * most)
        added += np.maximum(np.abs(upper), np.abs(lower))
    unit = float(scale) / (op.count * float(np.float32(y.scale)))
    point = y.zero_point + y.base
    exact = sums * unit + (point if op.fused else 0)
    error = 2.0**-24 * (added * unit + 2 * np.abs(sums * unit) + np.abs(exact)) * 1.01
    beside = np.abs(exact - np.floor(exact) - 0.5) <= error
    if (beside & (np.abs(exact) < BEYOND)).any():
        raise CompileError(f"{op}: float32's sums of real numbers depend on their order, and some come next to a tie")
    means = np.clip(np.rint(exact) + (0 if op.fused else point) - y.base, op.low, op.high).astype(np.int8)
    return means, sums


def _bits(number: np.float32) -> int:
    """Bits of a float32's significand, up to its last one."""
    significand = int(math.ldexp(math.frexp(float(number))[0], 24))
    return 24 - ((significand & -significand).bit_length() - 1)
