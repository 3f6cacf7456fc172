"""Accumulators: sums over the tiles of a reduction, in two halves of memory."""

from __future__ import annotations

from amaranth.hdl import Const, Module, Mux, Signal, Value, signed
from amaranth.lib import data, stream, wiring
from amaranth.lib.wiring import In, Out
from amaranth.utils import ceil_log2

from sateen.hw.memory import Block
from sateen.hw.pipelined.lookup import ENTRY, pair_shape
from sateen.hw.spec.descriptor import TABLE_ENTRIES
from sateen.hw.stream.delay import TOGETHER, copied, delayed, delayed_item
from sateen.hw.tile import tag_shape

__all__ = ["Accumulators", "check_sizes"]


def check_sizes(*, cols: int, positions: int, sum_bits: int) -> None:
    """``ValueError`` if there are no such accumulators."""
    if cols < 1:
        raise ValueError(f"cols must be 1 or more, not {cols!r}")
    if positions < 2:
        raise ValueError(f"positions must be 2 or more, not {positions!r}")
    if not 1 <= sum_bits <= 32:
        raise ValueError(f"sum_bits must be 1 to 32, not {sum_bits!r}")


class Accumulators(wiring.Component):
    """Adds up partial sums by position, all 32 bits, in one half of the memory while the other is read.

    One row of partial sums per cycle, never held back: whoever sends a beat sees to it that a half is free. Column
    ``c`` works ``c`` cycles after column 0, as the tile's sums come. The same position may come again ``REVISIT`` = 4
    cycles later or after. A half is ``full`` ``cols + 5`` cycles after its ``last`` beat. Sums wrap at 32 bits.

    Where each sum is that of one beat, a half may be two: up to four parts are complete or filling then, those of a
    memory at other positions each, and the two memories still take turns.

    With ``tables`` the memories of the two halves can hold one table each instead, the same in every column. Only while
    nothing else is in them: beats make them sums again.

    Parameters
    ----------
    cols : int
        Columns of the tile.
    positions : int
        Positions of a half, 2 or more.
    sum_bits : int
        Width of a partial sum, at most 32.
    tables : bool
        The halves hold tables, too.

    Members
    -------
    i : In(stream), always ready
        As the tile's ``o``. ``tag.first``: the sum begins with this beat; ``tag.last``: the half is complete with it,
        and the next beat goes to the other.
    full : Out(1)
        The half that is read is complete.
    drained : In(1)
        Done with it: from the next cycle on the other one is read, and beats may come to this one from the third on.
        Only while ``full``.
    r_address : In, sums : Out
        A position of the half that is read; its sums ``LATENCY`` = 5 cycles later, all columns at once.
    write : In
        Entries of the tables, for all columns, to be written a cycle later; only with ``tables``, like the following.
    look_up : In(1), pair : In, seconds : Out
        In place of ``r_address``: bytes whose entries are looked up, those of table 0 to be ``sums`` and those of table
        1 ``seconds``.
    """

    REVISIT = 4
    LATENCY = 5

    def __init__(self, *, cols: int, positions: int, sum_bits: int, tables: bool = False):
        check_sizes(cols=cols, positions=positions, sum_bits=sum_bits)
        if tables and positions < TABLE_ENTRIES:
            raise ValueError(f"positions must be {TABLE_ENTRIES} or more with tables, not {positions!r}")
        self.cols, self.positions, self.tables = cols, positions, tables
        address = ceil_log2(positions)
        sums = data.ArrayLayout(signed(32), cols)
        looking = {"write": In(ENTRY), "look_up": In(1), "pair": In(pair_shape(cols)), "seconds": Out(sums)}
        super().__init__(
            {
                "i": In(
                    stream.Signature(
                        data.StructLayout(
                            {"sums": data.ArrayLayout(signed(sum_bits), cols), "tag": tag_shape(address)}
                        ),
                        always_ready=True,
                    )
                ),
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
        # Those that are complete, less one.
        complete_parts = Signal(signed(4), init=-1)
        m.d.sync += complete_parts.eq(complete_parts + complete - self.drained)
        m.d.comb += self.full.eq(complete_parts >= 0)

        control = Signal(
            data.StructLayout({"valid": 1, "half": 1, "first": 1, "reads": 2, "address": len(tag.address)})
        )
        m.d.comb += [
            control.valid.eq(self.i.valid),
            control.half.eq(writing),
            control.first.eq(tag.first),
            control.reads.eq(Mux(self.i.valid & ~tag.first, Mux(writing, 2, 1), 0)),
            control.address.eq(tag.address),
        ]
        control = delayed_item(m, control, name="control")
        half, copies = Signal(), -(-self.cols // TOGETHER)
        m.d.sync += half.eq(reading & ~self.look_up if self.tables else reading)
        halves = copied(m, platform, delayed(m, half, 2, name="half"), copies, name="half")
        positions = copied(m, platform, self.r_address, copies, name="position")
        writes = copied(m, platform, self._entries(m), copies, name="write") if self.tables else [None] * copies
        look_ups = copied(m, platform, self.look_up, copies, name="look_up") if self.tables else [None] * copies
        for column in range(self.cols):
            copy = column // TOGETHER
            write = None if writes[copy] is None else data.View(ENTRY, writes[copy])
            wanted = [positions[copy]] * 2
            if self.tables:
                pair = [delayed(m, line[column], name=f"pair_{column}_{table}") for table, line in enumerate(self.pair)]
                wanted = [Mux(look_ups[copy], byte, position) for byte, position in zip(pair, wanted, strict=True)]
            self._column(m, column, control, wanted, halves[copy], write)
            control = delayed_item(m, control, name=f"control_of_{column + 1}")
        return m

    def _entries(self, m: Module) -> Value:
        """What is written of the tables; zeros for one that is not."""
        entry = Signal(ENTRY)
        m.d.comb += entry.eq(self.write)
        m.d.comb += [
            entry.entries[table].eq(Mux(self.write.enable[table], self.write.entries[table], 0)) for table in range(2)
        ]
        return entry.as_value()

    def _column(
        self, m: Module, column: int, control: data.View, wanted: list[Value], reading: Signal, table: data.View | None
    ) -> None:
        """One column: read and add in one half, read what is ``wanted`` in the other."""
        name = f"column_{column}"
        adding = delayed_item(m, control, 2, name=f"{name}_adding")
        writing = delayed_item(m, adding, name=f"{name}_writing")
        arrived = delayed(m, self.i.payload.sums[column], 3, name=f"{name}_arrived")
        outputs = []
        total = Signal(signed(32), name=f"{name}_total", reset_less=True)
        for half in range(2):
            m.submodules[f"{name}_half_{half}"] = memory = Block(lanes=4, depth=self.positions, whole=True)
            output = Signal(signed(32), name=f"{name}_output_{half}")
            entry = Const(0) if table is None else table.enable[half]
            address = delayed(m, wanted[half], name=f"{name}_wanted_{half}")
            # Sums that begin are not read: beside those of one half another's in the same memory are drained.
            m.d.comb += [
                memory.r_address.eq(Mux(control.reads[half], control.address, address)),
                memory.w_address.eq(writing.address if table is None else Mux(entry, table.index, writing.address)),
                memory.w_data.as_value().eq(total if table is None else total | table.entries[half]),
                memory.w_enable.eq((entry | (writing.valid & (writing.half == half))).replicate(4)),
                output.eq(memory.r_data.as_value()),
            ]
            outputs.append(output)
        before = Mux(adding.half, outputs[1], outputs[0])
        m.d.sync += total.eq(Mux(adding.first, 0, before) + arrived)
        if self.tables:
            # As entries are zero without a table: neither is chosen, they are joined.
            with m.If(~adding.valid):
                m.d.sync += total.eq(0)

        m.d.comb += self.sums[column].eq(delayed(m, Mux(reading, outputs[1], outputs[0]), name=f"{name}_sums"))
        if self.tables:
            m.d.comb += self.seconds[column].eq(delayed(m, outputs[1], name=f"{name}_second"))
