"""Weights and biases of TensorFlow Lite's layers: their types, scales and zero points, checked."""

from __future__ import annotations

import math
from typing import Any

import numpy as np

from sateen.frontends.tflite.file import RawOperator, RawTensor
from sateen.frontends.tflite.importer import Importer
from sateen.frontends.tflite.numbers import clamp, scaling
from sateen.graph import Array, require

__all__ = ["check_product", "dequantized", "parameters", "read_weights"]

LARGEST_DIFFERENCE = 0.02
"""Between a bias's scale and that of the sums, in steps of the result: tflite-micro's limit."""


def read_weights(
    importer: Importer, operator: RawOperator, axis: int, rank: int, *, source: int = 0
) -> tuple[RawTensor, Array]:
    """The weights at input 1, with zero points subtracted: int8 if they fit, else int16. The layer's input stands at
    the place ``source``."""
    x, raw = importer.input(operator, source), importer.raw(operator, 1)
    # With int16, LiteRT's kernels take weights of 4 bits in these layers, and give others than tflite-micro's would in
    # the rest.
    several = len(raw.scales) > 1
    narrow = x.dtype == "int8" or operator.kind == "CONV_2D" or (operator.kind == "FULLY_CONNECTED" and several)
    wanted = ("UINT8",) if x.unsigned else ("INT8", "INT4") if narrow else ("INT8",)
    require(
        raw.type in wanted,
        operator,
        f"its weights {raw} are {raw.type}, not {' or '.join(wanted)}; quantize the whole model to int8",
    )
    values = importer.constant(operator, 1)
    require(values.ndim == rank, operator, f"its weights {raw} must have {rank} axes, not the shape {values.shape}")
    channels = values.shape[axis]
    require(
        len(raw.scales) == 1 or (len(raw.scales) == channels and not x.unsigned),
        operator,
        f"its weights {raw} have {len(raw.scales)} scales for {channels} channels",
    )
    require(
        len(raw.scales) == 1 or raw.axis == axis,
        operator,
        f"its weights {raw} have scales along axis {raw.axis}, not {axis}",
    )
    require(
        len(raw.zero_points) in (1, len(raw.scales)),
        operator,
        f"its weights {raw} have {len(raw.zero_points)} zero points for {len(raw.scales)} scales",
    )
    if not any(raw.zero_points):
        return raw, values if values.dtype == np.int8 else _smallest_type(values.astype(np.int64))
    # The interpreters ignore zero points of int8 weights, except here.
    require(
        x.unsigned or (operator.kind == "FULLY_CONNECTED" and len(raw.scales) == 1 and x.dtype == "int8"),
        operator,
        f"its weights {raw} have zero points, which int8 weights must not; quantize them symmetrically",
    )
    point = raw.zero_points[0]
    require(-128 <= point <= 255, operator, f"its weights {raw} have zero points out of range")
    return raw, _smallest_type(values.astype(np.int64) - point)


def dequantized(operator: RawOperator, raw: RawTensor, values: Array) -> Array:
    """The real values of a constant of codes, which may have a scale for each position of an axis, or of half
    precision."""
    if raw.type == "FLOAT16":
        return values.astype(np.float32)
    scales, points = np.array(raw.scales, np.float32), np.array(raw.zero_points or [0], np.int64)
    axis, rank = raw.axis, values.ndim
    good = len(scales) == 1 or (axis < rank and len(scales) == values.shape[axis])
    require(
        good and len(points) in (1, len(scales)), operator, f"{raw} has {len(scales)} scales and {len(points)} points"
    )
    shape = [-1 if place == axis and len(scales) > 1 else 1 for place in range(rank)]
    codes = values.astype(np.int64) - (points.reshape(shape) if len(points) > 1 else points[0])
    with np.errstate(over="ignore", invalid="ignore"):
        return codes.astype(np.float32) * (scales.reshape(shape) if len(scales) > 1 else scales[0])


def _smallest_type(weights: Array) -> Array:
    return weights.astype(np.int8 if weights.size and weights.min() >= -128 and weights.max() <= 127 else np.int16)


def _read_bias(importer: Importer, operator: RawOperator, place: int, outputs: int, steps: list[float]) -> Array:
    """The bias at an input, 0 if there is none. ``steps`` are the scales of the sums in steps of the result, by
    channels.

    The integers are added to the sums as they are, so their scale must be that of the sums. tflite-micro checks it for
    fully connected layers with one scale, and takes all others for right.
    """
    y = importer.tensor(operator.outputs[0])
    wide = y.dtype == "int16"
    if not importer.has(operator, place):
        return np.zeros(outputs, np.int64 if wide else np.int32)
    raw, values = importer.raw(operator, place), importer.constant(operator, place)
    # tflite-micro takes int32 for convolutions alone, and reads int64 elsewhere.
    wanted = ("INT32", "INT64") if wide and operator.kind == "CONV_2D" else ("INT64",) if wide else ("INT32",)
    good = raw.type in wanted
    require(good, operator, f"its bias must be {' or '.join(wanted)}, not {raw.type}; quantize the model to int8")
    require(values.size == outputs, operator, f"its bias has {values.size} values for {outputs} channels")
    require(not any(raw.zero_points), operator, f"its bias {raw} has a zero point; quantize it symmetrically")
    require(
        len(raw.scales) in (0, 1, outputs),
        operator,
        f"its bias {raw} has {len(raw.scales)} scales for {outputs} channels",
    )
    bias = values.reshape(-1)
    if raw.scales:
        require(all(map(math.isfinite, raw.scales)), operator, f"its bias {raw} has a scale that is not finite")
        with np.errstate(over="ignore"):
            stated = np.broadcast_to(np.array(raw.scales), outputs) / y.scale
            # No result may be off by half a step or more.
            largest = np.minimum(LARGEST_DIFFERENCE, 0.5 / np.maximum(np.abs(bias.astype(np.float64)), 1))
            good = np.abs(stated - np.array(steps)) <= largest
        channel = int(np.argmin(good))
        require(
            bool(good.all()),
            operator,
            f"its bias {raw} has the scale {stated[channel] * y.scale:.6g} in channel {channel}, not "
            f"{steps[channel] * y.scale:.6g}, the product of the scales of input and weights; quantize the model anew",
        )
    return bias


def check_product(importer: Importer, operator: RawOperator, outputs: int, keeps: bool) -> None:
    """Checks the shape of a matrix product: the input's but the last axis, if it ``keeps`` them, else any before the
    last."""
    shape, out = importer.raw(operator, 0).shape, importer.model.tensors[operator.outputs[0]].shape
    good = out == (*shape[:-1], outputs) if keeps else out[-1:] == (outputs,)
    require(good, operator, f"its output has the shape {out}, which is not that of {outputs} results for {shape}")


def parameters(
    importer: Importer, operator: RawOperator, raw: RawTensor, outputs: int, activation: int, *, source: int = 0,
    bias_place: int = 2,
) -> dict[str, Any]:  # fmt: skip
    """Fields of a layer with weights: bias, scaling and clamp. The layer's input stands at the place ``source``."""
    x, y = importer.input(operator, source), importer.tensor(operator.outputs[0])
    scalings, steps = [], []
    for scale in raw.scales:
        require(math.isfinite(scale) and scale >= 0, raw, f"its scale must be finite and above 0, not {scale!r}")
        # tflite-micro multiplies int8's scales in double precision, TensorFlow Lite uint8's in single.
        with np.errstate(over="ignore"):
            product = float(np.float32(x.scale) * np.float32(scale)) if x.unsigned else x.scale * scale
        steps.append(product / y.scale)
        scalings.append(scaling(operator, product / y.scale))
    copies = outputs if len(scalings) == 1 else 1
    return {
        "input": x.name, "bias": _read_bias(importer, operator, bias_place, outputs, steps * copies),
        "multiplier": np.array([multiplier for multiplier, _ in scalings * copies], np.int32),
        "shift": np.array([shift for _, shift in scalings * copies], np.int8), **clamp(operator, y, activation),
    }  # fmt: skip
