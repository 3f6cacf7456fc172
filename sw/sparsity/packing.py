"""Packing of a sparse kernel into few tiles of weights, for arrays in which every PE chooses among several activations
of its row.

A tile with selects sees ``beat_bytes`` consecutive bytes of a kernel row, its window. Each of its weights multiplies
one of the bytes that its row may choose from (:func:`sateen.hw.spec.pe.window`). A filter's weights are therefore
placed one by one: a byte goes to any tile whose window contains it, in the one row that sees it there, if that cell is
free. Filters do not compete, because each has its own column. Whether every filter fits a number of tiles is one
bipartite matching per filter. Nothing is pruned, nothing is rounded.

Windows are regular, as the device's counters require: ``count`` windows, each a ``stride`` after the last, and
``passes`` such series over the same bytes. The first may begin ``lead`` bytes before the run, so that as many windows
see the run's first bytes as those in its middle.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from sateen.hw.spec.config import Config
from sateen.hw.spec.pe import select_bits, window

__all__ = ["Packing", "Windows", "arrangements", "mask_to_fit", "pack", "pack_into"]

UNPLACED = -1
HOPELESS = 1 / 32
"""If greedy placement leaves more than this share of a matrix's weights unplaced, no weights are moved to make room."""


@dataclass(frozen=True)
class Windows:
    """The windows of a kernel row's tiles. Tile ``p · count + k`` begins at byte ``k · stride − lead``."""

    passes: int
    count: int
    stride: int
    lead: int = 0

    @property
    def tiles(self) -> int:
        """Tiles of weights for each kernel row."""
        return self.passes * self.count

    @property
    def starts(self) -> NDArray[np.int64]:
        """The first byte of each tile."""
        return np.arange(self.tiles) % self.count * self.stride - self.lead

    def cells(self, run: int, config: Config) -> NDArray[np.int64]:
        """The cells, tile · rows + row, that each byte may go to: [run, choices], padded with −1."""
        rows = config.tile_depth
        row_of = np.empty(config.beat_bytes, np.int64)
        row_of[_seen(config)] = np.arange(rows)[:, None]
        lane = np.arange(run)[:, None] - self.starts
        inside = (lane >= 0) & (lane < config.beat_bytes)
        cells = np.where(inside, np.arange(self.tiles) * rows + row_of[np.where(inside, lane, 0)], UNPLACED)
        # Actual choices before padding.
        order = np.argsort(~inside, axis=1, kind="stable")[:, : max(1, int(inside.sum(axis=1).max(initial=0)))]
        return np.take_along_axis(cells, order, 1)


def _seen(config: Config) -> NDArray[np.int64]:
    """The bytes of a window that each row chooses from: [rows, combine], ascending in each row."""
    rows = config.tile_depth
    return np.array([window(row, rows=rows, combine=config.combine) for row in range(rows)])


@dataclass(frozen=True, kw_only=True, eq=False)
class Packing:
    """A kernel's weights in tiles with selects."""

    windows: Windows
    weights: NDArray[np.signedinteger[Any]]
    """[channels, kernel rows, tiles, rows]."""
    selects: NDArray[np.int8]
    """In the shape of ``weights``: which of its row's bytes each weight multiplies."""

    def words(self, config: Config, zero_point: int = 0) -> NDArray[np.int8]:
        """The contents of the weight store, [channels, kernel rows, tiles, words]: a byte of selects, then the weights
        of the rows that it is for, and so on. ``zero_point`` is added to weights."""
        rows_per_byte, bits, pieces = config.selects, select_bits(config.combine), []
        for first in range(0, config.tile_depth, rows_per_byte):
            rows = slice(first, first + rows_per_byte)
            selects = self.selects[..., rows].astype(np.int64)
            byte = (selects << bits * np.arange(selects.shape[-1])).sum(axis=-1, keepdims=True)
            pieces += [byte.astype(np.uint8).view(np.int8), (self.weights[..., rows] + zero_point).astype(np.int8)]
        return np.concatenate(pieces, axis=-1)

    def unpacked(self, run: int, config: Config) -> NDArray[np.int64]:
        """The weights that the tiles multiply with: [channels, kernel rows, run]."""
        channels, kernel_rows, tiles, rows = self.weights.shape
        windows = self.windows
        lanes = _seen(config)[np.arange(rows), self.selects] + windows.starts[:, None] + windows.lead
        lanes = lanes.reshape(channels * kernel_rows, tiles * rows)
        result = np.zeros((len(lanes), max(windows.lead + run, int(lanes.max()) + 1)), np.int64)
        np.add.at(result, (np.arange(len(result))[:, None], lanes), self.weights.reshape(lanes.shape))
        return result[:, windows.lead :][:, :run].reshape(channels, kernel_rows, run)


def _place(wanted: NDArray[np.bool_], windows: Windows, config: Config) -> NDArray[np.int64] | None:
    """A separate cell for every byte that ``wanted`` [filters, run] marks: [filters, run], with −1 for other bytes;
    ``None`` if a byte finds no cell.

    Window by window, for all filters at once, each cell takes the first byte it sees, because the fewest later windows
    see that one. Each byte left over then moves others along an alternating path (Kuhn).
    """
    (filters, run), rows = wanted.shape, config.tile_depth
    taken = np.full((filters, windows.tiles * rows), UNPLACED, np.int64)
    result = np.full((filters, run), UNPLACED, np.int64)
    margin = config.beat_bytes
    left = np.zeros((filters, margin + run + margin), bool)
    left[:, margin : margin + run] = wanted
    seen = _seen(config)
    for tile in np.argsort(windows.starts, kind="stable").tolist():
        bytes_ = seen + int(windows.starts[tile])
        waiting = left[:, np.clip(bytes_, -margin, run) + margin]
        one, row = np.nonzero(waiting.any(axis=2))
        byte = bytes_[row, waiting[one, row].argmax(axis=1)]
        left[one, byte + margin] = False
        taken[one, tile * rows + row], result[one, byte] = byte, tile * rows + row
    unplaced = np.argwhere(left[:, margin : margin + run])
    if len(unplaced) > HOPELESS * wanted.sum():
        return None
    cells = windows.cells(run, config)
    for filter_, byte in unplaced:
        if not _move(int(byte), cells, taken[filter_], result[filter_]):
            return None
    return result


def _move(byte: int, cells: NDArray[np.int64], taken: NDArray[np.int64], result: NDArray[np.int64]) -> bool:
    """Finds a cell for a byte of one filter by moving others along the shortest path; whether there is one."""
    reached: dict[int, int] = {}
    frontier = [byte]
    while frontier:
        following = []
        for one in frontier:
            for cell in cells[one].tolist():
                if cell < 0 or cell in reached:
                    continue
                reached[cell] = one
                if taken[cell] == UNPLACED:
                    while True:
                        mover = reached[cell]
                        left = int(result[mover])
                        taken[cell], result[mover] = mover, cell
                        if mover == byte:
                            return True
                        cell = left
                following.append(int(taken[cell]))
        frontier = following
    return False


def pack_into(weights: NDArray[np.signedinteger[Any]], windows: Windows, config: Config) -> Packing | None:
    """Weights [channels, kernel rows, run] packed into given windows; ``None`` if they do not fit."""
    channels, kernel_rows, run = weights.shape
    matrix = weights.reshape(-1, run)
    count = windows.tiles * config.tile_depth
    if int((matrix != 0).sum(axis=1).max(initial=0)) > count:
        return None
    placed = _place(matrix != 0, windows, config)
    if placed is None:
        return None
    filters, byte = np.nonzero(placed != UNPLACED)
    cell = placed[filters, byte]
    if len(np.unique(filters * count + cell)) < len(cell):
        raise ValueError("packing puts two weights in one cell; this is a mistake of the compiler")
    made, chosen = np.zeros((len(matrix), count), matrix.dtype), np.zeros((len(matrix), count), np.int8)
    made[filters, cell] = matrix[filters, byte]
    chosen[filters, cell] = (byte - windows.starts[cell // config.tile_depth]) // config.tile_depth
    shape = (channels, kernel_rows, windows.tiles, config.tile_depth)
    return Packing(windows=windows, weights=made.reshape(shape), selects=chosen.reshape(shape))


def mask_to_fit(values: NDArray[np.floating], windows: Windows, config: Config) -> NDArray[np.bool_]:
    """A mask of the values [filters, run] to keep: for each filter, the largest magnitudes that fit the windows
    together.

    Values are placed from the largest to the smallest, and a placed value is never dropped. Matchings form a matroid,
    so this greedy choice is optimal.
    """
    filters, run = values.shape
    cells = windows.cells(run, config)
    taken = np.full((filters, windows.tiles * config.tile_depth), UNPLACED, np.int64)
    result = np.full((filters, run), UNPLACED, np.int64)
    everyone = np.arange(filters)
    for byte in np.argsort(-np.abs(values), axis=1, kind="stable").T:
        open_ = values[everyone, byte] != 0
        for cell in cells[byte].T:
            here = np.flatnonzero(open_ & (cell >= 0))
            here = here[taken[here, cell[here]] == UNPLACED]
            taken[here, cell[here]], result[here, byte[here]] = byte[here], cell[here]
            open_[here] = False
        for one in np.flatnonzero(open_ & (taken == UNPLACED).any(axis=1)):
            _move(int(byte[one]), cells, taken[one], result[one])
    return result != UNPLACED


def arrangements(run: int, tiles: int, config: Config, *, passes: bool = True) -> Iterator[Windows]:
    """Arrangements of a number of windows that see all bytes of a run, the simplest first."""
    width = config.beat_bytes
    for repeated in (number for number in range(1, tiles + 1) if tiles % number == 0 and (passes or number == 1)):
        count = tiles // repeated
        if count == 1:
            if width >= run:
                yield Windows(repeated, 1, 0)
            continue
        least = max(0 if repeated > 1 else 1, -(-(run - width) // (count - 1)))
        most = min(width, (run - 1) // (count - 1))
        steps = (-(-run // count), config.tile_depth, least, most, config.tile_depth - 1)
        yield from (Windows(repeated, count, stride) for stride in dict.fromkeys(steps) if least <= stride <= most)
        # As many windows see the first and the last byte as any other.
        stride = -(-(run + width) // (count + 1))
        if stride < width:
            yield Windows(repeated, count, stride, width - stride)


def pack(weights: NDArray[np.signedinteger[Any]], config: Config, *, passes: bool = True) -> Packing | None:
    """Weights [channels, kernel rows, run] packed into the fewest tiles found; ``None`` if those are no fewer than
    without selects.

    Parameters
    ----------
    passes
        Whether tiles may pass over the same bytes again.
    """
    run = weights.shape[-1]
    dense = -(-run // config.tile_depth)
    most = int((weights != 0).sum(axis=-1).max(initial=0))
    low, high, best = max(1, -(-most // config.tile_depth), -(-run // config.beat_bytes)), dense, None
    # Kernels pruned for tiles fit the lower bound at once; others end up nearer to the lower bound than to the upper.
    guess = low
    while low < high:
        made = _pack_in(weights, guess, config, passes)
        if made is not None:
            best, high = made, guess
        else:
            low = guess + 1
        guess = (3 * low + high) // 4
    return best


def _pack_in(weights: NDArray[np.signedinteger[Any]], tiles: int, config: Config, passes: bool) -> Packing | None:
    tried = (
        pack_into(weights, windows, config) for windows in arrangements(weights.shape[-1], tiles, config, passes=passes)
    )
    return next((made for made in tried if made is not None), None)
