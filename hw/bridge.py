"""SDRAM beside an engine: the host's bytes go in and out, and what lies there is copied into the engine's memories."""

from __future__ import annotations

from amaranth.hdl import Cat, Module, Mux, Signal, signed
from amaranth.lib import stream, wiring
from amaranth.lib.crc.catalog import CRC32_ISO_HDLC
from amaranth.lib.wiring import In, Out, connect
from amaranth.utils import exact_log2

from sateen.hw.host import COPY, HOST_REQUEST
from sateen.hw.sdram.controller import SdramController
from sateen.hw.sdram.pins import pins
from sateen.hw.spec.config import Config
from sateen.hw.spec.sdram import PAD_CYCLES, find_chip
from sateen.hw.spec.wire import Space

__all__ = ["SdramBridge"]


class SdramBridge(wiring.Component):
    """Stands between link and engine. Requests for SDRAM end here, all others pass, without latency.

    A copy moves a byte a cycle, as the engine's memories take them, also while a program runs. It begins within CAS
    latency + 18 cycles of its request, and those of a refresh. A single byte that the host writes or reads takes as
    long; requests of bytes follow one another.

    Parameters
    ----------
    config : Config
        With a chip of SDRAM.

    Members
    -------
    i : In(stream), upper : In(8)
        The host's requests (:data:`sateen.hw.host.HOST_REQUEST`), and the eight bits above their address.
    o : Out(stream)
        Requests to the engine: the host's and those of copies. None of the host's may be offered during a copy.
    response : Out(stream), always ready
        The bytes read from SDRAM, or of the checksum.
    seek : In(1), source : In(32)
        Copies begin at byte ``source``, and a checksum with them.
    copy : In(stream)
        Copies, see :data:`sateen.hw.host.COPY`. One is taken when its last byte is.
    pins : Out
        The chip, see :func:`sateen.hw.sdram.pins.pins`, through registers on both ways
        (:data:`~sateen.hw.spec.sdram.PAD_CYCLES`).
    """

    def __init__(self, config: Config):
        if config.sdram is None:
            raise ValueError("sdram must be the name of a chip, not None")
        self.config, self.chip = config, find_chip(config.sdram)
        super().__init__(
            {
                "i": In(stream.Signature(HOST_REQUEST)),
                "upper": In(8),
                "o": Out(stream.Signature(HOST_REQUEST)),
                "response": Out(stream.Signature(8, always_ready=True)),
                "seek": In(1),
                "source": In(32),
                "copy": In(stream.Signature(COPY)),
                "pins": Out(pins(self.chip)),
            }
        )

    def elaborate(self, platform: object) -> Module:
        m = Module()
        length_bits = len(self.copy.payload.length)
        m.submodules.controller = memory = SdramController(
            chip=self.chip, clock_hz=self.config.clock_hz, delay=PAD_CYCLES, length_bits=length_bits
        )
        connect(m, memory.pins, wiring.flipped(self.pins))
        m.submodules.checksum = crc = CRC32_ISO_HDLC(data_width=8).create()
        size = self.chip.data_bits // 8
        offset_bits = exact_log2(size)
        word_bits = slice(offset_bits, offset_bits + self.chip.address_bits)

        asked, copy = self.i.payload, self.copy.payload
        address = Cat(asked.address, self.upper)
        of_chip, of_check = Signal(), Signal()
        place, source, index = Signal.like(copy.address), Signal.like(self.source), Signal(offset_bits)
        left = Signal(signed(length_bits + 1))
        """Bytes that are still to be copied, less one."""
        m.d.comb += [
            of_chip.eq(asked.space == Space.SDRAM),
            of_check.eq(asked.space == Space.CHECK),
            self.o.payload.eq(asked),
            memory.w.payload.data.eq(asked.data.replicate(size)),
            memory.w.payload.enable.eq(1 << address[:offset_bits]),
            memory.request.payload.write.eq(asked.write),
            memory.request.payload.address.eq(address[word_bits]),
            crc.data.eq(memory.r.payload.word_select(index, 8)),
            crc.start.eq(self.seek),
        ]
        with m.If(self.seek):
            m.d.sync += source.eq(self.source)
        with m.FSM():
            with m.State("idle"):
                m.d.comb += [
                    self.o.valid.eq(self.i.valid & ~of_chip & ~of_check),
                    self.i.ready.eq(Mux(of_check, 1, self.o.ready & ~of_chip)),
                    self.response.valid.eq(self.i.valid & of_check & ~asked.write),
                    self.response.payload.eq(crc.crc.word_select(asked.address[:2], 8)),
                ]
                m.d.sync += [place.eq(copy.address), left.eq(copy.length - 1), index.eq(0)]
                with m.If(self.i.valid & of_chip):
                    m.next = "ask"
                with m.Elif(self.copy.valid):
                    m.next = "fetch"
            with m.State("ask"):
                m.d.comb += memory.request.valid.eq(1)
                with m.If(memory.request.ready):
                    m.next = "access"
            with m.State("access"):
                m.d.comb += [
                    memory.w.valid.eq(asked.write),
                    memory.r.ready.eq(~asked.write),
                    self.i.ready.eq(Mux(asked.write, memory.w.ready, memory.r.valid)),
                    self.response.valid.eq(memory.r.valid),
                    self.response.payload.eq(memory.r.payload.word_select(address[:offset_bits], 8)),
                ]
                with m.If(self.i.ready):
                    m.next = "idle"
            with m.State("fetch"):
                m.d.comb += [
                    memory.request.valid.eq(left >= 0),
                    memory.request.payload.write.eq(0),
                    memory.request.payload.address.eq(source[word_bits]),
                    memory.request.payload.length.eq(left >> offset_bits),
                ]
                with m.If(memory.request.ready | (left < 0)):
                    m.next = "move"
            with m.State("move"):
                checked = copy.space == Space.CHECK
                request = self.o.payload
                m.d.comb += [
                    request.space.eq(copy.space),
                    request.address.eq(place),
                    request.write.eq(1),
                    request.data.eq(crc.data),
                    self.o.valid.eq(memory.r.valid & ~checked),
                    crc.valid.eq(memory.r.valid & (self.o.ready | checked)),
                    memory.r.ready.eq(crc.valid & (index == size - 1)),
                ]
                m.d.sync += [
                    place.eq(place + crc.valid),
                    index.eq(index + crc.valid),
                    left.eq(left - crc.valid),
                ]
                with m.If(left < 0):
                    m.d.comb += self.copy.ready.eq(1)
                    m.d.sync += source.eq(source + copy.length)
                    m.next = "idle"
        return m
