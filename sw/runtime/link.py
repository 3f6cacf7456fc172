"""The host's end of the link: operations in frames, each sent until it is answered."""

from __future__ import annotations

import logging
import os
import random
import threading
from collections.abc import Iterable, Iterator
from contextlib import nullcontext
from dataclasses import dataclass, replace

from sateen.errors import DeviceError, DeviceTakenError, LinkError, OvertimeError
from sateen.hw.spec.identity import IDENTITY_BYTES, Identity
from sateen.hw.spec.wire import Frame, FrameType, Op, OpHeader, Space, Status, Stuffing, limit_code
from sateen.runtime.transport import Transport

__all__ = ["Link", "Operation", "copies", "read", "run", "stores", "wait", "write"]

log = logging.getLogger(__name__)

TRIES = 5
ANSWER_SECONDS = 0.25
"""Time for an answer, besides its bytes and the program that it waits for. USB bridges take up to 16 ms each way."""
CYCLES_PER_BYTE = 4
"""Cycles that a device takes at most for a byte of a frame."""
MOST_BYTES = 1 << 20
"""As many bytes without the answer, and it is no device that sends them: bytes before a flag are kept."""
MOST_MOVED = 0xFFFF
"""Bytes of one COPY or STORE."""
SMALLEST_FRAME = 128
"""The smallest ``frame_bytes`` of any device, for frames before its identity is known."""


@dataclass(frozen=True)
class Operation:
    """One operation of any length."""

    header: OpHeader
    data: bytes = b""


def write(space: Space, address: int, data: bytes) -> Operation:
    """Writes bytes to a memory."""
    return Operation(OpHeader(Op.WRITE, space, len(data), address), data)


def read(space: Space, address: int, length: int) -> Operation:
    """Reads bytes from a memory."""
    return Operation(OpHeader(Op.READ, space, length, address))


def run(first: int, count: int, *, limit: int = 0) -> Operation:
    """Starts descriptors of the program. The device ends it after ``limit`` cycles or up to four times as many; 0 for
    never."""
    return Operation(OpHeader(Op.RUN, first, count, limit_code(limit)))


def wait() -> Operation:
    """Waits until the program has finished."""
    return Operation(OpHeader(Op.WAIT))


def copies(source: int, space: Space, address: int, length: int) -> list[Operation]:
    """Copies bytes from SDRAM to a memory."""
    return _moves(Op.COPY, source, space, address, length)


def stores(target: int, space: Space, address: int, length: int) -> list[Operation]:
    """Copies bytes of a memory into SDRAM."""
    return _moves(Op.STORE, target, space, address, length)


def _moves(op: Op, place: int, space: Space, address: int, length: int) -> list[Operation]:
    pieces = range(0, length, MOST_MOVED)
    moved = (OpHeader(op, space, min(MOST_MOVED, length - start), address + start) for start in pieces)
    return [Operation(OpHeader(Op.SEEK, address=place)), *map(Operation, moved)]


class Link:
    """A session with a device. Whatever the line does to frames, each operation is executed exactly once, or a
    LinkError says that it may not have been.

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
        self.holder: object = None
        """Whoever knows what the device's memories hold, since they were the last to change that in this session."""
        self.shelf: object = None
        """The same of the device's SDRAM."""
        self._frame_bytes = SMALLEST_FRAME
        self._clock_hz = float("inf")
        self._seq, self._session = random.randrange(256), 0
        self._answered = True
        self._turn, self._process = threading.RLock(), os.getpid()

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
            self._frame_bytes, self._clock_hz = SMALLEST_FRAME, float("inf")
            # Others may have used the device, or its power was off.
            self.holder = self.shelf = None
            self._session = random.randrange(1 << 16)
            self._send(FrameType.HELLO, b"", 1, 0)
            answer = self.transaction([read(Space.IDENTITY, 0, IDENTITY_BYTES)])
            try:
                identity = Identity.decode(answer)
            except ValueError as error:
                raise DeviceError(f"{error}; update the device or this package") from error
            self._frame_bytes, self._clock_hz = identity.config.frame_bytes, identity.config.clock_hz
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
        with self._turn:
            return b"".join(
                self._send(FrameType.REQUEST, payload, size, busy_cycles)
                for payload, size in _frames(operations, self._frame_bytes)
            )

    def close(self) -> None:
        """Closes the connection, once a transaction of another thread has ended."""
        # In a fork, that thread is none.
        with self._turn if self._process == os.getpid() else nullcontext():
            self.transport.close()

    def _send(self, kind: FrameType, payload: bytes, size: int, busy_cycles: int) -> bytes:
        """Sends one frame until it is answered; the data of its answer, which has ``size`` bytes with its status."""
        if self._process != os.getpid():
            raise DeviceError("the device was opened before this process was forked; open it in this process")
        if kind == FrameType.REQUEST and not self._answered:
            # The device expects this number, if the frame never came, or the next one. A request for nothing with this
            # number is executed or repeats the answer; the next one is expected after it in any case.
            _check_user(self._answer(FrameType.REQUEST, b"", busy_cycles))
        self._seq = (self._seq + 1) % 256
        answer = self._answer(kind, payload, busy_cycles)
        _check(answer, size)
        return answer[:-1]

    def _answer(self, kind: FrameType, payload: bytes, busy_cycles: int) -> bytes:
        """Sends the frame of the present number until it is answered; the payload of its answer."""
        frame = Frame(kind, self._seq, payload, self._session).encode()
        # Stuffing can double a frame.
        size = 2 * (len(frame) + self._frame_bytes)
        cycles = busy_cycles + CYCLES_PER_BYTE * size
        clock_hz = min(self._clock_hz, self.transport.clock_hz)
        timeout = ANSWER_SECONDS + 10 * size / self.transport.bits_per_second + cycles / clock_hz
        self._answered = False
        for attempt in range(self.tries):
            if attempt:
                self.retransmissions += 1
                log.info("no answer to frame %d, sending it again", self._seq)
            answer = self._receive(frame, timeout)
            if answer is not None:
                self._answered = True
                return answer
        raise LinkError(
            f"the device did not answer {self.tries} times; "
            f"check that it is connected, configured with Sateen and at the same baud rate"
        )

    def _receive(self, frame: bytes, timeout: float) -> bytes | None:
        """Sends a frame; the payload of its answer, or ``None`` if none came in time."""
        stuffing, ours = Stuffing(), (FrameType.RESPONSE, self._seq, self._session)
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
            left = deadline - self.transport.now() if self.bytes - begin < MOST_BYTES else 0
            came = self.transport.exchange(b"", timeout=left) if left > 0 else b""
        return None


def _check_user(answer: bytes) -> None:
    """Raises what a response's status says of other users."""
    status = answer[-1] if answer else Status.BAD_OP
    if status in (Status.STRANGER, Status.ABORTED):
        raise DeviceTakenError("another session has taken over the device; close that one, and open the device again")
    if status == Status.IN_USE:
        raise DeviceTakenError("the device is in use by another client; wait until that one has closed it")


def _check(answer: bytes, size: int) -> None:
    """Raises what a response's status says, and if it has another size than was asked for."""
    _check_user(answer)
    status = answer[-1] if answer else Status.BAD_OP
    if status == Status.OVERTIME and len(answer) > 1:
        raise OvertimeError(
            f"the device ended a program that ran for longer than its limit, in descriptor {answer[-2]} of the run",
            place=answer[-2],
        )
    if status != Status.OK:
        name = Status(status).name if status in set(Status) else str(status)
        raise DeviceError(f"the device refused a request ({name}); this driver and the device do not match")
    if len(answer) != size:
        raise DeviceError(
            f"the device answered {len(answer)} bytes where {size} were asked for; "
            f"this driver and the device do not match"
        )


def _frames(operations: Iterable[Operation], frame_bytes: int) -> Iterator[tuple[bytes, int]]:
    """Payloads that hold the operations, and the bytes of their answers; long operations are split."""
    header_bytes = OpHeader.LAYOUT.size
    payload, answer = bytearray(), 1
    for operation in operations:
        header, data = operation.header, operation.data
        while True:
            room = frame_bytes - len(payload) - header_bytes
            reads = header.op == Op.READ
            room_for = frame_bytes - answer if reads else room
            if room < 0 or (header.op in (Op.WRITE, Op.READ) and room_for <= 0 < header.length):
                yield bytes(payload), answer
                payload, answer = bytearray(), 1
                continue
            length = min(header.length, room_for) if header.op in (Op.WRITE, Op.READ) else header.length
            piece = replace(header, length=length)
            payload += piece.encode() + data[:length]
            answer += length if reads else 0
            if length == header.length:
                break
            header = replace(header, length=header.length - length, address=header.address + length)
            data = data[length:]
    if payload:
        yield bytes(payload), answer
