"""The controller of SDRAM: no request, word or pause makes it break a rule of the chip, or lets a refresh come late.

The chip is a small one, of two banks with two rows of two words. The rules are counted anew at the pins. The bench
(:mod:`sateen.testing.benches.sdram`) sees real chips, and the words.
"""

from __future__ import annotations

import dataclasses

import pytest
from amaranth.hdl import Assert, Cat, Cover, Module, Mux, Signal

from prove import free, prove
from sateen.hw.sdram.controller import SdramController
from sateen.hw.spec.sdram import ALL_BANKS, Command, SdramChip, SdramTiming

CLOCK_HZ = 100_000_000
CYCLE_NS = 1e9 / CLOCK_HZ
REFRESH_CYCLES = 30
CYCLES = 64
"""From power-up: some 40 cycles of traffic, and two refreshes or three."""


class BriefChip(SdramChip):
    """A chip with refreshes so frequent that some come within a proof, which leaves little time for anything else."""

    def timing(self, clock_hz: int) -> SdramTiming:
        slow = dataclasses.replace(self, retention_ms=1)
        return dataclasses.replace(SdramChip.timing(slow, clock_hz), refresh=REFRESH_CYCLES)


QUICK = BriefChip(
    title="two banks of two rows of two words", source="none", bank_bits=1, row_bits=1, column_bits=1, data_bits=8,
    clock_ns={2: 10}, t_rcd=20, t_rp=20, t_ras=40, t_rc=60, t_rrd=20, t_wr=20, t_rfc=40, refreshes=1,
    retention_ms=REFRESH_CYCLES * CYCLE_NS / 1e6, power_up_us=0.03, power_up_refreshes=1,
)  # fmt: skip
SLOW = dataclasses.replace(QUICK, t_rcd=40, t_rp=30, t_ras=50, t_rc=90, t_rrd=30, t_wr=30, clock_ns={3: 10})


class Since:
    """Cycles since an event, at most ``limit``, from the cycle behind it on."""

    def __init__(self, m: Module, limit: int, *, name: str, init: int | None = None):
        self.m, self.count = m, Signal(range(limit + 1), init=limit if init is None else init, name=name)
        self.limit = limit
        m.d.sync += self.count.eq(Mux(self.count == limit, limit, self.count + 1))

    def restart(self) -> None:
        self.m.d.sync += self.count.eq(1)

    def holds(self, cycles: int) -> None:
        """Asserts that the event is so long ago."""
        assert cycles <= self.limit
        self.m.d.comb += Assert(self.count >= cycles)


def rules(m: Module, chip: SdramChip) -> None:
    """No rule is broken, and at most one refresh is owed."""
    m.submodules.dut = dut = SdramController(chip=chip, clock_hz=CLOCK_HZ, delay=0, length_bits=2)
    free(m, dut)

    def cycles(ns: float) -> int:
        return round(ns / CYCLE_NS)

    pins, longest = dut.pins, cycles(chip.t_rc)
    command = Cat(pins.we, pins.cas, pins.ras)
    banks = range(1 << chip.bank_bits)
    opened = [Signal(name=f"opened_{bank}") for bank in banks]
    activated = [Since(m, longest, name=f"activated_{bank}") for bank in banks]
    closed = [Since(m, longest, name=f"closed_{bank}") for bank in banks]
    written = [Since(m, longest, name=f"written_{bank}") for bank in banks]
    any_activated, refreshed = Since(m, longest, name="any_activated"), Since(m, longest, name="refreshed")
    mode = Since(m, longest, name="mode")
    power = Since(m, cycles(chip.power_up_us * 1000), name="power", init=0)
    all_closed, refreshes, has_mode = Signal(), Signal(range(chip.power_up_refreshes + 1)), Signal()
    ready = all_closed & (refreshes == chip.power_up_refreshes) & has_mode

    with m.If(command != Command.NOP):
        power.holds(power.limit)
        refreshed.holds(cycles(chip.t_rfc))
        mode.holds(chip.mrd_cycles)
    with m.Switch(command):
        with m.Case(Command.ACTIVATE):
            m.d.comb += Assert(ready)
            any_activated.holds(cycles(chip.t_rrd))
            any_activated.restart()
        with m.Case(Command.REFRESH, Command.MODE):
            m.d.comb += Assert(all_closed & ~Cat(opened).any())
            for bank in banks:
                closed[bank].holds(cycles(chip.t_rp))
        with m.Case(Command.PRECHARGE):
            with m.If(pins.a[ALL_BANKS]):
                m.d.sync += all_closed.eq(1)
        with m.Case(Command.TERMINATE):
            m.d.comb += Assert(0)
    with m.If(command == Command.REFRESH):
        refreshed.restart()
        m.d.sync += refreshes.eq(Mux(refreshes == chip.power_up_refreshes, refreshes, refreshes + 1))
    with m.If(command == Command.MODE):
        mode.restart()
        m.d.sync += has_mode.eq(1)
        m.d.comb += Assert(pins.a == chip.timing(CLOCK_HZ).cas << 4)
    for bank in banks:
        here = pins.ba == bank
        with m.If((command == Command.ACTIVATE) & here):
            m.d.comb += Assert(~opened[bank])
            activated[bank].holds(cycles(chip.t_rc))
            closed[bank].holds(cycles(chip.t_rp))
            activated[bank].restart()
            m.d.sync += opened[bank].eq(1)
        with m.If(((command == Command.READ) | (command == Command.WRITE)) & here):
            m.d.comb += Assert(opened[bank] & ~pins.a[ALL_BANKS])
            activated[bank].holds(cycles(chip.t_rcd))
        with m.If((command == Command.WRITE) & here):
            m.d.comb += Assert(pins.dq_oe)
            written[bank].restart()
        with m.If((command == Command.PRECHARGE) & (here | pins.a[ALL_BANKS])):
            with m.If(opened[bank]):
                activated[bank].holds(cycles(chip.t_ras))
                written[bank].holds(max(cycles(chip.t_wr), chip.wr_cycles))
            closed[bank].restart()
            m.d.sync += opened[bank].eq(0)

    # The bus: the chip's at CAS latency edges from a read, and let go of one later.
    cas = chip.timing(CLOCK_HZ).cas
    reads = Signal(cas + 1)
    m.d.sync += reads.eq(Cat(command == Command.READ, reads))
    m.d.comb += Assert(~(pins.dq_oe & (reads[cas - 1] | reads[cas])))
    m.d.comb += Assert(~pins.dq_oe | (command == Command.WRITE))

    # Refreshes: one in each interval, one interval late at most.
    interval = cycles(chip.refresh_ns)
    passed, owed = Signal(range(interval)), Signal(2)
    due, done = passed == interval - 1, command == Command.REFRESH
    with m.If(ready):
        m.d.sync += [passed.eq(Mux(due, 0, passed + 1)), owed.eq(owed + due - (done & (owed != 0)))]
    m.d.comb += Assert(owed < 2)

    busy = Signal(3)
    with m.If((command == Command.READ) | (command == Command.WRITE)):
        m.d.sync += busy.eq(busy | (1 << pins.ba) | ((command == Command.WRITE) << 2))
    m.d.comb += Cover((busy == 7) & (command == Command.REFRESH))


@pytest.mark.prove
@pytest.mark.parametrize("chip", [QUICK, SLOW], ids=["quick", "slow"])
def test_rules(chip):
    prove(lambda m: rules(m, chip), depth=CYCLES, cover=CYCLES)
