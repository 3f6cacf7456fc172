"""Column grouping and conflict pruning (Kung, McDanel, Zhang, ASPLOS 2019): sparse columns of a filter matrix merged
into dense ones.

A filter matrix has a row for each filter and a column for each input channel, for one kernel position or for all. A
group of columns shares a row of the array, in which each filter may keep one weight of the group.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from sateen.hw.spec.pe import window

__all__ = ["ALPHA", "GAMMA", "STRUCTURED", "arrange", "group_columns", "prune_conflicts", "structured_groups"]

ALPHA, GAMMA = 8, 0.5
"""The authors' choice: the most columns of a group, and the most conflicts a filter has on average."""
STRUCTURED = (4, 2)
"""Structured 2:4 sparsity, as processors support it: groups of four columns in which each filter has at most two
weights.
"""

Matrix = NDArray[Any]
Groups = list[list[int]]


def group_columns(matrix: Matrix, *, alpha: int = ALPHA, gamma: float = GAMMA) -> Groups:
    """Groups of at most ``alpha`` columns with at most ``gamma`` conflicts a filter on average. Columns of zeros are
    left out.

    The first remaining column starts a group. It repeatedly takes the column, among those that may join, that leaves
    the fewest filters without a weight; so dense columns come first. The group is complete when no column may join,
    because a growing group never has fewer conflicts.

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
            # Each weight of a filter beyond the first is a conflict.
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
    """The matrix with only the ``keep`` largest weights of each filter in each group; of equal ones, the first."""
    result = np.zeros_like(matrix)
    for group in groups:
        part = matrix[:, group]
        # Float, because int8 cannot hold the magnitude of -128.
        largest = np.argsort(-np.abs(part.astype(np.float64)), axis=1, kind="stable")[:, :keep]
        kept = np.zeros(part.shape, bool)
        np.put_along_axis(kept, largest, True, axis=1)
        result[:, group] = np.where(kept, part, 0)
    return result


def structured_groups(matrix: Matrix) -> Groups | None:
    """Groups of four neighbouring columns, if every filter has at most two weights in each; otherwise ``None``."""
    size, most = STRUCTURED
    filters, columns = matrix.shape
    if columns % size or ((matrix != 0).reshape(filters, -1, size).sum(axis=2) > most).any():
        return None
    return np.arange(columns).reshape(-1, size).tolist()


def arrange(matrix: Matrix, groups: Groups, *, rows: int, combine: int) -> NDArray[np.int64]:
    """An order of all columns in which one row of the array sees all columns of a group: position → column.

    Windows follow each other without gaps. A row of the array sees ``combine`` columns of each window, fewer of the
    last. Large groups are placed first, each in the row where it conflicts least with the columns already there. A
    group that no row has room for is divided.
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
