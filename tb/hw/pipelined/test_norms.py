"""The inverse root of the sum of squares of a layer's results."""

import numpy as np
import pytest

from harness import run
from sateen.hw.pipelined.norms import InverseRoot
from sateen.sim import golden


@pytest.mark.parametrize("lanes", [1, 6])
def test_inverse_root(lanes):
    run("inverse-root", lanes=lanes)


def test_rejects():
    with pytest.raises(ValueError, match="lanes must be 1 or more, not 0"):
        InverseRoot(lanes=0)


def test_golden_model():
    """Of every sum up to a million and of powers of two and their neighbours; within 1 / 256 of the root."""
    powers = 1 << np.arange(32)
    sums = np.unique(np.concatenate([np.arange(1, 1 << 20), powers, powers - 1, powers + 1, [2**32 - 1]]))[1:]
    multiplier, shift = golden.inverse_root(sums)
    assert multiplier.min() >= 1 << 30 and multiplier.max() < 1 << 31 and shift.min() == -15 and shift.max() == 0
    assert np.abs(multiplier * 2.0 ** (shift - 31) * np.sqrt(sums) - 1).max() < 1 / 256
    assert golden.sum_of_squares(np.array([[-128, 3], [0, 0]], np.int8)).tolist() == [[16393], [1]]
