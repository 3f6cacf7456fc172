"""tanh and the logistic function as onnxruntime approximates them: quotients of polynomials in float32.

Coefficients and order of operations are those of onnxruntime's ``mlas/lib/tanh.cpp`` and ``logistic.cpp``, which have
them from Eigen; on processors with fused multiplication and addition each step is rounded once.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from sateen.sim.golden.elementwise import float32_sum

__all__ = ["float32_sigmoid", "float32_tanh"]

Floats = NDArray[np.float32]

TANH_RANGE, SIGMOID_RANGE = np.float32(9), np.float32(18)
"""Beyond these results do not change."""
TANH = (
    (
        -2.76076847742355e-16, 2.00018790482477e-13, -8.60467152213735e-11, 5.12229709037114e-08,
        1.48572235717979e-05, 6.37261928875436e-04, 4.89352455891786e-03,
    ),
    (1.19825839466702e-06, 1.18534705686654e-04, 2.26843463243900e-03, 4.89352518554385e-03),
)  # fmt: skip
"""Of numerator and denominator, as polynomials of the square, highest power first; the numerator is times the value."""
SIGMOID = (
    (4.37031012579801e-11, 1.15627324459942e-07, 6.08574864600143e-05, 8.51377133304701e-03, 2.48287947061529e-01),
    (
        6.10247389755681e-13, 5.76102136993427e-09, 6.29106785017040e-06, 1.70198817374094e-03,
        1.16817656904453e-01, 9.93151921023180e-01,
    ),
)  # fmt: skip


def float32_tanh(x: Floats) -> Floats:
    """tanh(x), within 3e-7."""
    return _quotient(np.clip(x, -TANH_RANGE, TANH_RANGE), TANH)


def float32_sigmoid(x: Floats) -> Floats:
    """1 / (1 + exp(−x)), within 2e-7."""
    half = _quotient(np.clip(x, -SIGMOID_RANGE, SIGMOID_RANGE), SIGMOID) + np.float32(0.5)
    return np.clip(half, np.float32(0), np.float32(1))


def _quotient(x: Floats, coefficients: tuple[Sequence[float], Sequence[float]]) -> Floats:
    square = x * x
    return _polynomial(square, coefficients[0]) * x / _polynomial(square, coefficients[1])


def _polynomial(x: Floats, coefficients: Sequence[float]) -> Floats:
    total = np.full_like(x, coefficients[0])
    for coefficient in coefficients[1:]:
        total = float32_sum(total.astype(np.float64) * x, np.float32(coefficient))
    return total
