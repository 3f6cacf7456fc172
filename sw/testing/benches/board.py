"""A board's whole design at its pins, but for PLL and buffers: the real driver runs a network through the serial port,
bit by bit."""

from __future__ import annotations

import random
from dataclasses import replace

import cocotb
import numpy as np
from cocotb.triggers import ClockCycles

from sateen.fpga.board import FTDI_HIGH_SPEED
from sateen.fpga.top import System
from sateen.hw.spec.config import parse_config
from sateen.testing.bench import Bench
from sateen.testing.checks import golden
from sateen.testing.dut import parameters, reset
from sateen.testing.graphs import small_network
from sateen.testing.host import Host
from sateen.testing.uart import SerialBridge, UartTransport

BAUD = 8_000_000
"""Twelve and a half cycles a bit."""
BUILD = "0123456789abcdef"


def configured(text):
    return replace(parse_config(text), baud=BAUD)


def system(*, config="tiny"):
    return System(configured(config), build=BUILD)


async def start(dut):
    await reset(dut, patience_ms=200)
    dut.uart_rx.value = 1
    await ClockCycles(dut.clk, 50)


async def infer(transport, config):
    """As ``sateen run`` does, and compares the outputs with the golden model's."""
    host = Host(transport)
    identity = await host.connect()
    assert identity.config == config and identity.build == parameters().get("build", BUILD)
    model, x = small_network(config, random.randrange(2**31))
    await host.load(model)
    np.testing.assert_array_equal(await host.run(x), golden(model.graph, x)[model.graph.outputs[0]])
    return host.link


@cocotb.test()
@cocotb.parametrize(error=[-0.02, 0.02])
async def runs_a_network(dut, error):
    await start(dut)
    transport = UartTransport(dut.uart_rx, dut.uart_tx, bit_ns=1e9 / BAUD * (1 + error))
    await infer(transport, configured(parameters()["config"]))


@cocotb.test()
async def bears_spikes_and_breaks(dut):
    """Spikes are filtered; what a break or a wild line destroys is sent again."""
    await start(dut)
    line = {"spike_ns": 9.0, "disturb": 0.1}
    transport = SerialBridge(dut.uart_rx, dut.uart_tx, bridge=FTDI_HIGH_SPEED, baud=BAUD, **line)
    link = await infer(transport, configured(parameters()["config"]))
    assert link.retransmissions


BENCHES = [
    Bench(
        name="board",
        title="a board's design at its serial pins: the driver runs a network, on a clean and on a wild line",
        create=system,
    ),
]
