"""Compiled models: what the host sends to a device, and the graph that they were compiled from."""

from __future__ import annotations

import math
import os
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, fields, replace

import numpy as np
from numpy.typing import NDArray

from sateen import archive, records
from sateen.errors import ModelFileError
from sateen.graph import Graph, GraphError, tell
from sateen.hw.spec.config import Config
from sateen.hw.spec.counters import Counters

__all__ = ["Combining", "Layer", "Model", "Part", "Piece", "Segment", "Step", "Tile", "Traffic", "runs"]


@dataclass(frozen=True, kw_only=True)
class Part:
    """Consecutive descriptors of a segment that belong to one layer."""

    segment: int
    first: int
    count: int


def runs(parts: Sequence[Part]) -> list[Part]:
    """Joins parts that follow each other in a segment: the device runs each of the results without a pause."""
    joined: list[Part] = []
    for part in parts:
        if joined and (joined[-1].segment, joined[-1].first + joined[-1].count) == (part.segment, part.first):
            joined[-1] = Part(segment=part.segment, first=joined[-1].first, count=joined[-1].count + part.count)
        else:
            joined.append(part)
    return joined


@dataclass(frozen=True, kw_only=True)
class Traffic:
    """What goes to the tile in one inference."""

    beats: int = 0
    columns: int = 0
    """Columns that have an output channel, summed over the beats."""
    weight_bytes: int = 0
    """Weights and channel parameters, each time they are sent."""
    activation_bytes: int = 0
    """Bytes that the beats take, padding included."""

    def __add__(self, other: Traffic) -> Traffic:
        return Traffic(**{field.name: getattr(self, field.name) + getattr(other, field.name) for field in fields(self)})


@dataclass(frozen=True, kw_only=True)
class Combining:
    """What column combining made of a layer; all zero for layers that do not multiply by tiles of weights."""

    tiles: int = 0
    """Tiles of weights, of all groups of channels."""
    dense_tiles: int = 0
    """Tiles without selects."""
    nonzeros: int = 0
    """Weights that are not zero."""
    cells: int = 0
    """PEs of all tiles, in columns that have an output channel."""
    dense_cycles: int = 0
    """Cycles that the cycle model expects of the layer without selects."""
    reason: str = ""
    """Why it is not packed, or not all of it."""
    order: str = ""
    """How the channels of a sparse layer's input were reordered."""

    def __add__(self, other: Combining) -> Combining:
        sums = {
            field.name: getattr(self, field.name) + getattr(other, field.name)
            for field in fields(self)
            if field.type == "int"
        }
        return Combining(**sums, reason=self.reason or other.reason, order=self.order or other.order)

    @property
    def density(self) -> float:
        """Share of the cells that hold a weight that is not zero."""
        return self.nonzeros / self.cells if self.cells else 0.0


@dataclass(frozen=True, kw_only=True)
class Layer:
    """One operator on the device."""

    name: str
    op: str
    """The operator's class, such as ``Conv2D``."""
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
    """Program and weights that are on the device at one time. A model of one segment is resident, others are
    streamed."""

    program: NDArray[np.uint8]
    """Encoded descriptors, for address 0 of the program memory."""
    weights: NDArray[np.int8]
    """[words, cols], for word 0 of the weight store."""
    count: int
    """Number of descriptors."""


@dataclass(frozen=True, kw_only=True)
class Piece:
    """Some rows of one layer."""

    source_address: int
    """Byte address of the first input in the scratchpad; the others stand behind it."""
    source: tuple[int, int]
    """First byte and byte count of each input."""
    address: int
    """Byte address of the results."""
    target: tuple[int, int]
    """First byte and byte count of the output."""
    parts: tuple[Part, ...]


@dataclass(frozen=True, kw_only=True)
class Tile:
    """Some rows of a step's last layer, and those of the layers before that they need. The first layer's inputs are
    sent, one behind the other, and the last one's results read back, but for those of :attr:`Step.inside`. What stands
    between stays in the scratchpad."""

    pieces: tuple[Piece, ...]
    """One for each of the step's layers."""

    @property
    def source(self) -> tuple[int, int]:
        """First byte and byte count of each input that is sent."""
        return self.pieces[0].source

    @property
    def address(self) -> int:
        """Byte address of the results that are read back."""
        return self.pieces[-1].address

    @property
    def target(self) -> tuple[int, int]:
        """First byte and byte count of these in the output."""
        return self.pieces[-1].target

    @property
    def parts(self) -> tuple[Part, ...]:
        """What runs, in order."""
        return tuple(part for piece in self.pieces for part in piece.parts)


@dataclass(frozen=True, kw_only=True)
class Step:
    """A step of an inference: one operator on the host, or consecutive layers on the device."""

    host: str = ""
    """Name of the host's operator; empty for layers of the device."""
    reason: str = ""
    """Why the host runs it, if the device might."""
    first: int = 0
    """Index of the first layer, in :attr:`Model.layers`."""
    count: int = 0
    """Number of layers."""
    writes: tuple[str, ...] = ()
    """Tensors that the host writes to the device before."""
    reads: tuple[str, ...] = ()
    """Tensors that the host reads back after."""
    tiles: tuple[Tile, ...] = ()
    """The rows of the step's layers, if they are computed row by row. The host then has the first one's inputs and the
    last one's output, but for those ``inside``; each of the others reads what the one before gives."""
    inside: tuple[str, ...] = ()
    """Of a step that is computed row by row: its input, or its output, if that stands in the scratchpad as a whole, at
    its address. It is not sent, or not read back."""


@dataclass(frozen=True, kw_only=True)
class Model:
    """A compiled model. It is tied to a layout, but not to a device's kind of PE or its clock."""

    graph: Graph
    config: Config
    """The configuration it was compiled for; a device must have the same :attr:`~sateen.hw.spec.config.Config.layout`.
    """
    segments: tuple[Segment, ...]
    layers: tuple[Layer, ...]
    """The layers on the device."""
    steps: tuple[Step, ...]
    """All steps of an inference, in order."""
    addresses: Mapping[str, int]
    """Byte address of each tensor that stands in the scratchpad."""
    live_ranges: Mapping[str, tuple[tuple[int, int], ...]]
    """When each buffer is needed; see :attr:`sateen.compiler.memory.Plan.live_ranges`."""
    scratchpad_bytes: int
    """Scratchpad that the model needs."""
    trusted: bool = False
    """It was compiled here, and verified. One from a file is checked before a device gets it."""

    FORMAT = "sateen.model/8"

    @property
    def resident(self) -> bool:
        """Whether weights and program stay on the device, so that an inference sends only its input."""
        return len(self.segments) <= 1

    @property
    def tiled(self) -> int:
        """Number of layers that are computed row by row because their tensors do not fit the scratchpad."""
        return sum(step.count for step in self.steps if step.tiles)

    @property
    def fallbacks(self) -> dict[str, str]:
        """Why operators run on the host that the device might run, by their names."""
        return {step.host: step.reason for step in self.steps if step.reason}

    @property
    def combining(self) -> Combining:
        """The sum over all layers."""
        return sum((layer.combining for layer in self.layers), Combining())

    @property
    def weight_words(self) -> int:
        """Words of weights and channel parameters, of all segments."""
        return sum(len(segment.weights) for segment in self.segments)

    @property
    def macs(self) -> int:
        """Multiply-accumulates of one inference."""
        return sum(layer.macs for layer in self.layers)

    def layer_at(self, part: Part, place: int) -> Layer:
        """The layer of a part's descriptor, numbered from 0."""
        number = part.first + place
        return next(
            layer
            for layer in self.layers
            for each in layer.parts
            if each.segment == part.segment and each.first <= number < each.first + each.count
        )

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
            "live_ranges": dict(self.live_ranges),
            "scratchpad_bytes": self.scratchpad_bytes,
        }
        archive.save(path, document, format=self.FORMAT)

    @classmethod
    def load(cls, path: str | os.PathLike[str]) -> Model:
        """Reads a ``.sateen`` file, with a :class:`~sateen.errors.SateenWarning` for each note of its graph.

        Raises
        ------
        ModelFileError
            If the file is damaged, is something else, or another version of Sateen wrote it.
        """
        try:
            document = archive.load(path, format=cls.FORMAT, remedy="compile it again")
            model = records.read(cls, document, "the model")
        except OSError as error:
            raise ModelFileError(f"cannot read {path}: {error.strerror or error}") from error
        except archive.VersionError as error:
            raise ModelFileError(str(error)) from error
        except (archive.ArchiveError, GraphError, ValueError) as error:
            raise ModelFileError(f"{path} is no compiled model, or damaged ({error}); compile it again") from error
        tell(model.graph, stacklevel=3)
        return replace(model, trusted=False)
