"""Elementwise operators on two tensors besides sums and products."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from sateen.graph.ops.base import Array, Binary, GraphError, Int8Array, Shape, Tensors, Unary, Values, require
from sateen.hw.spec.descriptor import Rounding
from sateen.sim import golden

__all__ = ["Divide", "L2Normalize", "Maximum", "Minimum", "PRelu", "SquaredDifference"]

ONE = np.zeros((1, 1), np.int8)


class _Scaled(Binary):
    """What operators share whose operands and result have scales of their own."""

    def infer(self, tensors: Tensors) -> Shape:
        try:
            self._compute(tensors, ONE, ONE)
        except ValueError as error:
            raise GraphError(
                f"{self}: its scales do not fit together ({error}); check the model's quantization"
            ) from None
        return super().infer(tensors)

    def execute(self, tensors: Tensors, values: Values) -> Array:
        return self._compute(tensors, values[self.a], values[self.b])

    def _compute(self, tensors: Tensors, a: Int8Array, b: Int8Array) -> Array:
        raise NotImplementedError

    def _numbers(self, tensors: Tensors) -> list[tuple[float, int]]:
        return [tensors[name].quantization for name in (*self.inputs, self.output)]


@dataclass(frozen=True, kw_only=True, eq=False)
class PRelu(_Scaled):
    """a where a ≥ 0, else a · b; see :func:`sateen.sim.golden.prelu`. The slopes b are smaller or as large as a."""

    rounding: int = Rounding.DOUBLE

    def __post_init__(self) -> None:
        self._check_rounding(self.rounding)

    def infer(self, tensors: Tensors) -> Shape:
        shape = super().infer(tensors)
        x = tensors[self.a]
        require(shape[1:] == x.shape[1:], self, f"its slopes {tensors[self.b].shape} do not fit {x} of {x.shape}")
        return shape

    def _compute(self, tensors: Tensors, a: Int8Array, b: Int8Array) -> Array:
        unsigned = tensors[self.output].unsigned
        return golden.prelu(a, b, *self._numbers(tensors), rounding=self.rounding, in_single=unsigned)

    def scales(self, tensors: Tensors) -> tuple[float, float]:
        """As :func:`sateen.sim.golden.prelu_scales` has them; in single precision unless rounding is double."""
        in_single = tensors[self.output].unsigned or self.rounding != Rounding.DOUBLE
        x, slope, y = (tensors[name].scale for name in (self.a, self.b, self.output))
        return golden.prelu_scales(x, slope, y, in_single=in_single)


@dataclass(frozen=True, kw_only=True, eq=False)
class SquaredDifference(_Scaled):
    """(a − b)²; see :func:`sateen.sim.golden.squared_difference`."""

    def _compute(self, tensors: Tensors, a: Int8Array, b: Int8Array) -> Array:
        return golden.squared_difference(a, b, *self._numbers(tensors))


@dataclass(frozen=True, kw_only=True, eq=False)
class Divide(_Scaled):
    """a / b; see :func:`sateen.sim.golden.divide`."""

    low: int = -128
    high: int = 127

    def __post_init__(self) -> None:
        self._check_clamp(self.low, self.high)

    def _compute(self, tensors: Tensors, a: Int8Array, b: Int8Array) -> Array:
        return golden.divide(a, b, *self._numbers(tensors), low=self.low, high=self.high)


@dataclass(frozen=True, kw_only=True, eq=False)
class Maximum(Binary):
    """The larger of two values; all have one quantization."""

    def infer(self, tensors: Tensors) -> Shape:
        self._check_same_quantization(tensors)
        return super().infer(tensors)

    def execute(self, tensors: Tensors, values: Values) -> Array:
        return np.maximum(values[self.a], values[self.b])


@dataclass(frozen=True, kw_only=True, eq=False)
class Minimum(Maximum):
    """The smaller of two values; all have one quantization."""

    def execute(self, tensors: Tensors, values: Values) -> Array:
        return np.minimum(values[self.a], values[self.b])


@dataclass(frozen=True, kw_only=True, eq=False)
class L2Normalize(Unary):
    """Each row along the last axis, divided by its Euclidean length; see :func:`sateen.sim.golden.l2_normalize`."""

    HOST_ONLY = True
    QUANTIZATION = (1 / 128, 0)
    """Scale and zero point that the result must have."""

    def infer(self, tensors: Tensors) -> Shape:
        x, y = tensors[self.input], tensors[self.output]
        require(
            y.quantization == self.QUANTIZATION,
            self,
            f"{y} must have the scale and zero point {self.QUANTIZATION}, not {y.quantization}",
        )
        return x.shape

    def execute(self, tensors: Tensors, values: Values) -> Array:
        x = tensors[self.input]
        return golden.l2_normalize(values[self.input], x.zero_point, unsigned=x.unsigned)
