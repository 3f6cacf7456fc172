"""The accelerator behind AXI: the real driver runs a network through its registers and streams."""

from __future__ import annotations

import random

import cocotb

from sateen.hw.axi import AxiAccelerator
from sateen.hw.spec.axi import MAGIC, Register
from sateen.hw.spec.config import parse_config
from sateen.hw.spec.identity import Identity
from sateen.testing.axi import AxiLink
from sateen.testing.bench import Bench
from sateen.testing.dut import parameters, reset
from sateen.testing.graphs import small_network
from sateen.testing.host import Host


def accelerator(*, config="tiny,scratchpad_bytes=4096,weight_bytes=4096"):
    return AxiAccelerator(parse_config(config))


@cocotb.test()
@cocotb.parametrize(pause=[0.0, 0.5])
async def runs_a_network(dut, pause):
    config = parse_config(parameters()["config"])
    link = AxiLink(dut, config)
    await reset(dut, patience_ms=50)
    link.pause(pause)
    assert await link.registers.read_dword(Register.MAGIC) == MAGIC
    assert await link.registers.read_dword(Register.FORMAT) == Identity.FORMAT
    build = await link.registers.read_dwords(Register.BUILD_LOW, 2)
    assert f"{build[1]:08x}{build[0]:08x}" == config.digest
    assert await link.registers.read_dword(Register.LAYOUT) == config.layout_code
    assert await link.registers.read_dword(0xFC) == 0
    model, x = small_network(config, random.randrange(2**31), shape=(5, 5, 3))
    host = Host(link)
    await host.load(model)
    await host.check(x)


BENCHES = [
    Bench(
        name="accelerator-axi",
        title="the accelerator behind AXI: the driver runs a network through registers and streams",
        create=accelerator,
    ),
]
