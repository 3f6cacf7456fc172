"""Cross-layer equalization of networks; :mod:`~sateen.quantize.equalization` has that of other models."""

from __future__ import annotations

import dataclasses
import itertools
from collections.abc import Mapping

import numpy as np

from sateen.graph import Array, Network
from sateen.graph.network import Conv2D, Flatten, FullyConnected, Relu
from sateen.quantize.factors import channel_factors

__all__ = ["equalized"]


def equalized(network: Network, trace: Mapping[str, Array]) -> Network:
    """The same float function with equal ranges of channels between layers.

    Parameters
    ----------
    network
        Without batch normalization.
    trace
        All its results on the calibration data.
    """
    layers = list(network.layers)
    places = [place for place, layer in enumerate(layers) if isinstance(layer, Conv2D | FullyConnected)]
    for first, second in itertools.pairwise(places):
        between = layers[first:second]
        if any(isinstance(layer, Relu) and layer.limit is not None for layer in between):
            # A limit does not move with a factor.
            continue
        flat = next((place for place, layer in enumerate(between) if isinstance(layer, Flatten)), len(between))
        values = np.abs(trace[between[flat - 1].name])
        largest = values.reshape(-1, values.shape[-1]).max(axis=0)
        one, two = layers[first], layers[second]
        assert isinstance(one, Conv2D | FullyConnected) and isinstance(two, Conv2D | FullyConnected)
        # Channels lie along the last axis, and flattened they still follow each other.
        columns = two.weights.reshape(len(two.weights), -1, len(largest))
        shares = np.abs(columns).astype(np.float64)
        rows = shares.max(axis=(1, 2), keepdims=True)
        factors = channel_factors(largest, (shares / np.where(rows > 0, rows, 1)).max(axis=(0, 1)))
        by_row = factors.reshape(-1, *[1] * (one.weights.ndim - 1))
        weights, bias = (one.weights / by_row).astype(np.float32), (one.bias / factors).astype(np.float32)
        layers[first] = dataclasses.replace(one, weights=weights, bias=bias)
        weights = (columns * factors).reshape(two.weights.shape).astype(np.float32)
        layers[second] = dataclasses.replace(two, weights=weights)
    return dataclasses.replace(network, layers=layers)
