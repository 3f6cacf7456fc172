"""Models from files: compiled ones as they are, others compiled for the configuration at hand."""

from __future__ import annotations

from pathlib import Path

from sateen.cli.output import status
from sateen.compiler import Model
from sateen.compiler import compile as compile_model
from sateen.hw.spec.config import Config
from sateen.kinds import is_model

__all__ = ["CONFIG", "is_compiled", "load_model"]

CONFIG = "For a model that is not compiled yet: PRESET[,field=value…]."


def load_model(path: Path, config: Config | str) -> Model:
    """A compiled model, or one compiled here from a quantized model's file.

    Raises
    ------
    SateenError
        If the file holds no model.
    """
    if is_compiled(path):
        return Model.load(path)
    with status(f"compiling {path}"):
        return compile_model(path, config)


def is_compiled(path: Path) -> bool:
    """Whether a file holds a compiled model, or should by its name."""
    return path.suffix == ".sateen" or is_model(path)
