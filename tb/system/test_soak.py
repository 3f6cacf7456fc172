"""Random tests with fresh seeds: every kind runs, and a seed repeats its run."""

import subprocess
import sys
from pathlib import Path

import needs
from soak import KINDS

SOAK = Path(__file__).parents[1] / "soak.py"


def soak(*arguments):
    return subprocess.run([sys.executable, SOAK, *arguments], capture_output=True, text=True)


def test_every_kind_runs():
    """One round of all kinds, with one seed."""
    needs.package("onnxruntime", extra="reference")
    needs.package("tflite_micro", extra="reference")
    result = soak("--seed", "3")
    assert result.returncode == 0, result.stdout + result.stderr
    for kind in KINDS:
        assert any(kind in line and " 1 " in line for line in result.stdout.splitlines()), result.stdout


def test_unknown_kind():
    result = soak("nothing")
    assert result.returncode == 2 and "'nothing' is no kind; there are tflite-networks" in result.stderr
