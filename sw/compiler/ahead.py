"""How far each descriptor of a program may read while results of the one before are not yet written."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from sateen.hw.spec.combining import Combine
from sateen.hw.spec.config import Config
from sateen.hw.spec.descriptor import MOST_AHEAD, ActivationStream, Descriptor, OutputStream
from sateen.hw.spec.nests import CHANNELS_DIM, CHUNK_DIM, Dim
from sateen.hw.spec.timing import REVISIT_CYCLES

__all__ = ["overlapped"]

NONE = (0, 0, 0, 0)
CHUNK = 1 << 14
"""Lines that are looked at together."""


def overlapped(descriptors: Sequence[Descriptor], config: Config) -> list[Descriptor]:
    """The descriptors, each with how many lines the next one may read ahead of its results
    (:attr:`~sateen.hw.spec.descriptor.OutputStream.ahead`)."""
    result = list(descriptors)
    for index, (before, after) in enumerate(zip(descriptors, descriptors[1:], strict=False)):
        output = dataclasses.replace(before.output, ahead=_ahead(before, after, config))
        result[index] = dataclasses.replace(before, output=output)
    return result


def _ahead(before: Descriptor, after: Descriptor, config: Config) -> tuple[int, ...]:
    """Lines that ``after`` may read while the last 1, 2, 3 or 4 parts of ``before`` are not written."""
    if before.output.combine != Combine.NONE or after.activations.pairs:
        return NONE
    late = _late(before.output, config)
    lines = config.rows * config.combine
    # The earliest part that any byte of a line is of; a line that begins before byte 0 wraps, as addresses do.
    of_line = _least(late, lines)
    found = [MOST_AHEAD] * len(NONE)
    count = math.prod(dim.count for dim in after.activations.dims) * config.group
    for start in range(0, min(count, MOST_AHEAD), CHUNK):
        parts = of_line[_addresses(after.activations, start, min(start + CHUNK, count), config) % len(of_line)]
        for unwritten in range(1, len(NONE) + 1):
            waits = np.flatnonzero(parts <= unwritten)
            if len(waits):
                found[unwritten - 1] = min(found[unwritten - 1], start + int(waits[0]))
        if found[0] < MOST_AHEAD:
            break
    # The beats of a tile of few positions must not wait between: the next tile's would follow them too closely, whose
    # weights are there.
    positions = math.prod(dim.count for dim in after.activations.dims[CHUNK_DIM + 1 :])
    tile = positions * config.group if positions < REVISIT_CYCLES else 1
    return tuple(lines - lines % tile for lines in found)


def _late(output: OutputStream, config: Config) -> NDArray[np.uint8]:
    """Of each byte of the scratchpad: 1 if the last part of the accumulators writes it, up to 4 for the fourth last,
    else more. Words of the weight store are none of them: whoever reads those waits by itself."""
    late = np.full(config.scratchpad_bytes, len(NONE) + 1, np.uint8)
    if output.to_weights:
        return late
    if output.recurrent:
        for back in range(min(output.dims[CHANNELS_DIM].count, len(NONE)), 0, -1):
            late[output.written_by(output.dims[CHANNELS_DIM].count - back, config.cols)] = back
        return late
    parts = math.prod(dim.count for dim in output.dims[: CHANNELS_DIM + 1])
    for back in range(min(parts, len(NONE)), 0, -1):
        block, group = divmod(parts - back, output.dims[CHANNELS_DIM].count)
        first = output.address + block * output.dims[0].strides[0] + group * output.dims[1].strides[0]
        channels = min(config.cols, output.channels - group * config.cols)
        results = _offsets(output.dims[CHANNELS_DIM + 1 :], 0)
        late[(first + results[:, None] + np.arange(channels)) % len(late)] = back
    return late


def _least(values: NDArray[np.uint8], count: int) -> NDArray[np.uint8]:
    """For each place, the least of ``count`` values from there on; behind the last comes the first."""
    least, done = values, 1
    while done < count:
        step = min(done, count - done)
        least, done = np.minimum(least, np.roll(least, -step)), done + step
    return least


def _addresses(stream: ActivationStream, start: int, stop: int, config: Config) -> NDArray[np.int64]:
    """The addresses of a descriptor's lines from number ``start`` to ``stop``."""
    beat, line = np.divmod(np.arange(start, stop), config.group)
    address = stream.address + line * config.rows * config.combine
    for dim in reversed(stream.dims):
        beat, value = np.divmod(beat, dim.count)
        address = address + value * dim.strides[2]
    return address


def _offsets(dims: Sequence[Dim], axis: int) -> NDArray[np.int64]:
    """What counters add to a coordinate, for all their values."""
    offsets = np.zeros(1, np.int64)
    for dim in dims:
        offsets = (offsets[:, None] + np.arange(dim.count) * dim.strides[axis]).ravel()
    return offsets
