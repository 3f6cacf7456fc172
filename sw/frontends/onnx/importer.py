"""Imports quantized ONNX models in QDQ and operator form, with onnxruntime's integers.

Tensors keep the file's names. Images are (N, H, W, C) in the graph, whatever their layout in the file. In QDQ form a
layer is made when its result is quantized; until then its result is :class:`~sateen.frontends.onnx.values.Deferred`.
"""

from __future__ import annotations

import warnings
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace

import numpy as np

from sateen.errors import SateenWarning
from sateen.frontends.onnx.builder import Builder
from sateen.frontends.onnx.file import Node, OnnxModel
from sateen.frontends.onnx.schemas import check_version
from sateen.frontends.onnx.values import (
    UNLIMITED,
    Deferred,
    Dequantized,
    MakeResult,
    Quantization,
    Value,
    stored,
)
from sateen.graph import (
    Array,
    Dequantize,
    Graph,
    GraphError,
    Tensor,
    require,
)

__all__ = ["Handler", "Importer", "Operator"]

Handler = Callable[["Importer", Node], None]
"""Makes the graph's operators for one operator of the file. It reads all attributes and inputs that matter before it
returns, also if it makes the operators later; what it leaves unread must be at its default."""


@dataclass(frozen=True)
class Operator:
    """How operators of one kind are imported."""

    handler: Handler
    versions: tuple[int, ...]
    """The versions of its definition that the handler implements, by the opsets that introduced them."""


class Importer(Builder):
    """Builds a graph. Handlers of operators add tensors and operators to it."""

    def __init__(self, model: OnnxModel, name: str):
        super().__init__({*model.constants, *model.inputs, *(name for node in model.nodes for name in node.outputs)})
        self.model, self.name = model, name
        self.values: dict[str, Value] = dict(model.constants)
        self._read = {*model.outputs, *(name for node in model.nodes for name in node.inputs if name)}
        self._rounded: dict[str, float] = {}

    def graph(self, operators: Mapping[str, Operator]) -> Graph:
        """The graph of the whole model. ``operators`` are by their kinds."""
        require(
            len(self.model.inputs) > 0 and len(self.model.outputs) > 0, "file", "its graph has no input or no output"
        )
        for node in self.model.nodes:
            if node.kind == "Constant":
                self._import(node, operators)
        for name, (kind, shape) in self.model.inputs.items():
            self.values[name] = self._input(name, kind, shape)
        for node in self.model.nodes:
            if node.kind != "Constant":
                self._import(node, operators)
        outputs = [self._output(name) for name in self.model.outputs]
        self._warn()
        return Graph(
            name=self.name, tensors=self.tensors, ops=self.ops, inputs=list(self.model.inputs), outputs=outputs
        )

    def rounds(self, node: Node, error: float) -> None:
        """Notes that an operator's constants are rounded: by how much its result differs for it, in steps."""
        if error > 0:
            self._rounded[str(node)] = max(error, self._rounded.get(str(node), 0.0))

    def _warn(self) -> None:
        if self._rounded:
            node, error = max(self._rounded.items(), key=lambda item: item[1])
            warnings.warn(
                f"{len(self._rounded)} layers have biases that are no whole numbers of their sums' units and are "
                f"rounded; {node} most, by {error:.2g} steps of its result",
                SateenWarning,
                stacklevel=5,
            )

    def _import(self, node: Node, operators: Mapping[str, Operator]) -> None:
        operator = operators.get(node.kind)
        known = operator is not None
        require(known, node, f"{node.kind} is not supported; export the model without it, or split it off")
        assert operator is not None
        schema = node.schema
        require(schema is not None, node, f"the file's opset has no {node.kind}; export the model with a later one")
        assert schema is not None
        check_version(node, schema, node.kind, operator.versions)
        require(len(node.outputs) > 0, node, "it has no output; export the model anew")
        operator.handler(self, node)
        node.check_used()
        for place, name in enumerate(node.outputs):
            missing = name in self._read and name not in self.values
            require(not missing, node, f"its output {place}, {name!r}, is not supported; export the model without it")

    def _input(self, name: str, kind: str, shape: tuple[int, ...]) -> Tensor:
        who = f"tensor {name!r}"
        require(
            kind in ("FLOAT", "INT8", "UINT8"),
            who,
            f"its type {kind} is not supported; give the model a float input or an int8 one",
        )
        if kind == "FLOAT":
            # The file may have channels last: then they are fewer than the rows.
            last = len(shape) == 4 and shape[3] < shape[1]
            return self.add_tensor(name, shape, Quantization(1.0, 0, False), dtype="float32", image=not last)
        return self.add_tensor(name, shape, self._input_quantization(name, kind.lower()), image=True)

    def _input_quantization(self, name: str, stored: str) -> Quantization:
        """The quantization of an integer input, which its first reader states."""
        for node in self.model.nodes:
            if name in node.inputs and (
                node.operator_form or node.kind.removeprefix("com.microsoft.") == "DequantizeLinear"
            ):
                # A copy: the operator's handler is to use its scale, too.
                found = self.quantization(replace(node, used=set()), node.inputs.index(name) + 1, stored)
                self.check_stored(node, name, stored == "uint8", found)
                return found
        raise GraphError(f"tensor {name!r}: no operator says its scale; give the model a float input")

    def _output(self, name: str) -> str:
        value = self.values.get(name)
        require(value is not None, "file", f"no operator makes its output {name!r}")
        if isinstance(value, Deferred) and value.inherited is not None:
            value = Dequantized(value.make(self.name_of(f"{name}.codes"), value.inherited, value.limits))
        if isinstance(value, Dequantized):
            x = value.tensor
            self.tensors[name] = Tensor(name=name, shape=x.shape, dtype="float32", file_layout=x.file_layout)
            self.ops.append(Dequantize(name=self.op_name(f"{name}.dequantize"), input=x.name, output=name))
            return name
        require(
            isinstance(value, Tensor), f"tensor {name!r}", "it is computed in float; quantize the whole model to int8"
        )
        assert isinstance(value, Tensor)
        return value.name

    def quantization(self, node: Node, place: int, stored: str = "uint8") -> Quantization:
        """The scale and the zero point at two consecutive places of an operator's inputs. The zero point's type is that
        of the codes, which is ``stored`` if it is left out."""
        scale, zero_point = self.constant(node, place), self.constant(node, place + 1, np.zeros((), stored))
        require(scale.size == 1 and zero_point.size == 1, node, "activations must have one scale for all channels")
        require(
            zero_point.dtype in (np.int8, np.uint8),
            node,
            f"its codes are {zero_point.dtype}, not int8 or uint8; quantize to 8 bits",
        )
        unsigned = zero_point.dtype == np.uint8
        value = float(self.scales(node, place)[0])
        require(
            np.isfinite(value) and value > 0,
            node,
            f"its scale {node.inputs[place]!r} must be finite and above 0, not {value!r}",
        )
        return Quantization(value, int(zero_point.reshape(-1)[0]) - (128 if unsigned else 0), unsigned)

    def scales(self, node: Node, place: int) -> Array:
        """A constant input of scales: one, or a list."""
        values = self.constant(node, place)
        good = values.dtype == np.float32
        require(good, node, f"its scale {node.inputs[place]!r} is {values.dtype}; export the model in float32")
        good = values.size == 1 or values.ndim == 1
        require(good, node, f"its scales {node.inputs[place]!r} are in blocks of {values.shape}; quantize by channel")
        return values.reshape(-1)

    def constant(self, node: Node, place: int, default: Array | None = None) -> Array:
        """A constant input."""
        node.used.add(place)
        if not node.has(place):
            require(default is not None, node, f"its input {place} is missing; export the model anew")
            assert default is not None
            return default
        value = self.values.get(node.inputs[place])
        require(
            isinstance(value, np.ndarray),
            node,
            f"its input {node.inputs[place]!r} must be a constant; it is computed at run time",
        )
        assert isinstance(value, np.ndarray)
        return value

    def integers(self, node: Node, place: int, default: tuple[int, ...] | None = None) -> tuple[int, ...]:
        """A constant input of whole numbers."""
        values = self.constant(node, place, None if default is None else np.array(default, np.int64))
        require(values.dtype.kind in "iu", node, f"its input {place} must be whole numbers, not {values.dtype}")
        return tuple(int(value) for value in values.reshape(-1))

    def value(self, node: Node, place: int = 0) -> Value:
        """An input of any kind."""
        node.used.add(place)
        require(node.has(place), node, f"its input {place} is missing; export the model anew")
        name = node.inputs[place]
        require(name in self.values, node, f"its input {name!r} is not known; export the model anew")
        return self.values[name]

    def set_result(self, node: Node, make: MakeResult, place: int = 0, stored: str = "uint8") -> None:
        """Makes the operator's result: at once in operator form, with the quantization at ``place`` of the inputs; in
        QDQ form when it is quantized."""
        name = node.outputs[0]
        if node.operator_form:
            self.values[name] = make(name, self.quantization(node, place, stored), UNLIMITED)
        else:
            self.values[name] = Deferred(make)

    def quantized_input(self, node: Node, place: int = 0) -> Tensor:
        """The integers of a real input."""
        value = self.value(node, place)
        if isinstance(value, Deferred) and value.inherited is not None:
            value = Dequantized(value.make(self.name_of(f"{node.inputs[place]}.codes"), value.inherited, value.limits))
            self.values[node.inputs[place]] = value
        if isinstance(value, Dequantized):
            return value.tensor
        coded = isinstance(value, Tensor) and value.dtype != "float32"
        require(not coded, node, f"its input {node.inputs[place]!r} is integers; dequantize them first")
        raise GraphError(
            f"{node}: its input {node.inputs[place]!r} is computed in float; quantize the whole model to int8"
        )

    def codes(self, node: Node, place: int = 0) -> Tensor:
        """The integers that an operator takes: in QDQ form those of a real input; in operator form the input's, which
        stand for what the next two inputs say."""
        if not node.operator_form:
            return self.quantized_input(node, place)
        value = self.value(node, place)
        good = isinstance(value, Tensor) and value.dtype == "int8"
        require(good, node, f"its input {node.inputs[place]!r} is no int8 or uint8 tensor; quantize to 8 bits")
        assert isinstance(value, Tensor)
        return self.restated(node, value, self.quantization(node, place + 1, stored(value)))
