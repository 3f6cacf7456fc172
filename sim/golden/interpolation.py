"""Golden interpolation between neighbouring pixels, as TensorFlow Lite computes it, and as onnxruntime does."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from sateen.sim.golden.scaling import Int8Array, Int64Array

__all__ = [
    "COORDINATES",
    "FRACTION",
    "Between",
    "between",
    "interpolate",
    "positions",
    "real_between",
    "real_resize_bilinear",
    "resize_bilinear",
]

COORDINATES = ("align_corners", "asymmetric", "half_pixel", "half_pixel_symmetric", "pytorch_half_pixel")
"""ONNX's ways to find the position of a resized pixel in the image."""

FRACTION = 1 << 10
"""The distance of neighbouring pixels in fixed-point positions."""


class Between(NamedTuple):
    """For each output position of an axis the input's two between which it lies, and its distance from the first."""

    lower: Int64Array
    upper: Int64Array
    distance: NDArray[np.int64] | NDArray[np.float32]
    """In units of 1 / FRACTION, or of a pixel if real; negative before the first pixel."""


def between(size: int, output_size: int, *, align_corners: bool = False, half_pixel_centers: bool = False) -> Between:
    """Where the positions of an axis of ``output_size`` lie in one of ``size``, in fixed-point numbers."""
    if align_corners and output_size > 1:
        scale = (FRACTION * (size - 1) + (output_size - 1) // 2) // (output_size - 1)
    else:
        scale = (FRACTION * size + output_size // 2) // output_size
    places = np.arange(output_size, dtype=np.int64) * scale
    if half_pixel_centers:
        places += scale // 2 - FRACTION // 2
    # Divisions truncate; what they give below 0 is cut off.
    lower = np.maximum(places // FRACTION, 0)
    upper = np.minimum(-(-places // FRACTION), size - 1)
    return Between(lower, np.maximum(upper, 0), places - lower * FRACTION)


def resize_bilinear(x: Int8Array, rows: Between, columns: Between) -> Int8Array:
    """The mean of the four pixels around each place, weighted by its distances, halves away from zero; [N, H, W, C]."""
    (y0, y1, dy), (x0, x1, dx) = rows, columns
    values, dy, dx = x.astype(np.int64), dy.astype(np.int64)[:, None, None], dx.astype(np.int64)[:, None]
    upper = values[:, y0][:, :, x0] * (FRACTION - dx) + values[:, y0][:, :, x1] * dx
    lower = values[:, y1][:, :, x0] * (FRACTION - dx) + values[:, y1][:, :, x1] * dx
    sums, one = upper * (FRACTION - dy) + lower * dy, FRACTION**2
    return (np.sign(sums) * ((np.abs(sums) + one // 2) // one)).astype(np.int8)


def real_between(
    size: int, output_size: int, *, align_corners: bool = False, half_pixel_centers: bool = False
) -> Between:
    """As :func:`between`, in float32."""
    whole, wanted = (size - 1, output_size - 1) if align_corners and output_size > 1 else (size, output_size)
    scale, half = np.float32(whole) / np.float32(wanted), np.float32(0.5 if half_pixel_centers else 0)
    places = (np.arange(output_size, dtype=np.float32) + half) * scale - half
    lower = np.maximum(np.floor(places).astype(np.int64), 0)
    upper = np.minimum(np.ceil(places).astype(np.int64), size - 1)
    return Between(lower, upper, places - lower.astype(np.float32))


def real_resize_bilinear(x: Int8Array, rows: Between, columns: Between) -> Int8Array:
    """As :func:`resize_bilinear`, of codes larger by 128, in float32, halves up: so TensorFlow Lite resizes uint8."""
    (y0, y1, dy), (x0, x1, dx) = rows, columns
    values, one = x.astype(np.float32) + np.float32(128), np.float32(1)
    dy, dx = dy.astype(np.float32)[:, None, None], dx.astype(np.float32)[:, None]
    total = (
        values[:, y0][:, :, x0] * (one - dy) * (one - dx)
        + values[:, y1][:, :, x0] * dy * (one - dx)
        + values[:, y0][:, :, x1] * (one - dy) * dx
        + values[:, y1][:, :, x1] * dy * dx
        + np.float32(0.5)
    )
    return (total.astype(np.int64) - 128).astype(np.int8)


def positions(size: int, output_size: int, scale: float, coordinates: str) -> NDArray[np.float32]:
    """Where the positions of an axis of ``output_size`` lie in one of ``size``, in onnxruntime's float32.

    ``scale`` is the factor that the model states, and ``coordinates`` one of :data:`COORDINATES`.
    """
    places, half, factor = np.arange(output_size, dtype=np.float32), np.float32(0.5), np.float32(scale)
    if coordinates == "asymmetric":
        return places / factor
    if coordinates == "align_corners":
        return places * np.float32(size - 1) / np.float32(max(output_size - 1, 1))
    if coordinates == "pytorch_half_pixel" and output_size == 1:
        return np.zeros(1, np.float32)
    found = (places + half) / factor - half
    if coordinates == "half_pixel_symmetric":
        adjustment = np.float32(output_size) / (factor * np.float32(size))
        return np.float32(size / 2) * (np.float32(1) - adjustment) + found
    return found


def interpolate(x: NDArray[np.float32], rows: NDArray[np.float32], columns: NDArray[np.float32]) -> NDArray[np.float32]:
    """The mean of the four pixels around each place, weighted by its distances, in onnxruntime's order of operations;
    [N, H, W, C]. Places beyond the image are at its edge."""
    parts = []
    for places, size in zip((rows, columns), x.shape[1:3], strict=True):
        inside = np.clip(places, np.float32(0), np.float32(size - 1))
        lower = inside.astype(np.int64)
        upper = np.minimum(lower + 1, size - 1)
        after, before = np.abs(inside - lower.astype(np.float32)), np.abs(inside - upper.astype(np.float32))
        edge = lower == upper
        after[edge] = before[edge] = 0.5
        parts.append((lower, upper, before.astype(np.float32), after.astype(np.float32)))
    (y0, y1, above, below), (x0, x1, left, right) = parts
    above, below = above[:, None, None], below[:, None, None]
    left, right = left[:, None], right[:, None]
    return (
        left * above * x[:, y0][:, :, x0]
        + right * above * x[:, y0][:, :, x1]
        + left * below * x[:, y1][:, :, x0]
        + right * below * x[:, y1][:, :, x1]
    )
