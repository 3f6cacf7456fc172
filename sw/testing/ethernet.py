"""A host on Ethernet for benches: frames at a PHY's lines, made and read with scapy, and the driver over datagrams.

Needs scapy (extra ``cocotb``).
"""

from __future__ import annotations

import zlib
from typing import Any

import cocotb
from cocotb.clock import Clock
from cocotb.queue import Queue
from cocotb.task import resume
from cocotb.triggers import RisingEdge, with_timeout
from scapy.layers.inet import IP, UDP
from scapy.layers.l2 import Ether

from sateen.hw.spec.ethernet import ADDRESS, DATAGRAM_BYTES, PORT, ethernet_address, parse_address
from sateen.hw.spec.wire import FLAG

__all__ = ["EthernetHost", "UdpTransport", "start_clock"]

CLOCK_NS = 8
"""Gigabit: 125 MHz."""
HOST, HOST_MAC, HOST_PORT = "192.168.1.10", "02:00:00:00:00:01", 50000
PREAMBLE = bytes([0x55] * 7 + [0xD5])
LEAST_FRAME, LEAST_GAP = 64, 12


def start_clock(dut: Any, ns: int = CLOCK_NS) -> None:
    """Starts the clock ``ethernet_clk`` of a device under test."""
    clock: Any = Clock(dut.ethernet_clk, ns, unit="ns")
    cocotb.start_soon(clock.start())


class EthernetHost:
    """The other end of a cable. Holds the device's frames to IEEE 802.3: preamble, least length, check sequence, gap.

    Parameters
    ----------
    dut
        The device under test, with the lines of :data:`sateen.hw.link.ethernet.frames.GMII`.
    prefix : str
        What the names of these lines begin with.
    address : str
        The device's.
    """

    def __init__(self, dut: Any, prefix: str = "phy__", *, address: str = ADDRESS):
        self.dut, self.prefix, self.clock = dut, prefix, dut.ethernet_clk
        self.address, self.mac = address, ethernet_address(parse_address(address)).hex(":")
        self.frames: Queue[bytes] = Queue()
        """What the device sent, without check sequences."""
        cocotb.start_soon(self._listen())

    def _line(self, name: str) -> Any:
        return getattr(self.dut, self.prefix + name)

    async def send(self, frame: Any, *, damage: int | None = None, error: int | None = None) -> None:
        """Puts a frame on the line: bytes, or a packet of scapy's.

        Parameters
        ----------
        damage
            A bit of it that arrives inverted, its check sequence's included.
        error
            A byte of it at which the PHY reports an error.
        """
        data = bytes(frame).ljust(LEAST_FRAME - 4, b"\0")
        sent = bytearray(data + zlib.crc32(data).to_bytes(4, "little"))
        if damage is not None:
            sent[damage // 8] ^= 1 << damage % 8
        await self.raw(PREAMBLE + sent, error=None if error is None else len(PREAMBLE) + error)

    async def raw(self, data: bytes, *, error: int | None = None, gap: int = LEAST_GAP) -> None:
        """Puts bytes on the line, and a gap behind them."""
        for place, byte in enumerate(data):
            self._line("rx_valid").value, self._line("rx_data").value = 1, byte
            self._line("rx_error").value = int(place == error)
            await RisingEdge(self.clock)
        self._line("rx_valid").value, self._line("rx_error").value = 0, 0
        for _ in range(gap):
            await RisingEdge(self.clock)

    def packet(self, payload: bytes = b"", *, port: int = PORT, source: int = HOST_PORT, **ip: Any) -> Any:
        """A datagram for the device, as a packet of scapy's, which can be changed."""
        header = {"src": HOST, "dst": self.address, **ip}
        return Ether(dst=self.mac, src=HOST_MAC) / IP(**header) / UDP(sport=source, dport=port) / payload

    async def receive(self, *, us: float = 50) -> bytes | None:
        """The device's next frame; ``None`` if there is none for as long."""
        try:
            return bytes(await with_timeout(self.frames.get(), us, "us"))
        except cocotb.triggers.SimTimeoutError:
            return None

    async def _listen(self) -> None:
        frame, gap = bytearray(), LEAST_GAP
        while True:
            await RisingEdge(self.clock)
            if self._line("tx_valid").value == 1:
                assert frame or gap >= LEAST_GAP, f"a gap of {gap} bytes"
                frame.append(int(self._line("tx_data").value))
                gap = 0
                continue
            gap += 1
            if frame:
                begin, body, check = frame[:8], bytes(frame[8:-4]), int.from_bytes(frame[-4:], "little")
                assert begin == PREAMBLE and len(body) + 4 >= LEAST_FRAME, bytes(frame)
                assert zlib.crc32(body) == check, "a wrong check sequence"
                self.frames.put_nowait(body)
                frame = bytearray()


class UdpTransport:
    """A :class:`sateen.runtime.transport.Transport` over datagrams at the device's lines. The simulation passes while
    the driver, in a thread, waits in ``exchange``.

    Parameters
    ----------
    host : EthernetHost
        The other end of the cable.
    patience_us : float
        After as long without an answer it is lost.
    """

    bits_per_second = clock_hz = float("inf")

    def __init__(self, host: EthernetHost, *, patience_us: float = 10_000):
        self.host, self.patience_us = host, patience_us
        self.exchange = resume(self._exchange)

    def now(self) -> float:
        """Time stands still: :attr:`patience_us` ends an exchange, not the driver's deadlines."""
        return 0.0

    def close(self) -> None:
        """Nothing to do."""

    async def _exchange(self, data: bytes, *, timeout: float) -> bytes:
        for start in range(0, len(data), DATAGRAM_BYTES):
            await self.host.send(self.host.packet(data[start : start + DATAGRAM_BYTES]))
        came = b""
        while came[-1:] != bytes([FLAG]) or len(came) < 2:
            frame = await self.host.receive(us=self.patience_us)
            if frame is None:
                break
            came += datagram(frame)
        return came


def datagram(frame: bytes) -> bytes:
    """What a frame of the device's brings the host. Anything but a right datagram fails."""
    packet = Ether(frame)
    assert packet.dst == HOST_MAC and packet[IP].dst == HOST and packet[UDP].dport == HOST_PORT, packet.show(dump=True)
    given, packet[IP].chksum = packet[IP].chksum, None
    assert IP(bytes(packet[IP])).chksum == given and packet[UDP].chksum == 0
    return bytes(packet[UDP].payload)[: packet[UDP].len - 8]
