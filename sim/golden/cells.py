"""The unit of recurrent layers: what becomes of a descriptor's sums, by the definition of
:class:`sateen.hw.spec.recurrent.Recurrent`."""

from __future__ import annotations

import numpy as np
from numpy.typing import ArrayLike, NDArray

from sateen.hw.spec.recurrent import UNIT_SUMS, Recurrent, Target
from sateen.sim.golden.recurrent import CELL, FORGET, INPUT, OUTPUT, STEP, UNIT, scaled, thirds
from sateen.sim.golden.scaling import Int8Array, Int64Array, rescale, wrap
from sateen.sim.golden.wide import Int16Array, clipped, tanh_at, wide_logistic

__all__ = ["RecurrentUnit", "from_bytes", "to_bytes"]


def to_bytes(values: Int16Array) -> Int8Array:
    """Each value of 16 bits as two bytes, the lower one less 128 first: the last axis is twice as long."""
    return (values ^ np.int16(0x80)).astype("<i2").view(np.int8)


def from_bytes(values: Int8Array) -> Int16Array:
    """The inverse of :func:`to_bytes`."""
    return (np.ascontiguousarray(values).view("<i2") ^ np.int16(0x80)).astype(np.int16)


class RecurrentUnit:
    """The unit, with the words that it keeps from one descriptor to the next."""

    def __init__(self, words: int):
        self.words: NDArray[np.int16] = np.zeros(words, np.int16)

    def results(
        self, recurrent: Recurrent, sums: ArrayLike, channels: tuple[ArrayLike, ArrayLike, ArrayLike],
        places: Int64Array, *, zero_point: int = 0, low: int = -128, high: int = 127,
    ) -> Int8Array:  # fmt: skip
        """The bytes that a descriptor writes, one behind the other.

        Parameters
        ----------
        sums
            [n], in the order in which they come.
        channels
            Bias, multiplier and shift of each sum.
        places
            [n]: of each sum the address of its result, by the output's counters.
        """
        total = wrap(np.asarray(sums, np.int64)).astype(np.int64)
        bias, multiplier, shift = (np.broadcast_to(np.asarray(each, np.int64), total.shape) for each in channels)
        if recurrent.joins:
            total = (total.reshape(-1, UNIT_SUMS) << np.array([24, 16, 8, 0])).sum(axis=1)
            last = slice(UNIT_SUMS - 1, None, UNIT_SUMS)
            bias, multiplier, shift, places = bias[last], multiplier[last], shift[last], places[last] // UNIT_SUMS
        values = clipped(rescale(wrap(total + bias), multiplier, shift))
        if recurrent.adds:
            added = self.words[(recurrent.first + np.arange(len(values))) % len(self.words)]
            values = clipped(values.astype(np.int64) + added)
        if recurrent.target == Target.WORDS:
            self.words[places % len(self.words)] = values
            return np.zeros(0, np.int8)
        if recurrent.target == Target.WIDE:
            return to_bytes(values)
        narrow = values.astype(np.int64) if recurrent.target == Target.NARROW else self._hidden(recurrent, values)
        return np.clip(narrow + zero_point, low, high).astype(np.int8)

    def _hidden(self, recurrent: Recurrent, values: Int16Array) -> Int64Array:
        """Replaces cells, and returns their hidden values."""
        gates = values.reshape(-1, UNIT_SUMS).T
        cells = self.words[: gates.shape[1]]
        kept = scaled(wide_logistic(gates[FORGET], STEP), cells, UNIT)
        new = wide_logistic(gates[INPUT], STEP), tanh_at(thirds(gates[CELL], -12))
        cell = clipped(kept.astype(np.int64) + scaled(*new, UNIT * UNIT / 2.0**recurrent.cell_power))
        if recurrent.cell_clip:
            cell = np.clip(cell, -recurrent.cell_clip, recurrent.cell_clip)
        cells[:] = cell
        bent = tanh_at(thirds(cell, recurrent.cell_power)).astype(np.int64)
        return rescale(bent * wide_logistic(gates[OUTPUT], STEP), recurrent.multiplier, recurrent.shift)
