"""The device's end of the link: executes the operations of frames, each frame exactly once."""

from __future__ import annotations

from amaranth.hdl import Cat, Module, Mux, Signal, signed
from amaranth.lib import data, stream, wiring
from amaranth.lib.memory import Memory
from amaranth.lib.wiring import In, Out, connect

from sateen.hw.host import HOST_REQUEST, RUN
from sateen.hw.link.answer import Answer
from sateen.hw.link.framing import Framer
from sateen.hw.link.payload import Payload
from sateen.hw.link.receiver import LENGTH_BITS, Receiver
from sateen.hw.spec.config import Config
from sateen.hw.spec.identity import IDENTITY_BYTES, Identity
from sateen.hw.spec.wire import FrameType, Op, OpHeader, Space, Status
from sateen.hw.stream.slice import RegisterSlice
from sateen.hw.stream.view import view

__all__ = ["Endpoint"]

OP_HEADER = data.StructLayout({"op": 8, "space": 8, "length": 16, "address": 32})
WRITABLE = (Space.SCRATCHPAD, Space.WEIGHTS, Space.PROGRAM)
AHEAD = 2
"""Bytes read ahead where cells matter more than speed: one byte in three cycles."""
COUNT = signed(LENGTH_BITS + 1)


class Endpoint(wiring.Component):
    """Answers the host's frames as :mod:`sateen.hw.spec.wire` defines.

    WRITE and READ move a byte per cycle if the memories do; with a sequential engine one in three cycles. Latency from
    a frame's closing FLAG to the first byte of the answer: about 20 cycles and one per byte of the payload, besides
    what the operations wait for.

    Parameters
    ----------
    config : Config
        The device's configuration, part of its identity.
    build : str
        Name of the build; empty for the configuration's digest.

    Members
    -------
    rx : In(stream), always ready
        Bytes from the line.
    tx : Out(stream)
        Bytes to the line.
    request : Out(stream)
        Bytes to write to and read from the memories, see :data:`sateen.hw.host.HOST_REQUEST`.
    response : In(stream), always ready
        The bytes read, in order.
    run : Out(stream)
        ``first`` descriptor and ``count``.
    busy : In(1)
        A program runs; from the cycle after ``run`` is taken.
    halt : Out(1)
        Pulses when a session begins: no program may run any longer.
    """

    def __init__(self, config: Config, *, build: str = ""):
        self.config = config
        self.identity = Identity(config, build or config.digest).encode()
        super().__init__(
            {
                "rx": In(stream.Signature(8, always_ready=True)),
                "tx": Out(stream.Signature(8)),
                "request": Out(stream.Signature(HOST_REQUEST)),
                "response": In(stream.Signature(8, always_ready=True)),
                "run": Out(stream.Signature(RUN)),
                "busy": In(1),
                "halt": Out(1),
            }
        )

    def elaborate(self, platform: object) -> Module:
        m = Module()
        ahead = AHEAD if self.config.engine == "sequential" else None
        m.submodules.receiver = receiver = Receiver(frame_bytes=self.config.frame_bytes)
        m.submodules.payload = payload = Payload(
            address_bits=len(receiver.address), length_bits=LENGTH_BITS, latency=receiver.LATENCY, ahead=ahead
        )
        m.submodules.answer = answer = Answer(frame_bytes=self.config.frame_bytes, ahead=ahead)
        m.submodules.framer = framer = Framer()
        # The line's handshake ends in this slice.
        m.submodules.sending = sending = RegisterSlice(framer.i.payload.shape())
        connect(m, wiring.flipped(self.rx), receiver.i)
        connect(m, answer.o, sending.i)
        connect(m, sending.o, framer.i)
        connect(m, framer.o, wiring.flipped(self.tx))

        seq, session, status = Signal(8), Signal(), Signal(Status)
        m.d.comb += [
            receiver.address.eq(payload.address),
            payload.data.eq(receiver.data),
            payload.length.eq(receiver.length),
            answer.seq.eq(seq),
            answer.status.eq(status),
        ]
        # The kind of the oldest frame: it is decided in the cycle after the frame appears.
        hello, request, repeated = Signal(), Signal(), Signal()
        m.d.sync += [
            hello.eq(receiver.type == FrameType.HELLO),
            request.eq(receiver.type == FrameType.REQUEST),
            repeated.eq(session & (receiver.type == FrameType.REQUEST) & (receiver.seq == seq)),
        ]
        with m.FSM():
            with m.State("idle"):
                with m.If(receiver.valid):
                    m.next = "decide"
            with m.State("decide"):
                with m.If(~hello & ~request):
                    m.d.comb += receiver.done.eq(1)
                    m.next = "idle"
                with m.Elif(repeated):
                    m.next = "answer"
                with m.Else():
                    m.d.comb += [self.halt.eq(hello), answer.clear.eq(1), payload.start.eq(1)]
                    m.d.sync += [seq.eq(receiver.seq), session.eq(1), status.eq(Status.OK)]
                    m.next = "header"
            op = self._header(m, payload, status=status)
            count, waiting = self._begin(m, op, payload, answer, status=status)
            self._execute(m, op, receiver, payload, answer, count=count, waiting=waiting, status=status)
            self._respond(m, receiver, payload, answer)
        return m

    def _respond(self, m: Module, receiver: Receiver, payload: Payload, answer: Answer) -> None:
        """The states from ``skip`` on, in which nothing more of the frame is executed, to its response and release."""
        answered = Signal()
        m.d.sync += answered.eq(answer.done)
        with m.State("skip"):
            m.d.comb += payload.o.ready.eq(1)
            with m.If(payload.left < 0):
                m.next = "answer"
        with m.State("answer"):
            m.d.comb += answer.start.eq(1)
            m.next = "answering"
        with m.State("answering"):
            with m.If(answered):
                m.d.comb += receiver.done.eq(1)
                m.next = "idle"

    def _header(self, m: Module, payload: Payload, *, status: Signal) -> data.View:
        """The state ``header``, which reads an operation's header; it ends in ``check``, or after the last operation in
        ``answer``."""
        op, index = view(OP_HEADER), Signal(range(OpHeader.LAYOUT.size))
        with m.State("header"):
            m.d.comb += payload.o.ready.eq(1)
            with m.If(payload.left < 0):
                # A truncated header is no operation.
                with m.If(index != 0):
                    m.d.sync += status.eq(Status.BAD_OP)
                m.d.sync += index.eq(0)
                m.next = "answer"
            with m.Elif(payload.o.valid):
                m.d.sync += [op.eq(Cat(op.as_value()[8:], payload.o.payload)), index.eq(index + 1)]
                with m.If(index == OpHeader.LAYOUT.size - 1):
                    m.d.sync += index.eq(0)
                    m.next = "check"
        return op

    def _begin(
        self, m: Module, op: data.View, payload: Payload, answer: Answer, *, status: Signal
    ) -> tuple[Signal, Signal]:
        """The states from ``check`` on. They end in the state of an operation that may be executed, or in ``skip``.

        Returns the operation's bytes that are still to be requested, and those still to be answered, each less one.
        """
        count, waiting = Signal(COUNT), Signal(COUNT)
        known, writable, cut, overflow = Signal(), Signal(), Signal(), Signal()
        with m.State("check"):
            m.d.sync += [
                count.eq(op.length - 1),
                waiting.eq(op.length - 1),
                known.eq(Cat(op.space == space for space in Space).any()),
                writable.eq(Cat(op.space == space for space in WRITABLE).any()),
                cut.eq(op.length - 1 > payload.left),
                overflow.eq(op.length + answer.count > self.config.frame_bytes - 1),
            ]
            m.next = "begin"
        with m.State("begin"):
            with m.Switch(op.op):
                with m.Case(Op.WRITE):
                    m.next = "write"
                    with m.If(~writable):
                        _fail(m, status, Status.BAD_SPACE)
                    with m.If(cut):
                        _fail(m, status, Status.BAD_OP)
                with m.Case(Op.READ):
                    m.next = "read"
                    with m.If(~known):
                        _fail(m, status, Status.BAD_SPACE)
                    with m.If(overflow):
                        _fail(m, status, Status.OVERFLOW)
                with m.Case(Op.RUN):
                    m.next = "run"
                    with m.If(self.busy):
                        _fail(m, status, Status.BUSY)
                with m.Case(Op.WAIT):
                    m.next = "wait"
                with m.Default():
                    _fail(m, status, Status.BAD_OP)
        return count, waiting

    def _execute(
        self,
        m: Module,
        op: data.View,
        receiver: Receiver,
        payload: Payload,
        answer: Answer,
        *,
        count: Signal,
        waiting: Signal,
        status: Signal,
    ) -> None:
        """The states that execute operations; they end in ``header`` or ``skip``."""
        identity = Signal()
        request = self.request.payload
        m.d.comb += [
            request.space.eq(op.space),
            request.address.eq(op.address),
            self.run.payload.first.eq(op.address),
            self.run.payload.count.eq(op.length),
        ]
        with m.State("write"):
            # Only in this state: a request that waits must not change.
            m.d.comb += [request.write.eq(1), request.data.eq(payload.o.payload)]
            m.d.comb += self.request.valid.eq(payload.o.valid & (count >= 0))
            m.d.comb += payload.o.ready.eq(self.request.ready & (count >= 0))
            with m.If(self.request.valid & self.request.ready):
                m.d.sync += [count.eq(count - 1), op.address.eq(op.address + 1)]
            with m.If(count < 0):
                m.next = "header"
        with m.State("read"):
            is_identity = op.space == Space.IDENTITY
            m.d.comb += [self.request.valid.eq((count >= 0) & ~is_identity), identity.eq((count >= 0) & is_identity)]
            with m.If((self.request.valid & self.request.ready) | identity):
                m.d.sync += [count.eq(count - 1), op.address.eq(op.address + 1)]
            with m.If(answer.i.valid):
                m.d.sync += waiting.eq(waiting - 1)
            with m.If(waiting < 0):
                m.next = "header"
        self._identity(m, answer, address=op.address, valid=identity)
        with m.State("run"):
            m.d.comb += self.run.valid.eq(self.run.payload.count != 0)
            with m.If(self.run.ready | ~self.run.valid):
                m.next = "header"
        with m.State("wait"):
            with m.If(~self.busy):
                m.next = "header"
            with m.Elif(receiver.next_valid & (receiver.next_type == FrameType.HELLO)):
                _fail(m, status, Status.ABORTED)

    def _identity(self, m: Module, answer: Answer, *, address: Signal, valid: Signal) -> None:
        """Adds the bytes that are read to the answer: those of the identity or those of the memories."""
        memory: Memory = Memory(shape=8, depth=IDENTITY_BYTES, init=list(self.identity))
        m.submodules.identity = memory
        read = memory.read_port()
        found, byte, found_byte = Signal(), Signal(8), Signal()
        m.d.comb += [read.addr.eq(address), read.en.eq(1)]
        m.d.sync += [found.eq(valid), found_byte.eq(found), byte.eq(read.data)]
        m.d.comb += [
            answer.i.valid.eq(found_byte | self.response.valid),
            answer.i.payload.eq(Mux(found_byte, byte, self.response.payload)),
        ]


def _fail(m: Module, status: Signal, reason: Status) -> None:
    """In a state: the rest of the frame is skipped, for this reason."""
    m.d.sync += status.eq(reason)
    m.next = "skip"
