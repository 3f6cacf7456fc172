"""What a run took, for programs to read: the JSON of ``sateen run --json``, of which tables and reports are made."""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass, fields
from pathlib import Path
from typing import Any

from sateen.compiler import Model, Step
from sateen.errors import InputError
from sateen.hw.spec.config import Config
from sateen.runtime.device import Device, Profile

__all__ = ["LayerRecord", "RunRecord", "StepRecord", "TensorRecord"]


@dataclass(frozen=True, kw_only=True)
class LayerRecord:
    """One layer of the device, in one inference."""

    name: str
    op: str
    shape: list[int]
    """Of one item's output."""
    macs: int
    cycles: int
    ideal_cycles: int
    """With every PE at work in every cycle."""
    predicted_cycles: int
    """By the cycle model."""
    busy: int
    """Cycles in which the tile took a beat."""
    beats: int
    columns: int
    """Columns of the tile that have an output channel, summed over the beats."""
    utilization: float
    """Multiply-accumulates ÷ (cycles × PEs)."""
    stalls: dict[str, int]
    """Cycles by cause, as :class:`sateen.hw.spec.counters.Counters` has them."""
    weight_bytes: int
    """Weights and channel parameters that went to the tile."""
    activation_bytes: int
    """Activations that went to the tile, padding included."""
    tiles: int = 0
    """Tiles of weights."""
    dense_tiles: int = 0
    """Without combined columns."""
    density: float = 0.0
    """Share of the tiles' cells that hold a weight that is not zero."""
    dense_cycles: int = 0
    """What the cycle model expects without combined columns; 0 where the device has none."""


@dataclass(frozen=True, kw_only=True)
class StepRecord:
    """One operator, on the device or on the host."""

    name: str
    op: str
    host: bool
    reason: str
    """Why the host runs it, if it is not the host's by its nature."""
    memory_bytes: int
    """Scratchpad in use meanwhile."""


@dataclass(frozen=True, kw_only=True)
class TensorRecord:
    """A tensor's stay in the scratchpad."""

    name: str
    address: int
    bytes: int
    first: int
    """Number of the step from which on it is needed; steps count from 0."""
    last: int
    """Number of the last step that needs it."""


@dataclass(frozen=True, kw_only=True)
class RunRecord:
    """A run of a model on a device."""

    model: str
    device: str
    """The name it was opened by."""
    build: str
    config: dict[str, Any]
    """The device's, as :meth:`sateen.hw.spec.config.Config.to_dict` gives it."""
    layers: list[LayerRecord]
    steps: list[StepRecord]
    tensors: list[TensorRecord]
    scratchpad_bytes: int
    """Scratchpad that the model needs."""
    cycles: int
    """Of one inference, the link excluded."""
    utilization: float
    inferences: int
    link_bytes: int
    """Over the link, both ways, in the whole run."""
    equal_to_golden: bool | None
    """``None``: not compared."""

    FORMAT = "sateen.run/2"

    @classmethod
    def of(cls, model: Model, device: Device, name: str, profile: Profile, equal: bool | None = None) -> RunRecord:
        """What a run of ``model`` on ``device``, opened by ``name``, took."""
        steps, tensors = _memory(model)
        return cls(
            model=model.graph.name,
            device=name,
            build=device.identity.build,
            config=device.config.to_dict(),
            layers=_layers(model, profile),
            steps=steps,
            tensors=tensors,
            scratchpad_bytes=model.scratchpad_bytes,
            cycles=profile.cycles,
            utilization=profile.utilization,
            inferences=profile.inferences,
            link_bytes=profile.link_bytes,
            equal_to_golden=equal,
        )

    def document(self) -> dict[str, Any]:
        """As JSON."""
        return {"format": self.FORMAT, **asdict(self)}

    @classmethod
    def load(cls, path: Path) -> RunRecord:
        """Reads what a run wrote.

        Raises
        ------
        InputError
            If it is damaged, or something else.
        """
        try:
            document = json.loads(path.read_bytes())
            if document["format"] != cls.FORMAT:
                raise ValueError(f"its format is {document['format']!r}")
            values = {field.name: document[field.name] for field in fields(cls)}
            for name, kind in (("layers", LayerRecord), ("steps", StepRecord), ("tensors", TensorRecord)):
                values[name] = [kind(**one) for one in values[name]]
            Config.from_dict(values["config"])
            return cls(**values)
        except OSError as error:
            raise InputError(f"cannot read {path}: {error.strerror or error}") from error
        except (KeyError, TypeError, ValueError) as error:
            raise InputError(
                f"{path} holds no {cls.FORMAT}, or is damaged ({error}); write it anew with sateen run --json"
            ) from error

    @property
    def macs(self) -> int:
        """Multiply-accumulates of one inference."""
        return sum(layer.macs for layer in self.layers)


def _layers(model: Model, profile: Profile) -> list[LayerRecord]:
    records = []
    for one in profile.layers:
        layer, counters = one.layer, asdict(one.counters)
        records.append(
            LayerRecord(
                name=layer.name,
                op=layer.op,
                shape=list(model.graph.tensors[layer.output].shape[1:]),
                macs=layer.macs,
                cycles=counters.pop("cycles"),
                ideal_cycles=-(-layer.macs // one.pes),
                predicted_cycles=layer.predicted.cycles,
                busy=counters.pop("busy"),
                utilization=one.utilization,
                stalls=counters,
                **asdict(layer.traffic),
                tiles=layer.combining.tiles,
                dense_tiles=layer.combining.dense_tiles,
                density=layer.combining.density,
                dense_cycles=layer.combining.dense_cycles,
            )
        )
    return records


def _memory(model: Model) -> tuple[list[StepRecord], list[TensorRecord]]:
    """All steps in order, and what stands in the scratchpad meanwhile."""
    operators = [name for step in model.steps for name in _operators(model, step)]
    number = {op.name: place for place, op in enumerate(model.graph.ops)}
    place = {number[name]: index for index, name in enumerate(operators)}
    tensors = [
        TensorRecord(
            name=name, address=model.addresses[name], bytes=model.size(name), first=place[first], last=place[last]
        )
        for name, lives in model.lives.items()
        for first, last in lives
    ]
    reasons: dict[str, str] = {}
    for step in model.steps:
        if step.host:
            reasons[step.host] = step.reason
        elif step.tiles:
            layer = model.layers[step.first]
            at = operators.index(layer.name)
            source, target = max(tile.source[1] for tile in step.tiles), max(tile.target[1] for tile in step.tiles)
            for index, name in enumerate(model.graph.ops[number[layer.name]].inputs):
                tensors.append(
                    TensorRecord(name=f"rows of {name}", address=index * source, bytes=source, first=at, last=at)
                )
            tensors.append(
                TensorRecord(
                    name=f"rows of {layer.output}", address=step.tiles[0].address, bytes=target, first=at, last=at
                )
            )
    steps = [
        StepRecord(
            name=name,
            op=type(model.graph.ops[number[name]]).__name__,
            host=name in reasons,
            reason=reasons.get(name, ""),
            memory_bytes=sum(tensor.bytes for tensor in tensors if tensor.first <= index <= tensor.last),
        )
        for index, name in enumerate(operators)
    ]
    return steps, sorted(tensors, key=lambda tensor: (tensor.first, tensor.address))


def _operators(model: Model, step: Step) -> list[str]:
    return [step.host] if step.host else [layer.name for layer in model.layers[step.first : step.first + step.count]]
