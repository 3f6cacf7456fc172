"""The notebooks run from the first cell to the last, with small counts."""

import pytest

import needs
from making.notebooks import FOLDER


@pytest.mark.parametrize("name", sorted(path.name for path in FOLDER.glob("*.ipynb")))
def test_notebook(name, monkeypatch):
    needs.package("nbclient", extra="docs")
    needs.package("torch", extra="torch")
    from making.run_notebooks import execute

    monkeypatch.setenv("SATEEN_NOTEBOOK_ITEMS", "8")
    monkeypatch.setenv("SATEEN_NOTEBOOK_EPOCHS", "1")
    notebook = execute(FOLDER / name)
    cells = [cell for cell in notebook.cells if cell.cell_type == "code"]
    assert cells and all(cell.execution_count for cell in cells)
    assert any(cell.outputs for cell in cells[-1:])
