"""Operators on int16 activations with int8 weights, which the host computes; see :mod:`sateen.sim.golden.wide`."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from sateen.graph.ops.base import (
    Array,
    Binary,
    Op,
    Padding,
    Shape,
    Tensors,
    Unary,
    Values,
    is_int,
    require,
    window_shape,
)
from sateen.sim import golden

__all__ = [
    "Wide", "WideAdd", "WideConv2D", "WideFullyConnected", "WideFunction", "WideLeakyRelu", "WideMean", "WideMultiply",
    "WidePool2D", "WideRequantize", "WideSoftmax",
]  # fmt: skip

LOW, HIGH = -(2**15), 2**15 - 1
UNIT = 2.0**-15
"""Scale of results between −1 and 1."""


class Wide(Op):
    """What operators on int16 tensors share. Their zero points are 0."""

    HOST_ONLY = True

    def check_types(self, tensors: Tensors) -> None:
        for name in (*self.inputs, self.output):
            self._check_wide(tensors, name)

    def _check_wide(self, tensors: Tensors, name: str) -> None:
        self._check_type(tensors[name], "int16")
        point = tensors[name].zero_point
        require(point == 0, self, f"the zero point of {tensors[name]}, which is int16, must be 0, not {point}")

    def _check_limits(self, low: int, high: int) -> None:
        good = is_int(low, LOW, HIGH) and is_int(high, LOW, HIGH) and low <= high
        require(good, self, f"low and high must be in order within {LOW} to {HIGH}, not {low!r} and {high!r}")

    def _check_unit(self, tensors: Tensors) -> None:
        """Checks that the result counts in units of 2^-15."""
        y = tensors[self.output]
        good = abs(y.scale / UNIT - 1) < 1e-3
        require(good, self, f"{y} must have the scale {UNIT}, not {y.scale}")


@dataclass(frozen=True, kw_only=True, eq=False)
class _Weighted(Wide, Unary):
    """What layers with weights share."""

    weights: NDArray[np.int8]
    bias: NDArray[np.int32] | NDArray[np.int64]
    """[O], with the scale of input times weights; of int32 it makes sums that wrap at 32 bits."""
    multiplier: NDArray[np.int32]
    """[O], 0 or more; with ``shift``, as :func:`sateen.sim.golden.quantize_multiplier` returns them."""
    shift: NDArray[np.int8]
    """[O], −31 to 14: the multiplier has 15 bits."""
    low: int = LOW
    high: int = HIGH

    def _check_parameters(self, rank: int) -> None:
        self._check_limits(self.low, self.high)
        good = self.weights.dtype == np.int8 and self.weights.ndim == rank and self.weights.size > 0
        require(good, self, f"weights must be int8 with {rank} axes")
        good = self.bias.dtype in (np.int32, np.int64) and bool((np.abs(self.bias.astype(np.float64)) < 2**46).all())
        require(good, self, "bias must be int32 or int64, within -2^46 to 2^46")
        for field in ("bias", "multiplier", "shift"):
            array = getattr(self, field)
            require(array.shape == self.weights.shape[:1], self, f"{field} must be [{len(self.weights)}]")
        require(bool((self.multiplier >= 0).all()), self, "every multiplier must be 0 or more")
        require(bool(((self.shift >= -31) & (self.shift <= 14)).all()), self, "every shift must lie within -31 to 14")


@dataclass(frozen=True, kw_only=True, eq=False)
class WideConv2D(_Weighted):
    """A convolution with weights [O, kernel height, kernel width, I / groups]."""

    stride: tuple[int, int] = (1, 1)
    """(y, x)."""
    padding: Padding = ((0, 0), (0, 0))
    """((top, bottom), (left, right)) of zeros."""
    dilation: tuple[int, int] = (1, 1)
    """(y, x)."""
    groups: int = 1

    def __post_init__(self) -> None:
        self._check_parameters(4)
        self._check_pair("stride", 1)
        self._check_pair("dilation", 1)
        self._check_padding(self.padding)
        good = is_int(self.groups, 1, 2**16) and len(self.weights) % self.groups == 0
        require(good, self, f"groups must divide its {len(self.weights)} channels of results, not {self.groups!r}")

    def infer(self, tensors: Tensors) -> Shape:
        x = self._image(tensors)
        outputs, height, width, depth = self.weights.shape
        fits = x.shape[3] == depth * self.groups
        require(fits, self, f"its weights take {depth * self.groups} channels, but {x} has {x.shape[3]}")
        extent = (self.dilation[0] * (height - 1) + 1, self.dilation[1] * (width - 1) + 1)
        return (x.shape[0], *window_shape(self, x.shape, extent, self.stride, self.padding), outputs)

    def execute(self, tensors: Tensors, values: Values) -> Array:
        return golden.wide_conv2d(
            values[self.input], self.weights, self.bias, self.multiplier, self.shift, stride=self.stride,
            padding=self.padding, dilation=self.dilation, groups=self.groups, low=self.low, high=self.high,
        )  # fmt: skip

    def macs(self, tensors: Tensors) -> int:
        return math.prod(tensors[self.output].shape[:3]) * self.weights.size


@dataclass(frozen=True, kw_only=True, eq=False)
class WideFullyConnected(_Weighted):
    """A matrix product over the last axis, with weights [O, I]."""

    def __post_init__(self) -> None:
        self._check_parameters(2)

    def infer(self, tensors: Tensors) -> Shape:
        x, (outputs, inputs) = tensors[self.input], self.weights.shape
        good = len(x.shape) >= 2 and x.shape[-1] == inputs
        require(good, self, f"its input must be (N, {inputs}), but {x} is {x.shape}; put a Reshape before it")
        return (*x.shape[:-1], outputs)

    def execute(self, tensors: Tensors, values: Values) -> Array:
        return golden.wide_fully_connected(
            values[self.input], self.weights, self.bias, self.multiplier, self.shift, low=self.low, high=self.high
        )

    def macs(self, tensors: Tensors) -> int:
        return math.prod(tensors[self.input].shape[:-1]) * self.weights.size


@dataclass(frozen=True, kw_only=True, eq=False)
class _Pair(Wide, Binary):
    """What sums and products share."""

    low: int = LOW
    high: int = HIGH

    def __post_init__(self) -> None:
        self._check_limits(self.low, self.high)

    def infer(self, tensors: Tensors) -> Shape:
        a, b, y = (tensors[name] for name in (*self.inputs, self.output))
        # The largest factor's multiplier; the others are smaller.
        self._scaling(max(a.scale, b.scale, a.scale * b.scale) / y.scale)
        return super().infer(tensors)

    def _scales(self, tensors: Tensors) -> tuple[float, float]:
        return tensors[self.a].scale, tensors[self.b].scale


@dataclass(frozen=True, kw_only=True, eq=False)
class WideAdd(_Pair):
    """a + sign · b."""

    sign: int = 1
    """1 or −1."""

    def execute(self, tensors: Tensors, values: Values) -> Array:
        return golden.wide_add(
            values[self.a], values[self.b], self._scales(tensors), tensors[self.output].scale, sign=self.sign,
            low=self.low, high=self.high,
        )  # fmt: skip


@dataclass(frozen=True, kw_only=True, eq=False)
class WideMultiply(_Pair):
    """a · b."""

    def execute(self, tensors: Tensors, values: Values) -> Array:
        return golden.wide_multiply(
            values[self.a], values[self.b], self._scales(tensors), tensors[self.output].scale, low=self.low,
            high=self.high,
        )  # fmt: skip


@dataclass(frozen=True, kw_only=True, eq=False)
class WidePool2D(Wide, Unary):
    """The largest of each window, or the mean of the image's values in it."""

    mean: bool
    size: tuple[int, int]
    """(y, x)."""
    stride: tuple[int, int]
    """(y, x)."""
    padding: Padding = ((0, 0), (0, 0))
    low: int = LOW
    high: int = HIGH

    def __post_init__(self) -> None:
        self._check_limits(self.low, self.high)
        self._check_pair("size", 1)
        self._check_pair("stride", 1)
        self._check_padding(self.padding)
        good = all(max(pads) < size for pads, size in zip(self.padding, self.size, strict=True))
        require(good, self, f"padding must be below the window's size of {self.size}, not {self.padding}")

    def infer(self, tensors: Tensors) -> Shape:
        x = self._image(tensors)
        self._check_same_quantization(tensors)
        return (x.shape[0], *window_shape(self, x.shape, self.size, self.stride, self.padding), x.shape[3])

    def execute(self, tensors: Tensors, values: Values) -> Array:
        pool = golden.wide_average_pool2d if self.mean else golden.wide_max_pool2d
        return pool(
            values[self.input], size=self.size, stride=self.stride, padding=self.padding, low=self.low, high=self.high
        )


@dataclass(frozen=True, kw_only=True, eq=False)
class WideMean(Wide, Unary):
    """The mean over ``axes``."""

    axes: tuple[int, ...]
    """Each 1 or more."""
    keep_dims: bool = False
    """Whether the axes stay, with a length of 1."""

    def infer(self, tensors: Tensors) -> Shape:
        shape = tensors[self.input].shape
        self._check_axes(self.axes, len(shape))
        self._factors(tensors)
        sizes = (1 if axis in self.axes else size for axis, size in enumerate(shape))
        return tuple(size for axis, size in enumerate(sizes) if self.keep_dims or axis not in self.axes)

    def _factors(self, tensors: Tensors) -> tuple[int, int]:
        x, y = tensors[self.input], tensors[self.output]
        count = math.prod(x.shape[axis] for axis in self.axes)
        return golden.mean_multiplier(*self._scaling(x.scale / y.scale), count)

    def execute(self, tensors: Tensors, values: Values) -> Array:
        means = golden.wide_mean(values[self.input], self.axes, *self._factors(tensors))
        return means.reshape(len(means), *tensors[self.output].shape[1:])


@dataclass(frozen=True, kw_only=True, eq=False)
class WideRequantize(Wide, Unary):
    """The same real values with another scale, of 16 bits from 8 or 16, or of 8 bits from 16."""

    multiplier: int
    """With ``shift``, as :func:`sateen.sim.golden.quantize_multiplier` returns them."""
    shift: int
    low: int
    high: int

    def __post_init__(self) -> None:
        self._check_limits(self.low, self.high)
        good = is_int(self.multiplier, 0, 2**31 - 1) and is_int(self.shift, -31, 30)
        require(good, self, f"multiplier and shift are out of range: {self.multiplier!r}, {self.shift!r}")

    def check_types(self, tensors: Tensors) -> None:
        wide = [name for name in (self.input, self.output) if tensors[name].dtype == "int16"]
        require(len(wide) > 0, self, "its input or its output must be int16")
        for name in (self.input, self.output):
            self._check_type(tensors[name], "int8", "int16")
        for name in wide:
            self._check_wide(tensors, name)

    def infer(self, tensors: Tensors) -> Shape:
        low, high = tensors[self.output].limits
        good = low <= self.low and self.high <= high
        require(good, self, f"low and high must lie within {low} to {high}, not {self.low} and {self.high}")
        return tensors[self.input].shape

    def execute(self, tensors: Tensors, values: Values) -> Array:
        x, y = tensors[self.input], tensors[self.output]
        result = golden.wide_requantize(
            values[self.input], x.zero_point, self.multiplier, self.shift, output_zero_point=y.zero_point, low=self.low,
            high=self.high,
        )  # fmt: skip
        return result.astype(y.dtype)


@dataclass(frozen=True, kw_only=True, eq=False)
class WideFunction(Wide, Unary):
    """The logistic function or the hyperbolic tangent."""

    function: str
    """``logistic`` or ``tanh``."""

    def __post_init__(self) -> None:
        known = self.function in ("logistic", "tanh")
        require(known, self, f"function must be logistic or tanh, not {self.function!r}")

    def infer(self, tensors: Tensors) -> Shape:
        self._check_unit(tensors)
        scale = tensors[self.input].scale
        require(2.0**-40 < scale < 5, self, f"the scale of its input must lie within 2^-40 to 5, not {scale}")
        return tensors[self.input].shape

    def execute(self, tensors: Tensors, values: Values) -> Array:
        function = golden.wide_logistic if self.function == "logistic" else golden.wide_tanh
        return function(values[self.input], tensors[self.input].scale)


@dataclass(frozen=True, kw_only=True, eq=False)
class WideLeakyRelu(Wide, Unary):
    """x where x ≥ 0, else alpha · x."""

    alpha: float
    """0 or more."""

    def infer(self, tensors: Tensors) -> Shape:
        x, y = tensors[self.input], tensors[self.output]
        require(math.isfinite(self.alpha) and self.alpha >= 0, self, f"alpha must be 0 or more, not {self.alpha!r}")
        self._scaling(max(1.0, self.alpha) * x.scale / y.scale)
        return x.shape

    def execute(self, tensors: Tensors, values: Values) -> Array:
        return golden.wide_leaky_relu(
            values[self.input], tensors[self.input].scale, tensors[self.output].scale, self.alpha
        )


@dataclass(frozen=True, kw_only=True, eq=False)
class WideSoftmax(Wide, Unary):
    """Softmax of ``beta · x`` over the last axis."""

    beta: float = 1.0

    def infer(self, tensors: Tensors) -> Shape:
        x = tensors[self.input]
        require(math.isfinite(self.beta) and self.beta > 0, self, f"beta must be above 0, not {self.beta!r}")
        self._check_unit(tensors)
        self._scaling(x.scale * self.beta / (10.0 / 65535.0))
        return x.shape

    def execute(self, tensors: Tensors, values: Values) -> Array:
        return golden.wide_softmax(values[self.input], tensors[self.input].scale * self.beta)
