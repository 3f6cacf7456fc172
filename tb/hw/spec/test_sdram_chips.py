"""Chips of SDRAM: their times in cycles, and what is said of clocks and fields that cannot be."""

import dataclasses
import re

import pytest

from sateen.hw.spec.sdram import CHIPS, find_chip


@pytest.mark.parametrize(
    ("name", "megabytes"),
    [("as4c32m16sb", 64), ("is42s16160g", 32), ("m12l64322a", 8), ("w9825g6kh", 32), ("m12l16161a", 4)],
)
def test_capacity(name, megabytes):
    assert find_chip(name).capacity == megabytes << 20


@pytest.mark.parametrize("chip", CHIPS.values(), ids=CHIPS)
@pytest.mark.parametrize("clock_hz", [50_000_000, 80_000_000, 100_000_000, 133_333_333, 142_857_142, 143_000_000])
def test_times(chip, clock_hz):
    """Cycles cover the datasheet's times, and none is counted too many."""
    timing, period = chip.timing(clock_hz), 1e9 / clock_hz
    for cycles, ns in (
        (timing.rcd, chip.t_rcd), (timing.rp, chip.t_rp), (timing.rrd, chip.t_rrd), (timing.rfc, chip.t_rfc),
    ):  # fmt: skip
        assert (cycles - 1) * period < ns <= cycles * period * 1.00001
    assert timing.ras * period * 1.00001 >= chip.t_ras
    assert (timing.ras + timing.rp) * period * 1.00001 >= chip.t_rc
    assert timing.wr >= chip.wr_cycles and timing.wr * period * 1.00001 >= chip.t_wr
    assert timing.refresh * period <= chip.refresh_ns
    assert period >= chip.clock_ns[timing.cas] * 0.999


def test_cas_latency():
    assert [CHIPS["as4c32m16sb"].timing(clock).cas for clock in (100_000_000, 100_500_000)] == [2, 3]


def test_rejects():
    chip = CHIPS["as4c32m16sb"]
    with pytest.raises(
        ValueError, match=r"clock_hz must be at most 142857143 \(Alliance AS4C32M16SB-7\), not 150000000"
    ):
        chip.timing(150_000_000)
    with pytest.raises(
        ValueError, match=r"clock_hz must be at least about \d+ \(Alliance AS4C32M16SB-7\), not 1000000"
    ):
        chip.timing(1_000_000)
    with pytest.raises(ValueError, match="column_bits must be a whole number from 1 to 10, not 11"):
        dataclasses.replace(chip, column_bits=11)
    with pytest.raises(ValueError, match="data_bits must be a multiple of 8, not 12"):
        dataclasses.replace(chip, data_bits=12)
    with pytest.raises(ValueError, match=f"sdram must be one of {', '.join(CHIPS)}, not 'ddr5'"):
        find_chip("ddr5")


def test_slowest_clock():
    """A clock as slow as the refusal allows is accepted."""
    chip = CHIPS["m12l64322a"]
    with pytest.raises(ValueError) as refused:
        chip.timing(100_000)
    slowest = int(re.search(r"about (\d+)", str(refused.value))[1])
    assert chip.timing(slowest)
