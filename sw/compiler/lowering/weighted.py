"""Layers with weights as kernels."""

from __future__ import annotations

import dataclasses
import itertools
import math
from collections.abc import Iterator, Sequence

import numpy as np
from numpy.typing import NDArray

from sateen.compiler.lowering import lookup
from sateen.compiler.lowering.kernel import ONCE, Kernel, diagonal, parameters
from sateen.compiler.lowering.zero_points import Weights, reason_for_parts, weight_parts
from sateen.errors import CompileError
from sateen.graph.ops import (
    Conv2D,
    DepthwiseConv2D,
    FullyConnected,
    NormalizedProduct,
    ResidualConv2D,
    Tensor,
    TurnedConv2D,
    Weighted,
)
from sateen.hw.spec.config import Config
from sateen.hw.spec.nests import Dim
from sateen.hw.spec.residual import Sum

__all__ = [
    "conv2d", "depthwise_conv2d", "fully_connected", "normalized_product", "residual_conv2d", "row_by_row",
    "turned_conv2d",
]  # fmt: skip


def _bias(op: Weighted, zero_point: int) -> NDArray[np.int64]:
    """The bias, with the input's zero point folded in: ``Σ w·(a − z) = Σ w·a − z·Σ w``."""
    return op.bias - zero_point * op.kept_weights.reshape(len(op.weights), -1).sum(axis=1)


def conv2d(op: Conv2D, x: Tensor, y: Tensor, config: Config) -> Kernel | Iterator[Kernel]:
    """A convolution. On an image so narrow that a beat reaches into the next line, a beat takes several kernel rows.
    With few output channels, the kernel computes several neighbouring pixels at once, if that takes fewer beats."""
    outputs, kernel_y, kernel_x, channels = op.weights.shape
    contiguous = kernel_x == 1 or op.dilation[1] == 1
    if op.terms is not None or len(weight_parts(op.weights, config)) > 1 or not contiguous:
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
    length = single.run_length + (pixels - 1) * shift
    weights = np.zeros((pixels, outputs, kernel_y, 1, length), single.weights.dtype)
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
        rows = np.zeros((outputs, steps * rows_per_beat, pitch), op.weights.dtype)
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
    parts, stacked = weight_parts(op.weights, config), False
    # A group of weights that share a term budget must not reach beyond a pixel.
    if kernel_x == 1 or op.dilation[1] == 1 and (op.terms is None or channels % op.terms.group == 0):
        run_length = kernel_x * channels
        # The parts of wide weights are multiplied with the same bytes, one after the other.
        weights = np.stack([part.reshape(outputs, kernel_y, run_length) for part in parts], axis=2)
        inner = Dim(len(parts), (0, 0))
    else:
        if len(parts) > 1 and channels > config.tile_depth:
            raise CompileError(
                f"{op}: with a dilation, weights of more than {config.tile_depth} channels cannot be multiplied in "
                f"parts: {reason_for_parts(op.weights, config)}"
            )
        weights, stacked = _stacked(parts, config), len(parts) > 1
        run_length, inner = weights.shape[-1], Dim(kernel_x, (0, op.dilation[1] * channels))
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
        parts=len(parts),
        stacked=stacked,
    )


def turned_conv2d(op: TurnedConv2D, x: Tensor, y: Tensor, config: Config) -> Kernel:
    """A convolution whose rows of results become columns."""
    batch, height, width, outputs = y.shape
    as_conv = Conv2D(**_fields(op))  # type: ignore[arg-type]
    turned = row_by_row(as_conv, x, dataclasses.replace(y, shape=(batch, width, height, outputs)), config)
    return dataclasses.replace(turned, spacing=(outputs, width * outputs))


def residual_conv2d(op: ResidualConv2D, x: Tensor, residual: Tensor, y: Tensor, config: Config) -> Iterator[Kernel]:
    """A convolution whose results go through the tables of a sum."""
    if not config.residual:
        raise CompileError(f"{op}: the device adds no residual tensors; configure one with residual=1")
    a, b = (op.between, residual) if op.sum.a == op.between.name else (residual, op.between)
    found = lookup.add(op.sum, a, b, y, config)
    tables = (found.tables if a is op.between else found.tables[::-1]).tolist()
    lane = found.lane
    total = Sum(
        tables=tables, bias=found.bias, multiplier=lane.multiplier, shift=lane.shift, zero_point=lane.zero_point,
        low=lane.low, high=lane.high, rounding=lane.rounding,
    )  # fmt: skip
    kernels = conv2d(op.convolution, x, op.between, config)
    for kernel in (kernels,) if isinstance(kernels, Kernel) else kernels:
        yield dataclasses.replace(kernel, residual=total)


def _stacked(parts: Sequence[Weights], config: Config) -> Weights:
    """Parts [..., run] of weights side by side, each but the last filled up to a tile of weights."""
    filling = [(0, 0)] * (parts[0].ndim - 1) + [(0, config.tile_depth - parts[0].shape[-1])]
    return np.concatenate([*(np.pad(part, filling) for part in parts[:-1]), parts[-1]], axis=-1)


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


def normalized_product(op: NormalizedProduct, x: Tensor, y: Tensor, config: Config) -> Kernel:
    """As :func:`fully_connected`. The tensor must be the result of the descriptor before, see
    :func:`sateen.compiler.norms.check_norms`."""
    if not config.norms:
        raise CompileError(f"{op}: the device does not normalize; configure one with norms=1")
    return dataclasses.replace(fully_connected(op, x, y, config), normalized=True)


def depthwise_conv2d(op: DepthwiseConv2D, x: Tensor, y: Tensor, config: Config) -> Kernel | Iterator[Kernel]:
    """A kernel on the tile's diagonal; or, where that takes no more beats, a convolution with zeros for the other
    channels."""
    _, height, columns, channels = x.shape
    outputs, _, kernel_x, _ = op.weights.shape
    multiplier = outputs // channels
    fits = config.cols % multiplier == 0 or outputs <= config.cols
    contiguous = op.dilation[1] == 1 and op.terms is None
    dense_beats = -(-kernel_x * channels // config.tile_depth) if contiguous else kernel_x
    parts = weight_parts(op.weights, config)
    if not fits or dense_beats <= kernel_x and channels <= config.tile_depth:
        dense = np.zeros((*op.weights.shape[:3], channels), op.weights.dtype)
        output = np.arange(outputs)
        dense[output, :, :, output // multiplier] = op.weights[..., 0]
        as_conv = Conv2D(**{**_fields(op), "weights": dense})  # type: ignore[arg-type]
        if multiplier > 1 or op.dilation != (1, 1):
            return conv2d(as_conv, x, y, config)
        return dataclasses.replace(row_by_row(as_conv, x, y, config), filters=np.stack(parts)[..., 0], depth=channels)
    (top, _), (left, _) = op.padding
    kernels = [
        diagonal(
            part[..., 0],
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
        for part in parts
    ]
    if len(parts) == 1:
        return kernels[0]
    weights = _stacked([kernel.weights for kernel in kernels], config)
    filters = None if kernels[0].filters is None else np.stack(parts)[..., 0]
    return dataclasses.replace(
        kernels[0], weights=weights, run_length=weights.shape[-1], filters=filters, parts=len(parts), stacked=True
    )
