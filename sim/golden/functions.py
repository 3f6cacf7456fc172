"""Golden functions of one value as tables of 256 results, as TensorFlow Lite makes them.

A table's entry ``i`` is the result for the value ``i − 128``. Where a function is not defined, and the interpreter
stops, the table has the result that is nearest in it.
"""

from __future__ import annotations

import math
from collections.abc import Callable

import numpy as np
from numpy.typing import NDArray

from sateen.sim.golden.fixed import inverse_square_root
from sateen.sim.golden.scaling import Int8Array, Quantization, quantize_multiplier, rescale

__all__ = [
    "absolute_table",
    "elu_table",
    "exponential_table",
    "gelu_table",
    "inverse_root_table",
    "logarithm_table",
    "negative_table",
    "root_table",
]

CODES = np.arange(-128, 128)
"""Every int8 value."""
Reals = NDArray[np.float32]
ROOT_SHIFT = 20
"""Bits by which an inverse square root is shifted left before it is scaled."""
LARGEST = 2.0**31
"""Beyond it the interpreter's integers overflow."""


def _saturated(codes: NDArray[np.generic]) -> Int8Array:
    return np.clip(codes, -128, 127).astype(np.int8)


def absolute_table(quantization: Quantization, output: Quantization) -> Int8Array:
    """|x|."""
    sizes = np.abs(CODES - quantization[1])
    if quantization[0] != output[0]:
        sizes = rescale(sizes, *quantize_multiplier(quantization[0] / output[0]))
    return _saturated(sizes + output[1])


def inverse_root_table(quantization: Quantization, output: Quantization) -> Int8Array:
    """1 / √x in fixed-point numbers; the largest code where x is 0 or less. ``ValueError`` if the scales are too far
    apart."""
    multiplier, shift = quantize_multiplier(1 / (math.sqrt(quantization[0]) * output[0]))
    if shift - ROOT_SHIFT < -31:
        raise ValueError(f"1 / √{quantization[0]!r} is too small for steps of {output[0]!r}")
    values = CODES - quantization[1]
    table = np.full(256, 127, np.int8)
    for index in np.flatnonzero(values > 0):
        root, root_shift = inverse_square_root(int(values[index]))
        scaled = rescale(1, root, root_shift + ROOT_SHIFT)
        table[index] = _saturated(rescale(scaled, multiplier, shift - ROOT_SHIFT) + output[1])
    return table


def root_table(quantization: Quantization, output: Quantization) -> Int8Array:
    """√x in float32, rounded down; 0 where x is below 0."""
    with np.errstate(over="ignore"):
        roots = np.sqrt(np.maximum(_real(quantization), np.float32(0)))
        steps = (roots / np.float32(output[0])).astype(np.float32)
    return _saturated(np.trunc(_checked(steps)) + output[1])


def _real(quantization: Quantization) -> Reals:
    return np.float32(quantization[0]) * (CODES - quantization[1]).astype(np.float32)


def _checked(real: Reals) -> Reals:
    if not (np.abs(real) < LARGEST).all():
        raise ValueError("a result overflows the interpreter's integers")
    return real


def _table(quantization: Quantization, output: Quantization, function: Callable[[Reals], Reals]) -> Int8Array:
    """A function of float32 numbers, multiplied by the inverse of the output's scale, halves away from zero.

    ``ValueError`` if a result is beyond 32 bits.
    """
    with np.errstate(over="ignore", invalid="ignore"):
        steps = function(_real(quantization)) * (np.float32(1) / np.float32(output[0]))
    _checked(steps)
    away = np.copysign(np.floor(np.abs(steps) + 0.5), steps)
    return _saturated(np.trunc(away.astype(np.float32) + np.float32(output[1])))


def exponential_table(quantization: Quantization, output: Quantization) -> Int8Array:
    """e^x."""
    return _table(quantization, output, lambda x: np.exp(x.astype(np.float64)).astype(np.float32))


def logarithm_table(quantization: Quantization, output: Quantization) -> Int8Array:
    """log x; the smallest code where x is 0 or less."""
    least = np.float32(-128 - output[1]) * np.float32(output[0])
    ones = lambda x: np.where(x > 0, x, 1).astype(np.float64)  # noqa: E731
    return _table(quantization, output, lambda x: np.where(x > 0, np.log(ones(x)).astype(np.float32), least))


def elu_table(quantization: Quantization, output: Quantization) -> Int8Array:
    """x where x ≥ 0, else e^x − 1."""

    def elu(x: Reals) -> Reals:
        below = np.exp(np.minimum(x, 0).astype(np.float64)).astype(np.float32) - np.float32(1)
        return np.where(x < 0, below, x)

    return _table(quantization, output, elu)


def gelu_table(quantization: Quantization, output: Quantization, *, approximate: bool) -> Int8Array:
    """x · Φ(x), the distribution function being that of the normal distribution, or its approximation by tanh."""
    half, one = np.float32(0.5), np.float32(1)

    def exact(x: Reals) -> Reals:
        inner = x * np.float32(math.sqrt(0.5))
        return half * x * (one + np.array([math.erf(value) for value in inner.tolist()]).astype(np.float32))

    def approximation(x: Reals) -> Reals:
        inner = np.float32(math.sqrt(2 / math.pi)) * (x + np.float32(0.044715) * x * x * x)
        return half * x * (one + np.tanh(inner.astype(np.float64)).astype(np.float32))

    return _table(quantization, output, approximation if approximate else exact)


def negative_table(quantization: Quantization, output: Quantization) -> Int8Array:
    """−x, of the codes themselves: −128 stays.

    ``ValueError`` where codes do not stand for their multiples, since the interpreter negates them all the same.
    """
    if quantization[1] or quantization != output:
        raise ValueError(f"codes are negated, which stand for other numbers with {quantization} and {output}")
    return (-CODES).astype(np.int8)
