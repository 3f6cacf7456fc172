"""Runs cocotb tests on Verilog, and says what came of them."""

from __future__ import annotations

import json
import os
import re
import shutil
import sys
import tempfile
import threading
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from unittest import mock
from xml.etree import ElementTree

from sateen.errors import InputError
from sateen.progress import report
from sateen.sim.errors import SimulationError
from sateen.testing.dut import INPUTS_VARIABLE, PARAMETERS_VARIABLE
from sateen.testing.simulators import TOP, WAVES, build, ports, runner

__all__ = ["Outcome", "TestOutcome", "simulate"]

CYCLE_NS = 10
LOOK_SECONDS = 0.2
"""How often the log is looked at for what runs."""
TAIL = 20_000
"""Of a log, the last so many characters are kept: its failures stand there."""


@dataclass(frozen=True, kw_only=True)
class TestOutcome:
    """What came of one test."""

    __test__ = False

    name: str
    """With its parameters: ``matches/pause=0.5``."""
    cycles: int
    """Clock cycles simulated."""
    seconds: float
    """Of real time."""
    failure: str = ""
    """Why it failed, or nothing."""


@dataclass(frozen=True, kw_only=True)
class Outcome:
    """What came of a run."""

    tests: tuple[TestOutcome, ...]
    seed: int
    log: str
    """The end of cocotb's log."""
    waves: Path | None = None
    """The waveform, if one was asked for."""

    @property
    def failed(self) -> tuple[TestOutcome, ...]:
        """The tests that failed."""
        return tuple(test for test in self.tests if test.failure)

    @property
    def cycles(self) -> int:
        """Clock cycles of all tests."""
        return sum(test.cycles for test in self.tests)


def simulate(
    text: str,
    module: str,
    *,
    parameters: Mapping[str, Any],
    seed: int,
    tests: Sequence[str] | None = None,
    simulator: str = "verilator",
    waves: Path | None = None,
) -> Outcome:
    """Runs the cocotb tests of a Python module on Verilog with the top module ``top``.

    Parameters
    ----------
    text
        The Verilog.
    module
        The import name of the module.
    parameters
        JSON values for :func:`sateen.testing.parameters`.
    seed
        Where the tests' random numbers begin; each test has its own, whichever others run.
    tests
        Only those: names with or without their parameters.
    simulator
        ``verilator`` or ``icarus``.
    waves
        A file for the waveform of all signals, ``.fst`` or ``.vcd``.
    Raises
    ------
    InputError
        If the waveform's suffix is of another format, or its file cannot be written.
    SimulationError
        If the simulator is missing, cannot build the Verilog, or ends before the tests do.
    """
    if waves is not None:
        waves = waves.absolute()
        _check_waves(waves)
    report(f"building the simulation with {simulator}")
    folder = build(text, simulator=simulator, waves=waves.suffix if waves else "")
    run = runner(simulator)
    inputs = [name for name in ports(text, "input") if name not in ("clk", "rst")]
    with tempfile.TemporaryDirectory() as work, mock.patch.dict(os.environ):
        log, results = Path(work) / "sim.log", Path(work) / "results.xml"
        # Of a name with blanks, Icarus would get several arguments.
        dump = Path(work) / f"dump{waves.suffix}" if waves and simulator == "icarus" else None
        os.environ["SIM_CMD_SUFFIX"] = f"-{dump.suffix[1:]} +waves={dump.name}" if dump else ""
        done = threading.Event()
        teller = threading.Thread(target=_follow, args=(log, module, done))
        teller.start()
        died = False
        try:
            run.test(
                hdl_toplevel=TOP, hdl_toplevel_lang="verilog", test_module=module, build_dir=folder, test_dir=work,
                results_xml=str(results), seed=seed, log_file=log,
                test_filter=rf"\.({'|'.join(map(re.escape, tests))})(/|$)" if tests else None,
                test_args=["--trace", "--trace-file", str(waves)] if waves and simulator == "verilator" else [],
                extra_env={
                    PARAMETERS_VARIABLE: json.dumps(dict(parameters)),
                    INPUTS_VARIABLE: json.dumps(inputs),
                    "PYTHONPATH": os.pathsep.join(sys.path),
                    # Registers of data are not reset. What is undefined in Icarus is anything, as in Verilator.
                    "COCOTB_RESOLVE_X": "random",
                    # cocotb uses pytest to tell why an assertion failed, and none of its plugins.
                    "PYTEST_DISABLE_PLUGIN_AUTOLOAD": "1",
                    "COCOTB_REWRITE_ASSERTION_FILES": f"{module.rpartition('.')[2]}.py",
                },
            )  # fmt: skip
        except (SystemExit, RuntimeError):
            died = True
        finally:
            done.set()
            teller.join()
        if dump is not None and dump.exists() and waves is not None:
            shutil.move(dump, waves)
        text = log.read_text(errors="replace")[-TAIL:] if log.exists() else ""
        if not results.exists():
            raise SimulationError(f"the simulation ended before its tests: {_last(text)}")
        outcomes = _outcomes(results)
        if died and not any(outcome.failure for outcome in outcomes):
            raise SimulationError(f"the simulation ended with an error: {_last(text)}")
    return Outcome(tests=outcomes, seed=seed, log=text, waves=waves)


def _check_waves(path: Path) -> None:
    if path.suffix not in WAVES:
        raise InputError(f"{path.name} is of no format of waveforms; name a file that ends in {' or '.join(WAVES)}")
    try:
        path.write_bytes(b"")
    except OSError as error:
        raise InputError(
            f"cannot write the waveform {path}: {error.strerror}; name a file that can be written"
        ) from error


def _follow(log: Path, module: str, done: threading.Event) -> None:
    """Tells which test runs, as the log says it."""
    told, running = "", re.compile(rf" running {re.escape(module)}\.(\S+) \((\d+)/(\d+)\)")
    while not done.wait(LOOK_SECONDS):
        begun = running.findall(log.read_text(errors="replace")) if log.exists() else []
        if begun and (now := "running {} ({} of {})".format(*begun[-1])) != told:
            report(told := now)


def _last(log: str) -> str:
    """The last line that a simulator has written."""
    return next((line.strip() for line in reversed(log.splitlines()) if line.strip()), "it wrote nothing")


def _outcomes(results: Path) -> tuple[TestOutcome, ...]:
    """The tests in a file of results (xUnit)."""
    found = []
    for case in ElementTree.parse(results).iter("testcase"):
        failure = next((each for kind in ("failure", "error") if (each := case.find(kind)) is not None), None)
        if case.find("skipped") is not None:
            continue
        properties = {each.get("name"): each.get("value", "") for each in case.iter("property")}
        text = "" if failure is None else failure.get("message") or failure.text or "no message"
        found.append(
            TestOutcome(
                name=case.get("name", ""), seconds=float(case.get("time", 0)), failure=text.strip(),
                cycles=round(float(properties.get("sim_time_duration", 0)) / CYCLE_NS),
            )  # fmt: skip
        )
    return tuple(found)
