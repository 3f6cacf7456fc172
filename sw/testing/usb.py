"""A computer's end of a USB cable at the lines of a device under test, bit by bit: host controller, enumeration, and
the driver of serial ports.

:class:`UsbHost` sends and takes packets as USB 2.0 defines them for full speed. :class:`UsbTransport` is the transport
of the real driver over it.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import Any

import cocotb
from cocotb.clock import Clock
from cocotb.task import resume
from cocotb.triggers import First, Timer
from cocotb.utils import get_sim_time

from sateen.hw.spec.wire import FLAG

__all__ = ["DEVICE_BIT_PS", "UsbHost", "UsbTransport", "start_clocks"]

CLOCK_PS = 20_832
"""Of the device's 48 MHz, even, so that a half is a whole number."""
DEVICE_BIT_PS = 4 * CLOCK_PS
FRAME_BITS = 12_000
"""Bits of a millisecond, after which the next frame begins."""
GUARD_BITS = 900
"""No transaction begins so near to a frame's end: the longest, with stuffed bits and waits, takes as many."""
GAP_BITS = 3
"""Between a packet and the host's next one."""
PATIENCE_BITS = 18
"""After as many bits without an answer there is none (USB 2.0, 7.1.19.1)."""
OUT, IN, SOF, SETUP, DATA0, DATA1, ACK, NAK, STALL = 0x1, 0x9, 0x5, 0xD, 0x3, 0xB, 0x2, 0xA, 0xE
MOST_WAITS = 20_000
"""Times that a device may refuse a packet."""


def start_clocks(dut: Any) -> None:
    """Starts the clocks ``usb_io_clk`` and ``usb_clk`` of a device under test."""
    for line, period in ((dut.usb_io_clk, CLOCK_PS), (dut.usb_clk, DEVICE_BIT_PS)):
        clock: Any = Clock(line, period, unit="ps")
        cocotb.start_soon(clock.start())


def crc(bits: Iterable[int], *, polynomial: int, width: int) -> list[int]:
    """The check of some bits, first bit first (USB 2.0, 8.3.5)."""
    remainder = (1 << width) - 1
    for bit in bits:
        top = remainder >> (width - 1) & 1
        remainder = (remainder << 1) & ((1 << width) - 1)
        if top ^ bit:
            remainder ^= polynomial
    return [1 - (remainder >> place & 1) for place in reversed(range(width))]


def bits_of(data: bytes) -> list[int]:
    """Bits of bytes, in the order of the line."""
    return [byte >> place & 1 for byte in data for place in range(8)]


def packet_bits(pid: int, data: bytes = b"") -> list[int]:
    """A packet but for its first byte, which synchronizes: its name, data and check."""
    name = bits_of(bytes([pid | (~pid & 0xF) << 4]))
    if pid in (DATA0, DATA1):
        return [*name, *bits_of(data), *crc(bits_of(data), polynomial=0x8005, width=16)]
    return name


def token_bits(pid: int, value: int) -> list[int]:
    """A token: 11 bits, an address and an endpoint or a frame's number."""
    bits = [value >> place & 1 for place in range(11)]
    return [*packet_bits(pid), *bits, *crc(bits, polynomial=0x05, width=5)]


def levels(bits: Iterable[int]) -> Iterator[tuple[int, int]]:
    """What a packet puts on D+ and D−, and for how many bits: stuffed, its zeros as changes, and its end."""
    line, ones = 1, 0
    for bit in [0] * 7 + [1] + list(bits):
        ones = ones + 1 if bit else 0
        line = line if bit else 1 - line
        yield line, 1 - line
        if ones == 6:
            line, ones = 1 - line, 0
            yield line, 1 - line
    yield from ((0, 0), (0, 0), (1, 0))


@dataclass
class Pipe:
    """An endpoint of the device, and which of its packets comes next."""

    number: int
    toggle: int = 0


class UsbHost:
    """A host controller at full speed, bit by bit at the lines. :class:`sateen.testing.ulpi.UlpiHost` is one at high
    speed, byte by byte at a PHY.

    Parameters
    ----------
    pins
        Has the device's ``dp_i``, ``dn_i``, ``dp_o``, ``dn_o`` and ``oe``, by the names of ``prefix`` before them.
    error : float
        Of the host's clock, as a share of the device's; 0.0025 each are allowed.
    """

    packet_bytes, frame_bits, guard_bits = 64, FRAME_BITS, GUARD_BITS

    def __init__(self, pins: Any, prefix: str = "", *, error: float = 0.0):
        self.dp_i, self.dn_i, self.dp_o, self.dn_o, self.oe = (
            getattr(pins, prefix + name) for name in ("dp_i", "dn_i", "dp_o", "dn_o", "oe")
        )
        self.bit_ps = DEVICE_BIT_PS * (1 + error)
        self.address, self.frame, self.frame_ps = 0, 0, 0.0
        self.input, self.output = Pipe(4), Pipe(4)
        self.slowest_answer = 0.0
        """The longest wait for an answer that came, in bits."""
        self._line(1, 0)

    def _line(self, dp: int, dn: int) -> None:
        self.dp_i.value, self.dn_i.value = dp, dn

    async def wait(self, bits: float) -> None:
        """Waits as long as some bits take."""
        await Timer(max(1, round(bits * self.bit_ps)), "ps")

    async def reset(self) -> None:
        """Resets the bus: 20 µs instead of 10 ms, which luna needs no longer."""
        self._line(0, 0)
        await self.wait(240)
        self._line(1, 0)
        await self.wait(120)
        self.address = self.input.toggle = self.output.toggle = 0
        await self._begin_frame()

    async def _begin_frame(self) -> None:
        self.frame_ps = float(get_sim_time("ps"))
        await self._send(token_bits(SOF, self.frame))
        self.frame = (self.frame + 1) % 2048

    async def _room(self) -> None:
        """Waits for the next frame, if a transaction does not end in this one."""
        passed = (get_sim_time("ps") - self.frame_ps) / self.bit_ps
        if passed > self.frame_bits - self.guard_bits:
            if passed < self.frame_bits:
                await self.wait(self.frame_bits - passed)
            await self._begin_frame()

    async def _send(self, bits: list[int]) -> None:
        """Sends a packet, and leaves the line."""
        await self.wait(GAP_BITS)
        began, count, last = get_sim_time("ps"), 0, None
        for level in levels(bits):
            if level != last:
                await self._until(began + count * self.bit_ps)
                self._line(*level)
                last = level
            count += 1
        await self._until(began + count * self.bit_ps)

    async def _until(self, ps: float) -> None:
        left = round(ps - get_sim_time("ps"))
        if left > 0:
            await Timer(left, "ps")

    async def _receive(self) -> bytes:
        """The device's packet but for its first byte; empty if none comes."""
        began = get_sim_time("ps")
        patience = Timer(round(PATIENCE_BITS * self.bit_ps), "ps")
        if not self.oe.value and await First(self.oe.rising_edge, patience) is patience:
            return b""
        # Its end is one bit before the host's packet's: J belongs to that.
        self.slowest_answer = max(self.slowest_answer, (get_sim_time("ps") - began) / self.bit_ps + 1)
        bits: list[int] = []
        line, ones = 1, 0
        await Timer(DEVICE_BIT_PS // 2, "ps")
        while True:
            dp, dn = int(self.dp_o.value), int(self.dn_o.value)
            self._line(dp, dn)
            if not self.oe.value or not dp | dn:
                break
            assert dp != dn, "both lines are high"
            bit = int(dp == line)
            line = dp
            if ones == 6:
                assert not bit, "a stuffed bit is missing"
                ones = 0
            else:
                bits.append(bit)
                ones = ones + 1 if bit else 0
            await Timer(DEVICE_BIT_PS, "ps")
        if self.oe.value:
            await self.oe.falling_edge
        self._line(1, 0)
        assert bits[:8] == [0] * 7 + [1] and len(bits) % 8 == 0, "the packet is none"
        data = bytes(sum(bit << place for place, bit in enumerate(bits[at : at + 8])) for at in range(8, len(bits), 8))
        assert data[0] & 0xF == ~data[0] >> 4 & 0xF, "the packet's name is damaged"
        return data

    async def _handshake(self) -> int:
        answer = await self._receive()
        assert len(answer) == 1, f"no answer to a packet, but {answer.hex()}"
        return answer[0] & 0xF

    async def send(self, pipe: Pipe, data: bytes, *, token: int = OUT) -> int:
        """Sends a packet to an endpoint once; what the device says to it."""
        await self._room()
        await self._send(token_bits(token, self.address | pipe.number << 7))
        await self._send(packet_bits(DATA1 if pipe.toggle else DATA0, data))
        answer = await self._handshake()
        if answer == ACK:
            pipe.toggle ^= 1
        return answer

    async def receive(self, pipe: Pipe) -> bytes | None:
        """Asks an endpoint for a packet once; its data, or ``None`` if it has none.

        Raises
        ------
        AssertionError
            If it is damaged, comes out of turn, or the endpoint has stalled.
        """
        await self._room()
        await self._send(token_bits(IN, self.address | pipe.number << 7))
        answer = await self._receive()
        assert answer, "no answer to IN"
        if answer[0] & 0xF == NAK:
            return None
        assert answer[0] & 0xF == (DATA1 if pipe.toggle else DATA0), f"a packet came out of turn: {answer[:1].hex()}"
        data = answer[1:-2]
        check = crc(bits_of(data), polynomial=0x8005, width=16)
        assert bits_of(answer[-2:]) == check, "a packet's check is wrong"
        await self._send(packet_bits(ACK))
        pipe.toggle ^= 1
        return data

    async def control(
        self, kind: int, request: int, value: int = 0, index: int = 0, size: int = 0, data: bytes = b""
    ) -> bytes | None:
        """A transfer with endpoint 0; the data that came, or ``None`` if the device refuses the request."""
        pipe = Pipe(0)
        setup = bytes([kind, request, *value.to_bytes(2, "little"), *index.to_bytes(2, "little")])
        setup += (len(data) or size).to_bytes(2, "little")
        assert await self.send(pipe, setup, token=SETUP) == ACK
        came = b""
        inward = bool(kind & 0x80)
        if inward:
            while len(came) < size:
                packet = await self._insist(pipe)
                if packet is None:
                    return None
                came += packet
                if len(packet) < 64:
                    break
        elif data:
            assert await self.send(pipe, data) == ACK
        pipe.toggle = 1
        if inward:
            assert await self.send(pipe, b"") == ACK
        elif await self._insist(pipe) != b"":
            return None
        return came

    async def _insist(self, pipe: Pipe) -> bytes | None:
        """The next packet of endpoint 0; ``None`` if that has stalled."""
        for _ in range(MOST_WAITS):
            await self._room()
            await self._send(token_bits(IN, self.address | pipe.number << 7))
            answer = await self._receive()
            name = answer[0] & 0xF
            if name == STALL:
                return None
            if name == NAK:
                continue
            assert name == (DATA1 if pipe.toggle else DATA0), "a packet came out of turn"
            await self._send(packet_bits(ACK))
            pipe.toggle ^= 1
            return answer[1:-2]
        raise AssertionError("the device is never ready")

    async def enumerate(self) -> dict[str, Any]:
        """Resets the bus and brings the device into use as Linux does; what the device says of itself."""
        await self.reset()
        assert len(await self.control(0x80, 6, 0x0100, size=8) or b"") == 8
        await self.reset()
        assert await self.control(0x00, 5, 7) == b""
        self.address = 7
        device = await self.control(0x80, 6, 0x0100, size=18)
        assert device is not None and len(device) == 18
        head = await self.control(0x80, 6, 0x0200, size=9)
        assert head is not None
        total = int.from_bytes(head[2:4], "little")
        config = await self.control(0x80, 6, 0x0200, size=total)
        assert config is not None and len(config) == total
        texts = [await self.control(0x80, 6, 0x0300 | number, 0x0409, size=255) for number in device[14:16]]
        assert await self.control(0x00, 9, config[5]) == b""
        # What the driver of serial ports asks for: a rate, and that a program is there. The latter may be refused.
        assert await self.control(0x21, 0x20, 0, 0, data=(115_200).to_bytes(4, "little") + bytes([0, 0, 8])) == b""
        await self.control(0x21, 0x22, 3)
        return {
            "ids": (int.from_bytes(device[8:10], "little"), int.from_bytes(device[10:12], "little")),
            "texts": [(text or b"")[2:].decode("utf-16-le") for text in texts],
            "endpoints": sorted(config[at + 2] for at in _descriptors(config) if config[at + 1] == 5),
        }

    async def write(self, data: bytes) -> None:
        """Sends bytes in full packets."""
        for at in range(0, len(data), self.packet_bytes):
            for _ in range(MOST_WAITS):
                if await self.send(self.output, data[at : at + self.packet_bytes]) == ACK:
                    break
            else:
                raise AssertionError("the device takes nothing more")


def _descriptors(config: bytes) -> Iterator[int]:
    at = 0
    while at < len(config):
        yield at
        at += config[at]


class UsbTransport:
    """A :class:`sateen.runtime.transport.Transport` over the serial port of a device on USB. Packets go both ways in
    turn, as host controllers do. The simulation passes while the driver, in a thread, waits in ``exchange``.

    Parameters
    ----------
    host : UsbHost
        Has enumerated the device.
    patience_bits : int
        After as many bits without an answer it is lost: more than the longest program takes.
    """

    bits_per_second = clock_hz = float("inf")

    def __init__(self, host: UsbHost, *, patience_bits: int = 100_000):
        self.host, self.patience_bits = host, patience_bits
        self.exchange = resume(self._exchange)

    def now(self) -> float:
        """Time stands still: :attr:`patience_bits` end an exchange, not the driver's deadlines."""
        return 0.0

    def close(self) -> None:
        """Nothing to do."""

    async def _exchange(self, data: bytes, *, timeout: float) -> bytes:
        came, packet, began = b"", None, get_sim_time("ps")
        most = self.host.packet_bytes
        # A transfer of the driver of serial ports ends with a packet that is not full.
        while data or came[-1:] != bytes([FLAG]) or len(came) < 2 or len(packet or b"") == most:
            if data and await self.host.send(self.host.output, data[:most]) == ACK:
                data = data[most:]
            packet = await self.host.receive(self.host.input)
            came += packet or b""
            if not came and get_sim_time("ps") - began > self.patience_bits * self.host.bit_ps:
                break
        return came
