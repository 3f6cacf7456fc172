"""Choices."""

from __future__ import annotations

from collections.abc import Sequence

from amaranth.hdl import Array, Const, Instance, Module, Mux, Signal, Value

from sateen.hw.spec.timing import choice_steps
from sateen.hw.stream.delay import delayed

__all__ = ["chosen", "kept_mux", "one_of"]


def one_of(values: Sequence[Value], index: Value) -> Value:
    """The value with this index; of a single one, that, whatever the index."""
    return Array(values)[index] if len(values) > 1 else values[0]


def chosen(m: Module, values: Sequence[Value], index: Value, *, name: str) -> Value:
    """The value with this index, :func:`~sateen.hw.spec.timing.choice_steps` cycles later."""
    for step in range(choice_steps(len(values))):
        values = [
            delayed(m, one_of(values[four : four + 4], index[:2]), name=f"{name}_{step}_{four // 4}")
            for four in range(0, len(values), 4)
        ]
        index = delayed(m, index[2:], name=f"{name}_index_{step}")
    return values[0]


def kept_mux(m: Module, platform: object, select: Value, one: Value, other: Value, *, name: str) -> Signal:
    """``one`` with ``select``, else ``other``, of the same shape.

    On an ECP5 it is a LUT a bit, placed by hand: synthesis would merge it with multiplexers before it, which it copies
    then.
    """
    o = Signal(one.shape(), name=name)
    if getattr(platform, "sateen_technology", None) == "ecp5":
        for bit in range(len(o)):
            m.submodules[f"{name}_{bit}"] = Instance(
                "LUT4", p_INIT=Const(0xACAC, 16), i_A=one[bit], i_B=other[bit], i_C=select, i_D=Const(0), o_Z=o[bit]
            )
    else:
        m.d.comb += o.eq(Mux(select, one, other))
    return o
