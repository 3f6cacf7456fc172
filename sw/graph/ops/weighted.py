"""Layers with weights."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from sateen.graph.ops.base import (
    Array,
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
from sateen.hw.spec.pe import TermBudget
from sateen.sim import golden
from sateen.sim.golden import terms

__all__ = [
    "Conv2D", "DepthwiseConv2D", "FullyConnected", "NormalizedProduct", "TransposeConv2D", "TurnedConv2D", "Weighted",
    "Windowed",
]  # fmt: skip


@dataclass(frozen=True, kw_only=True, eq=False)
class Weighted(Unary):
    """What layers with weights share: a bias and a scale for each output channel, and a clamp.

    If the output is int32, it holds the sums themselves, which only the host computes; there is no scale or clamp then.
    """

    weights: NDArray[np.int8] | NDArray[np.int16]
    """int16 weights lie within −255 to 255: their file gave them a zero point, which has been subtracted."""
    bias: NDArray[np.int32]
    """[O], with the scale of input times weights; the input's zero point is not folded in."""
    multiplier: NDArray[np.int32]
    """[O], 0 or more; with ``shift``, as :func:`sateen.sim.golden.quantize_multiplier` returns them."""
    shift: NDArray[np.int8]
    """[O], −31 to 30."""
    low: int = -128
    high: int = 127
    rounding: int = Rounding.DOUBLE
    terms: TermBudget | None = None
    """Terms that weights and activations keep. The layer computes ``Σ w'·(a' − zero point)``, where w' and a' are what
    :func:`sateen.sim.golden.terms.quantize_terms` leaves of w, in groups of input channels at one kernel position, and
    of a. ``None``: everything is exact."""

    @property
    def kept_weights(self) -> NDArray[np.int64]:
        """The weights as the term budget leaves them."""
        return self.weights.astype(np.int64) if self.terms is None else terms.quantize_weights(self.weights, self.terms)

    def _kept(self, x: NDArray[np.generic]) -> NDArray[np.int64]:
        """Activations as the term budget leaves them."""
        return x.astype(np.int64) if self.terms is None else terms.quantize_data(x, self.terms)

    def _check_parameters(self, dimensions: int) -> None:
        is_int16 = isinstance(self.weights, np.ndarray) and self.weights.dtype == np.int16
        if is_int16:
            require(bool((np.abs(self.weights) <= 255).all()), self, "int16 weights must lie within -255 to 255")
        for field, dtype in [
            ("weights", np.int16 if is_int16 else np.int8),
            ("bias", np.int32),
            ("multiplier", np.int32),
            ("shift", np.int8),
        ]:
            array = getattr(self, field)
            found = array.dtype if isinstance(array, np.ndarray) else type(array).__name__
            require(found == dtype, self, f"{field} must be an array of {dtype.__name__}, not {found}")
            rank = dimensions if field == "weights" else 1
            require(array.ndim == rank, self, f"{field} must have {rank} dimensions, not shape {array.shape}")
            outputs = self.weights.shape[0]
            require(len(array) == outputs, self, f"{field} must have {outputs} output channels, not {len(array)}")
        require(self.weights.size > 0, self, f"weights must not be empty; their shape is {self.weights.shape}")
        require(bool((self.multiplier >= 0).all()), self, "every multiplier must be 0 or more")
        normal = (self.shift <= 0) | (self.multiplier == 0) | (self.multiplier >= 1 << 30)
        require(bool(normal.all()), self, "with a positive shift, a multiplier must be 0 or at least 2^30")
        require(bool(((self.shift >= -31) & (self.shift <= 30)).all()), self, "every shift must lie within -31 to 30")
        self._check_clamp(self.low, self.high)
        require(
            self.terms is None or isinstance(self.terms, TermBudget),
            self,
            f"terms must be a TermBudget or None, not {self.terms!r}",
        )
        self._check_rounding(self.rounding)
        self._check_multiplier(self.rounding, self.multiplier)

    def check_types(self, tensors: Tensors) -> None:
        self._check_type(tensors[self.input], "int8")
        self._check_type(tensors[self.output], "int8", "int32")

    def _requantize(self, acc: NDArray[np.int32], output: Tensor) -> Array:
        if output.dtype == "int32":
            return acc
        return golden.requantize(
            acc, self.multiplier, self.shift,
            rounding=self.rounding, zero_point=output.zero_point, low=self.low, high=self.high,
        )  # fmt: skip


@dataclass(frozen=True, kw_only=True, eq=False)
class Windowed(Weighted):
    """What convolutions share."""

    stride: tuple[int, int] = (1, 1)
    """(y, x)."""
    padding: Padding = ((0, 0), (0, 0))
    """((top, bottom), (left, right)), filled with the input's zero point."""
    dilation: tuple[int, int] = (1, 1)
    """(y, x)."""

    def __post_init__(self) -> None:
        self._check_parameters(4)
        self._check_pair("stride", 1)
        self._check_pair("dilation", 1)
        self._check_padding(self.padding)

    def _infer(self, tensors: Tensors) -> Shape:
        x = self._image(tensors)
        outputs, height, width, _ = self.weights.shape
        extent = (self.dilation[0] * (height - 1) + 1, self.dilation[1] * (width - 1) + 1)
        return (x.shape[0], *window_shape(self, x.shape, extent, self.stride, self.padding), outputs)

    def _execute(self, tensors: Tensors, values: Values, groups: int) -> Int8Array:
        zero_point = tensors[self.input].zero_point
        acc = golden.conv2d(
            self._kept(values[self.input]),
            self.kept_weights,
            self.bias,
            stride=self.stride,
            padding=self.padding,
            dilation=self.dilation,
            pad_value=int(self._kept(np.array(zero_point))),
            zero_point=zero_point,
            groups=groups,
        )
        return self._requantize(acc, tensors[self.output])

    def macs(self, tensors: Tensors) -> int:
        return math.prod(tensors[self.output].shape[:3]) * self.weights.size


@dataclass(frozen=True, kw_only=True, eq=False)
class _Full(Windowed):
    """A convolution of all channels."""

    def infer(self, tensors: Tensors) -> Shape:
        x, channels = self._image(tensors), self.weights.shape[3]
        require(x.shape[3] == channels, self, f"its weights take {channels} channels, but {x} has {x.shape[3]}")
        return self._infer(tensors)

    def execute(self, tensors: Tensors, values: Values) -> Int8Array:
        return self._execute(tensors, values, 1)


@dataclass(frozen=True, kw_only=True, eq=False)
class Conv2D(_Full):
    """A convolution with weights [O, kernel height, kernel width, I]; see :func:`sateen.sim.golden.conv2d`."""


@dataclass(frozen=True, kw_only=True, eq=False)
class TurnedConv2D(_Full):
    """A convolution whose result has rows and columns exchanged: it reads what :class:`~sateen.graph.Unfold` made of an
    image, and gives an image."""

    def infer(self, tensors: Tensors) -> Shape:
        batch, rows, columns, outputs = super().infer(tensors)
        return (batch, columns, rows, outputs)

    def execute(self, tensors: Tensors, values: Values) -> Int8Array:
        return np.ascontiguousarray(super().execute(tensors, values).swapaxes(1, 2))


@dataclass(frozen=True, kw_only=True, eq=False)
class DepthwiseConv2D(Windowed):
    """A convolution of each channel by itself: O = C · m, and output channel ``c·m + i`` depends on input channel c
    alone.

    ``weights`` are [O, kernel height, kernel width, 1]; see :func:`sateen.sim.golden.conv2d` with C groups.
    """

    def infer(self, tensors: Tensors) -> Shape:
        channels = self._image(tensors).shape[3]
        outputs, _, _, depth = self.weights.shape
        require(
            depth == 1 and outputs % channels == 0,
            self,
            f"its weights of {self.weights.shape} do not give each of {channels} channels the same number of outputs",
        )
        return self._infer(tensors)

    def execute(self, tensors: Tensors, values: Values) -> Int8Array:
        return self._execute(tensors, values, tensors[self.input].shape[3])


@dataclass(frozen=True, kw_only=True, eq=False)
class TransposeConv2D(Weighted):
    """A transposed convolution with weights [O, kernel height, kernel width, I / groups]; see
    :func:`sateen.sim.golden.transpose_conv2d`."""

    stride: tuple[int, int] = (1, 1)
    """(y, x): the distance of the results of neighbouring inputs."""
    crop: Padding = ((0, 0), (0, 0))
    """((top, bottom), (left, right)): what is cut off the result of all inputs, which has
    ``(H − 1)·stride + dilation·(kernel − 1) + 1`` rows. A negative bottom or right adds results of the bias alone."""
    dilation: tuple[int, int] = (1, 1)
    """(y, x)."""
    groups: int = 1
    """Equal parts of the channels, each computed alone."""

    def __post_init__(self) -> None:
        self._check_parameters(4)
        self._check_pair("stride", 1)
        self._check_pair("dilation", 1)
        good = (
            isinstance(self.crop, tuple) and len(self.crop) == 2
            and all(isinstance(pair, tuple) and len(pair) == 2 for pair in self.crop)
            and all(is_int(low, 0, 65535) and is_int(high, -65535, 65535) for low, high in self.crop)
        )  # fmt: skip
        require(
            good,
            self,
            f"crop must be ((top, bottom), (left, right)) up to 65535, top and left not negative, not {self.crop!r}",
        )
        good = is_int(self.groups, 1, 65535) and len(self.weights) % self.groups == 0
        require(good, self, f"groups must divide its {len(self.weights)} channels of results, not {self.groups!r}")

    def infer(self, tensors: Tensors) -> Shape:
        x, (outputs, height, width, depth) = self._image(tensors), self.weights.shape
        fits = x.shape[3] == depth * self.groups
        require(fits, self, f"its weights take {depth * self.groups} channels, but {x} has {x.shape[3]}")
        rows, columns = (
            (size - 1) * step + d * (k - 1) + 1 - sum(cut)
            for size, step, d, k, cut in zip(
                x.shape[1:3], self.stride, self.dilation, (height, width), self.crop, strict=True
            )
        )
        require(min(rows, columns) >= 1, self, f"it cuts off all of its result; crop {self.crop} less")
        return (x.shape[0], rows, columns, outputs)

    def execute(self, tensors: Tensors, values: Values) -> Int8Array:
        y = tensors[self.output]
        acc = golden.transpose_conv2d(
            self._kept(values[self.input]),
            self.kept_weights,
            self.bias,
            out=(y.shape[1], y.shape[2]),
            stride=self.stride,
            before=(self.crop[0][0], self.crop[1][0]),
            dilation=self.dilation,
            zero_point=tensors[self.input].zero_point,
            groups=self.groups,
        )
        return self._requantize(acc, y)

    def macs(self, tensors: Tensors) -> int:
        return math.prod(tensors[self.input].shape[:3]) * self.weights.size


@dataclass(frozen=True, kw_only=True, eq=False)
class FullyConnected(Weighted):
    """A matrix product over the last axis, with weights [O, I] and an input (N, …, I)."""

    def __post_init__(self) -> None:
        self._check_parameters(2)

    def infer(self, tensors: Tensors) -> Shape:
        x, (outputs, inputs) = tensors[self.input], self.weights.shape
        require(
            len(x.shape) >= 2 and x.shape[-1] == inputs,
            self, f"its input must be (N, {inputs}), but {x} is {x.shape}; put a Reshape before it",
        )  # fmt: skip
        return (*x.shape[:-1], outputs)

    def execute(self, tensors: Tensors, values: Values) -> Int8Array:
        zero_point = tensors[self.input].zero_point
        acc = golden.fully_connected(
            self._kept(values[self.input]), self.kept_weights, self.bias, zero_point=zero_point
        )
        return self._requantize(acc, tensors[self.output])

    def macs(self, tensors: Tensors) -> int:
        return math.prod(tensors[self.input].shape[:-1]) * self.weights.size


@dataclass(frozen=True, kw_only=True, eq=False)
class NormalizedProduct(FullyConnected):
    """A matrix product of a vector divided by the root of its sum of squares, :func:`sateen.sim.golden.inverse_root`:
    sums of the vector's own codes are scaled by that and by 2^shift. The input's zero point is 0, and multipliers are
    0."""

    def __post_init__(self) -> None:
        super().__post_init__()
        require(not self.multiplier.any(), self, "its multipliers must be 0")
        require(self.terms is None, self, "it has no terms")

    def infer(self, tensors: Tensors) -> Shape:
        x = tensors[self.input]
        require(math.prod(x.shape[1:-1]) == 1, self, f"its input must be one vector, not {x.shape}")
        require(x.zero_point == 0, self, f"the zero point of {x} must be 0, not {x.zero_point}")
        return super().infer(tensors)

    def execute(self, tensors: Tensors, values: Values) -> Int8Array:
        x = values[self.input]
        multiplier, shift = golden.inverse_root(golden.sum_of_squares(x))
        return golden.requantize(
            golden.fully_connected(x, self.weights, self.bias), multiplier, shift + self.shift,
            rounding=self.rounding, zero_point=tensors[self.output].zero_point, low=self.low, high=self.high,
        )  # fmt: skip
