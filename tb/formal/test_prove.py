"""That a proof can fail: what is wrong is refuted by either engine, what cannot happen is not covered, and the message
shows it."""

from __future__ import annotations

import re
from functools import partial

import pytest
from amaranth.hdl import Assert, Assume, Cover, Module
from amaranth.lib import stream, wiring
from amaranth.lib.wiring import In, Out

from prove import Order, Refuted, any_seq, contract, free, prove


class Buffer(wiring.Component):
    """Holds one item; with a flaw in how it treats items of payload 3."""

    def __init__(self, flaw: str):
        self.flaw = flaw
        super().__init__({"i": In(stream.Signature(2)), "o": Out(stream.Signature(2))})

    def elaborate(self, platform: object) -> Module:
        m = Module()
        arrives, special = self.i.valid & self.i.ready, self.o.payload == 3
        m.d.comb += self.i.ready.eq(~self.o.valid)
        with m.If(self.o.ready):
            m.d.sync += self.o.valid.eq(self.o.valid & special if self.flaw == "repeated" else 0)
        with m.Elif(self.o.valid & special):
            if self.flaw == "changed":
                m.d.sync += self.o.payload.eq(2)
            if self.flaw == "withdrawn":
                m.d.sync += self.o.valid.eq(0)
        with m.If(arrives):
            m.d.sync += [
                self.o.payload.eq(self.i.payload),
                self.o.valid.eq((self.i.payload != 3) if self.flaw == "lost" else 1),
            ]
        return m


def buffer(m: Module, *, flaw: str) -> None:
    m.submodules.dut = dut = Buffer(flaw)
    free(m, dut)
    contract(m, dut.o)
    order = Order(m, dut.i, dut.o, capacity=1, latency=1)
    m.d.comb += Cover(order.found)


@pytest.mark.parametrize("flaw, assertion, depth", [
    ("changed", "promise(payload == offered)", 0),
    ("withdrawn", "promise(port.valid)", 0),
    ("lost", "Assert(late < latency - 1)", 0),
    ("repeated", "Assert(inside != 0)", 0),
    ("repeated", "Assert(inside != 0)", 8),
])  # fmt: skip
def test_a_flaw_is_shown(flaw, assertion, depth):
    with pytest.raises(Refuted) as refuted:
        prove(partial(buffer, flaw=flaw), depth=depth)
    message = str(refuted.value)
    assert re.search(rf"failed assertion: tb.formal.prove\.py:\d+: .*{re.escape(assertion)}", message)
    assert re.search(r"^ +cycle  0  1", message, re.MULTILINE)
    assert re.search(r"^ *i__payload  3  ", message, re.MULTILINE)


def test_without_a_flaw():
    prove(partial(buffer, flaw=""), cover=4)


def test_what_cannot_happen_is_not_covered():
    def never(m: Module) -> None:
        signal = any_seq(m, 1, "signal")
        m.d.comb += [Assume(~signal), Cover(signal)]

    with pytest.raises(Refuted, match=r"unreached cover statement: tb.formal.test_prove\.py:\d+: .*Cover\(signal\)"):
        prove(never, depth=2, cover=2)


def test_a_state_that_cannot_be_reached():
    def held(m: Module) -> None:
        m.submodules.dut = dut = Buffer("")
        m.d.comb += Assert(~dut.o.valid)

    prove(held)
    with pytest.raises(Refuted, match=r"Assert\(~dut\.o\.valid\)"):
        prove(held, depth=1, anywhere=True)
