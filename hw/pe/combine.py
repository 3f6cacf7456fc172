"""Column combining: a row has several activations side by side, and each PE takes the one that its weight selects.

This wraps PEs of any kind: it multiplexes what a PE takes of an activation each cycle, a number or a bit.
"""

from __future__ import annotations

from dataclasses import replace
from typing import Any

from amaranth.hdl import Array, Cat, Module, Mux, Signal, Value, signed
from amaranth.lib import data, stream, wiring
from amaranth.lib.wiring import In, Out
from amaranth.utils import ceil_log2

from sateen.hw.pe.contract import PeArray, slot_shape
from sateen.hw.pe.shape import ArrayShape
from sateen.hw.spec.pe import SELECTS_BIT, WEIGHT_SETTING_BITS, ZERO_POINT_BIT
from sateen.hw.stream.delay import delayed
from sateen.hw.stream.mux import dedicated_mux

__all__ = ["Combined", "MultiplexedInput"]


class MultiplexedInput(wiring.Component):
    """A PE with a multiplexed input. Contract: that of the PE, its activation an array of ``inputs``, its weight with a
    ``select``.

    The select is captured and swapped together with the weight.

    Parameters
    ----------
    pe : Component
        With a :class:`~sateen.hw.pe.contract.PeSignature` of one slot.
    inputs : int
        Activations side by side.
    """

    def __init__(self, pe: wiring.Component, *, inputs: int):
        self.pe = pe
        of_pe = pe.signature.members
        activation = data.ArrayLayout(of_pe["activation_i"].shape, inputs)
        weight = data.StructLayout({"value": of_pe["weight_i"].shape, "select": ceil_log2(inputs)})
        changed = {
            "activation_i": In(activation),
            "activation_o": Out(activation),
            "weight_i": In(weight),
            "weight_o": Out(weight),
        }
        super().__init__({name: changed.get(name, member) for name, member in of_pe.items()})

    def elaborate(self, platform: object) -> Module:
        m = Module()
        m.submodules.pe = pe = self.pe
        following, current = (
            Signal.like(self.weight_i.select, reset_less=True),
            Signal.like(self.weight_i.select, reset_less=True),
        )
        select = dedicated_mux(m, platform, self.swap_i, following, current, name="select")
        m.d.sync += current.eq(select)
        with m.If(self.capture_i.valid):
            m.d.sync += following.eq(self.weight_i.select)
        m.d.comb += [
            pe.activation_i.eq(Array(self.activation_i)[select]),
            pe.weight_i.eq(self.weight_i.value),
            self.activation_o.eq(delayed(m, self.activation_i, name="activation")),
            self.weight_o.select.eq(delayed(m, self.weight_i.select, name="select")),
            self.weight_o.value.eq(pe.weight_o),
        ]
        for name, member in self.signature.members.items():
            if name.partition("_")[0] not in ("activation", "weight"):
                here, inside = getattr(self, name), getattr(pe, name)
                m.d.comb += inside.eq(here) if member.flow is In else here.eq(inside)
        return m


class CombinedLoader(wiring.Component):
    """Joins words of weights with their selects, which precede them if the settings say so; else selects are 0.

    Contract: :class:`~sateen.hw.pe.contract.Loader`. A matrix begins with a word of selects, for as many rows as a byte
    holds; after those rows comes the next word of selects. Words of selects are taken before there is room for weights.

    Parameters
    ----------
    rows, cols : int
        Of a matrix.
    weight : StructLayout
        ``value`` and ``select``.
    """

    def __init__(self, *, rows: int, cols: int, weight: data.StructLayout):
        self.rows, self.cols, self.select_bits = rows, cols, weight["select"].width
        word = data.StructLayout({"word": data.ArrayLayout(signed(8), cols), "settings": WEIGHT_SETTING_BITS})
        super().__init__({"i": In(stream.Signature(word)), "o": Out(stream.Signature(slot_shape(weight, cols, 1)))})

    def elaborate(self, platform: object) -> Module:
        m = Module()
        per_word = 8 // self.select_bits
        row, left, given, waits = Signal(range(self.rows)), Signal(range(per_word + 1)), Signal(), Signal()
        selects = [Signal(8, name=f"selects_{column}", reset_less=True) for column in range(self.cols)]
        m.d.comb += [
            given.eq(self.i.payload.settings[SELECTS_BIT]),
            waits.eq(given & (left == 0)),
            self.o.valid.eq(self.i.valid & ~waits),
            self.i.ready.eq(self.o.ready | waits),
            self.o.payload.zero_point.eq(self.i.payload.settings[ZERO_POINT_BIT:]),
            self.o.payload.last.eq(1),
        ]
        with m.If(self.i.valid & waits):
            m.d.sync += left.eq(per_word)
        with m.Elif(self.o.valid & self.o.ready & given):
            m.d.sync += [row.eq(row + 1), left.eq(left - 1)]
            with m.If(row == self.rows - 1):
                m.d.sync += [row.eq(0), left.eq(0)]
        for weight, select, byte in zip(self.o.payload.weights, selects, self.i.payload.word, strict=True):
            m.d.comb += [weight.value.eq(byte), weight.select.eq(Mux(given, select, 0))]
            with m.If(self.i.valid & waits):
                m.d.sync += select.eq(byte)
            with m.Elif(self.o.valid & self.o.ready):
                m.d.sync += select.eq(select >> self.select_bits)
        return m


class Combined(PeArray):
    """An array of a kind, each of whose rows takes ``inputs`` activations."""

    def __init__(self, array: type[PeArray], shape: ArrayShape, *, sum_bits: int, tag: data.Layout):
        super().__init__(shape, sum_bits=sum_bits, tag=tag)
        single = replace(shape, combine=1)
        self.single = array(single, sum_bits=sum_bits, tag=tag)
        self.side_by_side = array(replace(single, rows=shape.rows * shape.combine), sum_bits=sum_bits, tag=tag)

    def pe(self, row: int, column: int) -> MultiplexedInput:
        return MultiplexedInput(self.single.pe(row, column), inputs=self.inputs)

    def latency(self, row: int) -> int:
        return self.single.latency(row)

    def feeder(self) -> wiring.Component:
        return self.side_by_side.feeder()

    def loader(self) -> CombinedLoader:
        weight = data.StructLayout({"value": signed(self.loaded_bits), "select": ceil_log2(self.inputs)})
        return CombinedLoader(rows=self.rows, cols=self.cols, weight=weight)

    def column_input(self, weight: Any, zero_point: Value) -> Value:
        value = self.single.column_input(weight.value, zero_point)
        return Cat(value[: self.weight_bits], weight.select)

    def foot(self) -> wiring.Component | None:
        return self.single.foot()
