"""The front end's entry: a PyTorch program as a graph."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from sateen.errors import CompileError
from sateen.frontends.onnx.file import OnnxModel, guarded
from sateen.frontends.onnx.importer import Importer, Operator
from sateen.frontends.onnx.operators import HANDLERS
from sateen.frontends.torch.functions import make_table, try_function
from sateen.frontends.torch.layers import LAYERS
from sateen.frontends.torch.moves import MOVES
from sateen.frontends.torch.program import Program, read
from sateen.frontends.torch.translator import FUNCTION, Handler, Translator
from sateen.graph import Graph

if TYPE_CHECKING:
    import torch

__all__ = ["graph", "is_torch", "load", "program", "translate"]

CALLS: dict[str, Handler] = {**LAYERS, **MOVES}
"""The handler of each operator that is no function of one value."""


def is_torch(source: object) -> bool:
    """Whether an object is a module or an exported program of PyTorch. Does not import torch."""
    torch = sys.modules.get("torch")
    return torch is not None and isinstance(source, torch.nn.Module | torch.export.ExportedProgram)


def program(source: Any, example_inputs: Sequence[Any] | torch.Tensor | None = None) -> Program:
    """An exported program's records; a module is exported with its example inputs.

    Raises
    ------
    CompileError
        If a module comes without example inputs, or is in training mode.
    GraphError
        If PyTorch cannot export it, or the program is none that is supported.
    """
    import torch

    if isinstance(source, torch.nn.Module):
        if example_inputs is None:
            raise CompileError("a PyTorch module is exported first: give example_inputs, a tensor or a tuple of them")
        if source.training and not isinstance(source, torch.fx.GraphModule):
            raise CompileError("the module is in training mode; call eval() on it")
        given = (example_inputs,) if isinstance(example_inputs, torch.Tensor) else tuple(example_inputs)
        with guarded("module", "PyTorch cannot export it", "see torch.export.export"), torch.no_grad():
            source = torch.export.export(source, given)
    with guarded("program", "it cannot be read", "export it anew"), torch.no_grad():
        return read(source)


def translate(source: Program, name: str = "") -> OnnxModel:
    """A program in the records of ONNX's front end; :class:`GraphError` names what is not supported."""
    import torch

    with torch.no_grad():
        return Translator(source, CALLS, try_function).model(name or "program")


def graph(model: OnnxModel) -> Graph:
    """The graph of a quantized program's records."""
    return Importer(model, model.name).graph({**HANDLERS, FUNCTION: Operator(make_table, (1,))})


def load(source: Any, example_inputs: Sequence[Any] | torch.Tensor | None = None, *, name: str = "") -> Graph:
    """A quantized PyTorch program as a graph.

    Integers are those of PyTorch's reference, which computes in float32 with dequantized values, as far as these are
    integers in disguise. Tables are PyTorch's own. Sums of products are exact here, so that the reference, which rounds
    each addition, may differ by one where a sum lies within its errors of a tie.

    Parameters
    ----------
    source
        An exported program, or a module such as ``convert_pt2e`` returns.
    example_inputs
        For a module: a tensor, or a tuple of them.
    """
    return graph(translate(program(source, example_inputs), name))
