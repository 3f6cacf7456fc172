"""What a decoder looked at while it read and wrote, token by token."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from sateen.language.int8_decoder import Int8Decoder
from sateen.language.integers import LOGIT_BITS, AnyDecoder, Decoder, Integers

__all__ = ["Look", "Step", "Watched", "WatchedDecoder", "WatchedInt8Decoder"]


@dataclass(frozen=True, kw_only=True, eq=False)
class Look:
    """A token's attention in one layer."""

    places: NDArray[np.int64]
    """Which tokens of the text the cache kept for each head of keys, [kv_heads, positions]; the last is the token."""
    shares: NDArray[np.float64]
    """What each head took of them, [heads, positions]; a head's sum is 1."""


@dataclass(frozen=True, kw_only=True, eq=False)
class Step:
    """A token that the decoder took."""

    token: int
    looks: tuple[Look, ...]
    """One a layer."""
    following: NDArray[np.float64]
    """The likelihood of each token of the vocabulary to be the next, at a temperature of 1."""


class Watched(AnyDecoder):
    """What a decoder looked at, kept. Stands before the kind of decoder among the bases of a class."""

    def __init__(self, *arguments: Any, **options: Any):
        super().__init__(*arguments, **options)
        self.steps: dict[int, Step] = {}
        """By place in the text. A guessed token that was wrong is replaced by the one that stands there."""
        self._looks: list[list[Look]] = []
        """Those of the step under way, by layer and token."""

    def step(self, tokens: Sequence[int]) -> NDArray[np.int32]:
        first = self.cache.position
        self._looks = [[] for _ in range(self.model.shape.layers)]
        logits = super().step(tokens)
        values = logits.astype(np.float64) / 2**LOGIT_BITS
        likelihood = np.exp(values - values.max(axis=1, keepdims=True))
        likelihood /= likelihood.sum(axis=1, keepdims=True)
        for i, token in enumerate(tokens):
            looks = tuple(layer[i] for layer in self._looks)
            self.steps[first + i] = Step(token=token, looks=looks, following=likelihood[i])
        return logits

    def attended(self, layer: int, shares: Integers) -> None:
        # Before the cache gives up any.
        part = shares / shares.sum(axis=1, keepdims=True)
        self._looks[layer].append(Look(places=self.cache.places[layer].T, shares=part))
        super().attended(layer, shares)


class WatchedDecoder(Watched, Decoder):
    """A decoder that keeps what it looked at."""


class WatchedInt8Decoder(Watched, Int8Decoder):
    """The same of a decoder in int8."""
