"""Descriptions of boards, and what follows from them: clock, serial rate, platform."""

from __future__ import annotations

import importlib
from dataclasses import dataclass, replace
from typing import Any

from sateen.fpga.parts import Part
from sateen.fpga.pll import ETHERNET_HZ, PLLS, ULPI_HZ, USB_HZ, USB_IO_HZ, Pll
from sateen.hw.spec.config import Config, parse_config

__all__ = ["ANY_ADAPTER", "BL702", "FTDI_FULL_SPEED", "FTDI_HIGH_SPEED", "SDRAM_HZ", "Board", "Bridge", "Usb"]


SDRAM_HZ = 80_000_000
"""The slowest clock with SDRAM. The chip has the inverted clock: at CAS latency n a word stays until n + ½ cycles
behind its command and 2.5 ns more, and is taken at n + 1; the ways out and in take 3 to 4 ns together."""


@dataclass(frozen=True, kw_only=True)
class Bridge:
    """The chip between the board's serial port and the host."""

    title: str
    base_hz: int
    """Possible rates are this frequency divided by 1, by 1.5, or by multiples of 1/8 from 2 on (FTDI's AN232B-05)."""

    def rate(self, baud: int) -> float:
        """The possible rate nearest to ``baud``."""
        eighths = max(16, round(8 * self.base_hz / baud))
        return min((8 * self.base_hz / each for each in (8, 12, eighths)), key=lambda rate: abs(rate - baud))


FTDI_FULL_SPEED = Bridge(title="FT231X", base_hz=3_000_000)
FTDI_HIGH_SPEED = Bridge(title="FT2232H", base_hz=12_000_000)
BL702 = Bridge(title="BL702 as an FT2232", base_hz=3_000_000)
ANY_ADAPTER = Bridge(title="a 3.3 V adapter at the named pins", base_hz=3_000_000)


@dataclass(frozen=True, kw_only=True)
class Usb:
    """How the loader finds a board on USB."""

    vendor: int
    product: int
    """The numbers of openFPGALoader's cable for the board, or of its bootloader."""
    name: str = ""
    """A pattern of what the board calls itself; empty if its bridge has its maker's own texts."""
    port_interface: int = 0
    """The interface that is the serial port; a bridge with two loads bitstreams over the first."""


@dataclass(frozen=True, kw_only=True)
class Board:
    """One board: resources, clock, link, default configuration."""

    title: str
    platform: str
    """Its pins: ``module:class`` of a platform in amaranth-boards."""
    part: Part
    config: str
    """The default configuration, ``PRESET[,field=value…]``."""
    run_hz: int
    """The clock of the default configuration; a build says what margin it leaves."""
    baud: int
    """Rate of the serial port, bits per second."""
    clock: str
    """Amaranth resource of the oscillator."""
    clock_hz: int
    """Frequency of the oscillator."""
    bridge: Bridge
    uart: tuple[str, int] = ("uart", 0)
    """Amaranth resource of the serial port to the host."""
    leds: tuple[tuple[str, int], ...] = (("led", 0), ("led", 1))
    """The first blinks once or twice a second, the second shows that a program runs."""
    pad: bool = False
    """Whether the PLL takes its input directly from the pin."""
    sdram: tuple[str, ...] = ()
    """The chips of SDRAM that the board may carry, at the Amaranth resource ``sdram``, the usual one first."""
    usb_lines: tuple[str, int] | None = None
    """Amaranth resource of a USB connector whose lines lead to the FPGA, for builds with ``link=usb``."""
    usb_phy: tuple[str, int] | None = None
    """Amaranth resource of a PHY for high speed, for builds with ``link=usb``."""
    ethernet: tuple[str, int] | None = None
    """Amaranth resource of a gigabit PHY with RGMII, for builds with ``link=ethernet``."""
    ethernet_delay_ps: int = 0
    """By which what the PHY sends is delayed at the pins: about 2,000 in all with the PHY's own delay."""
    serial_pins: tuple[str, str] | None = None
    """On a board without a serial port, the pins of the connector ``io`` that make one: receive and transmit."""
    loader: tuple[str, ...]
    """The program that loads a bitstream, with all arguments except the bitstream's name."""
    loader_flash: tuple[str, ...]
    """The same, for the memory that the board boots from."""
    usb: Usb
    model: str = ""
    """The part as ``openFPGALoader --detect`` names it; empty where it cannot be asked, without JTAG."""
    products: str
    """What multiplies on this part, for people."""

    def parse(self, text: str = "") -> Config:
        """The configuration that ``PRESET[,field=value…]`` names, by default the board's own. Where the text sets no
        clock or rate, the board's are taken.

        Raises
        ------
        ValueError
            If the text names no configuration.
        """
        config = parse_config(text or self.config)
        if config.sdram is not None and config.sdram not in self.sdram:
            chips = f"one of {', '.join(self.sdram)}, or none" if self.sdram else "none"
            raise ValueError(f"sdram must be {chips} on {self.title}, not {config.sdram!r}")
        if config.link == "usb" and self.usb_lines is None and self.usb_phy is None:
            raise ValueError(f"link must be uart on {self.title}, which has no USB connector at the FPGA, not 'usb'")
        if config.link == "ethernet" and self.ethernet is None:
            raise ValueError(f"link must be uart on {self.title}, which has no Ethernet at the FPGA, not 'ethernet'")
        given = {setting.partition("=")[0] for setting in text.split(",")[1:]}
        defaults: dict[str, Any] = {"clock_hz": self.run_hz, "baud": self.baud}
        config = replace(config, **{name: value for name, value in defaults.items() if name not in given})
        if config.sdram is not None and config.clock_hz < SDRAM_HZ:
            raise ValueError(
                f"clock_hz must be {SDRAM_HZ} or more with sdram on a board, not {config.clock_hz}: the words of a "
                f"slower chip would be gone when they are taken"
            )
        return config

    def pll(self, config: Config) -> Pll:
        """The PLL's settings for a configuration's clock; ``ValueError`` if there are none."""
        return PLLS[self.part.family](self.clock_hz, config.clock_hz)

    def with_pll_clock(self, config: Config) -> Config:
        """The configuration with the nearest clock that the PLL can make.

        Raises
        ------
        ValueError
            If the PLL can make no clock near the requested one, or the serial port's rate differs from the bridge's by
            more than 1 %. USB and Ethernet have no rate.
        """
        config = replace(config, clock_hz=round(self.pll(config).output_hz))
        error = self.baud_error(config)
        if abs(error) > 0.01 and config.link == "uart":
            raise ValueError(
                f"baud cannot be {config.baud}: the bridge ({self.bridge.title}) is off by {1 / (1 + error) - 1:+.1%} "
                f"there; choose {self.bridge.base_hz} divided by a whole number"
            )
        return config

    def link_clocks(self, config: Config) -> dict[str, int]:
        """The nets of the clocks that the configuration's link has of its own, and their frequencies."""
        usb = {"usb_clk": USB_HZ, "usb_io_clk": USB_IO_HZ} if self.usb_phy is None else {"usb_clk": ULPI_HZ}
        return {"usb": usb, "ethernet": {"ethernet_clk": ETHERNET_HZ}}.get(config.link, {})

    def baud_error(self, config: Config) -> float:
        """Error of the serial port's rate, as a share of the bridge's."""
        return config.baud / self.bridge.rate(config.baud) - 1

    def create(self) -> Any:
        """The Amaranth platform, with all resources. Needs amaranth-boards."""
        module, _, name = self.platform.partition(":")
        platform = getattr(importlib.import_module(module), name)()
        if self.serial_pins:
            from amaranth.build import Attrs
            from amaranth_boards.resources import UARTResource

            rx, tx = self.serial_pins
            platform.add_resources([UARTResource(0, rx=rx, tx=tx, conn=("io", 0), attrs=Attrs(IO_TYPE="LVCMOS33"))])
        platform.sateen_technology = self.part.technology
        return platform
