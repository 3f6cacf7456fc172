"""Descriptors and weight words from the bytes that a device gets."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from sateen.compiler.shared_bytes import unpacked
from sateen.hw.spec.combining import Entries
from sateen.hw.spec.config import Config
from sateen.hw.spec.descriptor import (
    DESCRIPTOR_WORDS,
    DIRECT_BIT,
    NUMBER_DIMS,
    RESIDUAL_BIT,
    ROWS_BIT,
    SAME_BIASES_BIT,
    SECTIONS,
    SOFTMAX_BIT,
    TO_WEIGHTS_BIT,
    WAITS_BIT,
    WIDE_ROUNDING,
    ActivationStream,
    Descriptor,
    OutputStream,
    Rounding,
    Sliding,
    WeightStream,
)
from sateen.hw.spec.nests import ACTIVATION_DIMS, OUTPUT_DIMS, Dim
from sateen.hw.spec.parameters import SCALE_BYTES, TABLE_ENTRIES, table_words
from sateen.hw.spec.pe import SELECTS_BIT, ZERO_POINT_BIT, select_bits, window
from sateen.hw.spec.recurrent import Recurrent, Target
from sateen.hw.spec.residual import sum_words

__all__ = ["decode", "parameters", "records", "row_records", "tables", "tiles"]


def records(program: NDArray[np.uint8]) -> list[Descriptor]:
    """All descriptors of a program."""
    size, data = 4 * DESCRIPTOR_WORDS, program.tobytes()
    return [decode(data[start : start + size]) for start in range(0, len(data), size)]


def decode(record: bytes) -> Descriptor:
    """The inverse of :meth:`~sateen.hw.spec.descriptor.Descriptor.encode`."""
    activations = 4 * SECTIONS["weights"]
    output = activations + 4 * SECTIONS["activations"]
    return Descriptor(
        weights=_weights(record), activations=_activations(record[activations:]), output=_output(record[output:])
    )


def _weights(section: bytes) -> WeightStream:
    base, blocks, groups, modes, words = WeightStream.LAYOUT.unpack_from(section)
    zero_point = modes >> ZERO_POINT_BIT & 0xFF
    return WeightStream(
        base=base, blocks=blocks, groups=groups, words=words & (1 << RESIDUAL_BIT) - 1,
        settings=modes & (1 << ZERO_POINT_BIT) - 1,
        zero_point=zero_point - ((zero_point & 0x80) << 1), tables=bool(modes >> 31), one_scale=bool(modes >> 30 & 1),
        same_biases=bool(modes >> SAME_BIASES_BIT & 1), waits=bool(modes >> WAITS_BIT & 1),
        residual=bool(words >> RESIDUAL_BIT),
    )  # fmt: skip


def _activations(section: bytes) -> ActivationStream:
    address, row, height, x, width, modes = ActivationStream.HEAD.unpack_from(section)
    place = ActivationStream.HEAD.size
    slides = Sliding.LAYOUT.unpack_from(section, place)
    first_y, first_x, step_y, step_x = slides
    place += Sliding.LAYOUT.size
    fields = [
        ActivationStream.DIM.unpack_from(section, place + index * ActivationStream.DIM.size)
        for index in range(len(ACTIVATION_DIMS))
    ]
    padding = modes & 0xFF
    return ActivationStream(
        address=address, row=row, x=x, height=height, width=width, padding=padding - ((padding & 0x80) << 1),
        dims=_dims(fields), settings=modes >> 8 & (1 << 22) - 1, pairs=bool(modes >> 31),
        quarters=bool(modes >> 30 & 1),
        sliding=Sliding(first_y=first_y, first_x=first_x, step_y=step_y, step_x=step_x) if any(slides) else None,
    )  # fmt: skip


def _output(section: bytes) -> OutputStream:
    address, channels, taps, zero_point, low, high, modes = OutputStream.HEAD.unpack_from(section)
    place = OutputStream.HEAD.size
    fields = [
        OutputStream.DIM.unpack_from(section, place + index * OutputStream.DIM.size)
        for index in range(len(OUTPUT_DIMS))
    ]
    combine, direct, entries = modes >> 2 & 3, bool(modes >> DIRECT_BIT & 1), None
    dims = _dims([(count, step) for count, _, step in fields])
    if direct and combine:
        entries = Entries.decode(fields[0][2])
        dims = (Dim(1, (0,)), *dims[1:])
    rounding, recurrent = modes & 3, None
    if rounding == WIDE_ROUNDING:
        recurrent = Recurrent.decode(*(fields[place][2] & (1 << 32) - 1 for place in NUMBER_DIMS))
        still = NUMBER_DIMS if recurrent.target == Target.CELLS else NUMBER_DIMS[:1]
        dims = _dims([(count, 0 if place in still else step) for place, (count, _, step) in enumerate(fields)])
        rounding = Rounding.DOUBLE
    softmax, residual = bool(modes >> SOFTMAX_BIT & 1), None
    if softmax and not combine:
        softmax, residual, taps = False, taps - ((taps & 0x8000) << 1), 1
    return OutputStream(
        address=address, channels=channels, taps=taps, zero_point=zero_point, low=low, high=high, rounding=rounding,
        combine=combine, quarters=bool(modes >> ROWS_BIT & 1 and not combine),
        layer_norm=bool(modes >> ROWS_BIT & 1 and combine),
        to_weights=bool(modes >> TO_WEIGHTS_BIT & 1), softmax=softmax,
        dims=dims,
        ahead=tuple(ahead for _, ahead, _ in fields), normalized=direct and not combine, entries=entries,
        recurrent=recurrent, residual=residual,
    )  # fmt: skip


def _dims(fields: Sequence[tuple[int, ...]]) -> tuple[Dim, ...]:
    """Counters from (count, step of each coordinate): a step leads back over all that the inner counters added."""
    dims: list[Dim] = []
    for count, *steps in reversed(fields):
        added = [sum((dim.count - 1) * dim.strides[axis] for dim in dims) for axis in range(len(steps))]
        dims.append(Dim(count, tuple(step + back for step, back in zip(steps, added, strict=True))))
    return tuple(reversed(dims))


def _groups(stream: WeightStream, config: Config) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """The first word of each group's weights, and the number of words of its parameters behind them."""
    counts = np.array([stream.stored(group, config.weight_rows) for group in range(stream.groups)])
    base = stream.base + (sum_words(config.weight_rows) if stream.residual else 0)
    return base + np.cumsum(stream.words + counts) - stream.words - counts, counts


def tiles(stream: WeightStream, store: NDArray[np.int8], config: Config) -> NDArray[np.int16]:
    """The weights that each tile multiplies a beat's bytes with, less their zero point: [groups, tiles, bytes of a
    beat, cols]."""
    first, _ = _groups(stream, config)
    words = store[first[:, None] + np.arange(stream.words)]
    depth = config.tile_depth
    if not stream.settings >> SELECTS_BIT & 1:
        weights = unpacked(words, config.weights_per_byte)
        return weights.reshape(stream.groups, -1, depth, config.cols).astype(np.int16) - stream.zero_point
    words = words.reshape(stream.groups, -1, depth + config.select_words, config.cols)
    result = np.zeros((*words.shape[:2], config.beat_bytes, config.cols), np.int16)
    seen = np.array([window(row, rows=depth, combine=config.combine) for row in range(depth)])
    bits, word = select_bits(config.combine), 0
    for begin in range(0, depth, config.selects):
        selects = words[:, :, word].view(np.uint8)
        for row in range(begin, min(begin + config.selects, depth)):
            byte = seen[row].take(selects >> bits * (row - begin) & (1 << bits) - 1, mode="clip")
            weights = words[:, :, word + 1 + row - begin].astype(np.int16) - stream.zero_point
            np.put_along_axis(result, byte[:, :, None], weights[:, :, None], axis=2)
        word += 1 + min(config.selects, depth - begin)
    return result


def parameters(stream: WeightStream, store: NDArray[np.int8], config: Config) -> NDArray[np.int64]:
    """Bias, multiplier and shift of every column: [groups, 3, cols]."""
    first, counts = _groups(stream, config)
    # A group without scales has those of the last one that has any.
    owner = np.maximum.accumulate(np.where(counts == config.parameter_words, np.arange(stream.groups), 0))
    scales = (first + stream.words + counts)[owner] - SCALE_BYTES
    shift = store[scales + SCALE_BYTES - 1].astype(np.int64)
    biases = np.where(counts > 0, first, first[0]) + stream.words
    return np.stack([_int32(store, biases), _int32(store, scales), shift], axis=1)


def _int32(store: NDArray[np.int8], first: NDArray[np.int64]) -> NDArray[np.int64]:
    """Numbers whose four bytes begin at these words: [n, cols]."""
    data = store[first[:, None] + np.arange(4)].transpose(0, 2, 1)
    return np.ascontiguousarray(data).view("<i4")[..., 0].astype(np.int64)


def tables(stream: WeightStream, store: NDArray[np.int8], config: Config) -> NDArray[np.int64]:
    """Both tables, [2, TABLE_ENTRIES], by unsigned byte."""
    words = table_words(config.cols)
    first = stream.base + stream.words - words
    entries = np.ascontiguousarray(store[first : first + words])
    if words == TABLE_ENTRIES:
        return np.ascontiguousarray(entries[:, :8]).view("<i4").T.astype(np.int64)
    return np.ascontiguousarray(entries[:, :4]).view("<i4").reshape(2, TABLE_ENTRIES).astype(np.int64)


def row_records(stream: WeightStream, store: NDArray[np.int8], config: Config) -> NDArray[np.int64]:
    """The records before the tables, [records, 2], see :mod:`sateen.hw.spec.layer_norm`."""
    words = store[stream.base : stream.base + stream.words - table_words(config.cols)]
    words = words[:, :8] if config.cols >= 8 else words[:, :4]
    return np.ascontiguousarray(words).view("<i4").reshape(-1, 2).astype(np.int64)
