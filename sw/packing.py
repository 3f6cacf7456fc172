"""Packing a sparse kernel into few tiles of weights, for arrays in which every PE chooses among several activations of its row.

A tile with selects sees ``beat_bytes`` consecutive bytes of a kernel row, its window; each of its weights multiplies one byte of those
that its row may choose from (:func:`weft.hw.spec.pe.window`). So a filter's weights are placed one by one: a byte goes to any tile whose
window has it, in the one row that sees it there, if that cell is free. Filters do not meet, since each has a column of its own. Whether
every filter finds room in so many tiles is a bipartite matching for each of them; nothing is pruned, nothing is rounded.

Windows stand regularly, as the device's counters have it: ``passes`` times over the same bytes, ``count`` times a ``stride`` further on.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from weft.hw.spec.config import Config
from weft.hw.spec.pe import select_bits, window

__all__ = ["Packing", "Windows", "arrangements", "keep", "pack", "pack_into", "place"]

UNPLACED = -1
LONG = 1024
"""Bytes of a run from which on one arrangement of so many windows is tried, not several."""
HOPELESS = 1 / 16
"""Share of a matrix's weights that first come, first served leaves over, from which on none is moved any more."""


@dataclass(frozen=True)
class Windows:
    """Where the tiles of a kernel row stand. Tile ``p · count + k`` begins at byte ``k · stride``."""

    passes: int
    count: int
    stride: int

    @property
    def tiles(self) -> int:
        """Tiles of weights for each kernel row."""
        return self.passes * self.count

    def places(self, run: int, config: Config) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
        """The cells, tile · rows + row, that each byte may go to, and the selects there: [run, choices], −1 where there is none."""
        rows, combine = config.tile_depth, config.combine
        seen = np.array([window(row, rows=rows, combine=combine) for row in range(rows)])
        row_of, select_of = np.zeros(rows * combine, np.int64), np.zeros(rows * combine, np.int64)
        row_of[seen], select_of[seen] = np.arange(rows)[:, None], np.arange(combine)
        tiles = np.arange(self.tiles)
        lane = np.arange(run)[:, None] - tiles % self.count * self.stride
        inside = (lane >= 0) & (lane < rows * combine)
        lane = np.where(inside, lane, 0)
        cells = np.where(inside, tiles * rows + row_of[lane], UNPLACED)
        # Those that a byte has come first, earlier tiles before later ones: what is to the left has no further chance.
        order = np.argsort(~inside, axis=1, kind="stable")[:, : max(1, int(inside.sum(axis=1).max(initial=0)))]
        return np.take_along_axis(cells, order, 1), np.take_along_axis(np.where(inside, select_of[lane], 0), order, 1)


@dataclass(frozen=True, kw_only=True, eq=False)
class Packing:
    """A kernel's weights in tiles with selects."""

    windows: Windows
    weights: NDArray[np.int8]
    """[channels, kernel rows, tiles, rows]."""
    selects: NDArray[np.int8]
    """As ``weights``: which of its row's bytes each takes."""

    def words(self, config: Config) -> NDArray[np.int8]:
        """As the weight store has them, [channels, kernel rows, tiles, words]: before the weights of some rows a byte of their selects."""
        together, bits, pieces = config.selects, select_bits(config.combine), []
        for first in range(0, config.tile_depth, together):
            rows = slice(first, first + together)
            selects = self.selects[..., rows].astype(np.int64)
            byte = (selects << bits * np.arange(selects.shape[-1])).sum(axis=-1, keepdims=True)
            pieces += [byte.astype(np.uint8).view(np.int8), self.weights[..., rows]]
        return np.concatenate(pieces, axis=-1)

    def unpacked(self, run: int, config: Config) -> NDArray[np.int64]:
        """The weights that the tiles multiply with: [channels, kernel rows, run]."""
        channels, kernel_rows, tiles, rows = self.weights.shape
        seen = np.array([window(row, rows=rows, combine=config.combine) for row in range(rows)])
        lanes = seen[np.arange(rows), self.selects] + (np.arange(tiles) % self.windows.count * self.windows.stride)[:, None]
        result = np.zeros((channels * kernel_rows, max(run, int(lanes.max()) + 1)), np.int64)
        np.add.at(result, (np.arange(len(result))[:, None], lanes.reshape(len(result), -1)), self.weights.reshape(len(result), -1))
        return result[:, :run].reshape(channels, kernel_rows, run)


def place(
    wanted: NDArray[np.bool_], cells: NDArray[np.int64], count: int, *, partly: NDArray[np.int64] | None = None
) -> NDArray[np.int64] | None:
    """A cell for every byte that each filter wants, no two in one.

    First come, first served, for all filters at once; then those left over move others, one alternating path each (Kuhn).

    Parameters
    ----------
    wanted
        [filters, run].
    cells
        [run, choices], as :meth:`Windows.places` gives them.
    count
        Cells of a filter.
    partly
        [filters, run]: bytes of each filter, those first that are to be kept first. Bytes for which there is no room are then left out;
        by the matroid that matchings are, what is kept is the best that can be.

    Returns
    -------
    [filters, run], −1 for bytes without a cell; ``None`` if a byte finds none.
    """
    filters, run = wanted.shape
    taken = np.full((filters, count), UNPLACED, np.int64)
    result = np.full((filters, run), UNPLACED, np.int64)
    everyone = np.arange(filters)
    for step in range(run):
        byte = np.full(filters, step) if partly is None else partly[:, step]
        open_ = wanted[everyone, byte]
        for choice in range(cells.shape[1]):
            cell = cells[byte, choice]
            here = np.flatnonzero(open_ & (cell >= 0))
            here = here[taken[here, cell[here]] == UNPLACED]
            if here.size:
                taken[here, cell[here]] = byte[here]
                result[here, byte[here]] = cell[here]
                open_[here] = False
        if partly is not None:
            # What is kept first is never given up for what comes later, so that it moves now.
            for one in np.flatnonzero(open_ & (taken == UNPLACED).any(axis=1)):
                _move(int(byte[one]), cells, taken[one], result[one])
    if partly is not None:
        return result
    left = np.argwhere(wanted & (result == UNPLACED))
    if len(left) > HOPELESS * wanted.sum():
        return None
    for one, byte in left:
        if not _move(int(byte), cells, taken[one], result[one]):
            return None
    return result


def _move(byte: int, cells: NDArray[np.int64], taken: NDArray[np.int64], result: NDArray[np.int64]) -> bool:
    """Finds a cell for a byte of one filter by moving others, along the shortest path."""
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


def pack_into(weights: NDArray[np.int8], windows: Windows, config: Config) -> Packing | None:
    """Weights [channels, kernel rows, run] in given windows; ``None`` if they do not fit."""
    channels, kernel_rows, run = weights.shape
    matrix = weights.reshape(-1, run)
    cells, selects = windows.places(run, config)
    count = windows.tiles * config.tile_depth
    if int((matrix != 0).sum(axis=1).max(initial=0)) > count:
        return None
    placed = place(matrix != 0, cells, count)
    if placed is None:
        return None
    filters, byte = np.nonzero(placed != UNPLACED)
    cell = placed[filters, byte]
    choice = (cells[byte] == cell[:, None]).argmax(axis=1)
    made, chosen = np.zeros((len(matrix), count), np.int8), np.zeros((len(matrix), count), np.int8)
    made[filters, cell], chosen[filters, cell] = matrix[filters, byte], selects[byte, choice]
    shape = (channels, kernel_rows, windows.tiles, config.tile_depth)
    return Packing(windows=windows, weights=made.reshape(shape), selects=chosen.reshape(shape))


def keep(values: NDArray[np.floating], windows: Windows, config: Config) -> NDArray[np.bool_]:
    """Which values [filters, run] to keep so that they fit: of each filter those of the largest magnitudes that find room together."""
    cells, _ = windows.places(values.shape[1], config)
    order = np.argsort(-np.abs(values), axis=1, kind="stable")
    placed = place(values != 0, cells, windows.tiles * config.tile_depth, partly=order)
    assert placed is not None
    return placed != UNPLACED


def arrangements(run: int, tiles: int, config: Config, *, passes: bool = True) -> Iterator[Windows]:
    """Ways in which so many windows see all bytes of a run: the plainest first."""
    wide = config.beat_bytes
    passes = passes and (run <= LONG or tiles <= config.combine)
    for repeated in (number for number in range(1, tiles + 1) if tiles % number == 0 and (passes or number == 1)):
        count = tiles // repeated
        if count == 1:
            if wide >= run:
                yield Windows(repeated, 1, 0)
            continue
        least = max(0 if repeated > 1 else 1, -(-(run - wide) // (count - 1)))
        most = min(wide, (run - 1) // (count - 1))
        even = -(-run // count)
        steps = (even, config.tile_depth, least, most, config.tile_depth - 1)
        good = list(dict.fromkeys(step for step in steps if least <= step <= most))
        yield from (Windows(repeated, count, stride) for stride in (good[:1] if run > LONG else good))


def pack(weights: NDArray[np.int8], config: Config, *, passes: bool = True) -> Packing | None:
    """Weights [channels, kernel rows, run] in the fewest tiles that are found; ``None`` if those are no fewer than without selects.

    Parameters
    ----------
    passes
        Tiles may pass over the same bytes again.
    """
    run = weights.shape[-1]
    dense = -(-run // config.tile_depth)
    most = int((weights != 0).sum(axis=-1).max(initial=0))
    low, high, best = max(1, -(-most // config.tile_depth), -(-run // config.beat_bytes)), dense, None
    # What was pruned for tiles fits the fewest at once; others end up nearer to them than to the most.
    guess = low
    while low < high:
        made = _pack_in(weights, guess, config, passes)
        if made is not None:
            best, high = made, guess
        else:
            low = guess + 1
        guess = (3 * low + high) // 4
    return best


def _pack_in(weights: NDArray[np.int8], tiles: int, config: Config, passes: bool) -> Packing | None:
    tried = (pack_into(weights, windows, config) for windows in arrangements(weights.shape[-1], tiles, config, passes=passes))
    return next((made for made in tried if made is not None), None)
