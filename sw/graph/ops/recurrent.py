"""Operators of recurrent layers whose states are codes of 16 bits, which the host computes; see
:mod:`sateen.sim.golden.recurrent`. The states themselves are the graph's (:attr:`sateen.graph.Graph.states`)."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from sateen.graph.ops.base import Array, Op, Shape, Tensors, Unary, Values, is_int, require
from sateen.sim import golden

__all__ = ["LastStep", "Lstm", "LstmCells", "LstmHidden", "Recurrent", "TimeProduct", "WideningProduct"]


class Recurrent(Op):
    """What operators of recurrent layers share."""

    HOST_ONLY = True

    def _check_wide(self, tensors: Tensors, name: str) -> None:
        self._check_type(tensors[name], "int16")
        point = tensors[name].zero_point
        require(point == 0, self, f"the zero point of {tensors[name]}, which is int16, must be 0, not {point}")

    def _check_array(self, field: str, dtype: type, *shape: int) -> None:
        array = getattr(self, field)
        good = isinstance(array, np.ndarray) and array.dtype == dtype and array.shape == shape
        require(good, self, f"{field} must be {dtype.__name__} of {shape}")

    def _check_factors(self, multiplier: Array, shift: Array) -> None:
        fits = (multiplier == 0) | ((multiplier >= 1 << 30) & (multiplier < 1 << 31))
        good = bool(fits.all() and ((shift >= -31) & (shift <= 30)).all())
        require(good, self, "multipliers must be 0 or 2^30 to 2^31 - 1, and shifts lie within -31 to 30")


@dataclass(frozen=True, kw_only=True, eq=False)
class WideningProduct(Recurrent, Unary):
    """A matrix product of int8 over the last axis, rescaled to int16."""

    weights: NDArray[np.int8]
    """[O, I]."""
    multiplier: int
    """With ``shift``, as :func:`sateen.sim.golden.quantize_multiplier` returns them."""
    shift: int

    def __post_init__(self) -> None:
        good = self.weights.dtype == np.int8 and self.weights.ndim == 2 and self.weights.size > 0
        require(good, self, "weights must be int8 with 2 axes")
        self._check_factors(np.array(self.multiplier), np.array(self.shift))

    def check_types(self, tensors: Tensors) -> None:
        self._check_type(tensors[self.input], "int8")
        self._check_wide(tensors, self.output)

    def infer(self, tensors: Tensors) -> Shape:
        shape, (outputs, inputs) = tensors[self.input].shape, self.weights.shape
        require(shape[-1] == inputs, self, f"its weights take {inputs} values, but its input is {shape}")
        return (*shape[:-1], outputs)

    def execute(self, tensors: Tensors, values: Values) -> Array:
        return golden.widening_product(
            values[self.input], tensors[self.input].zero_point, self.weights, 0, self.multiplier, self.shift
        )

    def macs(self, tensors: Tensors) -> int:
        return math.prod(tensors[self.input].shape[:-1]) * self.weights.size


@dataclass(frozen=True, kw_only=True, eq=False)
class TimeProduct(Recurrent, Unary):
    """Sums of the states [N, steps, rank, units] of filters over steps and ranks, weighted, as int8 [N, units]."""

    weights: NDArray[np.int16]
    """[steps, rank, units]."""
    bias: NDArray[np.int32]
    """[units], with the scale of states times weights."""
    multiplier: int
    """With ``shift``, as :func:`sateen.sim.golden.quantize_multiplier` returns them."""
    shift: int

    def __post_init__(self) -> None:
        good = self.weights.dtype == np.int16 and self.weights.ndim == 3 and self.weights.size > 0
        require(good, self, "weights must be int16 with 3 axes")
        self._check_array("bias", np.int32, self.weights.shape[2])
        self._check_factors(np.array(self.multiplier), np.array(self.shift))

    def check_types(self, tensors: Tensors) -> None:
        self._check_wide(tensors, self.input)
        self._check_type(tensors[self.output], "int8")

    def infer(self, tensors: Tensors) -> Shape:
        shape = tensors[self.input].shape
        require(shape[1:] == self.weights.shape, self, f"its weights of {self.weights.shape} do not fit {shape}")
        return (shape[0], shape[3])

    def execute(self, tensors: Tensors, values: Values) -> Array:
        return golden.time_product(
            values[self.input], self.weights, self.bias, self.multiplier, self.shift,
            zero_point=tensors[self.output].zero_point,
        )  # fmt: skip

    def macs(self, tensors: Tensors) -> int:
        return tensors[self.input].shape[0] * self.weights.size


@dataclass(frozen=True, kw_only=True, eq=False)
class Lstm(Recurrent, Unary):
    """What both halves of an LSTM share; fields as those of :class:`sateen.sim.golden.Lstm`."""

    hidden: str
    """The hidden state before the first step, int8 [N, S]."""
    cell: str
    """int16: for :class:`LstmCells` the cells before the first step, [N, S]; for :class:`LstmHidden` those behind each
    step, [N, T, S]."""
    input_weights: NDArray[np.int8]
    recurrent_weights: NDArray[np.int8]
    bias: NDArray[np.int32]
    multiplier: NDArray[np.int32]
    shift: NDArray[np.int8]
    cell_clip: int = 0

    def __post_init__(self) -> None:
        good = self.input_weights.ndim == 3 and self.input_weights.size > 0 and len(self.input_weights) == 4
        require(good, self, "input_weights must be [4, S, I]")
        _, size, inputs = self.input_weights.shape
        self._check_array("input_weights", np.int8, 4, size, inputs)
        self._check_array("recurrent_weights", np.int8, 4, size, size)
        self._check_array("bias", np.int32, 4, size)
        self._check_array("multiplier", np.int32, 4, 2)
        self._check_array("shift", np.int8, 4, 2)
        self._check_factors(self.multiplier, self.shift)
        require(is_int(self.cell_clip, 0, 32767), self, f"cell_clip must be 0 to 32767, not {self.cell_clip!r}")

    @property
    def inputs(self) -> tuple[str, ...]:
        return (self.input, self.hidden, self.cell)

    @property
    def _size(self) -> int:
        return self.input_weights.shape[1]

    def check_types(self, tensors: Tensors) -> None:
        self._check_type(tensors[self.input], "int8")
        self._check_type(tensors[self.hidden], "int8")
        self._check_wide(tensors, self.cell)

    def infer(self, tensors: Tensors) -> Shape:
        shape, state = tensors[self.input].shape, tensors[self.hidden].shape
        good = len(shape) == 3 and shape[2] == self.input_weights.shape[2]
        require(good, self, f"its input must be (N, T, {self.input_weights.shape[2]}), not {shape}")
        require(state == (shape[0], self._size), self, f"its hidden state must be (N, {self._size}), not {state}")
        power = math.log2(tensors[self.cell].scale)
        good = power == round(power) and -24 <= power <= 0
        require(good, self, f"the scale of its cells must be a power of two from 2^-24 to 1, not 2^{power:g}")
        self._scaling(2.0**-30 / tensors[self.hidden].scale)
        return (*shape[:2], self._size)

    def _numbers(self, tensors: Tensors) -> golden.Lstm:
        hidden = tensors[self.hidden]
        return golden.Lstm(
            input_weights=self.input_weights, recurrent_weights=self.recurrent_weights, bias=self.bias,
            multiplier=self.multiplier, shift=self.shift, input_zero_point=tensors[self.input].zero_point,
            hidden_scale=hidden.scale, hidden_zero_point=hidden.zero_point,
            cell_power=round(math.log2(tensors[self.cell].scale)), cell_clip=self.cell_clip,
        )  # fmt: skip


@dataclass(frozen=True, kw_only=True, eq=False)
class LstmCells(Lstm):
    """The cells of an LSTM behind each step, int16 [N, T, S]."""

    def check_types(self, tensors: Tensors) -> None:
        super().check_types(tensors)
        self._check_wide(tensors, self.output)

    def infer(self, tensors: Tensors) -> Shape:
        cell, y, shape = tensors[self.cell], tensors[self.output], super().infer(tensors)
        good = cell.shape == (shape[0], self._size) and cell.scale == y.scale
        require(good, self, f"its cells must be (N, {self._size}), and have one scale before and behind it")
        return shape

    def execute(self, tensors: Tensors, values: Values) -> Array:
        return self._numbers(tensors).cells(values[self.input], values[self.hidden], values[self.cell])

    def macs(self, tensors: Tensors) -> int:
        """Those of all gates: the output gate's are counted here, and not in :class:`LstmHidden`."""
        return math.prod(tensors[self.input].shape[:2]) * (self.input_weights.size + self.recurrent_weights.size)


@dataclass(frozen=True, kw_only=True, eq=False)
class LstmHidden(Lstm):
    """The hidden states of an LSTM behind each step, int8 [N, T, S], which are its output."""

    def check_types(self, tensors: Tensors) -> None:
        super().check_types(tensors)
        self._check_type(tensors[self.output], "int8")

    def infer(self, tensors: Tensors) -> Shape:
        cells, shape = tensors[self.cell].shape, super().infer(tensors)
        require(cells == shape, self, f"its cells must be {shape}, not {cells}")
        same = tensors[self.hidden].quantization == tensors[self.output].quantization
        require(same, self, "its output must have the scale and zero point of the hidden state")
        return shape

    def execute(self, tensors: Tensors, values: Values) -> Array:
        return self._numbers(tensors).hidden(values[self.input], values[self.hidden], values[self.cell])


@dataclass(frozen=True, kw_only=True, eq=False)
class LastStep(Recurrent, Unary):
    """The last of the steps [N, T, S] that the host has computed, [N, S]: a state behind a sequence."""

    def check_types(self, tensors: Tensors) -> None:
        self._check_type(tensors[self.input], "int8", "int16")
        self._check_same_quantization(tensors)

    def infer(self, tensors: Tensors) -> Shape:
        shape = tensors[self.input].shape
        require(len(shape) == 3, self, f"its input must be (N, T, S), not {shape}")
        return (shape[0], shape[2])

    def execute(self, tensors: Tensors, values: Values) -> Array:
        return values[self.input][:, -1]
