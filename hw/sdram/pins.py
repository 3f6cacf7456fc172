"""The chip's pins, and timers of commands."""

from __future__ import annotations

from amaranth.hdl import Module, Signal, ValueLike
from amaranth.lib import data, wiring
from amaranth.lib.wiring import In, Out

from sateen.hw.spec.sdram import SdramChip

__all__ = ["COMMAND_BITS", "Timer", "command_layout", "pins"]

COMMAND_BITS = 3


def command_layout(chip: SdramChip) -> data.StructLayout:
    """A command (:class:`sateen.hw.spec.sdram.Command`) with its bank and address."""
    return data.StructLayout({"command": COMMAND_BITS, "bank": chip.bank_bits, "address": chip.pins})


def pins(chip: SdramChip) -> wiring.Signature:
    """The chip's pins, as the controller has them. CS is always low and CKE high.

    ``ras``, ``cas`` and ``we`` are 1 where the pin is low. ``dq_oe`` drives all of DQ.
    """
    return wiring.Signature(
        {
            "ras": Out(1),
            "cas": Out(1),
            "we": Out(1),
            "ba": Out(chip.bank_bits),
            "a": Out(chip.pins),
            "dqm": Out(chip.data_bits // 8),
            "dq_o": Out(chip.data_bits),
            "dq_oe": Out(1),
            "dq_i": In(chip.data_bits),
        }
    )


class Timer:
    """Says whether a time is over since the last of some events: ``runs`` is 1 for so many cycles after one.

    A register of as many ones, which moves down by one a cycle. Where events of different lengths meet, the longest
    counts, and no carry chain is in the way.
    """

    def __init__(self, m: Module, longest: int, *, name: str):
        self.ones = Signal(max(1, longest), name=name)
        self.after = Signal.like(self.ones, name=f"{name}_after")
        self.m, self.runs = m, self.ones[0]
        m.d.sync += self.ones.eq((self.ones >> 1) | self.after)

    def start(self, event: ValueLike, cycles: int) -> None:
        """After ``event``, which is 1 for a cycle, ``runs`` is 1 for ``cycles``; none if that is negative. Where
        several start at a time, the longest must be named last."""
        if cycles > 0:
            with self.m.If(event):
                self.m.d.comb += self.after.eq((1 << cycles) - 1)
