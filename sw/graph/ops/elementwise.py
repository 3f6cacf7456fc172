"""Elementwise operators on two tensors with different scales, and on one."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from sateen.graph.ops.base import Binary, Int8Array, Shape, Tensor, Tensors, Unary, Values, is_int, require
from sateen.hw.spec.descriptor import Rounding
from sateen.sim import golden

__all__ = ["Add", "Arithmetic", "Multiply", "Requantize", "Subtract", "Table", "TableProduct"]


@dataclass(frozen=True, kw_only=True, eq=False)
class Arithmetic(Binary):
    """What sums and products share. Each operand and the result has its own scale."""

    low: int = -128
    high: int = 127
    rounding: int = Rounding.DOUBLE
    fused: bool = True
    """With Rounding.FLOAT32: whether onnxruntime has a kernel for the codes. Else it takes real numbers, and quantizes
    the result."""
    as_uint8: bool = False
    """Whether that kernel is one of uint8, also if the file has int8."""
    reciprocal: float = 0.0
    """If not 0, and not fused: what the result is multiplied by instead of being divided by its scale."""

    def __post_init__(self) -> None:
        self._check_clamp(self.low, self.high)
        self._check_rounding(self.rounding)

    def infer(self, tensors: Tensors) -> Shape:
        a, b, y = (tensors[name] for name in (*self.inputs, self.output))
        # The largest factor's multiplier; the others are smaller.
        self._scaling(max(a.scale, b.scale, a.scale * b.scale) / y.scale)
        return super().infer(tensors)

    def base(self, y: Tensor) -> int:
        """By how much codes are larger in onnxruntime's kernel for a result."""
        return 128 if self.as_uint8 else y.base


@dataclass(frozen=True, kw_only=True, eq=False)
class Add(Arithmetic):
    """a + b; see :func:`sateen.sim.golden.add`."""

    def execute(self, tensors: Tensors, values: Values) -> Int8Array:
        return self._sum(tensors, values, 1)

    def _sum(self, tensors: Tensors, values: Values, sign: int) -> Int8Array:
        numbers = (tensors[name].quantization for name in (*self.inputs, self.output))
        return golden.add(
            values[self.a], values[self.b], *numbers, sign=sign, low=self.low, high=self.high, rounding=self.rounding,
            base=self.base(tensors[self.output]), fused=self.fused, reciprocal=self.reciprocal,
        )  # fmt: skip


@dataclass(frozen=True, kw_only=True, eq=False)
class Subtract(Add):
    """a − b."""

    def execute(self, tensors: Tensors, values: Values) -> Int8Array:
        return self._sum(tensors, values, -1)


@dataclass(frozen=True, kw_only=True, eq=False)
class Multiply(Arithmetic):
    """a · b; see :func:`sateen.sim.golden.multiply`."""

    def execute(self, tensors: Tensors, values: Values) -> Int8Array:
        numbers = (tensors[name].quantization for name in (*self.inputs, self.output))
        return golden.multiply(
            values[self.a],
            values[self.b],
            *numbers,
            low=self.low,
            high=self.high,
            rounding=self.rounding,
            base=self.base(tensors[self.output]),
            fused=self.fused,
            reciprocal=self.reciprocal,
        )


@dataclass(frozen=True, kw_only=True, eq=False)
class Requantize(Unary):
    """The same real values with the output's scale and zero point, clamped: ReLU, its relatives, and changes of scale.

    With Rounding.FLOAT32 values are multiplied by one scale and divided by the other, in float32.
    """

    multiplier: int
    """With ``shift``, as :func:`sateen.sim.golden.quantize_multiplier` returns them."""
    shift: int
    low: int = -128
    high: int = 127
    rounding: int = Rounding.DOUBLE

    def __post_init__(self) -> None:
        self._check_clamp(self.low, self.high)
        self._check_rounding(self.rounding)

        good = is_int(self.multiplier, 0, 2**31 - 1) and is_int(self.shift, -31, 30)
        require(
            good,
            self,
            f"multiplier and shift must lie within 0 to 2^31 - 1 and -31 to 30, "
            f"not {self.multiplier!r}, {self.shift!r}",
        )
        self._check_multiplier(self.rounding, self.multiplier)

    def infer(self, tensors: Tensors) -> Shape:
        return tensors[self.input].shape

    def execute(self, tensors: Tensors, values: Values) -> Int8Array:
        if self.rounding == Rounding.FLOAT32:
            real = golden.real_codes(values[self.input], tensors[self.input].quantization)
            return golden.quantize_again(real, tensors[self.output].quantization, self.low, self.high)
        return golden.requantize(
            values[self.input].astype(np.int64) - tensors[self.input].zero_point,
            self.multiplier,
            self.shift,
            rounding=self.rounding,
            zero_point=tensors[self.output].zero_point,
            low=self.low,
            high=self.high,
        )


@dataclass(frozen=True, kw_only=True, eq=False)
class Table(Unary):
    """Any function of one value, given by its 256 results."""

    table: Int8Array
    """[256]: the results for −128 to 127, in this order."""
    function: str
    """The function's name, for people."""

    def __post_init__(self) -> None:
        good = isinstance(self.table, np.ndarray) and self.table.dtype == np.int8 and self.table.shape == (256,)
        require(good, self, "table must be an array of 256 int8 values")

    def infer(self, tensors: Tensors) -> Shape:
        return tensors[self.input].shape

    def execute(self, tensors: Tensors, values: Values) -> Int8Array:
        return golden.look_up(values[self.input], self.table)


@dataclass(frozen=True, kw_only=True, eq=False)
class TableProduct(Binary):
    """a times any function of b, which is given by its 256 results: ``requantize((a − zero point) · table[b])``."""

    table: NDArray[np.int16]
    """[256]: the results for −128 to 127, in this order, −512 to 511."""
    function: str
    """The function's name, for people."""
    multiplier: int
    """With ``shift``, as :func:`sateen.sim.golden.quantize_multiplier` returns them."""
    shift: int
    loaded: bool = False
    """The table is on the device, as the second of the tables that stay, when the operator's turn comes."""

    def __post_init__(self) -> None:
        good = isinstance(self.table, np.ndarray) and self.table.dtype == np.int16 and self.table.shape == (256,)
        require(good and bool((self.table >= -512).all() and (self.table < 512).all()), self,
                "table must be an array of 256 int16 values from -512 to 511")  # fmt: skip
        good = is_int(self.multiplier, 0, 2**31 - 1) and is_int(self.shift, -31, 30)
        require(good, self, f"multiplier {self.multiplier!r} or shift {self.shift!r} is out of range")

    def infer(self, tensors: Tensors) -> Shape:
        a, b = (tensors[name].shape for name in self.inputs)
        require(a[1:] == b[1:], self, f"its operands must have the same shape, not {a} and {b}")
        return super().infer(tensors)

    def execute(self, tensors: Tensors, values: Values) -> Int8Array:
        left = values[self.a].astype(np.int64) - tensors[self.a].zero_point
        right = self.table.astype(np.int64)[values[self.b].astype(np.int64) + 128]
        point = tensors[self.output].zero_point
        return golden.requantize(left * right, self.multiplier, self.shift, zero_point=point)
