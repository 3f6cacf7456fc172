"""Random tests with fresh seeds: every kind runs, and a seed repeats its run."""

import importlib
import subprocess
import sys
import time
from pathlib import Path

import pytest
import typer

import needs
from soak import KINDS, main

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


def test_summary_when_ended():
    command = [sys.executable, SOAK, "mutated-npz", "--seconds", "600", "--seed", "4"]
    process = subprocess.Popen(command, stdout=subprocess.PIPE, text=True)
    assert process.stdout.readline() == "first seed 4\n"
    process.terminate()
    output = process.communicate(timeout=300)[0]
    assert process.returncode == 0 and "mutated-npz" in output and "most memory" in output, output


def test_unknown_kind():
    result = soak("nothing")
    assert result.returncode == 2 and "'nothing' is no kind; there are tflite-networks" in result.stderr


def test_count_and_hangs(monkeypatch, capsys):
    """Each kind has as many rounds as were asked for; one that does not end is a failure, with the line that repeats
    it."""
    monkeypatch.setattr("soak.KINDS", {"quick": str, "slow": lambda seed: time.sleep(2 * seed)})
    monkeypatch.setattr("soak.HANG_SECONDS", 1)
    main(kinds=["quick"], count=1200, seed=0)
    assert "1,200" in capsys.readouterr().out
    with pytest.raises(typer.Exit):
        main(kinds=["quick", "slow"], count=30, seed=0)
    output = capsys.readouterr().out
    assert "Hangs: no end after 1 s" in output and "tb/soak.py slow --seed 1" in output


def test_record(monkeypatch, tmp_path):
    """What came out is entered into the measured figures, failures too."""
    monkeypatch.syspath_prepend(SOAK.parents[1] / "bench")
    results = importlib.import_module("results")
    monkeypatch.setattr(results, "FILE", tmp_path / "bench" / "results.json")
    results.FILE.parent.mkdir()
    results.write([])
    monkeypatch.setattr("soak.KINDS", {"good": lambda seed: "equal", "bad": lambda seed: f"equal{1 // (3 - seed)}"})
    main(kinds=["good"], count=5, seed=0, record=True)
    with pytest.raises(typer.Exit):
        main(kinds=["bad"], count=5, seed=0, record=True)
    good, bad = results.of_kind("soak")
    assert (good["name"], good["rounds"], good["wrong"], good["hangs"], good["outcomes"]) == (
        "good",
        5,
        0,
        0,
        {"equal": 5},
    )
    assert (bad["name"], bad["rounds"], bad["wrong"], bad["hangs"]) == ("bad", 4, 1, 0)


def test_a_run_that_is_ended_is_no_record(monkeypatch, tmp_path, capsys):
    """Nor does it take the place of another."""
    monkeypatch.syspath_prepend(SOAK.parents[1] / "bench")
    results = importlib.import_module("results")
    monkeypatch.setattr(results, "FILE", tmp_path / "bench" / "results.json")
    results.FILE.parent.mkdir()
    results.write([])

    def ended(seed):
        if seed == 3:
            raise KeyboardInterrupt
        return "equal"

    monkeypatch.setattr("soak.KINDS", {"kind": ended})
    main(kinds=["kind"], count=2, seed=0, record=True)
    before = results.of_kind("soak")
    main(kinds=["kind"], count=5, seed=0, record=True)
    assert "not recorded: the run was ended" in capsys.readouterr().out
    assert results.of_kind("soak") == before and before[0]["rounds"] == 2 and before[0]["commit"] == results.commit()
