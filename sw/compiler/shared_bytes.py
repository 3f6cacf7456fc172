"""Narrow weights that share a byte of the weight store, see :attr:`sateen.hw.spec.config.Config.weights_per_byte`."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

__all__ = ["packed", "unpacked"]


def packed(weights: NDArray[np.int8], per_byte: int) -> NDArray[np.int8]:
    """[groups, rows / per_byte, cols] of weights [groups, rows, cols]: those of ``per_byte`` rows in a byte, the first
    in its lowest bits. The weights must fit ``8 / per_byte`` bits."""
    if per_byte == 1:
        return weights
    bits = 8 // per_byte
    apart = weights.reshape(len(weights), -1, per_byte, weights.shape[-1]).astype(np.uint8) & (1 << bits) - 1
    places = bits * np.arange(per_byte, dtype=np.uint8)[:, None]
    return (apart << places).sum(axis=2, dtype=np.uint8).view(np.int8)


def unpacked(words: NDArray[np.int8], per_byte: int) -> NDArray[np.int8]:
    """The inverse of :func:`packed`."""
    if per_byte == 1:
        return words
    bits = 8 // per_byte
    # To the top of the byte, and down with its sign.
    apart = [(words << bits * (per_byte - 1 - place)).astype(np.int8) >> 8 - bits for place in range(per_byte)]
    return np.stack(apart, axis=2).reshape(len(words), -1, words.shape[-1])
