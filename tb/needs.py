"""Packages, programs and models that some tests need. Without them a test is skipped with a reason that says how to get
them."""

from __future__ import annotations

import os
import shutil
from pathlib import Path
from typing import Any

import pytest

from sateen.extras import install_hint

MODELS = Path(os.environ.get("SATEEN_MODELS", Path(__file__).parents[2] / "shared" / "models"))


def package(name: str, *, extra: str) -> Any:
    """The module ``name`` of a package in one of the project's extras."""
    return pytest.importorskip(name, reason=f"needs {name.partition('.')[0]}; {install_hint(extra)}")


def programs(*names: str, packages: str) -> list[str]:
    """The paths of system programs; ``packages`` are the Debian packages that have them."""
    found = [path for name in names if (path := shutil.which(name))]
    if len(found) < len(names):
        pytest.skip(f"needs {' and '.join(names)}; apt-get install {packages}")
    return found


def models() -> Path:
    """The folder of public models and of their results by the reference interpreters."""
    if not MODELS.is_dir():
        pytest.skip(f"needs the reference models in {MODELS}; set SATEEN_MODELS to their folder")
    return MODELS
