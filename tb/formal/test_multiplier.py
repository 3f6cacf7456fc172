"""The bit-serial multiplier multiplies all pairs of factors, signed or unsigned, in the documented number of cycles."""

from __future__ import annotations

from functools import partial

import pytest
from amaranth.asserts import Initial
from amaranth.hdl import Assert, Assume, Cover, Module, Signal

from prove import Order, any_const, contract, free, prove
from sateen.hw.stream.serial import BitSerialMultiplier


def items(m: Module, *, a_bits: int, b_bits: int) -> None:
    """Each pair of factors gives one product, ``b_bits + 1`` cycles later, which stays until it is taken."""
    m.submodules.dut = dut = BitSerialMultiplier(a_bits=a_bits, b_bits=b_bits)
    free(m, dut)
    contract(m, dut.o)
    order = Order(m, dut.i, dut.o, capacity=1, latency=dut.b_bits + 1, compare=False)
    m.d.comb += Cover(order.found)


def product(m: Module, *, bits: int) -> None:
    """In whatever state factors are taken: their product is there ``bits + 1`` cycles later. So it is for all time,
    back to back or not."""
    m.submodules.dut = dut = BitSerialMultiplier(a_bits=bits, b_bits=bits)
    free(m, dut)
    item, age = any_const(m, dut.i.payload.shape(), "item"), Signal(range(bits + 2))
    m.d.sync += age.eq(age + 1)
    with m.If(Initial()):
        m.d.comb += Assume(dut.i.valid & dut.i.ready & (dut.i.payload == item))
    with m.Elif(age <= bits):
        m.d.comb += Assert(~dut.o.valid)
    with m.Else():
        m.d.comb += Assert(dut.o.valid)
        with m.If(item.signed):
            m.d.comb += Assert(dut.o.payload.as_signed() == item.a.as_signed() * item.b.as_signed())
        with m.Else():
            m.d.comb += Assert(dut.o.payload == item.a * item.b)
        m.d.comb += Cover(item.signed)


@pytest.mark.parametrize(("a_bits", "b_bits"), [(2, 4), pytest.param(8, 8, marks=pytest.mark.prove)])
def test_items(a_bits, b_bits):
    prove(partial(items, a_bits=a_bits, b_bits=b_bits), cover=b_bits + 3)


@pytest.mark.parametrize("bits", [4, pytest.param(8, marks=pytest.mark.prove)])
def test_product(bits):
    prove(partial(product, bits=bits), depth=bits + 2, anywhere=True, cover=bits + 2)
