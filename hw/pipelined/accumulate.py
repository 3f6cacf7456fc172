"""Accumulators: sums over the tiles of a reduction, in two halves of memory."""

from __future__ import annotations

from amaranth.hdl import Const, Module, Mux, Signal, Value, signed
from amaranth.lib import data, stream, wiring
from amaranth.lib.wiring import In, Out
from amaranth.utils import ceil_log2

from sateen.hw.memory import Block
from sateen.hw.pipelined.lookup import ENTRY, pair_shape
from sateen.hw.spec.parameters import TABLE_ENTRIES
from sateen.hw.spec.timing import REVISIT_CYCLES
from sateen.hw.stream.delay import FANOUT, delayed, delayed_item, replicated
from sateen.hw.stream.view import view
from sateen.hw.sums import SUM_BITS, check_accumulators, partial_sums, tag_shape

__all__ = ["Accumulators"]


class Accumulators(wiring.Component):
    """Adds up partial sums by position, in 32 bits, in one half of the memory while the other is read.

    One row of partial sums per cycle, no back-pressure: the sender of a beat must know that a half is free. Column
    ``c`` works ``c`` cycles after column 0, as the tile's sums arrive. A position may recur after ``REVISIT`` = 4
    cycles. A half is ``full`` ``cols + 5`` cycles after its ``last`` beat. Sums wrap at 32 bits.

    Where each sum is that of one beat, a half may be divided in two. Then up to four parts are complete or filling, at
    different positions if they share a memory, and the two memories still alternate.

    With ``tables`` the memories of the two halves can hold a table each instead, the same in every column, while they
    hold no sums; beats overwrite the tables, unless these are ``apart``.

    Parameters
    ----------
    cols : int
        Columns of the tile.
    positions : int
        Positions of a half, 2 or more.
    sum_bits : int
        Width of a partial sum, at most 32.
    tables : bool
        The halves can hold tables, too.
    apart : bool
        Behind their positions, so that tables stay.
    in_place : bool
        Beats with ``tag.stay`` are added to the sums of the beat before, whatever its distance, so that the memory is
        not read for them. They may be in divided halves.
    logic : bool
        The memories are made of LUTs.

    Members
    -------
    i : In(stream), always ready
        As the tile's ``o``. After a beat with ``tag.last`` the next one goes to the other half.
    full : Out(1)
        The half that is read is complete.
    drained : In(1)
        Releases that half: the other one is read from the next cycle on, and beats may come to this one from the third
        on. Only while ``full``.
    r_address : In, sums : Out
        A position of the half that is read; its sums ``LATENCY`` = 5 cycles later, all columns at once.
    write : In
        Table entries for all columns, written a cycle later; only with ``tables``, like the following.
    look_up : In(1), pair : In, second_entries : Out
        Replaces ``r_address`` by bytes whose entries are looked up: those of table 0 come as ``sums``, those of table 1
        as ``second_entries``.
    """

    REVISIT = REVISIT_CYCLES
    LATENCY = 5

    def __init__(
        self, *, cols: int, positions: int, sum_bits: int, tables: bool = False, apart: bool = False,
        in_place: bool = False, logic: bool = False,
    ):  # fmt: skip
        check_accumulators(cols=cols, positions=positions, sum_bits=sum_bits)
        if tables and not apart and positions < TABLE_ENTRIES:
            raise ValueError(f"positions must be {TABLE_ENTRIES} or more with tables, not {positions!r}")
        self.cols, self.positions, self.tables, self.in_place = cols, positions, tables, in_place
        self.logic = logic
        # The larger part first, so that an address has a bit more, and nothing is added.
        larger = max(positions, TABLE_ENTRIES) if apart else 0
        self.first_entry, self.first_sum = (larger, 0) if positions >= TABLE_ENTRIES else (0, larger)
        self.depth = larger + min(positions, TABLE_ENTRIES) if apart else positions
        """Where tables and sums begin, and where the memory ends."""
        address = ceil_log2(positions)
        partial = partial_sums(cols=cols, sum_bits=sum_bits, tag=tag_shape(address, in_place=in_place))
        sums = data.ArrayLayout(signed(SUM_BITS), cols)
        looking = {"write": In(ENTRY), "look_up": In(1), "pair": In(pair_shape(cols)), "second_entries": Out(sums)}
        super().__init__(
            {
                "i": In(stream.Signature(partial, always_ready=True)),
                "full": Out(1),
                "drained": In(1),
                "r_address": In(address),
                "sums": Out(sums),
                **(looking if tables else {}),
            }
        )

    def elaborate(self, platform: object) -> Module:
        m = Module()
        tag = self.i.payload.tag
        writing, reading = Signal(), Signal()
        complete = Signal()
        m.d.comb += complete.eq(self.i.valid & tag.last)
        m.d.sync += [writing.eq(writing ^ complete), reading.eq(reading ^ self.drained)]

        # The last column's last sum is in memory when the pulse arrives.
        complete = delayed(m, complete, self.cols + self.REVISIT, name="complete", reset=True)
        # Parts that are complete, less one.
        complete_parts = Signal(signed(4), init=-1)
        m.d.sync += complete_parts.eq(complete_parts + complete - self.drained)
        m.d.comb += self.full.eq(complete_parts >= 0)

        stay = {"stay": 1} if self.in_place else {}
        control = view(
            data.StructLayout({"valid": 1, "half": 1, "first": 1, "reads": 2, "address": len(tag.address), **stay})
        )
        reads = ~tag.first & ~tag.stay if self.in_place else ~tag.first
        m.d.comb += [
            control.valid.eq(self.i.valid),
            control.half.eq(writing),
            control.first.eq(tag.first),
            control.reads.eq(Mux(self.i.valid & reads, Mux(writing, 2, 1), 0)),
            control.address.eq(tag.address),
            *([control.stay.eq(tag.stay)] if self.in_place else []),
        ]
        control = delayed_item(m, control, name="control")
        half, copies = Signal(), -(-self.cols // FANOUT)
        m.d.sync += half.eq(reading & ~self.look_up if self.tables else reading)
        halves = replicated(m, platform, delayed(m, half, 2, name="half"), copies, name="half")
        positions = replicated(m, platform, self.r_address, copies, name="position")
        writes = replicated(m, platform, self._entries(m), copies, name="write") if self.tables else [None] * copies
        look_ups = replicated(m, platform, self.look_up, copies, name="look_up") if self.tables else [None] * copies
        for column in range(self.cols):
            copy = column // FANOUT
            write = None if writes[copy] is None else data.View(ENTRY, writes[copy])
            wanted: list[Value] = [self._position(positions[copy])] * 2
            if self.tables:
                pair = [delayed(m, line[column], name=f"pair_{column}_{table}") for table, line in enumerate(self.pair)]
                wanted = [
                    Mux(look_ups[copy], self._place(byte), position)
                    for byte, position in zip(pair, wanted, strict=True)
                ]
            self._column(m, column, control, wanted, halves[copy], write, clear=look_ups[copy])
            control = delayed_item(m, control, name=f"control_of_{column + 1}")
        return m

    def _place(self, index: Value) -> Value:
        """Where a table's entry stands."""
        return index | self.first_entry if self.first_entry else index

    def _position(self, position: Value) -> Value:
        """Where a position's sum stands."""
        return position | self.first_sum if self.first_sum else position

    def _entries(self, m: Module) -> Value:
        """The table entries to write; zero for a table that is not written."""
        entry = view(ENTRY)
        m.d.comb += entry.eq(self.write)
        m.d.comb += [
            entry.entries[table].eq(Mux(self.write.enable[table], self.write.entries[table], 0)) for table in range(2)
        ]
        return entry.as_value()

    def _column(
        self, m: Module, column: int, control: data.View, wanted: list[Value], reading: Signal, table: data.View | None,
        *, clear: Value | None,
    ) -> None:  # fmt: skip
        """One column: adds in one half, and reads what is ``wanted`` in the other. ``clear``: no sums are needed."""
        name = f"column_{column}"
        adding = delayed_item(m, control, 2, name=f"{name}_adding")
        writing = delayed_item(m, adding, name=f"{name}_writing")
        arrived = delayed(m, self.i.payload.sums[column], 3, name=f"{name}_arrived")
        outputs = []
        total = Signal(signed(SUM_BITS), name=f"{name}_total", reset_less=True)
        for half in range(2):
            m.submodules[f"{name}_half_{half}"] = memory = Block(
                lanes=4, depth=self.depth, whole=True, logic=self.logic
            )  # fmt: skip
            output = Signal(signed(SUM_BITS), name=f"{name}_output_{half}")
            entry = Const(0) if table is None else table.enable[half]
            address = delayed(m, wanted[half], name=f"{name}_wanted_{half}")
            # Sums that begin are not read: another part in the same memory may be drained meanwhile.
            m.d.comb += [
                memory.r_address.eq(Mux(control.reads[half], self._position(control.address), address)),
                memory.w_address.eq(
                    self._position(writing.address)
                    if table is None
                    else Mux(entry, self._place(table.index), self._position(writing.address))
                ),
                memory.w_data.as_value().eq(total if table is None else total | table.entries[half]),
                memory.w_enable.eq((entry | (writing.valid & (writing.half == half))).replicate(4)),
                output.eq(memory.r_data.as_value()),
            ]
            outputs.append(output)
        before = Mux(adding.half, outputs[1], outputs[0])
        if self.in_place:
            before = Mux(adding.stay, total, before)
        m.d.sync += total.eq(Mux(adding.first, 0, before) + arrived)
        if self.tables or self.in_place:
            # Entries are zero while no table is written, sums while no beat comes: an OR joins them.
            kept = total if clear is None else Mux(clear, 0, total)
            with m.If(~adding.valid):
                m.d.sync += total.eq(kept if self.in_place else 0)

        m.d.comb += self.sums[column].eq(delayed(m, Mux(reading, outputs[1], outputs[0]), name=f"{name}_sums"))
        if self.tables:
            m.d.comb += self.second_entries[column].eq(delayed(m, outputs[1], name=f"{name}_second"))
