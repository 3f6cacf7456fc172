"""Recurrent layers with states of 16 bits on tensors of bytes, as devices with a unit for them compute them; and what
turns codes of 16 bits into bytes and back, which the host does. See :func:`sateen.sim.golden.to_bytes`."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np

from sateen.graph.ops.base import Array, Int8Array, Shape, Tensors, Unary, Values, require
from sateen.graph.ops.recurrent import Lstm, TimeProduct, WideningProduct
from sateen.sim import golden

__all__ = ["FeatureBytes", "FromBytes", "LstmBytes", "TimeBytes", "ToBytes"]


@dataclass(frozen=True, kw_only=True, eq=False)
class ToBytes(Unary):
    """Codes of 16 bits as bytes: the last axis is twice as long."""

    HOST_ONLY = True

    def check_types(self, tensors: Tensors) -> None:
        self._check_type(tensors[self.input], "int16")
        self._check_type(tensors[self.output], "int8")

    def infer(self, tensors: Tensors) -> Shape:
        *others, last = tensors[self.input].shape
        return (*others, 2 * last)

    def execute(self, tensors: Tensors, values: Values) -> Array:
        return golden.to_bytes(values[self.input])


@dataclass(frozen=True, kw_only=True, eq=False)
class FromBytes(Unary):
    """The inverse of :class:`ToBytes`."""

    HOST_ONLY = True

    def check_types(self, tensors: Tensors) -> None:
        self._check_type(tensors[self.input], "int8")
        self._check_type(tensors[self.output], "int16")

    def infer(self, tensors: Tensors) -> Shape:
        *others, last = tensors[self.input].shape
        require(last % 2 == 0 and len(others) > 0, self, f"its input must have bytes in pairs, not {last}")
        return (*others, last // 2)

    def execute(self, tensors: Tensors, values: Values) -> Array:
        return golden.from_bytes(values[self.input])


@dataclass(frozen=True, kw_only=True, eq=False)
class FeatureBytes(WideningProduct):
    """A :class:`~sateen.graph.ops.recurrent.WideningProduct` whose results are bytes."""

    HOST_ONLY = False

    def check_types(self, tensors: Tensors) -> None:
        self._check_type(tensors[self.input], "int8")
        self._check_type(tensors[self.output], "int8")

    def infer(self, tensors: Tensors) -> Shape:
        *others, last = super().infer(tensors)
        return (*others, 2 * last)

    def execute(self, tensors: Tensors, values: Values) -> Array:
        return golden.to_bytes(super().execute(tensors, values))


@dataclass(frozen=True, kw_only=True, eq=False)
class TimeBytes(TimeProduct):
    """A :class:`~sateen.graph.ops.recurrent.TimeProduct` of states as bytes, [N, steps, rank, 2 · units]."""

    HOST_ONLY = False

    def check_types(self, tensors: Tensors) -> None:
        self._check_type(tensors[self.input], "int8")
        self._check_type(tensors[self.output], "int8")

    def infer(self, tensors: Tensors) -> Shape:
        *others, units = self.weights.shape
        shape = tensors[self.input].shape
        good = shape[1:] == (*others, 2 * units)
        require(good, self, f"its weights of {self.weights.shape} do not fit bytes of {shape}")
        return (shape[0], units)

    def execute(self, tensors: Tensors, values: Values) -> Int8Array:
        states = golden.from_bytes(values[self.input])
        return golden.time_product(
            states, self.weights, self.bias, self.multiplier, self.shift, zero_point=tensors[self.output].zero_point
        )


@dataclass(frozen=True, kw_only=True, eq=False)
class LstmBytes(Lstm):
    """An LSTM whose cell is bytes, [N, 2 · S]. Its results are lines of S bytes, [N, T + 2, S]: the hidden state behind
    each step, and in the last two lines the bytes of the cell behind the last step."""

    HOST_ONLY = False

    def check_types(self, tensors: Tensors) -> None:
        for name in (*self.inputs, self.output):
            self._check_type(tensors[name], "int8")

    def infer(self, tensors: Tensors) -> Shape:
        cell, (batch, steps, size) = tensors[self.cell].shape, super().infer(tensors)
        require(cell == (batch, 2 * size), self, f"its cells must be bytes of {(batch, 2 * size)}, not {cell}")
        same = tensors[self.hidden].quantization == tensors[self.output].quantization
        require(same, self, "its output must have the scale and zero point of the hidden state")
        return (batch, steps + 2, size)

    def execute(self, tensors: Tensors, values: Values) -> Array:
        numbers, cell = self._numbers(tensors), golden.from_bytes(values[self.cell])
        cells = numbers.cells(values[self.input], values[self.hidden], cell)
        hidden = numbers.hidden(values[self.input], values[self.hidden], cells)
        last = golden.to_bytes(cells[:, -1]).reshape(len(hidden), 2, -1)
        return np.concatenate([hidden, last], axis=1)

    def macs(self, tensors: Tensors) -> int:
        return math.prod(tensors[self.input].shape[:2]) * (self.input_weights.size + self.recurrent_weights.size)
