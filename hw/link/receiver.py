"""Received frames, in two slots: one is executed while the next arrives."""

from __future__ import annotations

from amaranth.hdl import Cat, Module, Mux, Signal
from amaranth.lib import data, stream, wiring
from amaranth.lib.memory import Memory
from amaranth.lib.wiring import In, Out, connect
from amaranth.utils import ceil_log2

from sateen.hw.link.framing import Deframer
from sateen.hw.memory import NO_COLLISIONS, last_read
from sateen.hw.spec.wire import Frame, FrameType
from sateen.hw.stream.view import view

__all__ = ["LENGTH_BITS", "SESSION_BITS", "Receiver"]

HEADER = Frame.HEADER.size
OVERHEAD = HEADER + Frame.CRC_BYTES
LENGTH_BITS = 16
SESSION_BITS = 16


class Receiver(wiring.Component):
    """Keeps whole, undamaged frames of at most ``frame_bytes`` until they are released; drops all others silently.

    Takes a byte per cycle. A frame that begins while both slots hold one is dropped, but for a HELLO: it takes the
    place of the frame behind the oldest.

    Members
    -------
    i : In(stream), always ready
        Bytes from the line.
    valid : Out(1)
        There is a frame.
    type, seq, length, session : Out
        Of the oldest frame.
    next_valid, next_type : Out
        Of the frame behind it.
    address : In, data : Out
        Reads its payload; data ``LATENCY`` = 2 cycles after the address.
    done : In(1)
        Releases the oldest frame.
    """

    LATENCY = 2

    def __init__(self, *, frame_bytes: int):
        self.frame_bytes = frame_bytes
        super().__init__(
            {
                "i": In(stream.Signature(8, always_ready=True)),
                "valid": Out(1),
                "type": Out(8),
                "seq": Out(8),
                "length": Out(LENGTH_BITS),
                "session": Out(SESSION_BITS),
                "next_valid": Out(1),
                "next_type": Out(8),
                "address": In(ceil_log2(frame_bytes)),
                "data": Out(8),
                "done": In(1),
            }
        )

    def elaborate(self, platform: object) -> Module:
        m = Module()
        m.submodules.deframer = deframer = Deframer()
        connect(m, wiring.flipped(self.i), deframer.i)
        memory: Memory = Memory(shape=8, depth=2 * self.frame_bytes, init=[], attrs=NO_COLLISIONS)
        m.submodules.memory = memory
        write = memory.write_port()
        header = data.StructLayout({"type": 8, "seq": 8, "length": LENGTH_BITS, "session": SESSION_BITS})
        headers = view(data.ArrayLayout(header, 2))
        used, oldest, filling = Signal(range(3)), Signal(), Signal()

        # `count` is the bytes of the frame so far less those that are no payload, so that it compares with the header's
        # length as it is. It stops at `most`, which is too long for any frame.
        most = self.frame_bytes + 1
        count, dropped = Signal(range(-OVERHEAD, most + 1), init=-OVERHEAD), Signal()
        index, begins = Signal(range(-HEADER, most + Frame.CRC_BYTES + 1)), Signal()
        byte, commit, full, replaces = deframer.o.payload, Signal(), Signal(), Signal()
        # With both slots in use, `filling` is the oldest. The other one is given up for a HELLO.
        arriving, hello = filling ^ replaces, byte.data == FrameType.HELLO
        drop = Mux(begins, full & ~hello, dropped)
        m.d.comb += [
            full.eq(used == 2),
            begins.eq(count == -OVERHEAD),
            replaces.eq(deframer.o.valid & ~byte.end & begins & full & hello & ~self.done),
            index.eq(count + Frame.CRC_BYTES),
            write.addr.eq(Cat(index[: len(self.address)], filling)),
            write.data.eq(byte.data),
            commit.eq(
                deframer.o.valid & byte.end & byte.good & ~dropped
                & (count != most) & (headers[filling].length == count)
            ),
        ]  # fmt: skip
        with m.If(deframer.o.valid):
            with m.If(byte.end):
                m.d.sync += [count.eq(count.init), dropped.eq(0), filling.eq(filling ^ commit)]
            with m.Else():
                m.d.sync += [dropped.eq(drop), filling.eq(filling ^ replaces)]
                with m.If(count != most):
                    m.d.sync += count.eq(count + 1)
                # A frame's first byte is no payload, so that what it decides is a register when payload is written.
                with m.If(index < 0):
                    with m.If(~drop):
                        for slot in range(2):
                            with m.If(arriving == slot):
                                m.d.sync += headers[slot].eq(Cat(headers[slot].as_value()[8:], byte.data))
                with m.Elif(~dropped & (index < self.frame_bytes)):
                    m.d.comb += write.en.eq(1)
        m.d.sync += [used.eq(used + commit - self.done - replaces), oldest.eq(oldest ^ self.done)]

        m.d.comb += [
            self.valid.eq(used != 0),
            self.type.eq(headers[oldest].type),
            self.seq.eq(headers[oldest].seq),
            self.length.eq(headers[oldest].length),
            self.session.eq(headers[oldest].session),
            self.next_valid.eq(used == 2),
            self.next_type.eq(headers[~oldest].type),
        ]
        m.d.sync += self.data.eq(last_read(m, memory, Cat(self.address, oldest)))
        return m
