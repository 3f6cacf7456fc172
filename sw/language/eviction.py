"""A cache of keys and values under a budget: what was looked at least is given up.

After Kelle (Xia and others, 2025): each head of keys keeps the positions that got the most attention so far, and the
most recent ones, whose attention is not known yet.
"""

from __future__ import annotations

import numpy as np

from sateen.errors import InputError
from sateen.language.decoder import Shape
from sateen.language.integers import SHARE_BITS, Cache, Integers

__all__ = ["EvictingCache", "cache_bytes"]


class EvictingCache(Cache):
    """Keeps at most ``budget`` positions in each head of keys; a text may be longer than the model's context.

    Parameters
    ----------
    budget
        Positions, 2 to the model's context.
    recent
        The latest of them, which are kept whatever attention they got; by default a quarter.

    Raises
    ------
    InputError
        If the budget is out of range.
    """

    def __init__(self, shape: Shape, budget: int, recent: int | None = None):
        super().__init__(shape)
        if not 2 <= budget <= shape.context:
            raise InputError(f"a budget must be 2 to {shape.context} positions, the model's context, not {budget}")
        self.budget, self.recent = budget, max(1, budget // 4) if recent is None else recent
        if not 1 <= self.recent < budget:
            raise InputError(f"the most recent positions must be 1 to {budget - 1}, within the budget, not {recent}")
        self._attention = [np.zeros((0, shape.kv_heads), np.int64)] * shape.layers
        """The attention that each position got so far, [positions, kv_heads]; 2^SHARE_BITS for each head and token."""

    @property
    def full(self) -> str:
        return ""

    def attended(self, layer: int, shares: Integers) -> None:
        part = (shares.astype(np.int64) << SHARE_BITS) // shares.sum(axis=1, keepdims=True)
        kv_heads = self._attention[layer].shape[1]
        got = part.reshape(kv_heads, -1, part.shape[1]).sum(axis=1).T
        got[: len(self._attention[layer])] += self._attention[layer]
        if len(got) > self.budget:
            # The lightest of those that are old, the oldest of equals; each head gives up its own.
            gone = got[: -self.recent].argmin(axis=0)
            kept = np.arange(len(got) - 1)[:, None]
            kept = kept + (kept >= gone)
            got, self.places[layer] = (np.take_along_axis(held, kept, axis=0) for held in (got, self.places[layer]))
            self.keys[layer], self.values[layer] = (
                np.take_along_axis(held[layer], kept[:, :, None], axis=0) for held in (self.keys, self.values)
            )
        self._attention[layer] = got

    def forget(self, count: int) -> None:
        """Not possible once positions are gone.

        Raises
        ------
        InputError
            If ``count`` is not 0.
        """
        if count:
            raise InputError("a cache with a budget cannot take tokens back: do not check guessed tokens with it")


def cache_bytes(shape: Shape, positions: int) -> int:
    """Bytes of the keys and values of so many positions."""
    return 2 * shape.layers * shape.kv_dim * positions
