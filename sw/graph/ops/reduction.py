"""Sums, and the largest and smallest values, over whole axes; :class:`~sateen.graph.ops.pooling.Mean` has means."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from sateen.graph.ops.base import Array, Shape, Tensors, Unary, Values
from sateen.graph.ops.pooling import Mean
from sateen.hw.spec.descriptor import Rounding

__all__ = ["Reduction", "ReduceMax", "ReduceMin", "Sum"]


@dataclass(frozen=True, kw_only=True, eq=False)
class Sum(Mean):
    """The sum over ``axes``, requantized; see :func:`sateen.sim.golden.mean`."""

    def divisor(self, tensors: Tensors) -> int:
        return 1

    def scaling(self, tensors: Tensors) -> tuple[int, int]:
        x, y = tensors[self.input], tensors[self.output]
        if self.rounding == Rounding.FLOAT32:
            return self._scaling(float(np.float32(x.scale) / np.float32(y.scale)))
        return self._scaling(x.scale / y.scale)


@dataclass(frozen=True, kw_only=True, eq=False)
class Reduction(Unary):
    """What reductions share whose results are values of the input."""

    axes: tuple[int, ...]
    """Each 1 or more."""
    keep_dims: bool = False
    """Whether the axes stay, with a length of 1."""

    def infer(self, tensors: Tensors) -> Shape:
        shape = tensors[self.input].shape
        self._check_axes(self.axes, len(shape))
        self._check_same_quantization(tensors)
        sizes = (1 if axis in self.axes else size for axis, size in enumerate(shape))
        return tuple(size for axis, size in enumerate(sizes) if self.keep_dims or axis not in self.axes)


@dataclass(frozen=True, kw_only=True, eq=False)
class ReduceMax(Reduction):
    """The largest value over ``axes``."""

    def execute(self, tensors: Tensors, values: Values) -> Array:
        return values[self.input].max(axis=self.axes, keepdims=self.keep_dims)


@dataclass(frozen=True, kw_only=True, eq=False)
class ReduceMin(Reduction):
    """The smallest value over ``axes``."""

    def execute(self, tensors: Tensors, values: Values) -> Array:
        return values[self.input].min(axis=self.axes, keepdims=self.keep_dims)
