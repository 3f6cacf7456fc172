"""Weights of 9 bits: those that their file gave a zero point, which the front end has subtracted.

The weight store holds bytes. Where the PEs hold 9 bits, a layer's weights are stored as codes, the weights plus a zero
point that the array subtracts again, if all of them lie within 255 of each other. Else the layer multiplies several
int8 parts of its weights with the same activations.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from sateen.hw.spec.config import Config

__all__ = ["Weights", "reason_for_parts", "weight_parts", "zero_point"]

Weights = NDArray[np.signedinteger[Any]]
"""int8, or int16 from −255 to 255."""


def _range(weights: Weights) -> tuple[int, int]:
    """The least and the largest weight; cells of the array without a weight hold 0."""
    return min(0, int(weights.min(initial=0))), max(0, int(weights.max(initial=0)))


def zero_point(weights: Weights) -> int:
    """The zero point of weights in the weight store: 0 if they are bytes.

    Raises
    ------
    ValueError
        If two of them, or one and 0, are more than 255 apart.
    """
    low, high = _range(weights)
    if high - low > 255:
        raise ValueError(f"weights from {low} to {high} have no zero point in common")
    return -128 - low if low < -128 else min(0, 127 - high)


def weight_parts(weights: Weights, config: Config) -> list[Weights]:
    """What the array multiplies, one after the other, with the same activations: the weights, or if the PEs do not hold
    them, int8 parts whose sum they are."""
    low, high = _range(weights)
    if config.zero_points and high - low <= 255:
        return [weights.astype(np.int8 if low >= -128 and high <= 127 else np.int16)]
    parts: list[Weights] = []
    rest = weights.astype(np.int16)
    while not parts or rest.any():
        parts.append(np.clip(rest, -128, 127).astype(np.int8))
        rest = rest - parts[-1]
    return parts


def reason_for_parts(weights: Weights, config: Config) -> str:
    """Why weights that are multiplied in parts are, and what to change."""
    low, high = _range(weights)
    if high - low > 255:
        return "their zero points differ too much between channels; quantize weights with one zero point, or with none"
    if config.pe_kind.weight_bits[1] < 9:
        return f"pe={config.pe} holds weights of 8 bits; quantize weights to int8 without a zero point"
    return (
        f"the configuration holds weights of {config.weight_bits} bits; set its weight_bits to 9, or quantize weights "
        f"to int8 without a zero point"
    )
