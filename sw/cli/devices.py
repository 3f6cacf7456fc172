"""``sateen devices``."""

from __future__ import annotations

from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import Annotated, Any, ClassVar

import typer

from sateen.cli.output import status
from sateen.cli.printing import JsonFile, console, write_document
from sateen.fpga.boards import BOARDS
from sateen.runtime.discovery import Port, PortState, examine, serial_ports

__all__ = ["Devices", "devices"]


@dataclass(frozen=True, kw_only=True)
class PortEntry:
    """A serial port, and what answers there."""

    port: str
    title: str
    """What its USB device calls itself."""
    usb: str | None
    """Vendor and product of its USB device, as ``0403:6015``."""
    state: PortState
    detail: str
    """Why, where the state does not say it."""
    device: str | None
    """What ``sateen run --device`` takes, if a device of Sateen answers."""
    baud: int | None
    board: str | None
    """The board that the device's bitstream was built for; ``null`` also for a design of others."""
    build: str | None
    """What the device was built from: a bitstream's identity, or the digest of a configuration."""
    config: dict[str, Any] | None
    """The device's configuration."""
    model: str | None
    """The model that the device holds."""


@dataclass(frozen=True, kw_only=True)
class Devices:
    """What ``sateen devices`` found."""

    FORMAT: ClassVar[str] = "sateen.devices/1"

    ports: list[PortEntry]


def devices(
    ports: Annotated[
        list[str] | None, typer.Argument(metavar="[PORT]…", help="Ports to ask; by default, those of boards.")
    ] = None,
    json: JsonFile = None,
) -> None:
    """Lists the serial ports, and asks which device answers there. Ports that are in use are left alone."""
    bridges = {(board.usb.vendor, board.usb.product) for board in BOARDS.values()}
    known = {port.name: port for port in serial_ports()}
    asked = [known.get(name, Port(name=name)) for name in ports or ()]
    own = [port for port in known.values() if port.ids in bridges or port.own]
    others = [] if ports else [port for port in known.values() if port not in own]
    asked += [] if ports else own
    with status(f"asking {', '.join(port.name for port in asked) or 'no port'}"):
        with ThreadPoolExecutor(max(1, len(asked))) as pool:
            found = [*pool.map(examine, asked), *others]
    write_document(json, Devices(ports=[_entry(port) for port in found]))
    _print(found)


def _entry(port: Port) -> PortEntry:
    identity = port.identity
    return PortEntry(
        port=port.name,
        title=port.title,
        usb=None if port.ids is None else "{:04x}:{:04x}".format(*port.ids),
        state=port.state,
        detail=port.detail,
        device=f"serial:{port.name}?baud={port.baud}" if identity else None,
        baud=port.baud,
        board=identity.board or None if identity else None,
        build=identity.build.rpartition("/")[2] if identity else None,
        config=identity.config.to_dict() if identity else None,
        model=port.model,
    )


def _print(found: Sequence[Port]) -> None:
    """Prints a paragraph for each port."""
    if not found:
        console.print("no serial port; connect a board, and check that its cable carries data")
    for port in found:
        title = f" ({port.title})" if port.title else ""
        detail = f" {port.detail}" if port.detail else ""
        if port.state == PortState.NOT_ASKED:
            detail = f"; to ask it all the same: sateen devices {port.name}"
        console.print(f"{port.name}{title}: {port.state}{detail}")
        entry = _entry(port)
        if port.identity is not None:
            config = port.identity.config
            clock = f"{config.clock_hz / 1e6:g} MHz"
            rows = {
                "board": entry.board or "none that Sateen knows",
                "configuration": f"{config.rows}×{config.cols} {config.pe}, {clock}, {config.digest}",
                "build": entry.build,
                "model": port.model or "none",
                "run with": f"--device {entry.device}",
            }
            for name, value in rows.items():
                console.print(f"  {name:13}  {value}")
