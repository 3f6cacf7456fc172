"""The host's way to the memories."""

from __future__ import annotations

from amaranth.hdl import Const, Module, Signal, Value
from amaranth.lib import data, stream, wiring
from amaranth.lib.wiring import In, Out

from weft.hw.spec.wire import Space

__all__ = ["HOST_REQUEST", "HostPort", "MemoryPort"]

HOST_REQUEST = data.StructLayout({"space": 3, "address": 24, "write": 1, "data": 8})
"""One byte to write or to read."""


class MemoryPort(wiring.Signature):
    """A byte-wide port to one memory: ``request`` with ``ready``; data ``latency`` cycles after a read is taken."""

    def __init__(self) -> None:
        super().__init__(
            {
                "address": Out(24),
                "write": Out(8),
                "write_enable": Out(1),
                "read_enable": Out(1),
                "ready": In(1),
                "read": In(8),
            }
        )


class HostPort(wiring.Component):
    """Takes the host's requests to the memories' byte ports, and brings the answers back in order.

    One request per cycle while the memories are free. A read's answer comes after the longest of the memories' latencies.

    Parameters
    ----------
    latencies : dict of Space to int
        Cycles from a request to the memory's answer.

    Members
    -------
    i : In(stream)
        Requests.
    o : Out(stream), always ready
        The bytes read.
    memories : {space: Out(MemoryPort)}
        Named by the space in lower case.
    """

    def __init__(self, *, latencies: dict[Space, int]):
        self.latencies = latencies
        super().__init__(
            {
                "i": In(stream.Signature(HOST_REQUEST)),
                "o": Out(stream.Signature(8, always_ready=True)),
                **{space.name.lower(): Out(MemoryPort()) for space in latencies},
            }
        )

    def elaborate(self, platform: object) -> Module:
        m = Module()
        request = self.i.payload
        latency = max(self.latencies.values())
        # A token per stage says which memory answers; quick memories' bytes wait for the slowest.
        token = Signal(data.StructLayout({"valid": 1, "space": 3}))
        m.d.comb += token.space.eq(request.space)
        byte: Value = Const(0, 8)
        with m.Switch(request.space):
            for space in self.latencies:
                with m.Case(space.value):
                    port = getattr(self, space.name.lower())
                    m.d.comb += [
                        self.i.ready.eq(port.ready),
                        port.write_enable.eq(self.i.valid & request.write),
                        port.read_enable.eq(self.i.valid & ~request.write),
                        token.valid.eq(self.i.valid & ~request.write & port.ready),
                    ]
            with m.Default():
                m.d.comb += self.i.ready.eq(1)
        for space in self.latencies:
            port = getattr(self, space.name.lower())
            m.d.comb += [port.address.eq(request.address), port.write.eq(request.data)]
        for stage in range(latency + 1):
            byte, waiting = Signal(8, name=f"byte_{stage}"), byte
            m.d.sync += byte.eq(waiting)
            with m.Switch(token.space):
                for space, here in self.latencies.items():
                    if here == stage:
                        with m.Case(space.value):
                            m.d.sync += byte.eq(getattr(self, space.name.lower()).read)
            token, before = Signal(token.shape(), name=f"token_{stage}"), token
            m.d.sync += token.eq(before)
        m.d.comb += [self.o.valid.eq(token.valid), self.o.payload.eq(byte)]
        return m
