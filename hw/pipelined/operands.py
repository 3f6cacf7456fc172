"""Results that become words of the weight store: the second operand of a product of two tensors."""

from __future__ import annotations

from amaranth.hdl import Module, Mux, Signal
from amaranth.lib import data, wiring
from amaranth.lib.wiring import In, Out
from amaranth.utils import ceil_log2

__all__ = ["OperandWriter"]


class OperandWriter(wiring.Component):
    """Puts results in their columns of a word of the weight store. ``lanes`` bytes per cycle, of one word; the write is
    out 2 cycles after the results. Nothing holds it back.

    Where the weight store reads several words at an address, one of them is written.

    Parameters
    ----------
    cols : int
        Bytes of a word.
    lanes : int
        Results per cycle, at most ``cols``.
    address_bits : int
        Of a byte address of the weight store, in which a word takes ``cols`` bytes, rounded up to a power of two.
    weight_rows : int
        Words at an address, a power of two.

    Members
    -------
    enable : In(1)
        There are results.
    address : In
        Byte address of the first.
    mask : In(lanes), results : In
        Those of the results that count, and all of them. Bytes behind the word's last are lost.
    busy : Out(1)
        A write is under way that is not out yet.
    w_address, w_enable, w_data : Out
        The write: the address, its bytes as the weight store has them, and which of them.
    """

    def __init__(self, *, cols: int, lanes: int, address_bits: int, weight_rows: int = 1):
        self.cols, self.lanes, self.weight_rows = cols, lanes, weight_rows
        self.column_bits, self.row_bits = ceil_log2(cols), ceil_log2(weight_rows)
        bytes_ = (weight_rows - 1 << self.column_bits) + cols
        super().__init__(
            {
                "enable": In(1),
                "address": In(address_bits),
                "mask": In(lanes),
                "results": In(data.ArrayLayout(8, lanes)),
                "busy": Out(1),
                "w_address": Out(address_bits - self.column_bits - self.row_bits),
                "w_enable": Out(bytes_),
                "w_data": Out(data.ArrayLayout(8, bytes_)),
            }
        )

    def elaborate(self, platform: object) -> Module:
        m = Module()
        counts, column = Signal(self.lanes), Signal(range(max(2, 1 << self.column_bits)))
        word, values = Signal(len(self.w_address) + self.row_bits), Signal(8 * self.lanes, reset_less=True)
        m.d.sync += [
            self.busy.eq(self.enable),
            counts.eq(Mux(self.enable, self.mask, 0)),
            column.eq(self.address[: self.column_bits]),
            word.eq(self.address[self.column_bits :]),
            values.eq(self.results.as_value()),
        ]
        m.d.sync += [self.w_address.eq(word[self.row_bits :]), self.w_enable.eq(0)]
        rows = [(word[: self.row_bits] == row, row << self.column_bits) for row in range(self.weight_rows)]
        for place in range(self.cols):
            # The lanes that may stand here, by the column of the first.
            lanes = [(place - lane, lane) for lane in range(self.lanes) if lane <= place]
            with m.Switch(column):
                for first, lane in lanes:
                    with m.Case(first):
                        for here, start in rows:
                            m.d.sync += [
                                self.w_enable[start + place].eq(counts[lane] & here),
                                self.w_data[start + place].eq(values.word_select(lane, 8)),
                            ]
        return m
