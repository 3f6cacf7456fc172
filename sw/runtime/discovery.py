"""Serial ports of this machine, and what answers there."""

from __future__ import annotations

import os
from collections.abc import Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass, replace
from enum import StrEnum
from pathlib import Path

from serial.tools import list_ports

from sateen.errors import DeviceError, DeviceTakenError, LinkError
from sateen.hw.spec.identity import Identity
from sateen.hw.spec.usb import MAKER, PRODUCT, TITLE, VENDOR
from sateen.runtime.device import Device
from sateen.runtime.link import Link
from sateen.runtime.resident import resident
from sateen.runtime.transport import RATES, SerialTransport

__all__ = ["Port", "PortState", "examine", "serial_ports"]

TRIES = 2
"""Frames that a port gets at each rate; a device answers the first."""


class PortState(StrEnum):
    """What came of looking at a port."""

    ANSWERS = "answers"
    """A device of Sateen."""
    SILENT = "silent"
    """Nothing answers at any of the boards' rates."""
    IN_USE = "in use"
    """A program has it open; nothing was sent."""
    CLOSED = "cannot be opened"
    OTHER = "answers with something else"
    """A device of another version."""
    NOT_ASKED = "not asked"
    """Not a port of a board: nothing was sent."""


@dataclass(frozen=True, kw_only=True)
class Port:
    """A serial port."""

    name: str
    title: str = ""
    """What its USB device calls itself."""
    ids: tuple[int, int] | None = None
    """Vendor and product of its USB device."""
    state: PortState = PortState.NOT_ASKED
    detail: str = ""
    """Why, where the state does not say it."""
    baud: int | None = None
    """The rate at which it answers."""
    identity: Identity | None = None
    """What the device says of itself."""
    model: str | None = None
    """The model that the device holds."""

    @property
    def own(self) -> bool:
        """Whether it is the USB link of a device of Sateen, by its numbers and what it calls itself."""
        return self.ids == (VENDOR, PRODUCT) and self.title == f"{MAKER} {TITLE}"


def serial_ports() -> list[Port]:
    """The serial ports of this machine that something is behind; none is opened."""
    return [
        Port(
            name=each.device,
            title=" ".join(filter(None, (each.manufacturer, each.product))),
            ids=None if each.vid is None or each.pid is None else (each.vid, each.pid),
        )
        for each in sorted(list_ports.comports())
    ]


def examine(port: Port, rates: Sequence[int] = RATES) -> Port:
    """Asks what answers at a port, about a second for each rate. A port that a program has open is left alone."""
    if user := _user(port.name):
        return replace(port, state=PortState.IN_USE, detail=user)
    for baud in rates:
        try:
            transport = SerialTransport(port.name, baud=baud)
        except DeviceTakenError as error:
            return replace(port, state=PortState.IN_USE, detail=str(error))
        except DeviceError as error:
            return replace(port, state=PortState.CLOSED, detail=str(error))
        try:
            device = Device(Link(transport, tries=TRIES))
            return replace(port, state=PortState.ANSWERS, baud=baud, identity=device.identity, model=resident(device))
        except LinkError:
            continue
        except DeviceTakenError as error:
            return replace(port, state=PortState.IN_USE, detail=str(error))
        except DeviceError as error:
            return replace(port, state=PortState.OTHER, baud=baud, detail=str(error))
        finally:
            transport.close()
    return replace(port, state=PortState.SILENT)


def _opened(process: Path) -> Iterator[str]:
    """What a process has open; a file that it closes meanwhile hides no other."""
    for each in (process / "fd").iterdir():
        with suppress(OSError):
            yield os.readlink(each)


def _user(name: str) -> str:
    """The program of this user that has a port open, if there is one: not all lock it."""
    if not name.startswith("/dev/"):
        return ""
    target = os.path.realpath(name)
    for process in Path("/proc").glob("[0-9]*"):
        if process.name == str(os.getpid()):
            continue
        try:
            if target in _opened(process):
                return f"by {(process / 'comm').read_text().strip()}, process {process.name}"
        except OSError:
            # It has ended, or belongs to somebody else.
            continue
    return ""
