"""Functions that are a line for each channel, such as a batch normalization's, as a layer of the device: a convolution
of each channel by itself whose weights, biases and scales are searched until it gives every code's result."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np

from sateen.frontends.onnx.tables import evaluated
from sateen.frontends.onnx.values import UNLIMITED, Limits, Quantization
from sateen.graph import Array, Op, RealUnary, Tensor
from sateen.hw.spec.descriptor import Rounding
from sateen.sim import golden

__all__ = ["FoundLines", "layer_of", "lines_of"]

WEIGHTS, WIDE = range(127, 63, -1), range(255, 127, -1)
"""Magnitudes of weights that are tried, of 8 bits, and of 9. Biases are whole numbers of a slope's WEIGHT-th part."""
SHIFTS = (0, -1, 1)
"""Units by which biases are tried beside the nearest one."""
NEAR = 1 + np.linspace(-2e-3, 2e-3, 801)
"""Factors of slopes that are tried where the line itself finds no layer."""


STRAIGHT = 1e-3
"""Steps of the result by which a function may leave a line before it is rounded: float32 is no finer."""


@dataclass(frozen=True)
class Lines:
    """A depthwise layer's parameters for each channel: ``weights·(code − zero point) + bias``, requantized."""

    weights: Array
    """int8, or int16 if a channel's is larger."""
    bias: Array
    multiplier: Array
    shift: Array


@dataclass(frozen=True)
class FoundLines:
    """Lines of one tensor's codes, and the limits of their results."""

    input: str
    lines: Lines
    limits: Limits


def layer_of(
    ops: Sequence[Op], tensors: Mapping[str, Tensor], real: Tensor, quantization: Quantization
) -> FoundLines | None:
    """The lines of a real image's codes, perhaps clamped; ``None`` if it is something else, or if no layer gives each
    code's result."""
    made, limits = {op.output: op for op in ops}, UNLIMITED
    while isinstance(op := made.get(real.name), RealUnary) and op.function in ("relu", "clip"):
        # From the last clamp to the first: each is clamped by those behind it.
        inner = op.parameters if op.function == "clip" else (0.0, np.inf)
        low, high = (min(max(limit, limits[0]), limits[1]) for limit in inner)
        limits = low, high
        real = tensors[op.input]
    found = evaluated(ops, tensors, real, channels=real.shape[-1]) if len(real.shape) == 4 else None
    if found is None or not np.isfinite(found[1]).all():
        return None
    source, values = found[0], found[1].astype(np.float64) / np.float64(np.float32(quantization.scale))
    slopes = (values[-1] - values[0]) / 255
    starts = values[0] - slopes * (-128 - source.zero_point)
    codes = np.arange(-128, 128) - source.zero_point
    if np.abs(values - slopes * codes[:, None] - starts).max() > STRAIGHT:
        return None
    output = (quantization.scale, quantization.zero_point)
    tables = golden.quantize(found[1].T, output, rounding=Rounding.FLOAT32)
    lines = lines_of(source.zero_point, slopes, starts, tables, quantization.zero_point)
    return None if lines is None else FoundLines(source.name, lines, limits)


def lines_of(zero_point: int, slopes: Array, starts: Array, tables: Array, output_zero_point: int) -> Lines | None:
    """Lines that give tables; ``None`` if one is not found.

    Parameters
    ----------
    zero_point
        The input's.
    slopes, starts
        [C]: the lines in steps of the result, of ``code − zero point``, as they are before rounding.
    tables
        [C, 256]: the result for each code from −128 on.
    """
    count, codes = len(slopes), np.arange(-128, 128) - zero_point
    found = Lines(*(np.zeros(count, kind) for kind in (np.int16, np.int32, np.int32, np.int8)))
    left = _search(found, np.arange(count), codes, slopes, starts, tables, output_zero_point, WEIGHTS)
    for channel in left:
        # One channel with many lines, in the place of many channels with one line each.
        lines = _near(codes, slopes[channel], tables[channel], output_zero_point)
        many = Lines(*(np.zeros(len(lines), array.dtype) for array in vars(found).values()))
        same = np.repeat(tables[channel : channel + 1], len(lines), axis=0)
        missed = _search(many, np.arange(len(lines)), codes, lines[:, 0], lines[:, 1], same, output_zero_point, WEIGHTS)
        if len(missed) == len(lines):
            missed = _search(many, missed, codes, lines[:, 0], lines[:, 1], same, output_zero_point, WIDE)
        hits = np.setdiff1d(np.arange(len(lines)), missed)
        if len(hits) == 0:
            return None
        for field, array in vars(found).items():
            array[channel] = getattr(many, field)[hits[0]]
    narrow = bool((np.abs(found.weights) < 128).all())
    return replace(found, weights=found.weights.astype(np.int8)) if narrow else found


def _near(codes: Array, slope: float, table: Array, output_zero_point: int) -> Array:
    """[L, 2]: lines with nearly this slope that give a table if they are not rounded, as slope and start."""
    slopes = slope * NEAR
    rest = table.astype(np.int64) - output_zero_point - slopes[:, None] * codes
    highest = np.where(table < 127, rest + 0.5, np.inf).min(axis=1)
    lowest = np.where(table > -128, rest - 0.5, -np.inf).max(axis=1)
    lines = np.stack([slopes, (highest + lowest) / 2], axis=1)
    return lines[np.isfinite(lines[:, 1]) & (highest > lowest)]


def _search(
    found: Lines, left: Array, codes: Array, slopes: Array, starts: Array, tables: Array, output_zero_point: int,
    weights: range,
) -> Array:  # fmt: skip
    """Sets the parameters of channels whose tables they give; the channels that are left."""
    for weight in weights:
        for shift in SHIFTS:
            if len(left) == 0:
                return left
            # A channel of one value needs no slope.
            flat = slopes[left] == 0
            units = np.where(flat, 1 / 1024, np.abs(slopes[left])) / weight
            bias = np.rint(starts[left] / units) + shift
            scalings = [_scaling(float(unit)) for unit in units]
            usable = (np.abs(bias) < 2**30) & np.array([scaling is not None for scaling in scalings])
            multiplier = np.array([scaling[0] if scaling else 0 for scaling in scalings], np.int32)
            right = np.array([scaling[1] if scaling else 0 for scaling in scalings], np.int8)
            signed = np.where(flat, 0, np.sign(slopes[left]) * weight).astype(np.int64)
            sums = signed[:, None] * codes + np.where(usable, bias, 0).astype(np.int64)[:, None]
            results = golden.requantize(
                sums.T.astype(np.int32), multiplier, right, rounding=Rounding.FLOAT32, zero_point=output_zero_point
            ).T
            good = usable & (results == tables[left]).all(axis=1)
            places = left[good]
            found.weights[places], found.bias[places] = signed[good], bias[good]
            found.multiplier[places], found.shift[places] = multiplier[good], right[good]
            left = left[~good]
    return left


def _scaling(scale: float) -> tuple[int, int] | None:
    try:
        return golden.quantize_multiplier(float(np.float32(scale)))
    except ValueError:
        return None
