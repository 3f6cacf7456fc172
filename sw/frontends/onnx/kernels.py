"""Which operators onnxruntime computes with kernels of codes, and which with real numbers.

An operator between DequantizeLinear and QuantizeLinear is replaced with a kernel of codes, or is left as it is; the two
may differ next to a tie of rounding. It depends on the operators around it. So this follows those steps of
onnxruntime's optimizations that matter, in their order: equal operators become one; two pairs that follow each other
become one; pairs are put in between operators that move values (``QDQPropagationTransformer``); each reader gets a
DequantizeLinear of its own (``EnsureUniqueDQForNodeUnit``); int8 codes that only one operator reads become uint8
(``QDQS8ToU8Transformer``); operators whose codes are of one type are replaced (``BinaryNodeGroupSelector``,
``UnaryNodeGroupSelector``). Those are the rules for x86-64.
"""

from __future__ import annotations

import enum
from collections.abc import Mapping, Sequence, Set
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from sateen.frontends.onnx.file import Node, OnnxModel
from sateen.graph import Array

__all__ = ["Kernel", "Numbers", "constants_of", "kernels", "numbers_of"]

QUANTIZE, DEQUANTIZE = "QuantizeLinear", "DequantizeLinear"
KERNELS = ("Add", "AveragePool", "GlobalAveragePool", "Mul", "Softmax")
"""Kinds that have kernels of codes, and whose results depend on that."""
REMOVED = ("Dropout", "Identity")
"""Operators that are removed first."""
CLAMPS = ("Clip", "Relu")
FLOAT = 1
"""ONNX's number of float32."""
MOVES = {"MaxPool": 12, "Reshape": 5, "Slice": 1, "Squeeze": 1, "Transpose": 1, "Unsqueeze": 1}
"""Operators that quantizations move across, and since which version."""


class Kernel(enum.Enum):
    """What computes an operator between DequantizeLinear and QuantizeLinear."""

    CODES = enum.auto()
    """A kernel of codes, as the file has them."""
    UINT8 = enum.auto()
    """A kernel of uint8, larger by 128 than the file's int8."""
    REAL = enum.auto()
    """The operator itself, in float32."""


@dataclass(frozen=True)
class Numbers:
    """What a QuantizeLinear or DequantizeLinear states."""

    scale: float
    zero_point: int
    kind: str
    """The type of its codes: int8, uint8, or another one."""
    stated: bool
    """Whether it states the zero point."""


def numbers_of(constants: Mapping[str, Array], node: Node) -> Numbers | None:
    """What a QuantizeLinear or DequantizeLinear states, if that is one scale and one zero point."""
    scale = constants.get(node.inputs[1]) if len(node.inputs) > 1 else None
    if scale is None or scale.size != 1:
        return None
    if not node.has(2):
        return Numbers(float(scale.item()), 0, "uint8", False)
    point = constants.get(node.inputs[2])
    if point is None or point.size != 1:
        return None
    return Numbers(float(scale.item()), int(point.item()), point.dtype.name, True)


def constants_of(model: OnnxModel) -> dict[str, Array]:
    """A file's constants, also those that stand in operators."""
    stated = {node.outputs[0]: node.attributes for node in model.nodes if node.kind == "Constant" and node.outputs}
    given = {name: next(iter(values.values())) for name, values in stated.items() if len(values) == 1}
    return {**model.constants, **{name: np.asarray(value) for name, value in given.items()}}


def kernels(model: OnnxModel) -> dict[str, Kernel]:
    """What computes each operator of the :data:`KERNELS`, by its first output."""
    if not any(node.kind in KERNELS for node in model.nodes):
        return {}
    network = _Network(model)
    network.optimize()
    return {part.output: network.kernel(part) for part in network.parts if part.kind in KERNELS}


@dataclass(eq=False)
class _Part:
    """An operator. A QuantizeLinear or DequantizeLinear has one input here, and its numbers."""

    kind: str
    version: int
    inputs: list[str]
    outputs: tuple[str, ...]
    numbers: Numbers | None = None
    attributes: Mapping[str, Any] = field(default_factory=dict)

    @property
    def output(self) -> str:
        return self.outputs[0]

    @property
    def moves(self) -> bool:
        """Whether quantizations move across it."""
        return self.kind in MOVES and self.version >= MOVES[self.kind]


class _Network:
    """The operators of a file, as optimizations change them."""

    def __init__(self, model: OnnxModel):
        self.outputs = set(model.outputs)
        self.parts: list[_Part] = []
        self.makers: dict[str, _Part] = {}
        self.readers: dict[str, list[_Part]] = {}
        """By a tensor's name; who reads it twice stands there twice."""
        self.count = 0
        self.constants = constants = constants_of(model)
        names, folded = dict[str, str](), {*constants, ""}
        for node in model.nodes:
            inputs = [names.get(name, name) for name in node.inputs]
            if self._is_folded(node, folded, free=model.free):
                folded.update(node.outputs)
            elif self._is_removed(node):
                names[node.outputs[0]] = inputs[0]
            elif node.outputs:
                self._put(_part(constants, node, inputs))
        for part in [part for part in self.parts if part.kind == DEQUANTIZE and not self._is_needed(part)]:
            self._remove(part)

    @staticmethod
    def _is_folded(node: Node, folded: Set[str], *, free: bool) -> bool:
        """Whether an operator is computed when the file is read."""
        if node.kind in ("Constant", "Shape"):
            return node.kind == "Constant" or not free
        return node.kind != DEQUANTIZE and all(name in folded for name in node.inputs)

    def _is_removed(self, node: Node) -> bool:
        """Whether an operator gives its input, real numbers or codes."""
        same = node.kind in REMOVED or node.kind == "Cast" and node.attributes.get("to") == FLOAT
        return same and not self.outputs & {*node.outputs}

    def _is_needed(self, part: _Part) -> bool:
        return any(self.readers.get(name) or name in self.outputs for name in part.outputs)

    def _put(self, part: _Part) -> None:
        self.parts.append(part)
        self.makers |= dict.fromkeys(part.outputs, part)
        for name in part.inputs:
            self.readers.setdefault(name, []).append(part)

    def _remove(self, part: _Part) -> None:
        self.parts.remove(part)
        for name in part.inputs:
            self.readers[name].remove(part)

    def _read(self, part: _Part, place: int, name: str) -> None:
        """Gives an operator another input."""
        self.readers[part.inputs[place]].remove(part)
        part.inputs[place] = name
        self.readers.setdefault(name, []).append(part)

    def _places(self, name: str) -> list[tuple[_Part, int]]:
        """Who reads a tensor, and as which of its inputs."""
        readers = dict.fromkeys(self.readers.get(name, []))
        return [(reader, place) for reader in readers for place, other in enumerate(reader.inputs) if other == name]

    def _only_reader(self, name: str) -> _Part | None:
        """The operator that alone reads a tensor, once, if that is no output."""
        found = self.readers.get(name, [])
        return found[0] if len(found) == 1 and name not in self.outputs else None

    def optimize(self) -> None:
        """Makes the changes that decide which kernels there are."""
        known: dict[tuple[object, ...], _Part] = {}
        for part in list(self.parts):
            self._make_unique(part)
        for part in list(self.parts):
            self._remove_double(part)
        for part in list(self.parts):
            self._remove_inverse(part)
        for part in list(self.parts):
            self._merge(part, known)
        for part in list(self.parts):
            self._move_back(part)
        for part in list(self.parts):
            self._move_forward(part)

    def _remove_double(self, first: _Part) -> None:
        """Of two pairs, one behind the other, the inner operators go (``DoubleQDQPairsRemover``)."""
        chain: list[_Part] = []
        part: _Part | None = first
        for kind in (QUANTIZE, DEQUANTIZE, QUANTIZE, DEQUANTIZE):
            if part is None or part.kind != kind or part.numbers is None:
                return
            chain.append(part)
            part = self._only_reader(part.output)
        numbers = [each.numbers for each in chain]
        if numbers[0] == numbers[1] and numbers[2] == numbers[3]:
            self._read(chain[3], 0, first.output)
            self._remove(chain[1])
            self._remove(chain[2])

    def _remove_inverse(self, part: _Part) -> None:
        """A DequantizeLinear goes with the QuantizeLinear that alone reads it, if that gives the same codes."""
        behind = self._only_reader(part.output)
        if part.kind != DEQUANTIZE or behind is None or behind.kind != QUANTIZE or behind.numbers is None:
            return
        if behind.numbers == part.numbers and behind.output not in self.outputs:
            for reader, place in self._places(behind.output):
                self._read(reader, place, part.inputs[0])
            self._remove(behind)
            self._remove(part)

    def _merge(self, part: _Part, known: dict[tuple[object, ...], _Part]) -> None:
        """Drops an operator that computes the same as one of those ``known``."""
        inputs = tuple(map(self._value, part.inputs))
        key = (part.kind, inputs, part.numbers, repr(sorted(part.attributes.items())), len(part.outputs))
        equal = known.setdefault(key, part)
        if equal is part or part.kind == DEQUANTIZE or self.outputs & {*part.outputs}:
            return
        for name, other in zip(part.outputs, equal.outputs, strict=True):
            for reader, place in self._places(name):
                self._read(reader, place, other)
        self._remove(part)

    def _value(self, name: str) -> object:
        """Equal for equal tensors: single constants are compared by their values."""
        value = self.constants.get(name)
        return name if value is None or value.size != 1 else (value.dtype.name, value.shape, value.item())

    def _insert(self, name: str, readers: Sequence[tuple[_Part, int]], numbers: Numbers) -> None:
        """Puts a QuantizeLinear behind a tensor, and a DequantizeLinear before each of its readers."""
        self.count += 1
        codes = f"{name} codes {self.count}"
        for place, (part, slot) in enumerate(readers):
            real = f"{codes} {place}"
            self._read(part, slot, real)
            self._put(_Part(DEQUANTIZE, 0, [codes], (real,), numbers))
        self._put(_Part(QUANTIZE, 0, [name], (codes,), numbers))

    def _move_back(self, part: _Part) -> None:
        """Puts pairs before the operators that move what a QuantizeLinear reads."""
        if part.kind != QUANTIZE or part.numbers is None:
            return
        mover = self.makers.get(part.inputs[0]) if self._only_reader(part.inputs[0]) is part else None
        while mover is not None and mover.moves and self._only_reader(mover.inputs[0]) is mover:
            source = self.makers.get(mover.inputs[0])
            if source is not None and source.kind == DEQUANTIZE:
                return
            self._insert(mover.inputs[0], [(mover, 0)], part.numbers)
            mover = source

    def _move_forward(self, part: _Part) -> None:
        """Puts pairs behind the operators that move what a DequantizeLinear gives."""
        if part.kind != DEQUANTIZE or part.numbers is None:
            return
        waiting = [self._only_reader(part.output)]
        while waiting:
            mover = waiting.pop()
            if mover is None or not mover.moves:
                continue
            name = mover.output
            if name in self.outputs:
                continue
            readers = [(reader, place) for reader, place in self._places(name) if reader.kind != QUANTIZE]
            if readers:
                self._insert(name, readers, part.numbers)
                waiting += [reader for reader, _ in readers]

    def _make_unique(self, part: _Part) -> None:
        """Gives each reader of a DequantizeLinear one of its own."""
        name = part.output
        if part.kind != DEQUANTIZE:
            return
        readers = self._places(name)
        for reader, place in readers if name in self.outputs else readers[1:]:
            self.count += 1
            copy = f"{name} copy {self.count}"
            self._read(reader, place, copy)
            self._put(_Part(DEQUANTIZE, 0, list(part.inputs), (copy,), part.numbers))

    def kernel(self, part: _Part) -> Kernel:
        """What computes an operator."""
        clamps, behind = [], self._only_reader(part.output)
        while behind is not None and behind.kind in CLAMPS:
            clamps.append(behind)
            behind = self._only_reader(behind.output)
        before = [self.makers.get(name) for name in part.inputs]
        if behind is None or behind.kind != QUANTIZE or any(each is None or each.kind != DEQUANTIZE for each in before):
            return Kernel.REAL
        if any(self._changes_codes(clamp, behind) for clamp in clamps):
            return Kernel.REAL
        kinds = {self._kind(behind), *(self._kind_read(each) for each in before if each is not None)}
        if len(kinds) > 1 or not kinds <= {"int8", "uint8"}:
            return Kernel.REAL
        return Kernel.UINT8 if kinds == {"uint8"} else Kernel.CODES

    def _changes_codes(self, clamp: _Part, quantize: _Part) -> bool:
        """Whether a clamp before a QuantizeLinear changes codes (``IsClipMadeRedundantByQ``)."""
        numbers = quantize.numbers
        if numbers is None or numbers.kind not in ("int8", "uint8"):
            return True
        least = -128 if numbers.kind == "int8" else 0
        if clamp.kind == "Relu":
            return numbers.zero_point != least
        if any(name and name not in self.constants for name in clamp.inputs[1:]):
            return True
        given = [self.constants.get(name) for name in [*clamp.inputs[1:], "", ""][:2]]
        stated = [clamp.attributes.get(name, value) for name, value in zip(("min", "max"), given, strict=True)]
        lowest, highest = (
            end if value is None else np.rint(np.float32(np.asarray(value).reshape(-1)[0]) / np.float32(numbers.scale))
            for value, end in zip(stated, (-np.inf, np.inf), strict=True)
        )
        return bool(lowest + numbers.zero_point > least or highest + numbers.zero_point < least + 255)

    def _kind_read(self, part: _Part) -> str:
        """The type of the codes that a DequantizeLinear reads."""
        maker = self.makers.get(part.inputs[0]) if part.inputs else None
        if maker is not None and maker.kind == QUANTIZE:
            return self._kind(maker)
        return part.numbers.kind if part.numbers else ""

    def _kind(self, part: _Part) -> str:
        """The type of the codes that a QuantizeLinear gives."""
        if part.numbers is None:
            return ""
        behind = self._only_reader(part.output)
        pair = behind is not None and behind.kind == DEQUANTIZE and part.numbers.stated
        converted = pair and behind is not None and behind.numbers == part.numbers
        return "uint8" if converted and part.numbers.kind == "int8" else part.numbers.kind


def _part(constants: Mapping[str, Array], node: Node, inputs: list[str]) -> _Part:
    version = node.schema.version if node.schema else 0
    if node.kind in (QUANTIZE, DEQUANTIZE):
        return _Part(node.kind, version, inputs[:1], node.outputs, numbers_of(constants, node))
    return _Part(node.kind, version, inputs, node.outputs, attributes=node.attributes)
