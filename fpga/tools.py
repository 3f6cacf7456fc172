"""The FPGA tools from PyPI, and the cache of their results."""

from __future__ import annotations

import hashlib
import importlib.metadata
import re
import sys
import tempfile
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

from platformdirs import user_cache_path

from sateen import processes
from sateen.errors import SateenError
from sateen.extras import install_hint

__all__ = ["LOG", "ClockMissed", "DoesNotFit", "FpgaError", "cached", "call", "version_of", "workspace"]

LOG = "yosys.log"


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
    folder = user_cache_path("sateen") / "fpga" / key
    folder.mkdir(parents=True, exist_ok=True)
    return folder


@contextmanager
def workspace(folder: Path) -> Iterator[Path]:
    """A temporary folder within one of :func:`cached`, which goes too if nothing was put into it."""
    try:
        with tempfile.TemporaryDirectory(dir=folder) as name:
            yield Path(name)
    finally:
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
