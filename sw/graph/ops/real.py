"""Operators on real numbers, float32, which the host computes where a model does not quantize them: pre-processing at
its head, post-processing at its tail. What they compute exactly says :mod:`sateen.sim.golden.real`."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import numpy as np
from numpy.typing import NDArray

from sateen.graph.ops.base import Array, Binary, Op, Shape, Tensors, Unary, Values, is_int, require
from sateen.sim import golden

__all__ = ["Real", "RealBinary", "RealNormalize", "RealReduce", "RealSoftmax", "RealTable", "RealTop", "RealUnary"]


class Real(Op):
    """What operators on real numbers share."""

    HOST_ONLY = True
    RESULT: ClassVar[tuple[str, ...]] = ("float32",)

    def check_types(self, tensors: Tensors) -> None:
        for name in self.inputs:
            self._check_type(tensors[name], "float32")
        self._check_type(tensors[self.output], *self.RESULT)

    def _check_function(self, function: str, known: dict[str, object]) -> None:
        require(function in known, self, f"function must be one of {', '.join(sorted(known))}, not {function!r}")


@dataclass(frozen=True, kw_only=True, eq=False)
class RealUnary(Real, Unary):
    """A function of each value; see :func:`sateen.sim.golden.real_unary`."""

    function: str
    """One of ``golden.REAL_UNARY``."""
    parameters: tuple[float, ...] = ()
    """In the order of the function's parameters: limits, or alpha and beta."""

    def __post_init__(self) -> None:
        self._check_function(self.function, dict(golden.REAL_UNARY))
        count = golden.REAL_UNARY[self.function]
        good = len(self.parameters) == count and all(isinstance(value, float) for value in self.parameters)
        require(good, self, f"parameters of {self.function} must be {count} floats, not {self.parameters!r}")

    def infer(self, tensors: Tensors) -> Shape:
        return tensors[self.input].shape

    def execute(self, tensors: Tensors, values: Values) -> Array:
        return golden.real_unary(values[self.input], self.function, self.parameters)


@dataclass(frozen=True, kw_only=True, eq=False)
class RealBinary(Real, Binary):
    """A function of each pair of values; see :func:`sateen.sim.golden.real_binary`."""

    function: str
    """One of ``golden.REAL_BINARY``."""

    def __post_init__(self) -> None:
        self._check_function(self.function, dict(golden.REAL_BINARY))

    def execute(self, tensors: Tensors, values: Values) -> Array:
        return golden.real_binary(values[self.a], values[self.b], self.function)


@dataclass(frozen=True, kw_only=True, eq=False)
class RealReduce(Real, Unary):
    """Sums, means and their relatives over ``axes``; see :func:`sateen.sim.golden.real_reduce`."""

    function: str
    """One of ``golden.REAL_REDUCTIONS``."""
    axes: tuple[int, ...]
    """Each 1 or more."""
    keep_dims: bool = False
    """Whether the axes stay, with a length of 1."""

    def __post_init__(self) -> None:
        self._check_function(self.function, dict(golden.REAL_REDUCTIONS))

    def infer(self, tensors: Tensors) -> Shape:
        shape = tensors[self.input].shape
        self._check_axes(self.axes, len(shape))
        sizes = (1 if axis in self.axes else size for axis, size in enumerate(shape))
        return tuple(size for axis, size in enumerate(sizes) if self.keep_dims or axis not in self.axes)

    def execute(self, tensors: Tensors, values: Values) -> Array:
        return golden.real_reduce(values[self.input], self.function, self.axes, keep_dims=self.keep_dims)


@dataclass(frozen=True, kw_only=True, eq=False)
class RealSoftmax(Real, Unary):
    """Softmax of ``beta · x`` along an axis, or its logarithm; see :func:`sateen.sim.golden.real_share`."""

    axis: int
    """1 or more."""
    beta: float = 1.0
    log: bool = False

    def __post_init__(self) -> None:
        require(np.isfinite(self.beta), self, f"beta must be a finite number, not {self.beta!r}")

    def infer(self, tensors: Tensors) -> Shape:
        self._check_axes((self.axis,), len(tensors[self.input].shape))
        return tensors[self.input].shape

    def execute(self, tensors: Tensors, values: Values) -> Array:
        return golden.real_share(values[self.input], self.axis, beta=self.beta, log=self.log)


@dataclass(frozen=True, kw_only=True, eq=False)
class RealNormalize(Real, Unary):
    """A layer normalization, or one by the root of the mean square; see :func:`sateen.sim.golden.real_normalize`."""

    axes: tuple[int, ...]
    """Each 1 or more."""
    scale: NDArray[np.float32]
    """[1, …], broadcast to the input, like ``bias``."""
    bias: NDArray[np.float32]
    epsilon: float
    centred: bool = True
    """Whether the mean is subtracted."""

    def __post_init__(self) -> None:
        good = np.isfinite(self.epsilon) and self.epsilon >= 0
        require(bool(good), self, f"epsilon must be a finite number of 0 or more, not {self.epsilon!r}")

    def infer(self, tensors: Tensors) -> Shape:
        shape = tensors[self.input].shape
        self._check_axes(self.axes, len(shape))
        for name in ("scale", "bias"):
            given = getattr(self, name).shape
            fits = len(given) == len(shape) and given[:1] == (1,)
            fits = fits and all(size in (1, whole) for size, whole in zip(given, shape, strict=True))
            require(fits, self, f"its {name} of {given} does not broadcast to {shape}")
        return shape

    def execute(self, tensors: Tensors, values: Values) -> Array:
        return golden.real_normalize(
            values[self.input], self.axes, self.scale, self.bias, epsilon=self.epsilon, centred=self.centred
        )


@dataclass(frozen=True, kw_only=True, eq=False)
class RealTable(Real, Unary):
    """Any function of one code with a real result, given by its 256 results."""

    table: NDArray[np.float32]
    """[256]: the results for −128 to 127, in this order."""
    function: str
    """The function's name, for people."""

    def __post_init__(self) -> None:
        good = isinstance(self.table, np.ndarray) and self.table.dtype == np.float32 and self.table.shape == (256,)
        require(good, self, "table must be an array of 256 float32 values")

    def infer(self, tensors: Tensors) -> Shape:
        return tensors[self.input].shape

    def execute(self, tensors: Tensors, values: Values) -> Array:
        return self.table[values[self.input].astype(np.int16) + 128]

    def check_types(self, tensors: Tensors) -> None:
        self._check_type(tensors[self.input], "int8")
        self._check_type(tensors[self.output], *self.RESULT)


@dataclass(frozen=True, kw_only=True, eq=False)
class RealTop(Real, Unary):
    """The ``count`` largest values along an axis, or the smallest, in order; of equal ones the first come first."""

    axis: int
    """1 or more."""
    count: int
    largest: bool = True
    places: bool = False
    """Give their positions along the axis instead, int32."""

    RESULT = ("float32", "int32")

    def infer(self, tensors: Tensors) -> Shape:
        shape = tensors[self.input].shape
        self._check_axes((self.axis,), len(shape))
        length = shape[self.axis]
        require(is_int(self.count, 1, length), self, f"count must lie within 1 to {length}, not {self.count!r}")
        wanted = "int32" if self.places else "float32"
        found = tensors[self.output].dtype
        require(found == wanted, self, f"its result must be {wanted}, not {found}")
        return (*shape[: self.axis], self.count, *shape[self.axis + 1 :])

    def execute(self, tensors: Tensors, values: Values) -> Array:
        x = values[self.input]
        order = np.argsort(-x if self.largest else x, axis=self.axis, kind="stable")
        places = np.take(order, np.arange(self.count), axis=self.axis)
        return places.astype(np.int32) if self.places else np.take_along_axis(x, places, axis=self.axis)
