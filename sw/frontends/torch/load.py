"""The front end's entry: a PyTorch program as a graph."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

from sateen.errors import CompileError
from sateen.frontends import onnx
from sateen.frontends.onnx import OnnxModel, guarded
from sateen.frontends.onnx.importer import Operator
from sateen.frontends.onnx.operators import HANDLERS
from sateen.frontends.torch.functions import make_table, quantize, try_function
from sateen.frontends.torch.further import FURTHER
from sateen.frontends.torch.layers import LAYERS
from sateen.frontends.torch.moves import MOVES
from sateen.frontends.torch.program import Program, read
from sateen.frontends.torch.translator import FUNCTION, Handler, Translator
from sateen.graph import Array, Graph

if TYPE_CHECKING:
    import torch

__all__ = ["Translation", "graph", "is_torch", "load", "program", "translate"]

CALLS: dict[str, Handler] = {**LAYERS, **MOVES, **FURTHER}
"""The handler of each operator that is no function of one value."""


OTHERS = {FUNCTION: Operator(make_table, (1,)), "QuantizeLinear": replace(HANDLERS["QuantizeLinear"], handler=quantize)}
"""What ONNX's front end does otherwise here."""


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
            # For one item: a free batch takes PyTorch several times as long.
            source = torch.export.export(source, tuple(part[:1] for part in given))
    with guarded("program", "it cannot be read", "export it anew"), torch.no_grad():
        return read(source)


@dataclass(frozen=True, kw_only=True)
class Translation:
    """A program, and the records of ONNX's front end for it."""

    program: Program
    model: OnnxModel
    names: dict[Any, str | tuple[str, ...]]
    """The model's names of what the program's calls return."""

    @property
    def batch(self) -> int:
        """The size of the first axis of the program's inputs; 0 if it is free."""
        return self.program.batch

    def run(self, inputs: Sequence[Array]) -> dict[str, Array]:
        """Every real tensor for some items, by its name in the model."""
        import torch

        class Recorder(torch.fx.Interpreter):
            """Keeps the results of calls."""

            def run_node(self, n: Any) -> Any:
                result = super().run_node(n)
                names = recorded.get(n, ())
                results = result if isinstance(result, list | tuple) else (result,)
                for name, value in zip((names,) if isinstance(names, str) else names, results, strict=False):
                    if isinstance(value, torch.Tensor) and value.dtype == torch.float32:
                        found[name] = value.detach().numpy()
                return result

        recorded, found = self.names, dict[str, Array]()
        given = {**self.program.constants}
        given |= {name: torch.from_numpy(part) for name, part in zip(self.program.inputs, inputs, strict=True)}
        order = [node.name for node in self.program.module.graph.nodes if node.op == "placeholder"]
        with guarded("calibration", "the program does not run on it", "give inputs in its layout"), torch.no_grad():
            Recorder(self.program.module).run(*(given[name] for name in order))
        return {name: values for name, values in found.items() if name not in self.program.constants}


def translate(source: Program, name: str = "") -> Translation:
    """A program in the records of ONNX's front end; :class:`GraphError` names what is not supported."""
    import torch

    with torch.no_grad():
        translator = Translator(source, CALLS, try_function)
        model = translator.model(name or "program")
    return Translation(program=source, model=model, names=translator.names)


def graph(model: OnnxModel) -> Graph:
    """The graph of a quantized program's records."""
    return onnx.graph(model, model.name, others=OTHERS)


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
    return graph(translate(program(source, example_inputs), name).model)
