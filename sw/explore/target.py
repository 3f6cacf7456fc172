"""What configurations are searched for: a part and how much of it may be used, and a board's clock and port."""

from __future__ import annotations

from dataclasses import dataclass, replace

from sateen.fpga.board import Board
from sateen.fpga.flow import Resources
from sateen.fpga.parts import Part
from sateen.hw.spec.config import Config, parse_config

__all__ = ["Target"]

STEP_HZ = 1_000_000


@dataclass(frozen=True, kw_only=True)
class Target:
    """A part, or the one on a board."""

    name: str
    part: Part
    board: Board | None = None
    limits: dict[str, int]
    """Per resource, how much a configuration may use."""
    asked: tuple[str, ...] = ()
    """Resources whose limit is the user's: it holds for the board's own configuration, too."""

    def hand_made(self) -> list[Config]:
        """Configurations made by hand: the board's own, which is known to fit, and the presets. What stands around an
        array, SDRAM and USB, is not searched, and left out of the board's."""
        presets = ("micro", "tiny", "small", "large")
        if self.board is not None:
            return [_alone(self.board.parse()), *(self.board.parse(name) for name in presets)]
        return [parse_config(name) for name in presets]

    def parse(self, text: str) -> Config:
        """A configuration by its text, with the board's clock and rate where that has none."""
        return parse_config(text) if self.board is None else self.board.parse(text)

    def own(self, config: Config) -> Config | None:
        """The board's own configuration, at its clock, if this is the same at whatever clock: built and recorded, it
        needs no estimate."""
        if self.board is None:
            return None
        own = _alone(self.board.parse())
        return self.board.with_pll_clock(own) if config.text == own.text else None

    def clocked(self, config: Config, mhz: float) -> Config | None:
        """The configuration with the highest clock of at most so many MHz that the board can make, in whole MHz;
        ``None`` if there is none."""
        for hz in range(int(mhz * 1e6) // STEP_HZ * STEP_HZ, 0, -STEP_HZ):
            try:
                if self.board is None:
                    return replace(config, clock_hz=hz)
                found = self.board.with_pll_clock(replace(config, clock_hz=hz, baud=self.board.baud))
            except ValueError:
                continue
            if found.clock_hz <= mhz * 1e6:
                return found
        return None

    def shares(self, cells: Resources) -> dict[str, float]:
        """What cells take of the limits; more than 1 does not fit."""
        return {
            name: getattr(cells, name) / most if most else float(getattr(cells, name) > 0) * 2
            for name, most in self.limits.items()
        }


def _alone(config: Config) -> Config:
    """The configuration without SDRAM, and with a serial port as its link."""
    return replace(config, sdram=None, link="uart")
