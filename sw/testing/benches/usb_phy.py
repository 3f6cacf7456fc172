"""The serial port on USB at high speed, and a board's whole design, at the lines of a PHY."""

from __future__ import annotations

import random

import cocotb
from cocotb.triggers import Timer

from sateen.fpga.top import System
from sateen.hw.link.usb import UsbSerial
from sateen.hw.spec.config import parse_config
from sateen.hw.spec.usb import MAKER, PRODUCT, TITLE, VENDOR
from sateen.hw.spec.wire import FLAG
from sateen.testing.bench import Bench
from sateen.testing.benches.board import BUILD, infer
from sateen.testing.benches.usb import rate
from sateen.testing.dut import parameters, reset
from sateen.testing.streams import StreamSink, StreamSource
from sateen.testing.ulpi import UlpiHost
from sateen.testing.usb import ACK, NAK, UsbTransport, token_bits

GOAL = 20_000_000
"""Bytes a second that each direction carries."""
PING = 0x4


def usb():
    return UsbSerial(high_speed=True)


async def begin(dut, *, prefix="pins__"):
    """Resets the device, and has a host bring it into use."""
    await reset(dut, patience_ms=200)
    dut.usb_rst.value = 1
    host = UlpiHost(dut, prefix)
    await Timer(1, "us")
    dut.usb_rst.value = 0
    found = await host.enumerate()
    assert found["ids"] == (VENDOR, PRODUCT) and found["texts"] == [MAKER, TITLE]
    assert found["endpoints"] == [0x04, 0x83, 0x84]
    return host


@cocotb.test()
async def carries_bytes(dut):
    """Both ways; says how many a second. The bus may be reset anew."""
    host = await begin(dut)
    sink, source = StreamSink(dut, "o"), StreamSource(dut, "i")
    data = random.randbytes(8192)
    taken = cocotb.start_soon(sink.receive(len(data)))
    began = cocotb.utils.get_sim_time("ps")
    await host.write(data)
    out = rate(len(data), began)
    assert bytes(await taken) == data

    cocotb.start_soon(source.send(data))
    came, began = b"", cocotb.utils.get_sim_time("ps")
    while len(came) < len(data):
        came += await host.receive(host.input) or b""
    back = rate(len(data), began)
    assert came == data
    wait = host.slowest_answer
    dut._log.info(f"bytes a second to the device {out:,.0f}, from it {back:,.0f}; answers within {wait:.0f} bits")
    assert min(out, back) >= GOAL and host.slowest_answer < 192

    # Ends of packets, the first of what was just sent, and a host that asks whether there is room.
    while (end := await host.receive(host.input)) is None:
        pass
    assert set(end) == {FLAG} and len(end) <= 2
    for count in (1, 510, 511, 512):
        data = random.randbytes(count)
        await source.send(data)
        packets = []
        while not packets or len(packets[-1]) == 512:
            packets += filter(None, [await host.receive(host.input)])
        came = b"".join(packets)
        assert came[:count] == data and set(came[count:]) <= {FLAG} and len(came) <= count + 2
    await host._send(token_bits(PING, host.address | host.output.number << 7))
    assert await host._handshake() == ACK
    # Odd numbers of packets have gone both ways: a host that begins anew expects even ones.
    for number in range(3 - host.output.toggle):
        assert await host.send(host.output, bytes([number])) == ACK
        assert await sink.receive(1) == [number]
    await host.enumerate()
    assert await host.send(host.output, b"y") == ACK
    assert bytes(await sink.receive(1)) == b"y"
    await source.send(b"z")
    while (came := await host.receive(host.input)) is None:
        pass
    assert came == bytes([ord("z"), FLAG])
    # Nobody takes: full buffers are refused, and said to be full.
    while await host.send(host.output, bytes(512)) == ACK:
        pass
    await host._send(token_bits(PING, host.address | host.output.number << 7))
    assert await host._handshake() == NAK


def system(*, config="micro,link=usb"):
    return System(parse_config(config), build=BUILD, high_speed=True)


@cocotb.test()
async def runs_a_network(dut):
    """From the first reset of the bus to outputs that equal the golden model's."""
    transport = UsbTransport(await begin(dut, prefix="usb__"), patience_bits=4_000_000)
    link = await infer(transport, parse_config(parameters()["config"]))
    assert not link.retransmissions


BENCHES = [
    Bench(
        name="usb-phy",
        title="the serial port on USB at high speed: bytes both ways, ends of packets",
        create=usb,
        only=("carries_bytes",),
    ),
    Bench(
        name="usb-phy-board",
        title="a board's design at its PHY's lines: at high speed, the driver runs a network",
        create=system,
        only=("runs_a_network",),
    ),
]
