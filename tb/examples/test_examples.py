"""The examples: every command of their READMEs, as it stands there, and what they say to bad input. Those of
``examples/cocotb`` run in ``tb/system/test_cocotb.py``."""

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

import needs
import objects
from sateen.sim import tools

EXAMPLES = Path(__file__).parents[2] / "examples"


def commands():
    """The blocks marked ``sh``, or ``bash`` where they take minutes: lines that run one after the other, by folder."""
    for readme in sorted(EXAMPLES.glob("*/README.md")):
        blocks = re.findall(r"^```(sh|bash)\n(.*?)^```", readme.read_text(), re.MULTILINE | re.DOTALL)
        for number, (language, block) in enumerate(blocks):
            marks = [pytest.mark.fpga] if language == "bash" else []
            yield pytest.param(readme.parent.name, block, id=f"{readme.parent.name}-{number}", marks=marks)


@pytest.fixture
def checkout(tmp_path):
    """A folder that looks like a checkout, in which builds leave nothing behind."""
    (tmp_path / "examples").symlink_to(EXAMPLES)
    return tmp_path


def environment(folder):
    """The project's Python, and its tools on the PATH."""
    path = os.pathsep.join([str(Path(sys.executable).parent), tools.environment()["PATH"]])
    own = {"PATH": path, "PYTHON": sys.executable, "BUILD": str(folder / "build"), "COLUMNS": "160"}
    return {**os.environ, **objects.VARIABLE, **own}


def promised(folder, command):
    """The lines that a README says its commands print, but for numbers."""
    text = (EXAMPLES / folder / "README.md").read_text()
    lines = re.findall(r"^(?:This is a \d|PASS:).*", text, re.MULTILINE)
    assert lines or folder not in ("c", "fusesoc", "litex")
    return ["24   MULT18X18D"] if "synth" in command else lines


@pytest.mark.parametrize(("folder", "command"), list(commands()))
def test_readme(folder, command, checkout):
    for package in ("fusesoc", "litex"):
        if folder == package:
            needs.package(package, extra="test")
    result = subprocess.run(
        f"set -e\n{command}", shell=True, cwd=checkout, env=environment(checkout), capture_output=True, text=True
    )
    assert result.returncode == 0, f"{result.stdout[-3000:]}\n{result.stderr[-3000:]}"
    for line in promised(folder, command):
        pattern = re.sub(r"\d+ cycles", r"\\d+ cycles", re.escape(line).replace(r"\ ", " "))
        assert re.search(pattern, result.stdout), line


def test_each_folder_says_what_it_shows():
    """What it is, a command, and what that prints."""
    for folder in (path for path in EXAMPLES.iterdir() if path.is_dir() and path.name != "__pycache__"):
        text = (folder / "README.md").read_text()
        assert text.startswith("# ") and re.search("^```", text, re.MULTILINE), folder


def generate(folder, *, python=None, **parameters):
    """Calls FuseSoC's generator as FuseSoC does."""
    lines = [
        "files_root: /x",
        "gapi: '1.0'",
        "parameters:",
        *(f"  {key}: {value}" for key, value in parameters.items()),
    ]
    (folder / "request.yml").write_text("\n".join([*lines, "vlnv: a:b:c-d:0.1.0"]))
    command = [sys.executable, EXAMPLES / "fusesoc" / "generate.py", "request.yml"]
    extra = {"SATEEN_PYTHON": str(python)} if python else {}
    return subprocess.run(command, cwd=folder, env={**os.environ, **extra}, capture_output=True, text=True)


def bare_python(folder):
    """A Python that has no packages."""
    python = folder / "bare"
    python.write_text(f'#!/bin/sh\nexec {sys.executable} -I -S "$@"\n')
    python.chmod(0o755)
    return python


def test_generator(tmp_path):
    result = generate(tmp_path, preset="'tiny,rows=5'", part="tile", name="left")
    assert result.returncode == 0, result.stderr
    assert "module left(" in (tmp_path / "left.v").read_text()
    assert (tmp_path / "a_b_c-d_0.1.0.core").read_text().startswith("CAPI=2:\n{")


@pytest.mark.parametrize(
    ("parameters", "message"),
    [
        ({"preset": "huge"}, "'huge' is no preset; there are micro, tiny, small, large"),
        ({"part": "wheel"}, "'wheel' is no part; there are"),
        ({"colour": "red"}, "'colour' is no parameter; there are preset, part, name"),
        ({"name": "module"}, "'module' names no Verilog module"),
    ],
)
def test_generator_errors(tmp_path, parameters, message):
    result = generate(tmp_path, **parameters)
    assert result.returncode == 1 and result.stderr.startswith("sateen generator: error: ")
    assert message in result.stderr and result.stderr.count("\n") == 1


def test_generator_refuses_a_second_of_the_same_name(tmp_path):
    """FuseSoC has a folder for each core and its parameters; one core may be generated anew with others."""
    for core, number, message in [("a_left", 1, ""), ("a_left", 2, ""), ("a_right", 3, "give each another name")]:
        (folder := tmp_path / f"{core}-{number}").mkdir()
        result = generate(folder, preset="micro", part="tile", name="left")
        assert (result.returncode == 1) is bool(message) and message in result.stderr
        assert result.stderr.count("\n") == bool(message)


def edalize_script(folder, **values):
    """The script for Yosys as Edalize writes it, and the commands that ``tools/yosys`` makes of it."""
    import jinja2

    tools = Path(needs.package("edalize.tools.yosys", extra="test").__file__).parent
    templates = jinja2.Environment(loader=jinja2.FileSystemLoader(tools / "templates" / "yosys"))
    given = {
        "verilog_defines": "{}", "file_table": "read_verilog {a b.v}", "top": "unit", "name": "core",
        "synth_command": "synth_ecp5", "write_command": "write_json", "output_format": "json",
    }  # fmt: skip
    for name, template in (("edalize_yosys_procs.tcl", "edalize_yosys_procs.tcl"), ("s.tcl", "yosys-script-tcl")):
        (folder / name).write_text(templates.get_template(f"{template}.j2").render(**given | values))
    return subprocess.run(
        [sys.executable, EXAMPLES / "fusesoc" / "tools" / "yosys", "-q", "-p", "tcl s.tcl"], cwd=folder,
        env={**os.environ, "SATEEN_PYTHON": "/bin/true"}, capture_output=True, text=True,
    )  # fmt: skip


def test_yosys_without_tcl(tmp_path):
    """What Edalize's procedures do, in their order; a Python that does nothing stands for the one that has YoWASP."""
    given = {
        "verilog_defines": "{{A 1} {B x}}", "verilog_params": "chparam -set W 3 unit", "incdirs": "-Iinc",
        "synth_options": "-nodram",
    }  # fmt: skip
    result = edalize_script(tmp_path, **given)
    assert result.returncode == 0, result.stderr
    assert (tmp_path / "edalize.ys").read_text().splitlines() == [
        "verilog_defaults -push", "verilog_defaults -add -defer", "verilog_defines -DA=1", "verilog_defines -DB=x",
        "verilog_defaults -add -Iinc", 'read_verilog "a b.v"', "chparam -set W 3 unit", "verilog_defaults -pop",
        "synth_ecp5 -nodram -top unit", "write_json core.json",
    ]  # fmt: skip
    result = edalize_script(tmp_path, file_table="source [x]")
    assert result.returncode == 1 and "'source [x]', for which a Yosys with Tcl is needed" in result.stderr


def test_generator_without_the_package(tmp_path):
    for python in (bare_python(tmp_path), tmp_path / "none"):
        result = generate(tmp_path, python=python)
        assert result.returncode == 1 and result.stderr.count("\n") == 1
        assert f"the package sateen is missing in {python}; install it" in result.stderr


LITEX = """
from pathlib import Path
from litex.build.sim import SimPlatform
from sateen_core import SateenCore
platform = SimPlatform("SIM", [])
for _ in range({count}):
    SateenCore(platform, preset="{preset}", folder=Path("build"))
"""


@pytest.mark.parametrize(
    ("count", "preset", "package", "message"),
    [
        (2, "micro", True, "SateenError: two accelerators are named 'sateen'; give each another name"),
        (1, "huge", True, "SateenError: sateen: error: 'huge' is no preset; there are micro, tiny"),
        (1, "tiny", False, "has no package sateen; install it there, or set SATEEN_PYTHON"),
    ],
)
def test_litex_errors(tmp_path, count, preset, package, message):
    needs.package("litex", extra="test")
    (tmp_path / "design.py").write_text(LITEX.format(count=count, preset=preset))
    python = sys.executable if package else str(bare_python(tmp_path))
    result = subprocess.run(
        [sys.executable, "design.py"], cwd=tmp_path, capture_output=True, text=True,
        env={**os.environ, "PYTHONPATH": str(EXAMPLES / "litex"), "SATEEN_PYTHON": python},
    )  # fmt: skip
    assert result.returncode == 1 and message in result.stderr.splitlines()[-1]
