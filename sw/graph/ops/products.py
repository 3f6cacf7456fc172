"""Matrix products of two tensors, neither of which holds weights: attention, and what else multiplies activations."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any, ClassVar

import numpy as np
from numpy.typing import NDArray

from sateen.graph.ops.base import Array, GraphError, Op, Shape, Tensors, Values, is_int, require
from sateen.graph.ops.real import Real
from sateen.hw.spec.descriptor import Rounding
from sateen.sim import golden

__all__ = ["MatrixProduct", "Product", "RealMatrixProduct"]


@dataclass(frozen=True, kw_only=True, eq=False)
class Product(Op):
    """What matrix products share: (N, …, M, I) by (N, …, I, O) is (N, …, M, O). The axes before the last two broadcast,
    the batch as well."""

    a: str
    b: str
    bias: NDArray[Any]
    """[O], or one value for all."""
    transpose_a: bool = False
    """The last two axes of ``a`` are exchanged before the product."""
    transpose_b: bool = False

    BIAS: ClassVar[np.dtype[Any]] = np.dtype(np.int32)

    def __post_init__(self) -> None:
        good = isinstance(self.bias, np.ndarray) and self.bias.dtype == self.BIAS and self.bias.ndim == 1
        require(good and self.bias.size > 0, self, f"bias must be one axis of {self.BIAS}, and not empty")

    @property
    def inputs(self) -> tuple[str, ...]:
        return (self.a, self.b)

    def infer(self, tensors: Tensors) -> Shape:
        (*outer, rows, depth), (*others, inner, columns) = self._shapes(tensors)
        a, b = tensors[self.a], tensors[self.b]
        good = len(outer) == len(others) > 0
        require(
            good,
            self,
            f"{a} of {a.shape} and {b} of {b.shape} must have a batch and the same number of axes; put a Reshape "
            "before it",
        )
        require(depth == inner, self, f"{a} of {a.shape} and {b} of {b.shape} do not fit: {depth} and {inner} values")
        require(len(self.bias) in (1, columns), self, f"its bias has {len(self.bias)} values for {columns} columns")
        try:
            return (*np.broadcast_shapes(tuple(outer), tuple(others)), rows, columns)
        except ValueError:
            raise GraphError(f"{self}: {a} of {a.shape} and {b} of {b.shape} do not broadcast; repeat one") from None

    def _shapes(self, tensors: Tensors) -> tuple[Shape, Shape]:
        """The shapes of both operands as they are multiplied."""
        a, b = (tensors[name].shape for name in self.inputs)
        good = min(len(a), len(b)) > 2
        require(good, self, f"its operands must be (N, …, M, I) and (N, …, I, O), not {a} and {b}; add a batch of 1")
        return _exchanged(a) if self.transpose_a else a, _exchanged(b) if self.transpose_b else b

    def _operands(self, values: Values) -> tuple[Array, Array]:
        a, b = values[self.a], values[self.b]
        return a.swapaxes(-1, -2) if self.transpose_a else a, b.swapaxes(-1, -2) if self.transpose_b else b

    def macs(self, tensors: Tensors) -> int:
        return math.prod(tensors[self.output].shape) * self._shapes(tensors)[0][-1]


@dataclass(frozen=True, kw_only=True, eq=False)
class MatrixProduct(Product):
    """A product of codes, requantized; see :func:`sateen.sim.golden.matrix_product`. If the output is int32, it holds
    the sums themselves; there is no scale or clamp then."""

    multiplier: int
    """With ``shift``, as :func:`sateen.sim.golden.quantize_multiplier` returns them."""
    shift: int
    low: int = -128
    high: int = 127
    rounding: int = Rounding.DOUBLE

    def __post_init__(self) -> None:
        super().__post_init__()
        good = is_int(self.multiplier, 0, 2**31 - 1) and is_int(self.shift, -31, 30)
        stated = f"{self.multiplier!r}, {self.shift!r}"
        require(good, self, f"multiplier and shift must lie within 0 to 2^31 - 1 and -31 to 30, not {stated}")
        self._check_clamp(self.low, self.high)
        self._check_rounding(self.rounding)
        self._check_multiplier(self.rounding, self.multiplier)

    def check_types(self, tensors: Tensors) -> None:
        for name in self.inputs:
            self._check_type(tensors[name], "int8")
        self._check_type(tensors[self.output], "int8", "int32")

    def execute(self, tensors: Tensors, values: Values) -> Array:
        points = tensors[self.a].zero_point, tensors[self.b].zero_point
        y, sums = tensors[self.output], golden.matrix_product(*self._operands(values), self.bias, zero_points=points)
        if y.dtype == "int32":
            return sums
        return golden.requantize(
            sums, self.multiplier, self.shift,
            rounding=self.rounding, zero_point=y.zero_point, low=self.low, high=self.high,
        )  # fmt: skip


@dataclass(frozen=True, kw_only=True, eq=False)
class RealMatrixProduct(Real, Product):
    """A product of real numbers; see :func:`sateen.sim.golden.real_matrix_product`."""

    BIAS: ClassVar[np.dtype[Any]] = np.dtype(np.float32)

    def execute(self, tensors: Tensors, values: Values) -> Array:
        return golden.real_matrix_product(*self._operands(values), self.bias)


def _exchanged(shape: Shape) -> Shape:
    return (*shape[:-2], shape[-1], shape[-2])
