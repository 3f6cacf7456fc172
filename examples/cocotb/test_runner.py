"""The same bench from pytest: ``pytest test_runner.py``."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from sateen.sim.errors import SimulationError
from sateen.testing import runner

HERE = Path(__file__).parent
CONFIG = os.environ.get("CONFIG", "tiny")


@pytest.fixture(scope="session")
def made(tmp_path_factory):
    """A folder with the model and the accelerator's Verilog."""
    folder = tmp_path_factory.mktemp("made")
    part = ["--preset", CONFIG, "--part", "accelerator-axi", "-o", "sateen.v"]
    subprocess.run([sys.executable, "-m", "sateen.cli", "verilog", *part], cwd=folder, check=True)
    subprocess.run([sys.executable, HERE / "model.py", CONFIG], cwd=folder, check=True)
    return folder


@pytest.mark.parametrize("simulator", ["verilator", "icarus"])
def test_classifier(made, simulator):
    try:
        run = runner(simulator)
    except SimulationError as error:
        pytest.skip(f"needs {simulator}: {error}")
    run.build(
        sources=[HERE / "classifier.v", made / "sateen.v"],
        includes=[made],
        hdl_toplevel="classifier",
        build_dir=made / simulator,
        build_args=["-Wno-fatal", "-Wno-lint"] if simulator == "verilator" else [],
        timescale=("1ns", "1ps"),
    )
    run.test(
        hdl_toplevel="classifier", test_module="test_classifier", test_dir=made, seed=1,
        extra_env={"PYTHONPATH": os.pathsep.join([str(HERE), *sys.path])},
    )  # fmt: skip
