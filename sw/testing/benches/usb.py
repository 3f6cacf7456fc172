"""The serial port on USB, and a board's whole design at its USB lines: a host enumerates it, and the real driver runs a
network."""

from __future__ import annotations

import random

import cocotb
from cocotb.triggers import Timer
from cocotb.utils import get_sim_time

from sateen.fpga.top import System
from sateen.hw.link.usb import UsbSerial
from sateen.hw.spec.config import parse_config
from sateen.hw.spec.usb import MAKER, PRODUCT, TITLE, VENDOR
from sateen.hw.spec.wire import FLAG
from sateen.testing.bench import Bench
from sateen.testing.benches.board import BUILD, infer
from sateen.testing.dut import parameters, reset
from sateen.testing.streams import StreamSink, StreamSource
from sateen.testing.usb import ACK, UsbHost, UsbTransport, start_clocks

GOAL = 900_000
"""Bytes a second that each direction carries."""


def usb():
    return UsbSerial()


async def begin(dut, *, prefix="pins__", error=0.0):
    """Resets the device, and has a host bring it into use."""
    await reset(dut, patience_ms=200)
    resets = [getattr(dut, f"{domain}_rst") for domain in ("usb", "usb_io")]
    for each in resets:
        each.value = 1
    start_clocks(dut)
    host = UsbHost(dut, prefix, error=error)
    await Timer(1, "us")
    for each in resets:
        each.value = 0
    await Timer(1, "us")
    found = await host.enumerate()
    assert found["ids"] == (VENDOR, PRODUCT) and found["texts"] == [MAKER, TITLE]
    assert found["endpoints"] == [0x04, 0x83, 0x84]
    return host


def rate(count, began):
    return count / ((get_sim_time("ps") - began) * 1e-12)


@cocotb.test()
@cocotb.parametrize(error=[-0.0025, 0.0025])
async def carries_bytes(dut, error):
    """Both ways, at the ends of the allowed rates; says how many a second."""
    host = await begin(dut, error=error)
    sink, source = StreamSink(dut, "o"), StreamSource(dut, "i")
    data = random.randbytes(1024)
    taken = cocotb.start_soon(sink.receive(len(data)))
    began = get_sim_time("ps")
    await host.write(data)
    out = rate(len(data), began)
    assert bytes(await taken) == data

    cocotb.start_soon(source.send(data))
    came, began = b"", get_sim_time("ps")
    while len(came) < len(data):
        came += await host.receive(host.input) or b""
    back = rate(len(data), began)
    assert came == data
    dut._log.info(f"bytes a second to the device {out:,.0f}, from it {back:,.0f}")
    assert min(out, back) >= GOAL and host.slowest_answer < 14


@cocotb.test()
async def ends_packets(dut):
    """What the device sends ends in a packet that is not full, whatever its length. The bus may be reset anew."""
    host = await begin(dut)
    source = StreamSource(dut, "i")
    for count in (1, 62, 63, 64, 65, 127, 128):
        data = random.randbytes(count)
        await source.send(data)
        packets = []
        while not packets or len(packets[-1]) == 64:
            packets += filter(None, [await host.receive(host.input)])
        came = b"".join(packets)
        assert came[:count] == data and set(came[count:]) == {FLAG} and len(came) <= count + 2
    # Odd numbers of packets have gone both ways: a host that begins anew expects even ones.
    assert await host.send(host.output, b"x") == ACK
    await host.enumerate()
    sink = StreamSink(dut, "o")
    assert bytes(await sink.receive(1)) == b"x"
    assert await host.send(host.output, b"y") == ACK
    assert bytes(await sink.receive(1)) == b"y"
    await source.send(b"z")
    while (came := await host.receive(host.input)) is None:
        pass
    assert came == bytes([ord("z"), FLAG])


def system(*, config="micro,link=usb"):
    return System(parse_config(config), build=BUILD)


@cocotb.test()
async def runs_a_network(dut):
    """From the first reset of the bus to outputs that equal the golden model's."""
    link = await infer(UsbTransport(await begin(dut, prefix="usb__")), parse_config(parameters()["config"]))
    assert not link.retransmissions


BENCHES = [
    Bench(
        name="usb",
        title="the serial port on USB: enumeration, bytes both ways, ends of packets, a new reset of the bus",
        create=usb,
        only=("carries_bytes", "ends_packets"),
    ),
    Bench(
        name="usb-board",
        title="a board's design at its USB lines: a host enumerates it, and the driver runs a network",
        create=system,
        only=("runs_a_network",),
    ),
]
