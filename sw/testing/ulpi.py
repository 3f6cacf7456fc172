"""A PHY for USB at high speed at the lines of a device under test, and the computer behind it.

The PHY takes and gives bytes and commands as ULPI 1.1 defines them; the host finds the bus's speed, and sends packets
as USB 2.0 defines them for high speed.
"""

from __future__ import annotations

from typing import Any

import cocotb
from cocotb.clock import Clock
from cocotb.queue import Queue
from cocotb.triggers import Event, First, RisingEdge, Timer, with_timeout
from cocotb.utils import get_sim_time

from sateen.testing.usb import Pipe, UsbHost

__all__ = ["UlpiHost"]

CLOCK_PS = 16_666
"""60 MHz."""
WRITE, TRANSMIT = 0x80, 0x40
"""The upper bits of commands to the PHY."""
FUNCTION = 0x04
"""The register that has the transceiver's speed, its termination and mode."""
CHIRP = {"speed": 0, "termination": 1, "mode": 2}
HIGH_SPEED = {"speed": 0, "termination": 0, "mode": 0}
FULL_SPEED = {"speed": 1, "termination": 1, "mode": 0}
SE0, J, K = 0, 1, 2
ACTIVE, POWERED = 0x10, 0x0C
"""Of the PHY's commands: it receives a packet; the bus has power."""
PATIENCE_US = 1.7
"""After as long without an answer there is none: 816 bits (USB 2.0, 7.1.19.2)."""
CHIRP_US = 50
PAIRS = 6


class UlpiHost(UsbHost):
    """A host controller at high speed, behind a PHY.

    Parameters
    ----------
    dut
        Has the lines of :data:`sateen.hw.link.usb.ULPI_PINS`, by the names of ``prefix`` before them, and ``usb_clk``,
        which this starts.
    """

    packet_bytes, frame_bits, guard_bits = 512, 60_000, 5_500

    def __init__(self, dut: Any, prefix: str = ""):
        self.lines = {name: getattr(dut, prefix + name) for name in
                      ("data_i", "data_o", "data_oe", "dir", "nxt", "stp", "rst")}  # fmt: skip
        self.clk, self.bit_ps = dut.usb_clk, CLOCK_PS / 8
        self.address, self.frame, self.frame_ps = 0, 0, 0.0
        self.input, self.output = Pipe(4), Pipe(4)
        self.slowest_answer = 0.0
        """The longest wait for an answer that came, in bits."""
        self.function: dict[str, int] = {}
        """What the device has set."""
        self.changed, self.chirped = Event(), Event()
        self._state, self._told = SE0, -1
        self._packets: Queue[bytes] = Queue()
        self._answers: Queue[bytes] = Queue()
        self._work, self._sent, self._answering = Event(), Event(), Event()
        for name in ("data_i", "dir", "nxt"):
            self.lines[name].value = 0
        clock: Any = Clock(self.clk, CLOCK_PS, unit="ps")
        cocotb.start_soon(clock.start())
        cocotb.start_soon(self._phy())

    def _drive(self, *, direction: int = 0, nxt: int = 0, data: int = 0) -> None:
        for name, value in (("dir", direction), ("nxt", nxt), ("data_i", data)):
            self.lines[name].value = value

    def _given(self) -> int:
        return int(self.lines["data_o"].value) if self.lines["data_oe"].value else 0

    async def _phy(self) -> None:
        """The PHY: tells the lines' state, passes packets on, and executes commands."""
        while True:
            await RisingEdge(self.clk)
            if self.lines["rst"].value:
                self._told = -1
            elif not self._packets.empty():
                await self._give(self._packets.get_nowait())
            elif self._told != self._state:
                self._told = self._state
                self._drive(direction=1)
                await RisingEdge(self.clk)
                self._drive(direction=1, data=POWERED | self._told)
                await RisingEdge(self.clk)
                self._drive()
                await RisingEdge(self.clk)
            elif command := self._given():
                await self._execute(command)
            else:
                # Nothing happens until one side moves.
                self._work.clear()
                await First(self.lines["data_o"].value_change, self.lines["rst"].value_change, self._work.wait())

    async def _give(self, packet: bytes) -> None:
        self._drive(direction=1, nxt=1)
        await RisingEdge(self.clk)
        self._drive(direction=1, data=POWERED | ACTIVE | J)
        await RisingEdge(self.clk)
        for byte in packet:
            self._drive(direction=1, nxt=1, data=byte)
            await RisingEdge(self.clk)
        self._drive(direction=1, data=POWERED | SE0)
        await RisingEdge(self.clk)
        self._drive()
        self._sent.set()
        await RisingEdge(self.clk)

    async def _execute(self, command: int) -> None:
        self._drive(nxt=1)
        await RisingEdge(self.clk)
        if command & 0xC0 == WRITE:
            await RisingEdge(self.clk)
            value = self._given()
            self._drive()
            await RisingEdge(self.clk)
            assert self.lines["stp"].value, "a write to the PHY has no end"
            if command & 0x3F == FUNCTION:
                self.function = {"speed": value & 3, "termination": value >> 2 & 1, "mode": value >> 3 & 3}
                self.changed.set()
            return
        assert command & 0xC0 == TRANSMIT, f"{command:#x} is no command"
        if self.function == CHIRP:
            await RisingEdge(self.lines["stp"])
            await RisingEdge(self.clk)
            self._drive()
            self.chirped.set()
            return
        self._answering.set()
        packet = bytearray([command & 0xF | (~command & 0xF) << 4])
        while True:
            await RisingEdge(self.clk)
            if self.lines["stp"].value:
                break
            packet.append(int(self.lines["data_o"].value))
        self._drive()
        self._answers.put_nowait(bytes(packet))

    def _line_state(self, state: int) -> None:
        self._state = state
        self._work.set()

    async def _until_set(self, function: dict[str, int], *, ms: float = 6) -> None:
        """Waits until the device has set the PHY so."""
        while self.function != function:
            self.changed.clear()
            await with_timeout(self.changed.wait(), round(ms * 1000), "us")

    async def reset(self) -> None:
        """Resets the bus, and finds that the device has high speed (USB 2.0, 7.1.7.5 and appendix C)."""
        if self.function != HIGH_SPEED:
            await self._until_set(FULL_SPEED)
            self._line_state(J)
            await Timer(20, "us")
        self.chirped.clear()
        self._line_state(SE0)
        await with_timeout(self.chirped.wait(), 12, "ms")
        await Timer(20, "us")
        for _ in range(PAIRS):
            for state in (K, J):
                self._line_state(state)
                await Timer(CHIRP_US, "us")
        self._line_state(SE0)
        await self._until_set(HIGH_SPEED)
        self.address = self.input.toggle = self.output.toggle = 0
        await self._begin_frame()

    async def _send(self, bits: list[int]) -> None:
        """Sends a packet."""
        octets = (bits[at : at + 8] for at in range(0, len(bits), 8))
        packet = bytes(sum(bit << place for place, bit in enumerate(octet)) for octet in octets)
        # Between packets of a host are 88 bits at least (USB 2.0, 7.1.18.2).
        await self.wait(88)
        self._sent.clear()
        self._answering.clear()
        self._packets.put_nowait(packet)
        self._work.set()
        await self._sent.wait()

    async def _receive(self) -> bytes:
        """The device's packet; empty if none comes."""
        began = get_sim_time("ps")
        try:
            await with_timeout(self._answering.wait(), round(PATIENCE_US * 1000), "ns")
        except cocotb.triggers.SimTimeoutError:
            return b""
        self.slowest_answer = max(self.slowest_answer, (get_sim_time("ps") - began) / self.bit_ps)
        return bytes(await self._answers.get())
