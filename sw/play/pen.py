"""What the network sees of a drawing: strokes of a pen as the pixels of scikit-learn's handwritten digits."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

__all__ = ["pixels"]

SIDE, BLOCK = 8, 4
"""The picture's sides, and the sides of the blocks of a finer one that each of its pixels is the mean of: the data are
from pictures of 32 by 32."""
MARGIN = 2.0
PEN = 1.9
"""Half a pen's width, in fine pixels."""
MOST_POINTS = 4000


def pixels(strokes: Sequence[Sequence[Sequence[float]]]) -> NDArray[np.float32]:
    """A drawing as [8, 8, 1] of 0 to 1: as large as fits, in the middle.

    Parameters
    ----------
    strokes
        The points (x, y) of each stroke, y downwards, in any unit.

    Raises
    ------
    ValueError
        If there is no point, or there are too many, or one is no pair of finite numbers.
    """
    if not isinstance(strokes, list | tuple) or not all(isinstance(stroke, list | tuple) for stroke in strokes):
        raise ValueError("a drawing is a list of strokes")
    if sum(len(stroke) for stroke in strokes) > MOST_POINTS:
        raise ValueError(f"a drawing has at most {MOST_POINTS:,} points")
    lines = [_points(stroke) for stroke in strokes if len(stroke)]
    if not lines:
        raise ValueError("the drawing is empty")
    every, size = np.concatenate(lines), SIDE * BLOCK
    low, high = every.min(0), every.max(0)
    extent = float((high - low).max())
    scale = (size - 2 * (MARGIN + PEN / 2)) / extent if extent > 0 else 0.0
    middle = (low + high) / 2
    fine = np.zeros((size, size))
    y, x = np.mgrid[:size, :size] + 0.5
    for line in lines:
        placed = (line - middle) * scale + size / 2
        for begin, end in zip(placed, [*placed[1:], placed[-1]], strict=True):
            np.maximum(fine, np.clip(PEN + 0.5 - _distance(x, y, begin, end), 0, 1), out=fine)
    blocks = fine.reshape(SIDE, BLOCK, SIDE, BLOCK).mean((1, 3))
    return np.asarray(blocks[..., None], np.float32)


def _points(stroke: Any) -> NDArray[np.float64]:
    try:
        points = np.asarray(stroke, np.float64)
    except (ValueError, TypeError, OverflowError) as error:
        raise ValueError("a stroke is a list of points (x, y)") from error
    if points.ndim != 2 or points.shape[1] != 2 or not (np.abs(points) < 1e6).all():
        raise ValueError("a stroke is a list of points (x, y)")
    return points


def _distance(x: NDArray[Any], y: NDArray[Any], begin: NDArray[Any], end: NDArray[Any]) -> NDArray[Any]:
    """From each pixel to a segment."""
    (bx, by), (dx, dy) = begin, end - begin
    length = dx * dx + dy * dy
    along = np.clip(((x - bx) * dx + (y - by) * dy) / length, 0, 1) if length > 0 else np.zeros_like(x)
    return np.hypot(x - bx - along * dx, y - by - along * dy)
