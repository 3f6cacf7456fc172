"""Which operators onnxruntime computes with kernels of codes, and which with real numbers.

An operator between DequantizeLinear and QuantizeLinear is replaced with a kernel of codes, or is left as it is; the two
may differ next to a tie of rounding. It depends on the operators around it. So this follows those steps of
onnxruntime's optimizations that matter, in their order: equal operators become one; two pairs that follow each other
become one; pairs are put in between operators that move values (``QDQPropagationTransformer``); each reader gets a
DequantizeLinear of its own (``EnsureUniqueDQForNodeUnit``); Transposes move on to the next one
(``TransposeOptimizer``); int8 codes that only one operator reads become uint8
(``QDQS8ToU8Transformer``); operators whose codes are of one type are replaced (``BinaryNodeGroupSelector``,
``UnaryNodeGroupSelector``). Those are the rules for x86-64.
"""

from __future__ import annotations

import enum
from collections.abc import Mapping, Sequence, Set

import numpy as np

from sateen.frontends.onnx.file import Node, OnnxModel
from sateen.frontends.onnx.parts import DEQUANTIZE, QUANTIZE, Numbers, Part, Parts, kind_of, numbers_of
from sateen.frontends.onnx.transposes import move_transposes
from sateen.graph import Array

__all__ = ["Kernel", "kernels"]

KERNELS = ("Add", "AveragePool", "GlobalAveragePool", "Mul", "Softmax")
"""Kinds that have kernels of codes, and whose results depend on that."""
REMOVED = ("Dropout", "Identity")
"""Operators that are removed first."""
CLAMPS = ("Clip", "Relu")
ROUNDS = 10
"""How often all optimizations are made at most."""
FLOAT = 1
"""ONNX's number of float32."""


class Kernel(enum.Enum):
    """What computes an operator between DequantizeLinear and QuantizeLinear."""

    CODES = enum.auto()
    """A kernel of codes, as the file has them."""
    UINT8 = enum.auto()
    """A kernel of uint8, larger by 128 than the file's int8."""
    REAL = enum.auto()
    """The operator itself, in float32."""


def kernels(model: OnnxModel) -> dict[str, Kernel]:
    """What computes each operator of the :data:`KERNELS`, by its first output."""
    if not any(node.kind in KERNELS for node in model.nodes):
        return {}
    network = _Network(model)
    network.optimize()
    found = [part for part in network.parts if part.kind in KERNELS]
    return {name: network.kernel(part) for part in found for name in part.results}


class _Network(Parts):
    """The operators of a file, and the changes that decide which kernels there are."""

    def __init__(self, model: OnnxModel):
        super().__init__(model)
        names, folded = dict[str, str](), {*self.constants, ""}
        for node in model.nodes:
            inputs = [names.get(name, name) for name in node.inputs]
            if self._is_folded(node, folded, free=model.free):
                folded.update(node.outputs)
            elif self._is_removed(node):
                names[node.outputs[0]] = inputs[0]
            elif node.outputs:
                self.put(_part(self.constants, node, inputs))
        for part in [part for part in self.parts if part.kind == DEQUANTIZE and not self.is_needed(part)]:
            self.remove(part)

    @staticmethod
    def _is_folded(node: Node, folded: Set[str], *, free: bool) -> bool:
        """Whether an operator is computed when the file is read."""
        if node.kind in ("Constant", "Shape"):
            return node.kind == "Constant" or not free
        return kind_of(node) != DEQUANTIZE and all(name in folded for name in node.inputs)

    def _is_removed(self, node: Node) -> bool:
        """Whether an operator gives its input, real numbers or codes."""
        same = node.kind in REMOVED or node.kind == "Cast" and node.attributes.get("to") == FLOAT
        return same and not self.outputs & {*node.outputs}

    def optimize(self) -> None:
        """Makes the changes that decide which kernels there are, until nothing changes."""
        before: list[Part] = []
        for _ in range(ROUNDS):
            if before == self.parts:
                break
            before = list(self.parts)
            self._change()

    def _change(self) -> None:
        known: dict[tuple[object, ...], Part] = {}
        for part in list(self.parts):
            self._make_unique(part)
        for part in list(self.parts):
            self._remove_double(part)
        for part in list(self.parts):
            self._merge(part, known)
        self._move_pairs()
        move_transposes(self)
        for part in list(self.parts):
            self._remove_inverse(part)
        self._move_pairs()

    def _move_pairs(self) -> None:
        for part in list(self.parts):
            self._move_back(part)
        for part in list(self.parts):
            self._move_forward(part)

    def _remove_double(self, first: Part) -> None:
        """Of two pairs, one behind the other, the inner operators go (``DoubleQDQPairsRemover``)."""
        chain: list[Part] = []
        part: Part | None = first
        for kind in (QUANTIZE, DEQUANTIZE, QUANTIZE, DEQUANTIZE):
            if part is None or part.kind != kind or part.numbers is None:
                return
            chain.append(part)
            part = self.only_reader(part.output)
        numbers = [each.numbers for each in chain]
        if numbers[0] == numbers[1] and numbers[2] == numbers[3]:
            self.read(chain[3], 0, first.output)
            self.remove(chain[1])
            self.remove(chain[2])

    def _remove_inverse(self, part: Part) -> None:
        """A DequantizeLinear goes with the QuantizeLinear that alone reads it, if that gives the same codes to one
        operator or output (``TryRemoveEmptyDQQ``)."""
        behind = self.only_reader(part.output)
        if part.kind != DEQUANTIZE or behind is None or behind.kind != QUANTIZE or behind.numbers is None:
            return
        places, maker = self.places(behind.output), self.makers.get(part.inputs[0])
        if behind.numbers != part.numbers or len({reader for reader, _ in places}) > 1:
            return
        if behind.output in self.outputs:
            if places or maker is None or self.only_reader(part.inputs[0]) is not part:
                return
            maker.outputs = tuple(behind.output if name == part.inputs[0] else name for name in maker.outputs)
            self.makers[behind.output] = maker
        for reader, place in places:
            self.read(reader, place, part.inputs[0])
        self.remove(behind)
        self.remove(part)

    def _merge(self, part: Part, known: dict[tuple[object, ...], Part]) -> None:
        """Drops an operator that computes the same as one of those ``known``."""
        inputs = tuple(map(self._value, part.inputs))
        key = (part.kind, inputs, part.numbers, repr(sorted(part.attributes.items())), len(part.outputs))
        equal = known.setdefault(key, part)
        if equal is part or part.kind == DEQUANTIZE or self.outputs & {*part.outputs}:
            return
        for name, other in zip(part.outputs, equal.outputs, strict=True):
            for reader, place in self.places(name):
                self.read(reader, place, other)
        equal.results += part.results
        self.remove(part)

    def _value(self, name: str) -> object:
        """Equal for equal tensors: single constants are compared by their values."""
        value = self.constants.get(name)
        return name if value is None or value.size != 1 else (value.dtype.name, value.shape, value.item())

    def _insert(self, name: str, readers: Sequence[tuple[Part, int]], numbers: Numbers) -> None:
        """Puts a QuantizeLinear behind a tensor, and a DequantizeLinear before each of its readers."""
        codes = self.name(name, "codes")
        for place, (part, slot) in enumerate(readers):
            real = f"{codes} {place}"
            self.read(part, slot, real)
            self.put(Part(DEQUANTIZE, 0, [codes], (real,), numbers))
        self.put(Part(QUANTIZE, 0, [name], (codes,), numbers))

    def _move_back(self, part: Part) -> None:
        """Puts pairs before the operators that move what a QuantizeLinear reads."""
        if part.kind != QUANTIZE or part.numbers is None:
            return
        mover = self.makers.get(part.inputs[0]) if self.only_reader(part.inputs[0]) is part else None
        while mover is not None and mover.moves and self.only_reader(mover.inputs[0]) is mover:
            source = self.makers.get(mover.inputs[0])
            if source is not None and source.kind == DEQUANTIZE:
                return
            self._insert(mover.inputs[0], [(mover, 0)], part.numbers)
            mover = source

    def _move_forward(self, part: Part) -> None:
        """Puts pairs behind the operators that move what a DequantizeLinear gives."""
        if part.kind != DEQUANTIZE or part.numbers is None:
            return
        waiting = [self.only_reader(part.output)]
        while waiting:
            mover = waiting.pop()
            if mover is None or not mover.moves:
                continue
            name = mover.output
            if name in self.outputs:
                continue
            readers = [(reader, place) for reader, place in self.places(name) if reader.kind != QUANTIZE]
            if readers:
                self._insert(name, readers, part.numbers)
                waiting += [reader for reader, _ in readers]

    def _make_unique(self, part: Part) -> None:
        """Gives each reader of a DequantizeLinear one of its own."""
        name = part.output
        if part.kind != DEQUANTIZE:
            return
        readers = self.places(name)
        for reader, place in readers if name in self.outputs else readers[1:]:
            copy = self.name(name, "copy")
            self.read(reader, place, copy)
            self.put(Part(DEQUANTIZE, 0, list(part.inputs), (copy,), part.numbers))

    def kernel(self, part: Part) -> Kernel:
        """What computes an operator."""
        clamps, behind = [], self.only_reader(part.output)
        while behind is not None and behind.kind in CLAMPS:
            clamps.append(behind)
            behind = self.only_reader(behind.output)
        before = [self.makers.get(name) for name in part.inputs]
        if behind is None or behind.kind != QUANTIZE or any(each is None or each.kind != DEQUANTIZE for each in before):
            return Kernel.REAL
        if any(self._changes_codes(clamp, behind) for clamp in clamps):
            return Kernel.REAL
        kinds = {self._kind(behind), *(self._kind_read(each) for each in before if each is not None)}
        if len(kinds) > 1 or not kinds <= {"int8", "uint8"}:
            return Kernel.REAL
        return Kernel.UINT8 if kinds == {"uint8"} else Kernel.CODES

    def _changes_codes(self, clamp: Part, quantize: Part) -> bool:
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
        with np.errstate(over="ignore"):
            lowest, highest = (
                np.rint(np.float32(end if value is None else np.asarray(value).flat[0]) / np.float32(numbers.scale))
                for value, end in zip(stated, (-np.inf, np.inf), strict=True)
            )
        # Without a zero point only one of its two steps looks, which takes what is beyond int32 for the least.
        return bool(not numbers.stated and highest >= 2**31) or bool(
            lowest + numbers.zero_point > least or highest + numbers.zero_point < least + 255
        )

    def _kind_read(self, part: Part) -> str:
        """The type of the codes that a DequantizeLinear reads."""
        maker = self.makers.get(part.inputs[0]) if part.inputs else None
        if maker is not None and maker.kind == QUANTIZE:
            return self._kind(maker)
        return part.numbers.kind if part.numbers else ""

    def _kind(self, part: Part) -> str:
        """The type of the codes that a QuantizeLinear gives."""
        if part.numbers is None:
            return ""
        behind = self.only_reader(part.output)
        pair = behind is not None and behind.kind == DEQUANTIZE and part.numbers.stated
        converted = pair and behind is not None and behind.numbers == part.numbers
        return "uint8" if converted and part.numbers.kind == "int8" else part.numbers.kind


def _part(constants: Mapping[str, Array], node: Node, inputs: list[str]) -> Part:
    version, kind = node.schema.version if node.schema else 0, kind_of(node)
    if kind in (QUANTIZE, DEQUANTIZE):
        return Part(kind, version, inputs[:1], node.outputs, numbers_of(constants, node))
    return Part(kind, version, inputs, node.outputs, attributes=node.attributes, results=[node.outputs[0]])
