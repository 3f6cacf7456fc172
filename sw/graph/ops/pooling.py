"""Pooling over windows, and means."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np

from sateen.graph.ops.base import (
    Int8Array,
    Padding,
    Shape,
    Tensor,
    Tensors,
    Unary,
    Values,
    is_int,
    require,
    window_shape,
)
from sateen.hw.spec.descriptor import Rounding
from sateen.sim import golden

__all__ = ["AveragePool2D", "FloatAveragePool2D", "MaxPool2D", "Mean", "Pool2D"]


@dataclass(frozen=True, kw_only=True, eq=False)
class Pool2D(Unary):
    """What pooling over windows shares. No window lies wholly in padding."""

    size: tuple[int, int]
    """(y, x)."""
    stride: tuple[int, int]
    """(y, x)."""
    padding: Padding = ((0, 0), (0, 0))
    low: int = -128
    high: int = 127

    def __post_init__(self) -> None:
        self._check_pair("size", 1)
        self._check_pair("stride", 1)
        self._check_padding(self.padding)
        self._check_clamp(self.low, self.high)
        require(
            all(max(pads) < size for pads, size in zip(self.padding, self.size, strict=True)),
            self, f"padding must be below the window's size of {self.size}, not {self.padding}",
        )  # fmt: skip

    def infer(self, tensors: Tensors) -> Shape:
        x = self._image(tensors)
        self._check_same_quantization(tensors)
        return (x.shape[0], *window_shape(self, x.shape, self.size, self.stride, self.padding), x.shape[3])


@dataclass(frozen=True, kw_only=True, eq=False)
class MaxPool2D(Pool2D):
    """The largest value of each window; padding never wins."""

    def execute(self, tensors: Tensors, values: Values) -> Int8Array:
        return golden.max_pool2d(
            values[self.input], size=self.size, stride=self.stride, padding=self.padding, low=self.low, high=self.high
        )


@dataclass(frozen=True, kw_only=True, eq=False)
class AveragePool2D(Pool2D):
    """The mean of the image's values in each window; padding does not count."""

    ties_up: bool = False
    """Whether halves are rounded up, as in uint8 models, instead of away from zero."""

    def execute(self, tensors: Tensors, values: Values) -> Int8Array:
        return golden.average_pool2d(
            values[self.input], size=self.size, stride=self.stride, padding=self.padding, low=self.low, high=self.high,
            ties_up=self.ties_up,
        )  # fmt: skip


@dataclass(frozen=True, kw_only=True, eq=False)
class FloatAveragePool2D(Unary):
    """The mean of each window in float32; see :func:`sateen.sim.golden.float32_average_pool2d`."""

    size: tuple[int, int]
    """(y, x)."""
    stride: tuple[int, int]
    """(y, x)."""
    dilation: tuple[int, int]
    """(y, x)."""
    padding: Padding
    count: int
    """By what sums are divided, whether or not padding counts."""
    fused: bool = True
    """Whether onnxruntime has a kernel for the codes; else it takes real numbers, and quantizes the result."""
    as_uint8: bool = False
    """Whether that kernel is one of uint8, also if the file has int8."""
    columns: bool = False
    """Whether each column of a window is summed first, then these sums; else all values are summed row by row."""
    low: int = -128
    high: int = 127

    def __post_init__(self) -> None:
        for field in ("size", "stride", "dilation"):
            self._check_pair(field, 1)
        self._check_padding(self.padding)
        self._check_clamp(self.low, self.high)
        require(is_int(self.count, 1, 2**24), self, f"count must be 1 to 2^24, not {self.count!r}")

    def infer(self, tensors: Tensors) -> Shape:
        x, y = self._image(tensors), tensors[self.output]
        self._scaling(x.scale / y.scale)
        extent = (self.dilation[0] * (self.size[0] - 1) + 1, self.dilation[1] * (self.size[1] - 1) + 1)
        return (x.shape[0], *window_shape(self, x.shape, extent, self.stride, self.padding), x.shape[3])

    def base(self, y: Tensor) -> int:
        """By how much codes are larger in onnxruntime's kernel for a result."""
        return 128 if self.as_uint8 else y.base

    def execute(self, tensors: Tensors, values: Values) -> Int8Array:
        x, y = tensors[self.input], tensors[self.output]
        means = golden.float32_average_pool2d(
            values[self.input], x.quantization, y.quantization, size=self.size, stride=self.stride,
            dilation=self.dilation, padding=self.padding, count=self.count, base=self.base(y), fused=self.fused,
            columns=self.columns,
        )  # fmt: skip
        return np.clip(means, self.low, self.high)


@dataclass(frozen=True, kw_only=True, eq=False)
class Mean(Unary):
    """The mean over ``axes``, requantized; see :func:`sateen.sim.golden.mean`."""

    axes: tuple[int, ...]
    """Each 1 or more."""
    keep_dims: bool = False
    """Whether the axes stay, with a length of 1."""
    rounding: int = Rounding.DOUBLE
    fused: bool = True
    """With Rounding.FLOAT32: whether onnxruntime has a kernel for the codes. Else it takes real numbers, and quantizes
    the result."""

    def __post_init__(self) -> None:
        self._check_rounding(self.rounding)

    def infer(self, tensors: Tensors) -> Shape:
        shape = tensors[self.input].shape
        self._check_axes(self.axes, len(shape))
        self.scaling(tensors)
        return tuple(
            1 if axis in self.axes else size
            for axis, size in enumerate(shape)
            if self.keep_dims or axis not in self.axes
        )

    def count(self, tensors: Tensors) -> int:
        """Number of values that are averaged into one."""
        return math.prod(tensors[self.input].shape[axis] for axis in self.axes)

    def is_real(self, tensors: Tensors) -> bool:
        """Whether the definition is that of real numbers. Where their sums depend on their order, it is that of codes,
        and may differ from the interpreter's next to a tie."""
        exact = golden.sums_are_exact(tensors[self.input].quantization, self.count(tensors))
        return self.rounding == Rounding.FLOAT32 and not self.fused and exact

    def divisor(self, tensors: Tensors) -> int:
        """By what the sum is divided."""
        return self.count(tensors)

    def scaling(self, tensors: Tensors) -> tuple[int, int]:
        """Multiplier and shift for the sums."""
        x, y, count = tensors[self.input], tensors[self.output], self.count(tensors)
        if self.rounding == Rounding.FLOAT32:
            with np.errstate(over="ignore"):
                return self._scaling(float(np.float32(x.scale) / (np.float32(y.scale) * np.float32(count))))
        return golden.mean_multiplier(*self._scaling(x.scale / y.scale), count)

    def execute(self, tensors: Tensors, values: Values) -> Int8Array:
        x, y = tensors[self.input], tensors[self.output]
        if self.is_real(tensors):
            sums = (values[self.input].astype(np.int64) - x.zero_point).sum(axis=self.axes)
            means = golden.real_mean(sums, x.quantization, y.quantization, count=self.divisor(tensors), base=y.base)
            return means.reshape(len(means), *y.shape[1:])
        means = golden.mean(
            values[self.input],
            self.axes,
            *self.scaling(tensors),
            zero_point=x.zero_point,
            output_zero_point=y.zero_point,
            rounding=self.rounding,
        )
        return means.reshape(len(means), *y.shape[1:])
