"""Synthesis, placement and routing: multipliers and block RAMs are found as such, and the clock is met."""

import pytest

from weft.fpga.flow import FpgaError, place, synthesize
from weft.fpga.parts import PARTS
from weft.hw.spec.config import parse_config
from weft.hw.top import Accelerator

ECP5 = PARTS["ecp5-85f"]


@pytest.mark.fpga
@pytest.mark.parametrize(("name", "multipliers", "block_rams"), [("tiny", 24, 28), ("small", 84, 64)])
def test_ecp5_finds_multipliers_and_block_rams(name, multipliers, block_rams):
    """A PE each, four in every requantizing lane, one more for products of tensors; LUTs in their place would be seen here."""
    _, cells = synthesize(Accelerator(parse_config(name)), ECP5)
    assert (cells.multipliers, cells.block_rams) == (multipliers, block_rams)


@pytest.mark.fpga
def test_ecp5_meets_its_clock():
    config = parse_config("tiny")
    report = place(Accelerator(config), ECP5, target_mhz=config.clock_hz / 1e6)
    assert report.clock_mhz >= config.clock_hz / 1e6, report.path


@pytest.mark.fpga
def test_what_does_not_fit_is_named():
    config = parse_config("tiny,weight_bytes=4194304")
    with pytest.raises(FpgaError, match=r"the design takes \d+ block rams, but LFE5U-85F, speed grade 6 has 208; choose a smaller one"):
        place(Accelerator(config), ECP5)
