"""The serial port: a line with a wrong rate, noise and breaks."""

import random

import cocotb
import pytest
from cocotb.triggers import ClockCycles, RisingEdge, Timer

from harness import parameters, receive, reset, run, send
from sateen.hw.link.uart import UART

CLOCK_HZ = 100_000_000


async def transmit(line, byte, bit_ns, *, stop=1):
    """A byte on a line, bit by bit."""
    for bit in (0, *((byte >> place) & 1 for place in range(8)), stop):
        line.value = bit
        await Timer(round(bit_ns * 1000), "ps")
    line.value = 1


async def listen(line, count, bit_ns):
    """Bytes from a line, sampled in the middle of each bit."""
    received = []
    while len(received) < count:
        await line.falling_edge
        await Timer(round(bit_ns * 1500), "ps")
        byte = 0
        for place in range(8):
            byte |= int(line.value) << place
            await Timer(round(bit_ns * 1000), "ps")
        assert line.value == 1, "no stop bit"
        received.append(byte)
    return received


def bit_ns():
    return 1e9 / parameters()["baud"]


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
        await transmit(dut.rx, byte, bit_ns() * (1 + error))
    assert await collected == data


@cocotb.test()
async def drops_breaks_and_spikes(dut):
    await reset(dut)
    dut.rx.value = 1
    await ClockCycles(dut.clk, 20)
    collected = cocotb.start_soon(receive(dut, "o", 2))
    await transmit(dut.rx, 0x41, bit_ns())
    # A break of three bytes, a byte without a stop bit, a spike shorter than half a bit.
    dut.rx.value = 0
    await Timer(round(30_000 * bit_ns()), "ps")
    dut.rx.value = 1
    await Timer(round(3_000 * bit_ns()), "ps")
    await transmit(dut.rx, 0x55, bit_ns(), stop=0)
    await Timer(round(3_000 * bit_ns()), "ps")
    dut.rx.value = 0
    await Timer(round(250 * bit_ns()), "ps")
    dut.rx.value = 1
    await Timer(round(2_000 * bit_ns()), "ps")
    await transmit(dut.rx, 0x42, bit_ns())
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


@pytest.mark.parametrize("baud", [3_000_000, 921_600])
def test_uart(baud):
    run(UART(clock_hz=CLOCK_HZ, baud=baud), __file__, baud=baud)


def test_rejects():
    with pytest.raises(ValueError, match=r"baud must be 1 to 12500000 \(an eighth of clock_hz\), not 20000000"):
        UART(clock_hz=CLOCK_HZ, baud=20_000_000)
