"""Layers on real numbers, float32, which the host computes where a model does not quantize them."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from sateen.graph.ops.base import Array, Padding, Shape, Tensors, Unary, Values, is_int, require, window_shape
from sateen.graph.ops.real import Real
from sateen.sim import golden

__all__ = ["RealConv2D", "RealPool2D", "RealProduct", "RealTransposeConv2D"]

Floats = NDArray[np.float32]


@dataclass(frozen=True, kw_only=True, eq=False)
class _RealWeighted(Real, Unary):
    """What layers with real weights share."""

    weights: Floats
    bias: Floats
    """[O]."""

    def _check_weights(self, dimensions: int) -> None:
        for field, rank in (("weights", dimensions), ("bias", 1)):
            array = getattr(self, field)
            good = isinstance(array, np.ndarray) and array.dtype == np.float32 and array.ndim == rank and array.size > 0
            require(good, self, f"{field} must be float32 of {rank} dimensions, and not empty")
        require(
            len(self.bias) == len(self.weights),
            self,
            f"bias must have {len(self.weights)} values, not {len(self.bias)}",
        )


@dataclass(frozen=True, kw_only=True, eq=False)
class RealProduct(_RealWeighted):
    """A matrix product over the last axis, with weights [O, I] and an input (N, …, I)."""

    def __post_init__(self) -> None:
        self._check_weights(2)

    def infer(self, tensors: Tensors) -> Shape:
        x, (outputs, inputs) = tensors[self.input], self.weights.shape
        good = len(x.shape) >= 2 and x.shape[-1] == inputs
        require(good, self, f"its input must be (N, {inputs}), but {x} is {x.shape}; put a Reshape before it")
        return (*x.shape[:-1], outputs)

    def execute(self, tensors: Tensors, values: Values) -> Array:
        return golden.real_product(values[self.input], self.weights, self.bias)

    def macs(self, tensors: Tensors) -> int:
        return math.prod(tensors[self.input].shape[:-1]) * self.weights.size


@dataclass(frozen=True, kw_only=True, eq=False)
class RealConv2D(_RealWeighted):
    """A convolution with weights [O, kernel height, kernel width, I / groups], padded with zeros."""

    stride: tuple[int, int] = (1, 1)
    """(y, x)."""
    padding: Padding = ((0, 0), (0, 0))
    """((top, bottom), (left, right))."""
    dilation: tuple[int, int] = (1, 1)
    """(y, x)."""
    groups: int = 1

    def __post_init__(self) -> None:
        self._check_weights(4)
        self._check_pair("stride", 1)
        self._check_pair("dilation", 1)
        self._check_padding(self.padding)

    def infer(self, tensors: Tensors) -> Shape:
        x = self._image(tensors)
        outputs, height, width, depth = self.weights.shape
        fits = is_int(self.groups, 1, 65535) and x.shape[3] == self.groups * depth and outputs % self.groups == 0
        require(
            fits, self, f"its weights {self.weights.shape} in {self.groups!r} groups do not fit {x.shape[3]} channels"
        )
        extent = (self.dilation[0] * (height - 1) + 1, self.dilation[1] * (width - 1) + 1)
        return (x.shape[0], *window_shape(self, x.shape, extent, self.stride, self.padding), outputs)

    def execute(self, tensors: Tensors, values: Values) -> Array:
        return golden.real_conv2d(
            values[self.input], self.weights, self.bias,
            stride=self.stride, padding=self.padding, dilation=self.dilation, groups=self.groups,
        )  # fmt: skip

    def macs(self, tensors: Tensors) -> int:
        return math.prod(tensors[self.output].shape[:3]) * self.weights.size


@dataclass(frozen=True, kw_only=True, eq=False)
class RealTransposeConv2D(_RealWeighted):
    """A transposed convolution with weights [O, kernel height, kernel width, I / groups]; its fields are those of
    :class:`~sateen.graph.TransposeConv2D`."""

    stride: tuple[int, int] = (1, 1)
    crop: Padding = ((0, 0), (0, 0))
    dilation: tuple[int, int] = (1, 1)
    groups: int = 1

    def __post_init__(self) -> None:
        self._check_weights(4)
        self._check_pair("stride", 1)
        self._check_pair("dilation", 1)
        good = all(is_int(low, 0, 65535) and is_int(high, -65535, 65535) for low, high in self.crop)
        require(good and len(self.crop) == 2, self, f"crop must be ((top, bottom), (left, right)), not {self.crop!r}")

    def infer(self, tensors: Tensors) -> Shape:
        x, (outputs, height, width, depth) = self._image(tensors), self.weights.shape
        fits = is_int(self.groups, 1, 65535) and x.shape[3] == self.groups * depth and outputs % self.groups == 0
        require(
            fits, self, f"its weights {self.weights.shape} in {self.groups!r} groups do not fit {x.shape[3]} channels"
        )
        sides = zip(x.shape[1:3], self.stride, self.dilation, (height, width), self.crop, strict=True)
        rows, columns = ((size - 1) * step + d * (k - 1) + 1 - sum(cut) for size, step, d, k, cut in sides)
        require(min(rows, columns) >= 1, self, f"it cuts off all of its result; crop {self.crop} less")
        return (x.shape[0], rows, columns, outputs)

    def execute(self, tensors: Tensors, values: Values) -> Array:
        rows, columns = tensors[self.output].shape[1:3]
        return golden.real_transpose_conv2d(
            values[self.input], self.weights, self.bias, out=(rows, columns), stride=self.stride,
            before=(self.crop[0][0], self.crop[1][0]), dilation=self.dilation, groups=self.groups,
        )  # fmt: skip

    def macs(self, tensors: Tensors) -> int:
        return math.prod(tensors[self.input].shape[:3]) * self.weights.size


@dataclass(frozen=True, kw_only=True, eq=False)
class RealPool2D(Real, Unary):
    """The largest value or the mean of each window of an image."""

    function: str
    """``maximum`` or ``mean``."""
    size: tuple[int, int]
    """(y, x)."""
    stride: tuple[int, int]
    """(y, x)."""
    padding: Padding = ((0, 0), (0, 0))
    """((top, bottom), (left, right))."""
    counted: bool = False
    """Whether padding counts in means, as zeros."""
    beyond: tuple[int, int] = (0, 0)
    """(y, x): rows and columns at the end of the padding that do not count even so."""

    def __post_init__(self) -> None:
        require(self.function in ("maximum", "mean"), self, f"function must be maximum or mean, not {self.function!r}")
        self._check_pair("size", 1)
        self._check_pair("stride", 1)
        self._check_padding(self.padding)
        require(
            all(max(pads) < size for pads, size in zip(self.padding, self.size, strict=True)),
            self, f"padding must be below the window's size of {self.size}, not {self.padding}",
        )  # fmt: skip
        self._check_pair("beyond", 0)
        inside = all(more <= pads[1] for more, pads in zip(self.beyond, self.padding, strict=True))
        require(inside, self, f"beyond must be part of the padding of {self.padding}, not {self.beyond}")

    def infer(self, tensors: Tensors) -> Shape:
        x = self._image(tensors)
        return (x.shape[0], *window_shape(self, x.shape, self.size, self.stride, self.padding), x.shape[3])

    def execute(self, tensors: Tensors, values: Values) -> Array:
        x = values[self.input]
        if self.function == "maximum":
            return golden.real_max_pool2d(x, size=self.size, stride=self.stride, padding=self.padding)
        return golden.real_average_pool2d(
            x, size=self.size, stride=self.stride, padding=self.padding, counted=self.counted, beyond=self.beyond
        )
