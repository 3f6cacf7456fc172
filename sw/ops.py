"""Quantized tensors and the operators between them; :mod:`weft.graph` puts them together.

An operator is one class: its fields, what it demands of its tensors (:meth:`Op.infer`), its work (:meth:`Op.macs`) and
its result (:meth:`Op.execute`). A new one needs no change elsewhere but its place in :data:`OPS`.

All numbers are the reference interpreter's: a layer's bias is that of the definition ``Σ w·(a − zero point) + bias``,
padding stands for the input's zero point. Folding zero points into the bias is the compiler's business.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike, NDArray

from weft import terms
from weft.hw.spec.descriptor import Rounding
from weft.hw.spec.pe import TermBudget
from weft.sim import golden

__all__ = [
    "OPS",
    "Conv2D",
    "Weighted",
    "FullyConnected",
    "GraphError",
    "Int8Array",
    "MaxPool2D",
    "Op",
    "Reshape",
    "Tensor",
    "require",
]

Int8Array = NDArray[np.int8]
Shape = tuple[int, ...]
Padding = tuple[tuple[int, int], tuple[int, int]]


class GraphError(ValueError):
    """A graph contradicts itself; the message names the operator or tensor and what to change."""


def require(condition: bool, who: object, what: str) -> None:
    """Raises :class:`GraphError` unless ``condition`` holds."""
    if not condition:
        raise GraphError(f"{who}: {what}")


def _is_int(value: object, low: int, high: int) -> bool:
    return isinstance(value, int) and not isinstance(value, bool) and low <= value <= high


@dataclass(frozen=True, kw_only=True)
class Tensor:
    """An int8 tensor. Each value stands for ``scale · (value − zero_point)``."""

    name: str
    shape: Shape
    """(N, H, W, C) or (N, C), N being the model's own batch; data is in row-major order."""
    scale: float
    """Finite and positive."""
    zero_point: int
    """−128 to 127."""
    dtype: str = "int8"

    def __post_init__(self) -> None:
        require(bool(self.name), "tensor", "give it a name")
        require(
            len(self.shape) > 0 and all(_is_int(size, 1, 2**31) for size in self.shape),
            self, f"shape must be whole numbers of 1 or more, not {self.shape!r}",
        )  # fmt: skip
        require(
            isinstance(self.scale, float) and math.isfinite(self.scale) and self.scale > 0,
            self, f"scale must be a finite float above 0, not {self.scale!r}",
        )  # fmt: skip
        require(
            _is_int(self.zero_point, -128, 127),
            self, f"zero_point must be a whole number from -128 to 127, not {self.zero_point!r}",
        )  # fmt: skip
        require(self.dtype == "int8", self, f"dtype must be int8, not {self.dtype!r}; quantize the model to int8")

    def __str__(self) -> str:
        return f"tensor {self.name!r}"

    def quantize(self, values: ArrayLike) -> Int8Array:
        """Real values as this tensor's integers: ties to even, clipped to −128..127; ``ValueError`` for NaN."""
        codes = np.rint(np.asarray(values, np.float64) / self.scale) + self.zero_point
        if np.isnan(codes).any():
            raise ValueError(f"{self}: the values to quantize contain NaN")
        return np.clip(codes, -128, 127).astype(np.int8)

    def dequantize(self, codes: ArrayLike) -> NDArray[np.float32]:
        """The real values that integers of this tensor stand for."""
        return ((np.asarray(codes, np.float64) - self.zero_point) * self.scale).astype(np.float32)


Tensors = Mapping[str, Tensor]
Values = Mapping[str, Int8Array]


@dataclass(frozen=True, kw_only=True, eq=False)
class Op:
    """One operator; ``input`` and ``output`` name tensors. Subclasses say what becomes of them."""

    name: str
    input: str
    output: str

    def __str__(self) -> str:
        return f"{type(self).__name__} {self.name!r}"

    @property
    def inputs(self) -> tuple[str, ...]:
        """Names of all tensors that the operator reads."""
        return (self.input,)

    def infer(self, tensors: Tensors) -> Shape:
        """The shape of the output; :class:`GraphError` if the operator does not fit its tensors."""
        raise NotImplementedError

    def execute(self, tensors: Tensors, values: Values) -> Int8Array:
        """The output for the inputs in ``values``, which hold any number of items along their first axis."""
        raise NotImplementedError

    def macs(self, tensors: Tensors) -> int:
        """Multiply-accumulates at the tensors' own shapes."""
        return 0

    def _check_clamp(self, low: int, high: int) -> None:
        require(
            _is_int(low, -128, 127) and _is_int(high, -128, 127) and low <= high,
            self, f"low and high must be in order within -128 to 127, not {low!r} and {high!r}",
        )  # fmt: skip

    def _check_pair(self, field: str, low: int) -> None:
        pair = getattr(self, field)
        require(
            isinstance(pair, tuple) and len(pair) == 2 and all(_is_int(value, low, 65535) for value in pair),
            self, f"{field} must be a pair (y, x) of whole numbers from {low} to 65535, not {pair!r}",
        )  # fmt: skip

    def _check_padding(self, padding: Padding) -> None:
        require(
            isinstance(padding, tuple) and len(padding) == 2
            and all(isinstance(pair, tuple) and len(pair) == 2 for pair in padding)
            and all(_is_int(size, 0, 65535) for pair in padding for size in pair),
            self, f"padding must be ((top, bottom), (left, right)) of 0 to 65535, not {padding!r}",
        )  # fmt: skip

    def _image(self, tensors: Tensors) -> Tensor:
        tensor = tensors[self.input]
        require(len(tensor.shape) == 4, self, f"its input must be (N, H, W, C), but {tensor} is {tensor.shape}")
        return tensor

    def _check_same_numbers(self, tensors: Tensors) -> None:
        x, y = tensors[self.input], tensors[self.output]
        require(
            (x.scale, x.zero_point) == (y.scale, y.zero_point),
            self, f"{x} and {y} must have the same scale and zero point, because values pass unchanged",
        )  # fmt: skip


def _window_shape(op: Op, shape: Shape, size: tuple[int, int], stride: tuple[int, int], padding: Padding) -> Shape:
    """Rows and columns of output positions of a window of ``size`` over an image."""
    counts = tuple(
        (length + sum(pads) - extent) // step + 1
        for length, pads, extent, step in zip(shape[1:3], padding, size, stride, strict=True)
    )
    require(min(counts) >= 1, op, f"a window of {size} exceeds its padded input of {shape}; check kernel and padding")
    return counts


@dataclass(frozen=True, kw_only=True, eq=False)
class Weighted(Op):
    """What layers with weights share: per output channel a bias and a scale, and a clamp."""

    weights: Int8Array
    bias: NDArray[np.int32]
    """[O], at the scale of input times weights, without the input's zero point."""
    multiplier: NDArray[np.int32]
    """[O], 0 or more; with ``shift`` as :func:`weft.sim.golden.quantize_multiplier` makes them."""
    shift: NDArray[np.int8]
    """[O], −31 to 30."""
    low: int = -128
    high: int = 127
    rounding: int = Rounding.DOUBLE
    terms: TermBudget | None = None
    """Terms that weights and activations keep: ``Σ w'·(a' − zero point)``, w' and a' being what :func:`weft.terms.keep` leaves of w
    in groups of input channels at one kernel position, and of a. ``None``: everything is exact."""

    @property
    def kept_weights(self) -> NDArray[np.int64]:
        """The weights as they count."""
        return self.weights.astype(np.int64) if self.terms is None else terms.kept_weights(self.weights, self.terms)

    def _kept(self, x: NDArray[np.generic]) -> NDArray[np.int64]:
        """Activations as they count."""
        return x.astype(np.int64) if self.terms is None else terms.kept_data(x, self.terms)

    def _check_parameters(self, dimensions: int) -> None:
        for field, dtype in [("weights", np.int8), ("bias", np.int32), ("multiplier", np.int32), ("shift", np.int8)]:
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
            self.terms is None or isinstance(self.terms, TermBudget), self, f"terms must be a TermBudget or None, not {self.terms!r}"
        )
        require(
            self.rounding in (Rounding.DOUBLE, Rounding.SINGLE),
            self, f"rounding must be Rounding.DOUBLE or Rounding.SINGLE, not {self.rounding!r}",
        )  # fmt: skip

    def _requantize(self, acc: NDArray[np.int32], output: Tensor) -> Int8Array:
        return golden.requantize(
            acc, self.multiplier, self.shift,
            rounding=self.rounding, zero_point=output.zero_point, low=self.low, high=self.high,
        )  # fmt: skip


@dataclass(frozen=True, kw_only=True, eq=False)
class Conv2D(Weighted):
    """A convolution, ``weights`` being int8 [O, kernel height, kernel width, I]; see :func:`weft.sim.golden.conv2d`."""

    stride: tuple[int, int] = (1, 1)
    """(y, x)."""
    padding: Padding = ((0, 0), (0, 0))
    """((top, bottom), (left, right)), of the input's zero point."""
    dilation: tuple[int, int] = (1, 1)
    """(y, x)."""

    def __post_init__(self) -> None:
        self._check_parameters(4)
        self._check_pair("stride", 1)
        self._check_pair("dilation", 1)
        self._check_padding(self.padding)

    def infer(self, tensors: Tensors) -> Shape:
        x = self._image(tensors)
        outputs, height, width, channels = self.weights.shape
        require(x.shape[3] == channels, self, f"its weights take {channels} channels, but {x} has {x.shape[3]}")
        extent = (self.dilation[0] * (height - 1) + 1, self.dilation[1] * (width - 1) + 1)
        return (x.shape[0], *_window_shape(self, x.shape, extent, self.stride, self.padding), outputs)

    def execute(self, tensors: Tensors, values: Values) -> Int8Array:
        zero_point = tensors[self.input].zero_point
        acc = golden.conv2d(
            self._kept(values[self.input]), self.kept_weights, self.bias, stride=self.stride, padding=self.padding,
            dilation=self.dilation, pad_value=int(self._kept(np.array(zero_point))), zero_point=zero_point,
        )  # fmt: skip
        return self._requantize(acc, tensors[self.output])

    def macs(self, tensors: Tensors) -> int:
        return math.prod(tensors[self.output].shape[:3]) * self.weights.size


@dataclass(frozen=True, kw_only=True, eq=False)
class FullyConnected(Weighted):
    """A matrix product, ``weights`` being int8 [O, I] and the input (N, I)."""

    def __post_init__(self) -> None:
        self._check_parameters(2)

    def infer(self, tensors: Tensors) -> Shape:
        x, (outputs, inputs) = tensors[self.input], self.weights.shape
        require(
            len(x.shape) == 2 and x.shape[1] == inputs,
            self, f"its input must be (N, {inputs}), but {x} is {x.shape}; put a Reshape before it",
        )  # fmt: skip
        return (x.shape[0], outputs)

    def execute(self, tensors: Tensors, values: Values) -> Int8Array:
        zero_point = tensors[self.input].zero_point
        acc = golden.fully_connected(self._kept(values[self.input]), self.kept_weights, self.bias, zero_point=zero_point)
        return self._requantize(acc, tensors[self.output])

    def macs(self, tensors: Tensors) -> int:
        return tensors[self.input].shape[0] * self.weights.size


@dataclass(frozen=True, kw_only=True, eq=False)
class MaxPool2D(Op):
    """The largest value of each window; padding never wins, and no window lies wholly in it."""

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
        self._check_same_numbers(tensors)
        return (x.shape[0], *_window_shape(self, x.shape, self.size, self.stride, self.padding), x.shape[3])

    def execute(self, tensors: Tensors, values: Values) -> Int8Array:
        return golden.max_pool2d(
            values[self.input], size=self.size, stride=self.stride, padding=self.padding, low=self.low, high=self.high
        )


@dataclass(frozen=True, kw_only=True, eq=False)
class Reshape(Op):
    """The same data in another shape, in row-major order; the items along the first axis stay apart."""

    def infer(self, tensors: Tensors) -> Shape:
        x, y = tensors[self.input], tensors[self.output]
        self._check_same_numbers(tensors)
        require(
            x.shape[0] == y.shape[0] and math.prod(x.shape) == math.prod(y.shape),
            self, f"{x} of {x.shape} cannot become {y} of {y.shape}; keep the batch and the number of values",
        )  # fmt: skip
        return y.shape

    def execute(self, tensors: Tensors, values: Values) -> Int8Array:
        x = values[self.input]
        return x.reshape(len(x), *tensors[self.output].shape[1:])


OPS: dict[str, type[Op]] = {op.__name__: op for op in (Conv2D, FullyConnected, MaxPool2D, Reshape)}
"""Every operator, by the name that files have for it."""
