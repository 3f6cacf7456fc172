"""Operators that the host computes, usually at a graph's inputs and outputs: real numbers to integers and back, argmax,
and, where the device does not, softmax."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from sateen.errors import InputError
from sateen.graph.ops.base import Array, Shape, Tensors, Unary, Values, require
from sateen.hw.spec.descriptor import Rounding
from sateen.sim import golden

__all__ = ["ArgMax", "Cast", "Dequantize", "LogSoftmax", "Quantize", "Softmax"]


@dataclass(frozen=True, kw_only=True, eq=False)
class Quantize(Unary):
    """Real numbers to integers; see :func:`sateen.sim.golden.quantize`."""

    rounding: int = Rounding.DOUBLE
    reciprocal: float = 0.0
    """If not 0, what numbers are multiplied by instead of being divided by the scale."""

    HOST_ONLY = True

    def __post_init__(self) -> None:
        self._check_rounding(self.rounding)

    def infer(self, tensors: Tensors) -> Shape:
        return tensors[self.input].shape

    def execute(self, tensors: Tensors, values: Values) -> Array:
        y = tensors[self.output]
        bits = 16 if y.dtype == "int16" else 8
        try:
            return golden.quantize(
                values[self.input], y.quantization, rounding=self.rounding, reciprocal=self.reciprocal, bits=bits
            )
        except ValueError as error:
            raise InputError(
                f"{self}: {error}; give numbers for which all operators before it have a result (not the logarithm of "
                "one below 0)"
            ) from None

    def check_types(self, tensors: Tensors) -> None:
        self._check_type(tensors[self.input], "float32")
        self._check_type(tensors[self.output], "int8", "int16")


@dataclass(frozen=True, kw_only=True, eq=False)
class Dequantize(Unary):
    """Integers to real numbers."""

    HOST_ONLY = True

    def infer(self, tensors: Tensors) -> Shape:
        return tensors[self.input].shape

    def execute(self, tensors: Tensors, values: Values) -> Array:
        return golden.dequantize(values[self.input], tensors[self.input].quantization)

    def check_types(self, tensors: Tensors) -> None:
        self._check_type(tensors[self.input], "int8", "int16", "int32")
        self._check_type(tensors[self.output], "float32")


@dataclass(frozen=True, kw_only=True, eq=False)
class Softmax(Unary):
    """Softmax of ``beta · x`` over the last axis; see :func:`sateen.sim.golden.softmax`."""

    beta: float = 1.0
    rounding: int = Rounding.DOUBLE
    """``Rounding.FLOAT32`` is onnxruntime's definition, see :func:`sateen.sim.golden.real_softmax`."""

    QUANTIZATION = (1 / 256, -128)
    """Scale and zero point that a result of double rounding must have."""

    def __post_init__(self) -> None:
        require(
            np.isfinite(self.beta) and self.beta > 0, self, f"beta must be a finite number above 0, not {self.beta!r}"
        )

    def infer(self, tensors: Tensors) -> Shape:
        x, y = tensors[self.input], tensors[self.output]
        if self.rounding == Rounding.FLOAT32:
            return x.shape
        require(
            y.quantization == self.QUANTIZATION,
            self,
            f"{y} must have the scale and zero point {self.QUANTIZATION}, not {y.quantization}",
        )
        return x.shape

    def execute(self, tensors: Tensors, values: Values) -> Array:
        x, y = tensors[self.input], tensors[self.output]
        if self.rounding == Rounding.FLOAT32:
            return golden.real_softmax(values[self.input], x.scale * self.beta, y.quantization)
        return golden.softmax(values[self.input], tensors[self.input].scale * self.beta)


@dataclass(frozen=True, kw_only=True, eq=False)
class LogSoftmax(Softmax):
    """The logarithm of softmax over the last axis; see :func:`sateen.sim.golden.log_softmax`."""

    HOST_ONLY = True
    QUANTIZATION = (1 / 16, 127)
    LEAST = 2.0**-54
    """The smallest scale by which distances between values are multiplied at all."""

    def infer(self, tensors: Tensors) -> Shape:
        scale, least = tensors[self.input].scale * self.beta, self.LEAST
        require(self.rounding == Rounding.DOUBLE, self, f"rounding must be Rounding.DOUBLE, not {self.rounding!r}")
        require(scale >= least, self, f"the scale of its input times beta must be {least:g} or more, not {scale:g}")
        return super().infer(tensors)

    def execute(self, tensors: Tensors, values: Values) -> Array:
        return golden.log_softmax(values[self.input], tensors[self.input].scale * self.beta)


@dataclass(frozen=True, kw_only=True, eq=False)
class ArgMax(Unary):
    """The index of the largest value along an axis, the first of equal ones; int32."""

    axis: int
    """1 or more."""
    keep_dims: bool = False
    """Whether the axis stays, with a length of 1."""

    HOST_ONLY = True

    def infer(self, tensors: Tensors) -> Shape:
        shape = tensors[self.input].shape
        self._check_axes((self.axis,), len(shape))
        return (*shape[: self.axis], *((1,) if self.keep_dims else ()), *shape[self.axis + 1 :])

    def execute(self, tensors: Tensors, values: Values) -> Array:
        return np.argmax(values[self.input], axis=self.axis, keepdims=self.keep_dims).astype(np.int32)

    def check_types(self, tensors: Tensors) -> None:
        self._check_type(tensors[self.input], "int8", "float32")
        self._check_type(tensors[self.output], "int32")


@dataclass(frozen=True, kw_only=True, eq=False)
class Cast(Unary):
    """Values as another type, whatever scales codes have: the codes of the model's file as numbers, numbers and truth
    values as codes. Real numbers are truncated, codes wrap; what is not 0 is true."""

    HOST_ONLY = True
    TYPES = ("int8", "int16", "int32", "bool", "float32")

    def infer(self, tensors: Tensors) -> Shape:
        return tensors[self.input].shape

    def execute(self, tensors: Tensors, values: Values) -> Array:
        x, y = tensors[self.input], tensors[self.output]
        given = values[self.input]
        if x.dtype == "int8":
            given = given.astype(np.int16) + np.int16(x.base)
        if y.dtype == "int8":
            return (given.astype(np.int32) - y.base).astype(np.int8)
        with np.errstate(invalid="ignore"):
            # Beyond int32 the result is -2^31, as processors have it that TensorFlow Lite runs on.
            return given.astype(y.dtype)

    def check_types(self, tensors: Tensors) -> None:
        self._check_type(tensors[self.input], *self.TYPES)
        self._check_type(tensors[self.output], *self.TYPES)
