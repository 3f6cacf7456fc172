"""Kernels for operators that put values in other places: copies of all values whose places follow a rule."""

from __future__ import annotations

import dataclasses
import itertools
import math
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass

import numpy as np

from sateen.compiler.lowering.kernel import ONCE, Kernel, diagonal, parameters
from sateen.errors import CompileError
from sateen.graph.ops import DepthToSpace, Op, Resize, Slice, SpaceToDepth, Take, Tensor, Unfold
from sateen.hw.spec.config import Config
from sateen.hw.spec.descriptor import Rounding
from sateen.sim import golden

__all__ = ["depth_to_space", "resize", "slice_", "space_to_depth", "take", "unfold"]

MOST_COPIES = 64
"""Copies of one operator. The host needs less time than more of them."""
MOST_PHASES = 64
"""Interleaved runs along an axis that are tried."""
LARGEST_SELECTION = 1 << 16
"""Weights of the largest matrix that selects channels."""

LONGEST = 1 << 17
"""Places along an axis that are looked through for runs."""
Axis = tuple[int, tuple[int, ...] | None]
"""The input's size along an axis, and the positions to take; ``None``: all, in order."""


@dataclass(frozen=True)
class Run:
    """Places of an axis that one copy fills."""

    target: int
    """The first position in the output."""
    target_step: int
    count: int
    source: int
    """The first position in the input."""
    source_step: int


def runs(places: Sequence[int]) -> list[Run]:
    """As few runs as are found that make up ``places``: runs follow each other, or are interleaved."""
    best = _consecutive(places, len(places))
    for step in range(2, min(MOST_PHASES, len(places)) + 1):
        found: list[Run] = []
        for first in range(step):
            found += (
                Run(first + run.target * step, step, run.count, run.source, run.source_step)
                for run in _consecutive(places[first::step], len(best) - len(found))
            )
            if len(found) >= len(best):
                break
        else:
            best = found
    return best


def _consecutive(places: Sequence[int], most: int) -> list[Run]:
    """Runs that follow each other; no further ones once there are ``most``."""
    found: list[Run] = []
    begin, end = 0, 0
    while begin < len(places) and len(found) < most:
        source = places[begin]
        step, end = 1, begin + 1
        if end < len(places):
            step = places[end] - source
            while end < len(places) and places[end] == source + (end - begin) * step:
                end += 1
        found.append(Run(begin, 1, end - begin, source, step))
        begin = end
    return found


def take(op: Take, x: Tensor, y: Tensor, config: Config) -> Iterator[Kernel]:
    """A copy for each combination of runs of positions along rows, columns and channels; or, where single channels
    change places, a product with a matrix of ones."""
    _check_listed(op, *(len(places) for places in op.places if places is not None))
    return _taken(op, zip(x.shape[1:], op.places, strict=True), config)


def slice_(op: Slice, x: Tensor, y: Tensor, config: Config) -> Iterator[Kernel]:
    """A copy, whose first window begins within the tensor; or several, as of a :class:`Take`."""
    parts = [(size, range(*part)) for size, part in zip(x.shape[1:], op.ranges, strict=True)]
    _check_listed(op, *(len(part) for size, part in parts if part != range(size)))
    return _taken(op, [(size, None if part == range(size) else tuple(part)) for size, part in parts], config)


def resize(op: Resize, x: Tensor, y: Tensor, config: Config) -> Iterator[Kernel]:
    """Copies of the rows and columns that nearest neighbours take, as of a :class:`Take`."""
    _check_listed(op, *y.shape[1:3])
    flags = {"align_corners": op.align_corners, "half_pixel_centers": op.half_pixel_centers}
    rows, columns = (
        tuple(golden.nearest(size, wanted, **flags).tolist())
        for size, wanted in zip(x.shape[1:3], y.shape[1:3], strict=True)
    )
    return _taken(op, zip(x.shape[1:], (rows, columns, None), strict=True), config)


def _check_listed(op: Op, *counts: int) -> None:
    """Refuses so many places along an axis that it takes long to find their runs."""
    if max(counts, default=0) > LONGEST:
        raise CompileError(
            f"{op}: it places {max(counts):,} values along an axis, more than the {LONGEST:,} that are listed"
        )


def _taken(op: Op, axes: Iterable[Axis], config: Config) -> Iterator[Kernel]:
    *outer, (depth, channels) = _merged(axes)
    # The last axis is that of pixels if they stay whole. If not, its values are pixels of one channel, as long as they
    # make few copies, or channels that a matrix selects.
    whole = channels is None or channels == tuple(range(channels[0], channels[0] + len(channels)))
    if not whole and len(outer) < 2 and _count([*outer, (depth, channels)]) <= MOST_COPIES:
        outer, (depth, channels), whole = [*outer, (depth, channels)], (1, None), True
    if len(outer) > 2:
        raise CompileError(f"{op}: it moves values along more axes than a kernel has, which are three")
    if _count(outer) > MOST_COPIES:
        raise CompileError(f"{op}: it takes {_count(outer)} copies, more than the {MOST_COPIES} that are worth it")
    if not whole and depth * len(channels or ()) > LARGEST_SELECTION:
        raise CompileError(f"{op}: it selects {len(channels or ())} of {depth} channels, too many for a matrix")
    return _copies(outer + [(1, None)] * (2 - len(outer)), depth, channels, whole, config)


def _merged(axes: Iterable[Axis]) -> list[Axis]:
    """At most three axes, if that is possible: neighbouring axes that stay become one."""
    # A tensor of one value an item has no axis.
    merged = [(size, None if places == tuple(range(size)) else places) for size, places in axes] or [(1, None)]
    merged = [axis for axis in merged[:-1] if axis != (1, None)] + merged[-1:]
    while len(merged) > 3:
        pair = next((i for i in range(len(merged) - 1) if merged[i][1] is None and merged[i + 1][1] is None), None)
        if pair is None:
            break
        merged[pair : pair + 2] = [(merged[pair][0] * merged[pair + 1][0], None)]
    return merged


def _runs(axis: Axis) -> list[Run]:
    size, places = axis
    return [Run(0, 1, size, 0, 1)] if places is None else runs(places)


def _count(axes: Iterable[Axis]) -> int:
    """Copies that move values along axes of pixels."""
    return math.prod(len(_runs(axis)) for axis in axes)


def _copies(
    outer: Sequence[Axis], depth: int, channels: tuple[int, ...] | None, whole: bool, config: Config
) -> Iterator[Kernel]:
    """Copies of pixels of ``depth`` channels, of which some are taken: consecutive ones if ``whole``."""
    taken = range(depth) if channels is None else channels
    (height, _), (width, columns) = outer
    line = (width if columns is None else len(columns)) * len(taken)
    for row, column in itertools.product(*map(_runs, outer)):
        copy = diagonal(
            np.ones((len(taken) if whole else 1, 1, 1), np.int8),
            (height, width, depth),
            (row.count, column.count),
            config,
            stride=(row.source_step, column.source_step),
            origin=(row.source, column.source, taken[0] if whole else 0),
        )
        if not whole:
            matrix = np.zeros((len(taken), 1, 1, depth), np.int8)
            matrix[np.arange(len(taken)), 0, 0, np.asarray(taken)] = 1
            copy = dataclasses.replace(
                copy,
                channels=len(taken),
                weights=matrix,
                parameters=np.repeat(copy.parameters, len(taken), axis=0),
                run_length=depth,
                group_stride=0,
                filters=None,
            )
        yield dataclasses.replace(
            copy,
            target=row.target * line + column.target * len(taken),
            spacing=(row.target_step * line, column.target_step * len(taken)),
        )


def space_to_depth(op: SpaceToDepth, x: Tensor, y: Tensor, config: Config) -> Iterator[Kernel]:
    """A copy of each line of the blocks: its pixels are neighbours in the input and in the output."""
    _, height, width, channels = y.shape
    part = channels // op.size
    for row in range(op.size):
        copy = diagonal(
            np.ones((part, 1, 1), np.int8),
            (x.shape[1], width, part),
            (height, width),
            config,
            stride=(op.size, 1),
            origin=(row, 0, 0),
        )
        yield dataclasses.replace(copy, target=row * part, spacing=(width * channels, channels))


def depth_to_space(op: DepthToSpace, x: Tensor, y: Tensor, config: Config) -> Iterator[Kernel]:
    """As :func:`space_to_depth`, back. In the other order of channels, a matrix brings those of a line together."""
    _, height, width, channels = x.shape
    part, line = channels // op.size, y.shape[2] * y.shape[3]
    order = np.arange(channels) if op.blocks_first else np.arange(channels).reshape(-1, op.size**2).T.ravel()
    for row in range(op.size):
        taken = tuple(int(channel) for channel in order[row * part : (row + 1) * part])
        outer: list[Axis] = [(height, None), (width, None)]
        (copy,) = _copies(outer, channels, taken, op.blocks_first, config)
        yield dataclasses.replace(copy, target=row * line, spacing=(op.size * line, part))


def unfold(op: Unfold, x: Tensor, y: Tensor, config: Config) -> Kernel:
    """A product with a matrix of ones, which selects the window's bytes of the run of a row that has them all."""
    _, height, columns, channels = x.shape
    _, results, _, taken = y.shape
    column, channel = np.divmod(np.arange(taken), channels)
    run_length = ((op.size - 1) * op.dilation + 1) * channels
    weights = np.zeros((taken, 1, 1, run_length), np.int8)
    weights[np.arange(taken), 0, 0, column * op.dilation * channels + channel] = 1
    return Kernel(
        height=height,
        width=columns * channels,
        out=(height, results),
        channels=taken,
        origin=(0, -op.padding[0] * channels),
        stride=(1, op.stride * channels),
        pooling=ONCE,
        reduction=ONCE,
        run_length=run_length,
        group_stride=0,
        padding=x.zero_point,
        weights=weights,
        parameters=np.repeat(parameters([0], [1 << 30], [1]), taken, axis=0),
        zero_point=0,
        low=-128,
        high=127,
        rounding=Rounding.DOUBLE,
        spacing=(taken, height * taken),
    )
