"""Depthwise layers as windows that slide over the columns. Every channel has its own filter, and all rows of the tile
work.

The beats walk over the input: ``span`` positions along the inner axis, then one step along the outer axis, and so on.
The last beats are the window's values, and each row of the tile holds the weights for one of these beats. See
:class:`~sateen.hw.spec.descriptor.Sliding`.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from sateen.compiler.lowering import Kernel, parameter_words
from sateen.compiler.shared_bytes import packed
from sateen.hw.spec.config import Config
from sateen.hw.spec.descriptor import ActivationStream, Descriptor, OutputStream, Sliding, WeightStream
from sateen.hw.spec.nests import Dim
from sateen.hw.spec.pe import SKIP_BIT, skip_rows

__all__ = ["Walk", "descriptors", "interleaved", "supports", "walks", "words"]

LEAD_BEATS = 150
"""Of the walks before others that follow: so many hide the latency of a descriptor."""


@dataclass(frozen=True)
class Walk:
    """An order of the beats over the input. Axes are 0, rows, and 1, columns."""

    outer: int
    """The axis of the outer loop; the other one is the inner."""
    results: int
    """Results along the inner axis, in each block."""
    kernel_steps: int
    """Positions of the kernel along the outer axis that the tile holds at a time."""
    wraps: bool = False
    """Whether the padding behind a line serves as the padding before the next one. A line of padding comes before the
    first."""
    skips: bool = False
    """Whether beats are left out between the lines of the window, which is longer than the tile has rows."""
    apart: int = 0
    """If not 0, the padding behind the walk over a group of channels, or a block, serves as that before the next one.
    Only this many groups, the first of the first block, begin with their own."""
    follows: bool = False
    """Whether the walks follow such others."""

    def line_rows(self, kernel: Kernel, config: Config) -> int:
        """Rows of the tile from one line of the window to the next."""
        return skip_rows(config.sliding_rows)[0] if self.skips else self.span(kernel)

    def skipped(self, kernel: Kernel, config: Config) -> int:
        """Beats that are left out between two lines of the window."""
        return self.span(kernel) - self.line_rows(kernel, config)

    def span(self, kernel: Kernel) -> int:
        """Positions of the input along the inner axis, in each block."""
        size, stride = _sizes(kernel)[1 - self.outer], _strides(kernel)[1 - self.outer]
        return (self.results - 1) * stride + size - (_padding_before(kernel, 1 - self.outer) if self.wraps else 0)

    def parts(self, kernel: Kernel) -> int:
        """Parts into which the kernel is cut along the outer axis."""
        return -(-_sizes(kernel)[self.outer] // self.kernel_steps)


def _sizes(kernel: Kernel) -> tuple[int, int]:
    assert kernel.filters is not None
    return kernel.filters.shape[2], kernel.filters.shape[3]


def _strides(kernel: Kernel) -> tuple[int, int]:
    return kernel.stride[0], kernel.stride[1] // kernel.depth


def _padding_before(kernel: Kernel, axis: int) -> int:
    """Positions of padding before the input's first."""
    return -kernel.origin[0] if axis == 0 else -kernel.origin[1] // kernel.depth


def _wraps(kernel: Kernel, axis: int) -> bool:
    """Whether the padding before the input's positions is also there behind them, for all parts of the filters."""
    if kernel.filter_step:
        return False
    before, inputs = _padding_before(kernel, axis), (kernel.height, kernel.width // kernel.depth)[axis]
    behind = (kernel.out[axis] - 1) * _strides(kernel)[axis] + _sizes(kernel)[axis] - before - inputs
    return 0 < before <= min(behind, _sizes(kernel)[axis] - 1)


def supports(kernel: Kernel, config: Config) -> bool:
    """Whether each of the kernel's channels has its own filter, and the device has sliding windows for all columns and
    such strides."""
    fits = kernel.filters is not None and config.sliding and config.cols <= config.beat_bytes
    return fits and max(_strides(kernel)) <= Sliding.LARGEST_STEP


def interleaved(kernel: Kernel, config: Config) -> Iterator[Kernel]:
    """The kernel on every second pixel, say, of a line at a time.

    Several pixels are taken for a wide one. A column sees the same of each; the others come to it when the beats begin
    a pixel later. So the filter is cut into a part for each such shift, whose sums are added. With a stride no beat is
    in vain then, as those for other pixels are. Without, each pixel of the wide one has its own columns, for layers
    whose channels leave columns without work.
    """
    assert kernel.filters is not None
    if len(kernel.filters) > 1 or kernel.spacing is not None:
        return
    stride, before = _strides(kernel)[1], _padding_before(kernel, 1)
    for pixels in range(2, config.cols // kernel.channels + 1) if stride == 1 else (1,):
        if kernel.out[1] % pixels:
            continue
        # The pixel of a window at `place` is in part `place % wide`, in the wide pixel `place // wide`.
        places, wide = np.arange(_sizes(kernel)[1]) - before, stride * pixels
        first, last = int(places[0]) // wide, int(places[-1]) // wide
        filters = np.zeros((wide, *kernel.filters.shape[1:3], last - first + 1), kernel.filters.dtype)
        for tap, place in enumerate(places):
            filters[place % wide, :, :, place // wide - first] = kernel.filters[0, :, :, tap]
        yield dataclasses.replace(
            kernel,
            out=(kernel.out[0], kernel.out[1] // pixels),
            channels=pixels * kernel.channels,
            origin=(kernel.origin[0], kernel.origin[1] + (wide * first + before) * kernel.depth),
            stride=(kernel.stride[0], wide * kernel.depth),
            parameters=np.tile(kernel.parameters, (pixels, 1)),
            filters=np.tile(filters, (1, pixels, 1, 1)),
            filter_step=kernel.depth,
            depth=wide * kernel.depth,
        )


def walks(kernel: Kernel, config: Config) -> Iterator[Walk]:
    """All walks whose windows fit the rows of the tile; and those that leave out beats, if the device can, with the
    fewest blocks, and with blocks that leave no rest.

    Where layers overlap, another descriptor takes few cycles. Then walks whose padding may be that of the next one come
    in that form, too.
    """
    for walk in _apart(kernel, config):
        yield walk
        if config.overlap and _may_follow(walk, kernel, config):
            groups, beats = -(-kernel.channels // config.cols), _lines(walk, kernel) * walk.span(kernel)
            for apart in sorted({1, min(groups, -(-LEAD_BEATS // beats))}):
                yield dataclasses.replace(walk, apart=apart)


def _may_follow(walk: Walk, kernel: Kernel, config: Config) -> bool:
    """Whether there are several walks, and each ends with all the padding that comes before the next one."""
    assert kernel.filters is not None
    outer, inner = walk.outer, 1 - walk.outer
    count = -(-kernel.channels // config.cols) * -(-kernel.out[inner] // walk.results)
    whole = walk.parts(kernel) == len(kernel.filters) == 1 and kernel.out[outer] * walk.results <= config.positions
    return count > 1 and whole and _wraps(kernel, outer)


def _lines(walk: Walk, kernel: Kernel) -> int:
    """Lines of one walk over all results."""
    return (kernel.out[walk.outer] - 1) * _strides(kernel)[walk.outer] + walk.kernel_steps


def _apart(kernel: Kernel, config: Config) -> Iterator[Walk]:
    """The walks, each with its own padding."""
    yield from _within_rows(kernel, config)
    for outer in (0, 1) if config.window_skip else ():
        total = kernel.out[1 - outer]
        for kernel_steps in range(2, min(3, _sizes(kernel)[outer]) + 1):
            longest = 0
            for results in range(total, 0, -1):
                walk = Walk(outer, results, kernel_steps, skips=True)
                if _skips_fit(walk, kernel, config):
                    longest = longest or results
                    if results == longest or total % results == 0:
                        yield walk
            whole = Walk(outer, total, kernel_steps, wraps=True, skips=True)
            if _wraps(kernel, 1 - outer) and _skips_fit(whole, kernel, config):
                yield whole


def _skips_fit(walk: Walk, kernel: Kernel, config: Config) -> bool:
    """Whether a walk that leaves out beats fits the tile, and would not without that."""
    if _fits_tile(dataclasses.replace(walk, skips=False), kernel, config):
        return False
    within, line = _sizes(kernel)[1 - walk.outer], walk.line_rows(kernel, config)
    skipped = 0 < walk.skipped(kernel, config) <= config.window_skip
    return skipped and within <= line and walk.results <= config.positions


def _within_rows(kernel: Kernel, config: Config) -> Iterator[Walk]:
    """Walks that leave out no beats."""
    for outer in (0, 1):
        for kernel_steps in range(1, _sizes(kernel)[outer] + 1):
            for results in range(1, kernel.out[1 - outer] + 1):
                walk = Walk(outer, results, kernel_steps)
                if not _fits_tile(walk, kernel, config):
                    break
                yield walk
            whole = Walk(outer, kernel.out[1 - outer], kernel_steps, wraps=True)
            if _wraps(kernel, 1 - outer) and _disjoint(whole, kernel) and _fits_tile(whole, kernel, config):
                yield whole


def _disjoint(walk: Walk, kernel: Kernel) -> bool:
    """Whether the weights of two kernel rows take different rows of the tile: a line has enough beats for the kernel's
    width."""
    return walk.kernel_steps == 1 or walk.span(kernel) >= _sizes(kernel)[1 - walk.outer]


def _fits_tile(walk: Walk, kernel: Kernel, config: Config) -> bool:
    within = _sizes(kernel)[1 - walk.outer]
    window = (walk.kernel_steps - 1) * walk.span(kernel) + within
    return window <= config.sliding_rows and walk.results <= config.positions


def words(kernel: Kernel, config: Config, walk: Walk) -> NDArray[np.int8]:
    """The weight store's words: [groups of channels, words of a group, cols]."""
    assert kernel.filters is not None
    filters = kernel.filters if walk.outer == 0 else kernel.filters.transpose(0, 1, 3, 2)
    summands, channels, size, within = filters.shape
    groups, parts, line = -(-channels // config.cols), walk.parts(kernel), walk.line_rows(kernel, config)
    zero_point = kernel.weights_zero_point
    rows = np.full((groups * config.cols, summands, parts, config.rows), zero_point, np.int8)
    occupied = np.zeros((parts, config.rows), bool)
    for step in range(size):
        part, place = divmod(step, walk.kernel_steps)
        # Of the rows that slide, the first has the beat that completes a window; r rows below is the r-th beat before,
        # or with beats left out another.
        first = config.rows - config.sliding_rows + (walk.kernel_steps - 1 - place) * line
        places = first + np.arange(within)[::-1]
        if occupied[part, places].any():
            raise ValueError(f"{walk} puts two weights in one row of the tile; this is a mistake of the compiler")
        occupied[part, places] = True
        rows[:channels, :, part, places] = filters[:, :, step].swapaxes(0, 1) + zero_point
    weights = rows.reshape(groups, config.cols, -1).transpose(0, 2, 1)
    return np.concatenate([packed(weights, config.weights_per_byte), parameter_words(kernel, config)], axis=1)


def descriptors(
    kernel: Kernel, config: Config, walk: Walk, *, source: int, target: int, groups: tuple[int, int]
) -> Iterator[Descriptor]:
    """Descriptors for ``groups`` = (first, count) of channels. The last block along the inner axis is shorter where the
    same weights serve it; else it may compute some results again."""
    inner, total = 1 - walk.outer, kernel.out[walk.outer]
    limit = max(1, config.positions // walk.results)
    full, rest = divmod(kernel.out[inner], walk.results)
    shorter = dataclasses.replace(walk, results=rest)
    if rest and walk.skips and not walk.apart and shorter.skipped(kernel, config) >= 0:
        behind = (shorter, (kernel.out[inner] - rest, 1))
    else:
        behind = (walk, (kernel.out[inner] - walk.results, int(rest > 0)))
    for begin in range(0, total, limit):
        lines = (begin, min(limit, total - begin))
        if not walk.apart:
            for each, blocks in ((walk, (0, full)), behind):
                if blocks[1]:
                    yield _descriptor(kernel, config, each, source, target, groups, lines, blocks)
            continue
        # The first groups of the first block begin with padding; then come its other groups, and other blocks.
        (first, count), following = groups, dataclasses.replace(walk, follows=True)
        apart = min(walk.apart, count)
        yield _descriptor(kernel, config, walk, source, target, (first, apart), lines, (0, 1))
        if count > apart:
            some = (first + apart, count - apart)
            others = _descriptor(kernel, config, following, source, target, some, lines, (0, 1))
            base = apart * (others.weights.words + config.parameter_words)
            yield dataclasses.replace(others, weights=dataclasses.replace(others.weights, base=base))
        for blocks in ((walk.results, full - 1), behind[1]):
            if blocks[1]:
                yield _descriptor(kernel, config, following, source, target, groups, lines, blocks)


def _descriptor(
    kernel: Kernel, config: Config, walk: Walk, source: int, target: int, groups: tuple[int, int],
    lines: tuple[int, int], blocks: tuple[int, int],
) -> Descriptor:  # fmt: skip
    """One descriptor: ``lines`` = (first result along the outer axis, count), ``blocks`` = (first result along the
    inner axis, number of blocks). The walk begins with its padding, unless it follows another one."""
    outer, inner = walk.outer, 1 - walk.outer
    (first, count), (corner, repeats) = lines, blocks
    steps, channel = kernel.result_steps, groups[0] * config.cols
    settings = config.pe_kind.settings(kernel.precision)
    output = OutputStream(
        address=target + kernel.target + first * steps[outer] + corner * steps[inner] + channel,
        channels=min(kernel.channels - channel, groups[1] * config.cols), taps=1, zero_point=kernel.zero_point,
        low=kernel.low, high=kernel.high, rounding=kernel.rounding,
        dims=(
            Dim(repeats, (walk.results * steps[inner],)), Dim(groups[1], (config.cols,)),
            Dim(count, (steps[outer],)), Dim(walk.results, (steps[inner],)),
        ),
    )  # fmt: skip
    assert kernel.filters is not None
    weights = WeightStream(
        base=0, blocks=repeats, groups=groups[1], words=len(kernel.filters) * walk.parts(kernel) * config.tile_words,
        settings=settings.weights, zero_point=kernel.weights_zero_point,
    )  # fmt: skip
    activations = _activations(kernel, config, walk, source, groups, lines, blocks)
    return Descriptor(weights=weights, activations=activations, output=output)


def _activations(
    kernel: Kernel, config: Config, walk: Walk, source: int, groups: tuple[int, int], lines: tuple[int, int],
    blocks: tuple[int, int],
) -> ActivationStream:  # fmt: skip
    """The activations that :func:`_descriptor` reads."""
    assert kernel.filters is not None
    outer, inner = walk.outer, 1 - walk.outer
    strides, sizes = _strides(kernel), _sizes(kernel)

    def at(axis: int, count: int, byte: int = 0) -> tuple[int, int, int]:
        """A stride of ``count`` lines or pixels, and ``byte`` bytes."""
        row, x = (count, byte) if axis == 0 else (0, count * kernel.depth + byte)
        return row, x, row * kernel.width + x

    (first, count), (corner, repeats) = lines, blocks
    offset = [0, 0]
    offset[outer], offset[inner] = first * strides[outer], corner * strides[inner]
    before = _padding_before(kernel, inner) if walk.wraps else 0
    # Lines before that of the first result's window, or behind the padding that the walk before ends with.
    more = -_padding_before(kernel, outer) if walk.follows else int(walk.wraps)
    offset[outer] -= more
    offset[inner] += before
    row, x = kernel.origin[0] + offset[0], kernel.origin[1] + offset[1] * kernel.depth + groups[0] * config.cols
    return ActivationStream(
        address=source + row * kernel.width + x,
        row=row,
        x=x,
        height=kernel.height,
        width=kernel.width,
        padding=kernel.padding,
        settings=config.pe_kind.settings(kernel.precision).beats | walk.skipped(kernel, config) << SKIP_BIT,
        sliding=Sliding(
            first_y=walk.kernel_steps - 1 + more,
            first_x=sizes[inner] - 1 - before,
            step_y=strides[outer],
            step_x=strides[inner],
        ),
        dims=(
            Dim(repeats, at(inner, walk.results * strides[inner])),
            Dim(groups[1], at(1, 0, config.cols)),
            Dim(len(kernel.filters), at(1, 0, kernel.filter_step)),
            Dim(walk.parts(kernel), at(outer, walk.kernel_steps)),
            Dim(1, at(0, 0)),
            Dim((count - 1) * strides[outer] + walk.kernel_steps + more, at(outer, 1)),
            Dim(walk.span(kernel), at(inner, 1)),
            Dim(1, at(0, 0)),
            Dim(1, at(0, 0)),
        ),
    )
