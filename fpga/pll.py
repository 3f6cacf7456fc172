"""Clocks: settings of a part's PLL for a frequency, and how far off it is."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

__all__ = ["PLLS", "Pll", "ecp5", "gowin", "ice40"]

MHZ = 1_000_000


@dataclass(frozen=True, kw_only=True)
class Pll:
    """Settings of a PLL."""

    cell: str
    """Of the vendor."""
    settings: dict[str, int]
    """The cell's parameters that make the frequency."""
    input_hz: int
    asked_hz: int
    output_hz: float

    @property
    def error(self) -> float:
        """How far the output is from what was asked, as a share of it."""
        return self.output_hz / self.asked_hz - 1


def ecp5(input_hz: int, asked_hz: int) -> Pll:
    """EHXPLLL, fed back from its primary output. Limits of Lattice's FPGA-DS-02012: phase detector 3.125 to 400 MHz, oscillator 400 to
    800 MHz, output 3.125 to 400 MHz.

    Raises
    ------
    ValueError
        If no setting gives a frequency near the one asked.
    """

    def settings() -> Iterator[tuple[float, dict[str, int]]]:
        for divide in range(1, 129):
            detector = input_hz / divide
            if not 3.125 * MHZ <= detector <= 400 * MHZ:
                continue
            for multiply in range(1, 81):
                output = detector * multiply
                # The slowest oscillator that serves takes the least power.
                post = -(-400 * MHZ // output)
                if 3.125 * MHZ <= output <= 400 * MHZ and post <= 128 and output * post <= 800 * MHZ:
                    yield output, {"CLKI_DIV": divide, "CLKFB_DIV": multiply, "CLKOP_DIV": int(post)}

    return _nearest("EHXPLLL", settings(), input_hz, asked_hz)


def ice40(input_hz: int, asked_hz: int) -> Pll:
    """SB_PLL40, fed back by itself. Limits of Lattice's FPGA-TN-02052: phase detector 10 to 133 MHz, oscillator 533 to 1066 MHz,
    output 16 to 275 MHz.

    Raises
    ------
    ValueError
        If no setting gives a frequency near the one asked.
    """

    def settings() -> Iterator[tuple[float, dict[str, int]]]:
        for divide in range(16):
            detector = input_hz / (divide + 1)
            if not 10 * MHZ <= detector <= 133 * MHZ:
                continue
            # As icepll has it: the loop filter is chosen by the phase detector's frequency.
            filter_range = 1 + sum(detector >= limit * MHZ for limit in (17, 26, 44, 66, 101))
            for multiply in range(128):
                oscillator = detector * (multiply + 1)
                for post in range(1, 7) if 533 * MHZ <= oscillator <= 1066 * MHZ else ():
                    if 16 * MHZ <= oscillator / 2**post <= 275 * MHZ:
                        yield (
                            oscillator / 2**post,
                            {"DIVR": divide, "DIVF": multiply, "DIVQ": post, "FILTER_RANGE": filter_range},
                        )

    return _nearest("SB_PLL40", settings(), input_hz, asked_hz)


def gowin(input_hz: int, asked_hz: int) -> Pll:
    """rPLL, fed back by itself. Limits of Gowin's DS117 for a GW1NR-9 of grade C6: phase detector 3 to 400 MHz, oscillator 400 to
    1200 MHz, output 3.125 to 600 MHz.

    Raises
    ------
    ValueError
        If no setting gives a frequency near the one asked.
    """

    def settings() -> Iterator[tuple[float, dict[str, int]]]:
        for divide in range(64):
            detector = input_hz / (divide + 1)
            if not 3 * MHZ <= detector <= 400 * MHZ:
                continue
            for multiply in range(64):
                output = detector * (multiply + 1)
                # The slowest oscillator that serves takes the least power.
                post = next((post for post in (2, 4, 8, *range(16, 129, 16)) if output * post > 400 * MHZ), None)
                if 3.125 * MHZ <= output <= 600 * MHZ and post and output * post < 1200 * MHZ:
                    yield output, {"IDIV_SEL": divide, "FBDIV_SEL": multiply, "ODIV_SEL": post}

    return _nearest("rPLL", settings(), input_hz, asked_hz)


PLLS = {"ecp5": ecp5, "gowin": gowin, "ice40": ice40}
"""By the family of a part."""


def _nearest(cell: str, found: Iterator[tuple[float, dict[str, int]]], input_hz: int, asked_hz: int) -> Pll:
    """The setting whose output is nearest; of equal ones the first."""
    best = min(found, key=lambda one: abs(one[0] - asked_hz), default=None)
    if best is None or abs(best[0] / asked_hz - 1) > 0.1:
        near = f"; the nearest is {best[0] / 1e6:.3f} MHz" if best else ""
        raise ValueError(f"clock_hz cannot be {asked_hz}: {cell} makes nothing like it of {input_hz / 1e6:g} MHz{near}")
    return Pll(cell=cell, settings=best[1], input_hz=input_hz, asked_hz=asked_hz, output_hz=best[0])
