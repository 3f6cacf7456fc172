"""The controller of SDRAM, on chips of 16 and 32 bits, at both CAS latencies."""

import pytest

from harness import run
from sateen.hw.sdram.controller import SdramController
from sateen.hw.spec.sdram import CHIPS


@pytest.mark.parametrize(
    ("chip", "clock_hz", "delay"), [("as4c32m16sb", 100_000_000, 2), ("m12l64322a", 150_000_000, 3)]
)
def test_controller(chip, clock_hz, delay):
    run("sdram", chip=chip, clock_hz=clock_hz, delay=delay)


def test_rejects():
    chip = CHIPS["as4c32m16sb"]
    with pytest.raises(ValueError, match="delay must be 0 or more, not -1"):
        SdramController(chip=chip, clock_hz=100_000_000, delay=-1)
    with pytest.raises(ValueError, match="length_bits must be 1 or more, not 0"):
        SdramController(chip=chip, clock_hz=100_000_000, length_bits=0)
    with pytest.raises(ValueError, match="clock_hz must be at most 142857143"):
        SdramController(chip=chip, clock_hz=200_000_000)
