"""Depthwise layers as windows that slide over the columns: every channel its own filter, all rows of the tile at work.

The beats walk over the input, ``across`` lines or columns at a time, back and forth within them, then one step on: so
the window's other values are those of the last beats, and the rows of the tile hold the weights of a beat each. See
:class:`~sateen.hw.spec.descriptor.Sliding`.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from sateen.compiler.lowering import Kernel, parameter_words
from sateen.hw.spec.config import Config
from sateen.hw.spec.descriptor import ActivationStream, Descriptor, Dim, OutputStream, Sliding, WeightStream

__all__ = ["Walk", "descriptors", "fits", "walks", "words"]


@dataclass(frozen=True)
class Walk:
    """A way over the input. Axes 0 and 1 are rows and columns; ``outer`` is the one of the long steps, the other is
    walked within them."""

    outer: int
    results: int
    """Along the inner axis, in each block."""
    part: int
    """Steps of the kernel along the outer axis that the tile holds at a time."""
    wraps: bool = False
    """The padding behind a line is that before the next one, too; a line of padding comes before the first."""

    def across(self, kernel: Kernel) -> int:
        """Positions of the input along the inner axis, in each block."""
        size, stride = _sizes(kernel)[1 - self.outer], _strides(kernel)[1 - self.outer]
        return (self.results - 1) * stride + size - (_before(kernel, 1 - self.outer) if self.wraps else 0)

    def parts(self, kernel: Kernel) -> int:
        """Parts of the kernel."""
        return -(-_sizes(kernel)[self.outer] // self.part)


def _sizes(kernel: Kernel) -> tuple[int, int]:
    assert kernel.filters is not None
    return kernel.filters.shape[1], kernel.filters.shape[2]


def _strides(kernel: Kernel) -> tuple[int, int]:
    return kernel.stride[0], kernel.stride[1] // kernel.depth


def _before(kernel: Kernel, axis: int) -> int:
    """Positions of padding before the first one of the input."""
    return -kernel.origin[0] if axis == 0 else -kernel.origin[1] // kernel.depth


def _wraps(kernel: Kernel, axis: int) -> bool:
    """Whether there is as much padding behind the input's positions as before."""
    before, inputs = _before(kernel, axis), (kernel.height, kernel.width // kernel.depth)[axis]
    behind = (kernel.out[axis] - 1) * _strides(kernel)[axis] + _sizes(kernel)[axis] - before - inputs
    return 0 < before <= min(behind, _sizes(kernel)[axis] - 1)


def fits(kernel: Kernel, config: Config) -> bool:
    """Whether the kernel's channels are filters of their own, and the device has sliding windows for all columns."""
    return kernel.filters is not None and config.sliding and config.cols <= config.beat_bytes


def walks(kernel: Kernel, config: Config) -> Iterator[Walk]:
    """The ways whose windows the rows of the tile hold."""
    for outer in (0, 1):
        for part in range(1, _sizes(kernel)[outer] + 1):
            for results in range(1, kernel.out[1 - outer] + 1):
                walk = Walk(outer, results, part)
                if not _held(walk, kernel, config):
                    break
                yield walk
            whole = Walk(outer, kernel.out[1 - outer], part, wraps=True)
            if _wraps(kernel, 1 - outer) and _apart(whole, kernel) and _held(whole, kernel, config):
                yield whole


def _apart(walk: Walk, kernel: Kernel) -> bool:
    """Whether a kernel row's weights end before the next row's begin: a line has as many beats as the kernel is wide."""
    return walk.part == 1 or walk.across(kernel) >= _sizes(kernel)[1 - walk.outer]


def _held(walk: Walk, kernel: Kernel, config: Config) -> bool:
    within = _sizes(kernel)[1 - walk.outer]
    return (walk.part - 1) * walk.across(kernel) + within <= config.rows and walk.results <= config.positions


def words(kernel: Kernel, config: Config, walk: Walk) -> NDArray[np.int8]:
    """The weight store's words: [groups of channels, words of a group, cols]."""
    assert kernel.filters is not None
    filters = kernel.filters if walk.outer == 0 else kernel.filters.transpose(0, 2, 1)
    channels, size, within = filters.shape
    groups, parts, across = -(-channels // config.cols), walk.parts(kernel), walk.across(kernel)
    rows = np.zeros((groups * config.cols, parts, config.rows), np.int8)
    taken = np.zeros((parts, config.rows), bool)
    for step in range(size):
        part, place = divmod(step, walk.part)
        # The beat that completes a window is the last of it, which row 0 has; row r has the r-th before it.
        first = (walk.part - 1 - place) * across
        places = first + np.arange(within)[::-1]
        if taken[part, places].any():
            raise ValueError(f"{walk} puts two weights in one row of the tile; this is a mistake of the compiler")
        taken[part, places] = True
        rows[:channels, part, places] = filters[:, step]
    weights = rows.reshape(groups, config.cols, -1).transpose(0, 2, 1)
    return np.concatenate([weights, parameter_words(kernel, config)], axis=1)


def descriptors(
    kernel: Kernel, config: Config, walk: Walk, *, source: int, target: int, groups: tuple[int, int]
) -> Iterator[Descriptor]:
    """Descriptors for ``groups`` = (first, count) of channels; the last block along the inner axis may compute results
    once more."""
    inner, total = 1 - walk.outer, kernel.out[walk.outer]
    most = max(1, config.positions // walk.results)
    for begin in range(0, total, most):
        long = (begin, min(most, total - begin))
        full, rest = divmod(kernel.out[inner], walk.results)
        yield _descriptor(kernel, config, walk, source, target, groups, long, (0, full))
        if rest:
            yield _descriptor(kernel, config, walk, source, target, groups, long, (kernel.out[inner] - walk.results, 1))


def _descriptor(
    kernel: Kernel, config: Config, walk: Walk, source: int, target: int, groups: tuple[int, int],
    long: tuple[int, int], blocks: tuple[int, int],
) -> Descriptor:  # fmt: skip
    """One descriptor: ``long`` = (first result along the outer axis, count), ``blocks`` = (first along the inner one,
    blocks)."""
    outer, inner = walk.outer, 1 - walk.outer
    strides, sizes, across = _strides(kernel), _sizes(kernel), walk.across(kernel)
    settings = config.pe_kind.settings(kernel.precision)

    def at(axis: int, count: int, byte: int = 0) -> tuple[int, int, int]:
        """``count`` lines or pixels on, and ``byte`` bytes."""
        row, x = (count, byte) if axis == 0 else (0, count * kernel.depth + byte)
        return row, x, row * kernel.width + x

    (first, count), (corner, repeats) = long, blocks
    offset = [0, 0]
    offset[outer], offset[inner] = first * strides[outer], corner * strides[inner]
    before = _before(kernel, inner) if walk.wraps else 0
    offset[outer] -= walk.wraps
    offset[inner] += before
    row, x = kernel.origin[0] + offset[0], kernel.origin[1] + offset[1] * kernel.depth + groups[0] * config.cols
    activations = ActivationStream(
        address=source + row * kernel.width + x,
        row=row,
        x=x,
        height=kernel.height,
        width=kernel.width,
        padding=kernel.padding,
        settings=settings.beats,
        sliding=Sliding(
            first_y=walk.part - 1 + walk.wraps,
            first_x=sizes[inner] - 1 - before,
            step_y=strides[outer],
            step_x=strides[inner],
        ),
        dims=(
            Dim(repeats, at(inner, walk.results * strides[inner])),
            Dim(groups[1], at(1, 0, config.cols)),
            Dim(1, at(0, 0)),
            Dim(walk.parts(kernel), at(outer, walk.part)),
            Dim(1, at(0, 0)),
            Dim((count - 1) * strides[outer] + walk.part + walk.wraps, at(outer, 1)),
            Dim(across, at(inner, 1)),
            Dim(1, at(0, 0)),
            Dim(1, at(0, 0)),
        ),
    )
    steps, channel = kernel.steps, groups[0] * config.cols
    output = OutputStream(
        address=target + kernel.target + first * steps[outer] + corner * steps[inner] + channel,
        channels=min(kernel.channels - channel, groups[1] * config.cols), taps=1, zero_point=kernel.zero_point,
        low=kernel.low, high=kernel.high, rounding=kernel.rounding,
        dims=(
            Dim(repeats, (walk.results * steps[inner],)), Dim(groups[1], (config.cols,)),
            Dim(count, (steps[outer],)), Dim(walk.results, (steps[inner],)),
        ),
    )  # fmt: skip
    weights = WeightStream(
        base=0, blocks=repeats, groups=groups[1], words=walk.parts(kernel) * config.rows, settings=settings.weights
    )
    return Descriptor(weights=weights, activations=activations, output=output)
