"""The serial port: a line with a wrong rate, noise and breaks."""

from __future__ import annotations

import random

import cocotb
from cocotb.triggers import ClockCycles, RisingEdge, Timer

from sateen.hw.link.uart import UART
from sateen.testing.bench import Bench
from sateen.testing.dut import parameters, reset
from sateen.testing.streams import receive, send
from sateen.testing.uart import receive_byte, transmit_byte

CLOCK_HZ = 100_000_000


async def listen(line, count, bit_ns):
    """Bytes from a line."""
    return [await receive_byte(line, bit_ns) for _ in range(count)]


def bit_ns():
    return 1e9 / parameters()["baud"]


def uart(*, baud=3_000_000):
    return UART(clock_hz=CLOCK_HZ, baud=baud)


@cocotb.test()
@cocotb.parametrize(error=[-0.02, 0.0, 0.02])
async def receives(dut, error):
    dut.rx.value = 1
    await reset(dut)
    dut.rx.value = 1
    await ClockCycles(dut.clk, 20)
    data = [0x00, 0xFF, 0x55, 0xAA, 0x7E, *(random.randrange(256) for _ in range(40))]
    collected = cocotb.start_soon(receive(dut, "o", len(data)))
    for byte in data:
        await transmit_byte(dut.rx, byte, bit_ns() * (1 + error))
    assert await collected == data


@cocotb.test()
async def drops_breaks_and_spikes(dut):
    await reset(dut)
    dut.rx.value = 1
    await ClockCycles(dut.clk, 20)
    collected = cocotb.start_soon(receive(dut, "o", 2))
    await transmit_byte(dut.rx, 0x41, bit_ns())
    # A break of three bytes, a byte without a stop bit, a spike shorter than half a bit.
    dut.rx.value = 0
    await Timer(round(30_000 * bit_ns()), "ps")
    dut.rx.value = 1
    await Timer(round(3_000 * bit_ns()), "ps")
    await transmit_byte(dut.rx, 0x55, bit_ns(), stop=0)
    await Timer(round(3_000 * bit_ns()), "ps")
    dut.rx.value = 0
    await Timer(round(250 * bit_ns()), "ps")
    dut.rx.value = 1
    await Timer(round(2_000 * bit_ns()), "ps")
    await transmit_byte(dut.rx, 0x42, bit_ns())
    assert await collected == [0x41, 0x42]


@cocotb.test()
async def sends(dut):
    await reset(dut)
    dut.rx.value = 1
    data = [0x00, 0xFF, 0x7E, *(random.randrange(256) for _ in range(20))]
    heard = cocotb.start_soon(listen(dut.tx, len(data), bit_ns()))
    cocotb.start_soon(send(dut, "i", data, pause=0.3))
    assert await heard == data
    for _ in range(int(20 * bit_ns() / 10)):
        await RisingEdge(dut.clk)
        assert dut.tx.value == 1


BENCHES = [
    Bench(
        name="uart",
        title="the serial port: a wrong rate, noise and breaks",
        create=uart,
    ),
]
