"""The distribution: what a wheel installs, without a checkout beside it, is a working Sateen."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
import tarfile
import venv
import zipfile
from pathlib import Path

import pytest

import needs
from making.examples import ANYTHING, matches

CHECKOUT = Path(__file__).parents[2]
README = CHECKOUT / "README.md"


def run(*command, folder, **environment):
    """A command's output; its messages stand in the failure."""
    outside = {name: value for name, value in os.environ.items() if name not in ("PYTHONPATH", "VIRTUAL_ENV")}
    result = subprocess.run(
        [str(part) for part in command], cwd=folder, env=outside | environment, capture_output=True, text=True
    )
    assert result.returncode == 0, f"{command}\n{result.stdout}\n{result.stderr}"
    return result.stdout


@pytest.fixture(scope="module")
def archives(tmp_path_factory):
    """The sdist, and the wheel that is made from it."""
    folder = tmp_path_factory.mktemp("dist")
    run(sys.executable, "-m", "build", "--outdir", folder, CHECKOUT, folder=folder)
    (sdist,), (wheel,) = folder.glob("sateen-*.tar.gz"), folder.glob("sateen-*.whl")
    return sdist, wheel


@pytest.fixture(scope="module")
def installed(archives, tmp_path_factory):
    """The folder of the commands of a fresh environment that has the wheel, with the extras ``cocotb`` and ``demo``."""
    folder = tmp_path_factory.mktemp("environment")
    venv.create(folder, with_pip=False)
    pip = [sys.executable, "-m", "pip", "--python", folder / "bin" / "python", "--disable-pip-version-check"]
    # Modules are compiled when they are imported: most of them never are.
    run(*pip, "install", "--quiet", "--no-compile", f"{archives[1]}[cocotb,demo]", folder=folder)
    return folder / "bin"


def test_sdist_holds_the_sources(archives):
    with tarfile.open(archives[0]) as archive:
        names = {Path(*Path(name).parts[1:]).as_posix() for name in archive.getnames()}
    assert {"pyproject.toml", "README.md", "LICENSE", "sw/__init__.py", "hw/spec/config.py"} <= names


def test_wheel_holds_every_file(archives):
    """Pages, headers and tables too, which the project's file names one by one."""
    with zipfile.ZipFile(archives[1]) as archive:
        held = set(archive.namelist())
    for folder, package in (("sw", "sateen"), ("hw", "sateen/hw"), ("sim", "sateen/sim"), ("fpga", "sateen/fpga")):
        for path in (CHECKOUT / folder).rglob("*"):
            if path.is_file() and "__pycache__" not in path.parts:
                assert f"{package}/{path.relative_to(CHECKOUT / folder).as_posix()}" in held


def test_package_comes_from_the_wheel(installed, tmp_path):
    where = run(installed / "python", "-c", "import sateen; print(sateen.__file__)", folder=tmp_path)
    assert Path(where.strip()).is_relative_to(installed.parent)


def test_doctor(installed, tmp_path):
    assert "Verilator" in run(installed / "sateen", "doctor", folder=tmp_path)


def test_verilog(installed, tmp_path):
    run(installed / "sateen", "verilog", "--preset", "tiny", "-o", "tiny.v", folder=tmp_path)
    assert "module sateen" in (tmp_path / "tiny.v").read_text()


def test_cocotb(installed, tmp_path):
    """A bench and its waveform, without a checkout. Icarus builds in no time; Verilator serves :func:`test_demo`."""
    needs.programs("iverilog", packages="iverilog")
    options = ["--seed", "1", "--simulator", "icarus", "--waves", "queue.fst"]
    printed = run(installed / "sateen", "cocotb", "queue", *options, folder=tmp_path)
    assert "every test passed" in printed and (tmp_path / "queue.fst").stat().st_size > 1000


def test_demo(installed, tmp_path):
    """It prints what the README shows, but for the simulation's speed. A few bytes more are escaped on the link,
    depending on the session's random number."""
    shown = re.search(r"^The demonstration prints:\n\n```text\n(.*?)^```", README.read_text(), re.MULTILINE | re.DOTALL)
    expected = re.sub(r"(?m)^( +simulation +).*", rf"\1{ANYTHING}", shown[1])
    number = r"\d+(?= bytes over the link)"
    printed = run(installed / "sateen", "demo", "--json", "demo.json", folder=tmp_path)
    few, found = (int(re.search(number, text)[0]) for text in (expected, printed))
    assert few <= found <= few + 8
    expected = re.sub(number, str(found), expected)
    assert matches(f"{expected}{ANYTHING}", printed), f"the README shows:\n{expected}\nprinted:\n{printed}"
    assert json.loads((tmp_path / "demo.json").read_text())
