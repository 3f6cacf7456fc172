"""The pins of a PHY for USB at high speed (ULPI)."""

from __future__ import annotations

from typing import Any

from amaranth.hdl import Module, Signal
from amaranth.lib import io
from amaranth.lib.cdc import ResetSynchronizer
from amaranth.lib.io import Direction

from sateen.fpga.rgmii import clock_from

__all__ = ["ulpi"]

RESET_BITS = 14
"""PHY and domain are in reset for as many bits of a count of cycles: more than 100 µs."""


def ulpi(m: Module, platform: Any, resource: tuple[str, int], phy: Any) -> None:
    """Connects a PHY to the lines of :data:`sateen.hw.link.usb.ULPI_PINS`, and makes the domain ``usb`` from its clock,
    60 MHz.

    The PHY wants its inputs 6 ns before that clock's edge, and gives its outputs within 9 ns behind it (USB3300): what
    goes out and what comes in have 7 ns each way, of which the pins take 3 to 4.
    """
    lines = platform.resources[resource].ios
    port = platform.request(*resource, dir={line.name: "-" for line in lines if hasattr(line, "name")})
    clock_from(m, port.clk, "usb")
    buffers = {}
    for name, way in (("dir", Direction.Input), ("nxt", Direction.Input), ("stp", Direction.Output),
                      ("rst", Direction.Output), ("data", Direction.Bidir)):  # fmt: skip
        m.submodules[f"ulpi_{name}"] = buffers[name] = io.Buffer(way, getattr(port, name))
    count = Signal(RESET_BITS + 1)
    with m.If(~count[-1]):
        m.d.sync += count.eq(count + 1)
    m.submodules.ulpi_reset = ResetSynchronizer(~count[-1], domain="usb")
    m.d.comb += [
        phy.dir.eq(buffers["dir"].i),
        phy.nxt.eq(buffers["nxt"].i),
        phy.data_i.eq(buffers["data"].i),
        buffers["data"].o.eq(phy.data_o),
        buffers["data"].oe.eq(phy.data_oe),
        buffers["stp"].o.eq(phy.stp),
        # Not from the domain's reset, which ends with edges of a clock that may stand meanwhile.
        buffers["rst"].o.eq(~count[-1]),
    ]
