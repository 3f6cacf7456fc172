"""What a descriptor computes, by its definition in :mod:`sateen.hw.spec.descriptor`: some of its results, exactly.

Memory holds float64 numbers, any that are whole and below 2^21: products with weights and their sums are then exact.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from sateen.compiler.verification.decoding import parameters, row_records, tables, tiles
from sateen.hw.spec.combining import Combine, Entries, Operand, Source
from sateen.hw.spec.config import Config
from sateen.hw.spec.descriptor import ActivationStream, Descriptor, OutputStream, Rounding
from sateen.hw.spec.layer_norm import HEAD_RECORDS, LIMIT_RECORDS, Head
from sateen.hw.spec.nests import CHANNELS_DIM, CHUNK_DIM, Y_DIM, Dim
from sateen.hw.spec.parameters import TABLE_ENTRIES
from sateen.hw.spec.pe import ACTIVATION_POINT_BIT, SKIP_BIT, SKIP_BITS, sample_ages
from sateen.sim import golden

__all__ = ["Layered", "Results", "positions", "written"]

Ints = NDArray[np.int64]
Floats = NDArray[np.float64]

UNKNOWN = 987_654_321.0
"""Stands for a byte of which a descriptor does not say what it is."""
CHUNK = 1 << 21
"""Numbers that are gathered at a time."""
TAPS = 256
"""Sums of a pooled window beyond which fewer windows are taken."""


@dataclass(frozen=True)
class Results:
    """Some results of a descriptor, [n] each if nothing else is said."""

    address: Ints
    """Byte address."""
    sums: Ints
    """[n, taps]: the sums of products that are pooled, or the combined entries of tables; without bias."""
    bias: Ints
    multiplier: Ints
    shift: Ints


class Layered:
    """A descriptor with its weights, which are decoded once. ``before`` is the one that is always executed before it,
    if there is one."""

    def __init__(
        self, descriptor: Descriptor, store: NDArray[np.int8], config: Config, before: Descriptor | None = None
    ):
        self.descriptor, self.config, self.before = descriptor, config, before
        self.looks_up = descriptor.output.combine != Combine.NONE
        point = descriptor.activations.settings >> ACTIVATION_POINT_BIT & 0xFF if config.products else 0
        self.zero_point = point - ((point & 0x80) << 1)
        """That of the activations, if the tile subtracts it."""
        stream = descriptor.weights
        self.parameters = parameters(stream, store, config)
        """[groups, 3, cols]: bias, multiplier, shift."""
        entries = descriptor.output.entries
        loads = self.looks_up and (entries is None or entries.loads)
        self.tables = tables(stream, store, config) if loads else np.zeros((2, TABLE_ENTRIES), np.int64)
        self.records = row_records(stream, store, config) if descriptor.output.layer_norm else None
        """Of rows that are normalized."""
        self.weights = np.zeros((0, 0, 0, 0)) if self.looks_up else tiles(stream, store, config).astype(np.float64)
        """[groups, tiles, bytes, cols]; where windows slide, the bytes are beats."""

    def results(self, memory: Floats, *, every: bool = False) -> Results:
        """The results of the first and last blocks, rows and columns and those in their middle, or ``every`` one, in
        all channels, given what stands at each byte address of the scratchpad."""
        d, config = self.descriptor, self.config
        if d.output.softmax:
            return self._shares(memory, every=every)
        block, y, x, position = _all(d) if every else _sampled(d)
        sums = self._looked_up(block, position, memory) if self.looks_up else self._sums(block, position, memory)
        dims, channel = d.output.dims, np.arange(config.cols)
        group = np.arange(dims[1].count)
        address = d.output.address + _outer(
            block * _stride(dims[0]), group * _stride(dims[1]), y * _stride(dims[2]) + x * _stride(dims[3]), channel
        )
        used = np.broadcast_to(
            _outer(np.zeros(len(block), np.int64), group * config.cols, np.zeros(len(y), np.int64), channel)
            < d.output.channels,
            address.shape,
        )
        scales = [np.broadcast_to(self.parameters[:, which][None, :, None], address.shape)[used] for which in range(3)]
        return Results(address[used], sums[used].astype(np.int64), *scales)

    def _sums(self, block: Ints, position: Ints, memory: Floats) -> Floats:
        """Sums of products at positions [n, taps], counted among those that are kept: [blocks, groups, n, cols,
        taps]."""
        stream, weights = self.descriptor.activations, self.weights
        groups, count, depth, cols = weights.shape
        taps = position.shape[1]
        beats = _beats(stream, position.ravel())
        first = _coordinates(stream, {0: block})
        tile = _coordinates(stream, {dim: None for dim in range(CHANNELS_DIM + 1, CHUNK_DIM + 1)})
        start = np.array([stream.row, stream.x, stream.address])
        base = start + first[:, None, None] + tile[None, :, None] + _walked(stream, beats)[None, None]
        shared = not any(stream.dims[CHANNELS_DIM].strides) and not stream.sliding
        result = np.empty((len(block), groups, position.size, cols))
        each = max(1, CHUNK // max(1, base.size // 3 * depth * (cols if stream.sliding else 1)))
        for begin in range(0, groups, groups if shared else each):
            some = slice(begin, groups if shared else begin + each)
            group = np.arange(groups)[some]
            walk = (block[:, None] * groups + group) * count
            read = group[:1] if shared else group
            result[:, some] = self._part(stream, base, read, weights[some], beats, memory, walk)
        return result.reshape(len(block), groups, -1, taps, cols).swapaxes(3, 4)

    def _part(
        self, stream: ActivationStream, base: Ints, group: Ints, weights: Floats, beats: Ints, memory: Floats,
        walk: Ints,
    ) -> Floats:  # fmt: skip
        """Sums of some groups. ``base`` is [blocks, tiles, positions, 3], ``walk`` [blocks, groups] the number of
        walks before those of a group."""
        groups, count, depth, cols = weights.shape
        at = base[None] + _coordinates(stream, {CHANNELS_DIM: group})[:, None, None, None]
        if stream.sliding is None:
            data = _read(stream, at[..., None, :], np.arange(depth), memory) - self.zero_point
            rows = data.transpose(0, 1, 3, 2, 4).reshape(len(group), -1, count * depth)
            product = rows @ (
                weights.reshape(groups, count * depth, cols)
                if len(group) == groups
                else weights.transpose(1, 2, 0, 3).reshape(1, count * depth, groups * cols)
            )
            product = product.reshape(len(group), base.shape[0], base.shape[2], -1, cols)
            return product.transpose(1, 0, 3, 2, 4).reshape(base.shape[0], groups, base.shape[2], cols)
        # The rows that do not slide have bytes of the beat. Of the others, row r has the r-th beat before, or with
        # beats left out another: its distance from the last one.
        still = depth - self.config.sliding_rows
        skip = stream.settings >> SKIP_BIT & (1 << SKIP_BITS) - 1 if self.config.window_skip else 0
        before = beats[:, None] - np.array([0] * still + sample_ages(depth - still, skip))
        back = _walked(stream, before) - _walked(stream, beats)[:, None]
        data = _read(stream, (at[..., None, :] + back)[..., None, :], np.arange(cols), memory)
        if (before < 0).any():
            tile = walk.T[..., None] + np.arange(count)
            data = np.where((before >= 0)[:, :, None], data, self._left(tile, before, np.arange(cols)))
        data[..., :still, :] = _read(stream, at[..., None, :], np.arange(still), memory)[..., None]
        return np.einsum("gbtprc,gtrc->bgpc", data, weights)

    def _left(self, walk: Ints, before: Ints, lanes: Ints) -> Floats:
        """What beats of negative numbers, [n, rows], take in walks [...]: the padding with which the walk before ended,
        be it the last of the descriptor before; else it is unknown: [..., n, rows, lanes]."""
        stream, previous = self.descriptor.activations, self.before.activations if self.before else None
        result = _padding(stream, walk - 1, before, lanes)
        if previous is None or previous.sliding is None or previous.settings != stream.settings:
            return np.where((walk > 0)[..., None, None, None], result, UNKNOWN)
        last = math.prod(dim.count for dim in previous.dims[:Y_DIM]) - 1
        return np.where((walk > 0)[..., None, None, None], result, _padding(previous, np.array(last), before, lanes))

    def _looked_up(self, block: Ints, position: Ints, memory: Floats) -> Floats:
        """Combined entries at positions [n, 1]: [blocks, groups, n, cols, 1]."""
        stream = self.descriptor.activations
        if self.records is not None:
            return self._normalized(position.ravel(), memory, self.records)
        beats = 2 * position.ravel()[:, None] + np.arange(2)
        at = np.array([stream.row, stream.x, stream.address]) + _walked(stream, beats)
        values = _read(stream, at[:, :, None], np.arange(self.config.cols), memory)
        entries = self.combined(values[:, 0].astype(np.int64), values[:, 1].astype(np.int64))
        return entries.astype(np.float64)[None, None, :, :, None]

    def _normalized(self, position: Ints, memory: Floats, records: Ints) -> Floats:
        """Entries of the codes of normalized rows at lines: [1, 1, n, cols, 1]."""
        head = Head.decode(records[:HEAD_RECORDS].astype("<i4").tobytes())
        lines = head.length // head.width
        beats = 2 * (position // lines * lines)[:, None] + 2 * np.arange(lines)
        stream = self.descriptor.activations
        at = np.array([stream.row, stream.x, stream.address]) + _walked(stream, beats)
        values = _read(stream, at[:, :, None], np.arange(head.width), memory).reshape(len(position), -1)
        limits = records[HEAD_RECORDS : HEAD_RECORDS + LIMIT_RECORDS].ravel()[:-1]
        scale, bias = records[HEAD_RECORDS + LIMIT_RECORDS :].T.astype(np.int32).view(np.float32)
        real = golden.real_layer_norm(
            golden.real_codes(values.astype(np.int8), (head.scale, head.zero_point)), scale, bias,
            epsilon=head.epsilon, centred=head.centred,
        )  # fmt: skip
        codes = np.searchsorted(limits, golden.ordered(real), side="right") - 128
        codes = codes.reshape(len(position), lines, head.width)[np.arange(len(position)), position % lines]
        codes = np.pad(codes, ((0, 0), (0, self.config.cols - head.width)))
        return self.combined(codes, codes).astype(np.float64)[None, None, :, :, None]

    def _shares(self, memory: Floats, *, every: bool) -> Results:
        """The exponentials of the first row, the last and one in the middle, or of ``every`` one, and their scales; in
        float32 their shares, and ones."""
        output, cols = self.descriptor.output, self.config.cols
        rows, lines, length = output.dims[2].count - 2, output.dims[3].count // 2, output.channels
        row = np.arange(rows) if every else _some(rows)

        def passed(number: int) -> Ints:
            """The lines of a pass over each row, side by side."""
            stream = self.descriptor.activations
            beats = (3 * (row + number) + number)[:, None] * lines + np.arange(lines)
            at = np.array([stream.row, stream.x, stream.address]) + _walked(stream, beats, begin=0)
            return _read(stream, at[:, :, None], np.arange(cols), memory).reshape(len(row), -1).astype(np.int64)

        largest = passed(0).max(axis=1, keepdims=True)
        added, scaled = (self.tables[:, (largest - passed(number))[:, :length] & 0xFF] for number in (1, 2))
        bias, multiplier, shift = self.parameters[0, :, 0]
        if output.rounding == Rounding.FLOAT32:
            exponentials = _real_shares(added[0], scaled)
            reciprocal, right = np.full((1, 1), 1 << 30), np.full((1, 1), 1)
        else:
            exponentials, (reciprocal, right) = scaled[0], golden.row_scales(added[0])
        place = np.arange(length)
        address = output.address + (row[:, None] + 2) * _stride(output.dims[2])
        address = address + (lines + place // cols) * _stride(output.dims[3]) + place % cols
        fields = (address, exponentials, bias, reciprocal | multiplier, right | shift)
        address, entries, *scales = (np.broadcast_to(field, address.shape).ravel() for field in fields)
        return Results(address, entries[:, None], *scales)

    def combined(self, a: Ints, b: Ints) -> Ints:
        """The combined entries of pairs of int8 values."""
        entries = self.descriptor.output.entries or Entries()
        operands = zip((a, b), (entries.first, entries.second), self.tables, strict=True)
        left, right = (_entry(codes, operand, table) for codes, operand, table in operands)
        return combined(left, right, self.descriptor.output.combine)


def _real_shares(added: Ints, entries: Ints) -> Ints:
    """Shares in the sums of rows of float32 that are ``added``, of entries of both tables."""
    bits, product = entries[0], entries[1] & 0xFFFFFFFF
    dividend = np.ldexp(product.astype(np.float64), np.maximum(bits >> 23 & 0xFF, 1) - 150)
    return np.rint(dividend / golden.real_sums(added.astype(np.int32).view(np.float32))).astype(np.int64)


def _entry(codes: Ints, operand: Operand, table: Ints) -> Ints:
    """What is combined of an operand."""
    if operand.source == Source.TABLE:
        return table[codes & 0xFF]
    return (codes - operand.zero_point) * (operand.source == Source.CODE) << operand.shift


def combined(left: Ints, right: Ints, combine: int) -> Ints:
    """Pairs of entries, as :class:`~sateen.hw.spec.combining.Combine` says."""
    if combine == Combine.MULTIPLY:
        return left * right
    return left + right if combine == Combine.ADD else (left + right) ** 2


def written(stream: OutputStream, cols: int) -> Iterator[tuple[Ints, int]]:
    """The address of each run of channels that is written, and the run's length, for each group of channels, or for all
    that follow each other."""
    dims = stream.dims
    if stream.softmax:
        lines = dims[3].count // 2
        rows = stream.address + np.arange(2, dims[2].count) * _stride(dims[2])
        for line in range(lines):
            yield rows + (lines + line) * _stride(dims[3]), min(cols, stream.channels - line * cols)
        return
    places = stream.address + _outer(*(np.arange(dims[axis].count) * _stride(dims[axis]) for axis in (0, 2, 3)))
    if _stride(dims[1]) == cols:
        yield places.ravel(), min(dims[1].count * cols, stream.channels)
        return
    for group in range(dims[1].count):
        yield places.ravel() + group * _stride(dims[1]), min(cols, stream.channels - group * cols)


def _stride(dim: Dim) -> int:
    return dim.strides[0]


def _outer(*parts: Ints) -> Ints:
    """Sums of one element of each part: an axis for each."""
    total: Ints = np.zeros((), np.int64)
    for part in parts:
        total = total[..., None] + part
    return total


def _some(count: int) -> Ints:
    return np.unique([0, count // 2, count - 1])


def _all(descriptor: Descriptor) -> tuple[Ints, Ints, Ints, Ints]:
    """As :func:`_sampled`, every one."""
    block, _, rows, columns = (dim.count for dim in descriptor.output.dims)
    y, x = (axis.ravel() for axis in np.meshgrid(np.arange(rows), np.arange(columns), indexing="ij"))
    position = (y * columns + x)[:, None] * descriptor.output.taps + np.arange(descriptor.output.taps)
    return np.arange(block), y, x, position


def _sampled(descriptor: Descriptor) -> tuple[Ints, Ints, Ints, Ints]:
    """Blocks; and for each of some positions its y, its x, and the numbers of its sums [n, taps]."""
    block, _, rows, columns = (dim.count for dim in descriptor.output.dims)
    taps = descriptor.output.taps
    few = taps > TAPS
    y, x = (np.array([count - 1]) if few else _some(count) for count in (rows, columns))
    y, x = (axis.ravel() for axis in np.meshgrid(y, x, indexing="ij"))
    position = (y * columns + x)[:, None] * taps + np.arange(taps)
    return np.unique([0, block - 1]), y, x, position


def _kept(count: int, first: int, step: int) -> Ints:
    return np.arange(first, count, step)


def _beats(stream: ActivationStream, position: Ints) -> Ints:
    """The number of the beat that completes each position."""
    counts = [dim.count for dim in stream.dims[Y_DIM:]]
    s = stream.sliding
    if s is None:
        return position
    y, x = _kept(counts[0], s.first_y, s.step_y), _kept(counts[1], s.first_x, s.step_x)
    return y[np.minimum(position // len(x), len(y) - 1)] * counts[1] + x[position % len(x)]


def positions(stream: ActivationStream) -> int:
    """Sums that count, of a half of the accumulators."""
    counts, s = [dim.count for dim in stream.dims[Y_DIM:]], stream.sliding
    if s is None:
        return int(np.prod(counts)) // (2 if stream.pairs else 1)
    return len(_kept(counts[0], s.first_y, s.step_y)) * len(_kept(counts[1], s.first_x, s.step_x))


def _walked(stream: ActivationStream, beats: Ints, *, begin: int = Y_DIM, end: int | None = None) -> Ints:
    """By how much counters, those that walk over positions or others, have changed the coordinates at a beat:
    [..., 3]."""
    total = np.zeros((*beats.shape, 3), np.int64)
    first, *inner = stream.dims[begin:end]
    for dim in reversed(inner):
        beats, value = np.divmod(beats, dim.count)
        total += value[..., None] * np.array(dim.strides)
    return total + beats[..., None] * np.array(first.strides)


def _padding(stream: ActivationStream, walk: Ints, before: Ints, lanes: Ints) -> Floats:
    """What beats that come ``before`` [n, rows] the end of walks [...] take, where it is padding: [..., n, rows,
    lanes]."""
    beat = math.prod(dim.count for dim in stream.dims[Y_DIM:]) + before
    start = np.array([stream.row, stream.x, stream.address]) + _walked(stream, walk, begin=0, end=Y_DIM)
    at = start[..., None, None, :] + _walked(stream, beat)
    known = (beat >= 0)[..., None] & ~_inside(stream, at[..., None, :], lanes)
    return np.where(known, float(stream.padding), UNKNOWN)


def _coordinates(stream: ActivationStream, values: dict[int, Ints | None]) -> Ints:
    """Changes of the coordinates by counters, in the order of a nest: [n, 3]. ``None``: all values of a counter."""
    total = np.zeros((1, 3), np.int64)
    for index, given in values.items():
        dim = stream.dims[index]
        value = np.arange(dim.count) if given is None else given
        total = (total[:, None] + value[:, None] * np.array(dim.strides)).reshape(-1, 3)
    return total


def _read(stream: ActivationStream, at: Ints, lanes: Ints, memory: Floats) -> Floats:
    """The bytes of beats at coordinates [..., 1, 3]: [..., lanes]."""
    address = at[..., 2] + lanes
    return np.where(_inside(stream, at, lanes), memory[address % len(memory)], float(stream.padding))


def _inside(stream: ActivationStream, at: Ints, lanes: Ints) -> NDArray[np.bool_]:
    """Which bytes of beats at coordinates [..., 1, 3] are no padding: [..., lanes]."""
    row, x = at[..., 0], at[..., 1] + lanes
    return (row >= 0) & (row < stream.height) & (x >= 0) & (x < stream.width)
