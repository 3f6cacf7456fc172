"""Transpositions: copies whose results stand at other distances than what they read."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Iterator

import numpy as np

from sateen.compiler.lowering.arrange import MOST_COPIES
from sateen.compiler.lowering.kernel import Kernel, diagonal
from sateen.errors import CompileError
from sateen.graph.ops import Tensor, Transpose
from sateen.hw.spec.config import Config

__all__ = ["transpose"]


@dataclasses.dataclass(frozen=True)
class _Axis:
    """An axis, and by how many bytes its neighbours are apart in the input and in the output."""

    size: int
    source: int
    target: int


def transpose(op: Transpose, x: Tensor, y: Tensor, config: Config) -> Iterator[Kernel]:
    """Copies of runs of bytes that stay together, along two axes; one for each place of the others. If the last axis
    moves, a run is a byte."""
    axes, run = _axes(op, x)
    # The largest two are those of the kernels, with rows farther apart than columns.
    ordered = sorted(axes, key=lambda axis: -axis.size)
    (rows, columns), outer = sorted(ordered[:2], key=lambda axis: -axis.source), ordered[2:]
    count = math.prod(axis.size for axis in outer)
    if count > MOST_COPIES:
        raise CompileError(f"{op}: it takes {count} copies, more than the {MOST_COPIES} that are worth it")
    for place in np.ndindex(*(axis.size for axis in outer)):
        source = sum(at * axis.source for at, axis in zip(place, outer, strict=True))
        target = sum(at * axis.target for at, axis in zip(place, outer, strict=True))
        # A line is as long as the distance of the rows.
        line, byte = divmod(source, rows.source)
        copy = diagonal(
            np.ones((run, 1, 1), np.int8),
            (math.prod(x.shape[1:]) // rows.source, rows.source // run, run),
            (rows.size, columns.size),
            config,
            stride=(1, columns.source // run),
            origin=(line, byte // run, 0),
        )
        yield dataclasses.replace(copy, target=target, spacing=(rows.target, columns.target))


def _axes(op: Transpose, x: Tensor) -> tuple[list[_Axis], int]:
    """The axes that change places, neighbours that stay together as one; and the bytes of a run, which stay together at
    the end."""
    sizes, order = x.shape[1:], [axis - 1 for axis in op.axes[1:] if x.shape[axis] > 1]
    joined: list[list[int]] = []
    for axis in order:
        between = range(joined[-1][-1] + 1, axis) if joined else range(0)
        if joined and axis > joined[-1][-1] and all(sizes[other] == 1 for other in between):
            joined[-1].append(axis)
        else:
            joined.append([axis])
    source = [math.prod(sizes[axis + 1 :]) for axis in range(len(sizes))]
    axes, target = [], 1
    for group in reversed(joined):
        size = math.prod(sizes[axis] for axis in group)
        axes.append(_Axis(size, source[group[-1]], target))
        target *= size
    if len(axes) < 2:
        raise CompileError(f"{op}: it moves no value; put a Reshape in its place")
    # The last one of both stays together.
    if axes[0].source == 1:
        return axes[1:], axes[0].size
    return axes, 1
