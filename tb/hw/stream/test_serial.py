"""The bit-serial multiplier: all products of small widths, corners and random ones of large, with and without sign."""

import pytest

from harness import run
from sateen.hw.stream.serial import BitSerialMultiplier


@pytest.mark.parametrize(
    ("a_bits", "b_bits"), [(1, 1), (5, 3), (1, 16), (16, 16), pytest.param(8, 8, marks=pytest.mark.prove)]
)
def test_multiplier(a_bits, b_bits):
    run("bitserial-multiplier", a_bits=a_bits, b_bits=b_bits)


@pytest.mark.parametrize("width", [0, 17, 2.0, True])
def test_rejects(width):
    with pytest.raises(ValueError, match="b_bits must be a whole number from 1 to 16, not"):
        BitSerialMultiplier(a_bits=8, b_bits=width)
