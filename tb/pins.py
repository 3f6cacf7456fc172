"""The host's end of a serial port at the pins of a simulated device, bit by bit, for the real driver."""

from __future__ import annotations

import random

import cocotb
from cocotb.task import resume
from cocotb.triggers import Timer

FLAG = 0x7E
SILENCE_BITS = 40
"""After as many bits of silence there is no more to come for now."""
PATIENCE_BITS = 4_000
"""After as many bits without an answer it is lost: a small network takes a tenth of them."""


class PinTransport:
    """A :class:`sateen.runtime.transport.Transport` over two pins. The simulation passes while the driver, in a thread,
    waits in ``exchange``.

    Parameters
    ----------
    rx, tx
        The device's pins.
    bit_ns
        How long a bit takes on the host's clock.
    spike_ns
        Longest of the spikes that disturb one bit in ten; 0 for a clean line.
    disturb
        Share of the exchanges before which the line is broken or wild for a while, and of those that lose a byte to
        that. Unless it is 0, the first does.
    """

    bits_per_second = clock_hz = float("inf")

    def __init__(self, rx, tx, *, bit_ns: float, spike_ns: float = 0.0, disturb: float = 0.0):
        self.rx, self.tx, self.bit_ns, self.spike_ns, self.disturb = rx, tx, bit_ns, spike_ns, disturb
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
        await Timer(max(1, round(count * self.bit_ns * 1000)), "ps")

    async def _exchange(self, data: bytes, *, timeout: float) -> bytes:
        if data and random.random() < self.disturb:
            await self._disturbance()
        # Not the first byte: the flag before it would do as well.
        damaged = random.randrange(1, len(data)) if data and (self.first or random.random() < self.disturb) else None
        self.first = self.first and not data
        for index, byte in enumerate(data):
            if index == damaged:
                await self._disturbance()
                continue
            for bit in (0, *((byte >> place) & 1 for place in range(8)), 1):
                await self._bit(bit)
        self.rx.value = 1
        waited = 0
        while not self.received and waited < PATIENCE_BITS:
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

    async def _bit(self, value: int) -> None:
        """One bit, perhaps with a spike of the other level inside."""
        self.rx.value = value
        if not self.spike_ns or random.random() > 0.1:
            await self._bits(1)
            return
        before = random.uniform(0.05, 0.9)
        length = random.uniform(0.1, 1.0) * min(self.spike_ns / self.bit_ns, 1 - before)
        await self._bits(before)
        self.rx.value = 1 - value
        await self._bits(length)
        self.rx.value = value
        await self._bits(1 - before - length)

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
        """Collects bytes, each bit sampled in its middle."""
        while True:
            await self.tx.falling_edge
            await self._bits(1.5)
            byte = 0
            for place in range(8):
                byte |= int(self.tx.value) << place
                await self._bits(1)
            assert self.tx.value == 1, "no stop bit"
            self.received.append(byte)
