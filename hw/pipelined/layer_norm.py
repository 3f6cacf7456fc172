"""Layer normalization of rows as onnxruntime rounds it: each row passes one unit of float32 three times."""

from __future__ import annotations

from amaranth.hdl import Cat, Module, Mux, Signal, Value, signed
from amaranth.lib import data, stream, wiring
from amaranth.lib.wiring import In, Out
from amaranth.utils import ceil_log2

from sateen.hw.float32 import Fused, Quotient
from sateen.hw.pipelined.row_passes import BYTE, LayerRegisters, RowPasses, Write
from sateen.hw.spec.layer_norm import HEAD_RECORDS, LIMIT_RECORDS, LONGEST_ROWS, UNIT_BITS

__all__ = ["LayerNorm"]


class LayerNorm(wiring.Component):
    """Lines of rows become the lines of the normalized rows; other layers' lines pass unchanged, and so do words.

    A layer's words begin with its records (:mod:`sateen.hw.spec.layer_norm`), which are kept; those behind are passed
    on. Then lines are taken that come twice, one pair after the other, a byte a cycle, and each line of results is
    given twice. A row of n values takes ``row_cycles(n)`` cycles from its first line to the next row's
    (:func:`sateen.hw.spec.timing.row_cycles`), if its lines are there: in a first pass, a cycle a value, codes become
    numbers, and their sum is exact; in a second one, of two cycles, the mean is subtracted, and eight sums of squares
    are made; in the third one, of three cycles, values are scaled, moved and counted in steps of the result. The next
    code is then found by the limit between both. Bit-exact model: :func:`sateen.sim.golden.layer_norm`.

    Parameters
    ----------
    cols : int
        Columns of the tile, 4 or more.
    beat_bytes : int
        Bytes of a line.
    longest : int
        Most values of a row, a power of two.

    Members
    -------
    on : In(1)
        The layer normalizes. Steady while words and lines come; while low, everything is forgotten.
    go : In(1)
        Lines may be taken: results will be, too, before those of the next line are there.
    words : In(stream), passed : Out(stream)
        Words of the weight store.
    i : In(stream), o : Out(stream)
        Lines.
    """

    def __init__(self, *, cols: int, beat_bytes: int, longest: int):
        if cols < 4:
            raise ValueError(f"cols must be 4 or more, not {cols!r}")
        if not LONGEST_ROWS[0] <= longest <= LONGEST_ROWS[1] or longest & longest - 1:
            raise ValueError(
                f"longest must be a power of two from {LONGEST_ROWS[0]} to {LONGEST_ROWS[1]}, not {longest!r}"
            )
        self.cols, self.beat_bytes, self.longest = cols, beat_bytes, longest
        self.width = min(cols, beat_bytes)
        self.index_bits = ceil_log2(longest)
        word, line = data.ArrayLayout(signed(8), cols), data.ArrayLayout(signed(8), beat_bytes)
        super().__init__(
            {
                "on": In(1), "go": In(1), "words": In(stream.Signature(word)), "passed": Out(stream.Signature(word)),
                "i": In(stream.Signature(line)), "o": Out(stream.Signature(line)),
            }
        )  # fmt: skip

    def elaborate(self, platform: object) -> Module:
        m = Module()
        head = LayerRegisters(self.index_bits)
        m.d.sync += head.last.eq(head.length - 1)
        write, known = self._take_records(m, head)
        m.submodules.fused = fused = Fused()
        m.submodules.quotient = quotient = Quotient(bits=UNIT_BITS + self.index_bits)
        row = RowPasses(m, head, fused, quotient, write, on=self.on, longest=self.longest)
        ended = Signal()
        byte, taken = self._take_lines(m, head, known, ended)
        summed = row.load(byte, taken)
        row.centre(summed)
        squared = row.square()
        row.divide(squared)
        code, valid = row.scale()
        row.choose()
        self._give_lines(m, head, code, valid, ended)
        return m

    def _take_records(self, m: Module, head: LayerRegisters) -> tuple[Write, Signal]:
        """Keeps a layer's records, and passes other words. Returns what is written to the memory of limits, scales and
        biases; and whether all records are there."""
        index, known, taken = Signal(range(HEAD_RECORDS + LIMIT_RECORDS + self.longest + 1)), Signal(), Signal()
        word, whole = self.words.payload.as_value(), Signal()
        record = Signal(64)
        if self.cols >= 8:
            m.d.comb += [record.eq(word[:64]), whole.eq(1)]
        else:
            first, second = Signal(32, reset_less=True), Signal()
            m.d.comb += [record.eq(Cat(first, word[:32])), whole.eq(second)]
            with m.If(taken):
                m.d.sync += [first.eq(word[:32]), second.eq(~second)]
            with m.If(~self.on):
                m.d.sync += second.eq(0)
        passes = known | ~self.on
        m.d.comb += [
            taken.eq(self.words.valid & ~passes),
            self.words.ready.eq(~passes | self.passed.ready),
            self.passed.valid.eq(self.words.valid & passes),
            self.passed.payload.eq(self.words.payload),
        ]
        with m.If(~self.on):
            m.d.sync += [index.eq(0), known.eq(0)]
        with m.Elif(taken & whole):
            m.d.sync += index.eq(index + 1)
            with m.If(index == HEAD_RECORDS + LIMIT_RECORDS + head.last):
                m.d.sync += known.eq(1)
            with m.Switch(index):
                for place, signals in enumerate(head.records):
                    with m.Case(place):
                        m.d.sync += Cat(*signals).eq(record)
        write = Write(taken & whole & (index >= HEAD_RECORDS), index - HEAD_RECORDS, record)
        return write, known

    def _take_lines(self, m: Module, head: LayerRegisters, known: Value, ended: Value) -> tuple[Value, Value]:
        """Takes a row's lines, the first of each two. Returns a byte, and whether there is one."""
        held, left = Signal(BYTE * self.width, reset_less=True), Signal(range(self.width + 1))
        due, again, more, spent, taken = Signal(self.index_bits + 1), Signal(), Signal(), Signal(), Signal()
        ready = known & self.go & (again | (more & spent))
        m.d.comb += [
            taken.eq(self.on & self.i.valid & ready),
            self.i.ready.eq(Mux(self.on, ready, self.o.ready)),
        ]
        # Whether the next line may come is known before the last byte of this one is used.
        m.d.sync += spent.eq(left <= 2)
        with m.If(left.any()):
            m.d.sync += [held.eq(held >> BYTE), left.eq(left - 1)]
        with m.If(taken):
            m.d.sync += again.eq(~again)
        with m.If(taken & ~again):
            line = Cat(self.i.payload[byte] for byte in range(self.width))
            m.d.sync += [held.eq(line), left.eq(head.width), spent.eq(0)]
            m.d.sync += [due.eq(due - head.width), more.eq(due != head.width)]
        with m.If(ended | ~known):
            m.d.sync += [due.eq(head.length), more.eq(1)]
        with m.If(~self.on):
            m.d.sync += [left.eq(0), again.eq(0), spent.eq(1)]
        return held[:BYTE].as_signed(), left.any()

    def _give_lines(self, m: Module, head: LayerRegisters, code: Value, valid: Value, ended: Signal) -> None:
        """Gives lines of results, each twice; says when a row's last result is there."""
        place, count = Signal(range(self.width)), Signal(self.index_bits)
        line, given = (Signal(BYTE * self.width, name=name, reset_less=True) for name in ("line", "given"))
        complete, left = Signal(), Signal(2)
        with m.If(valid):
            m.d.sync += [line.word_select(place, BYTE).eq(code), place.eq(Mux(place == head.width - 1, 0, place + 1))]
            m.d.sync += count.eq(Mux(ended, 0, count + 1))
        m.d.comb += ended.eq(valid & (count == head.last))
        m.d.sync += complete.eq(valid & (place == head.width - 1))
        with m.If(complete):
            m.d.sync += [given.eq(line), left.eq(2)]
        with m.Elif(left.any() & self.o.ready):
            m.d.sync += left.eq(left - 1)
        m.d.comb += [
            self.o.valid.eq(Mux(self.on, left.any(), self.i.valid)),
            self.o.payload.eq(self.i.payload),
        ]
        for byte in range(self.width):
            with m.If(self.on):
                m.d.comb += self.o.payload[byte].eq(given[BYTE * byte : BYTE * (byte + 1)])
        with m.If(~self.on):
            m.d.sync += [signal.eq(0) for signal in (place, count, complete, left)]
