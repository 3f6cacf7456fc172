"""A descriptor's streams, from the definition of its nests: the golden model of the address generators."""

from __future__ import annotations

import itertools
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from sateen.hw.spec.descriptor import ActivationStream, OutputStream, WeightStream
from sateen.hw.spec.nests import CHANNELS_DIM, CHUNK_DIM, X_DIM, Y_DIM, Dim
from sateen.hw.spec.residual import sum_words

__all__ = ["Beat", "Item", "beats", "items", "walk", "words"]


def walk(dims: Sequence[Dim], origin: Sequence[int]) -> Iterator[tuple[tuple[int, ...], tuple[int, ...]]]:
    """The counters' values and the coordinates of every item of a nest, in order."""
    for values in itertools.product(*(range(dim.count) for dim in dims)):
        yield (
            values,
            tuple(
                start + sum(value * dim.strides[axis] for value, dim in zip(values, dims, strict=True))
                for axis, start in enumerate(origin)
            ),
        )


@dataclass(frozen=True)
class Beat:
    """One beat of the tile."""

    data: list[int]
    swap: bool
    address: int
    """Position in the half of the accumulators."""
    first: bool
    """The sum begins with this beat."""
    last: bool
    """The half is complete with this beat."""
    final: bool
    """The descriptor is complete with this beat."""
    slide: bool
    """The bytes go to the columns."""
    keep: bool
    """The sum counts."""


def beats(stream: ActivationStream, scratchpad: NDArray[np.int8], lanes: int, *, positions: int) -> list[Beat]:
    """All beats of a descriptor. Addresses wrap at the scratchpad's size; a half of the accumulators has
    ``positions``."""
    result = []
    points = list(walk(stream.dims, (stream.row, stream.x, stream.address)))
    counts = [dim.count for dim in stream.dims]
    tile = int(np.prod(counts[CHUNK_DIM + 1 :]))
    half = tile * int(np.prod(counts[CHANNELS_DIM + 1 : CHUNK_DIM + 1]))
    position = 0
    for index, (values, (row, x, address)) in enumerate(points):
        position = _begin(stream, index // half, positions) if index % tile == 0 else position
        keep = stream.sliding is None or stream.sliding.keeps(values[Y_DIM], values[X_DIM])
        lane = np.arange(lanes)
        inside = (0 <= row < stream.height) & (x + lane >= 0) & (x + lane < stream.width)
        data = np.where(inside, scratchpad[(address + lane) % len(scratchpad)], stream.padding)
        result.append(
            Beat(
                data=[int(value) for value in data],
                swap=index % tile == 0,
                address=position,
                first=not any(values[CHANNELS_DIM + 1 : CHUNK_DIM + 1]),
                last=index % half == half - 1,
                final=index == len(points) - 1,
                slide=stream.sliding is not None,
                keep=keep,
            )
        )
        position += keep
    return result


def _begin(stream: ActivationStream | OutputStream, part: int, positions: int) -> int:
    """The first position of a part of the accumulators; parts are counted in the order of their use."""
    return positions // 2 if stream.quarters and part % 4 >= 2 else 0


def words(stream: WeightStream, weight_rows: int = 1) -> list[tuple[int, bool]]:
    """All words of a descriptor: address, and whether it holds parameters. ``weight_rows`` of them are read at once.
    Those of a :class:`~sateen.hw.spec.residual.Sum` come first."""
    entries: list[tuple[int, bool]] = []
    base = stream.base + (sum_words(weight_rows) if stream.residual else 0)
    address = base
    for group in range(stream.groups):
        count, stored = stream.parameters(group, weight_rows), stream.stored(group, weight_rows)
        # Biases that are not there are those of the first group.
        biases = address if stored else base
        entries += [(address + index, False) for index in range(stream.words)]
        entries += [(biases + stream.words + index, True) for index in range(count)]
        address += stream.words + stored
    return [(place, False) for place in range(stream.base, base)] + entries * stream.blocks


@dataclass(frozen=True)
class Item:
    """One cycle of the post-processing lanes."""

    half: int
    """Number of the half, or quarter, of the accumulators, in the order of draining."""
    position: int
    channel: int
    """Column of the first lane."""
    first: bool
    last: bool
    address: int
    mask: int
    """A bit for each lane that holds a channel."""
    final: bool


def items(stream: OutputStream, *, cols: int, lanes: int, positions: int) -> list[Item]:
    """All items of a descriptor. A half of the accumulators has ``positions``."""
    result: list[Item] = []
    half, position, before = -1, 0, None
    for values, (address,) in walk(stream.dims, (stream.address,)):
        if values[: CHANNELS_DIM + 1] != before:
            before, half = values[: CHANNELS_DIM + 1], half + 1
            position = _begin(stream, half, positions)
        channels = min(cols, stream.channels - values[CHANNELS_DIM] * cols)
        for channel in range(0, channels, lanes):
            mask = (1 << min(lanes, channels - channel)) - 1
            for tap in range(stream.taps):
                result.append(
                    Item(
                        half=half,
                        position=position + tap,
                        channel=channel,
                        first=tap == 0,
                        last=tap == stream.taps - 1,
                        address=address + channel,
                        mask=mask,
                        final=False,
                    )
                )
        position += stream.taps
    taps = stream.taps
    return [
        *result[:-taps],
        *(Item(**{**item.__dict__, "final": True}) for item in result[-taps:]),
    ]
