"""The operators of a file, as onnxruntime's optimizations change them."""

from __future__ import annotations

from collections.abc import Mapping, Set
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from sateen.frontends.onnx.file import NARROW, Node, OnnxModel
from sateen.graph import Array

__all__ = ["DEQUANTIZE", "QUANTIZE", "Numbers", "Part", "Parts", "are_same", "constants_of", "kind_of", "numbers_of"]

QUANTIZE, DEQUANTIZE = "QuantizeLinear", "DequantizeLinear"
OWN = {f"com.microsoft.{kind}": kind for kind in (QUANTIZE, DEQUANTIZE)}
"""onnxruntime's own, of which its optimizations make no difference."""
MOVES = {"MaxPool": 12, "Reshape": 5, "Slice": 1, "Squeeze": 1, "Transpose": 1, "Unsqueeze": 1}
"""Operators that quantizations move across, and since which version."""


@dataclass(frozen=True)
class Numbers:
    """What a QuantizeLinear or DequantizeLinear states."""

    scale: float
    zero_point: int
    kind: str
    """The type of its codes: int8, uint8, or another one."""
    stated: bool
    """Whether it states the zero point."""
    ranks: tuple[int, int] = field(default=(0, 0), compare=False)
    """Axes of the scale and of the zero point, which may be lists of one."""
    point: str = field(default="", compare=False)
    """The name of the zero point's tensor."""
    step: str = field(default="", compare=False)
    """The name of the scale's tensor."""
    fixed: tuple[bool, bool] = field(default=(True, True), compare=False)
    """Whether the scale and the zero point are constants that no caller may replace."""


def are_same(a: Numbers, b: Numbers) -> bool:
    """Whether numbers stay equal, also if callers replace what they may: constants, or the same tensors."""
    fixed, names = zip(a.fixed, b.fixed, strict=True), zip((a.step, a.point), (b.step, b.point), strict=True)
    held = (all(both) or len({*pair}) == 1 for both, pair in zip(fixed, names, strict=True))
    return a == b and all(held)


def kind_of(node: Node) -> str:
    """An operator's kind, as optimizations see it."""
    return OWN.get(node.kind, node.kind)


def numbers_of(constants: Mapping[str, Array], node: Node, replaceable: Set[str] = frozenset()) -> Numbers | None:
    """What a QuantizeLinear or DequantizeLinear states, if that is one scale and one zero point."""
    scale = constants.get(node.inputs[1]) if len(node.inputs) > 1 else None
    if scale is None or scale.size != 1 or scale.dtype.kind not in "iuf":
        return None
    if not node.has(2):
        fixed = node.inputs[1] not in replaceable, True
        return Numbers(float(scale.item()), 0, "uint8", False, (scale.ndim, 0), "", node.inputs[1], fixed)
    point = constants.get(node.inputs[2])
    if point is None or point.size != 1 or point.dtype.kind not in "iu" and point.dtype.name not in NARROW:
        return None
    ranks, names = (scale.ndim, point.ndim), node.inputs[1:3]
    fixed = names[0] not in replaceable, names[1] not in replaceable
    return Numbers(float(scale.item()), int(point.item()), point.dtype.name, True, ranks, names[1], names[0], fixed)


def constants_of(model: OnnxModel) -> dict[str, Array]:
    """A file's constants, also those that stand in operators."""
    stated = {node.outputs[0]: node.attributes for node in model.nodes if node.kind == "Constant" and node.outputs}
    given = {name: next(iter(values.values())) for name, values in stated.items() if len(values) == 1}
    return {**model.constants, **{name: np.asarray(value) for name, value in given.items()}}


@dataclass(eq=False)
class Part:
    """An operator. A QuantizeLinear or DequantizeLinear has one input here, and its numbers."""

    kind: str
    version: int
    inputs: list[str]
    outputs: tuple[str, ...]
    numbers: Numbers | None = None
    attributes: Mapping[str, Any] = field(default_factory=dict)
    scales: Array | None = None
    """Those of a DequantizeLinear of constants, unless callers may replace them."""
    points: Array | None = None
    """Its zero points; ``None`` if it states none, not a number if callers may replace them."""
    results: list[str] = field(default_factory=list)
    """The first outputs of the file's operators that it stands for."""

    @property
    def output(self) -> str:
        return self.outputs[0]

    def is_crossed_by(self, numbers: Numbers) -> bool:
        """Whether pairs move across it; those of numbers that callers may replace do across a Transpose."""
        moves = self.kind in MOVES and self.version >= MOVES[self.kind]
        return moves and (all(numbers.fixed) or self.kind == "Transpose")


class Parts:
    """Operators, and who makes and reads each tensor."""

    def __init__(self, model: OnnxModel):
        self.outputs = set(model.outputs)
        self.parts: list[Part] = []
        self.makers: dict[str, Part] = {}
        self.readers: dict[str, list[Part]] = {}
        """By a tensor's name; who reads it twice stands there twice."""
        self.count = 0
        self.constants, self.replaceable = constants_of(model), model.replaceable

    def name(self, like: str, what: str) -> str:
        """A name for another tensor."""
        self.count += 1
        return f"{like} {what} {self.count}"

    def is_needed(self, part: Part) -> bool:
        return any(self.readers.get(name) or name in self.outputs for name in part.outputs)

    def ordered(self) -> list[Part]:
        """All operators, each behind those that make what it reads. A file whose operators read each other in a circle
        is refused elsewhere; here their order is any."""
        found, entered, waiting = dict[Part, None](), set[Part](), [*reversed(self.parts)]
        while waiting:
            part = waiting[-1]
            makers = () if part in entered else map(self.makers.get, part.inputs)
            entered.add(part)
            before = [maker for maker in makers if maker is not None and maker not in entered]
            waiting += before
            if not before:
                found[waiting.pop()] = None
        return list(found)

    def put(self, part: Part) -> None:
        self.parts.append(part)
        self.makers |= dict.fromkeys(part.outputs, part)
        for name in part.inputs:
            self.readers.setdefault(name, []).append(part)

    def remove(self, part: Part) -> None:
        self.parts.remove(part)
        for name in part.inputs:
            self.readers[name].remove(part)

    def read(self, part: Part, place: int, name: str) -> None:
        """Gives an operator another input."""
        self.readers[part.inputs[place]].remove(part)
        part.inputs[place] = name
        self.readers.setdefault(name, []).append(part)

    def places(self, name: str) -> list[tuple[Part, int]]:
        """Who reads a tensor, and as which of its inputs."""
        readers = dict.fromkeys(self.readers.get(name, []))
        return [(reader, place) for reader in readers for place, other in enumerate(reader.inputs) if other == name]

    def only_reader(self, name: str) -> Part | None:
        """The operator that alone reads a tensor, once, if that is no output."""
        found = self.readers.get(name, [])
        return found[0] if len(found) == 1 and name not in self.outputs else None
