"""Translates the calls of an exported program into ONNX's operators, whose front end makes the graph.

A value of the program keeps its name. Real values that a DequantizeLinear makes, moved or not, are *plain*; what is
computed from one of them value by value is a *function* of it (``functions.py``), however many calls that takes.
"""

from __future__ import annotations

import dataclasses
import operator
from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from sateen.frontends.onnx.file import Node, OnnxModel
from sateen.frontends.onnx.making import Maker
from sateen.frontends.onnx.schemas import Attribute, Schema
from sateen.frontends.torch.program import Call, Program
from sateen.graph import Array, GraphError, require

if TYPE_CHECKING:
    import torch

__all__ = ["FUNCTION", "Function", "Handler", "Numbers", "TorchNode", "Translator", "registers"]

FUNCTION = "torch.Function"
"""The kind of nodes that stand for functions: ``function`` is the callable, ``title`` its name for people."""
Handler = Callable[["Translator", Call], "str | tuple[str, ...]"]
"""Makes the nodes for a call. Returns the names of its results."""
IGNORED = ("aten._assert_tensor_metadata.default", "aten._assert_scalar.default", "aten.sym_size.int",
           "aten.sym_constrain_range_for_size.default", "<built-in function eq>", "<built-in function ge>",
           "<built-in function le>", "<built-in function mul>", "<built-in function add>")  # fmt: skip
"""Calls that check or compute sizes only."""
UNROLLED = ("aten.gru.", "aten.lstm.", "aten.rnn_")
"""How calls begin that quantizing a float ONNX model here replaces."""
UNROLL = "export the float module to ONNX, and give that to sateen quantize, which unrolls it"


@dataclass(frozen=True)
class Numbers:
    """A quantization as the program has it."""

    scale: float
    zero_point: int
    dtype: str
    """``"int8"`` or ``"uint8"``."""
    reciprocal: float
    """That of the scale, which PyTorch takes before it rounds both to float32."""


@dataclass(frozen=True, kw_only=True)
class TorchNode(Node):
    """An operator that stands for a call of a program."""

    call: str
    """The operator that is called."""
    reciprocal: float = 0.0
    """What real numbers are multiplied by to be quantized."""

    def __str__(self) -> str:
        return f"operator {self.name!r} ({self.call})"


@dataclass(frozen=True)
class Function:
    """A value that is computed from another, value by value."""

    base: str
    """The name of the value that it is a function of."""
    apply: Callable[[torch.Tensor], torch.Tensor]


class Translator:
    """Builds the nodes of a model. Handlers of calls add to it.

    Parameters
    ----------
    handlers
        By the operators' names.
    function
        Is asked first: it returns the name of a call's result if that is a function of one value.
    """

    def __init__(
        self, program: Program, handlers: dict[str, Handler], function: Callable[[Translator, Call], str | None]
    ):
        self.program, self.handlers, self.function = program, handlers, function
        self.tensors: dict[str, torch.Tensor] = dict(program.constants)
        """Constants of the program, and what is computed from them alone."""
        self.constants: dict[str, Array] = {}
        self.nodes: list[Node] = []
        self.names: dict[torch.fx.Node, str | tuple[str, ...]] = {}
        self.plain: dict[str, Numbers] = {}
        """Quantization of real values that are dequantized codes, moved or not."""
        self.functions: dict[str, Function] = {}
        self.dequantized: dict[tuple[str, Numbers], str] = {}
        self.maker = Maker("torch")
        self.maker.schemas[FUNCTION] = Schema(1, {name: Attribute("STRING") for name in ("function", "title")})

    def model(self, name: str) -> OnnxModel:
        """The whole program as a model."""
        for node in self.program.module.graph.nodes:
            if node.op == "placeholder":
                self.names[node] = node.name
            elif node.op == "call_function" and str(node.target) not in IGNORED:
                self._translate(node)
        outputs = tuple(self.name(node) for node in self.program.outputs)
        for output in outputs:
            require(output not in self.tensors, f"tensor {output!r}", "it is a constant; return what is computed")
        nodes = _needed(self.nodes, outputs)
        read = {name for node in nodes for name in node.inputs}
        for missing in (read & self.tensors.keys()) - self.constants.keys():
            self.constants[missing] = self.tensors[missing].numpy()
        constants = {name: value for name, value in self.constants.items() if name in read}
        return OnnxModel(name=name, nodes=nodes, constants=constants, inputs=self._inputs(), outputs=outputs)

    def _inputs(self) -> dict[str, tuple[str, tuple[int, ...]]]:
        kinds = {"torch.float32": "FLOAT", "torch.int8": "INT8", "torch.uint8": "UINT8"}
        inputs = {}
        for node in self.program.module.graph.nodes:
            if node.op == "placeholder" and node.name in self.program.inputs:
                dtype = str(node.meta["val"].dtype)
                inputs[node.name] = kinds.get(dtype, dtype), self.shape(node)
        return inputs

    def shape(self, node: torch.fx.Node) -> tuple[int, ...]:
        """A tensor's shape; only the batch may be free, and is 1."""
        shape = node.meta["val"].shape
        fixed = all(isinstance(size, int) for size in shape[1:])
        require(len(shape) > 0 and fixed, f"tensor {node.name!r}", "only its first axis may be free; export it anew")
        return tuple(size if isinstance(size, int) else 1 for size in shape)

    def _translate(self, node: torch.fx.Node) -> None:
        if node.target is operator.getitem:
            source, place = node.args
            parts = self.names[source]  # type: ignore[index]
            good = isinstance(parts, tuple)
            require(good, f"operator {node.name!r}", f"{source} has no parts; export it anew")
            good = isinstance(place, int) and place < len(parts)
            require(good, f"operator {node.name!r}", f"result {place} of {source} is not supported; use the first only")
            self.names[node] = parts[place]  # type: ignore[index]
            return
        call = Call(node)
        if self._fold(call):
            return
        made = self.function(self, call)
        if made is not None:
            self.names[node] = made
            return
        handler = self.handlers.get(call.kind)
        if handler is None:
            unrolled = call.kind.startswith(UNROLLED)
            remedy = UNROLL if unrolled else "export the model without it, or split it off"
            raise GraphError(f"{call}: {call.kind} is not supported; {remedy}")
        self.names[node] = handler(self, call)
        call.finish()

    def _fold(self, call: Call) -> bool:
        """Computes a call on constants alone. Codes that are dequantized stay codes."""
        sources = [self.names.get(node) for node in call.node.all_input_nodes]
        good = all(isinstance(name, str) and name in self.tensors for name in sources)
        tensors = hasattr(call.node.meta.get("val"), "shape")
        if not good or not tensors or "dequantize" in call.kind:
            return False
        args, kwargs = _mapped(call.node.args, self), _mapped(call.node.kwargs, self)
        self.tensors[call.node.name] = call.node.target(*args, **kwargs)  # type: ignore[operator]
        self.names[call.node] = call.node.name
        return True

    def name(self, node: torch.fx.Node) -> str:
        """The name of a value."""
        name = self.names[node]
        require(isinstance(name, str), f"operator {node.name!r}", "it has several results; choose one")
        assert isinstance(name, str)
        return name

    def tensor(self, node: Any) -> torch.Tensor | None:
        """A constant; ``None`` if the value is computed at run time or codes stand for it."""
        name = self.names.get(node)
        return self.tensors.get(name) if isinstance(name, str) else None

    def emit(self, call: Call, kind: str, inputs: list[str], output: str = "", **attributes: Any) -> str:
        """Adds an operator with one result: the call's own, or another whose name begins with the call's."""
        output = output or call.node.name
        node = self.maker.node(kind, output, inputs, [output], **attributes)
        fields = {field.name: getattr(node, field.name) for field in dataclasses.fields(node)}
        self.nodes.append(TorchNode(**fields, call=call.kind))
        return output

    def constant(self, name: str, values: Any) -> str:
        """Adds a constant."""
        self.constants[name] = np.asarray(values)
        return name

    def moved(self, call: Call, source: str, result: str) -> str:
        """Notes that ``result`` has the values of ``source`` in other places."""
        if source in self.plain:
            self.plain[result] = self.plain[source]
        return result

    def quantize(self, call: Call, source: str, numbers: Numbers, output: str) -> str:
        """Adds codes of a real value."""
        name = self.emit(call, "QuantizeLinear", [source, *self._numbers(output, numbers)], output)
        node = self.nodes[-1]
        assert isinstance(node, TorchNode)
        self.nodes[-1] = dataclasses.replace(node, reciprocal=numbers.reciprocal)
        return name

    def dequantize(self, call: Call, source: str, numbers: Numbers, output: str) -> str:
        """Adds the real values of codes. They are made once, however many calls do so."""
        key = source, numbers
        if key not in self.dequantized:
            made = self.emit(call, "DequantizeLinear", [source, *self._numbers(output, numbers)], output)
            self.dequantized[key], self.plain[made] = made, numbers
        return self.dequantized[key]

    def _numbers(self, name: str, numbers: Numbers) -> list[str]:
        scale = self.constant(f"{name}.scale", np.float32(numbers.scale))
        return [scale, self.constant(f"{name}.zero_point", np.dtype(numbers.dtype).type(numbers.zero_point))]


def _mapped(value: Any, translator: Translator) -> Any:
    if isinstance(value, dict):
        return {key: _mapped(item, translator) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [_mapped(item, translator) for item in value]
    tensor = translator.tensor(value) if hasattr(value, "op") else None
    return value if tensor is None else tensor


def _needed(nodes: list[Node], outputs: tuple[str, ...]) -> tuple[Node, ...]:
    """The nodes without those whose results nobody reads."""
    wanted, kept = set(outputs), []
    for node in reversed(nodes):
        if wanted.intersection(node.outputs):
            kept.append(node)
            wanted.update(node.inputs)
    return tuple(reversed(kept))


def registers(table: dict[str, Handler]) -> Callable[..., Callable[[Handler], Handler]]:
    """A decorator that registers a handler in a table under the operators' names."""

    def handles(*kinds: str) -> Callable[[Handler], Handler]:
        def register(function: Handler) -> Handler:
            table.update(dict.fromkeys(kinds, function))
            return function

        return register

    return handles
