"""TensorFlow Lite's operators on constants: shapes that a model computes, although they are known."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import tflite

from sateen.frontends.tflite.file import RawOperator
from sateen.graph import Array, require

__all__ = ["FOLDING"]


def _strided_slice(operator: RawOperator, x: Array, begin: Array, end: Array, step: Array) -> Array:
    options = operator.options(tflite.StridedSliceOptions)
    plain = not options.EllipsisMask and not options.NewAxisMask and not options.Offset
    require(plain, operator, "its ellipsis, new axes and lengths in place of ends are not supported")
    parts: list[Any] = []
    for axis, (b, e, s) in enumerate(zip(begin.tolist(), end.tolist(), step.tolist(), strict=True)):
        if options.ShrinkAxisMask >> axis & 1:
            parts.append(b)
        else:
            parts.append(
                slice(None if options.BeginMask >> axis & 1 else b, None if options.EndMask >> axis & 1 else e, s)
            )
    return x[tuple(parts)]


def _pack(operator: RawOperator, *parts: Array) -> Array:
    return np.stack(parts, axis=operator.options(tflite.PackOptions).Axis)


def _concatenation(operator: RawOperator, *parts: Array) -> Array:
    return np.concatenate(parts, axis=operator.options(tflite.ConcatenationOptions).Axis)


def _gather(operator: RawOperator, x: Array, places: Array) -> Array:
    if operator.table is None:
        return np.take(x, places, axis=0)
    options = operator.options(tflite.GatherOptions)
    require(options.BatchDims == 0, operator, "its batch dimensions are not supported")
    return np.take(x, places, axis=options.Axis)


FOLDING: dict[str, Callable[..., Any]] = {
    "SHAPE": lambda operator, x: x,
    "STRIDED_SLICE": _strided_slice,
    "PACK": _pack,
    "CONCATENATION": _concatenation,
    "GATHER": _gather,
    "CAST": lambda operator, x: x.astype(np.int64),
    "RESHAPE": lambda operator, x, shape=None: x.reshape(-1 if shape is None else tuple(shape.reshape(-1).tolist())),
    "EXPAND_DIMS": lambda operator, x, axis: np.expand_dims(x, int(axis.reshape(-1)[0])),
    "SQUEEZE": lambda operator, x: x.squeeze(),
    "ADD": lambda operator, a, b: a + b,
    "SUB": lambda operator, a, b: a - b,
    "MUL": lambda operator, a, b: a * b,
    "FLOOR_DIV": lambda operator, a, b: a // b,
    "MAXIMUM": lambda operator, a, b: np.maximum(a, b),
    "MINIMUM": lambda operator, a, b: np.minimum(a, b),
    "REDUCE_PROD": lambda operator, x, axes: np.prod(x, axis=tuple(axes.reshape(-1).tolist())),
}
"""What computes each kind of operator: called with it and its inputs."""
