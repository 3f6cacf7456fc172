"""A controller of SDR SDRAM that keeps the data bus busy while words follow one another."""

from __future__ import annotations

from amaranth.hdl import Cat, Module, Mux, Signal
from amaranth.lib import stream, wiring
from amaranth.lib.wiring import In, Out, connect

from sateen.hw.sdram.columns import Columns, word_layout
from sateen.hw.sdram.pins import Timer, command_layout, pins
from sateen.hw.sdram.prepare import Prepare
from sateen.hw.sdram.runs import Runs, request_layout
from sateen.hw.sdram.upkeep import Upkeep
from sateen.hw.spec.sdram import SdramChip
from sateen.hw.stream.slice import RegisterSlice
from sateen.hw.stream.view import view

__all__ = ["SdramController"]


class SdramController(wiring.Component):
    """Reads and writes runs of words, initializes the chip and refreshes it.

    Each word has a read or write command of its own (the chip's bursts are one word long), so that runs of any length
    and place follow one another without a gap. Rows stay open, one in each bank. While the words of one row pass, the
    row of the next run is opened in another bank, which takes two cycles of the command bus.

    Throughput: long sequential runs take a cycle a word, two cycles a row, and a refresh's cycles in each interval
    (:class:`~sateen.hw.sdram.upkeep.Upkeep`). A run in an open row takes 5 cycles at least. One that needs another row
    of the bank takes ``tRP + tRCD`` and up to 6 cycles besides, and the bank must have been open for tRAS. Between a
    read and a write the bus rests for CAS latency + 1 cycles.

    Latency, from the edge at which a request is taken to that at which its first word is, with nothing else under way:
    CAS latency + ``delay`` + 10 cycles where the row is open; up to ``tRCD`` more where the bank is closed.

    Addresses count words: row, bank, column, from the upper end. Requests are executed in order; a read sees all writes
    before it. Nothing is accepted before the chip is initialized (0.1 to 0.2 ms).

    Parameters
    ----------
    chip : SdramChip
    clock_hz : int
        The clock, of the chip too; it decides times and CAS latency.
    delay : int
        Cycles that registers between these ports and the chip's pins add, both ways together. With registers in the
        I/O cells it is 2, and 3 if the chip's clock lags so far that words arrive an edge later.
    length_bits : int
        Width of a request's length.

    Members
    -------
    request : In(stream)
        See :func:`~sateen.hw.sdram.runs.request_layout`.
    w : In(stream)
        The words of all writes in order, see :func:`~sateen.hw.sdram.columns.word_layout`; taken as they are needed.
    r : Out(stream)
        The words of all reads in order. A word that is not taken stalls reads, and everything behind them, but no
        refresh.
    pins : Out
        See :func:`~sateen.hw.sdram.pins.pins`; outputs are registers.
    """

    def __init__(self, *, chip: SdramChip, clock_hz: int, delay: int = 2, length_bits: int = 16):
        if delay < 0:
            raise ValueError(f"delay must be 0 or more, not {delay!r}")
        if length_bits < 1:
            raise ValueError(f"length_bits must be 1 or more, not {length_bits!r}")
        self.chip, self.timing = chip, chip.timing(clock_hz)
        self.delay, self.length_bits = delay, length_bits
        super().__init__(
            {
                "request": In(stream.Signature(request_layout(chip, length_bits))),
                "w": In(stream.Signature(word_layout(chip))),
                "r": Out(stream.Signature(chip.data_bits)),
                "pins": Out(pins(chip)),
            }
        )

    def elaborate(self, platform: object) -> Module:
        m = Module()
        chip, timing = self.chip, self.timing
        m.submodules.runs = runs = Runs(chip, length_bits=self.length_bits)
        m.submodules.upkeep = upkeep = Upkeep(chip, timing)
        m.submodules.prepare = prepare = Prepare(chip, timing)
        m.submodules.columns = columns = Columns(chip, timing, delay=self.delay)
        connect(m, wiring.flipped(self.request), runs.i)
        connect(m, runs.o, prepare.i)
        connect(m, prepare.run, columns.i)
        # What decides whether a word passes is close by.
        m.submodules.words = words = RegisterSlice(self.w.payload.shape())
        connect(m, wiring.flipped(self.w), words.i)
        connect(m, words.o, columns.w)
        connect(m, columns.r, wiring.flipped(self.r))

        closable = Signal(1 << chip.bank_bits)
        for bank in range(1 << chip.bank_bits):
            timer = Timer(m, max(timing.ras, timing.wr) - 2, name=f"closing_{bank}")
            timer.start(columns.writes & (columns.bank == bank), timing.wr - 2)
            timer.start(prepare.opens & (prepare.o.bank == bank), timing.ras - 2)
            timer.start(upkeep.reopened & (columns.bank == bank), timing.ras - 2)
            m.d.comb += closable[bank].eq(~timer.runs)
        m.d.sync += upkeep.quiet.eq(closable.all())
        m.d.comb += [
            upkeep.reopen.eq(columns.busy),
            upkeep.bank.eq(columns.bank),
            upkeep.row.eq(columns.row),
            prepare.stop.eq(upkeep.stop),
            prepare.reopened.eq(upkeep.reopened),
            prepare.closed.eq(upkeep.closed),
            prepare.closable.eq(closable),
            prepare.busy.eq(columns.busy),
            prepare.bank.eq(columns.bank),
            prepare.row.eq(columns.row),
            columns.stop.eq(upkeep.stop | prepare.due),
            columns.dq.eq(self.pins.dq_i),
        ]

        # At most one of the three gives a command.
        given = view(command_layout(chip), name="given")
        choices = [Mux(part.valid, part.o.as_value(), 0) for part in (upkeep, prepare, columns)]
        m.d.sync += [
            given.as_value().eq(choices[0] | choices[1] | choices[2]),
            self.pins.dq_o.eq(columns.w.payload.data),
            self.pins.dq_oe.eq(columns.writes),
            self.pins.dqm.eq(Mux(columns.writes, ~columns.w.payload.enable, 0)),
        ]
        m.d.comb += [
            Cat(self.pins.we, self.pins.cas, self.pins.ras).eq(given.command),
            self.pins.ba.eq(given.bank),
            self.pins.a.eq(given.address),
        ]
        return m
