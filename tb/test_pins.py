"""A board's whole design at its pins, but for PLL and buffers: the real driver runs a network through the serial port, bit by bit."""

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
from weft.compiler import compile as compile_model
from weft.device import Device
from weft.fpga.flow import synthesize
from weft.fpga.parts import PARTS
from weft.fpga.top import System
from weft.graph import run as run_golden
from weft.hw.spec.config import PRESETS
from weft.hw.top import Accelerator
from weft.link import Link

CONFIG = replace(PRESETS["tiny"], baud=8_000_000)
"""Twelve and a half cycles a bit."""
BUILD = "0123456789abcdef"


async def start(dut):
    dut.uart_rx.value = 1
    cocotb.start_soon(Clock(dut.clk, 10, unit="ns").start())
    dut.rst.value = 1
    await ClockCycles(dut.clk, 5)
    dut.rst.value = 0
    await ClockCycles(dut.clk, 50)


@bridge
def infer(transport, graph, x):
    """As ``weft run`` does."""
    link = Link(transport)
    device = Device(link)
    loaded = device.load(compile_model(graph, CONFIG))
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
    identity, y, _ = await infer(PinTransport(dut.uart_rx, dut.uart_tx, bit_ns=1e9 / CONFIG.baud * (1 + error)), graph, x)
    assert identity.config == CONFIG
    assert identity.build == (parameters().get("build") or CONFIG.digest)
    np.testing.assert_array_equal(y, run_golden(graph, x)[graph.outputs[0]])


@cocotb.test()
async def bears_spikes_and_breaks(dut):
    """Spikes are filtered; what a break or a wild line destroys is sent again."""
    await start(dut)
    graph, x = network()
    transport = PinTransport(dut.uart_rx, dut.uart_tx, bit_ns=1e9 / CONFIG.baud, spike_ns=9.0, disturb=0.1)
    _, y, retransmissions = await infer(transport, graph, x)
    assert retransmissions
    np.testing.assert_array_equal(y, run_golden(graph, x)[graph.outputs[0]])


def test_board():
    run(System(CONFIG, build=BUILD), __file__, build=BUILD)


@pytest.mark.fpga
def test_netlist():
    """What Yosys made of the accelerator for ECP5, from the vendor's cells."""
    netlist, _ = synthesize(Accelerator(CONFIG), PARTS["ecp5-85f"])
    run_netlist(netlist, __file__, tests=["runs_a_network"])
