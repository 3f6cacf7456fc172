"""Ethernet frames at a PHY (IEEE 802.3, clauses 3 and 35), at a byte a cycle: preamble, padding, check sequence, gaps.

Both parts are in the domain ``sync``, which whoever uses them renames to the PHY's.
"""

from __future__ import annotations

from amaranth.hdl import Cat, Module, Mux, Signal
from amaranth.lib import data, stream, wiring
from amaranth.lib.crc import Processor
from amaranth.lib.crc.catalog import CRC32_ISO_HDLC
from amaranth.lib.wiring import In, Out

__all__ = ["FRAME_BITS", "GMII", "LEAST_BYTES", "RECEIVED", "FrameReceiver", "FrameSender"]

GMII = wiring.Signature(
    {
        "rx_valid": In(1), "rx_error": In(1), "rx_data": In(8),
        "tx_valid": Out(1), "tx_data": Out(8),
    }
)  # fmt: skip
"""A PHY's lines, a byte a cycle, seen from the device (IEEE 802.3, clause 35): RX_DV, RX_ER, RXD, TX_EN, TXD."""
RECEIVED = data.StructLayout({"data": 8, "end": 1})
"""A frame's next byte; or its end, with ``data`` 1 if the frame is good."""
LEAST_BYTES = 60
"""Of a frame without its check sequence; shorter ones are padded."""
CHECK_BYTES = 4
PREAMBLE, BEGIN, PREAMBLE_BYTES = 0x55, 0xD5, 7
GAP_CYCLES = 12
FRAME_BITS = 11
"""Width of the number of a frame's bytes."""


def _crc() -> Processor:
    return CRC32_ISO_HDLC(data_width=8).create()


class FrameReceiver(wiring.Component):
    """Takes frames from a PHY. Byte by byte, 6 cycles later; no back-pressure reaches the line. Check sequences are not
    passed on: a packet that says that it is longer than its frame does not take them for its own.

    Members
    -------
    valid : In(1), error : In(1), data : In(8)
        From the PHY.
    o : Out(stream)
        :data:`RECEIVED`. A frame that finds it not ready in time is cut there, and is not good; its end always comes.
    """

    def __init__(self) -> None:
        super().__init__({"valid": In(1), "error": In(1), "data": In(8), "o": Out(stream.Signature(RECEIVED))})

    def elaborate(self, platform: object) -> Module:
        m = Module()
        m.submodules.check = crc = _crc()
        valid, error, byte, broken = Signal(), Signal(), Signal(8), Signal()
        # The last bytes, of which nobody knows whether they are the check sequence.
        held, count = Signal(8 * CHECK_BYTES), Signal(range(CHECK_BYTES + 1))
        m.d.sync += [valid.eq(self.valid), error.eq(self.error), byte.eq(self.data)]
        m.d.comb += [crc.data.eq(byte), self.o.payload.data.eq(held[:8])]
        with m.FSM():
            with m.State("gap"):
                # A frame whose beginning nobody saw passes.
                with m.If(~valid):
                    m.next = "preamble"
            with m.State("preamble"):
                m.d.comb += crc.start.eq(1)
                m.d.sync += [broken.eq(0), count.eq(0)]
                with m.If(valid & (byte == BEGIN)):
                    m.next = "frame"
                with m.Elif(valid & (byte != PREAMBLE)):
                    m.next = "gap"
            with m.State("frame"):
                m.d.comb += [self.o.valid.eq(valid & ~broken & (count == CHECK_BYTES)), crc.valid.eq(valid)]
                with m.If(valid):
                    m.d.sync += [held.eq(Cat(held[8:], byte)), count.eq(count + (count != CHECK_BYTES))]
                with m.If((valid & error) | (self.o.valid & ~self.o.ready)):
                    m.d.sync += broken.eq(1)
                with m.If(~valid):
                    m.next = "end"
            with m.State("end"):
                m.d.comb += [
                    self.o.valid.eq(1),
                    self.o.payload.end.eq(1),
                    self.o.payload.data.eq(crc.match_detected & ~broken),
                ]
                with m.If(self.o.ready):
                    m.next = "gap"
        return m


class FrameSender(wiring.Component):
    """Gives frames to a PHY: preamble, bytes, padding, check sequence, and a gap before the next one.

    Members
    -------
    length : In(stream)
        The number of a frame's bytes, without its check sequence, when all of them are there; taken at its end.
    i : In(stream)
        The bytes.
    valid : Out(1), data : Out(8)
        To the PHY.
    """

    def __init__(self) -> None:
        super().__init__(
            {
                "length": In(stream.Signature(FRAME_BITS)),
                "i": In(stream.Signature(8)),
                "valid": Out(1),
                "data": Out(8),
            }
        )

    def elaborate(self, platform: object) -> Module:
        m = Module()
        m.submodules.check = crc = _crc()
        place, last, padding, check = Signal(FRAME_BITS), Signal(FRAME_BITS), Signal(), Signal(32)
        byte = Signal(8)
        m.d.comb += [byte.eq(Mux(padding, 0, self.i.payload)), crc.data.eq(byte)]
        m.d.sync += [self.valid.eq(1), place.eq(place + 1)]
        with m.FSM():
            with m.State("idle"):
                m.d.sync += [self.valid.eq(0), place.eq(0), padding.eq(0), last.eq(self.length.payload - 1)]
                with m.If(self.length.valid):
                    m.next = "preamble"
            with m.State("preamble"):
                m.d.comb += crc.start.eq(1)
                m.d.sync += self.data.eq(PREAMBLE)
                with m.If(place == PREAMBLE_BYTES):
                    m.d.sync += [self.data.eq(BEGIN), place.eq(0)]
                    m.next = "frame"
            with m.State("frame"):
                m.d.comb += [crc.valid.eq(1), self.i.ready.eq(~padding)]
                m.d.sync += self.data.eq(byte)
                with m.If(place == last):
                    m.d.sync += padding.eq(1)
                with m.If((padding | (place == last)) & (place >= LEAST_BYTES - 1)):
                    m.d.sync += place.eq(0)
                    m.next = "check"
            with m.State("check"):
                left = Mux(place == 0, crc.crc, check)
                m.d.sync += [self.data.eq(left), check.eq(left >> 8)]
                with m.If(place == CHECK_BYTES - 1):
                    m.d.comb += self.length.ready.eq(1)
                    m.d.sync += place.eq(0)
                    m.next = "gap"
            with m.State("gap"):
                m.d.sync += self.valid.eq(0)
                with m.If(place == GAP_CYCLES - 1):
                    m.next = "idle"
        return m
