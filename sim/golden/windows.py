"""Golden layers over windows and positions: convolution, matrix product, pooling, mean, resizing."""

from __future__ import annotations

import math
from typing import Any, TypeVar

import numpy as np
from numpy.lib.stride_tricks import sliding_window_view
from numpy.typing import ArrayLike, NDArray

from sateen.hw.spec.descriptor import Rounding
from sateen.sim.golden.elementwise import real_codes
from sateen.sim.golden.scaling import Int8Array, Int32Array, Int64Array, Quantization, requantize, wrap

__all__ = [
    "average_pool2d",
    "conv2d",
    "convolution_sums",
    "float32_average_pool2d",
    "float32_mean",
    "fully_connected",
    "max_pool2d",
    "mean",
    "mean_multiplier",
    "nearest",
    "real_mean",
    "sums_are_exact",
    "transpose_conv2d",
    "windows",
]

Integers = NDArray[np.integer[Any]]
Padding = tuple[tuple[int, int], tuple[int, int]]
Value = TypeVar("Value", bound=np.generic)


def conv2d(
    x: Integers,
    weights: Integers,
    bias: ArrayLike,
    *,
    stride: tuple[int, int] = (1, 1),
    padding: Padding = ((0, 0), (0, 0)),
    dilation: tuple[int, int] = (1, 1),
    pad_value: int,
    zero_point: int = 0,
    groups: int = 1,
) -> Int32Array:
    """The sums of a convolution: ``bias[o] + Σ w[o, i, j, c] · (a[n, y·sy + i·dy, x·sx + j·dx, c] − zero_point)``.

    Parameters
    ----------
    x
        Activations [N, H, W, C].
    weights
        [O, kernel height, kernel width, C / groups].
    bias
        [O].
    padding
        Lines and columns of ``pad_value`` around ``x``: ((top, bottom), (left, right)).
    pad_value
        What stands in the padding. With ``pad_value == zero_point`` it adds nothing; with a ``zero_point`` of 0 the
        result is the raw sums that the hardware has.
    groups
        Number of equal parts into which the channels are split, each convolved alone; C for a depthwise convolution.

    Returns
    -------
    Sums [N, OH, OW, O], OH being ``(H + top + bottom − dy·(kernel height − 1) − 1) // sy + 1``.
    """
    return wrap(
        convolution_sums(
            x, weights, bias, stride=stride, padding=padding, dilation=dilation, pad_value=pad_value,
            zero_point=zero_point, groups=groups,
        )
    )  # fmt: skip


def convolution_sums(
    x: Integers,
    weights: Integers,
    bias: ArrayLike,
    *,
    stride: tuple[int, int],
    padding: Padding,
    dilation: tuple[int, int],
    pad_value: int,
    zero_point: int = 0,
    groups: int,
) -> Int64Array:
    """The sums of :func:`conv2d`, which do not wrap here."""
    outputs, height, width, depth = weights.shape
    patches = windows(x, (height, width), stride=stride, padding=padding, dilation=dilation, pad_value=pad_value)
    images, rows, columns, channels = patches.shape[:4]
    if channels != groups * depth or outputs % groups:
        raise ValueError(f"weights {weights.shape} in {groups} groups do not fit {channels} channels of x")
    kernels = weights.reshape(groups, outputs // groups, height, width, depth)
    sums = np.zeros((images, rows, columns, groups, outputs // groups))
    for i, j in np.ndindex(height, width):
        values = patches[..., i, j].reshape(images, rows, columns, groups, depth)
        sums += _product(values - np.int64(zero_point), kernels[:, :, i, j])
    return sums.reshape(images, rows, columns, outputs).astype(np.int64) + np.asarray(bias, np.int64)


def transpose_conv2d(
    x: Integers,
    weights: Integers,
    bias: ArrayLike,
    *,
    out: tuple[int, int],
    stride: tuple[int, int] = (1, 1),
    before: tuple[int, int] = (0, 0),
    dilation: tuple[int, int] = (1, 1),
    zero_point: int = 0,
    groups: int = 1,
) -> Int32Array:
    """The sums of a transposed convolution: every input adds ``w[o, i, j, c] · (a[n, y, x, c] − zero_point)`` to the
    result at (y·sy + i·dy − top, x·sx + j·dx − left), and to each result its bias is added.

    Parameters
    ----------
    x
        Activations [N, H, W, C].
    weights
        [O, kernel height, kernel width, C / groups].
    bias
        [O].
    out
        Rows and columns of results; what falls outside is dropped.
    before
        (top, left).
    groups
        As in :func:`conv2d`.

    Returns
    -------
    Sums [N, *out, O].
    """
    places = {"out": out, "stride": stride, "before": before, "dilation": dilation, "groups": groups}
    sums = transposed_sums(x.astype(np.int64) - zero_point, weights, **places)  # type: ignore[arg-type]
    return wrap(sums.astype(np.int64) + np.asarray(bias, np.int64))


def transposed_sums(
    x: NDArray[Any], weights: NDArray[Any], *, out: tuple[int, int], stride: tuple[int, int], before: tuple[int, int],
    dilation: tuple[int, int], groups: int,
) -> NDArray[np.float64]:  # fmt: skip
    """The sums of :func:`transpose_conv2d` in float64, without bias, of any numbers."""
    outputs, height, width, depth = weights.shape
    images, rows, columns, channels = x.shape
    if channels != groups * depth or outputs % groups:
        raise ValueError(f"weights {weights.shape} in {groups} groups do not fit {channels} channels of x")
    kernels = weights.reshape(groups, outputs // groups, height, width, depth)
    values = x.reshape(images, rows, columns, groups, depth)
    (sy, sx), (dy, dx), (top, left) = stride, dilation, before
    full = np.zeros(
        (
            images,
            max((rows - 1) * sy + (height - 1) * dy + 1, top + out[0]),
            max((columns - 1) * sx + (width - 1) * dx + 1, left + out[1]),
            outputs,
        )
    )
    for i, j in np.ndindex(height, width):
        part = full[:, i * dy :: sy, j * dx :: sx][:, :rows, :columns]
        part += _product(values, kernels[:, :, i, j]).reshape(images, rows, columns, outputs)
    return full[:, top : top + out[0], left : left + out[1]]


def _product(values: NDArray[Any], kernels: NDArray[Any]) -> NDArray[np.float64]:
    """[..., G, I] by [G, O, I] → [..., G, O] in float64, which is exact: no sum of products of 9 bits comes near
    2^53."""
    if kernels.shape[-1] == 1:
        return values.astype(np.float64) * kernels[..., 0].astype(np.float64)
    if len(kernels) == 1:
        return values.astype(np.float64) @ kernels[0].astype(np.float64).T
    return (values.astype(np.float64)[..., None, :] @ kernels.astype(np.float64).transpose(0, 2, 1))[..., 0, :]


def fully_connected(x: Integers, weights: Integers, bias: ArrayLike, *, zero_point: int = 0) -> Int32Array:
    """The sums of a matrix product: ``bias[o] + Σ w[o, i] · (a[n, i] − zero_point)``; [N, …, I], [O, I] → [N, …, O]."""
    sums = _product((x.astype(np.int64) - zero_point)[..., None, :], weights[None])
    return wrap(sums[..., 0, :].astype(np.int64) + np.asarray(bias, np.int64))


def max_pool2d(
    x: Int8Array,
    *,
    size: tuple[int, int],
    stride: tuple[int, int],
    padding: Padding = ((0, 0), (0, 0)),
    low: int = -128,
    high: int = 127,
) -> Int8Array:
    """The largest of each window, clamped to ``low`` to ``high``; padding never wins. [N, H, W, C] → [N, OH, OW, C]."""
    values = windows(x, size, stride=stride, padding=padding, dilation=(1, 1), pad_value=-128)
    return np.clip(values.max(axis=(4, 5)), low, high).astype(np.int8)


def average_pool2d(
    x: Int8Array,
    *,
    size: tuple[int, int],
    stride: tuple[int, int],
    padding: Padding = ((0, 0), (0, 0)),
    low: int = -128,
    high: int = 127,
    ties_up: bool = False,
) -> Int8Array:
    """The mean over each window's part of the image, halves rounded away from zero or up. [N, H, W, C] → [N, OH, OW,
    C]."""
    sums, counts = (
        windows(values.astype(np.int64), size, stride=stride, padding=padding, dilation=(1, 1), pad_value=0).sum(
            axis=(4, 5)
        )
        for values in (x, np.ones((1, *x.shape[1:3], 1)))
    )
    away = np.sign(sums) * ((np.abs(sums) + counts // 2) // counts)
    means = (sums + counts // 2) // counts if ties_up else away
    return np.clip(means, low, high).astype(np.int8)


def float32_average_pool2d(
    x: Int8Array,
    quantization: Quantization,
    output: Quantization,
    *,
    size: tuple[int, int],
    stride: tuple[int, int],
    dilation: tuple[int, int],
    padding: Padding,
    count: int,
    base: int,
    fused: bool,
    columns: bool,
) -> Int8Array:
    """The mean of each window as onnxruntime computes it, in the codes of ``output``: real numbers are summed in
    float32 and divided by ``count``, then as :func:`float32_mean` has it. They are summed row by row, or each column
    first, then the ``columns``. [N, H, W, C] → [N, OH, OW, C]."""
    real = real_codes(x, quantization)
    values = windows(real, size, stride=stride, padding=padding, dilation=dilation, pad_value=0)
    if columns:
        values = _added(values, 4)[..., None, :]
    return float32_mean(_added(values.reshape(*values.shape[:4], -1), 4), count, output, base, fused=fused)


def _added(values: NDArray[np.float32], axis: int) -> NDArray[np.float32]:
    """Sums along an axis in float32, one after the other; NumPy's own are pairwise."""
    return np.moveaxis(np.cumsum(values, axis=axis, dtype=np.float32), axis, -1)[..., -1]


def float32_mean(total: NDArray[np.float32], count: int, output: Quantization, base: int, *, fused: bool) -> Int8Array:
    """The codes of sums divided by ``count``, then by the scale, ties to even; the zero point is added before if
    ``fused``, else behind. Codes are larger by ``base`` there."""
    point = output[1] + base
    with np.errstate(over="ignore"):
        steps = total / np.float32(count) / np.float32(output[0])
        rounded = np.rint(steps + np.float32(point)) if fused else np.rint(steps) + point
    return (np.clip(rounded, base - 128, base + 127) - base).astype(np.int8)


def sums_are_exact(quantization: Quantization, count: int) -> bool:
    """Whether float32 holds all sums of up to ``count`` real numbers exactly, so that their order does not matter."""
    significand = int(math.ldexp(math.frexp(float(np.float32(quantization[0])))[0], 24))
    bits = 24 - ((significand & -significand).bit_length() - 1)
    largest = max(128 + quantization[1], 127 - quantization[1])
    return bits + (count * largest).bit_length() <= 24


def real_mean(
    sums: Int64Array, quantization: Quantization, output: Quantization, *, count: int, base: int
) -> Int8Array:
    """The codes of means of real numbers, from sums of codes less zero points, where :func:`sums_are_exact`."""
    total = (sums * np.float64(np.float32(quantization[0]))).astype(np.float32)
    return float32_mean(total, count, output, base, fused=False)


def mean_multiplier(multiplier: int, shift: int, count: int) -> tuple[int, int]:
    """Multiplier and shift of a mean of ``count`` values, from those of its scale: the multiplier is divided by
    ``count``.

    As TensorFlow Lite does it: multiplied by the largest power of two that is ``count`` or less, then divided, rounding
    down.
    """
    left = min(count.bit_length() - 1, 32, 31 + shift)
    return (multiplier << left) // count, shift - left


def mean(
    x: Int8Array,
    axes: tuple[int, ...],
    multiplier: int,
    shift: int,
    *,
    zero_point: int,
    output_zero_point: int,
    rounding: int = Rounding.DOUBLE,
) -> Int8Array:
    """The requantized sum over ``axes``, which are kept with length 1; ``zero_point`` is the input's.

    With the multiplier and shift of :func:`mean_multiplier` it is the mean.
    """
    sums = (x.astype(np.int64) - zero_point).sum(axis=axes, keepdims=True)
    return requantize(sums, multiplier, shift, rounding=rounding, zero_point=output_zero_point)


def nearest(
    size: int, output_size: int, *, align_corners: bool = False, half_pixel_centers: bool = False
) -> NDArray[np.int64]:
    """The positions, of ``size``, that nearest-neighbour resizing to ``output_size`` takes, computed in float32."""
    aligned = align_corners and output_size > 1
    scale = (
        np.float32(size - 1) / np.float32(output_size - 1) if aligned else np.float32(size) / np.float32(output_size)
    )
    places = (np.arange(output_size, dtype=np.float32) + np.float32(0.5 if half_pixel_centers else 0)) * scale
    # Halves away from zero; places are 0 or more.
    chosen = np.floor(places + np.float32(0.5)) if align_corners else np.floor(places)
    return np.clip(chosen.astype(np.int64), 0, size - 1)


def windows(
    x: NDArray[Value],
    size: tuple[int, int],
    *,
    stride: tuple[int, int],
    padding: Padding,
    dilation: tuple[int, int],
    pad_value: float,
) -> NDArray[Value]:
    """The window under each output position: [N, H, W, C] → [N, OH, OW, C, window height, window width]. Any dtype."""
    padded = np.pad(x, ((0, 0), *padding, (0, 0)), constant_values=pad_value)
    (height, width), (sy, sx), (dy, dx) = size, stride, dilation
    span = (dy * (height - 1) + 1, dx * (width - 1) + 1)
    return sliding_window_view(padded, span, axis=(1, 2))[:, ::sy, ::sx, :, ::dy, ::dx]
