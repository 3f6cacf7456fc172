"""Column combining: several activations side by side in a row, of which each PE takes the one that stands beside its weight.

Around the PEs of any kind: what is multiplexed is what a PE takes of an activation each cycle, a number or a bit.
"""

from __future__ import annotations

from typing import Any

from amaranth.hdl import Array, Module, Mux, Signal, signed
from amaranth.lib import data, stream, wiring
from amaranth.lib.wiring import In, Out
from amaranth.utils import ceil_log2

from weft.hw.delay import delayed
from weft.hw.pe.contract import PeArray, slot_shape
from weft.hw.spec.pe import WEIGHT_SETTING_BITS, PeKind

__all__ = ["Combined", "MultiplexedInput"]


class MultiplexedInput(wiring.Component):
    """A PE with a multiplexed input. Contract: that of the PE, its activation an array of ``inputs``, its weight with a ``select``.

    The select is captured, and becomes the current one, with the weight.

    Parameters
    ----------
    pe : Component
        With a :class:`~weft.hw.pe.contract.PeSignature`, its weights captured at once.
    inputs : int
        Activations side by side.
    """

    def __init__(self, pe: wiring.Component, *, inputs: int):
        self.pe = pe
        of_pe = pe.signature.members
        activation = data.ArrayLayout(of_pe["activation_i"].shape, inputs)
        weight = data.StructLayout({"value": of_pe["weight_i"].shape, "select": ceil_log2(inputs)})
        changed = {"activation_i": In(activation), "activation_o": Out(activation), "weight_i": In(weight), "weight_o": Out(weight)}
        super().__init__({name: changed.get(name, member) for name, member in of_pe.items()})

    def elaborate(self, platform: object) -> Module:
        m = Module()
        m.submodules.pe = pe = self.pe
        following, current = Signal.like(self.weight_i.select, reset_less=True), Signal.like(self.weight_i.select, reset_less=True)
        select = Mux(self.swap_i, following, current)
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
    """Joins each word of weights with the word of selects that comes before it. Contract: :class:`~weft.hw.pe.contract.Loader`."""

    def __init__(self, *, cols: int, weight: data.StructLayout):
        self.cols = cols
        word = data.StructLayout({"word": data.ArrayLayout(signed(8), cols), "settings": WEIGHT_SETTING_BITS})
        super().__init__({"i": In(stream.Signature(word)), "o": Out(stream.Signature(slot_shape(weight, cols, 1)))})

    def elaborate(self, platform: object) -> Module:
        m = Module()
        here = Signal()
        selects = [Signal.like(weight.select, reset_less=True) for weight in self.o.payload.weights]
        m.d.comb += [self.o.valid.eq(self.i.valid & here), self.i.ready.eq(self.o.ready | ~here), self.o.payload.last.eq(1)]
        with m.If(self.i.valid & self.i.ready):
            m.d.sync += here.eq(~here)
        for weight, select, byte in zip(self.o.payload.weights, selects, self.i.payload.word, strict=True):
            m.d.comb += [weight.value.eq(byte), weight.select.eq(select)]
            with m.If(~here):
                m.d.sync += select.eq(byte)
        return m


class Combined(PeArray):
    """An array of a kind, every row of which takes ``inputs`` activations."""

    def __init__(self, array: type[PeArray], kind: PeKind, *, rows: int, inputs: int, **numbers: Any):
        super().__init__(kind, rows=rows, **numbers)
        self.inputs = inputs
        self.single = array(kind, rows=rows, **numbers)
        self.side_by_side = array(kind, rows=rows * inputs, **numbers)

    def pe(self, row: int, column: int) -> MultiplexedInput:
        return MultiplexedInput(self.single.pe(row, column), inputs=self.inputs)

    def feeder(self) -> wiring.Component:
        return self.side_by_side.feeder()

    def loader(self) -> CombinedLoader:
        weight = data.StructLayout({"value": signed(self.weight_bits), "select": ceil_log2(self.inputs)})
        return CombinedLoader(cols=self.cols, weight=weight)

    def foot(self) -> wiring.Component | None:
        return self.single.foot()
