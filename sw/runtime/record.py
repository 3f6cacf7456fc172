"""Records of runs: the JSON of ``sateen run --json``, from which tables and reports are made."""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import asdict, dataclass, fields
from pathlib import Path
from typing import Any, ClassVar

from sateen.compiler import Model, Step, notes
from sateen.errors import InputError
from sateen.files import read_bytes
from sateen.hw.spec.config import Config
from sateen.hw.spec.counters import Counters
from sateen.records import read, short
from sateen.runtime.device import Device, LayerProfile, Profile
from sateen.runtime.moves import memory_use

__all__ = ["LayerRecord", "RunRecord", "StepRecord", "TensorRecord", "predicted_layers"]

MOST = 1 << 60
"""Numbers of a record are smaller."""
STALLS = {field.name for field in fields(Counters)} - {"cycles", "busy"}
"""The names of a layer's stalls."""


@dataclass(frozen=True, kw_only=True)
class LayerRecord:
    """One layer on the device, in one inference."""

    name: str
    op: str
    shape: list[int]
    """Shape of one item's output."""
    macs: int
    cycles: int
    ideal_cycles: int
    """Cycles with every PE at work in every cycle."""
    predicted_cycles: int
    """Cycles by the cycle model."""
    busy: int
    """Cycles in which the tile took a beat."""
    beats: int
    columns: int
    """Columns of the tile with an output channel, summed over the beats."""
    utilization: float
    """Multiply-accumulates ÷ (cycles × PEs)."""
    stalls: dict[str, int]
    """Cycles by cause, as in :class:`sateen.hw.spec.counters.Counters`."""
    weight_bytes: int
    """Bytes of weights and channel parameters that went to the tile."""
    activation_bytes: int
    """Bytes of activations that went to the tile, padding included."""
    tiles: int = 0
    """Tiles of weights."""
    dense_tiles: int = 0
    """Tiles of weights without combined columns."""
    density: float = 0.0
    """Share of the tiles' cells that hold a nonzero weight."""
    dense_cycles: int = 0
    """Cycles without combined columns, by the cycle model; 0 if the device has none."""
    note: str = ""
    """Why it takes more cycles than its weights need, if it does."""


@dataclass(frozen=True, kw_only=True)
class StepRecord:
    """One operator, on the device or on the host."""

    name: str
    op: str
    host: bool
    reason: str
    """Why the host runs it, if a device could have."""
    memory_bytes: int
    """Bytes of scratchpad in use during the step."""


@dataclass(frozen=True, kw_only=True)
class TensorRecord:
    """A tensor's stay in the scratchpad."""

    name: str
    address: int
    bytes: int
    first: int
    """The first step that needs it; steps count from 0."""
    last: int
    """The last step that needs it."""


@dataclass(frozen=True, kw_only=True)
class RunRecord:
    """A run of a model on a device."""

    model: str
    device: str
    """The name that it was opened by."""
    build: str
    config: dict[str, Any]
    """The device's configuration, from :meth:`sateen.hw.spec.config.Config.to_dict`."""
    layers: list[LayerRecord]
    steps: list[StepRecord]
    tensors: list[TensorRecord]
    scratchpad_bytes: int
    """Bytes of scratchpad that the model needs."""
    cycles: int
    """Cycles of one inference, without the link."""
    utilization: float
    inferences: int
    link_bytes: int
    """Bytes over the link in both directions, in the whole run."""
    equal_to_golden: bool | None
    """``None``: not compared."""
    memory_bytes: int = 0
    """Bytes of weights, programs and tensors that one inference copies from and into SDRAM, by the model of moves."""
    memory_cycles: int = 0
    """Cycles of one inference in which such bytes moved while no layer ran, as the device counted them: the array
    waited for memory, besides :attr:`cycles`."""
    predicted_memory_cycles: int = 0
    """The same by the model of moves."""

    FORMAT: ClassVar[str] = "sateen.run/2"

    @classmethod
    def of(cls, model: Model, device: Device, name: str, profile: Profile, equal: bool | None = None) -> RunRecord:
        """The record of a run of ``model`` on ``device``, which was opened by ``name``."""
        steps, tensors = _memory(model)
        memory = memory_use(model, device.config)
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
            memory_bytes=memory.moved,
            memory_cycles=profile.memory_cycles,
            predicted_memory_cycles=memory.cycles,
        )

    def document(self) -> dict[str, Any]:
        """The record as JSON-ready values."""
        return {"format": self.FORMAT, **asdict(self)}

    @classmethod
    def load(cls, path: Path) -> RunRecord:
        """Reads the record that a run wrote.

        Raises
        ------
        InputError
            If the file is damaged or something else.
        """
        try:
            document = json.loads(read_bytes(path))
            if document.pop("format") != cls.FORMAT:
                raise ValueError("its format is another one")
            record = read(cls, document, "the record")
            _check(record)
            return record
        except OSError as error:
            raise InputError(f"cannot read {path}: {error.strerror or error}") from error
        except (AttributeError, KeyError, RecursionError, TypeError, ValueError) as error:
            raise InputError(
                f"{path} holds no {cls.FORMAT}, or is damaged ({error}); write it again with sateen run --json"
            ) from error

    @property
    def macs(self) -> int:
        """Multiply-accumulates of one inference."""
        return sum(layer.macs for layer in self.layers)


def _check(run: RunRecord) -> None:
    """``ValueError`` if figures of a record cannot be, or contradict each other."""
    Config.from_dict(run.config)
    for one in (run, *run.layers, *run.steps, *run.tensors):
        for name, value in vars(one).items():
            for each in _leaves(value):
                if isinstance(each, str):
                    each.encode()
                elif not 0 <= each < MOST:
                    raise ValueError(f"{name} is {each!r}")
    for layer in run.layers:
        if set(layer.stalls) != STALLS or not layer.shape or not layer.cycles:
            raise ValueError(f"layer {short(layer.name)} lacks figures")
        if layer.macs and not (layer.beats and layer.columns and layer.weight_bytes + layer.activation_bytes):
            raise ValueError(f"layer {short(layer.name)} has MACs without beats or bytes")
    for tensor in run.tensors:
        if not tensor.first <= tensor.last < len(run.steps) or tensor.bytes > run.scratchpad_bytes:
            raise ValueError(f"tensor {short(tensor.name)} is in no step or in no memory")


def _leaves(value: Any) -> Iterator[Any]:
    """The texts and numbers of a field, those of its lists and dictionaries among them."""
    if isinstance(value, list | dict):
        for each in value.values() if isinstance(value, dict) else value:
            yield from _leaves(each)
    elif isinstance(value, str | int | float):
        yield value


def predicted_layers(model: Model) -> list[LayerRecord]:
    """The layers with the counters that the cycle model expects."""
    pes = model.config.rows * model.config.cols * model.config.group
    layers = tuple(LayerProfile(layer=layer, counters=layer.predicted, pes=pes) for layer in model.layers)
    return _layers(model, Profile(layers=layers, inferences=1, link_bytes=0))


def _layers(model: Model, profile: Profile) -> list[LayerRecord]:
    records, said = [], notes(model)
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
                note=said.get(layer.name, ""),
            )
        )
    return records


def _memory(model: Model) -> tuple[list[StepRecord], list[TensorRecord]]:
    """All steps in order, and the tensors in the scratchpad during them."""
    operators = [name for step in model.steps for name in _operators(model, step)]
    number = {op.name: place for place, op in enumerate(model.graph.ops)}
    place = {number[name]: index for index, name in enumerate(operators)}
    tensors = [
        TensorRecord(
            name=name, address=model.addresses[name], bytes=model.size(name), first=place[first], last=place[last]
        )
        for name, live_ranges in model.live_ranges.items()
        for first, last in live_ranges
    ]
    reasons: dict[str, str] = {}
    for step in model.steps:
        if step.host:
            reasons[step.host] = step.reason
        elif step.tiles:
            tensors += _rows(model, step, operators.index(model.layers[step.first].name))
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


def _rows(model: Model, step: Step, at: int) -> Iterator[TensorRecord]:
    """What stands in the scratchpad while layers are computed row by row, the first of them in step ``at``."""
    ops = {op.name: op for op in model.graph.ops}
    layers = model.layers[step.first : step.first + step.count]
    size, address = max(tile.source[1] for tile in step.tiles), step.tiles[0].pieces[0].source_address
    inputs = ops[layers[0].name].inputs
    for index, name in enumerate(name for name in inputs if name not in step.inside):
        yield TensorRecord(name=f"rows of {name}", address=address + index * size, bytes=size, first=at, last=at)
    for place, layer in enumerate(layer for layer in layers if layer.output not in step.inside):
        pieces = [tile.pieces[place] for tile in step.tiles]
        yield TensorRecord(
            name=f"rows of {layer.output}", address=pieces[0].address, bytes=max(piece.target[1] for piece in pieces),
            first=at + place, last=min(at + place + 1, at + step.count - 1),
        )  # fmt: skip


def _operators(model: Model, step: Step) -> list[str]:
    return [step.host] if step.host else [layer.name for layer in model.layers[step.first : step.first + step.count]]
