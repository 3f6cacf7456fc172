"""What there is to say of a board."""

from __future__ import annotations

import importlib
from dataclasses import dataclass, replace
from typing import Any

from sateen.fpga.parts import Part
from sateen.fpga.pll import PLLS, Pll
from sateen.hw.spec.config import Config, parse_config

__all__ = ["ANY_ADAPTER", "BL702", "FTDI_FULL_SPEED", "FTDI_HIGH_SPEED", "Board", "Bridge"]


@dataclass(frozen=True, kw_only=True)
class Bridge:
    """What stands between the board's serial port and the host."""

    title: str
    base_hz: int
    """Its rates are this frequency divided by 1, by 1.5, or by eighths from 2 on (FTDI's AN232B-05)."""

    def rate(self, baud: int) -> float:
        """The rate that it has when asked for ``baud``: the nearest."""
        eighths = max(16, round(8 * self.base_hz / baud))
        return min((8 * self.base_hz / each for each in (8, 12, eighths)), key=lambda rate: abs(rate - baud))


FTDI_FULL_SPEED = Bridge(title="FT231X", base_hz=3_000_000)
FTDI_HIGH_SPEED = Bridge(title="FT2232H", base_hz=12_000_000)
BL702 = Bridge(title="BL702 as an FT2232", base_hz=3_000_000)
ANY_ADAPTER = Bridge(title="an adapter of 3.3 V at the named pins", base_hz=3_000_000)


@dataclass(frozen=True, kw_only=True)
class Board:
    """One board: resources, clock, link, default configuration."""

    title: str
    platform: str
    """Where its pins are written down: ``module:class`` in amaranth-boards."""
    part: Part
    config: str
    """What it is built with unless told otherwise, ``PRESET[,field=value…]``."""
    run_hz: int
    """The clock of that; a build says what margin it leaves."""
    baud: int
    """The rate of the serial port."""
    clock: str
    """Resource of the oscillator."""
    clock_hz: int
    """Its frequency."""
    bridge: Bridge
    uart: tuple[str, int] = ("uart", 0)
    """Resource of the serial port to the host."""
    leds: tuple[tuple[str, int], ...] = (("led", 0), ("led", 1))
    """The first blinks once or twice a second, the second shows that a program runs."""
    pad: bool = False
    """The PLL takes its input from the pin itself."""
    serial_pins: tuple[str, str] | None = None
    """Pins of a serial port, receive and transmit, on a board without one: of the connector ``io``."""
    loader: tuple[str, ...]
    """The program that writes to it, with its arguments but the bitstream's name."""
    loader_flash: tuple[str, ...]
    """The same, for the memory from which the board starts."""
    products: str
    """What makes products on this part."""

    def parse(self, text: str = "") -> Config:
        """The configuration that ``PRESET[,field=value…]`` names, with the board's clock and rate where the text has
        none; by default the board's own.

        Raises
        ------
        ValueError
            If the text names none.
        """
        config = parse_config(text or self.config)
        given = {setting.partition("=")[0] for setting in text.split(",")[1:]}
        own: dict[str, Any] = {"clock_hz": self.run_hz, "baud": self.baud}
        return replace(config, **{name: value for name, value in own.items() if name not in given})

    def pll(self, config: Config) -> Pll:
        """The PLL's settings for a configuration's clock; ``ValueError`` if there are none."""
        return PLLS[self.part.family](self.clock_hz, config.clock_hz)

    def with_pll_clock(self, config: Config) -> Config:
        """The configuration with the clock that the PLL makes in place of the one asked.

        Raises
        ------
        ValueError
            If the PLL makes no such clock, or bridge and serial port differ by more than 1 % at the configuration's
            rate.
        """
        config = replace(config, clock_hz=round(self.pll(config).output_hz))
        error = self.baud_error(config)
        if abs(error) > 0.01:
            raise ValueError(
                f"baud cannot be {config.baud}: the bridge ({self.bridge.title}) is off by {1 / (1 + error) - 1:+.1%} there; choose "
                f"{self.bridge.base_hz} divided by a whole number"
            )
        return config

    def baud_error(self, config: Config) -> float:
        """How far the serial port's rate is from the bridge's, as a share of it."""
        return config.baud / self.bridge.rate(config.baud) - 1

    def create(self) -> Any:
        """The platform, with all resources. Needs amaranth-boards."""
        module, _, name = self.platform.partition(":")
        platform = getattr(importlib.import_module(module), name)()
        if self.serial_pins:
            from amaranth.build import Attrs
            from amaranth_boards.resources import UARTResource

            rx, tx = self.serial_pins
            platform.add_resources([UARTResource(0, rx=rx, tx=tx, conn=("io", 0), attrs=Attrs(IO_TYPE="LVCMOS33"))])
        platform.sateen_technology = self.part.technology
        return platform
