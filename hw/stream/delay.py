"""Registers in the path of data, of control and of resets."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from amaranth.hdl import (
    Cat,
    ClockDomain,
    ClockSignal,
    Const,
    Instance,
    Module,
    Mux,
    Signal,
    Value,
    ValueCastable,
    ValueLike,
    unsigned,
)  # fmt: skip
from amaranth.lib import data
from amaranth.lib.memory import Memory

from sateen.hw.spec.timing import FANOUT, LONG_DELAY
from sateen.hw.stream.view import view

__all__ = [
    "FANOUT",
    "dedicated_register",
    "delayed",
    "delayed_item",
    "delayed_together",
    "replicated",
    "reset_domains",
]

PLACES = 16
"""Words of a memory of LUTs."""


def delayed(m: Module, value: ValueLike, cycles: int = 1, *, name: str, reset: bool = False) -> Signal:
    """``value``, ``cycles`` later.

    Data needs no ``reset``: one that reached every register of the machine would be its slowest net.
    """
    value = value if isinstance(value, ValueCastable) else Value.cast(value)
    for stage in range(cycles):
        value, before = Signal(value.shape(), name=f"{name}_{stage}", reset_less=not reset), value
        m.d.sync += value.eq(before)
    return value


def delayed_item(m: Module, item: data.View, cycles: int = 1, *, name: str) -> data.View:
    """As :func:`delayed`, for a structure; a reset clears its ``valid`` alone."""
    result = view(item.shape(), name=name)
    m.d.comb += [
        result.eq(delayed(m, item, cycles, name=name)),
        result.valid.eq(delayed(m, item.valid, cycles, name=f"{name}_valid", reset=True)),
    ]
    return result


def delayed_together(
    m: Module, platform: object, values: Mapping[str, ValueLike], cycles: int, *, long: int = LONG_DELAY
) -> list[Value]:
    """Each of the values, ``cycles`` later, without a reset.

    On an ECP5 registers of ``long`` cycles or more, 3 at least, are a memory of LUTs, whose word of ``cycles`` - 1
    cycles ago is replaced by that of this cycle, and one register: 6 LUTs in place of 4 · (``cycles`` - 1) registers.
    What is longer than a memory and its register waits in several.
    """
    named = {name: value if isinstance(value, ValueCastable) else Value.cast(value) for name, value in values.items()}
    if getattr(platform, "sateen_technology", None) != "ecp5" or cycles < long:
        return [delayed(m, value, cycles, name=name) for name, value in named.items()]
    if cycles > PLACES + 1:
        earlier = {f"{name}_earlier": value for name, value in named.items()}
        before = delayed_together(m, platform, earlier, cycles - PLACES - 1, long=long)
        named, cycles = dict(zip(named, before, strict=True)), PLACES + 1
    name, places = next(iter(named)), cycles - 1
    word = Cat(named.values())
    place = Signal(range(places), name=f"{name}_place", reset_less=True)
    memory: Memory = Memory(shape=unsigned(len(word)), depth=places, init=[], attrs={"ram_style": "distributed"})
    m.submodules[f"{name}_memory"] = memory
    write, read = memory.write_port(), memory.read_port(domain="comb")
    m.d.sync += place.eq(Mux(place == places - 1, 0, place + 1))
    m.d.comb += [write.en.eq(1), write.addr.eq(place), write.data.eq(word), read.addr.eq(place)]
    result: list[Value] = [Signal(value.shape(), name=f"{each}_last", reset_less=True) for each, value in named.items()]
    m.d.sync += Cat(result).eq(read.data)
    return result


def dedicated_register(m: Module, platform: object, value: ValueLike, *, name: str) -> Signal:
    """``value``, a cycle later, in a register that synthesis does not share; no reset clears it.

    On an ECP5 it is instantiated: synthesis merges registers of equal contents, however far apart their loads are.
    """
    value = value if isinstance(value, ValueCastable) else Value.cast(value)
    result = Signal(value.shape(), name=name, reset_less=True)
    if getattr(platform, "sateen_technology", None) != "ecp5":
        m.d.sync += result.eq(value)
        return result
    for bit, (d, q) in enumerate(zip(Value.cast(value), Value.cast(result), strict=True)):
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
            i_DI=d,
            o_Q=q,
        )
    return result


def replicated(m: Module, platform: object, value: Value, copies: int, *, name: str) -> list[Signal]:
    """``value``, a cycle later, in ``copies`` registers, each for the loads of one part of the chip.

    No reset clears them: ``value`` must be harmless during one.
    """
    platform = platform if copies > 1 else None
    return [dedicated_register(m, platform, value, name=f"{name}_{copy}") for copy in range(copies)]


def reset_domains(m: Module, platform: object, names: Sequence[str], reset: ValueLike) -> None:
    """Local domains with the clock of ``sync``, each reset from a register of its own.

    A single domain's reset follows ``reset`` a cycle later, those of several domains two: whatever makes the reset, it
    has a long way to many registers.
    """
    registered = Signal(name="reset", init=1, reset_less=True)
    m.d.sync += registered.eq(reset)
    resets = replicated(m, platform, registered, len(names), name="reset") if len(names) > 1 else [registered]
    for name, domain_reset in zip(names, resets, strict=True):
        domain = ClockDomain(name, local=True)
        m.domains += domain
        m.d.comb += [domain.clk.eq(ClockSignal()), domain.rst.eq(domain_reset)]
