"""The serial port on USB, and a board behind it, under hosts that break the rules: each byte still arrives once where
the rules allow for it, and after a new enumeration a device works as before."""

from __future__ import annotations

import random
from collections.abc import Awaitable, Callable

import cocotb
import numpy as np

from sateen.compiler import compile
from sateen.fpga.top import System
from sateen.hw.link.usb import UsbSerial
from sateen.hw.spec.config import parse_config
from sateen.hw.spec.wire import FLAG
from sateen.testing.bench import Bench
from sateen.testing.benches.usb import begin
from sateen.testing.checks import golden
from sateen.testing.dut import parameters, watchdog
from sateen.testing.graphs import Builder, random_input
from sateen.testing.host import Host
from sateen.testing.streams import StreamSink, StreamSource
from sateen.testing.usb import (
    ACK,
    DATA0,
    DATA1,
    IN,
    MOST_WAITS,
    NAK,
    OUT,
    SETUP,
    SOF,
    Pipe,
    UsbHost,
    UsbTransport,
    packet_bits,
    token_bits,
)

PRE, PING, SPLIT = 0xC, 0x4, 0x8
"""Names of packets that no device at full speed expects."""
ROUNDS = 3
"""Enumerations of the board, each after a few attacks."""

Attack = Callable[[UsbHost], Awaitable[None]]


def usb():
    return UsbSerial()


def system(*, config="micro,link=usb"):
    return System(parse_config(config), build="0123456789abcdef")


def token(host: UsbHost, kind: int, pipe: Pipe) -> list[int]:
    """A token of the host's for an endpoint."""
    return token_bits(kind, host.address | pipe.number << 7)


async def out(host: UsbHost, data: list[int]) -> bytes:
    """A token for bytes to the device, and any bits in place of a packet; what the device says."""
    await host._send(token(host, OUT, host.output))
    await host._send(data)
    return await host._receive()


def damaged(bits: list[int]) -> list[int]:
    """A packet of which one bit, of its data or its check, is another."""
    place = random.randrange(8, len(bits))
    return [bit ^ (at == place) for at, bit in enumerate(bits)]


async def damages_packets(host: UsbHost) -> None:
    """Wrong checks, ends and names: no answer, and no byte of them counts."""
    data = packet_bits(DATA1 if host.output.toggle else DATA0, random.randbytes(random.randrange(1, 64)))
    for bits in (damaged(data), data[: 8 * random.randrange(1, len(data) // 8 - 2)], data[:5], [1] * 40):
        assert not await out(host, bits)


async def damages_tokens(host: UsbHost) -> None:
    """Packets behind tokens that are wrong or cut, or behind none: luna takes them for those of the last token, and the
    host is told so."""
    data, wrong = packet_bits(DATA0, random.randbytes(9)), token(host, OUT, host.output)
    for bits in (damaged(wrong), wrong[:11], [bit ^ 1 for bit in wrong[:8]] + wrong[8:]):
        await host._send(bits)
        await host._send(data)
        await host._receive()
    await host._send(data)
    await host._receive()


async def names_others(host: UsbHost) -> None:
    """Tokens for another device, another endpoint, and of kinds that full speed has not."""
    for bits in (token_bits(OUT, (host.address ^ 5) | host.output.number << 7), token_bits(OUT, host.address | 9 << 7)):
        await host._send(bits)
        await host._send(packet_bits(DATA0, b"stranger"))
        assert not await host._receive()
    for kind in (PRE, SPLIT, SOF):
        await host._send(token(host, kind, host.output))
        assert not await host._receive()
    # Luna answers this one, which asks whether there is room, and takes nothing.
    await host._send(token(host, PING, host.output))
    assert await host._receive() in (b"", bytes([ACK | 0xD0]), bytes([NAK | 0x50]))


async def loses_frames(host: UsbHost) -> None:
    """Starts of frames out of turn, and from then on none."""
    for number in (3, 3, 2047, 0):
        await host._send(token_bits(SOF, number))
    host.frame_ps = float("inf")


async def garbles_control(host: UsbHost) -> None:
    """Requests of random bytes, each with what may follow or not: data, another direction, nothing, other requests."""
    pipe = Pipe(0)
    for _ in range(random.randrange(1, 6)):
        setup = bytearray(random.randbytes(8))
        if random.random() < 0.6:
            setup[:2] = random.choice([0, 1, 2, 0x21, 0x80, 0x81, 0x82, 0xA1, 0xC0]), random.choice([*range(13), 0x20])
        if random.random() < 0.7:
            setup[6:] = random.choice([0, 1, 8, 18, 64, 255]), 0
        await host._send(token(host, SETUP, pipe))
        await host._send(packet_bits(DATA0, bytes(setup[: random.choice([8, 8, 8, 7, 0])])))
        await host._receive()
        for _ in range(random.randrange(4)):
            if random.random() < 0.5:
                await host._send(token(host, IN, pipe))
                if await host._receive() and random.random() < 0.8:
                    await host._send(packet_bits(ACK))
            else:
                await host._send(token(host, OUT, pipe))
                await host._send(
                    packet_bits(random.choice([DATA0, DATA1]), random.randbytes(random.choice([0, 3, 64])))
                )
                await host._receive()


async def exceeds_packets(host: UsbHost) -> None:
    """A packet longer than the endpoint's."""
    await out(
        host, packet_bits(DATA1 if host.output.toggle else DATA0, random.randbytes(random.choice([65, 128, 300])))
    )


async def cuts_packets(host: UsbHost) -> None:
    """A reset of the bus in the middle of a packet, to the device or from it; or a line that is pulled out in one."""
    if random.random() < 0.5:
        data = packet_bits(DATA1 if host.output.toggle else DATA0, random.randbytes(64))
        await host._send(token(host, OUT, host.output))
        await host._send(data[: random.randrange(8, len(data))])
    else:
        await host._send(token(host, IN, host.input))
        await host.wait(random.randrange(8, 60))
    host._line(0, 0)
    await host.wait(random.choice([2, 20, 100, 500]))
    host._line(1, 0)
    await host.wait(random.randrange(40))


async def goes_away(host: UsbHost) -> None:
    """A suspended bus; the lines of a cable that is out, which are pulled low at a host."""
    await host.wait(40_000)
    host._line(0, 0)
    await host.wait(5_000)
    host._line(1, 0)


async def confuses_toggles(host: UsbHost) -> None:
    """Packets of the wrong turn, and answers that the host never asked for."""
    for _ in range(random.randrange(1, 4)):
        await out(host, packet_bits(random.choice([DATA0, DATA1]), random.randbytes(random.randrange(64))))
    for kind in (ACK, NAK, 0xE):
        await host._send(packet_bits(kind))


HARMLESS: tuple[Attack, ...] = (damages_packets, names_others, loses_frames)
"""After these, no byte may be lost or doubled."""
HOSTILE: tuple[Attack, ...] = (
    *HARMLESS, damages_tokens, garbles_control, exceeds_packets, cuts_packets, goes_away, confuses_toggles,
)  # fmt: skip
"""After these, a device works once the bus was reset and the device enumerated."""


class Line:
    """Bytes both ways, through packets that get lost on the way back, to a device that takes them more slowly than they
    come."""

    def __init__(self, dut, host: UsbHost):
        self.host, self.source, self.sink = host, StreamSource(dut, "i"), StreamSink(dut, "o", pause=0.99)

    async def carries(self, count: int) -> None:
        """Bytes there and back, in packets of any size; of some the answer is lost, and they come again."""
        host, sent = self.host, b""
        taken = cocotb.start_soon(self.sink.receive(count))
        while len(sent) < count:
            data = random.randbytes(min(random.choice([0, 1, 7, 63, 64]), count - len(sent)))
            for _ in range(MOST_WAITS):
                if await host.send(host.output, data) == ACK:
                    break
            sent += data
            if random.random() < 0.5:
                # Its ACK was lost: the same packet, of the same turn.
                host.output.toggle ^= 1
                while await host.send(host.output, data) != ACK:
                    pass
        assert bytes(await taken) == sent
        await self.answers(random.randbytes(count))

    async def answers(self, data: bytes) -> None:
        """Bytes from the device, of which the host does not acknowledge some, or asks when there are none."""
        host, came, packet = self.host, b"", b""
        assert await host.receive(host.input) is None
        cocotb.start_soon(self.source.send(data))
        while len(came) < len(data) or len(packet) == 64:
            if random.random() < 0.3:
                await host._room()
                await host._send(token(host, IN, host.input))
                await host._receive()
                continue
            packet = await host.receive(host.input) or b""
            came += packet
        assert came[: len(data)] == data and set(came[len(data) :]) <= {FLAG}

    async def settles(self) -> None:
        """Takes what was left on the way, in both directions."""
        mark = random.randbytes(16)
        await self.host.write(mark)
        taken = b""
        while not taken.endswith(mark):
            taken += bytes(await self.sink.receive(1))
        while await self.host.receive(self.host.input) is not None:
            pass


@cocotb.test()
async def keeps_each_byte(dut):
    """Hosts that lose packets and answers, send empty packets, damaged ones, ones for others, and no starts of frames;
    a device that takes bytes slowly, and has none for the host."""
    cocotb.start_soon(watchdog(10))
    line = Line(dut, await begin(dut))
    await line.carries(100)
    for attack in HARMLESS:
        await attack(line.host)
        await line.carries(70)


@cocotb.test()
async def recovers(dut):
    """Any attack, then a new enumeration: bytes go both ways as before."""
    line = Line(dut, await begin(dut))
    for attack in (damages_tokens, garbles_control, exceeds_packets, cuts_packets, confuses_toggles, goes_away):
        await attack(line.host)
        await line.host.enumerate()
        await line.settles()
        await line.carries(70)


@cocotb.test()
async def computes_after_attacks(dut):
    """Attacks of all kinds, also while a program runs or a frame is sent; then a new enumeration, HELLO, and a right
    inference."""
    config, rng = parse_config(parameters()["config"]), np.random.default_rng(random.randrange(2**31))
    graph = Builder((6,), rng).fully_connected(4).graph()
    model = compile(graph, config)
    usb_host = await begin(dut, prefix="usb__")
    for number in range(ROUNDS + 1):
        host = Host(UsbTransport(usb_host))
        await host.connect()
        await host.load(model)
        x = random_input(graph, rng)
        np.testing.assert_array_equal(await host.run(x), golden(graph, x)[graph.outputs[0]])
        if number == ROUNDS:
            break
        # The beginning of a frame, or one that asks for much.
        await usb_host.write(bytes([FLAG, *random.randbytes(random.choice([0, 5, 150]))]))
        for _ in range(random.randrange(1, 5)):
            attack = random.choice(HOSTILE)
            dut._log.info(f"round {number}: {attack.__name__}")
            try:
                await attack(usb_host)
            except AssertionError as error:
                # One attack may have taken the device out of use before the next.
                dut._log.info(f"no more: {error}")
                break
        await usb_host.enumerate()


BENCHES = [
    Bench(
        name="usb-attacked",
        title="the serial port on USB under hosts that lose, damage, repeat and cut packets",
        create=usb,
        only=("keeps_each_byte", "recovers"),
    ),
    Bench(
        name="usb-board-attacked",
        title="a board's design under such hosts: it answers, and computes as before",
        create=system,
        only=("computes_after_attacks",),
    ),
]
