"""Models from files: compiled ones as they are, others compiled for the configuration at hand."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from sateen.cli.output import status
from sateen.compiler import Model
from sateen.compiler import compile as compile_model
from sateen.errors import CompileError
from sateen.frontends import load
from sateen.graph import Graph
from sateen.hw.spec.config import Config
from sateen.kinds import is_model

__all__ = ["CONFIG", "MODEL", "Source", "load_model", "load_source"]

MODEL = "Compiled model (.sateen), or a quantized model or graph, which is compiled."
CONFIG = "For a model that is not compiled yet: PRESET[,field=value…]."


@dataclass(frozen=True, kw_only=True)
class Source:
    """What a model's file holds."""

    path: Path
    graph: Graph
    """Its inputs are those of the compiled model."""
    model: Model | None = None
    """The compiled model, if the file holds one."""

    def compiled(self, config: Config | str) -> Model:
        """The model as the file has it, or compiled for a configuration, with warnings about what the host runs."""
        if self.model is not None:
            return self.model
        with status(f"compiling {self.path}"):
            return compile_model(self.graph, config)


def load_source(path: Path) -> Source:
    """Reads a model's file.

    Raises
    ------
    SateenError
        If it holds no model, or one that must be quantized first.
    """
    if path.suffix == ".sateen" or is_model(path):
        model = Model.load(path)
        return Source(path=path, graph=model.graph, model=model)
    graph = load(path)
    if not isinstance(graph, Graph):
        raise CompileError(
            f"{path} is a float network; quantize it first: sateen quantize {path} --calibration X.npy -o NET.graph"
        )
    return Source(path=path, graph=graph)


def load_model(path: Path, config: Config | str) -> Model:
    """A compiled model, or one compiled here; raises as :func:`load_source` does."""
    return load_source(path).compiled(config)
