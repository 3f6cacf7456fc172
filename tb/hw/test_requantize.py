"""Requantization, bit for bit, at its corners and everywhere."""

import lanes

from harness import run
from sateen.hw.requantize import CHANNEL


def test_requantize():
    assert CHANNEL["multiplier"].offset == 32 and CHANNEL["shift"].offset == 64
    run("requantize")


def test_serial():
    run("serial-requantize")


def test_by_the_million():
    lanes.check(1, 3_000_000)
