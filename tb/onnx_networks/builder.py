"""What all operators of a random network are made of: random choices, tensors and nodes."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import onnx
from onnx import helper, numpy_helper

__all__ = ["KINDS", "MICROSOFT", "MOST", "NetworkBuilder", "Value"]

MICROSOFT = "com.microsoft"
KINDS = {"i": np.int8, "u": np.uint8}
MOST = 700
"""Values of a tensor."""


@dataclass(frozen=True)
class Value:
    """A quantized tensor."""

    name: str
    shape: tuple[int, ...]
    scale: np.float32
    zero_point: int
    kind: str
    """i: int8; u: uint8."""

    @property
    def numbers(self) -> tuple[np.float32, int, str]:
        return self.scale, self.zero_point, self.kind


def _shape(rng: np.random.Generator) -> tuple[int, ...]:
    rank = int(rng.choice([2, 3, 4, 4, 4, 4]))
    if rank < 4:
        return (1, *(int(n) for n in rng.integers(1, 13, rank - 1)))
    side = [1, 1] if rng.random() < 0.1 else rng.integers(1, 9, 2)
    return (1, int(rng.choice([1, 2, 3, 4, 5, 8, 12])), *(int(n) for n in side))


class NetworkBuilder:
    """Draws choices, and adds tensors and nodes to a file."""

    def __init__(self, rng: np.random.Generator, opsets: Sequence[int]):
        self.rng = rng
        self.nodes: list[onnx.NodeProto] = []
        self.constants: dict[str, np.ndarray] = {}
        self.inputs: dict[str, np.ndarray] = {}
        self.values: list[Value] = []
        self.used: set[str] = set()
        self.ends: list[tuple[str, int]] = []
        """Outputs that are no codes, with their types."""
        self.count = 0
        self.main = str(rng.choice(["i", "u"]))
        self.mixed = rng.random() < 0.15
        self.operator = float(rng.choice([0, 0, 0.5, 1]))
        """How often an operator takes codes rather than what they stand for."""
        self.shared = rng.random() < 0.5
        """Whether those who read one tensor read one DequantizeLinear's result."""
        self.opset = int(rng.choice(opsets))
        self.known: dict[tuple, str] = {}
        self.steps = str(rng.choice(["any", "powers", "hundredths"], p=[0.5, 0.35, 0.15]))
        """What scales are: random ones, powers of two, where many sums are ties, or such as people write."""

    def chosen(self, scale: float | np.ndarray) -> np.ndarray:
        """A scale near the given one, in float32."""
        if self.steps == "powers":
            return np.float32(2.0 ** np.round(np.log2(scale)))
        if self.steps == "hundredths":
            digits = 10.0 ** np.floor(np.log10(scale) - 1)
            return np.float32(np.round(scale / digits) * digits)
        return np.float32(scale)

    # What all operators are made of.

    def name(self, stem: str) -> str:
        return f"{stem}{len(self.nodes) + len(self.constants)}"

    def constant(self, value: np.ndarray, stem: str = "k") -> str:
        name = self.name(stem)
        self.constants[name] = np.asarray(value)
        if self.rng.random() < 0.1:
            # As an operator.
            held = numpy_helper.from_array(self.constants[name])
            self.nodes.append(helper.make_node("Constant", [], [name], name=f"constant_{name}", value=held))
        return name

    def node(self, kind: str, inputs: Sequence[str], outputs: int = 1, **attributes) -> list[str]:
        if self.opset >= 18 and kind.startswith("Reduce") and "axes" in attributes:
            inputs = [*inputs, self.constant(np.array(attributes.pop("axes"), np.int64))]
        if self.opset >= 18 and kind == "Split" and len(inputs) == 1:
            attributes["num_outputs"] = outputs
        names = [f"{kind.lower()}{len(self.nodes)}{'abc'[place] if outputs > 1 else ''}" for place in range(outputs)]
        domain = (
            MICROSOFT
            if kind.startswith("QLinear") and kind not in ("QLinearConv", "QLinearMatMul") or kind == "QGemm"
            else ""
        )
        self.nodes.append(
            helper.make_node(kind, inputs, names, name=f"{kind}_{len(self.nodes)}", domain=domain, **attributes)
        )
        return names

    def numbers(self, scale: np.float32, zero_point: int, kind: str, *, optional: bool = False) -> list[str]:
        """Constants of a scale and a zero point."""
        if kind == "u" and zero_point == 0 and self.rng.random() < 0.5 and optional:
            return [self.constant(np.float32(scale), "s")]
        return [self.constant(np.float32(scale), "s"), self.constant(KINDS[kind](zero_point), "z")]

    def real(self, value: Value) -> str:
        """Dequantizes a tensor, and returns the result's name."""
        self.used.add(value.name)
        key = ("real", value.name)
        if key not in self.known or not self.shared:
            self.known[key] = self.node("DequantizeLinear", [value.name, *self.numbers(*value.numbers, optional=True)])[
                0
            ]
        return self.known[key]

    def codes(self, value: Value) -> list[str]:
        """A quantized tensor with its scale and zero point, as three inputs."""
        self.used.add(value.name)
        return [value.name, *self.numbers(*value.numbers)]

    def drawn(self, scale: float, kind: str) -> tuple[np.float32, int, str]:
        """A random quantization with about this scale."""
        rng = self.rng
        point = int(
            rng.choice([rng.integers(-40, 41), rng.integers(-128, 128), -128, 127, 0], p=[0.6, 0.15, 0.1, 0.05, 0.1])
        )
        return self.chosen(scale * rng.uniform(0.6, 1.5)), point + (128 if kind == "u" else 0), kind

    def add(self, name: str, shape: Sequence[int], numbers: tuple[np.float32, int, str]) -> Value:
        """Adds a quantized result."""
        value = Value(name, tuple(int(n) for n in shape), *numbers)
        self.values.append(value)
        return value

    def quantized(self, name: str, shape: Sequence[int], numbers: tuple[np.float32, int, str]) -> Value:
        """Quantizes a real result, now and then to fewer bits."""
        made = self.node("QuantizeLinear", [name, *self.numbers(*numbers, optional=True)])[0]
        if self.rng.random() < 0.05:
            kind, low = KINDS[numbers[2]], int(np.iinfo(KINDS[numbers[2]]).min)
            ends = (self.rng.integers(0, 100), self.rng.integers(150, 256))
            made = self.node("Clip", [made, *(self.constant(kind(low + end), "k") for end in ends)])[0]
        return self.add(made, shape, numbers)

    def result(self, name: str, shape: Sequence[int], scale: float, kind: str) -> None:
        """Quantizes a layer's real result, often after a clamp."""
        numbers, chance = self.drawn(scale, kind), self.rng.random()
        if chance < 0.2:
            name = self.node("Relu", [name])[0]
        elif chance < 0.35:
            span = float(numbers[0]) * 127
            low, high = float(self.rng.uniform(-span, 0)), float(self.rng.uniform(0, span))
            limits = [self.constant(np.float32(low)), self.constant(np.float32(high))]
            name = self.node("Clip", [name, limits[0], limits[1]] if self.rng.random() < 0.7 else [name, limits[0]])[0]
        self.quantized(*self.moved(name, shape), numbers)

    def moved(self, name: str, shape: Sequence[int]) -> tuple[str, Sequence[int]]:
        """A real result, now and then moved before it is quantized."""
        while self.rng.random() < 0.12:
            kind = str(self.rng.choice(["Identity", "Flatten", "Transpose", "Relu"]))
            if kind == "Flatten":
                name, shape = self.node(kind, [name], axis=1)[0], (1, math.prod(shape))
            elif kind == "Transpose":
                axes = [0, *(int(axis) + 1 for axis in self.rng.permutation(len(shape) - 1))]
                name, shape = self.node(kind, [name], perm=axes)[0], [shape[axis] for axis in axes]
            else:
                name = self.node(kind, [name])[0]
        return name, shape

    def coded(self) -> bool:
        """Whether the next operator takes integers."""
        return bool(self.rng.random() < self.operator)

    def pick(self, *ranks: int) -> Value | None:
        """A tensor to read, a late one rather than an early one."""
        fit = [value for value in self.values if not ranks or len(value.shape) in ranks]
        if not fit:
            return None
        return fit[max(self.rng.integers(len(fit)), self.rng.integers(len(fit)))]

    def input(self) -> None:
        rng, shape = self.rng, _shape(self.rng)
        kind = self.kind()
        numbers = self.drawn(10 ** rng.uniform(-2, -0.5), kind)
        name = f"x{len(self.inputs)}"
        codes = rng.integers(-128, 128, shape) + (128 if kind == "u" else 0)
        if rng.random() < 0.7:
            spread = float(numbers[0]) * 60
            self.inputs[name] = rng.normal(size=shape, scale=spread).astype(np.float32)
            self.quantized(name, shape, numbers)
        else:
            self.inputs[name] = codes.astype(KINDS[kind])
            self.add(name, shape, numbers)
            # Its first reader says what the codes stand for.
            self.known["real", name] = self.node("DequantizeLinear", [name, *self.numbers(*numbers)])[0]

    def kind(self) -> str:
        return str(self.rng.choice(["i", "u"])) if self.mixed else self.main
