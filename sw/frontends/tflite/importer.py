"""Imports TensorFlow Lite models, int8 and uint8, with the integers of the reference kernels.

A tensor is named ``t<index>`` after its index in the file; its name there is the label. An operator is named after its
kind and index, such as ``conv_2d_0``. Constant subgraphs are computed here.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from typing import Any

import numpy as np
import tflite

from sateen.frontends.tflite.checks import (
    QUANTIZED,
    TYPES,
    check_consumed,
    check_known,
    check_types,
    computes_with,
    unscaled,
)
from sateen.frontends.tflite.file import STATES, RawModel, RawOperator, RawTensor
from sateen.frontends.tflite.refusals import refusal
from sateen.graph import Array, Concatenate, Constant, Graph, GraphError, Op, Reshape, Tensor, require

__all__ = ["QUANTIZED", "Folding", "Handler", "Importer"]

LARGEST_SHAPE = 4096
"""Values of the largest constant that is computed with here."""
FOLDED = {"INT32": np.int32, "INT64": np.int64, "BOOL": np.bool_}
"""Types of the constants that are computed here."""
UNQUANTIZED = {"FLOAT32": "float32", "INT32": "int32", "INT64": "int32", "BOOL": "bool"}


Handler = Callable[["Importer", RawOperator], None]
"""Makes the graph's operators for one operator of the file."""
Folding = Callable[..., Any]
"""Computes an operator on constants. Called with the operator and its inputs."""


class Importer:
    """Builds a graph. Handlers of operators add tensors and operators to it."""

    def __init__(self, model: RawModel, name: str, batch: int):
        """Imports a model whose tensors begin with an axis of ``batch`` items; where that is 1, they need not."""
        self.model, self.name = model, name
        self.tensors: dict[str, Tensor] = {}
        self.ops: list[Op] = []
        self.constants: dict[int, Array] = {
            tensor.index: tensor.data for tensor in model.tensors if tensor.data is not None
        }
        self.batch = batch
        self.unscaled = unscaled(model)
        codes = {raw.index for raw in model.tensors if raw.type in (*QUANTIZED, "INT16")}
        self.partly = any(codes & {*operator.outputs} for operator in model.operators)
        """Whether an operator makes codes, so that the model is quantized, if not all of it."""
        self.types = TYPES["INT8"]
        """Types of the tensors that the operator at hand reads."""
        self.origins: dict[int, str] = {}
        """Types of the constants that were made real, by their index."""
        self.states: dict[str, str] = {}
        """The graph's states."""
        self.notes: list[str] = []
        """What to warn of."""
        self.variables: dict[tuple[str, str], int] = {}
        """Numbers of resource variables, by container and name."""

    def graph(self, handlers: Mapping[str, Mapping[str, Handler]], folding: Mapping[str, Folding]) -> Graph:
        """The graph of the whole model. By kinds of operators, ``handlers`` make them, for each type that they compute
        with, and ``folding`` computes those on constants."""
        require(
            len(self.model.inputs) > 0 and len(self.model.outputs) > 0, "file", "its graph has no input or no output"
        )
        known = set().union(folding, *handlers.values())
        for operator in self.model.operators:
            check_known(operator, known)
        if self.model.subgraphs > 1 + len(self.model.called):
            left = f"the file has {self.model.subgraphs} graphs; the first is taken, the others are left out"
            self.notes.append(left)
        for index in self.model.inputs:
            raw = self.model.tensors[index]
            require(index not in self.constants, raw, "it is an input, but the file has its values")
        inputs = [self.tensor(index).name for index in self.model.inputs]
        for operator in self.model.operators:
            for index in operator.outputs:
                fixed = index in self.constants
                require(not fixed, operator, f"its output {self.model.tensors[index]} has values in the file already")
            if not self._fold(operator, folding):
                theme = computes_with(self.model, self.constants, operator)
                handler = handlers[theme].get(operator.kind)
                if handler is None:
                    raise GraphError(f"{operator}: {refusal(self.model, operator, theme, self.origins)}")
                self.types = TYPES[theme]
                check_types(self.model, self.constants, operator)
                handler(self, operator)
            check_consumed(operator)
            for place, index in enumerate(operator.outputs):
                made = index in self.constants or f"t{index}" in self.tensors
                require(made, operator, f"its output {place} is not supported; convert it without")
        for index in self.model.outputs:
            if index in self.constants:
                self.value(self.model.operators[-1] if self.model.operators else None, index)
        for name, following in self.states.items():
            require(bool(following), self.tensors[name], "nothing assigns values to this variable; convert it without")
        return Graph(
            name=self.name, tensors=self.tensors, ops=self.ops, inputs=inputs,
            outputs=[self.tensor(index).name for index in self.model.outputs], states=self.states,
            notes=tuple(self.notes),
        )  # fmt: skip

    def _fold(self, operator: RawOperator, folding: Mapping[str, Folding]) -> bool:
        """Computes an operator on constants, or one that asks for a shape. Returns whether it is such an operator."""
        if operator.kind not in folding or len(operator.outputs) != 1:
            return False
        output = operator.outputs[0]
        if self.model.tensors[output].type not in FOLDED:
            return False
        if operator.kind == "SHAPE":
            if operator.table is not None:
                # The type of the sizes, which is that of the output.
                operator.options(tflite.ShapeOptions).ignore("OutType")
            self.constants[output] = np.array(self.raw(operator, 0).shape, np.int64)
            return True
        if not all(index in self.constants for index in operator.inputs):
            return False
        arguments = [self.constant(operator, place) for place in range(len(operator.inputs))]
        small = all(argument.size <= LARGEST_SHAPE for argument in arguments)
        require(small, operator, "its constants are larger than a shape could be")
        try:
            with np.errstate(divide="raise", over="raise", invalid="raise"):
                result = np.asarray(folding[operator.kind](operator, *arguments))
                self.constants[output] = result.astype(FOLDED[self.model.tensors[output].type])
        except GraphError:
            raise
        except (ValueError, TypeError, IndexError, ArithmeticError) as error:
            raise GraphError(
                f"{operator}: it cannot be computed from its constants ({error}); convert the model anew"
            ) from error
        return True

    @staticmethod
    def has(operator: RawOperator, place: int) -> bool:
        """Whether an operator has an input at a place, where it may be left out."""
        return place < len(operator.inputs) and operator.inputs[place] >= 0

    def raw(self, operator: RawOperator, place: int) -> RawTensor:
        """The file's tensor at a place of an operator's inputs."""
        require(self.has(operator, place), operator, f"its input {place} is missing")
        operator.used.add(place)
        return self.model.tensors[operator.inputs[place]]

    def constant(self, operator: RawOperator, place: int) -> Array:
        """A constant input."""
        tensor = self.raw(operator, place)
        require(0 not in tensor.shape, operator, f"its input {place}, {tensor}, holds no value; convert it without")
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
        """Axes that are added here in front of a tensor's axes in the file: 1 if the file leaves out the batch, else
        0."""
        shape = self.model.tensors[index].shape
        return int(not shape or shape[0] != self.batch)

    def axis(self, operator: RawOperator, index: int, axis: int) -> int:
        """The axis here of an axis of the file's tensor, which is negative from the last."""
        rank = len(self.model.tensors[index].shape)
        require(-rank <= axis < rank, operator, f"its axis {axis} is none of the {rank} of {self.model.tensors[index]}")
        return axis % rank + self.offset(index)

    def tensor(self, index: int) -> Tensor:
        """A tensor by its index in the file. Raises :class:`GraphError` if its type is not supported."""
        name, raw = f"t{index}", self.model.tensors[index]
        require(
            not raw.variable, raw,
            f"it is a variable, which only {' and '.join(sorted(STATES))} take, as their state; convert the model "
            "without",
        )  # fmt: skip
        if name not in self.tensors:
            self.tensors[name] = self._tensor(raw)
        return self.tensors[name]

    def _tensor(self, raw: RawTensor) -> Tensor:
        shape = (1,) * self.offset(raw.index) + raw.shape
        require(
            self.offset(raw.index) == 0 or self.batch == 1,
            raw,
            f"its shape {raw.shape} does not begin with the batch of {self.batch}",
        )
        fields: dict[str, Any] = {"name": f"t{raw.index}", "shape": shape, "label": raw.label}
        if raw.type in UNQUANTIZED:
            return Tensor(**fields, dtype=UNQUANTIZED[raw.type])
        if raw.type == "INT16":
            return Tensor(**fields, scale=self.quantization(raw)[0], dtype="int16")
        require(raw.type in QUANTIZED, raw, f"its type {raw.type} is not supported; quantize the model to int8")
        scale, zero_point = self.quantization(raw)
        return Tensor(**fields, scale=scale, zero_point=zero_point, unsigned=raw.type == "UINT8")

    def value(self, operator: RawOperator | None, index: int, rank: int = 0) -> Tensor:
        """A tensor that an operator reads. A constant is added to the graph, with at least ``rank`` axes."""
        if index not in self.constants or f"t{index}" in self.tensors:
            return self.tensor(index)
        raw, values = self.model.tensors[index], self.constants[index]
        require(
            raw.type in QUANTIZED or raw.type in ("FLOAT32", "INT16", "INT32", "BOOL"),
            operator or raw,
            f"its constant {raw} must be int8, not {raw.type}; quantize the model to int8",
        )
        shape = (1,) * (rank - values.ndim) + values.shape if values.ndim < rank else values.shape
        shape = shape if shape and shape[0] == 1 else (1, *shape)
        if raw.type in UNQUANTIZED:
            tensor = Tensor(name=f"t{index}", shape=shape, dtype=UNQUANTIZED[raw.type], label=raw.label)
        elif raw.type == "INT16":
            scale, _ = self.quantization(raw)
            tensor = Tensor(name=f"t{index}", shape=shape, dtype="int16", scale=scale, label=raw.label)
        else:
            scale, zero_point = self.quantization(raw)
            values = (values.astype(np.int16) - QUANTIZED[raw.type]).astype(np.int8)
            tensor = Tensor(
                name=f"t{index}", shape=shape, scale=scale, zero_point=zero_point, label=raw.label,
                unsigned=raw.type == "UINT8",
            )  # fmt: skip
        self.tensors[tensor.name] = tensor
        self.ops.append(Constant(name=f"constant_{index}", output=tensor.name, values=values.reshape(shape)))
        return tensor

    def input(self, operator: RawOperator, place: int, *types: str) -> Tensor:
        """The tensor at a place of an operator's inputs, of the type that it computes with or of ``types``."""
        raw = self.raw(operator, place)
        allowed = types or self.types
        require(
            raw.type in allowed,
            operator,
            f"{raw} is {raw.type}, not {' or '.join(allowed)}; quantize the whole model to int8",
        )
        tensor = self.value(operator, raw.index)
        # Constants get a batch of 1, whatever the model's batch is. Their other axes must be those of the file.
        good = tensor.shape == (1,) * self.offset(raw.index) + raw.shape
        require(good, operator, f"its constant {raw} of {raw.shape} does not begin with the batch of {self.batch}")
        return tensor

    def quantization(self, raw: RawTensor) -> tuple[float, int]:
        """Scale and zero point of a quantized tensor, for int8."""
        scales, zero_points = raw.scales, raw.zero_points
        if raw.index in self.unscaled:
            scales, zero_points = (self.unscaled[raw.index][0],), (self.unscaled[raw.index][1],)
        require(len(scales) > 0, raw, "it has no scale; quantize the whole model to int8")
        require(len(scales) == 1, raw, f"it has {len(scales)} scales; activations must have one for all channels")
        require(len(zero_points) == 1, raw, f"it has {len(zero_points)} zero points for one scale")
        if raw.type == "INT16":
            require(zero_points[0] == 0, raw, f"its zero point {zero_points[0]} must be 0, as that of INT16 is")
            return scales[0], 0
        zero_point, low = zero_points[0], -128 + QUANTIZED[raw.type]
        require(
            low <= zero_point <= low + 255, raw, f"its zero point {zero_point} must lie within {low} to {low + 255}"
        )
        return scales[0], zero_point - QUANTIZED[raw.type]

    def whole(self, operator: RawOperator, place: int, *types: str) -> Tensor:
        """The tensor at a place of an operator's inputs with an axis of 1 in front of all axes of the file, none of
        which is a batch then. Only models of one item have it."""
        raw, x = self.raw(operator, place), self.input(operator, place, *types)
        require(self.batch == 1, operator, f"it changes the batch of {self.batch}, which is not supported")
        return self.reshape(operator, x, f"whole{place}", (1, *raw.shape))

    def new_like(self, tensor: Tensor, suffix: str, shape: tuple[int, ...]) -> Tensor:
        """A new tensor that the file lacks, with the type and quantization of another."""
        self.tensors[f"{tensor.name}.{suffix}"] = new = Tensor(
            name=f"{tensor.name}.{suffix}",
            shape=shape,
            scale=tensor.scale,
            zero_point=tensor.zero_point,
            dtype=tensor.dtype,
            unsigned=tensor.unsigned,
        )
        return new

    def reshape(self, operator: RawOperator, tensor: Tensor, suffix: str, shape: tuple[int, ...]) -> Tensor:
        """A tensor in another shape."""
        if tensor.shape == shape:
            return tensor
        name = f"{operator.kind.lower()}_{operator.index}_{suffix}"
        reshaped = self.new_like(tensor, f"{suffix}{operator.index}", shape)
        self.ops.append(Reshape(name=name, input=tensor.name, output=reshaped.name))
        return reshaped

    def between(
        self, operator: RawOperator, kind: type[Op], tensor: Tensor, suffix: str, shape: tuple[int, ...], **fields: Any
    ) -> Tensor:
        """The result of an operator that the file lacks on a tensor, with the tensor's quantization."""
        made = self.new_like(tensor, f"{suffix}{operator.index}", shape)
        fields = {"name": f"{operator.kind.lower()}_{operator.index}_{suffix}", "input": tensor.name, **fields}
        self.ops.append(kind(output=made.name, **fields))
        return made

    def aligned(self, operator: RawOperator, tensor: Tensor, suffix: str, result: Tensor) -> Tensor:
        """A tensor with as many axes as the result to which it broadcasts; new axes are in front."""
        missing = len(result.shape) - len(tensor.shape)
        if missing <= 0:
            return tensor
        require(
            tensor.shape[0] == 1,
            operator,
            f"it sets the batch of {tensor}, {tensor.shape[0]}, beside another axis of {result}",
        )
        return self.reshape(operator, tensor, suffix, (1,) * missing + tensor.shape)

    def add(
        self, operator: RawOperator, kind: type[Op], *, place: int = 0, any_shape: bool = False, **fields: Any
    ) -> None:
        """Appends an operator, and a Reshape if its result has other axes of 1 in front than the file's output.

        Parameters
        ----------
        place
            The output's, among those of the operator.
        any_shape
            Whether the output may have any shape of as many values, because the handler has checked it.
        """
        output = self.tensor(operator.outputs[place])
        suffix = f"_{place}" if len(operator.outputs) > 1 else ""
        fields = {"name": f"{operator.kind.lower()}_{operator.index}{suffix}", "output": output.name, **fields}
        op = kind(**fields)
        shape = output.shape if isinstance(op, Reshape) else op.infer(self.tensors)
        long, wanted = (sizes[_ones(sizes) :] for sizes in (shape, output.shape))
        same = math.prod(shape) == math.prod(output.shape) if any_shape else long == wanted
        if shape != output.shape and same:
            result = self.new_like(output, "flat", shape)
            self.ops.append(kind(**{**fields, "output": result.name}))
            self.ops.append(Reshape(name=f"{fields['name']}_reshape", input=result.name, output=output.name))
        else:
            self.ops.append(op)

    def concatenate(self, operator: RawOperator, sources: list[Tensor], axis: int) -> None:
        """Appends a concatenation."""
        self.add(operator, Concatenate, sources=tuple(source.name for source in sources), axis=axis)


def _ones(shape: tuple[int, ...]) -> int:
    """The number of axes of 1 in front."""
    return next((axis for axis, size in enumerate(shape) if size != 1), len(shape))
