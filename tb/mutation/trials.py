"""Trials: a target's tests, on a copy of the sources in which one file is a mutant."""

from __future__ import annotations

import importlib
import os
import resource
import shutil
import signal
import sys
import time
from collections.abc import Collection, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from mutants import Mutant

__all__ = ["Laboratory", "Outcome"]

ROOMS = ("hw", "sim", "fpga")
"""Folders that are packages within ``sateen``, which is ``sw``."""
BENCHES = "sateen/benches"
"""Where the benches' simulations are in a cache, see ``tb/harness.py``."""
PRELOADED = ("numpy", "pytest", "amaranth.hdl", "amaranth.lib.wiring", "amaranth.back.verilog", "rich", "typer")
"""Packages that most trials import. A trial is a fork of a process that has them."""
MEMORY_BYTES = 6 << 30
"""A mutant may ask for any amount of memory; with more than this it is killed."""
PATIENCE_SECONDS, PATIENCE_FACTOR = 20.0, 5
"""A trial ends after this time and so many times what the tests take without a mutant: it may have to build a
simulation, and others use the machine."""


@dataclass(frozen=True)
class Outcome:
    """What became of a trial."""

    word: str
    """``killed``, ``timeout`` or ``survived``."""
    test: str
    """The first test that failed."""
    seconds: float


class Laboratory:
    """A copy of the sources and the tests in a folder, as they are installed: ``sw`` is the package ``sateen``, the
    other rooms are in it.

    Parameters
    ----------
    root
        The repository, which is only read.
    folder
        An empty folder.
    cache
        The user's cache, if the mutants' simulations are to have one of their own in the folder. It begins with what
        all simulations share.

    Raises
    ------
    RuntimeError
        If this process has imported ``sateen``: trials are forks of it, and would have the original.
    """

    def __init__(self, root: Path, folder: Path, cache: Path | None = None):
        if "sateen" in sys.modules:
            raise RuntimeError("sateen is imported: trials would not see their mutants")
        self.folder, self.limit, self._kept = folder, PATIENCE_SECONDS, set[Path]()
        package = folder / "sateen"
        for name, place in [("sw", package), *((room, package / room) for room in ROOMS), ("tb", folder / "tb")]:
            shutil.copytree(root / name, place, ignore=shutil.ignore_patterns("__pycache__"))
        for name in ("pyproject.toml", "docs", "README.md"):
            (folder / name).symlink_to(root / name)
        if cache is not None:
            os.environ["XDG_CACHE_HOME"] = str(folder / "cache")
            (folder / "cache" / BENCHES).mkdir(parents=True)
            for shared in (*cache.glob(f"{BENCHES}/runtime-*"), *cache.glob(f"{BENCHES}/header-*")):
                (folder / "cache" / BENCHES / shared.name).symlink_to(shared)
        for module in PRELOADED:
            importlib.import_module(module)

    def try_original(self, tests: Collection[str]) -> Outcome:
        """The tests without a mutant; sets the limit of time."""
        outcome = self._run(tests, patience=3600)
        self._kept = self._builds()
        self.limit = PATIENCE_SECONDS + PATIENCE_FACTOR * outcome.seconds
        return outcome

    def try_mutant(self, mutant: Mutant, tests: Collection[str]) -> Outcome:
        """The tests on one mutant."""
        with self._mutated(mutant):
            outcome = self._run(tests, patience=self.limit, compiled=False)
        for build in self._builds() - self._kept:
            shutil.rmtree(build, ignore_errors=True)
        return outcome

    @contextmanager
    def _mutated(self, mutant: Mutant) -> Iterator[None]:
        room, rest = mutant.file.split("/", 1)
        path = self.folder / "sateen" / (rest if room == "sw" else mutant.file)
        original, times = path.read_bytes(), path.stat()
        path.write_bytes(mutant.source)
        # Compiled files are compared with their sources' sizes and times: no mutant has the original's.
        os.utime(path, (times.st_atime, times.st_mtime + 3600))
        try:
            yield
        finally:
            path.write_bytes(original)
            os.utime(path, ns=(times.st_atime_ns, times.st_mtime_ns))

    def _run(self, tests: Collection[str], *, patience: float, compiled: bool = True) -> Outcome:
        begin, report = time.monotonic(), self.folder / "failed"
        report.unlink(missing_ok=True)
        sys.stdout.flush()
        child = os.fork()
        if child == 0:
            try:
                os.setsid()
                signal.signal(signal.SIGTERM, signal.SIG_DFL)
                self._test(tests, report, compiled)
            finally:
                os._exit(70)
        status = _wait(child, begin + patience)
        failed = report.read_text() if report.exists() else ""
        word = "timeout" if status is None else "survived" if status == 0 else "killed"
        return Outcome(word, failed, time.monotonic() - begin)

    def _test(self, tests: Collection[str], report: Path, compiled: bool) -> None:
        """Runs pytest in this process, which then ends. With ``compiled``, modules that it compiles stay so."""
        os.chdir(self.folder)
        resource.setrlimit(resource.RLIMIT_DATA, (MEMORY_BYTES, MEMORY_BYTES))
        resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
        log = os.open(self.folder / "log", os.O_WRONLY | os.O_CREAT | os.O_TRUNC)
        for stream in (1, 2):
            os.dup2(log, stream)
        sys.path[0] = str(self.folder)
        if not compiled:
            sys.dont_write_bytecode = True
            os.environ["PYTHONDONTWRITEBYTECODE"] = "1"
        for name in ("mutants", "trials", "targets"):
            sys.modules.pop(name, None)
        import pytest

        arguments = ["-x", "-q", "--tb=short", "-p", "no:cacheprovider", "-p", "no:xdist", *tests]
        os._exit(int(pytest.main(arguments, plugins=[_Reporter(report)])))

    def _builds(self) -> set[Path]:
        """Simulations of benches in this laboratory's own cache."""
        return set((self.folder / "cache" / BENCHES).glob("*"))


class _Reporter:
    """A plugin of pytest that writes the name of a test that failed into a file."""

    def __init__(self, path: Path):
        self.path = path

    def pytest_runtest_logreport(self, report: Any) -> None:
        if report.failed:
            self.path.write_text(report.nodeid)


def _wait(child: int, end: float) -> int | None:
    """A process's exit code, or None if it was stopped, with all that it started, since its time was up."""
    status, pause = None, 0.005
    try:
        while status is None and time.monotonic() < end:
            done, code = os.waitpid(child, os.WNOHANG)
            if done:
                status = os.waitstatus_to_exitcode(code)
            else:
                time.sleep(pause)
                pause = min(0.1, pause * 1.5)
    finally:
        with suppress(ProcessLookupError):
            os.killpg(child, signal.SIGKILL)
        if status is None:
            os.waitpid(child, 0)
    return status
