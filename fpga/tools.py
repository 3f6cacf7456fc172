"""The FPGA tools from PyPI, and the cache of their results."""

from __future__ import annotations

import hashlib
import importlib.metadata
import re
import shutil
import sys
import tempfile
from collections.abc import Callable, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any

from filelock import FileLock
from platformdirs import user_cache_path

from sateen import processes
from sateen.errors import SateenError
from sateen.extras import install_hint

__all__ = ["LOG", "ClockMissed", "DoesNotFit", "FpgaError", "cached", "call", "produce", "version_of"]

LOG = "yosys.log"
WORK = "building-"
"""How the names of temporary folders in the cache begin."""


class FpgaError(SateenError):
    """An FPGA tool is missing or failed; the message says which and why."""


class DoesNotFit(FpgaError):
    """A design needs more than its part has; the message says of what, and what to reduce."""


class ClockMissed(FpgaError):
    """A build is slower than asked; the message says by how much, and why.

    Attributes
    ----------
    build : sateen.fpga.build.Build
        The build, to look at.
    """

    def __init__(self, message: str, build: Any):
        super().__init__(message)
        self.build = build


def version_of(package: str) -> str:
    """A tool's version; :class:`FpgaError` if it is missing."""
    try:
        return importlib.metadata.version(package)
    except importlib.metadata.PackageNotFoundError as error:
        raise FpgaError(f"{package} is not installed; {install_hint('fpga')}") from error


def cached(text: str, package: str) -> Path:
    """The cache folder for a tool's results on ``text``."""
    version = version_of(package)
    key = hashlib.sha256(f"{version}\n{text}".encode()).hexdigest()[:32]
    return user_cache_path("sateen") / "fpga" / key


def produce(folder: Path, result: str, make: Callable[[Path], None]) -> None:
    """Has a tool's results made, unless they are in the cache.

    Parameters
    ----------
    folder
        One of :func:`cached`.
    result
        The file in it that is put there last.
    make
        Makes the files in a temporary folder and moves those that stay to ``folder``. Of several processes one at a
        time does so, and what one that was killed has left is removed first.

    Raises
    ------
    FpgaError
        If the cache cannot be written, or its disk is full.
    """
    if (folder / result).exists():
        return
    try:
        folder.parent.mkdir(parents=True, exist_ok=True)
        with FileLock(folder.with_suffix(".lock")):
            if not (folder / result).exists():
                _make(folder, make)
    except OSError as error:
        reason = error.strerror or str(error)
        raise FpgaError(
            f"cannot use the cache {folder.parent} ({reason}); set XDG_CACHE_HOME to a folder of your own on a disk "
            "with room"
        ) from error


def _make(folder: Path, make: Callable[[Path], None]) -> None:
    folder.mkdir(exist_ok=True)
    for abandoned in folder.glob(f"{WORK}*"):
        shutil.rmtree(abandoned, ignore_errors=True)
    try:
        with tempfile.TemporaryDirectory(dir=folder, prefix=WORK) as name:
            make(Path(name))
    finally:
        # It stays if it holds results.
        with suppress(OSError):
            folder.rmdir()


def call(
    tool: str,
    arguments: Sequence[str],
    work: Path,
    package: str = "",
    *,
    log: Path | None = None,
    watch: Callable[[str], None] | None = None,
) -> None:
    """Runs a tool in a folder: one from a YoWASP package, by default the one named after it, or another package's
    module. While it works, ``watch`` is called with the end of the file ``log``."""
    name = tool.replace("-", "_")
    module = (package or f"yowasp-{tool}").replace("-", "_")
    code = f"import sys, {module} as tool; sys.exit(tool.run_{name}(sys.argv[1:]))"
    command = ["-c", code] if module.startswith("yowasp") else ["-m", f"{module}.{name}"]
    result = processes.run([sys.executable, *command, *arguments], cwd=work, log=log, watch=watch)
    if result.returncode:
        # Yosys's output after its first call of ABC is lost, but its log has it.
        printed = (
            (work / LOG).read_text() if (work / LOG).exists() and tool == "yosys" else result.stdout + result.stderr
        )
        printed_lines = [line.strip() for line in printed.splitlines() if line.strip()]
        lines = [line for line in printed_lines if re.search("ERROR|rror:", line)] or printed_lines[-1:]
        raise FpgaError(f"{tool} failed: {lines[0] if lines else 'no message'}")
