"""Models on a device, for several people: one inference at a time, in the order in which they came."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import asdict, dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

from sateen.compiler import Model
from sateen.runtime import Device, LoadedModel
from sateen.sim.probed import ProbedDevice, Recording

__all__ = ["RECORDED_CYCLES", "Playable", "Player"]

RECORDED_CYCLES = 1 << 15
"""Cycles of a recording at most."""
BUSY, WAITING, STARVED = 1, 2, 4
"""Bits of a cycle's state in a recording."""


@dataclass(kw_only=True)
class Playable:
    """A model for the page."""

    name: str
    kind: str
    """What the page offers: ``digit`` to draw, ``picture`` to choose a file."""
    model: Model
    classes: list[str]
    prepare: Callable[[Any], NDArray[Any]]
    """What came from the page, strokes or a file's bytes, as an input [1, …]; ``ValueError`` or a Sateen error if it is
    none."""
    loaded: LoadedModel | None = field(default=None, repr=False)


class Player:
    """Runs models on a device. Calls come from one thread at a time.

    Parameters
    ----------
    device
        Where they run. A simulation that records (:class:`sateen.sim.probed.ProbedDevice`) shows its array.
    name
        Of the device, for people.
    models
        What is offered.
    """

    def __init__(self, device: Device, name: str, models: list[Playable]):
        self.device, self.name, self.models = device, name, models
        for each in models:
            each.loaded = device.load(each.model)

    @property
    def probe(self) -> ProbedDevice | None:
        """The simulation that records, if it is one."""
        found = getattr(self.device.link.transport, "device", None)
        return found if isinstance(found, ProbedDevice) else None

    def describe(self) -> dict[str, Any]:
        """What the page shows before anything runs."""
        config = self.device.config
        return {
            "device": self.name,
            "config": config.text,
            "clock_hz": config.clock_hz,
            "rows": config.rows,
            "cols": config.cols,
            "live": self.probe is not None,
            "models": [
                {"name": each.name, "kind": each.kind, "classes": each.classes, "macs": each.model.macs,
                 "scratchpad_bytes": config.scratchpad_bytes, "weight_bytes": config.weight_bytes,
                 "weights": each.model.weight_words * config.weight_word_bytes, "resident": each.model.resident,
                 "layers": [{"name": layer.name, "op": layer.op, "macs": layer.macs, "memory_bytes": layer.memory_bytes,
                             "shape": list(each.model.graph.tensors[layer.output].shape[1:])}
                            for layer in each.model.layers]}
                for each in self.models
            ],
        }  # fmt: skip

    def run(self, index: int, given: Any, *, record: bool = False) -> tuple[dict[str, Any], bytes | None]:
        """One inference.

        Parameters
        ----------
        index
            Of the model.
        given
            What came from the page.
        record
            Record the array, if this device can.

        Returns
        -------
        What the page shows, and the recording as bytes: for each cycle those of the PEs, row by row, then a state of
        :data:`BUSY`, :data:`WAITING` and :data:`STARVED`, then the layer.
        """
        playable = self.models[index]
        loaded = playable.loaded
        assert loaded is not None
        x = playable.prepare(given)
        probe = self.probe if record else None
        if probe is not None:
            probe.record(RECORDED_CYCLES)
        try:
            outputs = loaded.run(x)
        finally:
            recording = probe.recorded() if probe is not None else None
        profile = loaded.profile
        assert profile is not None
        scores = np.asarray(outputs, np.float64).ravel()
        best = int(scores.argmax())
        found: dict[str, Any] = {
            "model": index,
            "best": best,
            "class": playable.classes[best] if best < len(playable.classes) else str(best),
            "scores": _shares(scores).tolist(),
            "input": np.asarray(x[0], np.float64).ravel().tolist() if x[0].size <= 4096 else [],
            "cycles": profile.cycles,
            "link_bytes": profile.link_bytes,
            "layers": [asdict(each.counters) for each in profile.layers],
        }
        if recording is None:
            return found, None
        found["recording"] = {"cycles": len(recording.busy), "whole": recording.whole}
        return found, _bytes(recording, playable.model)


def _shares(scores: NDArray[np.float64]) -> NDArray[np.float64]:
    """Scores from 0 to 1, the highest 1, for bars."""
    low, high = scores.min(), scores.max()
    return (scores - low) / (high - low) if high > low else np.ones_like(scores)


def _bytes(recording: Recording, model: Model) -> bytes:
    cycles = len(recording.busy)
    state = BUSY * recording.busy + WAITING * recording.waiting + STARVED * recording.starved
    rows = recording.activations.reshape(cycles, -1).view(np.uint8)
    layers = _layers(recording.place, model)
    return np.column_stack([rows, state.astype(np.uint8), layers]).tobytes()


def _layers(places: NDArray[np.uint8], model: Model) -> NDArray[np.uint8]:
    """The layer of each cycle, from the descriptors' places: a place below the one before begins the next segment."""
    tables: dict[int, dict[int, int]] = {}
    for index, layer in enumerate(model.layers):
        for part in layer.parts:
            for place in range(part.first, part.first + part.count):
                tables.setdefault(part.segment, {})[place] = index
    segments = np.concatenate([[0], np.cumsum(np.diff(places.astype(int)) < 0)]) if len(places) else np.zeros(0, int)
    order = sorted(tables)
    found = [
        tables[order[min(segment, len(order) - 1)]].get(place, 0)
        for segment, place in zip(segments.tolist(), places.tolist(), strict=True)
    ]
    return np.minimum(np.array(found, int), 255).astype(np.uint8)
