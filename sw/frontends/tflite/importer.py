"""TensorFlow Lite models as graphs: int8 and uint8, with the integers of the reference kernels.

Tensors are named ``t<index>`` after their place in the file; their titles there are the labels. Operators are named
after their kind and place, as ``conv_2d_0``. What a constant subgraph gives is computed here.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from typing import Any

import numpy as np

from sateen.frontends.tflite import file as tflite_file
from sateen.frontends.tflite.file import RawModel, RawOperator, RawTensor
from sateen.graph import Array, Concatenate, Constant, Graph, GraphError, Op, Reshape, Tensor, require

__all__ = ["Folding", "Handler", "Importer", "is_tflite"]

QUANTIZED = {"INT8": 0, "UINT8": 128}
"""Types of codes, and what is subtracted from them."""
LARGEST_SHAPE = 4096
"""Values of a constant that is computed with here."""
PLAIN = {"FLOAT32": "float32", "INT32": "int32", "INT64": "int32"}


def is_tflite(data: bytes) -> bool:
    """Whether bytes begin like a TensorFlow Lite file."""
    return data[4:8] == tflite_file.IDENTIFIER


Handler = Callable[["Importer", RawOperator], None]
"""What makes one operator of a file."""
Folding = Callable[..., Any]
"""What computes an operator of constants: called with it and its inputs."""


class Importer:
    """A graph in the making: what the functions for single operators build with."""

    def __init__(self, model: RawModel, name: str):
        self.model, self.name = model, name
        self.tensors: dict[str, Tensor] = {}
        self.ops: list[Op] = []
        self.constants: dict[int, Array] = {
            tensor.index: tensor.data for tensor in model.tensors if tensor.data is not None
        }
        ends = [model.tensors[index].shape for index in (*model.inputs, *model.outputs)]
        leading = {shape[0] for shape in ends if shape}
        # Where ends disagree, the first axis is no batch, and every tensor is one item.
        self.batch = leading.pop() if len(leading) == 1 and all(ends) else 1

    def graph(self, handlers: Mapping[str, Handler], folding: Mapping[str, Folding]) -> Graph:
        """The whole model; ``handlers`` make operators, and ``folding`` computes those of constants, by their kinds."""
        require(
            len(self.model.inputs) > 0 and len(self.model.outputs) > 0, "file", "its graph has no input or no output"
        )
        inputs = [self.tensor(index).name for index in self.model.inputs]
        for operator in self.model.operators:
            if self._fold(operator, folding):
                continue
            handler = handlers.get(operator.kind)
            if handler is None:
                what = (
                    f"the custom operator {operator.custom!r} is"
                    if operator.kind == "CUSTOM"
                    else f"{operator.kind} is"
                )
                raise GraphError(f"{operator}: {what} not supported; convert the model without it, or split it off")
            require(len(operator.outputs) > 0, operator, "it has no output; convert the model anew")
            handler(self, operator)
        for index in self.model.outputs:
            if index in self.constants:
                self.value(self.model.operators[-1] if self.model.operators else None, index)
        return Graph(
            name=self.name, tensors=self.tensors, ops=self.ops, inputs=inputs,
            outputs=[f"t{index}" for index in self.model.outputs],
        )  # fmt: skip

    def _fold(self, operator: RawOperator, folding: Mapping[str, Folding]) -> bool:
        """Computes an operator of constants, or one that asks for shapes alone."""
        if operator.kind not in folding or len(operator.outputs) != 1:
            return False
        output = operator.outputs[0]
        if self.model.tensors[output].type not in ("INT32", "INT64", "BOOL"):
            return False
        if operator.kind == "SHAPE":
            self.constants[output] = np.array(self.raw(operator, 0).shape, np.int64)
            return True
        if not all(index in self.constants for index in operator.inputs):
            return False
        arguments = [self.constants[index] for index in operator.inputs]
        small = all(argument.size <= LARGEST_SHAPE for argument in arguments)
        require(small, operator, "its constants are larger than a shape could be")
        try:
            with np.errstate(divide="raise", over="raise", invalid="raise"):
                self.constants[output] = np.asarray(folding[operator.kind](operator, *arguments))
        except GraphError:
            raise
        except (ValueError, TypeError, IndexError, ArithmeticError) as error:
            raise GraphError(
                f"{operator}: it cannot be computed from its constants ({error}); convert the model anew"
            ) from error
        return True

    def raw(self, operator: RawOperator, place: int) -> RawTensor:
        """The tensor of the file that an operator has at a place of its inputs."""
        require(place < len(operator.inputs) and operator.inputs[place] >= 0, operator, f"its input {place} is missing")
        return self.model.tensors[operator.inputs[place]]

    def constant(self, operator: RawOperator, place: int) -> Array:
        """A constant input."""
        tensor = self.raw(operator, place)
        require(tensor.index in self.constants, operator, f"{tensor} must be a constant; it is computed at run time")
        return self.constants[tensor.index]

    def integers(self, operator: RawOperator, place: int) -> list[int]:
        """A constant input of whole numbers."""
        values = self.constant(operator, place)
        require(
            np.issubdtype(values.dtype, np.integer),
            operator,
            f"its input {place} must be whole numbers, not {values.dtype}",
        )
        return [int(value) for value in values.reshape(-1)]

    def integer(self, operator: RawOperator, place: int) -> int:
        """A constant input of one whole number."""
        values = self.integers(operator, place)
        require(len(values) == 1, operator, f"its input {place} must be one number, not {len(values)}")
        return values[0]

    def offset(self, index: int) -> int:
        """Axes that a tensor has here before those that it has in the file: 0, or 1 where the file leaves the batch
        out."""
        shape = self.model.tensors[index].shape
        return int(not shape or shape[0] != self.batch)

    def axis(self, operator: RawOperator, index: int, axis: int) -> int:
        """An axis of a tensor of the file, negative from the last, as it is here."""
        rank = len(self.model.tensors[index].shape)
        require(-rank <= axis < rank, operator, f"its axis {axis} is none of the {rank} of {self.model.tensors[index]}")
        return axis % rank + self.offset(index)

    def tensor(self, index: int) -> Tensor:
        """A tensor by its index; a :class:`GraphError` if it is none that this package computes with."""
        name = f"t{index}"
        if name not in self.tensors:
            self.tensors[name] = self._tensor(self.model.tensors[index])
        return self.tensors[name]

    def _tensor(self, raw: RawTensor) -> Tensor:
        shape = (1,) * self.offset(raw.index) + raw.shape
        require(
            self.offset(raw.index) == 0 or self.batch == 1,
            raw,
            f"its shape {raw.shape} does not begin with the batch of {self.batch}",
        )
        own: dict[str, Any] = {"name": f"t{raw.index}", "shape": shape, "label": raw.label}
        if raw.type in PLAIN:
            return Tensor(**own, dtype=PLAIN[raw.type])
        require(raw.type in QUANTIZED, raw, f"its type {raw.type} is not supported; quantize the model to int8")
        scale, zero_point = numbers(raw)
        return Tensor(**own, scale=scale, zero_point=zero_point, unsigned=raw.type == "UINT8")

    def value(self, operator: RawOperator | None, index: int, rank: int = 0) -> Tensor:
        """A tensor that an operator reads; a constant one is made, with at least ``rank`` axes."""
        if index not in self.constants or f"t{index}" in self.tensors:
            return self.tensor(index)
        raw = self.model.tensors[index]
        require(
            raw.type in QUANTIZED,
            operator or raw,
            f"its constant {raw} must be int8, not {raw.type}; quantize the model to int8",
        )
        values = (self.constants[index].astype(np.int16) - QUANTIZED[raw.type]).astype(np.int8)
        shape = (1,) * (rank - values.ndim) + values.shape if values.ndim < rank else values.shape
        shape = shape if shape and shape[0] == 1 else (1, *shape)
        scale, zero_point = numbers(raw)
        tensor = Tensor(
            name=f"t{index}",
            shape=shape,
            scale=scale,
            zero_point=zero_point,
            label=raw.label,
            unsigned=raw.type == "UINT8",
        )
        self.tensors[tensor.name] = tensor
        self.ops.append(Constant(name=f"constant_{index}", output=tensor.name, values=values.reshape(shape)))
        return tensor

    def input(self, operator: RawOperator, place: int, *types: str) -> Tensor:
        """The tensor at a place of an operator's inputs, of int8 or of ``types``."""
        raw = self.raw(operator, place)
        allowed = types or tuple(QUANTIZED)
        require(
            raw.type in allowed,
            operator,
            f"{raw} is {raw.type}, not {' or '.join(allowed)}; quantize the whole model to int8",
        )
        tensor = self.value(operator, raw.index)
        # Constants are made with a batch of 1, whatever the file's is: its axes must be the same ones here.
        good = tensor.shape == (1,) * self.offset(raw.index) + raw.shape
        require(good, operator, f"its constant {raw} of {raw.shape} does not begin with the batch of {self.batch}")
        return tensor

    def named(self, tensor: Tensor, suffix: str, shape: tuple[int, ...]) -> Tensor:
        """A tensor that the file lacks, with another's numbers."""
        self.tensors[f"{tensor.name}.{suffix}"] = made = Tensor(
            name=f"{tensor.name}.{suffix}",
            shape=shape,
            scale=tensor.scale,
            zero_point=tensor.zero_point,
            dtype=tensor.dtype,
        )
        return made

    def reshape(self, operator: RawOperator, tensor: Tensor, suffix: str, shape: tuple[int, ...]) -> Tensor:
        """A tensor in another shape."""
        if tensor.shape == shape:
            return tensor
        name = f"{operator.kind.lower()}_{operator.index}_{suffix}"
        made = self.named(tensor, f"{suffix}{operator.index}", shape)
        self.ops.append(Reshape(name=name, input=tensor.name, output=made.name))
        return made

    def aligned(self, operator: RawOperator, tensor: Tensor, suffix: str, result: Tensor) -> Tensor:
        """A tensor with as many axes as a result that it broadcasts to, new ones of 1 being behind the batch's."""
        missing = len(result.shape) - len(tensor.shape)
        if missing <= 0:
            return tensor
        require(
            tensor.shape[0] == 1,
            operator,
            f"it sets the batch of {tensor}, {tensor.shape[0]}, beside another axis of {result}",
        )
        return self.reshape(operator, tensor, suffix, (1,) * missing + tensor.shape)

    def add(self, operator: RawOperator, kind: type[Op], *, place: int = 0, **fields: Any) -> None:
        """Appends an operator of the graph, and a reshape if its result is the file's in another shape."""
        output = self.tensor(operator.outputs[place])
        suffix = f"_{place}" if len(operator.outputs) > 1 else ""
        fields = {"name": f"{operator.kind.lower()}_{operator.index}{suffix}", "output": output.name, **fields}
        op = kind(**fields)
        shape = output.shape if isinstance(op, Reshape) else op.infer(self.tensors)
        if shape != output.shape and math.prod(shape) == math.prod(output.shape):
            made = self.named(output, "flat", shape)
            self.ops.append(kind(**{**fields, "output": made.name}))
            self.ops.append(Reshape(name=f"{fields['name']}_reshape", input=made.name, output=output.name))
        else:
            self.ops.append(op)

    def concatenate(self, operator: RawOperator, sources: list[Tensor], axis: int) -> None:
        """Appends a concatenation."""
        self.add(operator, Concatenate, sources=tuple(source.name for source in sources), axis=axis)


def numbers(raw: RawTensor) -> tuple[float, int]:
    """Scale and zero point of a tensor of codes, as codes are here."""
    require(len(raw.scales) > 0, raw, "it has no scale; quantize the whole model to int8")
    require(len(raw.scales) == 1, raw, f"it has {len(raw.scales)} scales; activations must have one for all channels")
    zero_point = raw.zero_points[0] if raw.zero_points else 0
    low = -128 + QUANTIZED[raw.type]
    require(low <= zero_point <= low + 255, raw, f"its zero point {zero_point} must lie within {low} to {low + 255}")
    return raw.scales[0], zero_point - QUANTIZED[raw.type]
