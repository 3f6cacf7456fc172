"""Imports quantized ONNX models in QDQ and operator form, with onnxruntime's integers.

Tensors keep the file's names. Images are (N, H, W, C) in the graph, whatever their layout in the file. In QDQ form a
layer is made when its result is quantized; until then its result is :class:`~sateen.frontends.onnx.values.Deferred`.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Set
from typing import Any

import numpy as np

from sateen.frontends.onnx.file import Node, OnnxModel
from sateen.frontends.onnx.values import (
    IMAGE,
    UNLIMITED,
    Deferred,
    Dequantized,
    Limits,
    MakeResult,
    Quantization,
    Value,
    channels_first,
    clamp,
    quantization_of,
    scaling,
    to_float32,
)
from sateen.graph import (
    Array,
    Constant,
    Dequantize,
    FileLayout,
    Graph,
    GraphError,
    Op,
    Quantize,
    Requantize,
    Reshape,
    Tensor,
    Transpose,
    require,
)
from sateen.hw.spec.descriptor import Rounding

__all__ = ["Handler", "Importer"]

Handler = Callable[["Importer", Node], None]
"""Makes the graph's operators for one operator of the file."""


class Importer:
    """Builds a graph. Handlers of operators add tensors and operators to it."""

    def __init__(self, model: OnnxModel, name: str):
        self.model, self.name = model, name
        self.tensors: dict[str, Tensor] = {}
        self.ops: list[Op] = []
        self.values: dict[str, Value] = dict(model.constants)
        self._names = {*model.constants, *model.inputs, *(name for node in model.nodes for name in node.outputs)}
        self._in_file_layout: dict[str, Tensor] = {}
        self._images: dict[str, Tensor] = {}
        self._ranked: dict[tuple[str, int], Tensor] = {}
        self._constants: dict[tuple[str, tuple[int, ...], Quantization], Tensor] = {}

    def graph(self, handlers: Mapping[str, Handler]) -> Graph:
        """The graph of the whole model. ``handlers`` are by the kinds of operators."""
        require(
            len(self.model.inputs) > 0 and len(self.model.outputs) > 0, "file", "its graph has no input or no output"
        )
        for node in self.model.nodes:
            if node.kind == "Constant":
                handlers[node.kind](self, node)
        for name, (kind, shape) in self.model.inputs.items():
            self.values[name] = self._input(name, kind, shape)
        for node in (node for node in self.model.nodes if node.kind != "Constant"):
            handler = handlers.get(node.kind)
            require(
                handler is not None, node, f"{node.kind} is not supported; export the model without it, or split it off"
            )
            require(len(node.outputs) > 0, node, "it has no output; export the model anew")
            assert handler is not None
            handler(self, node)
        outputs = [self._output(name) for name in self.model.outputs]
        return Graph(
            name=self.name, tensors=self.tensors, ops=self.ops, inputs=list(self.model.inputs), outputs=outputs
        )

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
        return self.add_tensor(name, shape, self._input_quantization(name), image=True)

    def _input_quantization(self, name: str) -> Quantization:
        """The quantization of an integer input, which its first reader states."""
        for node in self.model.nodes:
            if name in node.inputs and (
                node.operator_form or node.kind.removeprefix("com.microsoft.") == "DequantizeLinear"
            ):
                return self.quantization(node, node.inputs.index(name) + 1)
        raise GraphError(f"tensor {name!r}: no operator says its scale; give the model a float input")

    def _output(self, name: str) -> str:
        value = self.values.get(name)
        require(value is not None, "file", f"no operator makes its output {name!r}")
        if isinstance(value, Deferred) and value.inherited is not None:
            value = Dequantized(value.make(self.name_of(f"{name}.codes"), value.inherited, value.limits))
        if isinstance(value, Dequantized):
            x = value.tensor
            self.tensors[name] = Tensor(name=name, shape=x.shape, dtype="float32", file_layout=x.file_layout)
            self.ops.append(Dequantize(name=self._op_name(f"{name}.dequantize"), input=x.name, output=name))
            return name
        require(
            isinstance(value, Tensor), f"tensor {name!r}", "it is computed in float; quantize the whole model to int8"
        )
        assert isinstance(value, Tensor)
        return value.name

    def add_tensor(
        self,
        name: str,
        file_shape: tuple[int, ...],
        quantization: Quantization,
        *,
        dtype: str = "int8",
        image: bool = False,
    ) -> Tensor:
        """Adds a tensor of the file; an ``image`` of 4 axes is (N, C, H, W) there."""
        require(name not in self.tensors, f"tensor {name!r}", "it is made twice; export the model anew")
        shape, layout = file_shape, None
        if image and len(file_shape) == 4:
            shape = tuple(file_shape[axis] for axis in (0, 2, 3, 1))
            layout = FileLayout(shape, IMAGE, file_shape)
        return self.put(name, shape, quantization, layout, dtype=dtype)

    def put(
        self,
        name: str,
        shape: tuple[int, ...],
        quantization: Quantization,
        layout: FileLayout | None,
        *,
        dtype: str = "int8",
    ) -> Tensor:
        """Adds a tensor with its shape here and its layout in the file."""
        if (
            layout is not None
            and layout.shape == shape
            and (layout.view == layout.shape and layout.axes == tuple(range(len(shape))))
        ):
            layout = None
        self.tensors[name] = tensor = Tensor(
            name=name,
            shape=shape,
            scale=quantization.scale,
            zero_point=quantization.zero_point,
            dtype=dtype,
            unsigned=quantization.unsigned,
            file_layout=layout,
        )
        return tensor

    def quantization(self, node: Node, place: int) -> Quantization:
        """The scale and the zero point at two consecutive places of an operator's inputs."""
        scale, zero_point = self.constant(node, place), self.constant(node, place + 1, np.zeros((), np.uint8))
        require(scale.size == 1 and zero_point.size == 1, node, "activations must have one scale for all channels")
        require(
            zero_point.dtype in (np.int8, np.uint8),
            node,
            f"its codes are {zero_point.dtype}, not int8 or uint8; quantize to 8 bits",
        )
        unsigned = zero_point.dtype == np.uint8
        value = float(to_float32(scale).reshape(-1)[0])
        require(
            np.isfinite(value) and value > 0,
            node,
            f"its scale {node.inputs[place]!r} must be finite and above 0, not {value!r}",
        )
        return Quantization(value, int(zero_point.reshape(-1)[0]) - (128 if unsigned else 0), unsigned)

    def constant(self, node: Node, place: int, default: Array | None = None) -> Array:
        """A constant input."""
        if place >= len(node.inputs) or not node.inputs[place]:
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
        require(
            place < len(node.inputs) and bool(node.inputs[place]),
            node,
            f"its input {place} is missing; export the model anew",
        )
        name = node.inputs[place]
        require(name in self.values, node, f"its input {name!r} is not known; export the model anew")
        return self.values[name]

    def set_result(self, node: Node, make: MakeResult, place: int = 0) -> None:
        """Makes the operator's result: at once in operator form, with the quantization at ``place`` of the inputs; in
        QDQ form when it is quantized."""
        name = node.outputs[0]
        if node.operator_form:
            self.values[name] = make(name, self.quantization(node, place), UNLIMITED)
        else:
            self.values[name] = Deferred(make)

    def quantized_input(self, node: Node, place: int = 0) -> Tensor:
        """An input's integers, whether the operator reads them or the real values that they stand for."""
        value = self.value(node, place)
        if isinstance(value, Deferred) and value.inherited is not None:
            value = Dequantized(value.make(self.name_of(f"{node.inputs[place]}.codes"), value.inherited, value.limits))
            self.values[node.inputs[place]] = value
        if isinstance(value, Dequantized):
            return value.tensor
        good = isinstance(value, Tensor) and value.dtype == "int8"
        require(good, node, f"its input {node.inputs[place]!r} is computed in float; quantize the whole model to int8")
        assert isinstance(value, Tensor)
        return value

    def name_of(self, wanted: str) -> str:
        """A name for a tensor that the file does not have: the wanted one, or a similar one if that is taken."""
        return _free(wanted, self._names | self.tensors.keys())

    def _op_name(self, wanted: str) -> str:
        return _free(wanted, {op.name for op in self.ops})

    def add_constant(self, name: str, codes: Array, quantization: Quantization, layout: FileLayout | None) -> Tensor:
        """A constant's tensor. There is one for each quantization and shape in which operators read it."""
        key = name, codes.shape, quantization
        if key not in self._constants:
            made = name if name not in self.tensors else self.name_of(name)
            self.ops.append(Constant(name=self._op_name(f"{made}.constant"), output=made, values=codes))
            self._constants[key] = self.put(made, codes.shape, quantization, layout)
        return self._constants[key]

    def add(
        self,
        kind: type[Op],
        node: Node,
        output: str,
        quantization: Quantization,
        layout: Callable[[tuple[int, ...]], FileLayout | None] = lambda _: None,
        shape: tuple[int, ...] = (),
        dtype: str = "int8",
        **fields: Any,
    ) -> Tensor:
        """Appends an operator and its result; ``layout`` gives the file's layout of the result's shape."""
        op = kind(name=self._op_name(node.name), output=output, **fields)
        require(output not in self.tensors, node, f"its output {output!r} is made twice; export the model anew")
        if not shape:
            # Some operators ask for their output's quantization.
            stand_in = Tensor(
                name=output, shape=(1,), scale=quantization.scale, zero_point=quantization.zero_point, dtype=dtype
            )
            shape = op.infer({**self.tensors, output: stand_in})
        tensor = self.put(output, shape, quantization, layout(shape), dtype=dtype)
        self.ops.append(op)
        return tensor

    def quantize(self, node: Node, value: Value, quantization: Quantization, output: str) -> Tensor:
        """Quantizes a real value."""
        if isinstance(value, Deferred):
            return value.make(output, quantization, value.limits)
        if isinstance(value, Dequantized):
            return self.requantize(node, value.tensor, output, quantization)
        good = isinstance(value, Tensor) and value.dtype == "float32"
        require(good, node, f"its input {node.inputs[0]!r} is not real numbers")
        assert isinstance(value, Tensor)
        return self.add(
            Quantize,
            node,
            output,
            quantization,
            lambda _: value.file_layout,
            input=value.name,
            rounding=Rounding.SINGLE,
        )

    def requantize(
        self, node: Node, x: Tensor, output: str, quantization: Quantization, limits: Limits = UNLIMITED
    ) -> Tensor:
        """The same real values in another quantization, clamped."""
        low, high = clamp(quantization, limits)
        if quantization == quantization_of(x) and (low, high) == (-128, 127):
            return self.add(Reshape, node, output, quantization, lambda _: x.file_layout, shape=x.shape, input=x.name)
        with np.errstate(over="ignore"):
            ratio = float(np.float32(x.scale) / np.float32(quantization.scale))
        multiplier, shift = scaling(node, ratio)
        return self.add(
            Requantize,
            node,
            output,
            quantization,
            lambda _: x.file_layout,
            input=x.name,
            multiplier=multiplier,
            shift=shift,
            low=low,
            high=high,
            rounding=Rounding.SINGLE,
        )

    def as_image(self, node: Node, x: Tensor) -> Tensor:
        """A tensor of 4 axes as (N, H, W, C)."""
        require(len(x.file_shape) == 4, node, f"its input {x.name!r} must have 4 axes, not the shape {x.file_shape}")
        if x.file_layout is not None and x.file_layout.axes == IMAGE and x.file_layout.view == x.shape:
            return x
        if x.name not in self._images:
            source = self.in_file_layout(node, x)
            shape = tuple(source.shape[axis] for axis in (0, 2, 3, 1))
            self._images[x.name] = self.add(
                Transpose,
                node,
                self.name_of(f"{x.name}.image"),
                quantization_of(x),
                channels_first,
                shape=shape,
                dtype=x.dtype,
                input=source.name,
                axes=(0, 2, 3, 1),
            )
        return self._images[x.name]

    def with_rank(self, node: Node, x: Tensor, rank: int) -> Tensor:
        """A tensor with at least ``rank`` axes; missing ones are added in front."""
        missing = rank - len(x.file_shape)
        if missing <= 0:
            return x
        key = x.name, rank
        if key not in self._ranked:
            x = self.in_file_layout(node, x)
            name, shape = self.name_of(f"{key[0]}.{rank}d"), (1,) * missing + x.shape
            self._ranked[key] = self.add(Reshape, node, name, quantization_of(x), shape=shape, input=x.name)
        return self._ranked[key]

    def in_file_layout(self, node: Node, x: Tensor) -> Tensor:
        """A tensor whose layout here is that of the file."""
        if x.file_layout is None:
            return x
        if x.name not in self._in_file_layout:
            self._in_file_layout[x.name] = self._to_file_layout(node, x, x.file_layout)
        return self._in_file_layout[x.name]

    def _to_file_layout(self, node: Node, x: Tensor, layout: FileLayout) -> Tensor:
        steps: list[tuple[type[Op], tuple[int, ...], dict[str, Any]]] = []
        kept = [axis for axis in layout.axes if layout.view[axis] > 1]
        if kept != sorted(kept):
            steps.append((Reshape, layout.view, {}))
            steps.append((Transpose, tuple(layout.view[axis] for axis in layout.axes), {"axes": layout.axes}))
        steps.append((Reshape, layout.shape, {}))
        name, source = x.name, x
        for place, (kind, shape, fields) in enumerate(steps):
            made = self.name_of(f"{name}.plain" if place == len(steps) - 1 else f"{name}.plain{place}")
            source = self.add(
                kind, node, made, quantization_of(x), shape=shape, dtype=x.dtype, input=source.name, **fields
            )
        return source


def _free(wanted: str, taken: Set[str]) -> str:
    names = (wanted, *(f"{wanted}.{i}" for i in range(len(taken))))
    return next(name for name in names if name not in taken)
