"""Comparisons and what follows from them, on the host."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from sateen.graph.ops.base import Array, Binary, GraphError, Op, Shape, Tensors, Unary, Values, require
from sateen.sim import golden

__all__ = ["Compare", "Logical", "Not", "Select"]

LOGICAL = {"and": np.logical_and, "or": np.logical_or, "xor": np.logical_xor}


@dataclass(frozen=True, kw_only=True, eq=False)
class Compare(Binary):
    """Whether a relation holds between two values: codes as :func:`sateen.sim.golden.compare` compares them, or real
    numbers, integers or truth values as they are. Truth values."""

    function: str
    """One of ``golden.COMPARISONS``."""

    HOST_ONLY = True

    def __post_init__(self) -> None:
        known = golden.COMPARISONS
        require(self.function in known, self, f"function must be one of {', '.join(known)}, not {self.function!r}")

    def infer(self, tensors: Tensors) -> Shape:
        one = np.zeros(1, tensors[self.a].dtype)
        try:
            self._compared(tensors, one, one)
        except ValueError as error:
            raise GraphError(f"{self}: it cannot compare its tensors ({error}); quantize the model anew") from None
        return super().infer(tensors)

    def execute(self, tensors: Tensors, values: Values) -> Array:
        return self._compared(tensors, values[self.a], values[self.b])

    def _compared(self, tensors: Tensors, left: Array, right: Array) -> Array:
        a, b = tensors[self.a], tensors[self.b]
        if a.dtype == "int8":
            return golden.compare(left, right, a.quantization, b.quantization, self.function)
        return golden.COMPARISONS[self.function](left, right)

    def check_types(self, tensors: Tensors) -> None:
        self._check_type(tensors[self.b], tensors[self.a].dtype)
        self._check_type(tensors[self.output], "bool")


@dataclass(frozen=True, kw_only=True, eq=False)
class Logical(Binary):
    """Both, one of, or exactly one of two truth values."""

    function: str
    """``and``, ``or`` or ``xor``."""

    HOST_ONLY = True

    def __post_init__(self) -> None:
        require(self.function in LOGICAL, self, f"function must be and, or or xor, not {self.function!r}")

    def execute(self, tensors: Tensors, values: Values) -> Array:
        return LOGICAL[self.function](values[self.a], values[self.b])

    def check_types(self, tensors: Tensors) -> None:
        for name in (*self.inputs, self.output):
            self._check_type(tensors[name], "bool")


@dataclass(frozen=True, kw_only=True, eq=False)
class Not(Unary):
    """The other truth value."""

    HOST_ONLY = True

    def infer(self, tensors: Tensors) -> Shape:
        return tensors[self.input].shape

    def execute(self, tensors: Tensors, values: Values) -> Array:
        return np.logical_not(values[self.input])

    def check_types(self, tensors: Tensors) -> None:
        self._check_type(tensors[self.input], "bool")
        self._check_type(tensors[self.output], "bool")


@dataclass(frozen=True, kw_only=True, eq=False)
class Select(Op):
    """a where the condition holds, else b; values of any type, with one quantization. Shapes broadcast."""

    condition: str
    a: str
    b: str

    HOST_ONLY = True

    @property
    def inputs(self) -> tuple[str, ...]:
        return (self.condition, self.a, self.b)

    def infer(self, tensors: Tensors) -> Shape:
        y, shapes = tensors[self.output], [tensors[name].shape for name in self.inputs]
        for x in (tensors[self.a], tensors[self.b]):
            same = x.quantization == y.quantization and x.dtype == y.dtype
            require(same, self, f"{x} and {y} must have the same scale and zero point, because values pass unchanged")
        require(len(set(map(len, shapes))) == 1, self, f"shapes {shapes} must have the same number of axes")
        try:
            return np.broadcast_shapes(*shapes)
        except ValueError:
            raise GraphError(f"{self}: shapes {shapes} do not broadcast; give them one shape") from None

    def execute(self, tensors: Tensors, values: Values) -> Array:
        return np.where(values[self.condition], values[self.a], values[self.b])

    def check_types(self, tensors: Tensors) -> None:
        """Accepts values of any type; :meth:`infer` checks that they have one."""
        self._check_type(tensors[self.condition], "bool")
