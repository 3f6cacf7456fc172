"""Boards on USB: which are attached, by what the kernel says of each device, and who may use them.

Nothing is opened: Linux lists devices with their texts in ``/sys``. Elsewhere nothing is found, and the loader looks
for the board itself.
"""

from __future__ import annotations

import os
import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from sateen.fpga.board import Board, Usb
from sateen.hw.spec.usb import MAKER, PRODUCT, VENDOR

__all__ = ["SYSTEM", "Attached", "attached", "matches", "rules"]

SYSTEM = Path("/sys/bus/usb/devices")
NODES = Path("/dev/bus/usb")


@dataclass(frozen=True, kw_only=True)
class Attached:
    """A device on USB."""

    vendor: int
    product: int
    """Its numbers, which the first columns of ``lsusb`` show."""
    manufacturer: str
    title: str
    """What it calls itself; often empty, and the maker's choice."""
    serial: str
    place: str
    """Where it is plugged in, as ``1-2``."""
    node: Path
    """What programs open."""
    ports: tuple[tuple[int, str], ...] = ()
    """Its serial ports: the number of the interface, and the name, as ``/dev/ttyUSB0``."""

    @property
    def ids(self) -> str:
        """Its numbers, as ``0403:6015``."""
        return f"{self.vendor:04x}:{self.product:04x}"

    @property
    def usable(self) -> bool:
        """Whether this user may open it."""
        return not self.node.exists() or os.access(self.node, os.R_OK | os.W_OK)

    def __str__(self) -> str:
        name = " ".join(filter(None, (self.manufacturer, self.title)))
        return f"{name or 'a device without a name'} ({self.ids})"

    def port(self, board: Board) -> str | None:
        """The serial port to the accelerator on a board."""
        return dict(self.ports).get(board.usb.port_interface)


def attached(system: Path = SYSTEM, nodes: Path = NODES) -> list[Attached]:
    """All devices on USB, without hubs."""
    found = []
    for folder in sorted(system.glob("*")) if system.is_dir() else ():
        vendor, product = (_read(folder / name) for name in ("idVendor", "idProduct"))
        if not vendor or not product or _read(folder / "bDeviceClass") == "09":
            continue
        bus, number = (int(_read(folder / name) or 0) for name in ("busnum", "devnum"))
        found.append(
            Attached(
                vendor=int(vendor, 16),
                product=int(product, 16),
                manufacturer=_read(folder / "manufacturer"),
                title=_read(folder / "product"),
                serial=_read(folder / "serial"),
                place=folder.name,
                node=nodes / f"{bus:03}" / f"{number:03}",
                ports=tuple(_ports(folder)),
            )
        )
    return found


def _ports(folder: Path) -> list[tuple[int, str]]:
    """Serial ports below a device: of USB bridges beside the interface, of modems in a folder of their own."""
    ports = []
    for pattern in ("*:*/tty[A-Z]*", "*:*/tty/tty[A-Z]*"):
        for port in folder.glob(pattern):
            interface = next(part for part in port.relative_to(folder).parts if ":" in part)
            ports.append((int(interface.rpartition(".")[2]), f"/dev/{port.name}"))
    return sorted(ports)


def _read(path: Path) -> str:
    try:
        return path.read_text(errors="replace").strip()
    except OSError:
        return ""


def matches(device: Attached, boards: Mapping[str, Board]) -> list[str]:
    """The boards that a device may be. Bridges have the same numbers on many boards: where the device calls itself by a
    name that one board has, it is that one; else any without a name of its own; else one whose name was lost."""
    same = {name: board.usb for name, board in boards.items() if _numbers(board.usb) == (device.vendor, device.product)}
    text = f"{device.manufacturer} {device.title}"
    named = [name for name, usb in same.items() if usb.name and re.search(usb.name, text, re.IGNORECASE)]
    return named or [name for name, usb in same.items() if not usb.name] or list(same)


def _numbers(usb: Usb) -> tuple[int, int]:
    return usb.vendor, usb.product


def rules(boards: Mapping[str, Board]) -> str:
    """udev's rules: whoever sits at the machine, and the group ``plugdev``, may load boards and open their serial
    ports."""
    lines = [
        "# Boards of Sateen. Copy this file to /etc/udev/rules.d/70-sateen.rules, then run, as root:",
        "#   udevadm control --reload-rules && udevadm trigger",
        'ACTION!="add|change", GOTO="sateen_end"',
        'SUBSYSTEM!="usb|tty", GOTO="sateen_end"',
    ]
    titles: dict[tuple[int, int], list[str]] = {}
    for board in boards.values():
        titles.setdefault(_numbers(board.usb), []).append(board.title)
    for (vendor, product), names in titles.items():
        lines.append(f"# {'; '.join(names)}")
        match = f'ATTRS{{idVendor}}=="{vendor:04x}", ATTRS{{idProduct}}=="{product:04x}"'
        lines.append(f'{match}, MODE="0660", GROUP="plugdev", TAG+="uaccess"')
    lines += [
        "# Boards whose bitstream has link=usb; ModemManager would take them for modems.",
        f'ATTRS{{idVendor}}=="{VENDOR:04x}", ATTRS{{idProduct}}=="{PRODUCT:04x}", ATTRS{{manufacturer}}=="{MAKER}", '
        'MODE="0660", GROUP="plugdev", TAG+="uaccess", ENV{ID_MM_DEVICE_IGNORE}="1"',
        'LABEL="sateen_end"',
    ]
    return "\n".join(lines) + "\n"
