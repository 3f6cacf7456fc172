"""Lookups: two tables in the accumulators' memories combine tensors element by element."""

from __future__ import annotations

from amaranth.hdl import Cat, Const, Module, Mux, Signal, signed
from amaranth.lib import data, stream, wiring
from amaranth.lib.wiring import In, Out

from sateen.hw.multiply import Multiply
from sateen.hw.spec.combining import Combine
from sateen.hw.spec.parameters import TABLE_ENTRIES, table_words
from sateen.hw.stream.delay import FANOUT, delayed, replicated
from sateen.hw.stream.slice import RegisterSlice
from sateen.hw.stream.view import view

__all__ = ["ENTRY", "Combiner", "LookUp", "pair_shape"]

ENTRY = data.StructLayout({"enable": 2, "index": range(TABLE_ENTRIES), "entries": data.ArrayLayout(signed(32), 2)})
"""An entry of each table at ``index``, and an ``enable`` bit for each."""
FACTOR_BITS, SQUARED_BITS = 10, 17


def pair_shape(cols: int) -> data.ArrayLayout:
    """For each of the two tables, a byte of every column."""
    return data.ArrayLayout(data.ArrayLayout(8, cols), 2)


class LookUp(wiring.Component):
    """Writes tables into the accumulators' memories, and joins lines in pairs.

    Each word of weights becomes entries as it is taken, one word per cycle
    (:func:`sateen.hw.spec.parameters.table_words`). Lines are taken at one per cycle while pairs are taken at half that
    rate; a pair is out in the cycle after its second line is taken.

    Parameters
    ----------
    cols : int
        Columns of the tile, 4 or more.
    beat_bytes : int
        Bytes of a line; columns beyond them look up its first byte.
    softmax : bool
        Lines may come alone.
    direct : bool
        Tables may stay from one descriptor to the next.

    Members
    -------
    words : In(stream)
        The tables. Taken while ``open``.
    i : In(stream)
        Lines.
    open : In(1)
        The accumulators' memories are free for tables; these are lost when it falls, but with ``direct``.
    loads : In(1)
        The descriptor has tables; otherwise ``full`` follows ``open``. Steady while ``open``. Only with ``direct``.
    write : Out
        To the accumulators, see :data:`ENTRY`.
    full : Out(1)
        Both tables are complete.
    alone : In(1)
        Each line is both of a pair, and one is taken per cycle. Steady while lines come. Only with ``softmax``.
    o : Out(stream)
        Pairs, see :func:`pair_shape`.
    """

    def __init__(self, *, cols: int, beat_bytes: int, softmax: bool = False, direct: bool = False):
        if cols < 4:
            raise ValueError(f"cols must be 4 or more, not {cols!r}")
        self.cols, self.beat_bytes, self.softmax, self.direct = cols, beat_bytes, softmax, direct
        super().__init__(
            {
                "words": In(stream.Signature(data.ArrayLayout(signed(8), cols))),
                "i": In(stream.Signature(data.ArrayLayout(signed(8), beat_bytes))),
                "open": In(1),
                "write": Out(ENTRY),
                "full": Out(1),
                **({"alone": In(1)} if softmax else {}),
                **({"loads": In(1)} if direct else {}),
                "o": Out(stream.Signature(pair_shape(cols))),
            }
        )

    def elaborate(self, platform: object) -> Module:
        m = Module()
        words = table_words(self.cols)
        count, taken, word = Signal(range(words)), Signal(), self.words.payload.as_value()
        both = words == TABLE_ENTRIES
        entry = view(ENTRY)
        m.d.comb += [
            self.words.ready.eq(self.open & ~self.full),
            taken.eq(self.words.valid & self.words.ready),
            entry.index.eq(count),
            entry.entries[0].eq(word[:32]),
            entry.entries[1].eq(word[32:64] if both else word[:32]),
            entry.enable.eq(Mux(taken, 3 if both else Cat(~count[-1], count[-1]), 0)),
            self.write.eq(entry),
        ]
        with m.If(~self.open):
            m.d.sync += [count.eq(0), self.full.eq(0)]
        with m.Elif(taken):
            m.d.sync += [count.eq(count + 1), self.full.eq(count == words - 1)]
        if self.direct:
            with m.If(self.open & ~self.loads):
                m.d.sync += self.full.eq(1)

        # A pair is the line taken before and the one taken now.
        line = [self.i.payload[column if column < self.beat_bytes else 0] for column in range(self.cols)]
        m.submodules.pairs = pairs = RegisterSlice(data.ArrayLayout(data.ArrayLayout(8, 2), self.cols))
        second, arrives = Signal(), Signal()
        alone = self.alone if self.softmax else Const(0)
        m.d.comb += [
            arrives.eq(self.i.valid & self.i.ready & ~alone if self.softmax else self.i.valid & self.i.ready),
            self.i.ready.eq(pairs.i.ready),
            pairs.i.valid.eq(self.i.valid & (second | alone) if self.softmax else self.i.valid & second),
            self.o.valid.eq(pairs.o.valid),
            pairs.o.ready.eq(self.o.ready),
        ]
        m.d.sync += second.eq(second ^ arrives)
        for_first = replicated(m, platform, second == arrives, -(-self.cols // FANOUT), name="for_first")
        for column, byte in enumerate(line):
            first = Signal.like(byte, name=f"first_{column}", reset_less=True)
            with m.If(for_first[column // FANOUT]):
                m.d.sync += first.eq(byte)
            m.d.comb += pairs.i.payload[column].eq(Cat(Mux(alone, byte, first) if self.softmax else first, byte))
            m.d.comb += [self.o.payload[table][column].eq(pairs.o.payload[column][table]) for table in range(2)]
        return m


class Combiner(wiring.Component):
    """Combines two entries as :class:`sateen.hw.spec.combining.Combine` says. One result per cycle, latency
    ``LATENCY`` = 4 cycles.

    Parameters
    ----------
    squares : bool
        Sums may be squared.

    Members
    -------
    combine : In(2)
        Steady while values are in flight.
    a, b : In
        Entries; or, with ``NONE``, a sum and anything.
    o : Out
        ``a``, ``a + b``, ``a · b`` or, with ``squares``, ``(a + b)²``.
    """

    LATENCY = Multiply.LATENCY + 1

    def __init__(self, *, squares: bool = False) -> None:
        self.squares = squares
        super().__init__({"combine": In(2), "a": In(signed(32)), "b": In(signed(32)), "o": Out(signed(32))})

    def elaborate(self, platform: object) -> Module:
        m = Module()
        bits = SQUARED_BITS if self.squares else FACTOR_BITS
        m.submodules.multiply = multiply = Multiply(a_bits=bits, b_bits=bits)
        adds, multiplies = (self.combine & bit != 0 for bit in (Combine.ADD, Combine.MULTIPLY))
        total, result = Signal(signed(32)), Signal(signed(32), reset_less=True)
        m.d.comb += [
            multiply.a.eq(self.a),
            multiply.b.eq(self.b),
            total.eq(self.a + Mux(adds, self.b, 0)),
            self.o.eq(result),
        ]
        if self.squares:
            with m.If(adds):
                m.d.comb += [multiply.a.eq(total), multiply.b.eq(total)]
        m.d.sync += result.eq(Mux(multiplies, multiply.product, delayed(m, total, Multiply.LATENCY, name="total")))
        return m
