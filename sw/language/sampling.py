"""The choice of the next token."""

from __future__ import annotations

import numpy as np

from sateen.language.decoder import Floats

__all__ = ["sample", "surprise"]


def sample(logits: Floats, temperature: float, random: np.random.Generator) -> int:
    """A token: the likeliest, the first of equals, at a temperature of 0, else one drawn by its likelihood."""
    if temperature == 0:
        return int(np.argmax(logits))
    scaled = (np.asarray(logits, np.float64) - np.max(logits)) / temperature
    shares = np.cumsum(np.exp(scaled))
    return int(np.searchsorted(shares, random.random() * shares[-1], side="right"))


def surprise(logits: Floats, tokens: list[int]) -> Floats:
    """The negative logarithm of each token's likelihood, given logits [tokens, vocabulary]; the perplexity of a text is
    the exponential of their mean."""
    values = np.asarray(logits, np.float64)
    values = values - values.max(axis=1, keepdims=True)
    return np.log(np.exp(values).sum(axis=1)) - values[np.arange(len(tokens)), tokens]
