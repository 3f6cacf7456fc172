"""The words of a run, one a cycle."""

from __future__ import annotations

from amaranth.hdl import Module, Mux, Signal, signed
from amaranth.lib import data, stream, wiring
from amaranth.lib.wiring import In, Out, connect

from sateen.hw.sdram.pins import Timer, command_layout
from sateen.hw.sdram.runs import run_layout
from sateen.hw.spec.config import ceil_pow2
from sateen.hw.spec.sdram import Command, SdramChip, SdramTiming
from sateen.hw.stream.delay import delayed
from sateen.hw.stream.queue import Queue
from sateen.hw.stream.slice import RegisterSlice

__all__ = ["Columns", "word_layout"]


def word_layout(chip: SdramChip) -> data.StructLayout:
    """A word to write, and which of its bytes are written."""
    return data.StructLayout({"data": chip.data_bits, "enable": chip.data_bits // 8})


class Columns(wiring.Component):
    """Reads or writes the words of a run, whose row is open: a word a cycle while there are words to write, or places
    for those that are read. The next run follows without a gap if it is there by then.

    Words that are read wait in a queue. A read is given only with a place in it.

    Parameters
    ----------
    chip : SdramChip
    timing : SdramTiming
    delay : int
        Cycles to and from the chip's pins, both ways together.

    Members
    -------
    i : In(stream)
        Runs, see :func:`~sateen.hw.sdram.runs.run_layout`. A run must be taken whenever it is offered and can be.
    stop : In(1)
        No word may pass in this cycle; the row may be closed meanwhile, and is open again behind.
    busy : Out(1), bank, row : Out
        A run is under way, and its row.
    w : In(stream)
        Words to write, see :func:`word_layout`; taken when their command is given.
    writes : Out(1)
        The command that is given is a write.
    valid : Out(1), o : Out
        A command is given, see :func:`~sateen.hw.sdram.pins.command_layout`.
    dq : In
        From the chip.
    r : Out(stream)
        Words that were read.
    """

    def __init__(self, chip: SdramChip, timing: SdramTiming, *, delay: int):
        self.chip, self.timing = chip, timing
        # A command is registered before it goes to the chip.
        self.latency = 1 + timing.cas + delay
        self.depth = ceil_pow2(self.latency + 6)
        super().__init__(
            {
                "i": In(stream.Signature(run_layout(chip))),
                "stop": In(1),
                "busy": Out(1),
                "bank": Out(chip.bank_bits),
                "row": Out(chip.row_bits),
                "w": In(stream.Signature(word_layout(chip))),
                "writes": Out(1),
                "valid": Out(1),
                "o": Out(command_layout(chip)),
                "dq": In(chip.data_bits),
                "r": Out(stream.Signature(chip.data_bits)),
            }
        )

    def elaborate(self, platform: object) -> Module:
        m = Module()
        column, write = Signal(self.chip.column_bits), Signal()
        # The words left, less two: the sign says that this is the last.
        left = Signal(signed(self.chip.column_bits + 1))
        room, reads, ends = Signal(init=1), Signal(), Signal()
        turn = Timer(m, self.timing.cas + 1, name="turn")
        turn.start(reads, self.timing.cas + 1)

        may = self.busy & ~self.stop
        m.d.comb += [
            self.writes.eq(may & write & self.w.valid & ~turn.runs),
            self.w.ready.eq(may & write & ~turn.runs),
            reads.eq(may & ~write & room),
            self.valid.eq(self.writes | reads),
            ends.eq(self.valid & (left < 0)),
            self.i.ready.eq(~self.busy | ends),
            self.o.command.eq(Mux(write, Command.WRITE, Command.READ)),
            self.o.bank.eq(self.bank),
            self.o.address.eq(column),
        ]
        m.d.sync += [column.eq(column + self.valid), left.eq(left - self.valid)]
        with m.If(ends):
            m.d.sync += self.busy.eq(0)
        with m.If(self.i.valid & self.i.ready):
            run = self.i.payload
            m.d.sync += [
                self.busy.eq(1),
                write.eq(run.write),
                column.eq(run.column),
                self.bank.eq(run.bank),
                self.row.eq(run.row),
                left.eq(run.length - 1),
            ]

        m.submodules.queue = queue = Queue(self.chip.data_bits, depth=self.depth)
        m.submodules.output = output = RegisterSlice(self.chip.data_bits)
        m.d.comb += [
            queue.i.valid.eq(delayed(m, reads, self.latency, name="arrives", reset=True)),
            queue.i.payload.eq(self.dq),
        ]
        connect(m, queue.o, output.i)
        connect(m, output.o, wiring.flipped(self.r))
        # Places count from a read to the cycle after its word has left the queue.
        used, following = Signal(range(self.depth + 1)), Signal(range(self.depth + 1))
        released = Signal()
        m.d.sync += released.eq(queue.o.valid & queue.o.ready)
        m.d.comb += following.eq(used + reads - released)
        m.d.sync += [used.eq(following), room.eq(following != self.depth)]
        return m
