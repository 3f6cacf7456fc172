"""What an engine has for the host: its ports, and the path to its memories."""

from __future__ import annotations

from amaranth.hdl import Cat, Const, Module, Mux, Signal, Value
from amaranth.lib import data, stream, wiring
from amaranth.lib.wiring import In, Out

from sateen.hw.spec.descriptor import DESCRIPTOR_WORDS
from sateen.hw.spec.wire import LIMIT_BITS, Space
from sateen.hw.stream.slice import RegisterSlice
from sateen.hw.stream.view import view

__all__ = [
    "HOST_REQUEST", "LIMITED_RUN", "MOVE", "RUN", "EngineSignature", "HostPort", "MemoryPort", "descriptor_address",
    "host_request",
]  # fmt: skip

def host_request(width: int = 1) -> data.StructLayout:
    """One byte to read, or bytes to write: ``write`` has a bit for each of ``width`` bytes, the first of which is at
    ``address``. If more than one is written, the address is a multiple of ``width``, but in the scratchpad. If one is,
    it stands in each place of ``data``."""
    return data.StructLayout({"space": 3, "address": 24, "write": width, "data": 8 * width})


HOST_REQUEST = host_request()
"""One byte to write or to read."""
MOVE = data.StructLayout({"store": 1, "space": 3, "address": 24, "length": 16})
"""Bytes to copy from SDRAM into one of the memories, or with ``store`` from there into SDRAM. The memory
:attr:`~sateen.hw.spec.wire.Space.SDRAM` stands for the host."""
RUN = data.StructLayout({"first": 8, "count": 8})
"""Descriptors to run: the ``first``, and how many."""
LIMITED_RUN = data.StructLayout({**RUN.members, "limit": LIMIT_BITS})
"""Descriptors to run, and the cycles that they may take, see :func:`sateen.hw.spec.wire.limit_code`."""


def descriptor_address(number: Value) -> Value:
    """The word address of a descriptor in the program memory, made by an adder: the tile needs the multipliers."""
    assert DESCRIPTOR_WORDS == 32 + 16
    return (number << 5) + (number << 4)


class EngineSignature(wiring.Signature):
    """Ports of every engine, seen from inside it.

    Parameters
    ----------
    width : int
        Bytes that a request may write, and that are read.

    Members
    -------
    request : In(stream)
        The host's bytes to write and to read, see :func:`host_request`.
    response : Out(stream), always ready
        The bytes read, in order; of the scratchpad ``width`` that follow one another, elsewhere the lowest counts.
    run : In(stream)
        A program, see :data:`RUN`; taken while none runs.
    busy : Out(1)
        A program runs.
    place : Out(8)
        The place in the run, from 0, of the first descriptor that has not ended.
    halt : In(1)
        Stops the program at once. Memories keep what they hold.
    """

    def __init__(self, width: int = 1) -> None:
        super().__init__(
            {
                "request": In(stream.Signature(host_request(width))),
                "response": Out(stream.Signature(8 * width, always_ready=True)),
                "run": In(stream.Signature(RUN)),
                "busy": Out(1),
                "place": Out(8),
                "halt": In(1),
            }
        )


class MemoryPort(wiring.Signature):
    """A port to one memory, which accepts a write while ``write_ready`` and a read while ``read_ready``.

    Writes are of ``width`` bytes, of which those that are enabled are written. Reads are of as many, or of one, the
    lowest. What an accepted one reads comes a fixed number of cycles later.
    """

    def __init__(self, width: int = 1) -> None:
        super().__init__(
            {
                "address": Out(24),
                "write": Out(8 * width),
                "write_enable": Out(width),
                "read_enable": Out(1),
                "write_ready": In(1),
                "read_ready": In(1),
                "read": In(8 * width),
            }
        )


class HostPort(wiring.Component):
    """Distributes the host's requests to the memories' byte ports, and returns the answers in order.

    One request per cycle while the memories are free; requests pass a register slice. All reads take the longest of the
    memories' latencies.

    Parameters
    ----------
    latencies : dict of Space to int
        Cycles from a request to the memory's answer.
    width : int
        Bytes that a request may write, and that are read.

    Members
    -------
    i : In(stream)
        Requests.
    o : Out(stream), always ready
        The bytes read, see :class:`MemoryPort`.
    memories : {space: Out(MemoryPort)}
        Named by the space in lower case.
    """

    def __init__(self, *, latencies: dict[Space, int], width: int = 1):
        self.latencies, self.width = latencies, width
        super().__init__(
            {
                "i": In(stream.Signature(host_request(width))),
                "o": Out(stream.Signature(8 * width, always_ready=True)),
                **{space.name.lower(): Out(MemoryPort(width)) for space in latencies},
            }
        )

    def elaborate(self, platform: object) -> Module:
        m = Module()
        # The memory is decoded before a register, since any of the memories may hold a request back. The last bit:
        # none.
        m.submodules.slice = pending = RegisterSlice(
            data.StructLayout({"request": host_request(self.width), "chosen": len(self.latencies) + 1})
        )
        here = Cat(self.i.payload.space == space for space in self.latencies)
        m.d.comb += [
            pending.i.valid.eq(self.i.valid),
            self.i.ready.eq(pending.i.ready),
            pending.i.payload.request.eq(self.i.payload),
            pending.i.payload.chosen.eq(Cat(here, ~here.any())),
        ]
        request, chosen = pending.o.payload.request, pending.o.payload.chosen
        writes = request.write if self.width == 1 else request.write.any()
        latency = max(self.latencies.values())
        # A token per stage says which memory answers; bytes of faster memories wait as long as those of the slowest.
        token = view(data.StructLayout({"valid": 1, "space": 3}))
        byte: Value = Const(0, 8 * self.width)
        ready: Value = chosen[-1]
        for place, space in enumerate(self.latencies):
            port = getattr(self, space.name.lower())
            asked = pending.o.valid & chosen[place]
            m.d.comb += [
                port.address.eq(request.address),
                port.write.eq(request.data),
                port.write_enable.eq((asked if self.width == 1 else asked.replicate(self.width)) & request.write),
                port.read_enable.eq(asked & ~writes),
            ]
            ready = ready | (chosen[place] & Mux(writes, port.write_ready, port.read_ready))
        m.d.comb += [
            pending.o.ready.eq(ready),
            token.space.eq(request.space),
            token.valid.eq(pending.o.valid & ready & ~writes & ~chosen[-1]),
        ]
        for stage in range(latency + 1):
            byte, waiting = Signal(8 * self.width, name=f"byte_{stage}"), byte
            m.d.sync += byte.eq(waiting)
            with m.Switch(token.space):
                for space, cycles in self.latencies.items():
                    if cycles == stage:
                        with m.Case(space.value):
                            m.d.sync += byte.eq(getattr(self, space.name.lower()).read)
            token, before = view(token.shape(), name=f"token_{stage}"), token
            m.d.sync += token.eq(before)
        m.d.comb += [self.o.valid.eq(token.valid), self.o.payload.eq(byte)]
        return m
