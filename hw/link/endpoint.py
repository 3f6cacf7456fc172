"""The device's end of the link: executes the operations of frames, each once."""

from __future__ import annotations

from typing import NamedTuple

from amaranth.hdl import Cat, Module, Mux, Signal, Value, signed
from amaranth.lib import data, stream, wiring
from amaranth.lib.memory import Memory
from amaranth.lib.wiring import In, Out, connect

from sateen.hw.host import HOST_REQUEST, LIMITED_RUN, MOVE
from sateen.hw.link.answer import Answer
from sateen.hw.link.framing import Framer
from sateen.hw.link.listed import Listed
from sateen.hw.link.moves import OP_HEADER, WRITABLE, begin_move, fail, move
from sateen.hw.link.payload import Payload
from sateen.hw.link.receiver import LENGTH_BITS, SESSION_BITS, Receiver
from sateen.hw.spec.config import Config
from sateen.hw.spec.identity import IDENTITY_BYTES, Identity
from sateen.hw.spec.wire import FrameType, Op, OpHeader, Space, Status
from sateen.hw.stream.slice import RegisterSlice
from sateen.hw.stream.view import view

__all__ = ["Endpoint"]

OUTSIDE = (Space.SDRAM, Space.CHECK)
"""Memories of devices with SDRAM."""
AHEAD = 2
"""Bytes read ahead where cells matter more than speed: one byte in three cycles."""
COUNT = signed(LENGTH_BITS + 1)


class _Kinds(NamedTuple):
    """What a frame is."""

    hello: Signal
    request: Signal
    """A REQUEST that is to be answered."""
    stranger: Signal
    """One of another session."""
    repeated: Signal
    """The one that was executed last, if it is of this session."""


class Endpoint(wiring.Component):
    """Answers the host's frames as :mod:`sateen.hw.spec.wire` defines.

    WRITE and READ move a byte per cycle if the memories do; with a sequential engine one in three cycles. Latency from
    a frame's closing FLAG to the first byte of the answer: about 20 cycles and one per byte of the payload, besides
    what the operations wait for. An operation takes 10 cycles besides; of those that a CALL runs, each eight take 25
    cycles more.

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
        A program, see :data:`sateen.hw.host.LIMITED_RUN`.
    busy : In(1)
        A program runs; from the cycle after ``run`` is taken.
    overtime : In(1), place : In(8)
        The last program was ended because it ran for too long; the place in the run of the descriptor that ran.
    halt : Out(1)
        Pulses when a session begins, and when a HELLO waits behind another frame: no program may run any longer.
    seek : Out(1), position : Out(32), move : Out(stream)
        With SDRAM only, see :class:`sateen.hw.bridge.SdramBridge`. Its bytes that the host writes and reads are moves,
        too. A HELLO waits for a move that is under way.
    """

    def __init__(self, config: Config, *, build: str = ""):
        self.config = config
        self.identity = Identity(config, build or config.digest).encode()
        outside = {"seek": Out(1), "position": Out(32), "move": Out(stream.Signature(MOVE))}
        super().__init__(
            {
                "rx": In(stream.Signature(8, always_ready=True)),
                "tx": Out(stream.Signature(8)),
                "request": Out(stream.Signature(HOST_REQUEST)),
                "response": In(stream.Signature(8, always_ready=True)),
                "run": Out(stream.Signature(LIMITED_RUN)),
                "busy": In(1),
                "overtime": In(1),
                "place": In(8),
                "halt": Out(1),
                **(outside if config.sdram else {}),
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
        listed = Listed(length_bits=LENGTH_BITS) if self.config.sdram else None
        if listed is not None:
            m.submodules.listed = listed
        # The line's handshake ends in this slice.
        m.submodules.sending = sending = RegisterSlice(framer.i.payload.shape())
        connect(m, wiring.flipped(self.rx), receiver.i)
        connect(m, answer.o, sending.i)
        connect(m, sending.o, framer.i)
        connect(m, framer.o, wiring.flipped(self.tx))

        # The session's last bit says that one has begun.
        seq, session, status = Signal(8), Signal(SESSION_BITS + 1), Signal(Status)
        kinds = self._classify(m, receiver, seq=seq, session=session)
        m.d.comb += [
            receiver.address.eq(payload.address),
            payload.data.eq(receiver.data),
            payload.length.eq(receiver.length),
            answer.seq.eq(receiver.seq),
            answer.session.eq(receiver.session),
            answer.bare.eq(kinds.stranger),
            answer.status.eq(Mux(kinds.stranger, Status.STRANGER, status)),
        ]
        # The oldest frame gives way to a HELLO behind it. What it waits for comes, since no program runs after `halt`.
        yielding, yielded = Signal(), Signal()
        m.d.sync += [
            yielding.eq(receiver.next_valid & (receiver.next_type == FrameType.HELLO)),
            yielded.eq(yielding),
        ]
        with m.If(yielding & ~yielded):
            m.d.comb += self.halt.eq(1)
        with m.FSM():
            self._decide(m, kinds, receiver, payload, answer, listed, seq=seq, session=session, status=status)
            op = self._header(m, payload, listed, status=status)
            count, waiting = self._begin(m, op, payload, answer, listed, yielding=yielding, status=status)
            self._execute(
                m, op, payload, answer, listed, count=count, waiting=waiting, yielding=yielding, status=status
            )
            self._respond(m, receiver, payload, answer, listed)
        return m

    def _decide(
        self, m: Module, kinds: _Kinds, receiver: Receiver, payload: Payload, answer: Answer, listed: Listed | None, *,
        seq: Signal, session: Signal, status: Signal,
    ) -> None:  # fmt: skip
        """The states ``idle`` and ``decide``, in which the oldest frame is dropped, answered, or begun."""
        with m.State("idle"):
            with m.If(receiver.valid):
                m.next = "decide"
        with m.State("decide"):
            with m.If(~kinds.hello & ~kinds.request):
                m.d.comb += receiver.done.eq(1)
                m.next = "idle"
            with m.Elif(kinds.stranger | kinds.repeated):
                m.next = "answer"
            with m.Else():
                m.d.comb += [answer.clear.eq(1), payload.start.eq(1)]
                if listed is not None:
                    m.d.comb += listed.clear.eq(1)
                m.d.sync += [seq.eq(receiver.seq), status.eq(Status.OK)]
                with m.If(kinds.hello):
                    m.d.comb += self.halt.eq(1)
                    m.d.sync += session.eq(Cat(receiver.session, 1))
                m.next = "header"

    def _classify(self, m: Module, receiver: Receiver, *, seq: Signal, session: Signal) -> _Kinds:
        """What the oldest frame is, from the cycle after it appears."""
        kinds = _Kinds(*(Signal(name=field) for field in _Kinds._fields))
        asks, other = receiver.type == FrameType.REQUEST, session != Cat(receiver.session, 1)
        ahead = Signal(8)
        m.d.comb += ahead.eq(receiver.seq - seq)
        m.d.sync += [
            kinds.hello.eq(receiver.type == FrameType.HELLO),
            # The last one or the next one. Any other comes again after later ones, or before a HELLO that comes again.
            kinds.request.eq(asks & (other | (ahead[1:] == 0))),
            kinds.stranger.eq(asks & other),
            kinds.repeated.eq(asks & ~ahead[0]),
        ]
        return kinds

    def _respond(self, m: Module, receiver: Receiver, payload: Payload, answer: Answer, listed: Listed | None) -> None:
        """The states from ``skip`` on, in which nothing more of the frame is executed, to its response and release."""
        answered = Signal()
        m.d.sync += answered.eq(answer.done)
        with m.State("skip"):
            m.d.comb += payload.o.ready.eq(1)
            if listed is not None:
                m.d.comb += listed.clear.eq(1)
            with m.If(payload.left < 0):
                m.next = "answer"
        with m.State("answer"):
            m.d.comb += answer.start.eq(1)
            m.next = "answering"
        with m.State("answering"):
            with m.If(answered):
                m.d.comb += receiver.done.eq(1)
                m.next = "idle"

    def _header(self, m: Module, payload: Payload, listed: Listed | None, *, status: Signal) -> data.View:
        """The state ``header``, which reads an operation's header, from a list if there is one; it ends in ``check``,
        or after the last operation in ``answer``. The next piece of a list is read as an operation would be executed,
        in ``move``."""
        op, index = view(OP_HEADER), Signal(range(OpHeader.LAYOUT.size))
        ended, valid, byte = payload.left < 0, payload.o.valid, payload.o.payload
        if listed is not None:
            ended, valid = ended & ~listed.active, Mux(listed.active, listed.o.valid, valid)
            byte = Mux(listed.active, listed.o.payload, byte)
        with m.State("header"):
            m.d.comb += payload.o.ready.eq(1)
            with m.If(ended):
                # A truncated header is no operation.
                with m.If(index != 0):
                    m.d.sync += status.eq(Status.BAD_OP)
                m.d.sync += index.eq(0)
                m.next = "answer"
            with m.Elif(valid):
                m.d.sync += [op.eq(Cat(op.as_value()[8:], byte)), index.eq(index + 1)]
                with m.If(index == OpHeader.LAYOUT.size - 1):
                    m.d.sync += index.eq(0)
                    m.next = "check"
            if listed is not None:
                m.d.comb += [payload.o.ready.eq(~listed.active), listed.o.ready.eq(1)]
                with m.If(listed.active & listed.used_up):
                    m.d.comb += listed.begin.eq(1)
                    m.d.sync += [op.op.eq(Op.READ), op.space.eq(Space.SDRAM)]
                    m.d.sync += [op.length.eq(listed.piece), op.address.eq(listed.position)]
                    m.next = "move"
        return op

    def _begin(
        self, m: Module, op: data.View, payload: Payload, answer: Answer, listed: Listed | None, *, yielding: Signal,
        status: Signal,
    ) -> tuple[Signal, Signal]:  # fmt: skip
        """The states from ``check`` on. They end in the state of an operation that may be executed, or in ``skip``.

        Returns the operation's bytes that are still to be requested, and those still to be answered, each less one.
        """
        count, waiting = Signal(COUNT), Signal(COUNT)
        known, writable, cut, overflow = Signal(), Signal(), Signal(), Signal()
        missing = payload.left < op.length - 1
        if listed is not None:
            # Beside SDRAM this was the longest path. Carries of a difference are quicker than LUTs of a comparison.
            missing = (payload.left - op.length + 1)[-1]
        spaces = [space for space in Space if space not in OUTSIDE or self.config.sdram]
        targets = [*WRITABLE, Space.SDRAM] if self.config.sdram else WRITABLE
        with m.State("check"):
            m.d.sync += [
                count.eq(op.length - 1),
                waiting.eq(op.length - 1),
                known.eq(Cat(op.space == space for space in spaces).any()),
                writable.eq(Cat(op.space == space for space in targets).any()),
                # No data lie in a list.
                cut.eq(missing if listed is None else listed.active | missing),
                overflow.eq(op.length + answer.count > self.config.frame_bytes - 1),
            ]
            m.next = "begin"
        with m.State("begin"):
            with m.Switch(op.op):
                with m.Case(Op.WRITE):
                    m.next = "write"
                    if self.config.sdram:
                        with m.If(op.space == Space.SDRAM):
                            m.next = "write outside"
                    with m.If(~writable):
                        fail(m, status, Status.BAD_SPACE)
                    with m.If(cut):
                        fail(m, status, Status.BAD_OP)
                with m.Case(Op.READ):
                    m.next = "read"
                    if self.config.sdram:
                        with m.If(op.space == Space.SDRAM):
                            m.next = "move"
                    with m.If(~known):
                        fail(m, status, Status.BAD_SPACE)
                    with m.If(overflow):
                        fail(m, status, Status.OVERFLOW)
                with m.Case(Op.RUN):
                    m.next = "run"
                    with m.If(self.busy):
                        fail(m, status, Status.BUSY)
                with m.Case(Op.WAIT):
                    m.next = "wait"
                if listed is not None:
                    begin_move(m, op, listed, status=status)
                with m.Default():
                    fail(m, status, Status.BAD_OP)
            with m.If(yielding):
                fail(m, status, Status.ABORTED)
        return count, waiting

    def _execute(
        self, m: Module, op: data.View, payload: Payload, answer: Answer, listed: Listed | None, *, count: Signal,
        waiting: Signal, yielding: Signal, status: Signal,
    ) -> None:  # fmt: skip
        """The states that execute operations; they end in ``header`` or ``skip``."""
        identity = Signal()
        request = self.request.payload
        m.d.comb += [
            request.space.eq(op.space),
            request.address.eq(op.address),
            self.run.payload.first.eq(op.space),
            self.run.payload.count.eq(op.length),
            self.run.payload.limit.eq(op.address),
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
        late = Signal()
        responded = self.response.valid
        if listed is not None:
            # The bytes of a list are none of the answer.
            responded = responded & ~listed.coming
        self._data(m, answer, address=op.address, identity=identity, responded=responded, late=late)
        with m.State("run"):
            m.d.comb += self.run.valid.eq(self.run.payload.count != 0)
            with m.If(self.run.ready | ~self.run.valid):
                m.next = "header"
        with m.State("wait"):
            with m.If(yielding):
                fail(m, status, Status.ABORTED)
            with m.Elif(self.overtime):
                m.d.comb += late.eq(1)
                fail(m, status, Status.OVERTIME)
            with m.Elif(~self.busy):
                m.next = "header"
        if listed is not None:
            move(m, self, op, payload, listed, count=count)

    def _data(
        self, m: Module, answer: Answer, *, address: Signal, identity: Signal, responded: Value, late: Signal
    ) -> None:
        """Adds bytes to the answer: those that are read from the identity or the memories, or with ``late`` the
        place."""
        memory: Memory = Memory(shape=8, depth=IDENTITY_BYTES, init=list(self.identity))
        m.submodules.identity = memory
        read = memory.read_port()
        found, byte, found_byte = Signal(), Signal(8), Signal()
        m.d.comb += [read.addr.eq(address), read.en.eq(1)]
        m.d.sync += [found.eq(identity), found_byte.eq(found), byte.eq(read.data)]
        m.d.comb += [
            answer.i.valid.eq(found_byte | responded | late),
            answer.i.payload.eq(Mux(found_byte, byte, Mux(late, self.place, self.response.payload))),
        ]
