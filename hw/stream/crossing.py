"""From one clock to another: a stream whose items wait in a block RAM."""

from __future__ import annotations

from amaranth.hdl import DomainRenamer, Module, ShapeLike, Signal, Value, signed
from amaranth.lib import data, stream, wiring
from amaranth.lib.cdc import FFSynchronizer
from amaranth.lib.memory import Memory
from amaranth.lib.wiring import In, Out

from sateen.hw.stream.delay import delayed
from sateen.hw.stream.fetch import Fetch

__all__ = ["Crossing"]

LATE = 4
"""Places that are left free: so many items may be taken until the writer knows that there is no room."""
READ_LATENCY = 2


class Crossing(wiring.Component):
    """Holds up to ``depth`` less four items between two clocks, in order. One item per cycle of the slower one with a
    ``depth`` of 32 or more; latency about nine cycles of the reader's.

    Paths are short in both domains, since counts and what follows from them are registers. A reset of one domain must
    last until the other one's has passed, eight cycles of the slower clock.

    Parameters
    ----------
    shape : shape
        Of an item.
    depth : int
        A power of two, 16 or more.
    write_domain, read_domain : str
        The clocks of ``i`` and ``o``.

    Members
    -------
    i : In(stream), o : Out(stream)
        The stream.
    """

    def __init__(self, shape: ShapeLike, *, depth: int, write_domain: str, read_domain: str):
        if depth < 16 or depth & (depth - 1):
            raise ValueError(f"depth must be a power of two of 16 or more, not {depth!r}")
        self.shape, self.depth, self.domains = shape, depth, (write_domain, read_domain)
        super().__init__({"i": In(stream.Signature(shape)), "o": Out(stream.Signature(shape))})

    def elaborate(self, platform: object) -> Module:
        m = Module()
        write_domain, read_domain = self.domains
        width = self.depth.bit_length()
        memory: Memory = Memory(shape=self.shape, depth=self.depth, init=[])
        m.submodules.memory = memory
        written, read = Signal(width), Signal(width)
        # What each side knows of the other.
        seen_written = self._across(m, written, write_domain, read_domain, name="written")
        seen_read = self._across(m, read, read_domain, write_domain, name="read")

        write = memory.write_port(domain=write_domain)
        level, taken = Signal(width), Signal()
        m.d.comb += [
            taken.eq(self.i.valid & self.i.ready),
            write.addr.eq(written),
            write.data.eq(self.i.payload),
            write.en.eq(taken),
        ]
        m.d[write_domain] += [
            written.eq(written + taken),
            level.eq(written - seen_read),
            self.i.ready.eq(level < self.depth - LATE),
        ]

        m.submodules.fetch = fetch = DomainRenamer(read_domain)(
            Fetch(address=width - 1, data_shape=self.shape, tag=data.StructLayout({}), latency=READ_LATENCY)
        )
        # Items that are there and not asked for, less one.
        waiting, known, new, asked = Signal(signed(width + 1), init=-1), Signal(width), Signal(width), Signal(width)
        fired, port = Signal(), memory.read_port(domain=read_domain)
        m.d.comb += [
            fired.eq(fetch.i.valid & fetch.i.ready),
            fetch.i.valid.eq(waiting >= 0),
            fetch.i.payload.address.eq(asked),
            port.addr.eq(fetch.address),
        ]
        m.d[read_domain] += [
            known.eq(seen_written),
            new.eq(seen_written - known),
            waiting.eq(waiting + new - fired),
            asked.eq(asked + fired),
            fetch.data.eq(port.data),
        ]
        # A place is free when its item has been read.
        late = Module()
        late.d.comb += read.eq(delayed(late, asked, READ_LATENCY + 1, name="asked", reset=True))
        m.submodules.read = DomainRenamer(read_domain)(late)
        m.d.comb += [
            self.o.valid.eq(fetch.o.valid),
            self.o.payload.eq(fetch.o.payload.data),
            fetch.o.ready.eq(self.o.ready),
        ]
        return m

    def _across(self, m: Module, count: Signal, there: str, here: str, *, name: str) -> Signal:
        """A count of the other domain, some cycles later: one bit of its Gray code changes at a time."""
        gray, synchronized = Signal(len(count), name=f"{name}_gray"), Signal(len(count), name=f"{name}_synchronized")
        result = Signal(len(count), name=f"{name}_seen")
        m.d[there] += gray.eq(count ^ (count >> 1))
        m.submodules[f"{name}_synchronizer"] = FFSynchronizer(gray, synchronized, o_domain=here)
        bits: list[Value] = [synchronized[place:].xor() for place in range(len(count))]
        for place, bit in enumerate(bits):
            m.d[here] += result[place].eq(bit)
        return result
