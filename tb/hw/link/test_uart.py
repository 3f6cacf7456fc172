"""The serial port: a line with a wrong rate, noise and breaks."""

import pytest

from harness import run
from sateen.hw.link.uart import UART

CLOCK_HZ = 100_000_000


@pytest.mark.parametrize("baud", [3_000_000, 921_600])
def test_uart(baud):
    run("uart", baud=baud)


def test_rejects():
    with pytest.raises(ValueError, match=r"baud must be 1 to 12500000 \(an eighth of clock_hz\), not 20000000"):
        UART(clock_hz=100_000_000, baud=20_000_000)
