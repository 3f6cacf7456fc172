"""Operators that move values without changing them."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np

from sateen.graph.ops.base import MOVABLE, Array, Op, Shape, Tensors, Unary, Values, is_int, require
from sateen.sim import golden

__all__ = ["Broadcast", "Concatenate", "Constant", "Pad", "Reshape", "Restate", "Resize", "Slice", "Transpose"]


@dataclass(frozen=True, kw_only=True, eq=False)
class Reshape(Unary):
    """The same data in another shape, in row-major order; items along the first axis stay separate."""

    def infer(self, tensors: Tensors) -> Shape:
        x, y = tensors[self.input], tensors[self.output]
        self._check_same_quantization(tensors)
        require(
            x.shape[0] == y.shape[0] and math.prod(x.shape) == math.prod(y.shape),
            self, f"{x} of {x.shape} cannot become {y} of {y.shape}; keep the batch and the number of values",
        )  # fmt: skip
        return y.shape

    def execute(self, tensors: Tensors, values: Values) -> Array:
        x = values[self.input]
        return x.reshape(len(x), *tensors[self.output].shape[1:])

    def check_types(self, tensors: Tensors) -> None:
        """Accepts any type; :meth:`_check_same_quantization` checks that all types are equal."""


@dataclass(frozen=True, kw_only=True, eq=False)
class Restate(Reshape):
    """The same codes, which stand for other real values: a model may state another scale or zero point for codes than
    the operator that made them."""

    def _check_same_quantization(self, tensors: Tensors) -> None:
        x, y = tensors[self.input], tensors[self.output]
        require(x.dtype == y.dtype, self, f"{x} and {y} must have one type, because codes pass unchanged")


@dataclass(frozen=True, kw_only=True, eq=False)
class Broadcast(Unary):
    """Repeats values along axes of length 1."""

    def infer(self, tensors: Tensors) -> Shape:
        x, y = tensors[self.input].shape, tensors[self.output].shape
        self._check_same_quantization(tensors)
        good = len(x) == len(y) and x[0] == y[0] and all(size in (1, wanted) for size, wanted in zip(x, y, strict=True))
        require(good, self, f"{x} cannot become {y}; only axes of 1, but the first, may grow")
        return y

    def execute(self, tensors: Tensors, values: Values) -> Array:
        x = values[self.input]
        return np.ascontiguousarray(np.broadcast_to(x, (len(x), *tensors[self.output].shape[1:])))

    def check_types(self, tensors: Tensors) -> None:
        self._check_type(tensors[self.output], *MOVABLE)


@dataclass(frozen=True, kw_only=True, eq=False)
class Pad(Unary):
    """A constant border around a tensor."""

    padding: tuple[tuple[int, int], ...]
    """(before, after) for each axis but the first."""
    value: int
    """An int8 code, where the zero point stands for zero; or a real number."""

    def __post_init__(self) -> None:
        good = all(len(pair) == 2 and all(is_int(size, 0, 65535) for size in pair) for pair in self.padding)
        require(good, self, f"padding must be pairs (before, after) of 0 to 65535, not {self.padding!r}")
        require(
            is_int(self.value, -128, 127), self, f"value must be a whole number from -128 to 127, not {self.value!r}"
        )

    def infer(self, tensors: Tensors) -> Shape:
        self._check_same_quantization(tensors)
        shape = tensors[self.input].shape
        require(
            len(self.padding) == len(shape) - 1,
            self,
            f"padding must be {len(shape) - 1} pairs, not {len(self.padding)}",
        )
        return (shape[0], *(size + sum(pair) for size, pair in zip(shape[1:], self.padding, strict=True)))

    def check_types(self, tensors: Tensors) -> None:
        self._check_type(tensors[self.output], *MOVABLE)

    def execute(self, tensors: Tensors, values: Values) -> Array:
        return np.pad(values[self.input], ((0, 0), *self.padding), constant_values=self.value)


@dataclass(frozen=True, kw_only=True, eq=False)
class Concatenate(Op):
    """Tensors joined along an axis."""

    sources: tuple[str, ...]
    axis: int
    """1 or more."""

    @property
    def inputs(self) -> tuple[str, ...]:
        return self.sources

    def infer(self, tensors: Tensors) -> Shape:
        require(len(self.sources) > 0, self, "it joins nothing; give it a source")
        self._check_same_quantization(tensors)
        shapes = [tensors[name].shape for name in self.sources]
        self._check_axes((self.axis,), len(shapes[0]))
        rest = {shape[: self.axis] + shape[self.axis + 1 :] for shape in shapes}
        require(len(rest) == 1, self, f"shapes {shapes} differ in more than axis {self.axis}")
        ranks = {len(shape) for shape in shapes}
        require(len(ranks) == 1, self, f"its inputs have different numbers of axes, {shapes}")
        return (*shapes[0][: self.axis], sum(shape[self.axis] for shape in shapes), *shapes[0][self.axis + 1 :])

    def check_types(self, tensors: Tensors) -> None:
        self._check_type(tensors[self.output], *MOVABLE)

    def execute(self, tensors: Tensors, values: Values) -> Array:
        parts = [values[name] for name in self.sources]
        items = max(len(part) for part in parts)
        return np.concatenate([np.broadcast_to(part, (items, *part.shape[1:])) for part in parts], axis=self.axis)


@dataclass(frozen=True, kw_only=True, eq=False)
class Resize(Unary):
    """An image resized by nearest neighbours; see :func:`sateen.sim.golden.nearest`."""

    align_corners: bool = False
    half_pixel_centers: bool = False

    def infer(self, tensors: Tensors) -> Shape:
        x, y = self._image(tensors), tensors[self.output]
        self._check_same_quantization(tensors)
        require(len(y.shape) == 4, self, f"its output must be (N, H, W, C), but {y} is {y.shape}")
        return (x.shape[0], *y.shape[1:3], x.shape[3])

    def execute(self, tensors: Tensors, values: Values) -> Array:
        rows, columns = (
            golden.nearest(size, wanted, align_corners=self.align_corners, half_pixel_centers=self.half_pixel_centers)
            for size, wanted in zip(tensors[self.input].shape[1:3], tensors[self.output].shape[1:3], strict=True)
        )
        return values[self.input][:, rows][:, :, columns]

    def check_types(self, tensors: Tensors) -> None:
        self._check_type(tensors[self.output], *MOVABLE)


@dataclass(frozen=True, kw_only=True, eq=False)
class Transpose(Unary):
    """The axes in another order."""

    axes: tuple[int, ...]
    """The input's axes in the order of the output; the first stays."""

    def infer(self, tensors: Tensors) -> Shape:
        shape = tensors[self.input].shape
        self._check_same_quantization(tensors)
        good = self.axes[:1] == (0,) and sorted(self.axes) == list(range(len(shape)))
        require(good, self, f"axes must be an order of 0 to {len(shape) - 1} that begins with 0, not {self.axes!r}")
        return tuple(shape[axis] for axis in self.axes)

    def execute(self, tensors: Tensors, values: Values) -> Array:
        return values[self.input].transpose(self.axes)

    def check_types(self, tensors: Tensors) -> None:
        self._check_type(tensors[self.input], *MOVABLE)


@dataclass(frozen=True, kw_only=True, eq=False)
class Slice(Unary):
    """Part of a tensor: the positions ``range(begin, end, step)`` of each axis but the first. A negative step goes
    backwards; ``end`` is −1 where it reaches the first position."""

    ranges: tuple[tuple[int, int, int], ...]

    def infer(self, tensors: Tensors) -> Shape:
        shape = tensors[self.input].shape
        self._check_same_quantization(tensors)
        good = len(self.ranges) == len(shape) - 1 and all(
            is_int(begin, 0, size - 1)
            and (
                is_int(step, 1, 2**31)
                and is_int(end, begin + 1, size)
                or is_int(step, -(2**31), -1)
                and is_int(end, -1, begin - 1)
            )
            for (begin, end, step), size in zip(self.ranges, shape[1:], strict=False)
        )
        require(good, self, f"ranges must lie within the shape {shape[1:]} and not be empty, not {self.ranges!r}")
        return (shape[0], *(len(range(*part)) for part in self.ranges))

    def execute(self, tensors: Tensors, values: Values) -> Array:
        parts = (slice(begin, end if end >= 0 else None, step) for begin, end, step in self.ranges)
        return values[self.input][(slice(None), *parts)]

    def check_types(self, tensors: Tensors) -> None:
        self._check_type(tensors[self.output], *MOVABLE)


@dataclass(frozen=True, kw_only=True, eq=False)
class Constant(Op):
    """Values that the model contains, the same for every item."""

    values: Array
    """[1, …]."""

    HOST_ONLY = True

    @property
    def inputs(self) -> tuple[str, ...]:
        return ()

    def infer(self, tensors: Tensors) -> Shape:
        dtype = tensors[self.output].dtype
        require(self.values.dtype == dtype and len(self.values) == 1, self, f"values must be [1, …] of {dtype}")
        return self.values.shape

    def check_types(self, tensors: Tensors) -> None:
        self._check_type(tensors[self.output], *MOVABLE, "int32", "bool")

    def execute(self, tensors: Tensors, values: Values) -> Array:
        return self.values
