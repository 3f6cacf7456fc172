"""Layers with weights as kernels."""

from __future__ import annotations

import dataclasses
import itertools
import math
from collections.abc import Iterator

import numpy as np
from numpy.typing import NDArray

from sateen.compiler.lowering.kernel import ONCE, Kernel, diagonal, parameters
from sateen.errors import CompileError
from sateen.graph import Conv2D, DepthwiseConv2D, FullyConnected, Tensor, Weighted
from sateen.hw.spec.config import Config
from sateen.hw.spec.descriptor import Dim

__all__ = ["conv2d", "depthwise_conv2d", "fully_connected", "lines"]


def _bias(op: Weighted, zero_point: int) -> NDArray[np.int64]:
    """The bias with the input's zero point in it: ``Σ w·(a − z) = Σ w·a − z·Σ w``."""
    return op.bias - zero_point * op.kept_weights.reshape(len(op.weights), -1).sum(axis=1)


def _bytes(weights: NDArray[np.int8] | NDArray[np.int16]) -> list[NDArray[np.int8]]:
    """Weights as sums of int8 ones: themselves, unless they are int16."""
    parts: list[NDArray[np.int8]] = []
    rest = weights.astype(np.int16)
    while not parts or rest.any():
        parts.append(np.clip(rest, -128, 127).astype(np.int8))
        rest = rest - parts[-1]
    return parts


def conv2d(op: Conv2D, x: Tensor, y: Tensor, config: Config) -> Kernel | Iterator[Kernel]:
    """A convolution. Over an image so narrow that a beat reaches from one line into the next, several kernel rows a
    beat; with few output channels, several pixels a beat, if that takes fewer."""
    outputs, kernel_y, kernel_x, channels = op.weights.shape
    plain = op.terms is None and op.weights.dtype == np.int8 and (kernel_x == 1 or op.dilation[1] == 1)
    if not plain:
        return lines(op, x, y, config)
    pitch = x.shape[2] * channels * op.dilation[0]
    together = min(kernel_y, (config.tile_depth - kernel_x * channels) // pitch + 1)
    if together > 1 and kernel_x <= x.shape[2]:
        return _narrow(op, x, y, config, together)

    def beats(pixels: int) -> float:
        """For a kernel row, per pixel."""
        return math.ceil((kernel_x + (pixels - 1) * op.stride[1]) * channels / config.tile_depth) / pixels

    side_by_side = [pixels for pixels in range(1, config.cols // outputs + 1) if y.shape[2] % pixels == 0]
    return _side_by_side(op, x, y, config, min(side_by_side, key=beats, default=1))


def _side_by_side(op: Conv2D, x: Tensor, y: Tensor, config: Config, pixels: int) -> Kernel:
    """Several neighbouring results at once, each in columns of its own: a kernel as wide as all their windows."""
    outputs, kernel_y, kernel_x, channels = op.weights.shape
    plain, shift = lines(op, x, y, config), op.stride[1] * channels
    weights = np.zeros((pixels, outputs, kernel_y, 1, plain.run + (pixels - 1) * shift), np.int8)
    for pixel in range(pixels):
        weights[pixel, ..., pixel * shift : pixel * shift + plain.run] = plain.weights
    return dataclasses.replace(
        plain,
        out=(plain.out[0], plain.out[1] // pixels),
        channels=pixels * outputs,
        stride=(plain.stride[0], pixels * shift),
        run=weights.shape[-1],
        weights=weights.reshape(pixels * outputs, kernel_y, 1, -1),
        parameters=np.tile(plain.parameters, (pixels, 1)),
    )


def _narrow(op: Conv2D, x: Tensor, y: Tensor, config: Config, together: int) -> Iterator[Kernel]:
    """Columns of results by which of the kernel's columns lie within the image; the others' weights are zero, whatever
    is read there."""
    outputs, kernel_y, kernel_x, channels = op.weights.shape
    _, height, columns, _ = x.shape
    pitch, steps = columns * channels * op.dilation[0], -(-kernel_y // together)
    starts = np.arange(y.shape[2]) * op.stride[1] - op.padding[1][0]
    inside = [tuple(0 <= start + k < columns for k in range(kernel_x)) for start in starts]
    first = 0
    for within, same in itertools.groupby(inside):
        count = len(list(same))
        part = dataclasses.replace(op, weights=op.weights * np.array(within, np.int8)[:, None])
        rows = np.zeros((outputs, steps * together, pitch), np.int8)
        rows[:, :kernel_y, : kernel_x * channels] = part.weights.reshape(outputs, kernel_y, -1)
        run = (together - 1) * pitch + kernel_x * channels
        plain = lines(part, x, y, config)
        yield dataclasses.replace(
            plain,
            flat=True,
            out=(y.shape[1], count),
            origin=(plain.origin[0], int(starts[first]) * channels),
            reduction=(Dim(steps, (together * op.dilation[0], 0)), Dim(1, (0, 0))),
            run=run,
            weights=rows.reshape(outputs, steps, 1, -1)[..., :run],
            target=first * outputs,
            spread=plain.steps,
        )
        first += count


def lines(op: Conv2D, x: Tensor, y: Tensor, config: Config) -> Kernel:
    """A kernel row is one run of bytes, because neighbouring pixels are neighbours in memory."""
    _, height, columns, channels = x.shape
    outputs, kernel_y, kernel_x, _ = op.weights.shape
    (top, _), (left, _) = op.padding
    parts = _bytes(op.weights)
    # A group of weights does not reach over a pixel's end.
    if kernel_x == 1 or op.dilation[1] == 1 and (op.terms is None or channels % op.terms.group == 0):
        run = kernel_x * channels
        # Wide weights pass in parts, over the same bytes once more.
        weights = np.stack([part.reshape(outputs, kernel_y, run) for part in parts], axis=2)
        inner = Dim(len(parts), (0, 0))
    else:
        if len(parts) > 1:
            raise CompileError(f"{op}: weights beyond -128 to 127 with a dilation have no kernel")
        run, weights, inner = channels, parts[0], Dim(kernel_x, (0, op.dilation[1] * channels))
    return Kernel(
        height=height,
        width=columns * channels,
        out=(y.shape[1], y.shape[2]),
        channels=outputs,
        origin=(-top, -left * channels),
        stride=(op.stride[0], op.stride[1] * channels),
        taps=ONCE,
        reduction=(Dim(kernel_y, (op.dilation[0], 0)), inner),
        run=run,
        group_stride=0,
        padding=x.zero_point,
        weights=weights,
        parameters=parameters(_bias(op, x.zero_point), op.multiplier, op.shift),
        zero_point=y.zero_point,
        low=op.low,
        high=op.high,
        rounding=op.rounding,
    )


def _fields(op: Weighted) -> dict[str, object]:
    return {field.name: getattr(op, field.name) for field in dataclasses.fields(op)}


def fully_connected(op: FullyConnected, x: Tensor, y: Tensor, config: Config) -> Kernel:
    """A 1×1 convolution over the positions that come before the last axis."""
    as_conv = Conv2D(**{**_fields(op), "weights": op.weights[:, None, None, :]})  # type: ignore[arg-type]
    x, y = (
        dataclasses.replace(tensor, shape=(1, 1, int(np.prod(tensor.shape[1:-1])), tensor.shape[-1]))
        for tensor in (x, y)
    )
    return lines(as_conv, x, y, config)


def depthwise_conv2d(op: DepthwiseConv2D, x: Tensor, y: Tensor, config: Config) -> Kernel | Iterator[Kernel]:
    """The tile's diagonal; or, where that takes no more beats, a convolution whose other weights are zero."""
    _, height, columns, channels = x.shape
    outputs, kernel_y, kernel_x, _ = op.weights.shape
    each = outputs // channels
    fits = config.cols % each == 0 or outputs <= config.cols
    merged = -(-kernel_x * channels // config.tile_depth) if op.dilation[1] == 1 and op.terms is None else kernel_x
    if op.weights.dtype == np.int16 or not fits or merged <= kernel_x and channels <= config.tile_depth:
        dense = np.zeros((outputs, kernel_y, kernel_x, channels), op.weights.dtype)
        numbers = np.arange(outputs)
        dense[numbers, :, :, numbers // each] = op.weights[..., 0]
        as_conv = Conv2D(**{**_fields(op), "weights": dense})  # type: ignore[arg-type]
        if each > 1 or op.dilation != (1, 1) or op.weights.dtype == np.int16:
            return conv2d(as_conv, x, y, config)
        return dataclasses.replace(lines(as_conv, x, y, config), filters=_bytes(op.weights)[0][..., 0], depth=channels)
    (top, _), (left, _) = op.padding
    return diagonal(
        _bytes(op.weights)[0][..., 0],
        (height, columns, channels),
        (y.shape[1], y.shape[2]),
        config,
        outputs=each,
        stride=op.stride,
        dilation=op.dilation,
        origin=(-top, -left, 0),
        padding=x.zero_point,
        bias=_bias(op, x.zero_point),
        multiplier=op.multiplier,
        shift=op.shift,
        zero_point=y.zero_point,
        low=op.low,
        high=op.high,
        rounding=op.rounding,
    )
