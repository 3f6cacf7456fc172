"""Normalization on the way out: the inverse root of the sum of squares of a layer's results."""

from __future__ import annotations

from typing import Any

from amaranth.hdl import Cat, Module, Mux, Signal, Value, signed
from amaranth.lib import data, wiring
from amaranth.lib.memory import Memory
from amaranth.lib.wiring import In, Out

from sateen.hw.multiply import Multiply
from sateen.hw.pipelined.softmax import SCALE
from sateen.hw.spec.norms import INDEX_BITS, ROOT_BITS, ROOTS, SUM_BITS
from sateen.hw.spec.timing import adder_stages
from sateen.hw.stream.adders import adder_tree
from sateen.hw.stream.delay import delayed

__all__ = ["InverseRoot", "inverse_root_latency"]

NORMALIZING = (16, 8, 4, 2)
"""By how many places a sum is shifted, if so many of its highest bits are zero."""


class InverseRoot(wiring.Component):
    """Adds up the squares of a descriptor's results, and gives the inverse root of their sum, as scale of the products
    behind. Bit-exact model: :func:`sateen.sim.golden.inverse_root`; a sum of 0 counts as 1.

    ``lanes`` results per cycle, no back-pressure. The scale is there :func:`inverse_root_latency` cycles after
    ``done``, and stays until the next sum's. Results of the next sum may come from the cycle after ``done`` on, its
    ``done`` as many cycles later as the scale takes.

    Parameters
    ----------
    lanes : int
        Results side by side.

    Members
    -------
    valid : In(1), mask : In(lanes), results : In
        Results, and which of them count.
    done : In(1)
        With the last results of a descriptor.
    ignored : In(1)
        The descriptor's results do not count: it is normalized itself.
    o : Out
        :data:`~sateen.hw.pipelined.softmax.SCALE`.
    """

    def __init__(self, *, lanes: int):
        if lanes < 1:
            raise ValueError(f"lanes must be 1 or more, not {lanes!r}")
        self.lanes = lanes
        super().__init__(
            {
                "valid": In(1), "mask": In(lanes), "results": In(data.ArrayLayout(signed(8), lanes)), "done": In(1),
                "ignored": In(1), "o": Out(SCALE),
            }
        )  # fmt: skip

    def elaborate(self, platform: object) -> Module:
        m = Module()
        counts, done = Signal(), Signal()
        m.d.comb += [counts.eq(self.valid & ~self.ignored), done.eq(counts & self.done)]
        terms: list[Value] = []
        for lane in range(self.lanes):
            m.submodules[f"square_{lane}"] = square = Multiply(a_bits=8, b_bits=8)
            code = Mux(self.mask[lane] & counts, self.results[lane], 0)
            m.d.comb += [square.a.eq(code), square.b.eq(code)]
            terms.append(square.product.as_unsigned()[:15])
        sum_of_lanes, stages = adder_tree(m, terms, after=Multiply.LATENCY)
        ended = delayed(m, done, stages, name="ended", reset=True)
        total, sums = Signal(SUM_BITS), Signal(SUM_BITS)
        m.d.comb += sums.eq(total + sum_of_lanes)
        m.d.sync += total.eq(Mux(ended, 0, sums))

        unused = [0] * (1 << INDEX_BITS - 2)
        roots: Any = Memory(shape=ROOT_BITS - 1, depth=1 << INDEX_BITS, init=[*unused, *(r & _LOW for r in ROOTS)])
        m.submodules.roots = roots
        port = roots.read_port()
        shifted, places = Signal(SUM_BITS, reset_less=True), Signal(len(NORMALIZING), reset_less=True)
        with m.If(ended):
            m.d.sync += shifted.eq(Mux(sums == 0, 1, sums))
        # One step a cycle.
        steps = [delayed(m, ended, 1 + index, name=f"step_{index}", reset=True) for index in range(len(NORMALIZING))]
        for step, count in zip(steps, NORMALIZING, strict=True):
            empty = ~shifted[SUM_BITS - count :].any()
            with m.If(step):
                m.d.sync += [shifted.eq(Mux(empty, shifted << count, shifted)), places.eq(Cat(empty, places))]
        m.d.comb += port.addr.eq(shifted[SUM_BITS - INDEX_BITS :])
        with m.If(delayed(m, steps[-1], 2, name="found", reset=True)):
            m.d.sync += [
                self.o.multiplier.eq(Cat(port.data, 1) << (31 - ROOT_BITS)),
                self.o.shift.eq(places - (SUM_BITS // 2 - 1)),
            ]
        return m


_LOW = (1 << ROOT_BITS - 1) - 1
"""An entry's bits without the highest, which is always set."""


def inverse_root_latency(lanes: int) -> int:
    """Cycles from the last results of a sum to its scale."""
    return Multiply.LATENCY + adder_stages(lanes) + len(NORMALIZING) + 3
