"""The design of a board: accelerator, clock, reset, pins."""

from __future__ import annotations

from typing import Any

from amaranth.hdl import ClockDomain, ClockSignal, Const, Elaboratable, Instance, Module, ResetSignal, Signal
from amaranth.lib import io, wiring
from amaranth.lib.cdc import ResetSynchronizer
from amaranth.lib.io import Direction
from amaranth.lib.wiring import In, Out, connect
from amaranth.utils import ceil_log2

from sateen.fpga.board import Board
from sateen.fpga.pll import Pll, ecp5_usb
from sateen.fpga.rgmii import rgmii
from sateen.fpga.ulpi import ulpi
from sateen.hw.link.ethernet.frames import GMII
from sateen.hw.link.ethernet.link import EthernetLink
from sateen.hw.link.usb import ULPI_PINS, USB_PINS, UsbSerial
from sateen.hw.sdram.pins import pins
from sateen.hw.spec.config import Config
from sateen.hw.spec.sdram import find_chip
from sateen.hw.top import Accelerator

__all__ = ["BoardTop", "System"]


class System(wiring.Component):
    """The accelerator with everything that a board adds except clock and pins.

    Parameters
    ----------
    config : Config
        The accelerator's configuration.
    build : str
        The build's identity, which the device reports.
    high_speed : bool
        USB has a PHY.

    Members
    -------
    uart_rx : In(1), uart_tx : Out(1)
        Serial port, high when idle, with ``link=uart``.
    usb : Out
        The lines of USB or its PHY, with ``link=usb``, see :class:`sateen.hw.link.usb.UsbSerial`.
    phy : Out
        The lines of a PHY, with ``link=ethernet``, see :data:`sateen.hw.link.ethernet.frames.GMII`.
    heartbeat : Out(1)
        Toggles every half to one second while the clock runs.
    busy : Out(1)
        Whether a program runs.
    sdram : Out
        Pins of the SDRAM, if the configuration has one, see :class:`sateen.hw.bridge.SdramBridge`.
    """

    def __init__(self, config: Config, *, build: str = "", high_speed: bool = False):
        self.config, self.build, self.high_speed = config, build, high_speed
        links: dict[str, dict[str, Any]] = {
            "uart": {
                "uart_rx": In(1, init=1),  # type: ignore[call-arg]
                "uart_tx": Out(1, init=1),  # type: ignore[call-arg]
            },
            "usb": {"usb": Out(ULPI_PINS if high_speed else USB_PINS)},
            "ethernet": {"phy": Out(GMII)},
        }
        super().__init__(
            {
                **links[config.link],
                "heartbeat": Out(1),
                "busy": Out(1),
                **({"sdram": Out(pins(find_chip(config.sdram)))} if config.sdram else {}),
            }
        )

    def elaborate(self, platform: object) -> Module:
        m = Module()
        link = "uart" if self.config.link == "uart" else "bytes"
        m.submodules.accelerator = accelerator = Accelerator(self.config, link=link, build=self.build)
        if link == "uart":
            m.d.comb += [accelerator.uart_rx.eq(self.uart_rx), self.uart_tx.eq(accelerator.uart_tx)]
        else:
            self._bytes(m, accelerator)
        count = Signal(ceil_log2(self.config.clock_hz))
        m.d.sync += count.eq(count + 1)
        m.d.comb += [
            self.heartbeat.eq(count[-1]),
            self.busy.eq(accelerator.busy),
        ]
        if self.config.sdram:
            connect(m, accelerator.sdram, wiring.flipped(self.sdram))
        return m

    def _bytes(self, m: Module, accelerator: Accelerator) -> None:
        """What carries the link's bytes."""
        end: UsbSerial | EthernetLink
        if self.config.link == "usb":
            m.submodules.usb_serial = end = UsbSerial(high_speed=self.high_speed)
            connect(m, end.pins, wiring.flipped(self.usb))
        else:
            m.submodules.ethernet = end = EthernetLink(self.config.address, frame_bytes=self.config.frame_bytes)
            connect(m, end.phy, wiring.flipped(self.phy))
        connect(m, end.o, accelerator.rx)
        connect(m, accelerator.tx, end.i)


class BoardTop(Elaboratable):
    """Everything in the FPGA of a board: a :class:`System`, or a component with its ports, the clock from the PLL, a
    reset until the PLL has locked, and the pins."""

    def __init__(self, board: Board, config: Config, system: wiring.Component):
        self.board, self.config, self.system = board, config, system

    def elaborate(self, platform: Any) -> Module:
        m = Module()
        self._clock(m, platform)
        m.submodules.system = system = self.system
        if self.config.link == "usb" and self.board.usb_phy is not None:
            ulpi(m, platform, self.board.usb_phy, system.usb)
        elif self.config.link == "usb":
            self._usb(m, platform, system.usb)
        elif self.config.link == "ethernet":
            rgmii(m, platform, self.board, system.phy)
        else:
            serial = platform.request(*self.board.uart, dir=_unbuffered(platform, self.board.uart))
            m.submodules.rx = rx = io.Buffer(Direction.Input, serial.rx)
            m.submodules.tx = tx = io.Buffer(Direction.Output, serial.tx)
            m.d.comb += [system.uart_rx.eq(rx.i), tx.o.eq(system.uart_tx)]
        for index, (resource, value) in enumerate(zip(self.board.leds, (system.heartbeat, system.busy), strict=False)):
            led = platform.request(*resource, dir="-")
            # Of a coloured light, the green one.
            m.submodules[f"led_{index}"] = pin = io.Buffer(Direction.Output, led.g if hasattr(led, "g") else led)
            m.d.comb += pin.o.eq(value)
        if self.config.sdram:
            self._sdram(m, platform, system.sdram)
        return m

    def _sdram(self, m: Module, platform: Any, memory: Any) -> None:
        """The chip's pins, all with registers in their I/O cells. Its clock is ours, inverted, so that commands are
        steady around its edge. See :data:`sateen.fpga.board.SDRAM_HZ`."""
        lines = platform.resources["sdram", 0].ios
        port = platform.request("sdram", 0, dir={line.name: "-" for line in lines if hasattr(line, "name")})
        outputs = {"ras": memory.ras, "cas": memory.cas, "we": memory.we, "ba": memory.ba, "a": memory.a}
        # What a board has tied is no line of its resource.
        for name, value in {**outputs, "dqm": memory.dqm, "clk_en": Const(1), "cs": Const(1)}.items():
            if hasattr(port, name):
                m.submodules[f"sdram_{name}"] = pin = io.FFBuffer(Direction.Output, getattr(port, name))
                m.d.comb += pin.o.eq(value)
        m.submodules.sdram_dq = dq = io.FFBuffer(Direction.Bidir, port.dq)
        m.submodules.sdram_clk = clock = io.DDRBuffer(Direction.Output, port.clk)
        m.d.comb += [
            dq.o.eq(memory.dq_o),
            dq.oe.eq(memory.dq_oe),
            memory.dq_i.eq(dq.i),
            clock.o[0].eq(0),
            clock.o[1].eq(1),
        ]

    def _usb(self, m: Module, platform: Any, lines: Any) -> None:
        """The lines of USB. The pull-up at D+, which tells the host of a device, comes with the reset's end."""
        assert self.board.usb_lines is not None
        port = platform.request(*self.board.usb_lines, dir=_unbuffered(platform, self.board.usb_lines))
        m.submodules.usb_dp = dp = io.Buffer(Direction.Bidir, port.d_p)
        m.submodules.usb_dn = dn = io.Buffer(Direction.Bidir, port.d_n)
        m.submodules.usb_pullup = pullup = io.Buffer(Direction.Output, port.pullup)
        m.d.comb += [
            lines.dp_i.eq(dp.i),
            lines.dn_i.eq(dn.i),
            dp.o.eq(lines.dp_o),
            dn.o.eq(lines.dn_o),
            dp.oe.eq(lines.oe),
            dn.oe.eq(lines.oe),
            pullup.o.eq(~ResetSignal("usb")),
        ]

    def _clock(self, m: Module, platform: Any) -> None:
        """The domain ``sync``, clocked by the PLL and in reset until the PLL has locked."""
        pin = platform.request(self.board.clock, dir="-")
        locked = Signal()
        m.domains.sync = ClockDomain()
        if self.board.pad:
            source = pin.io
        else:
            m.submodules.oscillator = buffer = io.Buffer(Direction.Input, pin)
            source = buffer.i
        make = {"ecp5": _ecp5, "gowin": _gowin, "ice40": _ice40}[self.board.part.family]
        m.submodules.pll = make(self.board, self.board.pll(self.config), source, ClockSignal(), locked)
        m.submodules.reset = ResetSynchronizer(~locked)
        if self.config.link == "usb" and self.board.usb_phy is None:
            self._usb_clocks(m, source)

    def _usb_clocks(self, m: Module, source: Any) -> None:
        """The domains of :class:`sateen.hw.link.usb.UsbSerial`, from a PLL of their own."""
        for name in ("usb", "usb_io"):
            domain = ClockDomain(name)
            # The placer's constraints name these nets. Of equal nets, synthesis keeps the name of one with attributes.
            domain.clk.attrs["keep"] = 1
            m.domains += domain
        settings, locked, fed_back = ecp5_usb(self.board.clock_hz), Signal(), Signal()
        m.submodules.usb_pll = _ecp5(
            self.board, settings, source, fed_back, locked, ClockSignal("usb_io"), ClockSignal("usb")
        )
        for name in ("usb", "usb_io"):
            m.submodules[f"{name}_reset"] = ResetSynchronizer(~locked, domain=name)


def _unbuffered(platform: Any, resource: tuple[str, int]) -> dict[str, str]:
    """Asks for all lines of a resource without buffers."""
    lines = platform.resources[resource].ios
    return {line.name: "-" for line in lines if hasattr(line, "name")}


def _ecp5(board: Board, pll: Pll, source: Any, output: Any, locked: Signal, *secondary: Any) -> Instance:
    """Settings other than the dividers are those of Lattice's own generator. The ``secondary`` outputs, in order, have
    edges where the primary one has some: their phases are their dividers less one, too."""
    more: dict[str, Any] = {}
    for name, clock in zip(("CLKOS", "CLKOS2"), secondary, strict=False):
        phase = pll.settings[f"{name}_DIV"] - 1
        more |= {f"p_{name}_ENABLE": "ENABLED", f"p_{name}_CPHASE": phase, f"p_{name}_FPHASE": 0, f"o_{name}": clock}
    return Instance(
        "EHXPLLL",
        a_ICP_CURRENT="12", a_LPF_RESISTOR="8", a_MFG_ENABLE_FILTEROPAMP="1", a_MFG_GMCREF_SEL="2",
        **{f"p_{name}": value for name, value in pll.settings.items()},
        p_PLLRST_ENA="DISABLED", p_INTFB_WAKE="DISABLED", p_STDBY_ENABLE="DISABLED", p_DPHASE_SOURCE="DISABLED",
        p_OUTDIVIDER_MUXA="DIVA", p_OUTDIVIDER_MUXB="DIVB", p_OUTDIVIDER_MUXC="DIVC", p_OUTDIVIDER_MUXD="DIVD",
        p_CLKOP_ENABLE="ENABLED", p_CLKOP_CPHASE=pll.settings["CLKOP_DIV"] - 1, p_CLKOP_FPHASE=0, p_FEEDBK_PATH="CLKOP",
        i_CLKI=source, i_CLKFB=output, i_RST=0, i_STDBY=0, i_ENCLKOP=0, i_PHASESEL0=0, i_PHASESEL1=0, i_PHASEDIR=1,
        i_PHASESTEP=1, i_PHASELOADREG=1, i_PLLWAKESYNC=0,
        o_CLKOP=output, o_LOCK=locked, **more,
    )  # fmt: skip


def _gowin(board: Board, pll: Pll, source: Any, output: Any, locked: Signal) -> Instance:
    unused = {
        "RESET": 1,
        "RESET_P": 1,
        "CLKFB": 1,
        "FBDSEL": 6,
        "IDSEL": 6,
        "ODSEL": 6,
        "PSDA": 4,
        "DUTYDA": 4,
        "FDLY": 4,
    }
    return Instance(
        "rPLL", p_FCLKIN=f"{pll.input_hz / 1e6:g}", **{f"p_{name}": value for name, value in pll.settings.items()},
        **{f"i_{name}": Const(0, width) for name, width in unused.items()},
        i_CLKIN=source, o_CLKOUT=output, o_LOCK=locked,
    )  # fmt: skip


def _ice40(board: Board, pll: Pll, source: Any, output: Any, locked: Signal) -> Instance:
    settings = {f"p_{name}": value for name, value in pll.settings.items()}
    return Instance(
        f"SB_PLL40_{'PAD' if board.pad else 'CORE'}", p_FEEDBACK_PATH="SIMPLE", p_PLLOUT_SELECT="GENCLK", **settings,
        **{"io_PACKAGEPIN" if board.pad else "i_REFERENCECLK": source},
        i_RESETB=1, i_BYPASS=0, o_PLLOUTGLOBAL=output, o_LOCK=locked,
    )  # fmt: skip
