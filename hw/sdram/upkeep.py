"""What a chip needs whatever is asked of it: initialization and refresh."""

from __future__ import annotations

from collections.abc import Callable

from amaranth.hdl import Module, Mux, Signal, Value, signed
from amaranth.lib import wiring
from amaranth.lib.wiring import In, Out

from sateen.hw.sdram.pins import command_layout
from sateen.hw.spec.sdram import ALL_BANKS, CAS_BIT, Command, SdramChip, SdramTiming

__all__ = ["Upkeep"]


class Upkeep(wiring.Component):
    """Initializes the chip, and refreshes it once in each interval, on average.

    It stops all other commands, closes all banks, refreshes, and opens the row of the run that it interrupted. A
    refresh takes ``tRP + tRFC + tRCD`` cycles and a few more, behind what open banks still need.

    Parameters
    ----------
    chip : SdramChip
    timing : SdramTiming
        Of the chip and the clock.

    Members
    -------
    stop : Out(1)
        No other command may be given, from this cycle on.
    quiet : In(1)
        All banks may be closed, as of the cycle before; counts once ``stop`` has been 1 for a cycle.
    reopen : In(1), bank, row : In
        A run was interrupted, and its row.
    valid : Out(1), o : Out
        A command is given, see :func:`~sateen.hw.sdram.pins.command_layout`.
    closed, reopened : Out(1)
        All banks are closed by it; it opens the row again.
    """

    def __init__(self, chip: SdramChip, timing: SdramTiming):
        self.chip, self.timing = chip, timing
        super().__init__(
            {
                "stop": Out(1, init=1),  # type: ignore[call-arg]
                "quiet": In(1),
                "reopen": In(1),
                "bank": In(chip.bank_bits),
                "row": In(chip.row_bits),
                "valid": Out(1),
                "o": Out(command_layout(chip)),
                "closed": Out(1),
                "reopened": Out(1),
            }
        )

    def elaborate(self, platform: object) -> Module:
        m = Module()
        timing = self.timing
        # Each counter less two, so that its sign says that it is the last cycle, or the last refresh.
        until = Signal(signed(max(timing.power_up, timing.refresh).bit_length() + 1), init=timing.power_up - 2)
        pause = Signal(signed(max(timing.rp, timing.rfc, timing.mrd, timing.rcd, timing.rrd).bit_length() + 1), init=-1)
        refreshes = Signal(signed(timing.power_up_refreshes.bit_length() + 1), init=timing.power_up_refreshes - 2)
        due, booting = Signal(), Signal(init=1)
        m.d.sync += [
            until.eq(Mux(until < 0, timing.refresh - 2, until - 1)),
            pause.eq(Mux(pause < 0, pause, pause - 1)),
        ]

        def give(command: Command, cycles: int) -> None:
            """Gives a command now, and the next one ``cycles`` later."""
            m.d.comb += [self.valid.eq(1), self.o.command.eq(command)]
            m.d.sync += pause.eq(cycles - 2)

        with m.FSM():
            with m.State("power up"):
                with m.If(until < 0):
                    m.next = "close"
            with m.State("run"):
                with m.If(due):
                    m.d.sync += self.stop.eq(1)
                    m.next = "wait"
            with m.State("wait"):
                # `quiet` does not know yet of the last command.
                m.next = "close"
            with m.State("close"):
                with m.If(self.quiet | booting):
                    give(Command.PRECHARGE, timing.rp)
                    m.d.comb += [self.o.address.eq(1 << ALL_BANKS), self.closed.eq(1)]
                    m.next = "refresh"
            with m.State("refresh"):
                with m.If(pause < 0):
                    give(Command.REFRESH, timing.rfc)
                    m.d.sync += due.eq(0)
                    m.d.sync += refreshes.eq(Mux(refreshes < 0, refreshes, refreshes - 1))
                    with m.If(refreshes < 0):
                        m.next = "end"
            with m.State("end"):
                with m.If(pause < 0):
                    m.d.sync += booting.eq(0)
                    self._go_on(m, booting, give)
            with m.State("resume"):
                with m.If(pause < 0):
                    m.d.sync += self.stop.eq(0)
                    m.next = "run"
        with m.If(until < 0):
            m.d.sync += due.eq(1)
        return m

    def _go_on(self, m: Module, booting: Value, give: Callable[[Command, int], None]) -> None:
        """In the state behind the last refresh: sets the mode, or opens the row of a run again, or ends."""
        timing = self.timing
        with m.If(booting):
            give(Command.MODE, timing.mrd)
            m.d.comb += self.o.address.eq(timing.cas << CAS_BIT)
            m.next = "resume"
        with m.Elif(self.reopen):
            give(Command.ACTIVATE, max(timing.rcd, timing.rrd))
            m.d.comb += [self.o.bank.eq(self.bank), self.o.address.eq(self.row), self.reopened.eq(1)]
            m.next = "resume"
        with m.Else():
            m.d.sync += self.stop.eq(0)
            m.next = "run"
