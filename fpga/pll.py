"""Clocks: settings of a part's PLL for a frequency, and the error that remains."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

__all__ = ["ETHERNET_HZ", "PLLS", "ULPI_HZ", "USB_HZ", "USB_IO_HZ", "Pll", "ecp5", "ecp5_usb", "gowin", "ice40"]

MHZ = 1_000_000
USB_HZ, USB_IO_HZ = 12 * MHZ, 48 * MHZ
"""Clocks of the USB link: of its bits, and of their samples."""
ULPI_HZ, ETHERNET_HZ = 60 * MHZ, 125 * MHZ
"""Clocks of the links with a PHY, which they come from."""


@dataclass(frozen=True, kw_only=True)
class Pll:
    """Settings of a PLL."""

    cell: str
    """The vendor's name of the primitive."""
    settings: dict[str, int]
    """The parameters that set the frequency."""
    input_hz: int
    requested_hz: int
    output_hz: float

    @property
    def error(self) -> float:
        """Error of the output frequency, as a share of the requested one."""
        return self.output_hz / self.requested_hz - 1


def ecp5(input_hz: int, requested_hz: int) -> Pll:
    """EHXPLLL with feedback from its primary output. Limits are from Lattice's FPGA-DS-02012: phase detector 3.125 to
    400 MHz, oscillator 400 to 800 MHz, output 3.125 to 400 MHz.

    Raises
    ------
    ValueError
        If no setting comes within 10 % of the requested frequency.
    """

    found = _fed_back(
        input_hz,
        divides=range(1, 129),
        multiplies=range(1, 81),
        posts=range(1, 129),
        detector_mhz=(3.125, 400),
        oscillator_mhz=(400, 800),
        output_mhz=(3.125, 400),
    )
    settings = (
        (output, {"CLKI_DIV": divide, "CLKFB_DIV": multiply, "CLKOP_DIV": post})
        for output, divide, multiply, post in found
    )
    return _nearest("EHXPLLL", settings, input_hz, requested_hz)


def ecp5_usb(input_hz: int) -> Pll:
    """EHXPLLL for the USB link: :data:`USB_IO_HZ` from its first secondary output, :data:`USB_HZ` from its second,
    exactly, with edges that come together. Limits as in :func:`ecp5`.

    Raises
    ------
    ValueError
        If the PLL cannot make them.
    """
    for divide in range(1, 129):
        for oscillator in range(432 * MHZ, 801 * MHZ, USB_IO_HZ):
            times, rest = divmod(oscillator * divide, input_hz)
            # The primary output, which is fed back, is the oscillator's frequency divided by `post`.
            post = next((post for post in range(2, 129) if times % post == 0 and times // post <= 80), None)
            if rest or post is None or not 3.125 * MHZ <= input_hz / divide <= 400 * MHZ:
                continue
            if 3.125 * MHZ <= oscillator / post <= 400 * MHZ:
                settings = {"CLKI_DIV": divide, "CLKFB_DIV": times // post, "CLKOP_DIV": post}
                settings |= {"CLKOS_DIV": oscillator // USB_IO_HZ, "CLKOS2_DIV": oscillator // USB_HZ}
                return Pll(
                    cell="EHXPLLL", settings=settings, input_hz=input_hz, requested_hz=USB_IO_HZ, output_hz=USB_IO_HZ
                )
    raise ValueError(f"link cannot be usb: EHXPLLL makes no {USB_IO_HZ // MHZ} MHz of {input_hz / 1e6:g} MHz")


def ice40(input_hz: int, requested_hz: int) -> Pll:
    """SB_PLL40 with internal feedback. Limits are from Lattice's FPGA-TN-02052: phase detector 10 to 133 MHz,
    oscillator 533 to 1066 MHz, output 16 to 275 MHz.

    Raises
    ------
    ValueError
        If no setting comes within 10 % of the requested frequency.
    """

    def settings() -> Iterator[tuple[float, dict[str, int]]]:
        for divide in range(16):
            detector = input_hz / (divide + 1)
            if not 10 * MHZ <= detector <= 133 * MHZ:
                continue
            # As in icepll, the phase detector's frequency chooses the loop filter.
            filter_range = 1 + sum(detector >= limit * MHZ for limit in (17, 26, 44, 66, 101))
            for multiply in range(128):
                oscillator = detector * (multiply + 1)
                for post in range(1, 7) if 533 * MHZ <= oscillator <= 1066 * MHZ else ():
                    if 16 * MHZ <= oscillator / 2**post <= 275 * MHZ:
                        yield (
                            oscillator / 2**post,
                            {"DIVR": divide, "DIVF": multiply, "DIVQ": post, "FILTER_RANGE": filter_range},
                        )

    return _nearest("SB_PLL40", settings(), input_hz, requested_hz)


def gowin(input_hz: int, requested_hz: int) -> Pll:
    """rPLL with internal feedback. Limits are from Gowin's DS117, for a GW1NR-9 of grade C6: phase detector 3 to 400
    MHz, oscillator 400 to 1200 MHz, output 3.125 to 600 MHz.

    Raises
    ------
    ValueError
        If no setting comes within 10 % of the requested frequency.
    """

    found = _fed_back(
        input_hz,
        divides=range(1, 65),
        multiplies=range(1, 65),
        posts=(2, 4, 8, *range(16, 129, 16)),
        detector_mhz=(3, 400),
        oscillator_mhz=(400, 1200),
        output_mhz=(3.125, 600),
    )
    settings = (
        (output, {"IDIV_SEL": divide - 1, "FBDIV_SEL": multiply - 1, "ODIV_SEL": post})
        for output, divide, multiply, post in found
    )
    return _nearest("rPLL", settings, input_hz, requested_hz)


PLLS = {"ecp5": ecp5, "gowin": gowin, "ice40": ice40}
"""Per family of parts, its PLL."""


def _fed_back(
    input_hz: int,
    *,
    divides: Sequence[int],
    multiplies: Sequence[int],
    posts: Sequence[int],
    detector_mhz: tuple[float, float],
    oscillator_mhz: tuple[float, float],
    output_mhz: tuple[float, float],
) -> Iterator[tuple[float, int, int, int]]:
    """Output frequencies of a PLL that compares its divided input with its output divided by ``multiply``, each with
    its three dividers. The last divider is the smallest that keeps the oscillator within its limits, because a slow
    oscillator takes the least power."""
    for divide in divides:
        detector = input_hz / divide
        if not detector_mhz[0] * MHZ <= detector <= detector_mhz[1] * MHZ:
            continue
        for multiply in multiplies:
            output = detector * multiply
            post = next((post for post in posts if oscillator_mhz[0] * MHZ <= output * post), None)
            if (
                post
                and output * post <= oscillator_mhz[1] * MHZ
                and output_mhz[0] * MHZ <= output <= output_mhz[1] * MHZ
            ):
                yield output, divide, multiply, post


def _nearest(cell: str, found: Iterator[tuple[float, dict[str, int]]], input_hz: int, requested_hz: int) -> Pll:
    """The setting whose output is nearest to the request, the first of equal ones."""
    best = min(found, key=lambda setting: abs(setting[0] - requested_hz), default=None)
    if best is None or abs(best[0] / requested_hz - 1) > 0.1:
        near = f"; the nearest is {best[0] / 1e6:.3f} MHz" if best else ""
        raise ValueError(
            f"clock_hz cannot be {requested_hz}: {cell} makes nothing like it of {input_hz / 1e6:g} MHz{near}"
        )
    return Pll(cell=cell, settings=best[1], input_hz=input_hz, requested_hz=requested_hz, output_hz=best[0])
