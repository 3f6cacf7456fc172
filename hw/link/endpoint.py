"""The device's end of the link: executes the operations of frames, each frame exactly once."""

from __future__ import annotations

from amaranth.hdl import Cat, Module, Mux, Signal, signed
from amaranth.lib import data, stream, wiring
from amaranth.lib.memory import Memory
from amaranth.lib.wiring import In, Out, connect

from sateen.hw.host import HOST_REQUEST, RUN
from sateen.hw.link.answer import Answer
from sateen.hw.link.framing import Framer
from sateen.hw.link.receiver import LENGTH_BITS, Receiver
from sateen.hw.spec.config import Config
from sateen.hw.spec.identity import IDENTITY_BYTES, Identity
from sateen.hw.spec.wire import FrameType, Op, OpHeader, Space, Status
from sateen.hw.stream.fetch import Fetch
from sateen.hw.stream.slice import RegisterSlice

__all__ = ["Endpoint"]

OP_HEADER = data.StructLayout({"op": 8, "space": 8, "length": 16, "address": 32})
WRITABLE = (Space.SCRATCHPAD, Space.WEIGHTS, Space.PROGRAM)
NO_DATA = data.StructLayout({})
AHEAD = 2
"""Bytes read ahead where a byte per cycle is not worth its cells: one in three cycles."""
COUNT = signed(LENGTH_BITS + 1)


class Endpoint(wiring.Component):
    """Answers the host's frames as :mod:`sateen.hw.spec.wire` has it.

    WRITE takes a byte per cycle, READ gives one per cycle, as far as the memories do; with a sequential engine one in
    three cycles. Latency from a frame's closing FLAG to the answer's first: about 20 cycles and one per byte of the
    payload, besides what the operations wait for.

    Parameters
    ----------
    config : Config
        What the device is; goes into its identity.
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
        frame_bytes = self.config.frame_bytes
        m.submodules.receiver = receiver = Receiver(frame_bytes=frame_bytes)
        m.submodules.framer = framer = Framer()
        connect(m, wiring.flipped(self.rx), receiver.i)
        connect(m, framer.o, wiring.flipped(self.tx))
        ahead = AHEAD if self.config.engine == "sequential" else None
        m.submodules.payload = payload = Fetch(
            address=len(receiver.address),
            data_shape=8,
            tag=NO_DATA,
            latency=receiver.LATENCY,
            sliced=not ahead,
            depth=ahead,
        )
        m.d.comb += [receiver.address.eq(payload.address), payload.data.eq(receiver.data)]

        # `offset` counts the payload's bytes that are still to be asked for, `left` those to be executed, each less
        # one: the sign says that there are none.
        offset, left = Signal(COUNT, init=-1), Signal(COUNT, init=-1)
        m.d.comb += [payload.i.valid.eq(offset >= 0), payload.i.payload.address.eq(receiver.length + ~offset)]
        with m.If(payload.i.valid & payload.i.ready):
            m.d.sync += offset.eq(offset - 1)
        byte_taken = payload.o.valid & payload.o.ready
        m.d.sync += left.eq(left - byte_taken)

        seq, session, status = Signal(8), Signal(), Signal(Status)
        m.submodules.answer = answer = Answer(frame_bytes=frame_bytes, ahead=ahead)
        # The line's handshake ends here.
        m.submodules.sending = sending = RegisterSlice(framer.i.payload.shape())
        connect(m, answer.o, sending.i)
        connect(m, sending.o, framer.i)
        m.d.comb += [answer.seq.eq(seq), answer.status.eq(status)]
        # What the oldest frame is; a frame is decided on the cycle after it is seen.
        hello, request, repeated, answered = Signal(), Signal(), Signal(), Signal()
        m.d.sync += [
            answered.eq(answer.done),
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
                    m.d.comb += [self.halt.eq(hello), answer.clear.eq(1)]
                    m.d.sync += [offset.eq(receiver.length - 1), left.eq(receiver.length - 1)]
                    m.d.sync += [seq.eq(receiver.seq), session.eq(1), status.eq(Status.OK)]
                    m.next = "header"
            op = self._header(m, payload, left=left, status=status)
            count, waiting = self._begin(m, op, answer, left=left, status=status)
            self._execute(m, op, receiver, payload, answer, count=count, waiting=waiting, status=status)
            with m.State("skip"):
                # Nothing more of this frame is executed.
                m.d.comb += payload.o.ready.eq(1)
                with m.If(left < 0):
                    m.next = "answer"
            with m.State("answer"):
                m.d.comb += answer.start.eq(1)
                m.next = "answering"
            with m.State("answering"):
                with m.If(answered):
                    m.d.comb += receiver.done.eq(1)
                    m.next = "idle"
        return m

    def _header(self, m: Module, payload: Fetch, *, left: Signal, status: Signal) -> data.View:
        """The state ``header``, that reads an operation's; it ends in ``check``, or after the last operation in
        ``answer``."""
        op, index = Signal(OP_HEADER), Signal(range(OpHeader.LAYOUT.size))
        with m.State("header"):
            m.d.comb += payload.o.ready.eq(1)
            with m.If(left < 0):
                # A cut header is no operation.
                with m.If(index != 0):
                    m.d.sync += status.eq(Status.BAD_OP)
                m.d.sync += index.eq(0)
                m.next = "answer"
            with m.Elif(payload.o.valid):
                m.d.sync += [op.eq(Cat(op.as_value()[8:], payload.o.payload.data)), index.eq(index + 1)]
                with m.If(index == OpHeader.LAYOUT.size - 1):
                    m.d.sync += index.eq(0)
                    m.next = "check"
        return op

    def _begin(
        self, m: Module, op: data.View, answer: Answer, *, left: Signal, status: Signal
    ) -> tuple[Signal, Signal]:
        """The states from ``check`` on, to that of an operation which may be executed, or to ``skip``.

        Returns what counts its bytes that are to be asked for, and those that are to be answered, each less one.
        """
        count, waiting = Signal(COUNT), Signal(COUNT)
        known, writable, cut, overflow = Signal(), Signal(), Signal(), Signal()
        with m.State("check"):
            m.d.sync += [
                count.eq(op.length - 1),
                waiting.eq(op.length - 1),
                known.eq(Cat(op.space == space for space in Space).any()),
                writable.eq(Cat(op.space == space for space in WRITABLE).any()),
                cut.eq(op.length - 1 > left),
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
        payload: Fetch,
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
            # Only here: a request that waits stays what it is.
            m.d.comb += [request.write.eq(1), request.data.eq(payload.o.payload.data)]
            m.d.comb += self.request.valid.eq(payload.o.valid & (count >= 0))
            m.d.comb += payload.o.ready.eq(self.request.ready & (count >= 0))
            with m.If(self.request.valid & self.request.ready):
                m.d.sync += [count.eq(count - 1), op.address.eq(op.address + 1)]
            with m.If(count < 0):
                m.next = "header"
        with m.State("read"):
            own = op.space == Space.IDENTITY
            m.d.comb += [self.request.valid.eq((count >= 0) & ~own), identity.eq((count >= 0) & own)]
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
        """Adds the bytes read to the answer, be they the identity's or the memories'."""
        m.submodules.identity = memory = Memory(shape=8, depth=IDENTITY_BYTES, init=list(self.identity))
        read = memory.read_port()
        found, byte, found_late = Signal(), Signal(8), Signal()
        m.d.comb += [read.addr.eq(address), read.en.eq(1)]
        m.d.sync += [found.eq(valid), found_late.eq(found), byte.eq(read.data)]
        m.d.comb += [
            answer.i.valid.eq(found_late | self.response.valid),
            answer.i.payload.eq(Mux(found_late, byte, self.response.payload)),
        ]


def _fail(m: Module, status: Signal, reason: Status) -> None:
    """In a state: why nothing more of the frame is executed."""
    m.d.sync += status.eq(reason)
    m.next = "skip"
