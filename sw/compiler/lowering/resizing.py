"""Interpolated images as kernels."""

from __future__ import annotations

import dataclasses
import itertools
import math
from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from sateen.compiler.lowering.kernel import Kernel, diagonal
from sateen.errors import CompileError
from sateen.graph.ops import ResizeBilinear, Tensor
from sateen.hw.spec.config import Config
from sateen.hw.spec.descriptor import Rounding
from sateen.sim import golden

__all__ = ["resize_bilinear"]

MOST_KERNELS = 64
LARGEST_WEIGHT = 127
TOO_MANY = "too many different places between the input's; with a factor of 2 they are few"
TOO_FINE = "places between the input's that need weights beyond 8 bits; with a factor of 2 they do not"


@dataclass(frozen=True)
class Run:
    """Positions of an axis, equally far apart, that weigh their two pixels alike."""

    weights: tuple[int, ...]
    """Of the first pixel and, unless it counts nothing, of the second."""
    target: int
    target_step: int
    count: int
    source: int
    """The first pixel of the first position."""
    source_step: int


def runs(places: golden.Between) -> tuple[int, list[Run]]:
    """What the weights of a position add up to, and runs that make up the axis; distances are whole numbers."""
    inside = np.where(places.upper == places.lower, 0, places.distance).astype(np.int64)
    unit = math.gcd(golden.FRACTION, *inside.tolist())
    total = golden.FRACTION // unit
    groups: dict[tuple[int, ...], list[tuple[int, int]]] = {}
    for target, (source, distance) in enumerate(zip(places.lower.tolist(), (inside // unit).tolist(), strict=True)):
        weights = (total - distance, distance) if distance else (total,)
        groups.setdefault(weights, []).append((target, source))
    return total, [run for weights, group in groups.items() for run in _consecutive(weights, group)]


def _consecutive(weights: tuple[int, ...], group: list[tuple[int, int]]) -> list[Run]:
    found: list[Run] = []
    for target, source in group:
        if found:
            last = found[-1]
            down, back = target - last.target, source - last.source
            if last.count > 1:
                down, back = last.target_step, last.source_step
            if (target, source) == (last.target + last.count * down, last.source + last.count * back):
                found[-1] = dataclasses.replace(last, count=last.count + 1, target_step=down, source_step=back)
                continue
        found.append(Run(weights, target, 1, 1, source, 1))
    return found


def resize_bilinear(op: ResizeBilinear, x: Tensor, y: Tensor, config: Config) -> Iterator[Kernel]:
    """A depthwise convolution for each combination of runs of rows and columns, whose results are interleaved."""
    rows, columns = op.places({op.input: x, op.output: y})
    if op.real:
        rows, columns = (_in_fractions(op, places) for places in (rows, columns))
    (row_total, row_runs), (column_total, column_runs) = runs(rows), runs(columns)
    if len(row_runs) * len(column_runs) > MOST_KERNELS:
        raise CompileError(f"{op}: its pixels lie at {TOO_MANY}")
    channels = x.shape[3]
    line = y.shape[2] * channels
    for row, column in itertools.product(row_runs, column_runs):
        weights, total, rounding = _scaled(op, np.outer(row.weights, column.weights), row_total * column_total)
        copy = diagonal(
            np.broadcast_to(weights, (channels, *weights.shape)).astype(np.int8),
            (x.shape[1], x.shape[2], channels),
            (row.count, column.count),
            config,
            stride=(row.source_step, column.source_step),
            origin=(row.source, column.source, 0),
            multiplier=1 << 30,
            shift=1 - int(math.log2(total)),
            rounding=rounding,
        )
        yield dataclasses.replace(
            copy,
            target=row.target * line + column.target * channels,
            spacing=(row.target_step * line, column.target_step * channels),
        )


def _scaled(op: ResizeBilinear, weights: NDArray[np.int64], total: int) -> tuple[NDArray[np.int64], int, int]:
    """The weights as large as 8 bits hold them, their sum, and the rounding of the quotient."""
    unit = math.gcd(total, *weights.ravel().tolist())
    weights, total = weights // unit, total // unit
    # An even factor keeps the requantization's first rounding exact.
    factor = LARGEST_WEIGHT // int(weights.max())
    factor = 1 << factor.bit_length() - 1 if factor else 0
    rounding = Rounding.SINGLE if op.real else Rounding.DOUBLE
    if factor < 2 or not _is_exact(total, factor, rounding):
        raise CompileError(f"{op}: its pixels lie at {TOO_FINE}")
    return weights * factor, total * factor, rounding


def _in_fractions(op: ResizeBilinear, places: golden.Between) -> golden.Between:
    """Real places in fixed-point numbers, if these hold them: then float32 holds the weighted sums, too."""
    distance: NDArray[np.float64] = places.distance.astype(np.float64) * golden.FRACTION
    if (distance != np.rint(distance)).any():
        raise CompileError(f"{op}: its pixels lie at {TOO_FINE}")
    return places._replace(distance=np.rint(distance).astype(np.int64))


def _is_exact(total: int, factor: int, rounding: int) -> bool:
    """Whether the device divides every weighted sum of int8 values as the definition does; the weights, of which each
    is multiplied by ``factor``, add up to ``total``."""
    if total & (total - 1):
        return False
    sums = np.arange(-128 * total, 127 * total + 1)
    away = np.sign(sums) * ((np.abs(sums) + total // 2) // total)
    wanted = away if rounding == Rounding.DOUBLE else (sums + total // 2) // total
    shift = 1 - int(math.log2(total * factor))
    return np.array_equal(golden.requantize(sums * factor, 1 << 30, shift, rounding=rounding), wanted)
