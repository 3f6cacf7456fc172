"""Fixed-point functions as gemmlowp defines them, on arrays of raw 32-bit numbers.

A number of k integer bits stands for ``raw · 2^(k − 31)``. Products keep the sum of their factors' integer bits.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from sateen.sim.golden.scaling import Int64Array, divide_by_power, high_multiply, wrap

__all__ = [
    "exp_on_negative",
    "inverse_square_root",
    "leading_zeros",
    "log_of_one_or_more",
    "logistic",
    "one_over_one_plus",
    "saturating_shift",
    "tanh",
]

LOWEST, LARGEST = -(2**31), 2**31 - 1
ONE = LARGEST
"""One, with no integer bits: the largest number there is."""
EXP_OF_MINUS_EIGHTH = 1895147668
THIRD = 715827883
EXP_OF_MINUS_POWERS = {-2: 1672461947, -1: 1302514674, 0: 790015084, 1: 290630308, 2: 39332535, 3: 720401, 4: 242}
"""exp(−2^k), by k."""


def saturating_shift(x: NDArray[np.integer] | int, exponent: int) -> Int64Array:
    """x · 2^exponent: saturates to the left, rounds to the right."""
    values = np.asarray(x, np.int64)
    return np.clip(values << exponent, LOWEST, LARGEST) if exponent >= 0 else divide_by_power(values, -exponent)


def leading_zeros(x: Int64Array) -> Int64Array:
    """Leading zeros of 32-bit unsigned numbers."""
    return 32 - np.frexp((np.asarray(x, np.int64) & 0xFFFFFFFF).astype(np.float64))[1].astype(np.int64)


def _half_sum(a: Int64Array, b: int) -> Int64Array:
    """(a + b) / 2, halves away from zero."""
    total = a + b
    return np.sign(total) * ((np.abs(total) + 1) >> 1)


def _exp_of_quarter(a: Int64Array) -> Int64Array:
    """exp of −1/4 ≤ a < 0, no integer bits: the series around −1/8."""
    x = a + (1 << 28)
    x2 = high_multiply(x, x)
    x3, x4 = high_multiply(x2, x), high_multiply(x2, x2)
    higher = divide_by_power(high_multiply(divide_by_power(x4, 2) + x3, THIRD) + x2, 1)
    return EXP_OF_MINUS_EIGHTH + high_multiply(EXP_OF_MINUS_EIGHTH, x + higher)


def exp_on_negative(a: Int64Array, integer_bits: int) -> Int64Array:
    """exp of a ≤ 0 with at most 5 integer bits; the result has none."""
    fraction = 31 - integer_bits
    quarter = 1 << (fraction - 2)
    below = (a & (quarter - 1)) - quarter
    result = _exp_of_quarter(saturating_shift(below, integer_bits))
    remainder = below - a
    for exponent, factor in EXP_OF_MINUS_POWERS.items():
        if integer_bits > exponent:
            chosen = (remainder & (1 << (fraction + exponent))) != 0
            result = np.where(chosen, high_multiply(result, factor), result)
    return np.where(a == 0, ONE, result)


def _reciprocal(a: Int64Array) -> Int64Array:
    """2 / (1 + a) for 0 ≤ a ≤ 1, with two integer bits: three steps of Newton's."""
    half = _half_sum(a, ONE)
    x = 1515870810 + high_multiply(half, -1010580540)  # 48/17 − 32/17 · half
    for _ in range(3):
        x = x + saturating_shift(high_multiply(x, (1 << 29) - high_multiply(half, x)), 2)
    return x


def one_over_one_plus(a: Int64Array) -> Int64Array:
    """1 / (1 + a) for 0 ≤ a ≤ 1; no integer bits."""
    return saturating_shift(_reciprocal(a), 1)


def logistic(a: Int64Array, integer_bits: int) -> Int64Array:
    """1 / (1 + exp(−a)); the result has no integer bits."""
    positive = one_over_one_plus(exp_on_negative(-np.abs(a), integer_bits))
    return np.where(a == 0, 1 << 30, np.where(a > 0, positive, ONE - positive))


def tanh(a: Int64Array, integer_bits: int) -> Int64Array:
    """tanh a; the result has no integer bits."""
    # tanh |a| = (1 − x) / (1 + x) with x = exp(−2 |a|): one more integer bit doubles.
    x = exp_on_negative(-np.abs(a), integer_bits + 1)
    size = saturating_shift(_reciprocal(x) - (1 << 29), 2)
    return np.sign(a) * size


def log_of_one_or_more(x: Int64Array, integer_bits: int, output_bits: int) -> Int64Array:
    """log of x ≥ 1 with ``integer_bits``; the result has ``output_bits``."""
    root, fourth_root, log_2 = 1518500250, 1805811301, 1488522236  # √½, ⁴√½, log 2
    alpha_n, alpha_d, alpha_i, alpha_f = 117049297, 127690142, 1057819769, 638450708
    accum = output_bits + 1
    quarter = 1 << (29 - accum)
    zeros = leading_zeros(x)
    r_a = saturating_shift(high_multiply(np.clip(x << (zeros - 1), LOWEST, LARGEST), root), 1)
    power_a = np.clip((integer_bits - zeros) * (1 << (31 - accum)) + quarter, LOWEST, LARGEST)
    zeros = leading_zeros(high_multiply(x, root)) - 1
    r_b = np.clip(x << zeros, LOWEST, LARGEST)
    power_b = np.clip((integer_bits - zeros) * (1 << (31 - accum)) - quarter, LOWEST, LARGEST)
    r, power = np.minimum(r_a, r_b), np.maximum(power_a, power_b)
    p, q = _half_sum(r, fourth_root), 2 * (r - fourth_root)
    square = high_multiply(q, q)
    numerator = high_multiply(q, r) + high_multiply(high_multiply(q, square), alpha_n)
    denominator = high_multiply(p, alpha_i + q + high_multiply(alpha_d, square)) + high_multiply(alpha_f, q)
    ratio = high_multiply(divide_by_power(numerator, accum), one_over_one_plus(denominator))
    return saturating_shift(wrap(high_multiply(power, log_2) + ratio), accum - output_bits)


def inverse_square_root(x: int) -> tuple[int, int]:
    """Multiplier and shift of 1 / √x for a whole number of 1 or more: ``multiplier · 2^(shift − 31)``, by five steps of
    Newton's; 0 counts as 1."""
    if x <= 1:
        return LARGEST, 0
    shift = 11
    while x >= 1 << 29:
        x //= 4
        shift += 1
    pairs = (31 - x.bit_length()) // 2 - 1
    shift -= pairs
    fixed = (x << 2 * pairs) >> 1  # Three integer bits, as have the others.
    half, three_halves = saturating_shift(fixed, -1), (1 << 28) + (1 << 27)
    root: Int64Array = np.asarray(1 << 28, np.int64)
    for _ in range(5):
        cube = saturating_shift(high_multiply(high_multiply(root, root), root), 6)
        root = saturating_shift(high_multiply(three_halves, root) - high_multiply(half, cube), 3)
    multiplier = int(high_multiply(root, 1518500250))  # √½
    return (multiplier << -shift, 0) if shift < 0 else (multiplier, -shift)
