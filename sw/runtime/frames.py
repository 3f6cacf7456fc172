"""Operations of the link, the frames that hold them, and what their answers say."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass, replace

from sateen.errors import DeviceError, DeviceTakenError, LinkError, OvertimeError
from sateen.hw.spec.wire import Op, OpHeader, Space, Status, limit_code, limit_cycles

__all__ = [
    "CYCLES_PER_BYTE",
    "Operation",
    "check",
    "check_user",
    "copies",
    "frames",
    "moved_cycles",
    "reached",
    "read",
    "run",
    "silent",
    "stores",
    "wait",
    "write",
]

MOST_MOVED = 0xFFFF
"""Bytes of one COPY or STORE."""
CYCLES_PER_BYTE = 4
"""That a copy takes at most, with all refreshes and while a program uses the memories."""


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


def reached(limit: int) -> int:
    """Cycles by which the device has ended a program of a limit: it counts powers of 4. A limit beyond all of them is
    none; its program is given as long."""
    return limit_cycles(limit_code(limit)) or limit


def moved_cycles(operations: Iterable[Operation]) -> int:
    """Cycles that moves from and to SDRAM take at most."""
    moves = (each.header.length for each in operations if each.header.op in (Op.COPY, Op.STORE))
    return CYCLES_PER_BYTE * sum(moves)


def silent(tries: int) -> LinkError:
    """What to raise if nothing answers."""
    return LinkError(
        f"the device did not answer {tries} times; "
        f"check that it is connected, configured with Sateen and has this baud rate or address"
    )


def check_user(answer: bytes) -> None:
    """Raises what a response's status says of other users."""
    status = answer[-1] if answer else Status.BAD_OP
    if status in (Status.STRANGER, Status.ABORTED):
        raise DeviceTakenError(
            "another session has taken over the device, or its power was off; close that one, and open the device again"
        )
    if status == Status.IN_USE:
        raise DeviceTakenError("the device is in use by another client; wait until that one has closed it")


def check(answer: bytes, size: int) -> None:
    """Raises what a response's status says, and if it has another size than was asked for."""
    check_user(answer)
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


def frames(operations: Iterable[Operation], frame_bytes: int) -> Iterator[tuple[bytes, int]]:
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
