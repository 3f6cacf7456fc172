"""Requantization, bit for bit, at its corners and everywhere."""

import lanes
import pytest

from harness import run
from sateen.hw.requantize import CHANNEL


@pytest.mark.parametrize("float_rounding", [True, False])
def test_requantize(float_rounding):
    assert CHANNEL["multiplier"].offset == 32 and CHANNEL["shift"].offset == 64
    run("requantize", float_rounding=float_rounding)


def test_serial():
    run("serial-requantize")


def test_by_the_million():
    lanes.check(1, 3_000_000)
