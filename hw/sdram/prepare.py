"""Rows are opened before their words are needed."""

from __future__ import annotations

from amaranth.hdl import Array, Module, Signal
from amaranth.lib import data, stream, wiring
from amaranth.lib.wiring import In, Out

from sateen.hw.sdram.pins import Timer, command_layout
from sateen.hw.sdram.runs import run_layout
from sateen.hw.spec.sdram import Command, SdramChip, SdramTiming
from sateen.hw.stream.view import view

__all__ = ["Prepare"]


class Prepare(wiring.Component):
    """Opens the row of the next run, and hands the run on once its words may be read or written.

    A run of an open row takes 5 cycles, if the one before is over by then; else it waits, ready. If another row of its
    bank is open, that one is closed, but not while the run before uses the bank.

    Parameters
    ----------
    chip : SdramChip
    timing : SdramTiming

    Members
    -------
    i : In(stream), run : Out(stream)
        Runs, see :func:`~sateen.hw.sdram.runs.run_layout`. Unlike elsewhere, ``run.valid`` falls when ``stop`` rises.
    stop, closed, reopened : In(1)
        Of :class:`~sateen.hw.sdram.upkeep.Upkeep`.
    closable : In
        Per bank, whether a precharge may be given in the next cycle.
    busy : In(1), bank, row : In
        The run before is under way, and its row.
    due : Out(1)
        No word may pass in this cycle.
    valid : Out(1), o : Out
        A command is given, see :func:`~sateen.hw.sdram.pins.command_layout`.
    opens : Out(1)
        It opens a row.
    """

    def __init__(self, chip: SdramChip, timing: SdramTiming):
        self.chip, self.timing = chip, timing
        super().__init__(
            {
                "i": In(stream.Signature(run_layout(chip))),
                "run": Out(stream.Signature(run_layout(chip))),
                "stop": In(1),
                "closed": In(1),
                "reopened": In(1),
                "closable": In(1 << chip.bank_bits),
                "busy": In(1),
                "bank": In(chip.bank_bits),
                "row": In(chip.row_bits),
                "due": Out(1),
                "valid": Out(1),
                "o": Out(command_layout(chip)),
                "opens": Out(1),
            }
        )

    def elaborate(self, platform: object) -> Module:
        m = Module()
        banks = range(1 << self.chip.bank_bits)
        next_run = view(run_layout(self.chip), name="next_run")
        rows = Array(Signal(self.chip.row_bits, name=f"row_{bank}", reset_less=True) for bank in banks)
        opened = Signal(len(banks))
        closes, ready, is_open, same = Signal(), Signal(), Signal(), Signal()
        # Banks other than this run's were opened earlier; what counts for one counts for all.
        step = Timer(m, max(self.timing.rp - 2, self.timing.rcd - 3), name="step")
        apart = Timer(m, self.timing.rrd - 2, name="apart")
        step.start(closes, self.timing.rp - 2)
        step.start(self.opens, self.timing.rcd - 3)
        apart.start(self.opens, self.timing.rrd - 2)

        m.d.comb += [
            self.run.payload.eq(next_run),
            self.run.valid.eq(ready & ~self.stop),
            self.valid.eq(self.due & ~self.stop),
            self.o.bank.eq(next_run.bank),
            closes.eq(self.valid & opened.bit_select(next_run.bank, 1)),
            self.opens.eq(self.valid & ~opened.bit_select(next_run.bank, 1)),
        ]
        with m.If(self.opens):
            m.d.comb += [self.o.command.eq(Command.ACTIVATE), self.o.address.eq(next_run.row)]
        with m.Else():
            m.d.comb += self.o.command.eq(Command.PRECHARGE)

        with m.If(self.opens):
            m.d.sync += [opened.bit_select(next_run.bank, 1).eq(1), rows[next_run.bank].eq(next_run.row)]
        with m.If(closes):
            m.d.sync += opened.bit_select(next_run.bank, 1).eq(0)
        with m.If(self.closed):
            m.d.sync += opened.eq(0)
        with m.If(self.reopened):
            m.d.sync += [opened.bit_select(self.bank, 1).eq(1), rows[self.bank].eq(self.row)]

        m.d.sync += [self.due.eq(0), ready.eq(0)]
        with m.FSM():
            with m.State("take"):
                m.d.comb += self.i.ready.eq(1)
                m.d.sync += next_run.eq(self.i.payload)
                with m.If(self.i.valid):
                    m.next = "look"
            with m.State("look"):
                m.d.sync += [
                    is_open.eq(opened.bit_select(next_run.bank, 1)),
                    same.eq(rows[next_run.bank] == next_run.row),
                ]
                with m.If(~self.stop):
                    m.next = "decide"
            self._prepare(m, next_run, is_open=is_open, same=same, ready=ready, step=step, apart=apart)
        return m

    def _prepare(
        self, m: Module, next_run: data.View, *, is_open: Signal, same: Signal, ready: Signal, step: Timer,
        apart: Timer,
    ) -> None:  # fmt: skip
        """The states from the decision upon a run's row until the run is handed on.

        They decide upon a command a cycle before it is given: nothing but ``stop`` can come between. Behind a stop,
        which closes all banks, the run is looked at anew.
        """
        with m.State("decide"):
            with m.If(self.stop):
                m.next = "look"
            with m.Elif(~is_open):
                m.next = "open"
            with m.Elif(same):
                m.next = "ready"
            with m.Else():
                m.next = "close"
        with m.State("close"):
            in_use = self.busy & (self.bank == next_run.bank)
            with m.If(self.stop):
                m.next = "look"
            with m.Elif(self.due):
                m.next = "open"
            with m.Else():
                m.d.sync += self.due.eq(self.closable.bit_select(next_run.bank, 1) & ~in_use)
        with m.State("open"):
            with m.If(self.stop):
                m.next = "look"
            with m.Elif(self.due):
                m.next = "ready"
            with m.Else():
                m.d.sync += self.due.eq(~step.runs & ~apart.runs)
        with m.State("ready"):
            with m.If(self.stop):
                m.next = "look"
            with m.Elif(self.run.valid & self.run.ready):
                m.next = "take"
            with m.Else():
                m.d.sync += ready.eq(~step.runs)
