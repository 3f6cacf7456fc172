"""SDR SDRAM: the chips' geometry and timing, from their datasheets, and the commands at their pins."""

from __future__ import annotations

import math
from dataclasses import dataclass
from enum import IntEnum

__all__ = ["CHIPS", "PAD_CYCLES", "Command", "SdramChip", "SdramTiming", "find_chip"]

ALL_BANKS = 10
"""Address bit that makes a precharge one of all banks; with a read or write it would close the row behind it."""
PAD_CYCLES = 2
"""Of the registers in I/O cells between controller and chip: a cycle to the chip, and one from it."""
CAS_BIT = 4
"""Lowest bit of the CAS latency in the mode register; all others are 0: bursts of one word, in order."""


class Command(IntEnum):
    """A command: RAS, CAS and WE at a rising edge of the clock at which CS is low, 1 where the pin is low."""

    NOP = 0b000
    TERMINATE = 0b001
    READ = 0b010
    WRITE = 0b011
    ACTIVATE = 0b100
    PRECHARGE = 0b101
    REFRESH = 0b110
    MODE = 0b111


@dataclass(frozen=True, kw_only=True)
class SdramTiming:
    """A chip's times in cycles of one clock; all but the last three are the least distance between two commands."""

    cas: int
    """CAS latency: the edge at which a read's word is there, counted from its command's."""
    rcd: int
    """An activate, then a read or write of the bank."""
    rp: int
    """A precharge, then an activate of the bank, or a refresh."""
    ras: int
    """An activate, then a precharge of the bank; long enough for tRC, too."""
    rrd: int
    """An activate, then one of another bank."""
    wr: int
    """A write, then a precharge of the bank."""
    rfc: int
    """A refresh, then any command."""
    mrd: int
    """A mode register's write, then any command."""
    refresh: int
    """Most cycles between two refreshes, on average."""
    power_up: int
    """From a stable clock to the first command."""
    power_up_refreshes: int
    """Refreshes before the mode register is written."""


@dataclass(frozen=True, kw_only=True)
class SdramChip:
    """One chip. Times are in ns, from the datasheet.

    Raises
    ------
    ValueError
        If a field is out of range.
    """

    title: str
    source: str
    """Where the figures come from."""
    bank_bits: int = 2
    row_bits: int
    column_bits: int
    """Column addresses, at most 10: address bit 10 means something else."""
    data_bits: int
    """Width of a word, a multiple of 8."""
    clock_ns: dict[int, float]
    """Per CAS latency, the shortest cycle of the clock."""
    t_rcd: float
    t_rp: float
    t_ras: float
    t_rc: float
    """An activate, then the next of the same bank."""
    t_rrd: float
    t_wr: float
    wr_cycles: int = 1
    """The write recovery is at least this many cycles, too."""
    t_rfc: float
    t_ras_max: float = 100_000
    """The longest that a row may stay open."""
    mrd_cycles: int = 2
    refreshes: int
    """Refreshes in :attr:`retention_ms`."""
    retention_ms: float = 64
    power_up_us: float = 200
    masks: bool = True
    """Whether single bytes of a word can be written: its DQM pins lead somewhere."""
    power_up_refreshes: int = 2

    def __post_init__(self) -> None:
        for name, least, most in (("bank_bits", 1, 2), ("row_bits", 1, 13), ("column_bits", 1, 10)):
            if not least <= getattr(self, name) <= most:
                raise ValueError(f"{name} must be a whole number from {least} to {most}, not {getattr(self, name)!r}")
        if self.data_bits < 8 or self.data_bits % 8:
            raise ValueError(f"data_bits must be a multiple of 8, not {self.data_bits!r}")

    @property
    def address_bits(self) -> int:
        """Width of a word's address: row, bank, column, from the upper end."""
        return self.row_bits + self.bank_bits + self.column_bits

    @property
    def pins(self) -> int:
        """Address pins: for rows, and for columns with the bit of all banks."""
        return max(self.row_bits, ALL_BANKS + 1)

    @property
    def capacity(self) -> int:
        """In bytes."""
        return (self.data_bits // 8) << self.address_bits

    @property
    def refresh_ns(self) -> float:
        """Between two refreshes, on average."""
        return self.retention_ms * 1e6 / self.refreshes

    def timing(self, clock_hz: int) -> SdramTiming:
        """The times in cycles of a clock.

        Raises
        ------
        ValueError
            If the clock is too fast for the chip, or so slow that refreshes leave no time for anything else.
        """
        period = 1e9 / clock_hz

        def cycles(ns: float, least: int = 1) -> int:
            # A millionth of a cycle is rounding, not time.
            return max(least, math.ceil(ns / period - 1e-6))

        fitting = [cas for cas, shortest in sorted(self.clock_ns.items()) if period >= shortest * 0.999]
        if not fitting:
            raise ValueError(
                f"clock_hz must be at most {1e9 / min(self.clock_ns.values()):.0f} ({self.title}), not {clock_hz}"
            )
        rp, refresh = cycles(self.t_rp), math.floor(self.refresh_ns / period)
        timing = SdramTiming(
            cas=fitting[0],
            rcd=cycles(self.t_rcd),
            rp=rp,
            ras=max(cycles(self.t_ras), cycles(self.t_rc) - rp),
            rrd=cycles(self.t_rrd),
            wr=cycles(self.t_wr, self.wr_cycles),
            rfc=cycles(self.t_rfc),
            mrd=self.mrd_cycles,
            refresh=refresh,
            power_up=cycles(self.power_up_us * 1000),
            power_up_refreshes=self.power_up_refreshes,
        )
        if refresh < (least := 4 * (timing.ras + timing.rp + timing.rfc + timing.rcd)):
            slowest = math.ceil(clock_hz * least / max(1, refresh) / 1e5) * 100_000
            raise ValueError(f"clock_hz must be at least about {slowest} ({self.title}), not {clock_hz}")
        return timing


CHIPS = {
    "as4c32m16sb": SdramChip(
        title="Alliance AS4C32M16SB-7",
        source="Alliance Memory, AS4C32M16SB, table 16, grade -7",
        row_bits=13,
        column_bits=10,
        data_bits=16,
        clock_ns={2: 10, 3: 7},
        t_rcd=21,
        t_rp=21,
        t_ras=42,
        t_rc=63,
        t_rrd=14,
        t_wr=14,
        t_rfc=63,
        refreshes=8192,
    ),
    "is42s16160g": SdramChip(
        title="ISSI IS42S16160G-7",
        source="ISSI, IS42S16160A rev. D, grades -7 and -75, and LiteDRAM's IS42S16160, each time the slower figure; "
        "tRCD and tRP with a margin of 1 ns",
        row_bits=13,
        column_bits=9,
        data_bits=16,
        clock_ns={2: 10, 3: 7},
        t_rcd=21,
        t_rp=21,
        t_ras=45,
        t_rc=67.5,
        t_rrd=15,
        t_wr=14,
        wr_cycles=2,
        t_rfc=70,
        refreshes=8192,
        power_up_refreshes=8,
    ),
    "m12l64322a": SdramChip(
        title="ESMT M12L64322A-6",
        source="ESMT, M12L64322A, grade -6, with LiteDRAM's margins; boards have the faster -5",
        row_bits=11,
        column_bits=8,
        data_bits=32,
        clock_ns={2: 10, 3: 6},
        t_rcd=18,
        t_rp=18,
        t_ras=42,
        t_rc=60,
        t_rrd=12,
        t_wr=15,
        wr_cycles=2,
        t_rfc=60,
        refreshes=4096,
        power_up_refreshes=8,
    ),
    "w9825g6kh": SdramChip(
        title="Winbond W9825G6KH-6",
        source="Winbond, W9825G6KH, grade -6; tRRD and tWR, two cycles of any clock there, as those of 7.5 ns",
        row_bits=13,
        column_bits=9,
        data_bits=16,
        clock_ns={2: 7.5, 3: 6},
        t_rcd=15,
        t_rp=15,
        t_ras=42,
        t_rc=60,
        t_rrd=15,
        t_wr=15,
        wr_cycles=2,
        t_rfc=60,
        refreshes=8192,
        power_up_refreshes=8,
    ),
    "m12l16161a": SdramChip(
        title="two ESMT M12L16161A-5 side by side",
        source="ESMT, M12L16161A, with LiteDRAM's geometry and the slower times of M12L64322A here; the Colorlight "
        "5A-75B has two, whose DQM pins are tied",
        bank_bits=1,
        row_bits=11,
        column_bits=8,
        data_bits=32,
        clock_ns={2: 10, 3: 6},
        t_rcd=18,
        t_rp=18,
        t_ras=42,
        t_rc=60,
        t_rrd=12,
        t_wr=15,
        wr_cycles=2,
        t_rfc=60,
        refreshes=4096,
        power_up_refreshes=8,
        masks=False,
    ),
}
"""The chips of boards, by name."""


def find_chip(name: str) -> SdramChip:
    """The chip of this name; ``ValueError`` if there is none."""
    if name not in CHIPS:
        raise ValueError(f"sdram must be one of {', '.join(CHIPS)}, not {name!r}")
    return CHIPS[name]
