"""Registers on the way of data."""

from __future__ import annotations

from collections.abc import Sequence

from amaranth.hdl import ClockDomain, ClockSignal, Const, Instance, Module, Signal, Value, ValueCastable, ValueLike
from amaranth.lib import data

from sateen.hw.spec.timing import TOGETHER

__all__ = ["TOGETHER", "copied", "delayed", "delayed_item", "kept", "reset_domains"]


def delayed(m: Module, value: ValueLike, cycles: int = 1, *, name: str, reset: bool = False) -> Signal:
    """``value``, ``cycles`` later.

    Without ``reset``, as data needs none: a reset that reached every register of the machine would be its slowest net.
    """
    value = value if isinstance(value, ValueCastable) else Value.cast(value)
    for stage in range(cycles):
        value, before = Signal(value.shape(), name=f"{name}_{stage}", reset_less=not reset), value
        m.d.sync += value.eq(before)
    return value


def delayed_item(m: Module, item: data.View, cycles: int = 1, *, name: str) -> data.View:
    """As :func:`delayed`, of a structure of which a reset clears ``valid`` alone."""
    result = Signal(item.shape(), name=name)
    m.d.comb += [
        result.eq(delayed(m, item, cycles, name=name)),
        result.valid.eq(delayed(m, item.valid, cycles, name=f"{name}_valid", reset=True)),
    ]
    return result


def kept(m: Module, platform: object, value: ValueLike, *, name: str) -> Signal:
    """``value``, a cycle later, in a register of its own; no reset clears it.

    On an ECP5 it is placed by hand: synthesis makes one of all registers that hold the same, however far apart those
    are that need it.
    """
    value = value if isinstance(value, ValueCastable) else Value.cast(value)
    result = Signal(value.shape(), name=name, reset_less=True)
    if getattr(platform, "sateen_technology", None) != "ecp5":
        m.d.sync += result.eq(value)
        return result
    for bit, (given, own) in enumerate(zip(Value.cast(value), Value.cast(result), strict=True)):
        m.submodules[f"{name}_{bit}"] = Instance(
            "TRELLIS_FF",
            p_GSR="DISABLED",
            p_CEMUX="1",
            p_CLKMUX="CLK",
            p_LSRMUX="LSR",
            p_SRMODE="LSR_OVER_CE",
            p_REGSET="RESET",
            i_CLK=ClockSignal(),
            i_LSR=Const(0),
            i_CE=Const(1),
            i_DI=given,
            o_Q=own,
        )
    return result


def copied(m: Module, platform: object, value: Value, copies: int, *, name: str) -> list[Signal]:
    """``value``, a cycle later, in several registers: each has a part of the chip to reach. No reset clears them:
    ``value`` must be harmless during one."""
    return [kept(m, platform if copies > 1 else None, value, name=f"{name}_{copy}") for copy in range(copies)]


def reset_domains(m: Module, platform: object, names: Sequence[str], reset: ValueLike) -> None:
    """Local domains with the clock of ``sync`` and ``reset``, a cycle later, of several domains two, each from a
    register of its own: whatever that is made of, it goes a long way to many."""
    late = Signal(name="reset", init=1, reset_less=True)
    m.d.sync += late.eq(reset)
    for name, own in zip(
        names, copied(m, platform, late, len(names), name="reset") if len(names) > 1 else [late], strict=True
    ):
        domain = ClockDomain(name, local=True)
        m.domains += domain
        m.d.comb += [domain.clk.eq(ClockSignal()), domain.rst.eq(own)]
