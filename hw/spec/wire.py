"""The link: frames of bytes between host and device, and the operations they carry.

A frame on the wire is ``FLAG, stuffed(header, payload, crc), FLAG``, after the octet-stuffed framing of RFC 1662:
inside a frame FLAG and ESCAPE are sent as ESCAPE and the byte XOR ``ESCAPE_XOR``. One FLAG may end a frame and begin
the next. The CRC is CRC-32 (ISO HDLC, as :func:`zlib.crc32`) of header and payload, little-endian. All fields are
little-endian.

The host sends HELLO or REQUEST; the device answers each with one RESPONSE of the same sequence number. The device
silently drops a frame that is damaged, whose length differs from its header's, or that arrives while both receive
buffers are full; the host retransmits after a time-out. Each frame has the sequence number that follows that of the
frame before it, modulo 256. A REQUEST with the sequence number of the last frame executed is not executed again: the
device repeats its response. It executes the one that follows, and drops all others: they come again after later ones,
or a HELLO came again after them. So every operation happens exactly once, but for a frame that comes again after 255
later ones.

HELLO begins a session: the host chooses a number, which all frames of the session carry. A REQUEST of another session
is not executed; its response says STRANGER. HELLO is always received: it takes the place of a frame that waits in the
second receive buffer. While it waits there itself, the device stops a program that runs and begins no further operation
of the frame before. So HELLO is answered within a bounded time, whatever came before.

The payload of HELLO and REQUEST is a sequence of operations, each an 8-byte header; a WRITE's data follows its header.
The response's payload is the data of all READs in order, then one byte of :class:`Status`. At an operation that fails
the device stops, and the status says why.
"""

from __future__ import annotations

import struct
import zlib
from dataclasses import dataclass
from enum import IntEnum

__all__ = [
    "CHECK_BYTES", "ESCAPE", "ESCAPE_XOR", "FLAG", "LIMIT_BITS", "WAITED", "WAITED_BYTES", "Frame", "FrameType", "Op",
    "OpHeader", "Space", "Status", "Stuffing", "limit_code", "limit_cycles",
]  # fmt: skip

FLAG = 0x7E
ESCAPE = 0x7D
ESCAPE_XOR = 0x20
LIMIT_BITS = 4
"""Width of the code of a program's limit."""


def limit_code(cycles: int) -> int:
    """The code of the least limit that allows a program so many cycles: the exponent of a power of 4, from 1 on; 0, for
    any number, if none does."""
    code = next((code for code in range(1, 1 << LIMIT_BITS) if 4**code >= cycles), 0)
    return code if cycles else 0


def limit_cycles(code: int) -> int:
    """The cycles that a limit allows; 0 for any number."""
    return 4**code if code else 0


class FrameType(IntEnum):
    """First byte of a frame's header."""

    HELLO = 1
    REQUEST = 2
    RESPONSE = 3


WAITED = 4
"""Place of the counter in :attr:`Space.CHECK`."""
WAITED_BYTES = 4
CHECK_BYTES = 8
"""Bytes of :attr:`Space.CHECK`, which repeat."""


class Op(IntEnum):
    """First byte of an operation's header."""

    WRITE = 1
    """Writes ``length`` bytes, which follow, to ``space`` from ``address``."""
    READ = 2
    """Reads ``length`` bytes of ``space`` from ``address`` into the response."""
    RUN = 3
    """Starts ``length`` descriptors of the program from number ``space``; does not wait for them. The device ends the
    program by itself after the cycles that ``address`` allows, see :func:`limit_code` and :attr:`Status.OVERTIME`."""
    WAIT = 4
    """Waits until no descriptor runs."""
    SEEK = 5
    """Of devices with SDRAM: the next COPY or STORE begins at byte ``address`` of it, and so does the checksum."""
    COPY = 6
    """Of devices with SDRAM: copies ``length`` bytes of it to ``space`` from ``address``. They follow those of the COPY
    or STORE before, or begin where SEEK says. To :attr:`Space.CHECK` nothing is written."""
    STORE = 7
    """The other way: copies ``length`` bytes of ``space`` from ``address`` into SDRAM."""
    CALL = 8
    """Of devices with SDRAM: executes the operations that lie in it from byte ``address`` on, ``length`` bytes, a
    multiple of 8. CALL and WRITE are none of them. The frame goes on behind it; after one that fails it does not."""


class Space(IntEnum):
    """Memories that WRITE and READ address, each by bytes from 0."""

    IDENTITY = 0
    """Read only: the device's identity, see :mod:`sateen.hw.spec.identity`."""
    COUNTERS = 1
    """Read only: one record of :class:`sateen.hw.spec.counters.Counters` per descriptor of the last RUN."""
    SCRATCHPAD = 2
    """Activations; tensors are dense, in NHWC order."""
    WEIGHTS = 3
    """Weight words, each ``Config.weight_word_bytes`` apart; the first ``cols`` bytes of a word are stored."""
    PROGRAM = 4
    """Descriptors of 32-bit words, see :mod:`sateen.hw.spec.descriptor`. Written in whole words."""
    SDRAM = 5
    """Of devices with SDRAM: its bytes; a word's lowest byte comes first."""
    CHECK = 6
    """Of devices with SDRAM, read only: the CRC-32 of all bytes that COPY has read to it since SEEK, little-endian.
    From :data:`WAITED` on, a counter of :data:`WAITED_BYTES`, little-endian, of the cycles in which COPY and STORE
    moved bytes while no program ran."""


class Status(IntEnum):
    """Last byte of a response."""

    OK = 0
    BAD_OP = 1
    """Unknown operation, an operation cut short by the frame's end, or one that no list may hold."""
    BAD_SPACE = 2
    """Unknown memory, or WRITE to one that is read only."""
    OVERFLOW = 3
    """The data of the READs is more than a frame holds."""
    ABORTED = 4
    """A HELLO arrived before the request was executed."""
    BUSY = 5
    """RUN while a program runs."""
    STRANGER = 6
    """The request is not of the present session."""
    OVERTIME = 7
    """WAIT, and the program was ended because it ran for longer than its RUN allows. The byte before the status is the
    place in the run, from 0, of the descriptor that ran."""
    IN_USE = 8
    """Not from a device: who serves it to others has another client."""


@dataclass(frozen=True)
class Frame:
    """One frame before stuffing. ``seq`` is 0 to 255, ``session`` 0 to 65,535; the payload holds at most
    ``Config.frame_bytes`` bytes."""

    type: FrameType
    seq: int
    payload: bytes = b""
    session: int = 0

    HEADER = struct.Struct("<BBHH")
    FIELDS = ("type", "sequence", "length", "session")
    """Of the header: type, sequence number, length of the payload, session."""
    CRC_BYTES = 4

    def encode(self) -> bytes:
        """The frame as it is sent, flags included."""
        body = self.HEADER.pack(self.type, self.seq, len(self.payload), self.session) + self.payload
        body += zlib.crc32(body).to_bytes(self.CRC_BYTES, "little")
        return bytes([FLAG]) + Stuffing.stuff(body) + bytes([FLAG])

    @classmethod
    def decode(cls, body: bytes) -> Frame | None:
        """The frame in an unstuffed body, or ``None`` if it is damaged."""
        end = len(body) - cls.CRC_BYTES
        if end < cls.HEADER.size or zlib.crc32(body[:end]) != int.from_bytes(body[end:], "little"):
            return None
        kind, seq, length, session = cls.HEADER.unpack_from(body)
        if length != end - cls.HEADER.size or kind not in set(FrameType):
            return None
        return cls(FrameType(kind), seq, body[cls.HEADER.size : end], session)


class Stuffing:
    """Octet stuffing of RFC 1662, both ways; :meth:`feed` takes bytes as they arrive and returns the frames' bodies."""

    def __init__(self) -> None:
        self._body = bytearray()
        self._escaped = False

    @staticmethod
    def stuff(body: bytes) -> bytes:
        """``body`` with every FLAG and ESCAPE escaped."""
        for byte in (ESCAPE, FLAG):
            body = body.replace(bytes([byte]), bytes([ESCAPE, byte ^ ESCAPE_XOR]))
        return body

    def feed(self, data: bytes) -> list[bytes]:
        """The unstuffed bodies of the frames that ``data`` completes; empty ones are left out."""
        bodies = []
        for byte in data:
            if byte == FLAG:
                if self._body and not self._escaped:
                    bodies.append(bytes(self._body))
                self._body.clear()
                self._escaped = False
            elif byte == ESCAPE and not self._escaped:
                self._escaped = True
            else:
                self._body.append(byte ^ ESCAPE_XOR if self._escaped else byte)
                self._escaped = False
        return bodies


@dataclass(frozen=True)
class OpHeader:
    """An operation's header: for RUN, ``space`` is a descriptor and ``address`` a number of cycles."""

    op: Op
    space: int = 0
    length: int = 0
    address: int = 0

    LAYOUT = struct.Struct("<BBHI")
    FIELDS = ("op", "space", "length", "address")

    def encode(self) -> bytes:
        """The header's eight bytes."""
        return self.LAYOUT.pack(self.op, self.space, self.length, self.address)
