"""The host's end of the link: operations in frames, each sent until it is answered."""

from __future__ import annotations

import logging
import random
from collections.abc import Callable, Iterable
from contextlib import nullcontext

from sateen.errors import DeviceError
from sateen.hw.spec.identity import IDENTITY_BYTES, Identity
from sateen.hw.spec.wire import Frame, FrameType, Op, Space, Stuffing
from sateen.runtime.frames import (
    Operation,
    check,
    check_user,
    copies,
    frames,
    read,
    run,
    silent,
    stores,
    wait,
    write,
)
from sateen.runtime.transport import Transport
from sateen.runtime.turns import Turns
from sateen.runtime.window import Job, Window

__all__ = ["Link", "Operation", "copies", "read", "run", "stores", "wait", "write"]

log = logging.getLogger(__name__)

TRIES = 5
ANSWER_SECONDS = 0.25
"""Time for an answer, besides its bytes and the program that it waits for. USB bridges take up to 16 ms each way."""
CYCLES_PER_BYTE = 4
"""Cycles that a device takes at most for a byte of a frame."""
MOST_BYTES = 1 << 20
"""As many bytes without the answer, and it is no device that sends them: bytes before a flag are kept."""
SMALLEST_FRAME = 128
"""The smallest ``frame_bytes`` of any device, for frames before its identity is known."""


class Link:
    """A session with a device. Whatever the line does to frames, each operation is executed exactly once, or a
    LinkError says that it may not have been; those of a :class:`~sateen.runtime.window.Job`, and writes alone, once or
    more often with the same result.

    After a :class:`~sateen.errors.LinkError`, :meth:`hello` makes the device usable again. Threads take turns, a
    transaction each. Every wait ends: its deadline follows from the rate of the line, the bytes, and the cycles that
    programs may take.

    Parameters
    ----------
    transport
        The line.
    tries
        How often a frame is sent until there is an answer.
    """

    def __init__(self, transport: Transport, *, tries: int = TRIES):
        self.transport, self.tries = transport, tries
        self.bytes = 0
        """Bytes sent and received so far."""
        self.retransmissions = 0
        self.turn = Turns()
        """Held by whoever relies on what the device's memories hold, during an inference."""
        self.holder: object = None
        """Whoever knows what the device's memories hold, since they were the last to change that in this session."""
        self.shelf: object = None
        """The same of the device's SDRAM."""
        self.reserved = 0
        """Bytes at the SDRAM's end that inferences of any handle write to; no model lies there."""
        self.frame_bytes = SMALLEST_FRAME
        """Most bytes of a frame's payload."""
        self.session = 0
        """The number of the session."""
        self.unanswered = 0
        """The last frames, of which it is unknown whether the device has executed them."""
        self._streaming = False
        self._clock_hz = float("inf")
        self._seq = random.randrange(256)
        self._turn = Turns()

    def hello(self) -> Identity:
        """Begins a session: aborts a program that may be running, and reads the device's identity.

        Raises
        ------
        LinkError
            If nothing answers.
        DeviceTakenError
            If somebody else uses the device.
        DeviceError
            If the answer is not from a device that this driver supports.
        """
        with self._turn:
            self.frame_bytes, self._clock_hz = SMALLEST_FRAME, float("inf")
            # Others may have used the device, or its power was off.
            self.holder = self.shelf = None
            self.unanswered = 0
            self.session = random.randrange(1 << 16)
            self._send(FrameType.HELLO, b"", 1, 0)
            answer = self.transaction([read(Space.IDENTITY, 0, IDENTITY_BYTES)])
            try:
                identity = Identity.decode(answer)
            except ValueError as error:
                raise DeviceError(f"{error}; update the device or this package") from error
            self.frame_bytes, self._clock_hz = identity.config.frame_bytes, identity.config.clock_hz
            return identity

    def transaction(self, operations: Iterable[Operation], *, busy_cycles: int = 0) -> bytes:
        """Executes operations in order, in as many frames as they need.

        Parameters
        ----------
        operations
            The operations.
        busy_cycles
            How long the programs that are waited for may run.

        Returns
        -------
        The data of all reads, in order.

        Raises
        ------
        LinkError
            If the device does not answer.
        DeviceTakenError
            If another session has begun.
        OvertimeError
            If a program ran for longer than its limit.
        DeviceError
            If the device refuses an operation.
        """
        operations = list(operations)
        with self._turn:
            if all(each.header.op == Op.WRITE for each in operations):
                return self._write(operations)
            return b"".join(
                self._send(FrameType.REQUEST, payload, size, busy_cycles)
                for payload, size in frames(operations, self.frame_bytes)
            )

    def stream(self, source: Callable[[], Job | None], *, poll_seconds: float | None = None) -> None:
        """Executes jobs, in order, while the next one's bytes are on the way. See :class:`sateen.runtime.window.Window`
        for parameters and errors."""
        with self._turn:
            self._catch_up(0)
            self._streaming = True
            try:
                Window(self, source, poll_seconds=poll_seconds).run()
            finally:
                self._streaming = False

    def _write(self, operations: list[Operation]) -> bytes:
        """Writes, which may be done twice."""
        found: list[bytes | DeviceError] = []
        jobs = iter([Job(operations=operations, finish=found.append)] if operations else [])
        self.stream(lambda: next(jobs, None))
        for each in found:
            if isinstance(each, DeviceError):
                raise each
        return b""

    def close(self) -> None:
        """Closes the connection, once a transaction of another thread has ended."""
        # In a fork, that thread is none.
        with self._turn if self._turn.here else nullcontext():
            self.transport.close()

    def _send(self, kind: FrameType, payload: bytes, size: int, busy_cycles: int) -> bytes:
        """Sends one frame until it is answered; the data of its answer, which has ``size`` bytes with its status."""
        if kind == FrameType.REQUEST:
            self._catch_up(busy_cycles)
        else:
            self._check_idle()
        self._seq = (self._seq + 1) % 256
        answer = self._answer(kind, payload, busy_cycles)
        check(answer, size)
        return answer[:-1]

    def _check_idle(self) -> None:
        if self._streaming:
            raise DeviceError("the device computes while a callback of its results runs; use it from another thread")

    def _catch_up(self, busy_cycles: int) -> None:
        """Has the device expect the next number, whichever of the last frames never came."""
        self._check_idle()
        if self.unanswered:
            # It expects the number of one of these, or the next one. Requests for nothing with their numbers are
            # executed, or dropped, or repeat the last answer; the next one is expected after them in any case.
            before = [(self._seq - back) % 256 for back in reversed(range(1, self.unanswered))]
            nothing = b"".join(Frame(FrameType.REQUEST, seq, b"", self.session).encode() for seq in before)
            check_user(self._answer(FrameType.REQUEST, b"", busy_cycles, before=nothing))

    def count_frame(self) -> int:
        """The number of the next frame, which is one more on the way."""
        self._seq, self.unanswered = (self._seq + 1) % 256, self.unanswered + 1
        return self._seq

    def patience(self, size: int, busy_cycles: int) -> float:
        """Seconds within which frames of so many bytes, with their answers, are answered."""
        # Stuffing can double a frame.
        size *= 2
        cycles = busy_cycles + CYCLES_PER_BYTE * size
        clock_hz = min(self._clock_hz, self.transport.clock_hz)
        return ANSWER_SECONDS + 10 * size / self.transport.bits_per_second + cycles / clock_hz

    def may_continue(self, begin: int) -> bool:
        """Whether what came since there were ``begin`` bytes may still be a device's."""
        return self.bytes - begin < MOST_BYTES

    def _answer(self, kind: FrameType, payload: bytes, busy_cycles: int, *, before: bytes = b"") -> bytes:
        """Sends the frame of the present number, after other bytes, until it is answered; the payload of its answer."""
        frame = before + Frame(kind, self._seq, payload, self.session).encode()
        timeout = self.patience(len(frame) + self.frame_bytes, busy_cycles)
        # The frames that `before` repeats are still unanswered.
        self.unanswered = max(1, self.unanswered)
        for attempt in range(self.tries):
            if attempt:
                self.retransmissions += 1
                log.info("no answer to frame %d, sending it again", self._seq)
            answer = self._receive(frame, timeout)
            if answer is not None:
                self.unanswered = 0
                return answer
        raise silent(self.tries)

    def _receive(self, frame: bytes, timeout: float) -> bytes | None:
        """Sends a frame; the payload of its answer, or ``None`` if none came in time."""
        stuffing, ours = Stuffing(), (FrameType.RESPONSE, self._seq, self.session)
        deadline, begin = self.transport.now() + timeout, self.bytes
        self.bytes += len(frame)
        came = self.transport.exchange(frame, timeout=timeout)
        while came:
            self.bytes += len(came)
            for body in stuffing.feed(came):
                answer = Frame.decode(body)
                if answer is not None and (answer.type, answer.seq, answer.session) == ours:
                    return answer.payload
            # Whatever trickles in, the deadline stands.
            left = deadline - self.transport.now() if self.may_continue(begin) else 0
            came = self.transport.exchange(b"", timeout=left) if left > 0 else b""
        return None
