"""A board's whole design at its pins, but for PLL and buffers: the real driver runs a network through the serial port,
bit by bit."""

import random
from dataclasses import replace

import cocotb
import numpy as np
import pytest
from cocotb.clock import Clock
from cocotb.task import bridge
from cocotb.triggers import ClockCycles

from graphs import Builder, random_input
from harness import parameters, run, run_netlist
from pins import PinTransport
from sateen.compiler import compile as compile_model
from sateen.fpga.flow import synthesize
from sateen.fpga.parts import PARTS
from sateen.fpga.top import System
from sateen.graph import run as run_golden
from sateen.hw.spec.config import parse_config
from sateen.hw.top import Accelerator
from sateen.runtime import Device
from sateen.runtime.link import Link

BAUD = 8_000_000
"""Twelve and a half cycles a bit."""
BUILD = "0123456789abcdef"


def config(text):
    return replace(parse_config(text), baud=BAUD)


async def start(dut):
    dut.uart_rx.value = 1
    cocotb.start_soon(Clock(dut.clk, 10, unit="ns").start())
    dut.rst.value = 1
    await ClockCycles(dut.clk, 5)
    dut.rst.value = 0
    await ClockCycles(dut.clk, 50)


@bridge
def infer(transport, graph, x):
    """As ``sateen run`` does."""
    link = Link(transport)
    device = Device(link)
    loaded = device.load(compile_model(graph, config(parameters()["config"])))
    return device.identity, loaded.run(x), link.retransmissions


def network():
    rng = np.random.default_rng(random.randrange(2**31))
    graph = Builder((4, 3, 2), rng).conv2d(5, (2, 2), padding=((1, 0), (0, 1))).flatten().fully_connected(3).graph()
    return graph, random_input(graph, rng)


@cocotb.test()
@cocotb.parametrize(error=[-0.02, 0.02])
async def runs_a_network(dut, error):
    await start(dut)
    graph, x = network()
    identity, y, _ = await infer(PinTransport(dut.uart_rx, dut.uart_tx, bit_ns=1e9 / BAUD * (1 + error)), graph, x)
    assert identity.config == config(parameters()["config"])
    assert identity.build == (parameters().get("build") or identity.config.digest)
    np.testing.assert_array_equal(y, run_golden(graph, x)[graph.outputs[0]])


@cocotb.test()
async def bears_spikes_and_breaks(dut):
    """Spikes are filtered; what a break or a wild line destroys is sent again."""
    await start(dut)
    graph, x = network()
    transport = PinTransport(dut.uart_rx, dut.uart_tx, bit_ns=1e9 / BAUD, spike_ns=9.0, disturb=0.1)
    _, y, retransmissions = await infer(transport, graph, x)
    assert retransmissions
    np.testing.assert_array_equal(y, run_golden(graph, x)[graph.outputs[0]])


def test_board():
    run(System(config("tiny"), build=BUILD), __file__, build=BUILD, config="tiny")


@pytest.mark.fpga
@pytest.mark.parametrize(
    ("part", "text"),
    [
        ("ecp5-85f", "tiny"),
        ("ice40-up5k", "micro,scratchpad_bytes=16384,weight_bytes=16384"),
        ("ice40-hx8k", "micro,pe=bitserial"),
    ],
)
def test_netlist(part, text):
    """What Yosys made of the accelerator for a part, from the vendor's cells."""
    netlist, _ = synthesize(Accelerator(config(text)), PARTS[part])
    run_netlist(netlist, __file__, technology=PARTS[part].family, tests=["runs_a_network"], config=text)
