"""Recurrent layers with int8 activations and states of 16 bits, as tflite-micro computes them.

An LSTM's gates are sums of two matrix products, of the input and of the hidden state, each rescaled to int16 in units
of 2^-12 and clipped; so is their sum. Behind it stand the functions of :mod:`~sateen.sim.golden.wide`.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike, NDArray

from sateen.hw.spec.recurrent import GATES
from sateen.sim.golden.scaling import Int8Array, Int32Array, Int64Array, quantize_multiplier, requantize, rescale, wrap
from sateen.sim.golden.wide import Int16Array, clipped, tanh_at, wide_logistic

__all__ = ["GATES", "Lstm", "scaled", "thirds", "time_product", "widening_product"]

INPUT, FORGET, CELL, OUTPUT = range(4)
STEP = 2.0**-12
"""What a gate's sum counts in."""
UNIT = 2.0**-15
"""What a gate's result counts in, and a hyperbolic tangent."""


def widening_product(
    x: Int8Array, zero_point: int, weights: Int8Array, bias: ArrayLike, multiplier: ArrayLike, shift: ArrayLike
) -> Int16Array:
    """``(x − zero point) · weightsᵀ + bias`` over the last axis, rescaled to int16."""
    # Sums below 2^53 are exact in float64.
    sums = (x.astype(np.float64) - zero_point) @ weights.T.astype(np.float64)
    return clipped(rescale(wrap(sums.astype(np.int64) + np.asarray(bias, np.int64)), multiplier, shift))


def time_product(
    states: Int16Array, weights: Int16Array, bias: Int32Array, multiplier: int, shift: int, *, zero_point: int
) -> Int8Array:
    """``Σ states · weights + bias`` over the steps and the ranks of a filter, rescaled to int8: states [N, steps, rank,
    units] and weights [steps, rank, units] give [N, units]."""
    sums = (states.astype(np.int64) * weights).sum(axis=(1, 2)) + bias
    return requantize(sums, multiplier, shift, zero_point=zero_point)


@dataclass(frozen=True, kw_only=True, eq=False)
class Lstm:
    """The numbers of an LSTM of I inputs and S cells, whose gates are in the order of :data:`GATES`."""

    input_weights: Int8Array
    """[4, S, I]."""
    recurrent_weights: Int8Array
    """[4, S, S]."""
    bias: Int32Array
    """[4, S], with the scale of inputs times weights."""
    multiplier: NDArray[np.int32]
    """[4, 2]: with ``shift``, what rescales the products of the inputs and those of the hidden state."""
    shift: NDArray[np.int8]
    """[4, 2]."""
    input_zero_point: int
    hidden_scale: float
    hidden_zero_point: int
    cell_power: int
    """The cells' scale is two to this power."""
    cell_clip: int
    """The largest magnitude of a cell's code; 0 for any."""

    def cells(self, x: Int8Array, hidden: Int8Array, cell: Int16Array) -> Int16Array:
        """The cells behind each step: x [N, T, I] and the states before it, [N, S] each, give [N, T, S]."""
        every, inputs = [], self._products(0, x, slice(4))
        for step in range(x.shape[1]):
            sums = self._sums(inputs[:, :, step], hidden, slice(4))
            forget, added = wide_logistic(sums[FORGET], STEP), wide_logistic(sums[INPUT], STEP)
            kept = scaled(forget, cell, UNIT)
            new = scaled(added, tanh_at(thirds(sums[CELL], -12)), UNIT * UNIT / 2.0**self.cell_power)
            cell = clipped(kept.astype(np.int64) + new)
            if self.cell_clip:
                cell = np.clip(cell, -self.cell_clip, self.cell_clip)
            hidden = self._hidden(cell, sums[OUTPUT])
            every.append(cell)
        return np.stack(every, axis=1)

    def hidden(self, x: Int8Array, hidden: Int8Array, cells: Int16Array) -> Int8Array:
        """The hidden state behind each step, [N, T, S], from x [N, T, I], the state before it [N, S], and what
        :meth:`cells` gives."""
        gates = slice(OUTPUT, OUTPUT + 1)
        every, inputs = [], self._products(0, x, gates)
        for step in range(x.shape[1]):
            hidden = self._hidden(cells[:, step], self._sums(inputs[:, :, step], hidden, gates)[0])
            every.append(hidden)
        return np.stack(every, axis=1)

    def _products(self, side: int, x: Int8Array, gates: slice) -> Int16Array:
        """Products of the inputs (0) or hidden states (1), [N, …], for some gates: [gates, N, …, S]."""
        weights = (self.input_weights, self.recurrent_weights)[side][gates]
        count, size, depth = weights.shape
        factors = (np.repeat(numbers[gates, side], size) for numbers in (self.multiplier, self.shift))
        bias = np.zeros(count * size) if side else self.bias[gates].reshape(-1)
        point = (self.input_zero_point, self.hidden_zero_point)[side]
        products = widening_product(x, point, weights.reshape(-1, depth), bias, *factors)
        return np.moveaxis(products.reshape(*x.shape[:-1], count, size), -2, 0)

    def _sums(self, inputs: Int16Array, hidden: Int8Array, gates: slice) -> Int16Array:
        return clipped(inputs.astype(np.int64) + self._products(1, hidden, gates))

    def _hidden(self, cell: Int16Array, output: Int16Array) -> Int8Array:
        product = _product(tanh_at(thirds(cell, self.cell_power)), wide_logistic(output, STEP))
        factors = quantize_multiplier(UNIT * UNIT / self.hidden_scale)
        return np.clip(rescale(product, *factors) + self.hidden_zero_point, -128, 127).astype(np.int8)


def _product(a: Int16Array, b: Int16Array) -> Int64Array:
    return a.astype(np.int64) * b.astype(np.int64)


def scaled(a: Int16Array, b: Int16Array, scale: float) -> Int16Array:
    """Products times a scale."""
    return clipped(rescale(_product(a, b), *quantize_multiplier(scale)))


def thirds(x: Int16Array, power: int) -> Int64Array:
    """Codes of a scale of 2^power in units of 2^-12 / 3, with which the table of the hyperbolic tangent is entered;
    halves are rounded up."""
    left, values = power + 12, x.astype(np.int64) * 3
    return values << left if left >= 0 else (values + (1 << (-left - 1))) >> -left
