"""Column grouping and conflict pruning (Kung, McDanel, Zhang, ASPLOS 2019): sparse columns of a filter matrix merged
into dense ones.

A filter matrix has a row for each filter and a column for each input channel, of one kernel position or of all. A group
of columns shares a row of the array, where each filter may keep one weight of the group.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from sateen.hw.spec.pe import window

__all__ = ["ALPHA", "GAMMA", "STRUCTURED", "arrange", "group_columns", "prune_conflicts", "structured_groups"]

ALPHA, GAMMA = 8, 0.5
"""The authors' choice: columns of a group at most, and conflicts that a filter may have on average."""
STRUCTURED = (4, 2)
"""Of structured sparsity as processors have it: groups of four columns, in which each filter has two weights at most.
"""

Matrix = NDArray[Any]
Groups = list[list[int]]


def group_columns(matrix: Matrix, *, alpha: int = ALPHA, gamma: float = GAMMA) -> Groups:
    """Groups of at most ``alpha`` columns with at most ``gamma`` conflicts a filter on average; columns of zeros are
    left out.

    The first column that is left takes in, of those that may join it, the one that leaves the fewest filters without a
    weight: dense ones first. It goes on until none may join, since a group that grows never has fewer conflicts.

    Parameters
    ----------
    matrix
        [filters, columns].
    """
    if alpha < 1:
        raise ValueError(f"alpha must be 1 or more, not {alpha!r}")
    if gamma < 0:
        raise ValueError(f"gamma must be 0 or more, not {gamma!r}")
    used = np.ascontiguousarray((matrix != 0).T)
    weights = used.sum(axis=1, dtype=np.int64)
    free, most = weights > 0, int(gamma * matrix.shape[0])
    by_filter = np.ascontiguousarray(used.T)
    groups: Groups = []
    for seed in range(len(used)):
        if not free[seed]:
            continue
        group, covered = [seed], used[seed].copy()
        free[seed], total = False, int(weights[seed])
        shared = by_filter[covered].sum(axis=0, dtype=np.int32)
        while len(group) < alpha:
            # Every weight but a filter's first is a conflict.
            may = free & (total - int(covered.sum()) + shared <= most)
            if not may.any():
                break
            best = int(np.where(may, weights - shared, -1).argmax())
            fresh = used[best] & ~covered
            shared += by_filter[fresh].sum(axis=0, dtype=np.int32)
            covered |= fresh
            group.append(best)
            free[best], total = False, total + int(weights[best])
        groups.append(group)
    return groups


def prune_conflicts(matrix: Matrix, groups: Groups, *, keep: int = 1) -> Matrix:
    """The matrix with, in each group, each filter's ``keep`` weights of largest magnitude; of equal ones the first."""
    result = np.zeros_like(matrix)
    for group in groups:
        part = matrix[:, group]
        # In a type that holds the magnitude of -128.
        largest = np.argsort(-np.abs(part.astype(np.float64)), axis=1, kind="stable")[:, :keep]
        kept = np.zeros(part.shape, bool)
        np.put_along_axis(kept, largest, True, axis=1)
        result[:, group] = np.where(kept, part, 0)
    return result


def structured_groups(matrix: Matrix) -> Groups | None:
    """Groups of four neighbouring columns, if every filter has two weights at most in each; ``None`` if not."""
    size, most = STRUCTURED
    filters, columns = matrix.shape
    if columns % size or ((matrix != 0).reshape(filters, -1, size).sum(axis=2) > most).any():
        return None
    return np.arange(columns).reshape(-1, size).tolist()


def arrange(matrix: Matrix, groups: Groups, *, rows: int, combine: int) -> NDArray[np.int64]:
    """An order of all columns in which a group's stand where one row of the array sees them: position → column.

    Windows follow each other without a gap; a row of the array sees ``combine`` columns of each, fewer of the last.
    Large groups come first, each to the row where it has the fewest conflicts with what stands there; one that no row
    has room for is divided.
    """
    columns = matrix.shape[1]
    used = matrix != 0
    bins = [
        [start + lane for lane in window(row, rows=rows, combine=combine) if start + lane < columns]
        for start in range(0, columns, rows * combine)
        for row in range(rows)
    ]
    room = np.array([len(places) for places in bins])
    covered = np.zeros((len(bins), matrix.shape[0]), np.int64)
    order = np.full(columns, -1, np.int64)
    grouped = {column for group in groups for column in group}
    left = [*sorted(groups, key=len, reverse=True), *([column] for column in range(columns) if column not in grouped)]

    def put(group: list[int]) -> bool:
        fits = room >= len(group)
        if not fits.any():
            return False
        counts = used[:, group].sum(axis=1)
        conflicts = np.maximum(covered + counts - 1, 0).sum(axis=1)
        # Of equal ones the row whose room the group fills best.
        best = int(np.lexsort((room, conflicts, ~fits))[0])
        for column in group:
            order[bins[best][len(bins[best]) - room[best]]] = column
            room[best] -= 1
        covered[best] += counts
        return True

    for group in left:
        if not put(group):
            for column in group:
                put([column])
    return order
