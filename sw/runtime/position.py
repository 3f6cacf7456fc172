"""Where an inference is: for people who wait for it."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from sateen.compiler import Model

__all__ = ["Place", "Position"]


@dataclass(frozen=True)
class Place:
    """A place in an inference."""

    layer: int
    """Number of the layer that runs, from 1."""
    layers: int
    """Number of the model's layers."""
    name: str
    """The layer's name."""
    share: float
    """Share of the inference that is done, by the cycle model; 0 to 1."""


class Position:
    """Follows an inference. The device runs several layers without the host; where it is within them is estimated from
    a simulation's cycles.

    Parameters
    ----------
    model
        What runs.
    cycles
        Returns the cycles of the simulated device so far; ``None`` for a board.
    """

    def __init__(self, model: Model, cycles: Callable[[], int] | None):
        self._model, self._cycles = model, cycles
        self._expected = [layer.predicted.cycles for layer in model.layers]
        self._now = 0, 0, 0.0, 0

    def begin(self, first: int, count: int, share: float = 0.0) -> None:
        """The device begins to run layers, of which ``share`` has been done before."""
        self._now = first, count, share, self._cycles() if self._cycles else 0

    def __call__(self) -> Place:
        """The place now; may be called from another thread."""
        first, count, share, since = self._now
        total, here = sum(self._expected), sum(self._expected[first : first + count])
        done = share * here
        if self._cycles and count > 0:
            done = min(done + self._cycles() - since, here)
        layer, left = first, done
        while layer < first + count - 1 and left >= self._expected[layer]:
            left -= self._expected[layer]
            layer += 1
        return Place(
            layer=layer + 1,
            layers=len(self._expected),
            name=self._model.layers[layer].name,
            share=(sum(self._expected[:first]) + done) / total if total else 0.0,
        )
