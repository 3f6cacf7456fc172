"""The page of operators in the documentation is that of the registries."""

import importlib.util
import re
from pathlib import Path

import pytest

import needs
from sateen.frontends.onnx.operators import HANDLERS as ONNX
from sateen.frontends.tflite.handlers import HANDLERS as TFLITE

ROOT = Path(__file__).parents[2]
PAGE = ROOT / "docs" / "operators.md"


@pytest.fixture
def operators():
    """What makes the page, ``bench/operators.py``."""
    needs.package("onnx", extra="onnx")
    needs.package("onnxruntime", extra="reference")
    spec = importlib.util.spec_from_file_location("operators", ROOT / "bench" / "operators.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def check(page, made):
    changed = [line for line in made.splitlines() if line not in page.splitlines()]
    assert page == made, f"run `make docs-tables` and commit docs/operators.md; new are {changed[:5]}"


def test_page_is_up_to_date(operators, monkeypatch):
    """But for what files of ONNX are equal to: test_onnx_versions runs the same files beside onnxruntime."""
    equal_to = operators.equal_to
    monkeypatch.setattr(
        operators, "equal_to", lambda data, suffix, graph: () if suffix == ".onnx" else equal_to(data, suffix, graph)
    )
    page = PAGE.read_text()
    tflite, onnx = page.split("## ONNX")
    check(tflite + "## ONNX" + re.sub(r"(?m)^(\| .* \|) (onnxruntime.*|–) \|$", r"\1 – |", onnx), operators.page())
    for kind in (*TFLITE, *ONNX):
        assert f"| {kind} |" in page


@pytest.mark.prove
def test_page_is_whole(operators):
    check(PAGE.read_text(), operators.page())
