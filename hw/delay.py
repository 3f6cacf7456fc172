"""Registers on the way of data."""

from __future__ import annotations

from amaranth.hdl import Module, Signal, Value, ValueCastable, ValueLike

__all__ = ["delayed"]


def delayed(m: Module, value: ValueLike, cycles: int = 1, *, name: str, reset: bool = False) -> Signal:
    """``value``, ``cycles`` later.

    Without ``reset``, as data needs none: a reset that reached every register of the machine would be its slowest net.
    """
    value = value if isinstance(value, ValueCastable) else Value.cast(value)
    for stage in range(cycles):
        value, before = Signal(value.shape(), name=f"{name}_{stage}", reset_less=not reset), value
        m.d.sync += value.eq(before)
    return value
