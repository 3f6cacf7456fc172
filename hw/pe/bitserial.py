"""The bit-serial PE: weights in parallel, activations bit by bit."""

from __future__ import annotations

from amaranth.hdl import Array as Choice
from amaranth.hdl import Module, Mux, Signal, signed
from amaranth.lib import data, wiring
from amaranth.lib.wiring import In, Out
from amaranth.utils import ceil_log2

from sateen.hw.pe.contract import Feeder, PeArray, PeSignature, forward
from sateen.hw.stream.view import view

__all__ = ["Array", "BitSerial", "Horner", "PlaneFeeder"]


class BitSerial(wiring.Component):
    """Adds its weight to the partial sum where the activation's bit is 1. Contract:
    :class:`~sateen.hw.pe.contract.PeSignature`.

    One bit plane per cycle, latency 2 cycles. The array adds up one plane of all its activations; its foot joins the
    planes (:class:`Horner`), so that a PE needs no shifter and no accumulator.

    Parameters
    ----------
    weight_bits : int
        Width of the weight.
    sum_bits : int
        Width of a partial sum: ``weight_bits`` + ⌈log2 rows⌉.
    """

    def __init__(self, *, weight_bits: int = 8, sum_bits: int):
        super().__init__(PeSignature(activation=1, weight=signed(weight_bits), sum_bits=sum_bits))

    def elaborate(self, platform: object) -> Module:
        m = Module()
        following, weight = Signal.like(self.weight_i), Signal.like(self.weight_i)
        forward(m, platform, self, "activation", "swap", "weight", "capture")
        with m.If(self.swap_i):
            m.d.sync += weight.eq(following)
        with m.If(self.capture_i.valid):
            m.d.sync += following.eq(self.weight_i)
        m.d.sync += self.sum_o.eq(self.sum_i + Mux(self.activation_o, weight, 0))
        return m


class PlaneFeeder(Feeder):
    """Turns beats into bit planes, the sign's first; the beats' setting is the number of bits, 1 to 8."""

    def __init__(self, *, rows: int, tag: data.Layout):
        super().__init__(rows=rows, activation=1, tag=tag)

    def elaborate(self, platform: object) -> Module:
        m = Module()
        beat = view(self.i.payload.shape())
        left = Signal(range(9))
        first, ready = Signal(), Signal()
        wave = self.o.payload
        m.d.comb += [
            self.o.valid.eq(left != 0),
            wave.first.eq(first),
            wave.last.eq(left == 1),
            wave.swap.eq(beat.swap & first),
            wave.tag.eq(beat.tag),
            ready.eq((left == 0) | (wave.last & self.o.ready)),
            self.i.ready.eq(ready),
            *(wave.activations[row].eq(Choice(beat.data[row])[(left - 1)[:3]]) for row in range(self.rows)),
        ]
        with m.If(self.o.valid & self.o.ready):
            m.d.sync += [left.eq(left - 1), first.eq(0)]
        with m.If(self.i.valid & ready):
            m.d.sync += [beat.eq(self.i.payload), left.eq(self.i.payload.settings[:4]), first.eq(1)]
        return m


class Horner(wiring.Component):
    """Joins bit planes, the sign's first: ``o = first ? −i : 2·o + i``, a cycle later."""

    def __init__(self, *, partial_bits: int, sum_bits: int):
        super().__init__({"i": In(signed(partial_bits)), "first": In(1), "o": Out(signed(sum_bits))})

    def elaborate(self, platform: object) -> Module:
        m = Module()
        m.d.sync += self.o.eq(Mux(self.first, -self.i, (self.o << 1) + self.i))
        return m


class Array(PeArray):
    """An array of one-bit activations, below which the planes are joined."""

    @property
    def partial_bits(self) -> int:
        """Width of a plane's sum."""
        return self.weight_bits + ceil_log2(self.rows)

    def pe(self, row: int, column: int) -> BitSerial:
        return BitSerial(weight_bits=self.weight_bits, sum_bits=self.partial_bits)

    def feeder(self) -> PlaneFeeder:
        return PlaneFeeder(rows=self.rows, tag=self.tag)

    def foot(self) -> Horner:
        return Horner(partial_bits=self.partial_bits, sum_bits=self.sum_bits)
