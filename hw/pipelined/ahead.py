"""How far a descriptor's reads may run ahead of the results of the descriptor before."""

from __future__ import annotations

from amaranth.hdl import Module, Mux, Signal
from amaranth.lib import data, wiring
from amaranth.lib.wiring import In, Out

from sateen.hw.spec.descriptor import MOST_AHEAD
from sateen.hw.spec.nests import OUTPUT_DIMS
from sateen.hw.stream.delay import delayed

__all__ = ["AHEAD", "ReadAhead"]

AHEAD = data.ArrayLayout(range(MOST_AHEAD + 1), len(OUTPUT_DIMS))
"""The values of :attr:`sateen.hw.spec.descriptor.OutputStream.ahead`."""


class ReadAhead(wiring.Component):
    """Says whether the next line of a descriptor may be read while results of the descriptor before are under way.

    Counts the parts of the accumulators whose results are not yet written. While the descriptor before has ``k`` of
    them, 1 to 4, this one may read ``ahead[k - 1]`` lines; with more it may read none, and without any all. At most one
    descriptor is behind: the sequencer gives the section of the one after next only when that is done.

    Parameters
    ----------
    write_latency : int
        Cycles after a write from which a read sees it, see :class:`sateen.hw.memory.Scratchpad`.

    Members
    -------
    start : In(1)
        A descriptor begins; no line of the one before is asked for any more. The first request is 3 cycles later or
        more.
    running : In(1)
        Not all results of the descriptor before are written.
    opens : In(1)
        A line is read that takes a part of the accumulators.
    written : In(1)
        The last result of a part is on its way to the scratchpad.
    done : In(1)
        Likewise, of a descriptor.
    ahead : In
        Of the descriptor before, steady while it is ``running``.
    fired : In(1)
        A line is read.
    allowed : Out(1)
        The next one may be read. From the fourth cycle after ``start``, or before if it is low.
    behind : Out(1)
        Results of the descriptor before are not written; from the cycle after ``start``.
    """

    def __init__(self, *, write_latency: int):
        self.write_latency = write_latency
        ports = ("start", "running", "opens", "written", "done", "fired")
        super().__init__({**{name: In(1) for name in ports}, "ahead": In(AHEAD), "allowed": Out(1), "behind": Out(1)})

    def elaborate(self, platform: object) -> Module:
        m = Module()
        # A result is seen two cycles after `allowed` could be told of it at once.
        late = max(0, self.write_latency - 2)
        written = delayed(m, self.written, late, name="written", reset=True)
        done = delayed(m, self.done, late, name="done", reset=True)
        # Parts taken and not written, and those of them that the descriptor before took.
        parts, before, behind = Signal(5), Signal(5), self.behind
        lines, limit, first_seen = Signal(range(MOST_AHEAD + 1)), Signal(range(MOST_AHEAD + 1)), Signal()
        m.d.sync += [parts.eq(parts + self.opens - written), first_seen.eq(self.start)]
        with m.If(self.start):
            m.d.sync += [behind.eq(self.running & ~done), before.eq(parts - written), lines.eq(0)]
        with m.Else():
            m.d.sync += [before.eq(before - (behind & written)), behind.eq(behind & ~done)]
            m.d.sync += lines.eq(lines + (behind & self.fired))
        m.d.sync += limit.eq(0)
        for index in range(len(self.ahead)):
            with m.If((before == index + 1) & ~first_seen):
                m.d.sync += limit.eq(self.ahead[index])
        m.d.sync += self.allowed.eq(~behind | Mux(self.fired, lines + 1 < limit, lines < limit))
        return m
