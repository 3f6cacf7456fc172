"""The page of operators in the documentation is that of the registries."""

import importlib.util
from pathlib import Path

import needs
from sateen.frontends.onnx.operators import HANDLERS as ONNX
from sateen.frontends.tflite.handlers import HANDLERS as TFLITE

ROOT = Path(__file__).parents[2]


def test_page_is_up_to_date():
    needs.package("onnx", extra="onnx")
    needs.package("onnxruntime", extra="reference")
    spec = importlib.util.spec_from_file_location("operators", ROOT / "bench" / "operators.py")
    operators = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(operators)
    page = (ROOT / "docs" / "operators.md").read_text()
    made = operators.page()
    changed = [line for line in made.splitlines() if line not in page.splitlines()]
    assert page == made, f"run `make docs-tables` and commit docs/operators.md; new are {changed[:5]}"
    for kind in (*TFLITE, *ONNX):
        assert f"| {kind} |" in page
