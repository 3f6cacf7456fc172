"""Requests cut where a row ends."""

from __future__ import annotations

from amaranth.hdl import Cat, Module, Signal
from amaranth.lib import data, stream, wiring
from amaranth.lib.wiring import In, Out

from sateen.hw.spec.sdram import SdramChip

__all__ = ["Runs", "request_layout", "run_layout"]


def request_layout(chip: SdramChip, length_bits: int) -> data.StructLayout:
    """Words that follow one another, one more than ``length``; after the chip's last word comes its first."""
    return data.StructLayout({"write": 1, "address": chip.address_bits, "length": length_bits})


def run_layout(chip: SdramChip) -> data.StructLayout:
    """Words of one row, one more than ``length``."""
    bits = {"column": chip.column_bits, "bank": chip.bank_bits, "row": chip.row_bits, "length": chip.column_bits}
    return data.StructLayout({"write": 1, **bits})


class Runs(wiring.Component):
    """Cuts requests into runs within a row. A run each second cycle, latency 2 cycles.

    Members
    -------
    i : In(stream)
        Requests, see :func:`request_layout`.
    o : Out(stream)
        Their runs in order, see :func:`run_layout`.
    """

    def __init__(self, chip: SdramChip, *, length_bits: int):
        self.chip, self.length_bits = chip, length_bits
        super().__init__(
            {
                "i": In(stream.Signature(request_layout(chip, length_bits))),
                "o": Out(stream.Signature(run_layout(chip))),
            }
        )

    def elaborate(self, platform: object) -> Module:
        m = Module()
        run = self.o.payload
        left = Signal(self.length_bits)
        last = Signal()
        # From the column to the end of its row there is one word more than this.
        behind = Signal(self.chip.column_bits)
        m.d.comb += behind.eq(~run.column)
        place = Cat(run.bank, run.row)
        with m.FSM():
            with m.State("take"):
                m.d.comb += self.i.ready.eq(1)
                m.d.sync += [
                    run.write.eq(self.i.payload.write),
                    Cat(run.column, place).eq(self.i.payload.address),
                    left.eq(self.i.payload.length),
                ]
                with m.If(self.i.valid):
                    m.next = "cut"
            with m.State("cut"):
                m.d.sync += last.eq(behind >= left)
                with m.If(behind >= left):
                    m.d.sync += run.length.eq(left)
                with m.Else():
                    m.d.sync += run.length.eq(behind)
                m.next = "offer"
            with m.State("offer"):
                m.d.comb += self.o.valid.eq(1)
                with m.If(self.o.ready):
                    m.d.sync += [left.eq(left - behind - 1), run.column.eq(0), place.eq(place + 1)]
                    with m.If(last):
                        m.next = "take"
                    with m.Else():
                        m.next = "cut"
        return m
