"""PyTorch programs that tests share: quantized by PT2E, run by PyTorch, and compared with graphs call by call."""

from __future__ import annotations

import importlib
import logging
import warnings
from dataclasses import dataclass, field
from typing import Any

import numpy as np

import needs
from sateen.frontends.torch import load, program
from sateen.graph import Graph

torch = needs.package("torch", extra="torch")
importlib.import_module("torch.ao.quantization.fx._decomposed")  # Registers the operators of PT2E.
OPS = torch.ops.quantized_decomposed
QUANTIZE = "quantized_decomposed.quantize_per_tensor.default"


def quantized(module: Any, batches: list[Any], *, dynamic: bool = False) -> Any:
    """A module quantized by torchao's XNNPACK quantizer: int8, symmetric weights with a scale for each channel."""
    logging.getLogger("torchao").setLevel(logging.ERROR)
    needs.package("torchao", extra="test")
    with warnings.catch_warnings(action="ignore"):
        from torchao.quantization.pt2e.quantize_pt2e import convert_pt2e, prepare_pt2e
        from torchao.testing.pt2e._xnnpack_quantizer import XNNPACKQuantizer, get_symmetric_quantization_config

        shapes = ({0: torch.export.Dim("batch", min=1, max=64)},) if dynamic else None
        exported = torch.export.export(module, (batches[0],), dynamic_shapes=shapes)
        quantizer = XNNPACKQuantizer().set_global(get_symmetric_quantization_config(is_per_channel=True))
        prepared = prepare_pt2e(exported.module(), quantizer)
        for batch in batches:
            prepared(batch)
        return torch.export.export(convert_pt2e(prepared), (batches[0],), dynamic_shapes=shapes)


@dataclass
class Comparison:
    """How a graph's codes compare with PyTorch's reference, given the reference's own codes as operands."""

    values: int = 0
    different: int = 0
    """Codes that are not the reference's."""
    unexplained: list[str] = field(default_factory=list)
    """Codes that are not what exact arithmetic rounds to, though it is not near a tie."""


class _Reference(torch.fx.Interpreter):
    """Runs a program in float32, and each call a second time in float64 on the same codes."""

    def __init__(self, exported: Any):
        self.program = program(exported)
        super().__init__(self.program.module)
        self.codes: dict[str, np.ndarray] = {}
        self.exact: dict[str, np.ndarray] = {}
        self.wide: dict[Any, Any] = {}

    def run_on(self, *inputs: np.ndarray) -> Any:
        """The program's results for one item."""
        given = {**self.program.constants}
        given |= {name: torch.from_numpy(x) for name, x in zip(self.program.inputs, inputs, strict=True)}
        places = [node.name for node in self.program.module.graph.nodes if node.op == "placeholder"]
        with torch.no_grad():
            return self.run(*(given[name] for name in places))

    def run_node(self, n: Any) -> Any:
        result = super().run_node(n)
        if n.op == "placeholder":
            wide = result
        elif str(n.target) == QUANTIZE:
            scale, zero_point, low, high = n.args[1:5]
            real = self._wide(n.args[0]).double() / float(np.float32(scale)) + zero_point
            self.codes[n.name], self.exact[n.name] = result.numpy(), real.clamp(low, high).numpy()
            wide = result
        elif n.op == "call_function":
            args = torch.fx.node.map_arg(n.args, self._widened)
            wide = n.target(*args, **torch.fx.node.map_arg(n.kwargs, self._widened))
            if "dequantize" in str(n.target):
                codes = args[0].double()
                if "per_channel" in str(n.target):
                    shape = [-1 if axis == n.args[3] else 1 for axis in range(codes.dim())]
                    wide = (codes - args[2].double().reshape(shape)) * args[1].double().reshape(shape)
                else:
                    wide = (codes - args[2]) * float(np.float32(args[1]))
        else:
            wide = result
        self.wide[n] = wide
        return result

    def _wide(self, node: Any) -> Any:
        return self.wide[node]

    def _widened(self, node: Any) -> Any:
        value = self.wide[node]
        floats = isinstance(value, torch.Tensor) and value.dtype == torch.float32
        return value.double() if floats and not _parameter_of_codes(node) else value


def _parameter_of_codes(node: Any) -> bool:
    """Whether a constant states scales of codes."""
    return any("quantized_decomposed" in str(user.target) for user in node.users) and node.op == "placeholder"


def compare(exported: Any, graph: Graph, *inputs: np.ndarray, slack: float = 1e-4) -> Comparison:
    """Compares every operator's codes with PyTorch's, operand by operand.

    Each operator of the graph computes from the reference's codes of its operands, so that differences do not add up.
    ``slack`` is how near to a tie, in steps of a code, exact arithmetic may lie where codes differ; a bias that is
    rounded to the accumulator's step adds half of that step.
    """
    reference, found = _Reference(exported), Comparison()
    for items in zip(*inputs, strict=True):
        reference.run_on(*(item[None] for item in items))
        values: dict[str, np.ndarray] = {}
        for name, item in zip(graph.inputs, items, strict=True):
            values[name] = graph.tensors[name].from_file(item[None])
        for op in graph.ops:
            values[op.output] = result = op.execute(graph.tensors, values)
            tensor = graph.tensors[op.output]
            expected = reference.codes.get(op.output)
            if expected is None:
                continue
            mine = tensor.to_file(result)
            wrong = mine != expected
            found.values += wrong.size
            found.different += int(wrong.sum())
            margin = slack + _bias_margin(graph, op)
            off = np.abs(mine - reference.exact[op.output]) > 0.5 + margin
            if off.any():
                found.unexplained.append(f"{op}: {int(off.sum())} of {off.size}")
            values[op.output] = tensor.from_file(expected)
    return found


def _bias_margin(graph: Graph, op: Any) -> float:
    """Half a step of the accumulator in steps of the result, at most."""
    if getattr(op, "bias", None) is None:
        return 0.0
    ratios = np.asarray(op.multiplier, np.float64) * 2.0 ** (np.asarray(op.shift, np.float64) - 31)
    return 0.5 * float(ratios.max())


def coded(x: Any, scale: float, zero_point: int, low: int = -128, high: int = 127, dtype: Any = None) -> Any:
    """Codes of a real value, dequantized again: what PT2E puts around every operator."""
    numbers = (scale, zero_point, low, high, dtype or torch.int8)
    return OPS.dequantize_per_tensor(OPS.quantize_per_tensor(x, *numbers), *numbers)


class Unary(torch.nn.Module):
    """A function between quantized values."""

    def __init__(self, function, scale):
        super().__init__()
        self.function, self.scale = function, scale

    def forward(self, x):
        return coded(self.function(coded(x, 0.03, 5)), self.scale, -7)


class Binary(torch.nn.Module):
    """An operator on two tensors of different quantization."""

    def __init__(self, function, scale):
        super().__init__()
        self.function, self.scale = function, scale

    def forward(self, a, b):
        return coded(self.function(coded(a, 0.03, 5), coded(b, 0.021, -9)), self.scale, 11)


def loaded(module, *shape, count=2):
    """A module's program, its graph, and inputs that are codes of its first quantization."""
    exported = torch.export.export(module.eval(), (torch.zeros(1, *shape),))
    rng = np.random.default_rng(0)
    x = ((rng.integers(-128, 128, (count, *shape)) - 5) * np.float32(0.03)).astype(np.float32)
    with warnings.catch_warnings(action="ignore"):
        return exported, load(exported), x
