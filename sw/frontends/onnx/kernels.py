"""Which operators onnxruntime computes with kernels of codes, and which with real numbers.

An operator between DequantizeLinear and QuantizeLinear is replaced with a kernel of codes, or is left as it is; the two
may differ next to a tie of rounding. It depends on the operators around it. So this follows those steps of
onnxruntime's optimizations that matter, in their order: equal operators become one; two pairs that follow each other
become one; pairs are put in between operators that move values (``QDQPropagationTransformer``); each reader gets a
DequantizeLinear of its own (``EnsureUniqueDQForNodeUnit``); Transposes move on to the next one
(``TransposeOptimizer``); int8 codes that only one operator reads become uint8
(``QDQS8ToU8Transformer``). What then becomes of each operator stands in :mod:`~sateen.frontends.onnx.replacement`.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence, Set
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from sateen.frontends.onnx.file import Node, OnnxModel
from sateen.frontends.onnx.parts import DEQUANTIZE, QUANTIZE, Numbers, Part, Parts, are_same, kind_of, numbers_of
from sateen.frontends.onnx.replacement import KERNELS, LAYERS, Kernel, Replacement
from sateen.frontends.onnx.transposes import move_transposes

__all__ = ["NEUTRAL", "Kernel", "Optimized", "optimized"]

REMOVED = ("Dropout", "Identity")
"""Operators that are removed first."""
NEUTRAL = {"Add": (0, (0, 1)), "Div": (1, (1,)), "Mul": (1, (0, 1)), "Sub": (0, (1,))}
"""Operators that are removed if one operand, at one of some places, is this number (``NoopElimination``)."""
ROUNDS = 10
"""How often all optimizations are made at most."""
FLOAT = 1
"""ONNX's number of float32."""


@dataclass(frozen=True)
class Optimized:
    """What onnxruntime's optimizations make of a file, as far as results depend on it."""

    kernels: Mapping[str, Kernel]
    """What computes each of the :data:`KERNELS` and :data:`LAYERS`, by its first output."""
    rows: Mapping[str, Kernel]
    """The same of each MatMul if its input has more than two axes."""
    quantizing: tuple[str, ...]
    """The first outputs of products of real numbers that quantize these while they run."""
    merged: tuple[str, ...]
    """The results of each QuantizeLinear that goes away because a pair is behind a pair with other numbers."""
    removed: Mapping[str, str]
    """The results of operators that change nothing and go away, and what is read in their place."""
    padded: Mapping[str, bool]
    """The results of means of windows that take over a Pad before them, so that padding counts; whether it adds any."""


def optimized(model: OnnxModel, alike: Set[str] = frozenset()) -> Optimized:
    """Follows onnxruntime's optimizations of a file. ``alike`` are results of Expand that are as their inputs are."""
    network = _Network(model, alike)
    network.optimize()
    found = [part for part in network.parts if part.kind in (*KERNELS, *LAYERS)]
    products = [part for part in found if part.kind == "MatMul"]
    return Optimized(
        {name: network.kernel(part) for part in found for name in part.results},
        {name: network.kernel(part, rows=True) for part in products for name in part.results},
        tuple(name for part in found if network.quantizes_input(part) for name in part.results),
        tuple(network.merged),
        network.removed,
        network.padded,
    )


ARITHMETIC: dict[tuple[str, int], Any] = {
    ("Add", 2): np.add, ("Sub", 2): np.subtract, ("Mul", 2): np.multiply, ("Div", 2): np.divide, ("Pow", 2): np.power,
    ("Neg", 1): np.negative, ("Sqrt", 1): np.sqrt, ("Reciprocal", 1): np.reciprocal, ("Abs", 1): np.abs,
    ("Identity", 1): np.asarray,
}  # fmt: skip
"""What files compute single numbers with, that may turn out to change nothing, and of how many others."""


class _Network(Replacement):
    """The operators of a file, and the changes that decide which kernels there are."""

    def __init__(self, model: OnnxModel, alike: Set[str]):
        super().__init__(model)
        self.alike, self.merged, self.removed, self.padded = alike, list[str](), dict[str, str](), dict[str, bool]()
        names, folded = self.removed, {*self.constants, ""}
        for node in model.nodes:
            inputs = [names.get(name, name) for name in node.inputs]
            if self._is_folded(node, folded, free=model.free):
                folded.update(node.outputs)
                self._fold(node)
            elif (place := self._passed(node)) is not None:
                names[node.outputs[0]] = inputs[place]
            elif node.outputs:
                self.put(_part(self, node, inputs))
                self.note_weights(node)
        for part in [part for part in self.parts if part.kind == DEQUANTIZE and not self.is_needed(part)]:
            self.remove(part)
        for part in [part for part in self.parts if part.kind == "Pad"]:
            self._fuse_padding(part)
        self._note_pairs_of_constants(model.nodes, folded)

    def _note_pairs_of_constants(self, nodes: Sequence[Node], folded: Set[str]) -> None:
        """Two different pairs behind real constants are made one before constants are folded, too."""
        makers = {name: node for node in nodes for name in node.outputs}
        for last in nodes:
            chain = [last]
            for kind in (DEQUANTIZE, QUANTIZE):
                maker = makers.get(chain[-1].inputs[0]) if chain[-1].inputs else None
                chain += [maker] if maker is not None and kind_of(maker) == kind else []
            if kind_of(last) == QUANTIZE and len(chain) == 3 and {*chain[2].inputs[:1]} <= folded:
                inner, outer = (numbers_of(self.constants, node) for node in chain[1::-1])
                self.merged += [last.outputs[0]] if inner != outer else []

    def _fuse_padding(self, pad: Part) -> None:
        """A Pad by zeros becomes part of the convolution or mean of windows that alone reads it (``PadFusion``)."""
        window, stated = self.only_reader(pad.output), pad.attributes
        known = [np.asarray(stated.get("pads", ()))] if len(pad.inputs) < 2 else []
        known += [value for name in pad.inputs[1:] if (value := self.constants.get(name)) is not None]
        fixed = len(known) == max(len(pad.inputs) - 1, 1) <= 2 and not self.replaceable & {*pad.inputs[1:]}
        zero = stated.get("mode", "constant") == "constant" and not stated.get("value")
        if window is None or window.kind not in ("AveragePool", "Conv") or not (fixed and zero):
            return
        if known[0].dtype.kind not in "iu" and known[0].size:
            return
        pads = [int(size) for size in known[0].reshape(-1)]
        sides = pads[2 : len(pads) // 2], pads[len(pads) // 2 + 2 :]
        inside = len(pads) > 4 and min(pads) >= 0 and sum(map(sum, sides)) == sum(pads)
        if not inside or any(value.tobytes().strip(b"\0") for value in known[1:]):
            return
        said, mean = window.attributes, window.kind == "AveragePool"
        counts = said.get("count_include_pad", 0) or not any(said.get("pads", ()))
        sizes = [*said.get("kernel_shape", ())] * 2
        both = zip(sides[0] + sides[1], said.get("pads", [0] * len(sizes)), sizes, strict=False)
        fits = all(sum(pair) < size for *pair, size in both) and not (said.get("ceil_mode", 0) and any(sides[1]))
        if said.get("auto_pad", "NOTSET") != "NOTSET" or mean and not (counts and fits):
            return
        self.padded |= dict.fromkeys(window.results if mean else (), any(pads))
        self.read(window, 0, pad.inputs[0])
        self.remove(pad)

    @staticmethod
    def _is_folded(node: Node, folded: Set[str], *, free: bool) -> bool:
        """Whether an operator is computed when the file is read."""
        if node.kind in ("Constant", "Shape"):
            return node.kind == "Constant" or not free
        return kind_of(node) != DEQUANTIZE and all(name in folded for name in node.inputs)

    def _fold(self, node: Node) -> None:
        """Puts codes of a constant among the constants, of which only type and shape matter, and single numbers that
        are computed from others."""
        known = [self.constants.get(name) for name in node.inputs]
        single = [value for value in known if value is not None and value.size == 1 and value.dtype == np.float32]
        computed = ARITHMETIC.get((node.kind, len(single)))
        if computed is not None and len(single) == len(node.inputs) and node.outputs:
            with np.errstate(all="ignore"):
                self.constants[node.outputs[0]] = np.asarray(computed(*single))
        values = known[0] if known else None
        if kind_of(node) == QUANTIZE and values is not None and node.outputs:
            point = self.constants.get(node.inputs[2]) if node.has(2) else None
            self.constants[node.outputs[0]] = np.zeros(values.shape, np.uint8 if point is None else point.dtype)

    def _passed(self, node: Node) -> int | None:
        """The place of the input, real numbers or codes, that an operator gives as it is, so that it is removed."""
        if self.outputs & {*node.outputs}:
            return None
        same = node.kind in REMOVED or node.kind == "Cast" and node.attributes.get("to") == FLOAT
        if same or self.alike & {*node.outputs}:
            return 0
        neutral, places = NEUTRAL.get(node.kind, (0, ()))
        for place in places if len(node.inputs) == 2 else ():
            value = self.constants.get(node.inputs[place])
            fixed = value is not None and value.size == 1 and node.inputs[place] not in self.replaceable
            if fixed and value is not None and value.item() == neutral:
                return 1 - place
        return None

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

    def _remove_double(self, inner: Part) -> None:
        """Of two pairs, one behind the other, the inner operators go. Different pairs get numbers that stand for what
        both stand for (``DoubleQDQPairsRemover``)."""
        first, last = self.makers.get(inner.inputs[0]) if inner.inputs else None, self.only_reader(inner.output)
        if inner.kind != DEQUANTIZE or first is None or first.kind != QUANTIZE or last is None or last.kind != QUANTIZE:
            return
        readers = self.readers.get(last.output, [])
        pairs = [(first, inner), *((last, reader) for reader in readers)]
        if not readers or last.output in self.outputs or any(reader.kind != DEQUANTIZE for reader in readers):
            return
        if any(a.numbers is None or not a.numbers.stated or a.numbers != b.numbers for a, b in pairs):
            return
        if not all(part.numbers and all(part.numbers.fixed) for both in pairs for part in both):
            return
        if inner.numbers != last.numbers:
            common = _common(inner.numbers, last.numbers)
            if common is None or self.only_reader(first.output) is not inner:
                return
            self.merged.append(last.output)
            for part in (first, *readers):
                ranks, point = part.numbers.ranks if part.numbers else (0, 0), self.name(part.output, "point")
                part.numbers = replace(common, ranks=ranks, point=point)
        for reader in list(readers):
            self.read(reader, 0, first.output)
        self.remove(inner)
        self.remove(last)

    def _remove_inverse(self, part: Part) -> None:
        """A DequantizeLinear goes with the QuantizeLinear that alone reads it, if that gives the same codes to one
        operator or output (``TryRemoveEmptyDQQ``)."""
        behind = self.only_reader(part.output)
        if part.kind != DEQUANTIZE or behind is None or behind.kind != QUANTIZE or behind.numbers is None:
            return
        places, maker = self.places(behind.output), self.makers.get(part.inputs[0])
        if part.numbers is None or not are_same(part.numbers, behind.numbers):
            return
        if len({reader for reader, _ in places}) > 1:
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
        inputs, point = tuple(map(self._value, part.inputs)), part.numbers.point if part.numbers else ""
        key = (part.kind, inputs, part.numbers, point, repr(sorted(part.attributes.items())), len(part.outputs))
        equal = known.setdefault(key, part)
        if equal is part or part.kind == DEQUANTIZE or self.outputs & {*part.outputs}:
            return
        for name, other in zip(part.outputs, equal.outputs, strict=True):
            for reader, place in self.places(name):
                self.read(reader, place, other)
        equal.results += part.results
        self.remove(part)

    def _value(self, name: str) -> object:
        """Equal for equal tensors: single constants are compared by their values, except those of 8 bits."""
        value = self.constants.get(name)
        if value is None or value.size != 1 or value.dtype.itemsize == 1 or name in self.replaceable:
            return name
        return value.dtype.name, value.shape, value.item()

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
        while mover is not None and mover.is_crossed_by(part.numbers) and self.only_reader(mover.inputs[0]) is mover:
            source = self.makers.get(mover.inputs[0])
            if source is not None and source.kind == DEQUANTIZE:
                return
            self._insert(mover.inputs[0], [(mover, 0)], part.numbers)
            mover = source

    def _move_forward(self, part: Part) -> None:
        """Puts pairs behind the operators that move what a DequantizeLinear gives, unless it is quantized there."""
        if part.kind != DEQUANTIZE or part.numbers is None:
            return
        waiting = [self.only_reader(part.output)]
        while waiting:
            mover = waiting.pop()
            if mover is None or not mover.is_crossed_by(part.numbers):
                continue
            name = mover.output
            if name in self.outputs:
                continue
            readers = self.places(name)
            if len({id(reader) for reader, _ in readers}) > 1 and not all(part.numbers.fixed):
                continue
            if readers and all(reader.kind != QUANTIZE for reader, _ in readers):
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
            self.put(replace(part, inputs=list(part.inputs), outputs=(copy,)))


@np.errstate(all="ignore")
def _common(a: Numbers | None, b: Numbers | None) -> Numbers | None:
    """Numbers whose codes stand for the real numbers that those of both stand for; ``None`` if their types differ."""
    if a is None or b is None or a.kind != b.kind or a.kind not in ("int8", "uint8"):
        return None
    least = -128 if a.kind == "int8" else 0
    lowest, highest = (
        [np.float32(np.float32(code - each.zero_point) * np.float32(each.scale)) for each in (a, b)]
        for code in (least, least + 255)
    )
    low, high = max(lowest), min(highest)
    scale = np.float32(high - low) / np.float32(255)
    point = np.rint(np.float32(least) - low / scale) if scale > 0 and np.isfinite(scale) else np.float32(0)
    return Numbers(float(scale), int(point), a.kind, True)


def _part(parts: Parts, node: Node, inputs: list[str]) -> Part:
    constants = parts.constants
    version, kind = node.schema.version if node.schema else 0, kind_of(node)
    if kind in (QUANTIZE, DEQUANTIZE):
        scales, points = (constants.get(name) for name in (*node.inputs[1:3], "", "")[:2])
        scales = None if parts.replaceable & {*node.inputs[1:2]} else scales
        points = np.array(np.nan) if parts.replaceable & {*node.inputs[2:3]} else points
        return Part(
            kind, version, inputs[:1], node.outputs, numbers_of(constants, node, parts.replaceable), scales=scales,
            points=points,
        )  # fmt: skip
    return Part(kind, version, inputs, node.outputs, attributes=node.attributes, results=[node.outputs[0]])
