"""microGPT: the smallest decoder that is worth the name, as A. Karpathy published it, in floating point.

One layer, 16 channels, four heads, 16 positions, 27 tokens: letters, and one that begins and ends a name. Tokens and
positions have embeddings, whose sum is normalized; then come attention and two matrices with a ReLU between, each
behind a normalization without a gain, and each added to what it began with; and a matrix to logits. Nothing is turned
by RoPE, and nothing has a bias. The weights here were trained on ``names.txt`` by
:mod:`sateen.language.micro_training`.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from sateen.errors import InputError
from sateen.language.decoder import Floats, Shape
from sateen.language.tokenizer import Tokenizer

__all__ = ["BOUNDARY", "MICRO", "NAMES", "WEIGHTS", "FloatMicro", "Letters", "Micro", "load_micro"]

MICRO = Shape(dim=16, hidden=64, layers=1, heads=4, kv_heads=4, vocabulary=27, context=16)
LETTERS = "abcdefghijklmnopqrstuvwxyz"
BOUNDARY = len(LETTERS)
"""The token that begins and ends a name."""
WEIGHTS, NAMES = (Path(__file__).parent / name for name in ("microgpt.npz", "names.txt"))
MATRICES = {
    "embedding": (27, 16), "places": (16, 16), "query": (16, 16), "key": (16, 16), "value": (16, 16),
    "output": (16, 16), "up": (64, 16), "down": (16, 64), "classifier": (27, 16),
}  # fmt: skip


@dataclass(frozen=True, kw_only=True, eq=False)
class Micro:
    """Its weights. A matrix is [outputs, inputs]."""

    embedding: Floats
    """[vocabulary, dim]."""
    places: Floats
    """[context, dim]: what a position adds to the embedding."""
    query: Floats
    key: Floats
    value: Floats
    output: Floats
    up: Floats
    down: Floats
    classifier: Floats
    """[vocabulary, dim]."""
    name: str = "microgpt"
    shape: Shape = MICRO

    @property
    def weights(self) -> int:
        """Number of weights of the matrices that every token passes."""
        return sum(getattr(self, name).size for name in MATRICES if name not in ("embedding", "places"))


class Letters(Tokenizer):
    """A token for each letter."""

    def __init__(self) -> None:
        pieces = [*(letter.encode() for letter in LETTERS), b"\n"]
        super().__init__(pieces, [0.0] * len(pieces), begin=BOUNDARY, end=BOUNDARY)

    def encode(self, text: str) -> list[int]:
        """The tokens of a name's beginning.

        Raises
        ------
        InputError
            If a character is no small letter.
        """
        for character in text:
            if character not in LETTERS:
                raise InputError(f"microgpt writes names in the letters a to z; {character!r} is none of them")
        return [BOUNDARY, *map(LETTERS.index, text)]


def load_micro() -> tuple[Micro, Letters]:
    """The weights that are part of Sateen."""
    with np.load(WEIGHTS) as arrays:
        return Micro(**{name: arrays[name].astype(np.float32) for name in MATRICES}), Letters()


class FloatMicro:
    """The decoder in floating point, token by token with a cache of keys and values: the definition.

    Parameters
    ----------
    observe
        Called with a name and an array [tokens, channels] for each activation that quantization needs the range of.
    """

    def __init__(self, model: Micro, *, observe: Any = None):
        self.model, self.observe = model, observe
        self.position = 0
        empty = np.zeros((0, model.shape.heads, model.shape.head_dim))
        self._keys = self._values = empty

    def step(self, tokens: Sequence[int]) -> Floats:
        """Takes the next tokens; logits [tokens, vocabulary], one row for each.

        Raises
        ------
        InputError
            If the context is full.
        """
        return np.concatenate([self._step(token) for token in tokens])

    def _step(self, token: int) -> Floats:
        m, s = self.model, self.model.shape
        if self.position == s.context:
            raise InputError(f"the context of {s.context} tokens is full")
        x = self._see("start", (m.embedding[token] + m.places[self.position]).astype(np.float64))
        x = self._see("normalized", normalized(x, s.epsilon))
        y = normalized(x, s.epsilon)
        query, key, value = (
            self._see(name, matrix.astype(np.float64) @ y).reshape(s.heads, -1)
            for name, matrix in (("query", m.query), ("key", m.key), ("value", m.value))
        )
        self._keys = np.concatenate([self._keys, key[None]])
        self._values = np.concatenate([self._values, value[None]])
        scores = np.einsum("hd,phd->hp", query, self._keys) / np.sqrt(s.head_dim)
        self._see("peaks", scores.max(axis=1))
        shares = np.exp(scores - scores.max(axis=1, keepdims=True))
        shares /= shares.sum(axis=1, keepdims=True)
        mixed = self._see("mixed", np.einsum("hp,phd->hd", shares, self._values).reshape(-1))
        x = self._see("middle", x + self._see("output", m.output @ mixed))
        hidden = self._see("hidden", np.maximum(m.up @ normalized(x, s.epsilon), 0))
        x = self._see("end", x + self._see("down", m.down @ hidden))
        self.position += 1
        return np.asarray(self._see("logits", m.classifier @ x))[None]

    def _see(self, name: str, values: Floats) -> Floats:
        if self.observe is not None:
            self.observe(name, values[None])
        return values


def normalized(x: Floats, epsilon: float) -> Floats:
    """x divided by the root of its mean of squares."""
    return np.asarray(x / np.sqrt((x * x).mean(axis=-1, keepdims=True) + epsilon))
