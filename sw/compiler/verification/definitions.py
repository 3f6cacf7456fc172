"""A layer's sums by its definition in the graph, at some of its results."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from sateen.graph.ops import (
    Conv2D,
    DepthwiseConv2D,
    FullyConnected,
    NormalizedProduct,
    ResidualConv2D,
    Tensor,
    TransposeConv2D,
    TurnedConv2D,
    Weighted,
    Windowed,
)

__all__ = ["SUMS", "sums"]

Floats = NDArray[np.float64]
Ints = NDArray[np.int64]


def _gathered(x: Floats, places: list[tuple[Ints, Ints]], zero_point: int) -> Floats:
    """The pixels of ``x`` at rows and columns, [pixels, kernel size] each, which come with whether they are there.
    Others are ``zero_point``: [pixels, kernel height, kernel width, channels]."""
    (row, in_rows), (column, in_columns) = places
    values = x[np.clip(row, 0, x.shape[0] - 1)[:, :, None], np.clip(column, 0, x.shape[1] - 1)[:, None, :]]
    return np.where((in_rows[:, :, None] & in_columns[:, None, :])[..., None], values, float(zero_point))


def _window(op: Windowed, x: Floats, y: Tensor, pixels: Ints, zero_point: int) -> Floats:
    """The values under the window of each pixel of the result: [pixels, kernel height, kernel width, channels]."""
    places = []
    for axis, at in enumerate(np.divmod(pixels, y.shape[2])):
        taps = np.arange(op.weights.shape[1 + axis]) * op.dilation[axis]
        place = at[:, None] * op.stride[axis] - op.padding[axis][0] + taps
        places.append((place, (place >= 0) & (place < x.shape[axis])))
    return _gathered(x, places, zero_point)


def _conv2d(op: Conv2D | ResidualConv2D, x: Floats, y: Tensor, pixels: Ints, zero_point: int) -> Floats:
    return _products(_window(op, x, y, pixels, zero_point), op, 1)


def _turned_conv2d(op: TurnedConv2D, x: Floats, y: Tensor, pixels: Ints, zero_point: int) -> Floats:
    batch, height, width, channels = y.shape
    row, column = np.divmod(pixels, width)
    turned = replace(y, shape=(batch, width, height, channels))
    return _products(_window(op, x, turned, column * height + row, zero_point), op, 1)


def _depthwise_conv2d(op: DepthwiseConv2D, x: Floats, y: Tensor, pixels: Ints, zero_point: int) -> Floats:
    return _products(_window(op, x, y, pixels, zero_point), op, x.shape[-1])


def _transpose_conv2d(op: TransposeConv2D, x: Floats, y: Tensor, pixels: Ints, zero_point: int) -> Floats:
    places = []
    for axis, at in enumerate(np.divmod(pixels, y.shape[2])):
        taps = np.arange(op.weights.shape[1 + axis]) * op.dilation[axis]
        place, rest = np.divmod(at[:, None] + op.crop[axis][0] - taps, op.stride[axis])
        places.append((place, (rest == 0) & (place >= 0) & (place < x.shape[axis])))
    return _products(_gathered(x, places, zero_point), op, op.groups)


def _products(values: Floats, op: Weighted, groups: int) -> Floats:
    """[pixels, kernel height, kernel width, channels] times weights, in groups of channels: [pixels, channels]."""
    weights = op.weights.astype(np.float64)
    if groups == 1:
        return values.reshape(len(values), -1) @ weights.reshape(len(weights), -1).T
    values = values.reshape(*values.shape[:3], groups, -1)
    weights = weights.reshape(groups, -1, *weights.shape[1:])
    return np.einsum("phwgc,gohwc->pgo", values, weights).reshape(len(values), -1)


def _fully_connected(op: FullyConnected, x: Floats, y: Tensor, pixels: Ints, zero_point: int) -> Floats:
    return x.reshape(-1, x.shape[-1])[pixels] @ op.weights.T.astype(np.float64)


SUMS: dict[type[Weighted], Callable[[Any, Floats, Tensor, Ints, int], Floats]] = {
    Conv2D: _conv2d,
    DepthwiseConv2D: _depthwise_conv2d,
    FullyConnected: _fully_connected,
    NormalizedProduct: _fully_connected,
    ResidualConv2D: _conv2d,
    TransposeConv2D: _transpose_conv2d,
    TurnedConv2D: _turned_conv2d,
}
"""``Σ w·a`` of all channels for some pixels, which are counted along all axes but the last: [pixels, channels].

Called with the operator, one item of its input, its output's tensor, the pixels, and what padding holds. The values are
whole and below 2^21, so that float64 is exact.
"""


def sums(op: Weighted, x: Floats, input: Tensor, output: Tensor, index: Ints) -> Ints:
    """``Σ w·(a − zero point) + bias`` of the results at flat indices [n]; one item ``x`` in the input's shape."""
    channels = output.shape[-1]
    pixels, which = np.unique(index // channels, return_inverse=True)
    channel = index % channels
    products = SUMS[type(op)](op, x.reshape(input.shape[1:]), output, pixels, input.zero_point)
    kept = op.kept_weights.reshape(len(op.weights), -1).sum(axis=1)
    constant = op.bias.astype(np.int64) - input.zero_point * kept
    return products[which, channel].astype(np.int64) + constant[channel]
