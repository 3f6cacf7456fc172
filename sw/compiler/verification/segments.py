"""What the descriptors of a segment do to each other: lines that one reads while the one before still writes, and words
of the weight store that one writes for another."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence

import numpy as np
from numpy.typing import NDArray

from sateen.compiler.verification.emulation import written
from sateen.hw.spec.combining import Combine
from sateen.hw.spec.config import Config
from sateen.hw.spec.descriptor import ActivationStream, Descriptor, OutputStream, WeightStream
from sateen.hw.spec.nests import CHUNK_DIM
from sateen.hw.spec.timing import REVISIT_CYCLES

__all__ = ["conflicts"]

NOBODY, SEVERAL = -1, -2


def conflicts(
    descriptors: Sequence[Descriptor], layers: Sequence[int], words: int, config: Config
) -> Iterator[tuple[int, str]]:
    """The number of each descriptor that disturbs others, and how.

    Parameters
    ----------
    descriptors, words
        Those of a segment, and its words of weights.
    layers
        The number of each descriptor's layer.
    config
        What they are compiled for.
    """
    if config.overlap:
        for index, (before, after) in enumerate(zip(descriptors, descriptors[1:], strict=False)):
            reason = _runs_ahead(before, after, config)
            if reason:
                yield index, f"lets the next one {reason}"
    if config.products:
        yield from _overwritten(descriptors, layers, words, config)


def _runs_ahead(before: Descriptor, after: Descriptor, config: Config) -> str:
    """What ``after`` may do while results of ``before`` are not written, and must not."""
    stream, most = after.activations, max(before.output.ahead)
    if most and (before.output.combine != Combine.NONE or stream.pairs):
        return "begin while tables are in use"
    counts = [dim.count for dim in stream.dims]
    tile, lines = math.prod(counts[CHUNK_DIM + 1 :]) * config.group, math.prod(counts) * config.group
    first, count = _lines(stream, min(lines, most), config)
    for unwritten, ahead in enumerate(before.output.ahead, 1):
        missing = _last_written(before.output, unwritten, config)
        until = np.concatenate([[0], np.cumsum(np.concatenate([missing, missing]))])
        begin = first[:ahead] % len(missing)
        if (until[begin + count[:ahead]] > until[begin]).any():
            return f"read {ahead} lines while {unwritten} parts of its results are not written, which are among them"
        if tile < REVISIT_CYCLES * config.group and ahead < lines and ahead % tile:
            return f"wait after {ahead} lines, within a tile of {tile}"
    return ""


def _lines(stream: ActivationStream, count: int, config: Config) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Of the first lines that a descriptor reads, the first byte that is not padding, and how many follow each other
    from there."""
    lanes = config.rows * config.combine
    beat, line = np.divmod(np.arange(count), config.group)
    at = np.array([stream.row, stream.x, stream.address]) + line[:, None] * np.array([0, lanes, lanes])
    for dim in reversed(stream.dims):
        beat, value = np.divmod(beat, dim.count)
        at = at + value[:, None] * np.array(dim.strides)
    row, x, address = at.T
    low, high = np.clip(-x, 0, lanes), np.clip(stream.width - x, 0, lanes)
    inside = (row >= 0) & (row < stream.height)
    return address + low, np.where(inside, np.maximum(high - low, 0), 0)


def _last_written(output: OutputStream, parts: int, config: Config) -> NDArray[np.int64]:
    """For each byte of the scratchpad, 1 if it is a result of the last ``parts`` parts of the accumulators. Words of
    the weight store are none: what reads them waits for all descriptors before."""
    found = np.zeros(config.scratchpad_bytes, np.int64)
    if output.to_weights:
        return found
    blocks, groups, rows, columns = output.dims
    if output.recurrent:
        for group in range(max(0, groups.count - parts), groups.count):
            found[output.written_by(group, config.cols)] = 1
        return found
    offsets = np.add.outer(np.arange(rows.count) * rows.strides[0], np.arange(columns.count) * columns.strides[0])
    count = blocks.count * groups.count
    for part in range(max(0, count - parts), count):
        block, group = divmod(part, groups.count)
        start = output.address + block * blocks.strides[0] + group * groups.strides[0]
        channels = np.arange(min(config.cols, output.channels - group * config.cols))
        found[(start + np.add.outer(offsets, channels)) % len(found)] = 1
    return found


def _overwritten(
    descriptors: Sequence[Descriptor], layers: Sequence[int], words: int, config: Config
) -> Iterator[tuple[int, str]]:
    """Copies into words that are not those of their own layer's products, whose bytes are needed again."""
    readers = np.full(words, NOBODY)
    for d, layer in zip(descriptors, layers, strict=True):
        reader = SEVERAL if d.output.to_weights else layer
        read = readers[d.weights.base : d.weights.base + _words(d.weights, config)]
        read[:] = np.where((read == NOBODY) | (read == reader), reader, SEVERAL)
    for index, (d, layer) in enumerate(zip(descriptors, layers, strict=True)):
        if d.output.to_weights:
            runs = [np.add.outer(addresses, np.arange(count)) for addresses, count in written(d.output, config.cols)]
            rows = np.unique(np.concatenate([run.ravel() for run in runs]) // config.weight_word_bytes)
            if (readers[rows] != layer).any():
                yield index, "writes words of the weight store that are not its layer's product's"


def _words(stream: WeightStream, config: Config) -> int:
    """How many words a descriptor has."""
    return sum(stream.words + stream.stored(group, config.weight_rows) for group in range(stream.groups))
