"""The whole accelerator at its byte streams and at its pins: the real driver runs networks, layer by layer."""

from __future__ import annotations

import random

import cocotb

from sateen.hw.spec.config import parse_config
from sateen.hw.top import Accelerator
from sateen.testing.bench import Bench
from sateen.testing.dut import parameters, reset
from sateen.testing.graphs import small_network
from sateen.testing.host import ByteTransport, Host
from sateen.testing.streams import StreamMonitor, StreamSink, StreamSource


def accelerator(*, config="tiny"):
    return Accelerator(parse_config(config), link="bytes")


@cocotb.test()
@cocotb.parametrize(pause=[0.0, 0.3])
async def runs_a_network(dut, pause):
    """Each layer equals the golden model, whatever the pauses of the bytes that go in and out."""
    config = parse_config(parameters()["config"])
    await reset(dut, patience_ms=50)
    monitor = StreamMonitor(dut, "tx")
    cocotb.start_soon(monitor.watch())
    host = Host(ByteTransport(StreamSource(dut, "rx", pause=pause), StreamSink(dut, "tx", pause=pause)))
    identity = await host.connect()
    assert identity.config == config and identity.build == config.digest
    model, x = small_network(config, random.randrange(2**31))
    await host.load(model)
    await host.check(x)
    assert not host.link.retransmissions and len(monitor.items) < host.link.bytes


BENCHES = [
    Bench(
        name="accelerator",
        title="the accelerator at its byte streams: the driver runs a network, layer by layer",
        create=accelerator,
    ),
]
