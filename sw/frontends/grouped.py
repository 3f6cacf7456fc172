"""Convolutions in groups, which both front ends read."""

from __future__ import annotations

import numpy as np

from sateen.graph import Array

__all__ = ["dense_weights"]


def dense_weights(weights: Array, groups: int) -> Array:
    """Weights over all channels that compute what weights in groups do: 0 where a group does not reach.

    Parameters
    ----------
    weights
        [O, height, width, I / groups]; the first O / groups kernels read the first I / groups channels, and so on.
    """
    outputs, height, width, depth = weights.shape
    dense = np.zeros((outputs, height, width, depth * groups), weights.dtype)
    for group, part in enumerate(np.split(weights, groups)):
        rows = slice(group * len(part), (group + 1) * len(part))
        dense[rows, :, :, group * depth : (group + 1) * depth] = part
    return dense
