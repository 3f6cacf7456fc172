"""The response to a request, which is kept and can be sent again."""

from __future__ import annotations

from amaranth.hdl import Array, Cat, Const, Module, Mux, Signal
from amaranth.lib import data, stream, wiring
from amaranth.lib.memory import Memory
from amaranth.lib.wiring import In, Out, connect
from amaranth.utils import ceil_log2

from sateen.hw.link.receiver import LENGTH_BITS, SESSION_BITS
from sateen.hw.memory import NO_COLLISIONS, last_read
from sateen.hw.spec.wire import Frame, FrameType
from sateen.hw.stream.fetch import Fetch

__all__ = ["Answer", "ResponseData"]

READ_LATENCY = 2
HEADER_BYTES = range(Frame.HEADER.size)


class ResponseData(wiring.Component):
    """Collects the data of a response, and gives them as often as asked.

    Takes a byte per cycle and gives one, or with ``ahead`` = 2 one in three cycles.

    Parameters
    ----------
    capacity : int
        Most bytes of data.
    ahead : int or None
        Bytes that are read before they are sent, see :class:`sateen.hw.stream.fetch.Fetch`.

    Members
    -------
    clear : In(1)
        Begins a new response.
    i : In(stream), always ready
        The next byte of data. Bytes beyond the capacity are lost.
    count : Out
        Bytes of data so far.
    start : In(1), sending : In(1)
        Begins with the first byte; from the next cycle on until the response is sent.
    bare : In(1)
        With ``start``: gives none of the data.
    o : Out(stream)
        The data.
    left : Out
        Bytes that are still to be taken.
    """

    def __init__(self, *, capacity: int, ahead: int | None = None):
        self.capacity, self.ahead = capacity, ahead
        count = range(capacity + 2)
        super().__init__(
            {
                "clear": In(1),
                "i": In(stream.Signature(8, always_ready=True)),
                "count": Out(count),
                "start": In(1),
                "bare": In(1),
                "sending": In(1),
                "o": Out(stream.Signature(8)),
                "left": Out(count),
            }
        )

    def elaborate(self, platform: object) -> Module:
        m = Module()
        memory: Memory = Memory(shape=8, depth=self.capacity + 1, init=[], attrs=NO_COLLISIONS)
        m.submodules.memory = memory
        m.submodules.fetch = fetch = Fetch(
            address=ceil_log2(self.capacity + 1),
            data_shape=8,
            tag=data.StructLayout({}),
            latency=READ_LATENCY,
            sliced=not self.ahead,
            depth=self.ahead,
        )
        write, stored = memory.write_port(), Signal(8)
        m.d.comb += [
            write.addr.eq(self.count),
            write.data.eq(self.i.payload),
            write.en.eq(self.i.valid & (self.count < self.capacity)),
            fetch.data.eq(stored),
        ]
        m.d.sync += stored.eq(last_read(m, memory, fetch.address))
        with m.If(self.clear):
            m.d.sync += self.count.eq(0)
        with m.Elif(write.en):
            m.d.sync += self.count.eq(self.count + 1)

        # Requests run ahead of what is sent.
        requested = Signal.like(self.count)
        m.d.comb += [
            fetch.i.valid.eq(self.sending & (requested != self.count)),
            fetch.i.payload.address.eq(requested),
            self.o.valid.eq(fetch.o.valid),
            self.o.payload.eq(fetch.o.payload.data),
            fetch.o.ready.eq(self.o.ready),
        ]
        with m.If(fetch.i.valid & fetch.i.ready):
            m.d.sync += requested.eq(requested + 1)
        with m.If(self.o.valid & self.o.ready):
            m.d.sync += self.left.eq(self.left - 1)
        with m.If(self.start):
            m.d.sync += [requested.eq(Mux(self.bare, self.count, 0)), self.left.eq(Mux(self.bare, 0, self.count))]
        return m


class Answer(wiring.Component):
    """Collects the data of a response, and gives its frame's body as often as asked: header, data, status.

    Takes a byte per cycle and gives one, or with ``ahead`` = 2 one in three cycles.

    Parameters
    ----------
    frame_bytes : int
        Largest payload of a frame; the data have one byte less.
    ahead : int or None
        Bytes that are read before they are sent, see :class:`sateen.hw.stream.fetch.Fetch`.

    Members
    -------
    clear : In(1)
        Begins a new response.
    i : In(stream), always ready
        The next byte of data. Bytes beyond the largest frame are lost.
    count : Out
        Bytes of data so far.
    seq, session, status : In
        Of the response; steady while it is sent.
    start : In(1)
        Sends the response.
    bare : In(1)
        The status alone is sent, and the data are kept; steady while it is sent.
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
                "session": In(SESSION_BITS),
                "status": In(8),
                "start": In(1),
                "bare": In(1),
                "o": Out(stream.Signature(data.StructLayout({"data": 8, "last": 1}))),
                "done": Out(1),
            }
        )

    def elaborate(self, platform: object) -> Module:
        m = Module()
        m.submodules.body = body = ResponseData(capacity=self.frame_bytes - 1, ahead=self.ahead)
        connect(m, wiring.flipped(self.i), body.i)
        place, length = Signal(range(Frame.HEADER.size + 1)), Signal(LENGTH_BITS)
        sending, o = Signal(), self.o.payload
        # The bytes of the header, one after the other: its fields are steady.
        header = Cat(Const(FrameType.RESPONSE, 8), self.seq, length, self.session)
        m.d.comb += [
            body.clear.eq(self.clear),
            self.count.eq(body.count),
            body.start.eq(self.start),
            body.bare.eq(self.bare),
            body.sending.eq(sending),
        ]
        # Steady before it is sent, behind two other bytes: in a register where speed matters.
        m.d["comb" if self.ahead else "sync"] += length.eq(Mux(self.bare, 0, self.count) + 1)
        taken = self.o.valid & self.o.ready
        with m.If(self.start):
            m.d.sync += [sending.eq(1), place.eq(0)]
        with m.If(sending):
            with m.If(place != Frame.HEADER.size):
                m.d.comb += [
                    self.o.valid.eq(1),
                    o.data.eq(Array(header.word_select(i, 8) for i in HEADER_BYTES)[place]),
                ]
                with m.If(taken):
                    m.d.sync += place.eq(place + 1)
            with m.Elif(body.left != 0):
                m.d.comb += [self.o.valid.eq(body.o.valid), o.data.eq(body.o.payload), body.o.ready.eq(self.o.ready)]
            with m.Else():
                m.d.comb += [self.o.valid.eq(1), o.data.eq(self.status), o.last.eq(1), self.done.eq(taken)]
                with m.If(taken):
                    m.d.sync += sending.eq(0)
        return m
