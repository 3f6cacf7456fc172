"""Clocks from a board's oscillator: the settings of each part's PLL."""

import random
import re
import subprocess
import sys
from dataclasses import replace

import pytest

import needs
from sateen.fpga.boards import BOARDS
from sateen.fpga.pll import ecp5, ecp5_usb, gowin, ice40
from sateen.hw.spec.config import PRESETS

MHZ = 1_000_000
TINY = PRESETS["tiny"]


def test_ice40_pll_is_what_icepll_finds():
    """Printed by ``icepll -i 12 -o 50`` and ``-o 20``."""
    assert ice40(12 * MHZ, 50 * MHZ).settings == {"DIVR": 0, "DIVF": 66, "DIVQ": 4, "FILTER_RANGE": 1}
    pll = ice40(12 * MHZ, 20 * MHZ)
    assert pll.settings == {"DIVR": 0, "DIVF": 52, "DIVQ": 5, "FILTER_RANGE": 1}
    assert pll.output_hz == 19_875_000
    assert pll.error == pytest.approx(-0.00625)


@pytest.mark.parametrize("asked_mhz", [4, 27, 33, 40.5, 54, 100, 333])
def test_gowin_pll_is_what_gowin_pll_finds(asked_mhz):
    needs.package("apycula", extra="fpga")
    command = [sys.executable, "-m", "apycula.gowin_pll", "-i", "27", "-o", str(asked_mhz)]
    printed = subprocess.run(command, capture_output=True, text=True, check=True).stdout
    found = {name: int(value) for name, value in re.findall(r"\.(\w+_SEL)\((\d+)\)", printed)}
    assert gowin(27 * MHZ, int(asked_mhz * MHZ)).settings == found


@pytest.mark.parametrize("input_mhz", [12, 25, 30, 48, 100])
def test_ecp5_pll_keeps_its_limits(input_mhz):
    for asked in [4 * MHZ, 80 * MHZ, 400 * MHZ, *(random.randrange(40 * MHZ, 380 * MHZ) for _ in range(20))]:
        pll = ecp5(input_mhz * MHZ, asked)
        divide, multiply, post = (pll.settings[name] for name in ("CLKI_DIV", "CLKFB_DIV", "CLKOP_DIV"))
        assert 3.125 * MHZ <= input_mhz * MHZ / divide <= 400 * MHZ
        assert 400 * MHZ <= input_mhz * MHZ / divide * multiply * post <= 800 * MHZ
        assert pll.output_hz == pytest.approx(input_mhz * MHZ / divide * multiply)
        # No further off than half a step of the slowest phase detector, or a whole one at the end of the range.
        assert abs(pll.output_hz - asked) <= input_mhz * MHZ / (input_mhz // 3.125)


@pytest.mark.parametrize("input_mhz", [12, 25, 48, 100])
def test_usb_clocks_are_exact(input_mhz):
    settings = ecp5_usb(input_mhz * MHZ).settings
    detector = input_mhz / settings["CLKI_DIV"]
    oscillator = detector * settings["CLKFB_DIV"] * settings["CLKOP_DIV"]
    assert detector >= 3.125 and 400 <= oscillator <= 800 and 3.125 <= oscillator / settings["CLKOP_DIV"] <= 400
    assert oscillator / settings["CLKOS_DIV"] == 48 and oscillator / settings["CLKOS2_DIV"] == 12


def test_usb_clocks_out_of_reach():
    with pytest.raises(ValueError, match="link cannot be usb: EHXPLLL makes no 48 MHz of 33.333 MHz"):
        ecp5_usb(33_333_000)


def test_clocks_out_of_reach():
    with pytest.raises(
        ValueError, match=r"clock_hz cannot be 900000000: EHXPLLL makes nothing like it of 25 MHz; the nearest is 400"
    ):
        BOARDS["ulx3s-85f"].with_pll_clock(replace(TINY, clock_hz=900 * MHZ))
    with pytest.raises(ValueError, match="clock_hz cannot be 5000000: SB_PLL40 makes nothing like it of 12 MHz"):
        BOARDS["icebreaker"].with_pll_clock(replace(TINY, clock_hz=5 * MHZ, baud=115_200))
