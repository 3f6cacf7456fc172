"""Reading a memory of fixed latency as a stream."""

from __future__ import annotations

from amaranth.hdl import Module, Mux, ShapeLike, Signal, Value
from amaranth.lib import data, stream, wiring
from amaranth.lib.wiring import In, Out, connect

from sateen.hw.spec.config import ceil_pow2
from sateen.hw.stream.delay import delayed
from sateen.hw.stream.queue import Queue
from sateen.hw.stream.slice import RegisterSlice

__all__ = ["Fetch"]


class Fetch(wiring.Component):
    """Turns a memory port that answers after ``latency`` cycles into streams of requests and answers.

    Answers wait in a queue. A request is accepted only with a place in it, so that the memory is never stalled. One
    request per cycle, full back-pressure; latency ``latency + 2`` cycles, and one more with a register slice.

    Parameters
    ----------
    address : shape
        Of the memory's address.
    data : shape
        Of its answer.
    tag : shape
        Of what accompanies a request and comes back with its answer.
    latency : int
        Cycles from ``address`` to ``data``, 1 or more.
    sliced : bool
        A register slice follows the queue, and requests may come late in a cycle: faster, in more cells. Without it
        ``data`` comes from the queue's memory; ``tag``, by which a consumer decides, from registers in either case.
    depth : int or None
        Most requests under way, a power of two of 2 or more; None for enough for one per cycle.

    Members
    -------
    i : In(stream)
        Requests: ``address``, ``tag``.
    address : Out
        To the memory: that of ``i``, in the cycle after its acceptance, so that no back-pressure reaches the port.
    reading : Out(1)
        ``address`` is in use this cycle.
    data : In
        From the memory, ``latency`` cycles later.
    o : Out(stream)
        Answers, in the order of ``i``: ``data``, ``tag``.
    empty : Out(1)
        No request is under way.
    """

    def __init__(
        self,
        *,
        address: ShapeLike,
        data_shape: ShapeLike,
        tag: ShapeLike,
        latency: int,
        sliced: bool = True,
        depth: int | None = None,
    ):
        if latency < 1:
            raise ValueError(f"latency must be 1 or more, not {latency!r}")
        self.latency, self.sliced = latency, sliced
        self.depth = ceil_pow2(latency + 7) if depth is None else depth
        super().__init__(
            {
                "i": In(stream.Signature(data.StructLayout({"address": address, "tag": tag}))),
                "address": Out(address),
                "reading": Out(1),
                "data": In(data_shape),
                "o": Out(stream.Signature(data.StructLayout({"data": data_shape, "tag": tag}))),
                "empty": Out(1),
            }
        )

    def elaborate(self, platform: object) -> Module:
        m = Module()
        apart = not self.sliced and len(Value.cast(self.i.payload.tag)) > 0
        item = self.o.payload.data if apart else self.o.payload
        m.submodules.queue = queue = Queue(item.shape(), depth=self.depth)

        # `used` counts requests from acceptance to the cycle after the answer's departure: the consumer's handshake
        # ends in a register.
        used, room = Signal(range(self.depth + 1)), Signal(init=1)
        following = Signal.like(used)
        fired, taken, released = self.i.valid & self.i.ready, self.o.valid & self.o.ready, Signal()
        m.d.sync += released.eq(taken)
        m.d.comb += [following.eq(used + fired - released), self.i.ready.eq(room), self.empty.eq(used == 0)]
        m.d.sync += [used.eq(following), room.eq(following != self.depth)]
        if self.sliced:
            # The same, in more cells: the request, which may come late, passes no adder.
            m.d.sync += room.eq(released | Mux(fired, used != self.depth - 1, used != self.depth))

        m.d.sync += [self.reading.eq(fired), self.address.eq(self.i.payload.address)]
        m.d.comb += queue.i.valid.eq(delayed(m, fired, 1 + self.latency, name="valid", reset=True))
        if apart:
            self._apart(m, queue, fired, taken)
            return m
        tag = delayed(m, self.i.payload.tag, 1 + self.latency, name="tag")
        m.d.comb += [queue.i.payload.data.eq(self.data), queue.i.payload.tag.eq(tag)]
        answers = queue.o
        if self.sliced:
            m.submodules.output = output = RegisterSlice(self.o.payload.shape())
            connect(m, answers, output.i)
            answers = output.o
        connect(m, answers, wiring.flipped(self.o))
        return m

    def _apart(self, m: Module, queue: Queue, fired: Value, taken: Value) -> None:
        """Gives answers whose tags wait in a queue and a slice of their own. They are there before the answers, since
        they do not wait for the memory."""
        m.submodules.tags = tags = Queue(self.o.payload.tag.shape(), depth=self.depth)
        m.submodules.tag_slice = front = RegisterSlice(self.o.payload.tag.shape())
        connect(m, tags.o, front.i)
        m.d.comb += [
            tags.i.valid.eq(fired),
            tags.i.payload.eq(self.i.payload.tag),
            front.o.ready.eq(taken),
            queue.i.payload.eq(self.data),
            queue.o.ready.eq(self.o.ready),
            self.o.valid.eq(queue.o.valid),
            self.o.payload.data.eq(queue.o.payload),
            self.o.payload.tag.eq(front.o.payload),
        ]
