"""``sateen cocotb``, the runs behind it, and the example of a design of one's own."""

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
from typer.testing import CliRunner

import needs
import objects
from command_line import cli, read_document
from sateen.cli.main import app
from sateen.errors import InputError
from sateen.hw.stream.queue import Queue
from sateen.testing import Bench, Outcome, TestOutcome, simulate, to_verilog
from sateen.testing.benches import benches

EXAMPLE = Path(__file__).parents[2] / "examples" / "cocotb"
SIGNATURES = {".fst": b"\x00", ".vcd": b"$"}
"""How a waveform begins."""


def simulators(name):
    return needs.programs("iverilog", packages="iverilog") if name == "icarus" else []


def test_lists_units():
    printed = cli("cocotb").stdout
    assert len(benches()) > 35
    assert all(f"{name} " in printed for name in benches())


def test_every_unit_is_made_and_has_tests():
    for name, each in benches().items():
        assert each.create() is not None and each.tests({}), name


@pytest.mark.parametrize(("simulator", "suffix"), [("verilator", ".fst"), ("icarus", ".fst"), ("icarus", ".vcd")])
def test_runs_a_unit(simulator, suffix, tmp_path):
    simulators(simulator)
    waves, record = tmp_path / f"a [b] wave{suffix}", tmp_path / "run.json"
    options = ["--config", "bits=9,depth=4", "--seed", "7", "--simulator", simulator, "--test", "keeps_order"]
    result = cli("cocotb", "queue", *options, "--waves", waves, "--json", record)
    assert result.returncode == 0, result.stderr
    assert f"seed 7, {simulator}: every test passed" in result.stdout and str(waves) in result.stdout.replace("\n", "")
    assert waves.read_bytes().startswith(SIGNATURES[suffix]) and waves.stat().st_size > 1000
    document = read_document(record, "cocotb")
    assert document["passed"] and document["parameters"] == {"bits": 9, "depth": 4} and document["cycles"] > 1000
    assert {test["name"].partition("/")[0] for test in document["tests"]} == {"keeps_order"}


def test_a_failure_is_seen():
    """A queue of half the depth that its bench is told of."""
    text = to_verilog(Queue(12, depth=2))
    outcome = simulate(text, "sateen.testing.benches.queue", parameters={"bits": 12, "depth": 4}, seed=1)
    assert [test.name for test in outcome.failed] == ["holds_its_depth"]
    assert "assert 2 == 4" in outcome.log and len(outcome.tests) == 5


def test_a_failure_prints_the_line_that_repeats_it(monkeypatch):
    failed = TestOutcome(name="keeps_order/before=0.0", cycles=12, seconds=0.1, failure="assert [1] == [2]")
    outcome = Outcome(tests=(failed,), seed=3, log="")
    monkeypatch.setattr(Bench, "run", lambda *_, **__: outcome)
    result = CliRunner().invoke(app, ["cocotb", "queue", "--config", "depth=2", "--seed", "3", "-s", "icarus"])
    assert result.exit_code == 1 and "assert [1] == [2]" in result.output
    line = "sateen cocotb queue --config depth=2 --seed 3 --test keeps_order/before=0.0 --simulator icarus"
    assert f"repeat with: {line}" in result.output


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["tyle"], "'tyle' is no unit that has a bench (did you mean tile?)"),
        (["tile", "--config", "row=4"], "'row' is no field of the unit tile (did you mean rows?); by default they"),
        (["tile", "--config", "rows=x"], "rows must be a whole number, not 'x'"),
        (["tile", "--config", "rows"], "'rows' is no preset; there are micro, tiny"),
        (["tile", "--config", "rows=0"], "rows must be 1 or more, not 0"),
        (["tile", "--config", "pe=term", "--test", "slides"], "the test slides does not apply to tile"),
        (["queue", "--test", "keeps"], "queue has no test 'keeps' (did you mean keeps_order?); its tests are keeps"),
        (["queue", "--waves", "queue.wav"], "queue.wav is of no format of waveforms; name a file that ends in .fst or"),
        (["queue", "--simulator", "vcs"], "'vcs' is no simulator that benches run on; choose one of verilator, icarus"),
        (["--waves", "queue.fst"], "--waves needs a unit"),
    ],
)
def test_mistakes(arguments, message):
    result = CliRunner().invoke(app, ["cocotb", *arguments])
    assert isinstance(result.exception, (InputError, ValueError)) and message in str(result.exception)


def test_a_missing_simulator_is_named(tmp_path):
    """With how to install it."""
    result = cli("cocotb", "queue", "--simulator", "icarus", PATH=str(tmp_path))
    assert result.returncode == 1
    assert "icarus needs iverilog, which was not found; run: apt-get install iverilog" in result.stderr


@pytest.mark.parametrize("command", ["make SIM=icarus", "pytest test_runner.py -k verilator"])
def test_example(command, tmp_path):
    """The commands of its README, on a smaller accelerator than its own, for the time that it takes to build."""
    program, *arguments = command.split()
    assert f"\n{program} {arguments[0]}" in (EXAMPLE / "README.md").read_text()
    if program == "make":
        simulators("icarus")
    folder = shutil.copytree(EXAMPLE, tmp_path / "cocotb", ignore=shutil.ignore_patterns("sim_build", "__pycache__"))
    flags = "VM_PARALLEL_BUILDS=0 OPT_FAST=-O0 OPT_SLOW=-O0 OPT_GLOBAL=-O0"
    path = os.pathsep.join([str(Path(sys.executable).parent), os.environ["PATH"]])
    own = {"CONFIG": "micro", "MAKEFLAGS": flags, "OMP_NUM_THREADS": "1", "PATH": path}
    environment = {**os.environ, **objects.VARIABLE, **own}
    environment.pop("PYTEST_CURRENT_TEST", None)
    called = [sys.executable, "-m", "pytest"] if program == "pytest" else [program]
    result = subprocess.run([*called, *arguments], cwd=folder, env=environment, capture_output=True, text=True)
    said = {"make": r"TESTS=2 PASS=2 FAIL=0", "pytest": "1 passed"}[program]
    assert result.returncode == 0 and said in result.stdout, result.stdout[-5000:] + result.stderr[-2000:]
