"""A gigabit PHY's pins: RGMII, four bits at each edge of the clock, as the byte a cycle that the link takes."""

from __future__ import annotations

from typing import Any

from amaranth.hdl import Cat, ClockDomain, ClockSignal, Const, Instance, Module, Signal
from amaranth.lib import io
from amaranth.lib.cdc import ResetSynchronizer
from amaranth.lib.io import Direction

from sateen.fpga.board import Board

__all__ = ["clock_from", "rgmii"]

TAP_PS = 25
"""Of an ECP5's delay at a pin (Lattice FPGA-TN-02035)."""
RESET_BITS = 21
"""The PHY is in reset for as many bits of a count of cycles: 10 ms at 100 MHz, and as long again until it is used."""


def rgmii(m: Module, platform: Any, board: Board, phy: Any) -> None:
    """Connects a PHY to the lines of :data:`sateen.hw.link.ethernet.frames.GMII`, and makes the domain ``ethernet``
    from the clock that it recovers. We send at that clock, too.

    What arrives is delayed by the board's :attr:`~sateen.fpga.board.Board.ethernet_delay_ps`, so that the clock's edges
    are in the middle; what we send is delayed by the PHY.
    """
    assert board.ethernet is not None
    lines = platform.resources[board.ethernet].ios
    port = platform.request(*board.ethernet, dir={line.name: "-" for line in lines if hasattr(line, "name")})
    clock_from(m, port.rx_clk, "ethernet")
    count, ready = Signal(RESET_BITS), Signal()
    m.d.comb += ready.eq(count.all())
    with m.If(~ready):
        m.d.sync += count.eq(count + 1)
    m.submodules.ethernet_reset = ResetSynchronizer(~ready, domain="ethernet")
    m.submodules.phy_reset = reset = io.Buffer(Direction.Output, port.rst)
    m.d.comb += reset.o.eq(~count[-1])

    # The control line has RX_DV, and at the falling edge RX_DV XOR RX_ER.
    control_in, control_out = (_line(port, f"{way}_ctl") for way in ("rx", "tx"))
    low, high = _received(m, board, port.rx_data, name="rx_data")
    valid, differs = _received(m, board, control_in, name="rx_ctl")
    m.d.ethernet += [
        phy.rx_valid.eq(valid),
        phy.rx_error.eq(valid & ~differs),
        phy.rx_data.eq(Cat(low, high)),
    ]
    for name, line, first, second in (
        ("tx_data", port.tx_data, phy.tx_data[:4], phy.tx_data[4:]),
        ("tx_ctl", control_out, phy.tx_valid, phy.tx_valid),
        ("tx_clk", port.tx_clk, Const(1), Const(0)),
    ):
        m.submodules[f"ethernet_{name}"] = sent = io.DDRBuffer(Direction.Output, line, o_domain="ethernet")
        m.d.comb += [sent.o[0].eq(first), sent.o[1].eq(second)]


def clock_from(m: Module, pin: Any, name: str) -> None:
    """Makes a domain whose clock comes from a pin. Its net keeps the domain's name, by which the placer's constraint
    and report know it: synthesis keeps a name with attributes, and a buffer of Amaranth's would give a shorter one."""
    domain = ClockDomain(name)
    domain.clk.attrs["keep"] = 1
    m.domains += domain
    m.submodules[f"{name}_clock"] = Instance("IB", i_I=pin.io, o_O=domain.clk)


def _line(port: Any, name: str) -> Any:
    """A control line, which some boards call ``…_ctrl``."""
    return getattr(port, name) if hasattr(port, name) else getattr(port, name.replace("ctl", "ctrl"))


def _received(m: Module, board: Board, line: Any, *, name: str) -> tuple[Signal, Signal]:
    """What stands on a line at the rising edge, and at the falling edge after it, both together."""
    rising, falling = Signal(len(line), name=f"{name}_rising"), Signal(len(line), name=f"{name}_falling")
    m.submodules[f"ethernet_{name}"] = pin = io.Buffer(Direction.Input, line)
    for bit in range(len(line)):
        late = Signal(name=f"{name}_late_{bit}")
        m.submodules[f"ethernet_{name}_delay_{bit}"] = Instance(
            "DELAYG",
            p_DEL_MODE="USER_DEFINED",
            p_DEL_VALUE=board.ethernet_delay_ps // TAP_PS,
            i_A=pin.i[bit],
            o_Z=late,
        )
        m.submodules[f"ethernet_{name}_ddr_{bit}"] = Instance(
            "IDDRX1F",
            i_SCLK=ClockSignal("ethernet"),
            i_RST=Const(0),
            i_D=late,
            o_Q0=rising[bit],
            o_Q1=falling[bit],
        )
    return rising, falling
