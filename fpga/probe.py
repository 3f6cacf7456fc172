"""A wrapper that lets placement and routing measure the clock of a component with more ports than a part has pins."""

from __future__ import annotations

from amaranth.hdl import Cat, Module, Signal, Value
from amaranth.lib import wiring
from amaranth.lib.wiring import In, Out

__all__ = ["Probe"]

FAN_IN = 4


class Probe(wiring.Component):
    """Feeds a component's inputs from a shift register and folds its outputs into one bit, with registers in between.

    Members
    -------
    i : In(1)
        Input of the shift register.
    o : Out(1)
        A bit that depends on every output.
    """

    def __init__(self, component: wiring.Component):
        self.component = component
        super().__init__({"i": In(1), "o": Out(1)})

    def elaborate(self, platform: object) -> Module:
        m = Module()
        m.submodules.component = self.component
        inputs: list[Value] = []
        outputs: list[Value] = []
        for _, member, port in self.component.signature.flatten(self.component):
            value = Value.cast(port)
            if isinstance(value, Signal):
                (inputs if member.flow == wiring.In else outputs).append(value)
        held = Signal(len(Cat(inputs)), name="held")
        m.d.sync += held.eq(Cat(self.i, held))
        m.d.comb += Cat(inputs).eq(held)
        bits: Value = Cat(outputs)
        stage = 0
        while True:
            folded = Signal(len(bits), name=f"fold_{stage}")
            m.d.sync += folded.eq(bits)
            if len(folded) == 1:
                break
            bits = Cat(folded[low : low + FAN_IN].xor() for low in range(0, len(folded), FAN_IN))
            stage += 1
        m.d.comb += self.o.eq(folded)
        return m
