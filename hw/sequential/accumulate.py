"""Accumulators of a sequential engine: one memory a column."""

from __future__ import annotations

from amaranth.hdl import Module, Mux, Signal, signed
from amaranth.lib import data, stream, wiring
from amaranth.lib.memory import Memory
from amaranth.lib.wiring import In, Out
from amaranth.utils import ceil_log2

from sateen.hw.memory import NO_COLLISIONS, last_read
from sateen.hw.stream.delay import delayed, delayed_item
from sateen.hw.stream.view import view
from sateen.hw.sums import SUM_BITS, check_accumulators, partial_sums, tag_shape

__all__ = ["MARK_BITS", "SequentialAccumulators"]

MARK_BITS = 1
"""Width of a tag's address, which only marks position 0: positions are in order, so that the tile need not pass them
on."""


class SequentialAccumulators(wiring.Component):
    """Adds up partial sums by position, in 32 bits; complete sums are read when no partial sums arrive.

    One row of partial sums per cycle, column ``c`` ``c`` cycles after column 0. A position may recur after 2 cycles.
    Sums can be read ``cols`` + 2 cycles after the last of column 0. They wrap at 32 bits.

    Parameters
    ----------
    cols : int
        Columns of the tile.
    positions : int
        Positions, 2 or more.
    sum_bits : int
        Width of a partial sum, at most 32.

    Members
    -------
    i : In(stream), always ready
        As the tile's ``o``. ``tag.address``: the beat is for position 0, else for the position after the last.
    position : In, sums : Out
        A position; its sums a cycle later.
    """

    def __init__(self, *, cols: int, positions: int, sum_bits: int):
        check_accumulators(cols=cols, positions=positions, sum_bits=sum_bits)
        self.cols, self.positions = cols, positions
        partial = partial_sums(cols=cols, sum_bits=sum_bits, tag=tag_shape(MARK_BITS))
        super().__init__(
            {
                "i": In(stream.Signature(partial, always_ready=True)),
                "position": In(ceil_log2(positions)),
                "sums": Out(data.ArrayLayout(signed(SUM_BITS), cols)),
            }
        )

    def elaborate(self, platform: object) -> Module:
        m = Module()
        following = Signal.like(self.position)
        control = view(data.StructLayout({"valid": 1, "first": 1, "position": len(self.position)}))
        m.d.comb += [
            control.valid.eq(self.i.valid),
            control.first.eq(self.i.payload.tag.first),
            control.position.eq(Mux(self.i.payload.tag.address, 0, following)),
        ]
        with m.If(self.i.valid):
            m.d.sync += following.eq(control.position + 1)
        for column in range(self.cols):
            memory: Memory = Memory(shape=signed(SUM_BITS), depth=self.positions, init=[], attrs=NO_COLLISIONS)
            m.submodules[f"column_{column}"] = memory
            write = memory.write_port()
            before = last_read(m, memory, Mux(control.valid, control.position, self.position))
            adding = delayed_item(m, control, name=f"adding_{column}")
            arrived = delayed(m, self.i.payload.sums[column], name=f"arrived_{column}")
            m.d.comb += [
                write.addr.eq(adding.position),
                write.data.eq(arrived + Mux(adding.first, 0, before)),
                write.en.eq(adding.valid),
                self.sums[column].eq(before),
            ]
            control = adding
        return m
