"""Frames on a stream of bytes: stuffing and CRC, both ways. Format: :mod:`sateen.hw.spec.wire`."""

from __future__ import annotations

from amaranth.hdl import Module, Mux, Signal
from amaranth.lib import data, stream, wiring
from amaranth.lib.crc import Processor
from amaranth.lib.crc.catalog import CRC32_ISO_HDLC
from amaranth.lib.wiring import In, Out

from sateen.hw.spec.wire import ESCAPE, ESCAPE_XOR, FLAG, Frame

__all__ = ["Deframer", "Framer"]


def _crc() -> Processor:
    return CRC32_ISO_HDLC(data_width=8).create()


class Deframer(wiring.Component):
    """Extracts frames from a stream of bytes, and checks their CRC.

    One byte per cycle, latency 1 cycle, no back-pressure. Whatever arrives, the next FLAG begins a new frame.

    Members
    -------
    i : In(stream), always ready
        Bytes from the line.
    o : Out(stream), always ready
        ``data``: the frame's next byte, header and CRC included; or with ``end`` the frame's end, ``good`` if its CRC
        is right.
    """

    def __init__(self) -> None:
        super().__init__(
            {
                "i": In(stream.Signature(8, always_ready=True)),
                "o": Out(stream.Signature(data.StructLayout({"data": 8, "end": 1, "good": 1}), always_ready=True)),
            }
        )

    def elaborate(self, platform: object) -> Module:
        m = Module()
        m.submodules.checksum = crc = _crc()
        escaped, inside, aborted = Signal(), Signal(), Signal()
        byte, o = self.i.payload, self.o.payload
        m.d.comb += [crc.data.eq(o.data), crc.valid.eq(self.o.valid & ~o.end), crc.start.eq(self.o.valid & o.end)]
        m.d.comb += o.good.eq(crc.match_detected & ~aborted)
        m.d.sync += self.o.valid.eq(0)
        with m.If(self.i.valid):
            m.d.sync += o.end.eq(byte == FLAG)
            with m.If(byte == FLAG):
                # A flag after an escape aborts the frame.
                m.d.sync += [self.o.valid.eq(inside), aborted.eq(escaped), inside.eq(0), escaped.eq(0)]
            with m.Elif((byte == ESCAPE) & ~escaped):
                m.d.sync += [escaped.eq(1), inside.eq(1)]
            with m.Else():
                m.d.sync += [
                    self.o.valid.eq(1),
                    o.data.eq(byte ^ Mux(escaped, ESCAPE_XOR, 0)),
                    escaped.eq(0),
                    inside.eq(1),
                ]
        return m


class Framer(wiring.Component):
    """Makes a frame of a body: flags, stuffing, CRC.

    One byte of the body per cycle, besides the cycles for escapes, flags and the CRC; full back-pressure.

    Members
    -------
    i : In(stream)
        The body's bytes, ``data``, up to the one with ``last``.
    o : Out(stream)
        Bytes to the line.
    """

    def __init__(self) -> None:
        super().__init__(
            {
                "i": In(stream.Signature(data.StructLayout({"data": 8, "last": 1}))),
                "o": Out(stream.Signature(8)),
            }
        )

    def elaborate(self, platform: object) -> Module:
        m = Module()
        m.submodules.checksum = crc = _crc()
        checksum, left, escaped = Signal(32), Signal(range(Frame.CRC_BYTES + 1)), Signal()
        byte, special, sent = Signal(8), Signal(), Signal()
        m.d.comb += [
            special.eq(((byte == FLAG) | (byte == ESCAPE)) & ~escaped),
            sent.eq(self.o.valid & self.o.ready & ~special),
            crc.data.eq(self.i.payload.data),
            crc.valid.eq(self.i.valid & self.i.ready),
        ]

        def stuffed() -> None:
            """Sends ``byte``, in one step or two."""
            m.d.comb += self.o.payload.eq(Mux(special, ESCAPE, byte ^ Mux(escaped, ESCAPE_XOR, 0)))
            with m.If(self.o.valid & self.o.ready):
                m.d.sync += escaped.eq(special)

        with m.FSM():
            with m.State("open"):
                m.d.comb += [self.o.payload.eq(FLAG), self.o.valid.eq(self.i.valid), crc.start.eq(1)]
                with m.If(self.o.valid & self.o.ready):
                    m.next = "body"
            with m.State("body"):
                stuffed()
                m.d.comb += [byte.eq(self.i.payload.data), self.o.valid.eq(self.i.valid), self.i.ready.eq(sent)]
                with m.If(sent & self.i.payload.last):
                    m.next = "settle"
            with m.State("settle"):
                m.d.sync += [checksum.eq(crc.crc), left.eq(Frame.CRC_BYTES)]
                m.next = "crc"
            with m.State("crc"):
                stuffed()
                m.d.comb += [byte.eq(checksum[:8]), self.o.valid.eq(1)]
                with m.If(sent):
                    m.d.sync += [checksum.eq(checksum >> 8), left.eq(left - 1)]
                    with m.If(left == 1):
                        m.next = "close"
            with m.State("close"):
                m.d.comb += [self.o.payload.eq(FLAG), self.o.valid.eq(1)]
                with m.If(self.o.ready):
                    m.next = "open"
        return m
