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
from sateen.graph.ops import Conv2D, DepthwiseConv2D, FullyConnected, Tensor, Weighted
from sateen.hw.spec.config import Config
from sateen.hw.spec.descriptor import Dim

__all__ = ["conv2d", "depthwise_conv2d", "fully_connected", "row_by_row"]


def _bias(op: Weighted, zero_point: int) -> NDArray[np.int64]:
    """The bias, with the input's zero point folded in: ``Σ w·(a − z) = Σ w·a − z·Σ w``."""
    return op.bias - zero_point * op.kept_weights.reshape(len(op.weights), -1).sum(axis=1)


def _bytes(weights: NDArray[np.int8] | NDArray[np.int16]) -> list[NDArray[np.int8]]:
    """int8 weights whose sum the weights are: one array, or more for int16 weights."""
    parts: list[NDArray[np.int8]] = []
    rest = weights.astype(np.int16)
    while not parts or rest.any():
        parts.append(np.clip(rest, -128, 127).astype(np.int8))
        rest = rest - parts[-1]
    return parts


def conv2d(op: Conv2D, x: Tensor, y: Tensor, config: Config) -> Kernel | Iterator[Kernel]:
    """A convolution. On an image so narrow that a beat reaches into the next line, a beat takes several kernel rows.
    With few output channels, the kernel computes several neighbouring pixels at once, if that takes fewer beats."""
    outputs, kernel_y, kernel_x, channels = op.weights.shape
    contiguous = kernel_x == 1 or op.dilation[1] == 1
    if op.terms is not None or op.weights.dtype != np.int8 or not contiguous:
        return row_by_row(op, x, y, config)
    pitch = x.shape[2] * channels * op.dilation[0]
    rows_per_beat = min(kernel_y, (config.tile_depth - kernel_x * channels) // pitch + 1)
    if rows_per_beat > 1 and kernel_x <= x.shape[2]:
        return _narrow(op, x, y, config, rows_per_beat)

    def beats(pixels: int) -> float:
        """Beats of a kernel row, per pixel."""
        return math.ceil((kernel_x + (pixels - 1) * op.stride[1]) * channels / config.tile_depth) / pixels

    side_by_side = [pixels for pixels in range(1, config.cols // outputs + 1) if y.shape[2] % pixels == 0]
    return _side_by_side(op, x, y, config, min(side_by_side, key=beats, default=1))


def _side_by_side(op: Conv2D, x: Tensor, y: Tensor, config: Config, pixels: int) -> Kernel:
    """Several neighbouring results at once, each in its own columns: a kernel as wide as all their windows."""
    outputs, kernel_y, kernel_x, channels = op.weights.shape
    single, shift = row_by_row(op, x, y, config), op.stride[1] * channels
    weights = np.zeros((pixels, outputs, kernel_y, 1, single.run_length + (pixels - 1) * shift), np.int8)
    for pixel in range(pixels):
        weights[pixel, ..., pixel * shift : pixel * shift + single.run_length] = single.weights
    return dataclasses.replace(
        single,
        out=(single.out[0], single.out[1] // pixels),
        channels=pixels * outputs,
        stride=(single.stride[0], pixels * shift),
        run_length=weights.shape[-1],
        weights=weights.reshape(pixels * outputs, kernel_y, 1, -1),
        parameters=np.tile(single.parameters, (pixels, 1)),
    )


def _narrow(op: Conv2D, x: Tensor, y: Tensor, config: Config, rows_per_beat: int) -> Iterator[Kernel]:
    """Kernels that take several kernel rows in a beat. There is one for each run of result columns whose windows have
    the same kernel columns inside the image; the weights of the others are zero."""
    outputs, kernel_y, kernel_x, channels = op.weights.shape
    _, height, columns, _ = x.shape
    pitch, steps = columns * channels * op.dilation[0], -(-kernel_y // rows_per_beat)
    starts = np.arange(y.shape[2]) * op.stride[1] - op.padding[1][0]
    inside = [tuple(0 <= start + k < columns for k in range(kernel_x)) for start in starts]
    first = 0
    for mask, same in itertools.groupby(inside):
        count = len(list(same))
        masked = dataclasses.replace(op, weights=op.weights * np.array(mask, np.int8)[:, None])
        rows = np.zeros((outputs, steps * rows_per_beat, pitch), np.int8)
        rows[:, :kernel_y, : kernel_x * channels] = masked.weights.reshape(outputs, kernel_y, -1)
        run_length = (rows_per_beat - 1) * pitch + kernel_x * channels
        single = row_by_row(masked, x, y, config)
        yield dataclasses.replace(
            single,
            flat=True,
            out=(y.shape[1], count),
            origin=(single.origin[0], int(starts[first]) * channels),
            reduction=(Dim(steps, (rows_per_beat * op.dilation[0], 0)), Dim(1, (0, 0))),
            run_length=run_length,
            weights=rows.reshape(outputs, steps, 1, -1)[..., :run_length],
            target=first * outputs,
            spacing=single.result_steps,
        )
        first += count


def row_by_row(op: Conv2D, x: Tensor, y: Tensor, config: Config) -> Kernel:
    """A kernel that takes one kernel row at a time. The row is one run of bytes, since neighbouring pixels are
    neighbours in memory; with a dilation each pixel is a run."""
    _, height, columns, channels = x.shape
    outputs, kernel_y, kernel_x, _ = op.weights.shape
    (top, _), (left, _) = op.padding
    parts = _bytes(op.weights)
    # A group of weights that share a term budget must not reach beyond a pixel.
    if kernel_x == 1 or op.dilation[1] == 1 and (op.terms is None or channels % op.terms.group == 0):
        run_length = kernel_x * channels
        # The parts of wide weights are multiplied with the same bytes, one after the other.
        weights = np.stack([part.reshape(outputs, kernel_y, run_length) for part in parts], axis=2)
        inner = Dim(len(parts), (0, 0))
    else:
        if len(parts) > 1:
            raise CompileError(f"{op}: weights beyond -128 to 127 with a dilation have no kernel")
        run_length, weights, inner = channels, parts[0], Dim(kernel_x, (0, op.dilation[1] * channels))
    return Kernel(
        height=height,
        width=columns * channels,
        out=(y.shape[1], y.shape[2]),
        channels=outputs,
        origin=(-top, -left * channels),
        stride=(op.stride[0], op.stride[1] * channels),
        pooling=ONCE,
        reduction=(Dim(kernel_y, (op.dilation[0], 0)), inner),
        run_length=run_length,
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
    """A 1×1 convolution over all axes before the last."""
    as_conv = Conv2D(**{**_fields(op), "weights": op.weights[:, None, None, :]})  # type: ignore[arg-type]
    x, y = (
        dataclasses.replace(tensor, shape=(1, 1, int(np.prod(tensor.shape[1:-1])), tensor.shape[-1]))
        for tensor in (x, y)
    )
    return row_by_row(as_conv, x, y, config)


def depthwise_conv2d(op: DepthwiseConv2D, x: Tensor, y: Tensor, config: Config) -> Kernel | Iterator[Kernel]:
    """A kernel on the tile's diagonal; or, where that takes no more beats, a convolution with zeros for the other
    channels."""
    _, height, columns, channels = x.shape
    outputs, kernel_y, kernel_x, _ = op.weights.shape
    multiplier = outputs // channels
    fits = config.cols % multiplier == 0 or outputs <= config.cols
    contiguous = op.dilation[1] == 1 and op.terms is None
    dense_beats = -(-kernel_x * channels // config.tile_depth) if contiguous else kernel_x
    if op.weights.dtype == np.int16 or not fits or dense_beats <= kernel_x and channels <= config.tile_depth:
        dense = np.zeros((outputs, kernel_y, kernel_x, channels), op.weights.dtype)
        output = np.arange(outputs)
        dense[output, :, :, output // multiplier] = op.weights[..., 0]
        as_conv = Conv2D(**{**_fields(op), "weights": dense})  # type: ignore[arg-type]
        if multiplier > 1 or op.dilation != (1, 1) or op.weights.dtype == np.int16:
            return conv2d(as_conv, x, y, config)
        return dataclasses.replace(
            row_by_row(as_conv, x, y, config), filters=_bytes(op.weights)[0][..., 0], depth=channels
        )
    (top, _), (left, _) = op.padding
    return diagonal(
        _bytes(op.weights)[0][..., 0],
        (height, columns, channels),
        (y.shape[1], y.shape[2]),
        config,
        outputs=multiplier,
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
