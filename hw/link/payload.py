"""The payload of a received frame, as a stream."""

from __future__ import annotations

from amaranth.hdl import Module, Signal, signed
from amaranth.lib import data, stream, wiring
from amaranth.lib.wiring import In, Out

from sateen.hw.stream.fetch import Fetch

__all__ = ["Payload"]

NO_TAG = data.StructLayout({})


class Payload(wiring.Component):
    """Reads a frame's payload from the receiver's memory, byte by byte.

    One byte per cycle, full back-pressure; with ``ahead`` = 2 one byte in three cycles.

    Parameters
    ----------
    address_bits : int
        Of the memory.
    length_bits : int
        Of a frame's length.
    latency : int
        Of the memory, cycles.
    ahead : int or None
        Bytes that are read before they are taken, see :class:`sateen.hw.stream.fetch.Fetch`.

    Members
    -------
    start : In(1)
        Begins with a frame's first byte; all bytes of the frame before have been taken.
    length : In
        Bytes of the frame; steady until all are taken.
    address : Out, data : In
        To and from the memory.
    o : Out(stream)
        The bytes.
    left : Out
        Bytes that are still to be taken, less one: negative if there are none.
    """

    def __init__(self, *, address_bits: int, length_bits: int, latency: int, ahead: int | None = None):
        self.address_bits, self.latency, self.ahead = address_bits, latency, ahead
        super().__init__(
            {
                "start": In(1),
                "length": In(length_bits),
                "address": Out(address_bits),
                "data": In(8),
                "o": Out(stream.Signature(8)),
                "left": Out(signed(length_bits + 1), init=-1),  # type: ignore[call-arg]
            }
        )

    def elaborate(self, platform: object) -> Module:
        m = Module()
        m.submodules.fetch = fetch = Fetch(
            address=self.address_bits,
            data_shape=8,
            tag=NO_TAG,
            latency=self.latency,
            sliced=not self.ahead,
            depth=self.ahead,
        )
        # Bytes that are still to be requested, less one, like `left`.
        unrequested = Signal.like(self.left)
        m.d.comb += [
            fetch.i.valid.eq(unrequested >= 0),
            fetch.i.payload.address.eq(self.length + ~unrequested),
            self.address.eq(fetch.address),
            fetch.data.eq(self.data),
            self.o.valid.eq(fetch.o.valid),
            self.o.payload.eq(fetch.o.payload.data),
            fetch.o.ready.eq(self.o.ready),
        ]
        with m.If(fetch.i.valid & fetch.i.ready):
            m.d.sync += unrequested.eq(unrequested - 1)
        m.d.sync += self.left.eq(self.left - (self.o.valid & self.o.ready))
        with m.If(self.start):
            m.d.sync += [unrequested.eq(self.length - 1), self.left.eq(self.length - 1)]
        return m
