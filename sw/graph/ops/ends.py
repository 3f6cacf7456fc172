"""The host's operators at the ends of a graph: real numbers to integers and back, softmax, the largest."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from sateen.graph.ops.base import Array, Shape, Tensors, Unary, Values, require
from sateen.hw.spec.descriptor import Rounding
from sateen.sim import golden

__all__ = ["ArgMax", "Dequantize", "LogSoftmax", "Quantize", "Softmax"]


@dataclass(frozen=True, kw_only=True, eq=False)
class Quantize(Unary):
    """Real numbers as integers; see :func:`sateen.sim.golden.quantize`."""

    rounding: int = Rounding.DOUBLE

    HOST = True

    def __post_init__(self) -> None:
        self._check_rounding(self.rounding)

    def infer(self, tensors: Tensors) -> Shape:
        return tensors[self.input].shape

    def execute(self, tensors: Tensors, values: Values) -> Array:
        return golden.quantize(values[self.input], tensors[self.output].numbers, rounding=self.rounding)

    def check_types(self, tensors: Tensors) -> None:
        self._check_type(tensors[self.input], "float32")
        self._check_type(tensors[self.output], "int8")


@dataclass(frozen=True, kw_only=True, eq=False)
class Dequantize(Unary):
    """Integers as real numbers."""

    HOST = True

    def infer(self, tensors: Tensors) -> Shape:
        return tensors[self.input].shape

    def execute(self, tensors: Tensors, values: Values) -> Array:
        return golden.dequantize(values[self.input], tensors[self.input].numbers)

    def check_types(self, tensors: Tensors) -> None:
        self._check_type(tensors[self.input], "int8")
        self._check_type(tensors[self.output], "float32")


@dataclass(frozen=True, kw_only=True, eq=False)
class Softmax(Unary):
    """softmax of ``beta · x`` over the last axis; see :func:`sateen.sim.golden.softmax`."""

    beta: float = 1.0
    rounding: int = Rounding.DOUBLE
    """Single: onnxruntime's, see :func:`sateen.sim.golden.real_softmax`."""

    HOST = True
    NUMBERS = (1 / 256, -128)
    """Of every result of double rounding."""

    def __post_init__(self) -> None:
        require(
            np.isfinite(self.beta) and self.beta > 0, self, f"beta must be a finite number above 0, not {self.beta!r}"
        )

    def infer(self, tensors: Tensors) -> Shape:
        x, y = tensors[self.input], tensors[self.output]
        if self.rounding == Rounding.SINGLE:
            return x.shape
        require(
            y.numbers == self.NUMBERS, self, f"{y} must have the scale and zero point {self.NUMBERS}, not {y.numbers}"
        )
        return x.shape

    def execute(self, tensors: Tensors, values: Values) -> Array:
        x, y = tensors[self.input], tensors[self.output]
        if self.rounding == Rounding.SINGLE:
            return golden.real_softmax(values[self.input], x.scale * self.beta, y.numbers)
        return golden.softmax(values[self.input], tensors[self.input].scale * self.beta)


@dataclass(frozen=True, kw_only=True, eq=False)
class LogSoftmax(Softmax):
    """The logarithm of softmax over the last axis; see :func:`sateen.sim.golden.log_softmax`."""

    NUMBERS = (1 / 16, 127)

    def execute(self, tensors: Tensors, values: Values) -> Array:
        return golden.log_softmax(values[self.input], tensors[self.input].scale * self.beta)


@dataclass(frozen=True, kw_only=True, eq=False)
class ArgMax(Unary):
    """The position of the largest value along an axis, the first of several; int32."""

    axis: int
    """1 or more."""
    keep: bool = False
    """The axis stays, with a length of 1."""

    HOST = True

    def infer(self, tensors: Tensors) -> Shape:
        shape = tensors[self.input].shape
        self._check_axes((self.axis,), len(shape))
        return (*shape[: self.axis], *((1,) if self.keep else ()), *shape[self.axis + 1 :])

    def execute(self, tensors: Tensors, values: Values) -> Array:
        return np.argmax(values[self.input], axis=self.axis, keepdims=self.keep).astype(np.int32)

    def check_types(self, tensors: Tensors) -> None:
        self._check_type(tensors[self.input], "int8")
        self._check_type(tensors[self.output], "int32")
