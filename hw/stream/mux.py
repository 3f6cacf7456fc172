"""Multiplexers."""

from __future__ import annotations

from collections.abc import Sequence

from amaranth.hdl import Array, Const, Instance, Module, Mux, Signal, Value

from sateen.hw.spec.timing import mux_stages
from sateen.hw.stream.delay import delayed

__all__ = ["dedicated_mux", "indexed_mux", "pipelined_mux"]


def indexed_mux(values: Sequence[Value], index: Value) -> Value:
    """The value at ``index``; a single value whatever the index."""
    return Array(values)[index] if len(values) > 1 else values[0]


def pipelined_mux(m: Module, values: Sequence[Value], index: Value, *, name: str) -> Value:
    """The value at ``index``, 4:1 a cycle: :func:`~sateen.hw.spec.timing.mux_stages` cycles later."""
    for step in range(mux_stages(len(values))):
        values = [
            delayed(m, indexed_mux(values[four : four + 4], index[:2]), name=f"{name}_{step}_{four // 4}")
            for four in range(0, len(values), 4)
        ]
        index = delayed(m, index[2:], name=f"{name}_index_{step}")
    return values[0]


def dedicated_mux(m: Module, platform: object, select: Value, one: Value, other: Value, *, name: str) -> Signal:
    """``one`` if ``select``, else ``other``, of the same shape.

    On an ECP5 each bit is an instantiated LUT: synthesis would merge it with the multiplexers before it, and duplicate
    those.
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
