"""The factors of cross-layer equalization."""

from __future__ import annotations

import numpy as np

from sateen.graph import Array

__all__ = ["channel_factors"]


def channel_factors(activations: Array, weights: Array) -> Array:
    """What each channel between two layers is divided by: ``√(r₁ / r₂)``, where r₁ is its largest magnitude, in
    ``activations``, and r₂ the next layer's largest weight for it as a share of the largest in the same row, in
    ``weights``; r₁ where rows have one channel only."""
    usable = (activations > 0) & (weights > 0)
    alone = bool((weights == 1).all())
    ratios = activations.astype(np.float64) if alone else np.sqrt(activations / np.where(usable, weights, 1))
    return np.where(usable, ratios, 1.0).astype(np.float32)
