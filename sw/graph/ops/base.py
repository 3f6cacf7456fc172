"""Tensors, and what all operators share."""

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
    "LARGEST",
    "MOVABLE",
    "Array",
    "Binary",
    "GraphError",
    "Int8Array",
    "Op",
    "FileLayout",
    "Padding",
    "Shape",
    "Tensor",
    "Tensors",
    "Unary",
    "Values",
    "one_line",
    "require",
]

Array = NDArray[Any]
Int8Array = NDArray[np.int8]
Shape = tuple[int, ...]
Padding = tuple[tuple[int, int], tuple[int, int]]

MOVABLE = ("int8", "int16", "float32")
"""Types of values that operators move."""
LARGEST = 2**28
"""Limit on the values of a tensor, beyond what any device or host could use."""


class GraphError(ValueError):
    """A graph is inconsistent; the message names the operator or tensor and what to change."""


def require(condition: bool, who: object, what: str) -> None:
    """Raises :class:`GraphError` unless ``condition`` holds."""
    if not condition:
        raise GraphError(f"{who}: {what}")


def one_line(text: str) -> str:
    """A text from a file, for a message: what is not printable becomes a question mark."""
    return "".join(char if char.isprintable() else "?" for char in text)


def is_int(value: object, low: int, high: int) -> bool:
    """Whether a value is an integer from ``low`` to ``high``, and not a Boolean."""
    return isinstance(value, int) and not isinstance(value, bool) and low <= value <= high


@dataclass(frozen=True)
class FileLayout:
    """The layout of a tensor in its model's file, where it differs from the graph's.

    The graph's values are reshaped to ``view``, transposed by ``axes`` and reshaped to ``shape``. The first axis is the
    batch in all three.
    """

    view: Shape
    axes: tuple[int, ...]
    shape: Shape

    def to_file(self, values: Array) -> Array:
        """Values in the graph's layout, in the file's."""
        return values.reshape(len(values), *self.view[1:]).transpose(self.axes).reshape(len(values), *self.shape[1:])

    def from_file(self, values: Array, shape: Shape) -> Array:
        """The inverse of :meth:`to_file`, for a tensor of ``shape`` in the graph."""
        moved = values.reshape(len(values), *(self.view[axis] for axis in self.axes[1:]))
        return moved.transpose(np.argsort(self.axes)).reshape(len(values), *shape[1:])


@dataclass(frozen=True, kw_only=True)
class Tensor:
    """A tensor of int8 or int16 codes, each of which stands for ``scale · (code − zero_point)``, or of float32 values,
    int32 values or truth values.

    Only the host handles others than int8: int16, and the rest usually at a graph's inputs and outputs.
    """

    name: str
    shape: Shape
    """(N, …), where N is the model's batch, in row-major order. Images are (N, H, W, C)."""
    scale: float = 1.0
    """Finite and positive."""
    zero_point: int = 0
    """−128 to 127."""
    dtype: str = "int8"
    label: str = ""
    """Another name of the tensor, for people; several tensors may share it."""
    unsigned: bool = False
    """Whether the codes in the model's file are uint8, larger by 128."""
    file_layout: FileLayout | None = None
    """The layout in the model's file, if it differs."""
    channel_order: tuple[int, ...] | None = None
    """For each channel its number in the model's file, if the order differs. The last axis may hold the channels
    several times."""

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
            self.dtype in ("int8", "int16", "float32", "int32", "bool"),
            self,
            f"dtype must be int8, not {self.dtype!r}; quantize the model to int8",
        )
        require(
            not self.unsigned or self.dtype == "int8",
            self, f"only codes of int8 are uint8 in a model's file, not values of {self.dtype}",
        )  # fmt: skip
        size, order, layout = math.prod(self.shape[1:]), self.channel_order, self.file_layout
        if order is not None:
            fits = sorted(order) == list(range(len(order))) and len(order) > 0 and size % len(order) == 0
            require(fits, self, "channel_order must name each of the channels once")
        if layout is not None:
            axes = layout.axes[:1] == (0,) and sorted(layout.axes) == list(range(len(layout.view)))
            fits = axes and math.prod(layout.view[1:]) == math.prod(layout.shape[1:]) == size
            require(fits, self, "file_layout must move all of its values, and leave the batch in front")

    def __str__(self) -> str:
        return f"tensor {self.name!r}" + (f" ({one_line(self.label)})" if self.label else "")

    @property
    def base(self) -> int:
        """By how much codes are larger in the model's file."""
        return 128 if self.unsigned else 0

    @property
    def quantization(self) -> tuple[float, int]:
        """Scale and zero point."""
        return self.scale, self.zero_point

    @property
    def limits(self) -> tuple[int, int]:
        """The least and the largest code."""
        return (-(2**15), 2**15 - 1) if self.dtype == "int16" else (-128, 127)

    def quantize(self, values: ArrayLike) -> NDArray[np.integer[Any]]:
        """Real values as this tensor's codes: ties to even, clipped to its limits; ``ValueError`` for NaN."""
        codes = np.rint(np.asarray(values, np.float64) / self.scale) + self.zero_point
        if np.isnan(codes).any():
            raise ValueError(f"{self}: the values to quantize contain NaN")
        return np.clip(codes, *self.limits).astype(np.int16 if self.dtype == "int16" else np.int8)

    def dequantize(self, codes: ArrayLike) -> NDArray[np.float32]:
        """The real values that codes of this tensor stand for."""
        return ((np.asarray(codes, np.float64) - self.zero_point) * self.scale).astype(np.float32)

    @property
    def file_shape(self) -> Shape:
        """The shape in the model's file."""
        return self.shape if self.file_layout is None else self.file_layout.shape

    def to_file(self, values: Array) -> Array:
        """Values of any number of items in the layout, type and order of channels of the model's file."""
        if self.channel_order is not None:
            values = self._ordered(values, np.argsort(self.channel_order))
        moved = values if self.file_layout is None else self.file_layout.to_file(values)
        return (moved.astype(np.int16) + 128).astype(np.uint8) if self.unsigned else moved

    def from_file(self, values: Array) -> Array:
        """The inverse of :meth:`to_file`. int8 codes of an unsigned tensor are taken as they are."""
        if self.unsigned and values.dtype == np.uint8:
            values = (values.astype(np.int16) - 128).astype(np.int8)
        values = values if self.file_layout is None else self.file_layout.from_file(values, self.shape)
        return values if self.channel_order is None else self._ordered(values, np.asarray(self.channel_order))

    @staticmethod
    def _ordered(values: Array, order: NDArray[np.int64]) -> Array:
        return values.reshape(len(values), -1, len(order))[..., order].reshape(values.shape)


Tensors = Mapping[str, Tensor]
Values = Mapping[str, Array]


@dataclass(frozen=True, kw_only=True, eq=False)
class Op:
    """One operator. ``output`` and fields of subclasses name tensors; subclasses define the computation."""

    name: str
    output: str

    HOST_ONLY: ClassVar[bool] = False
    """Whether only the host computes it, on every device."""

    def __str__(self) -> str:
        return f"{type(self).__name__} {self.name!r}"

    @property
    def inputs(self) -> tuple[str, ...]:
        """Names of all tensors that the operator reads."""
        raise NotImplementedError

    def infer(self, tensors: Tensors) -> Shape:
        """The output's shape; :class:`GraphError` if the operator does not fit its tensors."""
        raise NotImplementedError

    def execute(self, tensors: Tensors, values: Values) -> Array:
        """The output for the inputs in ``values``, which hold any number of items along the first axis."""
        raise NotImplementedError

    def is_for_host(self, tensors: Tensors) -> bool:
        """Whether only the host computes it: it always does, or a tensor is not int8."""
        return self.HOST_ONLY or any(tensors[name].dtype != "int8" for name in (*self.inputs, self.output))

    def macs(self, tensors: Tensors) -> int:
        """Multiply-accumulates for the tensors' shapes, batch included."""
        return 0

    def check_types(self, tensors: Tensors) -> None:
        """Raises :class:`GraphError` unless inputs and output are int8, or another type that the operator takes."""
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
            rounding in (Rounding.DOUBLE, Rounding.SINGLE, Rounding.FLOAT32),
            self, f"rounding must be Rounding.DOUBLE, SINGLE or FLOAT32, not {rounding!r}",
        )  # fmt: skip

    def _check_multiplier(self, rounding: int, multiplier: ArrayLike) -> None:
        float32 = rounding != Rounding.FLOAT32 or not np.any(np.asarray(multiplier) & 0x7F)
        require(float32, self, "with Rounding.FLOAT32, multipliers must be multiples of 2^7, as float32 has them")

    def _check_axes(self, axes: tuple[int, ...], rank: int) -> None:
        require(
            len(axes) > 0 and len(set(axes)) == len(axes) and all(is_int(axis, 1, rank - 1) for axis in axes),
            self, f"its axes must be different ones from 1 to {rank - 1}, not {axes!r}; the first axis is the batch",
        )  # fmt: skip

    def _scaling(self, scale: float) -> tuple[int, int]:
        """Multiplier and shift for a ratio of scales."""
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

    def _check_same_quantization(self, tensors: Tensors) -> None:
        y = tensors[self.output]
        for x in (tensors[name] for name in self.inputs):
            require(
                x.quantization == y.quantization and x.dtype == y.dtype,
                self, f"{x} and {y} must have the same scale and zero point, because values pass unchanged",
            )  # fmt: skip


@dataclass(frozen=True, kw_only=True, eq=False)
class Unary(Op):
    """An operator on one tensor."""

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
    """An operator on two tensors with the same number of axes, whose shapes broadcast."""

    a: str
    b: str

    @property
    def inputs(self) -> tuple[str, ...]:
        return (self.a, self.b)

    def infer(self, tensors: Tensors) -> Shape:
        a, b = tensors[self.a], tensors[self.b]
        # Shapes are aligned at their last axes, so fewer axes would pair items with another tensor's rows.
        same = len(a.shape) == len(b.shape)
        require(
            same,
            self,
            f"{a} of {a.shape} and {b} of {b.shape} must have the same number of axes; put a Reshape before it",
        )
        try:
            return np.broadcast_shapes(a.shape, b.shape)
        except ValueError:
            raise GraphError(
                f"{self}: {a} of {a.shape} and {b} of {b.shape} do not broadcast; give them one shape"
            ) from None


def window_shape(op: Op, shape: Shape, size: tuple[int, int], stride: tuple[int, int], padding: Padding) -> Shape:
    """Rows and columns of output positions, for a window of ``size`` over an image."""
    counts = tuple(
        (length + sum(pads) - extent) // step + 1
        for length, pads, extent, step in zip(shape[1:3], padding, size, stride, strict=True)
    )
    require(min(counts) >= 1, op, f"a window of {size} exceeds its padded input of {shape}; check kernel and padding")
    return counts
