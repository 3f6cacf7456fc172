"""Constant folding: the operators of TensorFlow Lite's files that compute shapes."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import tflite

from sateen.frontends.tflite.file import RawOperator
from sateen.frontends.tflite.strided import Selection
from sateen.graph import Array, require

__all__ = ["FOLDING"]


def _strided_slice(operator: RawOperator, x: Array, begin: Array, end: Array, step: Array) -> Array:
    return Selection.read(operator, x.shape, begin, end, step).apply(x)


def _pack(operator: RawOperator, *parts: Array) -> Array:
    options = operator.options(tflite.PackOptions)
    require(options.ValuesCount == len(parts), operator, f"it packs {len(parts)} values, not {options.ValuesCount}")
    return np.stack(parts, axis=options.Axis)


def _cast(operator: RawOperator, x: Array) -> Array:
    if operator.table is not None:
        # The types of the input and the output, which their tensors have.
        operator.options(tflite.CastOptions).ignore("InDataType", "OutDataType")
    return x


def _reshape(operator: RawOperator, x: Array, shape: Array | None = None) -> Array:
    if operator.table is not None:
        stated = operator.options(tflite.ReshapeOptions).NewShape
        shape = np.array(stated, np.int64) if shape is None else shape
    return x.reshape(-1 if shape is None else tuple(shape.reshape(-1).tolist()))


def _squeeze(operator: RawOperator, x: Array) -> Array:
    axes = () if operator.table is None else operator.options(tflite.SqueezeOptions).SqueezeDims
    return x.squeeze(axes) if axes else x.squeeze()


def _prod(operator: RawOperator, x: Array, axes: Array) -> Array:
    keep = operator.table is not None and operator.options(tflite.ReducerOptions).KeepDims
    return np.asarray(np.prod(x, axis=tuple(axes.reshape(-1).tolist()), keepdims=keep))


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
    "CAST": _cast,
    "RESHAPE": _reshape,
    "EXPAND_DIMS": lambda operator, x, axis: np.expand_dims(x, int(axis.reshape(-1)[0])),
    "SQUEEZE": _squeeze,
    "ADD": lambda operator, a, b: a + b,
    "SUB": lambda operator, a, b: a - b,
    "MUL": lambda operator, a, b: a * b,
    "FLOOR_DIV": lambda operator, a, b: a // b,
    "MAXIMUM": lambda operator, a, b: np.maximum(a, b),
    "MINIMUM": lambda operator, a, b: np.minimum(a, b),
    "REDUCE_PROD": _prod,
}
"""The function that computes each kind of operator. Called with the operator and its constant inputs."""
