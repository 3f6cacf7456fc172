"""The response to a request, kept so that it can be sent again."""

from __future__ import annotations

from amaranth.hdl import Cat, Const, Module, Signal
from amaranth.lib import data, stream, wiring
from amaranth.lib.memory import Memory
from amaranth.lib.wiring import In, Out
from amaranth.utils import ceil_log2

from sateen.hw.memory import NO_COLLISIONS, last_read
from sateen.hw.spec.wire import Frame, FrameType
from sateen.hw.stream.fetch import Fetch

__all__ = ["Answer"]

LENGTH_BITS = 16
READ_LATENCY = 2


class Answer(wiring.Component):
    """Collects the data of a response, and gives its frame's body: header, data, status. As often as asked.

    Takes a byte per cycle and gives one, or with ``ahead`` = 2 one in three cycles.

    Parameters
    ----------
    frame_bytes : int
        Largest payload of a frame; one byte less of data.
    ahead : int or None
        Bytes that are read before they are sent, see :class:`sateen.hw.stream.fetch.Fetch`.

    Members
    -------
    clear : In(1)
        Begins a new response.
    i : In(stream), always ready
        The next byte of data. Past the end of the buffer it is lost.
    count : Out
        Bytes of data so far.
    seq, status : In
        Of the response; steady while it is sent.
    start : In(1)
        Sends the response.
    o : Out(stream)
        The frame's body, see :class:`sateen.hw.link.framing.Framer`.
    done : Out(1)
        Pulses with the last byte.
    """

    def __init__(self, *, frame_bytes: int, ahead: int | None = None):
        self.frame_bytes, self.ahead = frame_bytes, ahead
        super().__init__(
            {
                "clear": In(1),
                "i": In(stream.Signature(8, always_ready=True)),
                "count": Out(range(frame_bytes + 1)),
                "seq": In(8),
                "status": In(8),
                "start": In(1),
                "o": Out(stream.Signature(data.StructLayout({"data": 8, "last": 1}))),
                "done": Out(1),
            }
        )

    def elaborate(self, platform: object) -> Module:
        m = Module()
        m.submodules.memory = memory = Memory(shape=8, depth=self.frame_bytes, init=[], attrs=NO_COLLISIONS)
        write = memory.write_port()
        address = ceil_log2(self.frame_bytes)
        m.submodules.fetch = fetch = Fetch(
            address=address,
            data_shape=8,
            tag=data.StructLayout({}),
            latency=READ_LATENCY,
            sliced=not self.ahead,
            depth=self.ahead,
        )
        stored = Signal(8)
        m.d.comb += [
            write.addr.eq(self.count),
            write.data.eq(self.i.payload),
            write.en.eq(self.i.valid & (self.count < self.frame_bytes - 1)),
            fetch.data.eq(stored),
        ]
        m.d.sync += stored.eq(last_read(m, memory, fetch.address))
        with m.If(self.clear):
            m.d.sync += self.count.eq(0)
        with m.Elif(write.en):
            m.d.sync += self.count.eq(self.count + 1)

        # What is asked for runs ahead of what is sent.
        asked, asking, header = Signal.like(self.count), Signal(), Signal(8 * Frame.HEADER.size)
        header_left, data_left = Signal(range(Frame.HEADER.size + 1)), Signal.like(self.count)
        sending, o = Signal(), self.o.payload
        m.d.comb += [
            asking.eq(sending & (asked != self.count)),
            fetch.i.valid.eq(asking),
            fetch.i.payload.address.eq(asked),
        ]
        with m.If(asking & fetch.i.ready):
            m.d.sync += asked.eq(asked + 1)
        taken = self.o.valid & self.o.ready
        with m.If(self.start):
            length = Signal(LENGTH_BITS)
            m.d.comb += length.eq(self.count + 1)
            m.d.sync += [
                sending.eq(1),
                asked.eq(0),
                header.eq(Cat(Const(FrameType.RESPONSE, 8), self.seq, length)),
                header_left.eq(Frame.HEADER.size),
                data_left.eq(self.count),
            ]
        with m.If(sending):
            with m.If(header_left != 0):
                m.d.comb += [self.o.valid.eq(1), o.data.eq(header[:8])]
                with m.If(taken):
                    m.d.sync += [header.eq(header >> 8), header_left.eq(header_left - 1)]
            with m.Elif(data_left != 0):
                m.d.comb += [
                    self.o.valid.eq(fetch.o.valid),
                    o.data.eq(fetch.o.payload.data),
                    fetch.o.ready.eq(self.o.ready),
                ]
                with m.If(taken):
                    m.d.sync += data_left.eq(data_left - 1)
            with m.Else():
                m.d.comb += [self.o.valid.eq(1), o.data.eq(self.status), o.last.eq(1), self.done.eq(taken)]
                with m.If(taken):
                    m.d.sync += sending.eq(0)
        return m
