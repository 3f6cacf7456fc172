"""The host's end of a serial port at the pins of a device under test, bit by bit, for the real driver.

:class:`UartTransport` is the driver's transport. :class:`SerialBridge` is the chip that stands there on a board.
"""

from __future__ import annotations

import random
from collections.abc import Awaitable, Callable
from typing import Any

import cocotb
from cocotb.task import resume
from cocotb.triggers import Timer

from sateen.fpga.board import Bridge
from sateen.hw.spec.wire import FLAG

__all__ = ["SerialBridge", "UartTransport", "receive_byte", "transmit_byte"]

SILENCE_BITS = 40
"""After as many bits of silence there is no more to come for now."""
PATIENCE_BITS = 4_000
"""After as many bits without an answer it is lost: a small network takes a tenth of them."""


async def hold(line: Any, level: int, bit_ns: float) -> None:
    """One bit on a clean line."""
    line.value = level
    await _wait(bit_ns)


async def transmit_byte(
    line: Any, byte: int, bit_ns: float, *, stop: int = 1, drive: Callable[[Any, int, float], Awaitable[None]] = hold
) -> None:
    """Sends a byte on a line, which is 1 afterwards: start bit, eight bits from the least on, stop bit.

    Parameters
    ----------
    line
        The handle of the device's input.
    byte
        0 to 255.
    bit_ns
        How long a bit takes.
    stop
        The level of the stop bit; 0 is a mistake.
    drive
        Puts a bit on the line, and returns when its time is over.
    """
    for level in (0, *((byte >> place) & 1 for place in range(8)), stop):
        await drive(line, level, bit_ns)
    line.value = 1


async def receive_byte(line: Any, bit_ns: float) -> int:
    """Waits for a byte on a line, and returns it; each bit is sampled in its middle.

    Raises
    ------
    AssertionError
        If its stop bit is not 1.
    """
    await line.falling_edge
    await _wait(1.5 * bit_ns)
    byte = 0
    for place in range(8):
        byte |= int(line.value) << place
        await _wait(bit_ns)
    assert line.value == 1, "no stop bit"
    return byte


async def _wait(ns: float) -> None:
    await Timer(max(1, round(1000 * ns)), "ps")


class UartTransport:
    """A :class:`sateen.runtime.transport.Transport` over two pins. The simulation passes while the driver, in a thread,
    waits in ``exchange``.

    Parameters
    ----------
    rx, tx
        The handles of the device's input and output.
    bit_ns : float
        How long a bit takes on the host's clock: ``1e9 / baud``.
    spike_ns : float
        Longest of the spikes that disturb one bit in ten; 0 for a clean line.
    disturb : float
        Share of the exchanges before which the line is broken or wild for a while, and of those that lose a byte to
        that. Unless it is 0, the first does.
    patience_bits : int
        After as many bits without an answer it is lost: more than the longest program takes.
    """

    bits_per_second = clock_hz = float("inf")

    def __init__(
        self, rx: Any, tx: Any, *, bit_ns: float, spike_ns: float = 0.0, disturb: float = 0.0,
        patience_bits: int = PATIENCE_BITS,
    ):  # fmt: skip
        self.rx, self.tx, self.bit_ns, self.spike_ns, self.disturb = rx, tx, bit_ns, spike_ns, disturb
        self.patience_bits = patience_bits
        self.received = bytearray()
        self.first = disturb > 0
        self.exchange = resume(self._exchange)
        rx.value = 1
        cocotb.start_soon(self._listen())

    def now(self) -> float:
        """Time stands still: a silence ends an exchange, not the driver's deadlines."""
        return 0.0

    def close(self) -> None:
        """Nothing to do."""

    async def _bits(self, count: float) -> None:
        await _wait(count * self.bit_ns)

    async def _exchange(self, data: bytes, *, timeout: float) -> bytes:
        if data and random.random() < self.disturb:
            await self._disturbance()
        # Not the first byte: the flag before it would do as well.
        damaged = random.randrange(1, len(data)) if data and (self.first or random.random() < self.disturb) else None
        self.first = self.first and not data
        for index, byte in enumerate(data):
            if index == damaged:
                await self._disturbance()
            else:
                await transmit_byte(self.rx, byte, self.bit_ns, drive=self._drive)
        waited = 0
        while not self.received and waited < self.patience_bits:
            await self._bits(10)
            waited += 10
        silent, count = 0, len(self.received)
        while self.received and silent < SILENCE_BITS and (len(self.received) < 2 or self.received[-1] != FLAG):
            await self._bits(10)
            silent = 0 if len(self.received) > count else silent + 10
            count = len(self.received)
        came = bytes(self.received)
        self.received.clear()
        return came

    async def _drive(self, line: Any, level: int, bit_ns: float) -> None:
        """One bit, perhaps with a spike of the other level inside."""
        if not self.spike_ns or random.random() > 0.1:
            await hold(line, level, bit_ns)
            return
        before = random.uniform(0.05, 0.9)
        length = random.uniform(0.1, 1.0) * min(self.spike_ns / bit_ns, 1 - before)
        await hold(line, level, before * bit_ns)
        await hold(line, 1 - level, length * bit_ns)
        await hold(line, level, (1 - before - length) * bit_ns)

    async def _disturbance(self) -> None:
        """A break, or random levels of random lengths."""
        if random.random() < 0.5:
            self.rx.value = 0
            await self._bits(random.uniform(11, 50))
        else:
            for _ in range(30):
                self.rx.value = random.getrandbits(1)
                await self._bits(random.uniform(0.05, 3))
        self.rx.value = 1
        await self._bits(random.uniform(0.5, 12))

    async def _listen(self) -> None:
        while True:
            self.received.append(await receive_byte(self.tx, self.bit_ns))


class SerialBridge(UartTransport):
    """A board's USB bridge at the device's pins: its rate is the nearest one that its divider makes.

    Parameters
    ----------
    rx, tx
        The handles of the device's input and output.
    bridge : Bridge
        The chip, one of those in :mod:`sateen.fpga.board`, such as ``FTDI_HIGH_SPEED``.
    baud : int
        The rate that the host asks for.
    **line
        ``spike_ns``, ``disturb`` and ``patience_bits`` of :class:`UartTransport`.
    """

    def __init__(self, rx: Any, tx: Any, *, bridge: Bridge, baud: int, **line: Any):
        super().__init__(rx, tx, bit_ns=1e9 / bridge.rate(baud), **line)
