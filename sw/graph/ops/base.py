"""Tensors, and what all operators have in common."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, ClassVar

import numpy as np
from numpy.typing import ArrayLike, NDArray

from sateen.hw.spec.descriptor import Rounding
from sateen.sim import golden

__all__ = [
    "Array",
    "Binary",
    "GraphError",
    "Int8Array",
    "Op",
    "Own",
    "Padding",
    "Shape",
    "Tensor",
    "Tensors",
    "Unary",
    "Values",
    "require",
]

Array = NDArray[Any]
Int8Array = NDArray[np.int8]
Shape = tuple[int, ...]
Padding = tuple[tuple[int, int], tuple[int, int]]

LARGEST = 2**28
"""Values of one item of a tensor: more than any device or host has use for."""


class GraphError(ValueError):
    """A graph contradicts itself; the message names the operator or tensor and what to change."""


def require(condition: bool, who: object, what: str) -> None:
    """Raises :class:`GraphError` unless ``condition`` holds."""
    if not condition:
        raise GraphError(f"{who}: {what}")


def is_int(value: object, low: int, high: int) -> bool:
    """A whole number within a range, and no truth value."""
    return isinstance(value, int) and not isinstance(value, bool) and low <= value <= high


@dataclass(frozen=True)
class Own:
    """How a tensor stands in the file that its model comes from, where that is otherwise than here.

    Its values are those here, seen as ``inner``, with the axes in another order, seen as ``shape``; the first axis
    stays.
    """

    inner: Shape
    axes: tuple[int, ...]
    shape: Shape

    def to(self, values: Array) -> Array:
        """From here to there."""
        return values.reshape(len(values), *self.inner[1:]).transpose(self.axes).reshape(len(values), *self.shape[1:])

    def back(self, values: Array, shape: Shape) -> Array:
        """From there to here, where the tensor is of ``shape``."""
        moved = values.reshape(len(values), *(self.inner[axis] for axis in self.axes[1:]))
        return moved.transpose(np.argsort(self.axes)).reshape(len(values), *shape[1:])


@dataclass(frozen=True, kw_only=True)
class Tensor:
    """A tensor of int8 codes, each of which stands for ``scale · (value − zero_point)``; or of float32 or int32
    numbers.

    The latter two are a graph's ends: they are the host's.
    """

    name: str
    shape: Shape
    """(N, …), N being the model's own batch; data is in row-major order. Images are (N, H, W, C)."""
    scale: float = 1.0
    """Finite and positive."""
    zero_point: int = 0
    """−128 to 127."""
    dtype: str = "int8"
    label: str = ""
    """What else the tensor is called, as a title that several may have."""
    unsigned: bool = False
    """The model's own codes are uint8, larger by 128."""
    own: Own | None = None
    """The model's own layout, if it is another."""
    order: tuple[int, ...] | None = None
    """The model's own number of each channel, if they are in another order here; the last axis may have them several
    times."""

    def __post_init__(self) -> None:
        require(bool(self.name), "tensor", "give it a name")
        require(
            len(self.shape) > 0 and all(is_int(size, 1, 2**31) for size in self.shape),
            self, f"shape must be whole numbers of 1 or more, not {self.shape!r}",
        )  # fmt: skip
        require(
            math.prod(self.shape) <= LARGEST,
            self,
            f"its shape {self.shape!r} has more than {LARGEST:,} values; use a smaller model",
        )
        require(
            isinstance(self.scale, float) and math.isfinite(self.scale) and self.scale > 0,
            self, f"scale must be a finite float above 0, not {self.scale!r}",
        )  # fmt: skip
        require(
            is_int(self.zero_point, -128, 127),
            self, f"zero_point must be a whole number from -128 to 127, not {self.zero_point!r}",
        )  # fmt: skip
        require(
            self.dtype in ("int8", "float32", "int32"),
            self,
            f"dtype must be int8, not {self.dtype!r}; quantize the model to int8",
        )

    def __str__(self) -> str:
        return f"tensor {self.name!r}" + (f" ({self.label})" if self.label else "")

    @property
    def numbers(self) -> tuple[float, int]:
        """Scale and zero point."""
        return self.scale, self.zero_point

    def quantize(self, values: ArrayLike) -> Int8Array:
        """Real values as this tensor's integers: ties to even, clipped to −128..127; ``ValueError`` for NaN."""
        codes = np.rint(np.asarray(values, np.float64) / self.scale) + self.zero_point
        if np.isnan(codes).any():
            raise ValueError(f"{self}: the values to quantize contain NaN")
        return np.clip(codes, -128, 127).astype(np.int8)

    def dequantize(self, codes: ArrayLike) -> NDArray[np.float32]:
        """The real values that integers of this tensor stand for."""
        return ((np.asarray(codes, np.float64) - self.zero_point) * self.scale).astype(np.float32)

    @property
    def own_shape(self) -> Shape:
        """The shape in the model's own file."""
        return self.shape if self.own is None else self.own.shape

    def to_own(self, values: Array) -> Array:
        """Values of any number of items as the model's own file has them: its layout and type."""
        if self.order is not None:
            values = self._ordered(values, np.argsort(self.order))
        moved = values if self.own is None else self.own.to(values)
        return (moved.astype(np.int16) + 128).astype(np.uint8) if self.unsigned else moved

    def from_own(self, values: Array) -> Array:
        """The inverse of :meth:`to_own`; int8 codes of an unsigned tensor stay what they are."""
        if self.unsigned and values.dtype == np.uint8:
            values = (values.astype(np.int16) - 128).astype(np.int8)
        values = values if self.own is None else self.own.back(values, self.shape)
        return values if self.order is None else self._ordered(values, np.asarray(self.order))

    @staticmethod
    def _ordered(values: Array, order: NDArray[np.int64]) -> Array:
        return values.reshape(len(values), -1, len(order))[..., order].reshape(values.shape)


Tensors = Mapping[str, Tensor]
Values = Mapping[str, Array]


@dataclass(frozen=True, kw_only=True, eq=False)
class Op:
    """One operator; ``output`` and fields of subclasses name tensors. Subclasses say what becomes of them."""

    name: str
    output: str

    HOST: ClassVar[bool] = False
    """By its nature the host's: no device has it."""

    def __str__(self) -> str:
        return f"{type(self).__name__} {self.name!r}"

    @property
    def inputs(self) -> tuple[str, ...]:
        """Names of all tensors that the operator reads."""
        raise NotImplementedError

    def infer(self, tensors: Tensors) -> Shape:
        """The shape of the output; :class:`GraphError` if the operator does not fit its tensors."""
        raise NotImplementedError

    def execute(self, tensors: Tensors, values: Values) -> Array:
        """The output for the inputs in ``values``, which hold any number of items along their first axis."""
        raise NotImplementedError

    def macs(self, tensors: Tensors) -> int:
        """Multiply-accumulates at the tensors' own shapes."""
        return 0

    def check_types(self, tensors: Tensors) -> None:
        """:class:`GraphError` unless inputs and output are int8, or what else the operator takes."""
        for name in (*self.inputs, self.output):
            self._check_type(tensors[name], "int8")

    def _check_type(self, tensor: Tensor, *allowed: str) -> None:
        require(
            tensor.dtype in allowed,
            self,
            f"{tensor} must be {' or '.join(allowed)}, not {tensor.dtype}; quantize the model to int8",
        )

    def _check_clamp(self, low: int, high: int) -> None:
        require(
            is_int(low, -128, 127) and is_int(high, -128, 127) and low <= high,
            self, f"low and high must be in order within -128 to 127, not {low!r} and {high!r}",
        )  # fmt: skip

    def _check_rounding(self, rounding: int) -> None:
        require(
            rounding in (Rounding.DOUBLE, Rounding.SINGLE),
            self, f"rounding must be Rounding.DOUBLE or Rounding.SINGLE, not {rounding!r}",
        )  # fmt: skip

    def _check_axes(self, axes: tuple[int, ...], rank: int) -> None:
        require(
            len(axes) > 0 and len(set(axes)) == len(axes) and all(is_int(axis, 1, rank - 1) for axis in axes),
            self, f"its axes must be different ones from 1 to {rank - 1}, not {axes!r}; the first axis is the batch",
        )  # fmt: skip

    def _scaling(self, scale: float) -> tuple[int, int]:
        """Multiplier and shift of a ratio of scales."""
        try:
            return golden.quantize_multiplier(scale)
        except ValueError as error:
            raise GraphError(
                f"{self}: its scales are too far apart ({error}); check the model's quantization"
            ) from None

    def _check_pair(self, field: str, low: int) -> None:
        pair = getattr(self, field)
        require(
            isinstance(pair, tuple) and len(pair) == 2 and all(is_int(value, low, 65535) for value in pair),
            self, f"{field} must be a pair (y, x) of whole numbers from {low} to 65535, not {pair!r}",
        )  # fmt: skip

    def _check_padding(self, padding: Padding) -> None:
        require(
            isinstance(padding, tuple) and len(padding) == 2
            and all(isinstance(pair, tuple) and len(pair) == 2 for pair in padding)
            and all(is_int(size, 0, 65535) for pair in padding for size in pair),
            self, f"padding must be ((top, bottom), (left, right)) of 0 to 65535, not {padding!r}",
        )  # fmt: skip

    def _check_same_numbers(self, tensors: Tensors) -> None:
        y = tensors[self.output]
        for x in (tensors[name] for name in self.inputs):
            require(
                x.numbers == y.numbers and x.dtype == y.dtype,
                self, f"{x} and {y} must have the same scale and zero point, because values pass unchanged",
            )  # fmt: skip


@dataclass(frozen=True, kw_only=True, eq=False)
class Unary(Op):
    """An operator of one tensor."""

    input: str

    @property
    def inputs(self) -> tuple[str, ...]:
        return (self.input,)

    def _image(self, tensors: Tensors) -> Tensor:
        tensor = tensors[self.input]
        require(len(tensor.shape) == 4, self, f"its input must be (N, H, W, C), but {tensor} is {tensor.shape}")
        return tensor


@dataclass(frozen=True, kw_only=True, eq=False)
class Binary(Op):
    """An operator of two tensors of as many axes, whose shapes broadcast."""

    a: str
    b: str

    @property
    def inputs(self) -> tuple[str, ...]:
        return (self.a, self.b)

    def infer(self, tensors: Tensors) -> Shape:
        a, b = tensors[self.a], tensors[self.b]
        # Shapes are aligned at their ends, where fewer axes would put items beside another tensor's rows.
        same = len(a.shape) == len(b.shape)
        require(same, self, f"{a} of {a.shape} and {b} of {b.shape} must have as many axes; put a Reshape before it")
        try:
            return np.broadcast_shapes(a.shape, b.shape)
        except ValueError:
            raise GraphError(
                f"{self}: {a} of {a.shape} and {b} of {b.shape} do not broadcast; give them one shape"
            ) from None


def window_shape(op: Op, shape: Shape, size: tuple[int, int], stride: tuple[int, int], padding: Padding) -> Shape:
    """Rows and columns of output positions of a window of ``size`` over an image."""
    counts = tuple(
        (length + sum(pads) - extent) // step + 1
        for length, pads, extent, step in zip(shape[1:3], padding, size, stride, strict=True)
    )
    require(min(counts) >= 1, op, f"a window of {size} exceeds its padded input of {shape}; check kernel and padding")
    return counts
