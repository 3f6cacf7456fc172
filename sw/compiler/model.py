"""Compiled models: what the host sends to a device, and the graph that it was made from."""

from __future__ import annotations

import math
import os
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, fields
from typing import Any

import numpy as np
from numpy.typing import NDArray

from sateen import archive
from sateen.errors import ModelFileError
from sateen.graph import Graph, GraphError
from sateen.hw.spec.config import Config
from sateen.hw.spec.counters import Counters

__all__ = ["Combining", "Layer", "Model", "Part", "Segment", "Step", "Tile", "Traffic", "runs"]


@dataclass(frozen=True, kw_only=True)
class Part:
    """Consecutive descriptors of a segment that belong to one layer."""

    segment: int
    first: int
    count: int


def runs(parts: Sequence[Part]) -> list[Part]:
    """Parts with those that follow each other in a segment made one, which the device runs without a pause."""
    made: list[Part] = []
    for part in parts:
        if made and (made[-1].segment, made[-1].first + made[-1].count) == (part.segment, part.first):
            made[-1] = Part(segment=part.segment, first=made[-1].first, count=made[-1].count + part.count)
        else:
            made.append(part)
    return made


@dataclass(frozen=True, kw_only=True)
class Traffic:
    """What goes to the tile in one inference."""

    beats: int = 0
    columns: int = 0
    """Columns with an output channel, summed over the beats."""
    weight_bytes: int = 0
    """Weights and channel parameters, as often as they are sent."""
    activation_bytes: int = 0
    """Bytes that the beats take, padding included."""

    def __add__(self, other: Traffic) -> Traffic:
        return Traffic(**{field.name: getattr(self, field.name) + getattr(other, field.name) for field in fields(self)})


@dataclass(frozen=True, kw_only=True)
class Combining:
    """What became of a layer's columns on a device that combines them; all zero for layers that do not multiply by
    tiles of weights."""

    tiles: int = 0
    """Tiles of weights, all groups of channels together."""
    dense_tiles: int = 0
    """Without selects."""
    nonzeros: int = 0
    """Weights that are not zero."""
    cells: int = 0
    """PEs of all tiles, in columns that have a channel."""
    dense_cycles: int = 0
    """What the cycle model expects without selects, of the layer by itself."""
    reason: str = ""
    """Why it is not packed, or not all of it."""
    order: str = ""
    """Of a sparse layer, what became of its input's channels."""

    def __add__(self, other: Combining) -> Combining:
        numbers = {
            field.name: getattr(self, field.name) + getattr(other, field.name)
            for field in fields(self)
            if field.type == "int"
        }
        return Combining(**numbers, reason=self.reason or other.reason, order=self.order or other.order)

    @property
    def density(self) -> float:
        """Share of the cells that hold a weight that is not zero."""
        return self.nonzeros / self.cells if self.cells else 0.0


@dataclass(frozen=True, kw_only=True)
class Layer:
    """One operator on the device."""

    name: str
    op: str
    """The operator's kind, as ``Conv2D``."""
    output: str
    """Name of its output tensor."""
    macs: int
    """Multiply-accumulates of one inference."""
    parts: tuple[Part, ...]
    predicted: Counters
    """What the cycle model expects of one inference."""
    traffic: Traffic
    memory_bytes: int
    """Scratchpad that live tensors take while it runs."""
    combining: Combining = Combining()


@dataclass(frozen=True, kw_only=True)
class Segment:
    """What is on the device at one time: a model of one segment is resident, others are streamed segment by segment."""

    program: NDArray[np.uint8]
    """Descriptors, to the program memory's address 0."""
    weights: NDArray[np.int8]
    """[words, cols], to the weight store's word 0."""
    count: int
    """Descriptors."""


@dataclass(frozen=True, kw_only=True)
class Tile:
    """Some rows of a layer whose tensors do not fit the scratchpad: sent, computed and read back by themselves."""

    source: tuple[int, int]
    """First byte of each input, and how many; they go to address 0 on, one input behind the other."""
    address: int
    """Where the results stand."""
    target: tuple[int, int]
    """First byte of the output, and how many."""
    parts: tuple[Part, ...]


@dataclass(frozen=True, kw_only=True)
class Step:
    """A stretch of an inference: one operator on the host, or consecutive layers on the device."""

    host: str = ""
    """Name of the host's operator; of the device's layers none."""
    reason: str = ""
    """Why the host runs it, if it is not the host's by its nature."""
    first: int = 0
    """The device's layers: from this one on,"""
    count: int = 0
    """so many."""
    writes: tuple[str, ...] = ()
    """Tensors that the host has and sends before."""
    reads: tuple[str, ...] = ()
    """Tensors that the host reads back after."""
    tiles: tuple[Tile, ...] = ()
    """The one layer's, if it is computed row by row; the host then has its input and output."""


@dataclass(frozen=True, kw_only=True)
class Model:
    """A compiled model. Tied to the layout it was compiled for, not to a device's kind of PE or its clock."""

    graph: Graph
    config: Config
    """The configuration it was compiled for; a device must have the same :attr:`~sateen.hw.spec.config.Config.layout`.
    """
    segments: tuple[Segment, ...]
    layers: tuple[Layer, ...]
    """Those on the device."""
    steps: tuple[Step, ...]
    """All of it, in order."""
    addresses: Mapping[str, int]
    """Byte address of each tensor that stands in the scratchpad."""
    lives: Mapping[str, tuple[tuple[int, int], ...]]
    """When each of them is needed, as :attr:`sateen.compiler.memory.Plan.lives` has it."""
    scratchpad_bytes: int
    """Scratchpad that the model needs."""

    FORMAT = "sateen.model/5"

    @property
    def resident(self) -> bool:
        """Weights and program stay on the device; an inference sends only its input."""
        return len(self.segments) <= 1

    @property
    def tiled(self) -> int:
        """Layers that are computed row by row because their tensors do not fit the scratchpad."""
        return sum(bool(step.tiles) for step in self.steps)

    @property
    def fallbacks(self) -> dict[str, str]:
        """Operators that run on the host because the device lacks them, each with the reason."""
        return {step.host: step.reason for step in self.steps if step.reason}

    @property
    def combining(self) -> Combining:
        """All layers' combined columns together."""
        return sum((layer.combining for layer in self.layers), Combining())

    @property
    def weight_words(self) -> int:
        """Words of all segments' weights and channel parameters."""
        return sum(len(segment.weights) for segment in self.segments)

    @property
    def macs(self) -> int:
        """Multiply-accumulates of one inference."""
        return sum(layer.macs for layer in self.layers)

    def size(self, tensor: str) -> int:
        """Bytes of one item of a tensor."""
        return math.prod(self.graph.tensors[tensor].shape[1:])

    def save(self, path: str | os.PathLike[str]) -> None:
        """Writes a ``.sateen`` file."""
        document = {
            "graph": self.graph.to_document(),
            "config": self.config.to_dict(),
            "segments": [{field.name: getattr(s, field.name) for field in fields(s)} for s in self.segments],
            "layers": [asdict(layer) for layer in self.layers],
            "steps": [asdict(step) for step in self.steps],
            "addresses": dict(self.addresses),
            "lives": dict(self.lives),
            "scratchpad_bytes": self.scratchpad_bytes,
        }
        archive.save(path, document, format=self.FORMAT)

    @classmethod
    def load(cls, path: str | os.PathLike[str]) -> Model:
        """Reads a ``.sateen`` file.

        Raises
        ------
        ModelFileError
            If it is damaged, is something else, or another version of Sateen wrote it.
        """
        try:
            return cls._from_document(archive.load(path, format=cls.FORMAT, remedy="compile it again"))
        except OSError as error:
            raise ModelFileError(f"cannot read {path}: {error.strerror or error}") from error
        except archive.VersionError as error:
            raise ModelFileError(str(error)) from error
        except (archive.ArchiveError, GraphError, KeyError, TypeError, ValueError) as error:
            raise ModelFileError(f"{path} is no compiled model, or damaged ({error}); compile it again") from error

    @classmethod
    def _from_document(cls, document: Mapping[str, Any]) -> Model:
        layers = tuple(
            Layer(
                **{
                    **layer,
                    "parts": tuple(Part(**part) for part in layer["parts"]),
                    "predicted": Counters(**layer["predicted"]),
                    "traffic": Traffic(**layer["traffic"]),
                    "combining": Combining(**layer["combining"]),
                }
            )
            for layer in document["layers"]
        )
        return cls(
            graph=Graph.from_document(document["graph"]),
            config=Config.from_dict(document["config"]),
            segments=tuple(Segment(**segment) for segment in document["segments"]),
            layers=layers,
            steps=tuple(_step(archive.tuples(step)) for step in document["steps"]),
            addresses=document["addresses"],
            lives=archive.tuples(document["lives"]),
            scratchpad_bytes=document["scratchpad_bytes"],
        )


def _step(fields: dict[str, Any]) -> Step:
    tiles = tuple(Tile(**{**tile, "parts": tuple(Part(**part) for part in tile["parts"])}) for tile in fields["tiles"])
    return Step(**{**fields, "tiles": tiles})
