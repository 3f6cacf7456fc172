"""A queue: a stream's items wait in a memory that is read in the same cycle."""

from __future__ import annotations

from amaranth.hdl import Module, ShapeLike, Signal, signed
from amaranth.lib import stream, wiring
from amaranth.lib.memory import Memory
from amaranth.lib.wiring import In, Out

from sateen.hw.stream.slice import segments

__all__ = ["Queue"]


class Queue(wiring.Component):
    """Holds up to ``depth`` items, in order. One item per cycle, latency 1 cycle.

    Wide items are cut into segments, as in a register slice.

    Parameters
    ----------
    shape : shape
        Of an item.
    depth : int
        A power of two, 2 or more.

    Members
    -------
    i : In(stream), o : Out(stream)
        The stream. ``i.ready`` and ``o.valid`` are registers, each the sign of a count.
    """

    def __init__(self, shape: ShapeLike, *, depth: int):
        if depth < 2 or depth & (depth - 1):
            raise ValueError(f"depth must be a power of two of 2 or more, not {depth!r}")
        self.shape, self.depth = shape, depth
        super().__init__({"i": In(stream.Signature(shape)), "o": Out(stream.Signature(shape))})

    def elaborate(self, platform: object) -> Module:
        m = Module()
        # Both counts less one, so that the signs are the flags.
        count = signed(self.depth.bit_length() + 1)
        waiting, room = Signal(count, init=-1), Signal(count, init=self.depth - 1)
        arrives, leaves = self.i.valid & self.i.ready, self.o.valid & self.o.ready
        m.d.comb += [self.i.ready.eq(room >= 0), self.o.valid.eq(waiting >= 0)]
        m.d.sync += [waiting.eq(waiting + arrives - leaves), room.eq(room - arrives + leaves)]
        for segment, (given, wanted) in enumerate(segments(self.i.payload, self.o.payload)):
            items: Memory = Memory(shape=len(given), depth=self.depth, init=[])
            m.submodules[f"items_{segment}"] = items
            write, read = items.write_port(), items.read_port(domain="comb")
            m.d.comb += [write.en.eq(arrives), write.data.eq(given), wanted.eq(read.data)]
            m.d.sync += [write.addr.eq(write.addr + arrives), read.addr.eq(read.addr + leaves)]
        return m
