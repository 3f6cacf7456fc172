"""The ranges of activations that quantization covers, from calibration data.

The whole range (``max``) wastes codes where few values are large. ``percentile`` cuts off a share of the values;
``mse`` searches the range whose codes are nearest to the values, in mean square.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass

import numpy as np

from sateen.graph import Array, require

__all__ = ["METHODS", "Calibration", "Range", "Trace", "activation_scale", "find_ranges", "mean_square_error"]

METHODS = ("max", "percentile", "mse")
SCHEMES = ("asymmetric", "symmetric")
"""How activations are quantized: −128..127 over [min, max], or −127..127 over ±max."""
Range = tuple[float, float]
Trace = Callable[[], Iterable[Mapping[str, Array]]]
"""Runs the float model on the calibration data: yields every real tensor by its name, item by item."""
BINS = 4096
CANDIDATES = 128
"""Ranges that ``mse`` tries for each end."""


@dataclass(frozen=True, kw_only=True)
class Calibration:
    """How ranges are found."""

    method: str = "max"
    """One of :data:`METHODS`."""
    percentile: float = 99.99
    """Share of a tensor's values, in percent, that ``percentile`` covers; half of the others lie on each side."""
    equalize: bool = False
    """Whether channels between two layers are scaled to one range first; see ``equalization.py``."""
    correct_bias: bool = False
    """Whether biases make up for the mean error of rounded weights on the mean of their inputs, as in section 4.2 of
    the work that ``equalization.py`` cites; padding counts as if it were image."""
    keep_float: tuple[str, ...] = ()
    """Layers that the host computes with their real weights, by the names of their results."""

    def __post_init__(self) -> None:
        if self.method not in METHODS:
            raise ValueError(f"method must be {', '.join(METHODS[:-1])} or {METHODS[-1]}, not {self.method!r}")
        if not 50 <= self.percentile <= 100:
            raise ValueError(f"percentile must lie within 50 and 100, not {self.percentile!r}")


def activation_scale(low: float, high: float, *, scheme: str, step: float = 0.0) -> tuple[float, int]:
    """Scale and zero point for values from ``low`` to ``high``; zero is always exact.

    The symmetric scale is ``2L / (2^8 − 2)``, where L is the larger magnitude. A scale is at least ``step``. If that is
    0 and the range holds only zero, the scale is 1.
    """
    if scheme == "symmetric":
        return max(-low / 127, high / 127, step) or 1.0, 0
    low, high = min(low, 0.0), max(high, 0.0)
    scale = max((high - low) / 255, step) or 1.0
    return scale, int(np.clip(np.rint(-128 - low / scale), -128, 127))


def find_ranges(trace: Trace, calibration: Calibration, *, scheme: str = "asymmetric") -> dict[str, Range]:
    """The range of each tensor of a trace, which runs once for ``max`` and twice for the other methods.

    Raises
    ------
    GraphError
        If a tensor has values that are not finite.
    """
    whole: dict[str, Range] = {}
    for tensors in trace():
        for name, values in tensors.items():
            if not values.size:
                continue
            low, high = float(values.min()), float(values.max())
            finite = bool(np.isfinite(low) and np.isfinite(high))
            require(finite, f"tensor {name!r}", "calibration leads to values in it that are not finite")
            before = whole.get(name, (low, high))
            whole[name] = min(low, before[0]), max(high, before[1])
    if calibration.method == "max":
        return whole
    counts = {name: np.zeros(BINS, np.int64) for name in whole}
    for tensors in trace():
        for name, values in tensors.items():
            if values.size:
                counts[name] += np.histogram(values, BINS, _ends(whole[name]))[0]
    return {name: _narrowed(whole[name], counts[name], calibration, scheme) for name in whole}


def _ends(whole: Range) -> Range:
    low, high = np.float32(whole[0]), np.float32(whole[1])
    return float(low), float(high if high > low else np.nextafter(low, np.float32(np.inf)))


def _narrowed(whole: Range, counts: Array, calibration: Calibration, scheme: str) -> Range:
    edges = np.linspace(*_ends(whole), BINS + 1)
    if calibration.method == "percentile":
        outside = (1 - calibration.percentile / 100) / 2 * counts.sum()
        total = np.cumsum(counts)
        # The first bins that reach beyond what is cut off.
        first, last = np.searchsorted(total, outside, "right"), np.searchsorted(total, counts.sum() - outside)
        return float(edges[min(first, BINS - 1)]), float(edges[min(last, BINS - 1) + 1])
    kept = counts > 0
    values, weights = ((edges[1:] + edges[:-1]) / 2)[kept], counts[kept]

    def error(low: float, high: float) -> float:
        return mean_square_error(values, activation_scale(low, high, scheme=scheme), weights)

    low, high = whole
    shares = np.arange(1, CANDIDATES + 1)[::-1] / CANDIDATES
    # One end at a time, the farther one first; twice, as the best place of one depends on the other.
    for end in (0, 1, 0, 1) if -low > high else (1, 0, 1, 0):
        candidates = [(whole[0] * share, high) if end == 0 else (low, whole[1] * share) for share in shares]
        low, high = min(candidates, key=lambda ends: error(*ends))
    return float(low), float(high)


def mean_square_error(values: Array, numbers: tuple[float, int], weights: Array | None = None) -> float:
    """The mean square of what int8 codes with this scale and zero point miss of the values."""
    scale, zero_point = numbers
    codes = np.clip(np.rint(values / scale) + zero_point, -128, 127)
    return float(np.average(((codes - zero_point) * scale - values) ** 2, weights=weights))
