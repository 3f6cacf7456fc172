"""Quantized ONNX models as graphs: QDQ and operator form, with onnxruntime's integers.

Tensors keep their names and, to the outside, their layout; here images are (N, H, W, C). In QDQ form a layer is known
when its result is quantized: until then it is a :class:`Pending` one.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Set
from dataclasses import dataclass
from typing import Any

import numpy as np

from sateen.frontends.onnx.file import Node, OnnxModel
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
from sateen.sim import golden

__all__ = [
    "Codes",
    "Handler",
    "Importer",
    "Numbers",
    "Pending",
    "Real",
    "Value",
    "channels_first",
    "clamp",
    "numbers_of",
    "scaling",
    "single",
]

IMAGE = (0, 3, 1, 2)
"""Axes of (N, H, W, C) in the order of (N, C, H, W)."""


@dataclass(frozen=True)
class Numbers:
    """What codes stand for: scale, zero point (as codes are here), and whether the file's are uint8."""

    scale: float
    zero_point: int
    unsigned: bool


@dataclass(frozen=True)
class Codes:
    """Constant codes with their numbers, by channel along ``axis`` or one for all."""

    values: Array
    scales: Array
    zero_points: Array
    axis: int


@dataclass(frozen=True)
class Real:
    """What the codes of a tensor stand for."""

    tensor: Tensor


@dataclass(frozen=True)
class Pending:
    """A real tensor that is known when it is quantized: called with the name, numbers and real limits of the result."""

    make: Callable[[str, Numbers, tuple[float, float]], Tensor]
    natural: Numbers | None = None
    """Numbers that it has by itself, if it only moves codes."""
    limits: tuple[float, float] = (-np.inf, np.inf)


Value = Tensor | Real | Pending | Codes | Array


Handler = Callable[["Importer", Node], None]
"""What makes one operator of a file."""


class Importer:
    """A graph in the making: what the functions for single operators build with."""

    def __init__(self, model: OnnxModel, name: str):
        self.model, self.name = model, name
        self.tensors: dict[str, Tensor] = {}
        self.ops: list[Op] = []
        self.values: dict[str, Value] = dict(model.constants)
        self._names = {*model.constants, *model.inputs, *(name for node in model.nodes for name in node.outputs)}
        self._plain: dict[str, Tensor] = {}
        self._images: dict[str, Tensor] = {}
        self._ranked: dict[tuple[str, int], Tensor] = {}
        self._constants: dict[tuple[str, tuple[int, ...], Numbers], Tensor] = {}

    def graph(self, handlers: Mapping[str, Handler]) -> Graph:
        """The whole model; ``handlers`` make operators, by their kinds."""
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
            # Channels are fewer than columns, wherever they stand.
            last = len(shape) == 4 and shape[3] < shape[1]
            return self.add_tensor(name, shape, Numbers(1.0, 0, False), dtype="float32", image=not last)
        numbers = self._input_numbers(name)
        return self.add_tensor(name, shape, numbers, image=True)

    def _input_numbers(self, name: str) -> Numbers:
        """Of an input of codes: those that its first reader states."""
        for node in self.model.nodes:
            if name in node.inputs and node.kind.removeprefix("com.microsoft.").startswith(
                ("DequantizeLinear", "QLinear", "QGemm")
            ):
                return self.numbers(node, node.inputs.index(name) + 1)
        raise GraphError(f"tensor {name!r}: no operator says its scale; give the model a float input")

    def _output(self, name: str) -> str:
        value = self.values.get(name)
        require(value is not None, "file", f"no operator makes its output {name!r}")
        if isinstance(value, Pending) and value.natural is not None:
            value = Real(value.make(self.name_of(f"{name}.codes"), value.natural, value.limits))
        if isinstance(value, Real):
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
        self, name: str, file_shape: tuple[int, ...], numbers: Numbers, *, dtype: str = "int8", image: bool = False
    ) -> Tensor:
        """A new tensor of the model; an ``image`` of 4 axes is (N, C, H, W) there."""
        require(name not in self.tensors, f"tensor {name!r}", "it is made twice; export the model anew")
        shape, layout = file_shape, None
        if image and len(file_shape) == 4:
            shape = tuple(file_shape[axis] for axis in (0, 2, 3, 1))
            layout = FileLayout(shape, IMAGE, file_shape)
        return self.put(name, shape, numbers, layout, dtype=dtype)

    def put(
        self, name: str, shape: tuple[int, ...], numbers: Numbers, layout: FileLayout | None, *, dtype: str = "int8"
    ) -> Tensor:
        """A new tensor in its layout here."""
        if (
            layout is not None
            and layout.shape == shape
            and (layout.view == layout.shape and layout.axes == tuple(range(len(shape))))
        ):
            layout = None
        self.tensors[name] = tensor = Tensor(
            name=name,
            shape=shape,
            scale=numbers.scale,
            zero_point=numbers.zero_point,
            dtype=dtype,
            unsigned=numbers.unsigned,
            file_layout=layout,
        )
        return tensor

    def numbers(self, node: Node, place: int) -> Numbers:
        """Scale and zero point of a tensor, at two places of an operator's inputs."""
        scale, zero_point = self.constant(node, place), self.constant(node, place + 1, np.zeros((), np.uint8))
        require(scale.size == 1 and zero_point.size == 1, node, "activations must have one scale for all channels")
        require(
            zero_point.dtype in (np.int8, np.uint8),
            node,
            f"its codes are {zero_point.dtype}, not int8 or uint8; quantize to 8 bits",
        )
        unsigned = zero_point.dtype == np.uint8
        value = float(single(scale).reshape(-1)[0])
        require(
            np.isfinite(value) and value > 0,
            node,
            f"its scale {node.inputs[place]!r} must be finite and above 0, not {value!r}",
        )
        return Numbers(value, int(zero_point.reshape(-1)[0]) - (128 if unsigned else 0), unsigned)

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
        """An input, whatever it is."""
        require(
            place < len(node.inputs) and bool(node.inputs[place]),
            node,
            f"its input {place} is missing; export the model anew",
        )
        name = node.inputs[place]
        require(name in self.values, node, f"its input {name!r} is not known; export the model anew")
        return self.values[name]

    def codes(self, node: Node, place: int = 0) -> Tensor:
        """An input's codes, whether they are given as such or as what they stand for."""
        value = self.value(node, place)
        if isinstance(value, Pending) and value.natural is not None:
            value = Real(value.make(self.name_of(f"{node.inputs[place]}.codes"), value.natural, value.limits))
            self.values[node.inputs[place]] = value
        if isinstance(value, Real):
            return value.tensor
        good = isinstance(value, Tensor) and value.dtype == "int8"
        require(good, node, f"its input {node.inputs[place]!r} is computed in float; quantize the whole model to int8")
        assert isinstance(value, Tensor)
        return value

    def name_of(self, wanted: str) -> str:
        """A name for a tensor that the file does not have: the wanted one, or one like it if that is taken."""
        return _free(wanted, self._names | self.tensors.keys())

    def _op_name(self, wanted: str) -> str:
        return _free(wanted, {op.name for op in self.ops})

    def add_constant(self, name: str, codes: Array, numbers: Numbers, layout: FileLayout | None) -> Tensor:
        """A constant's tensor; operators that see it in other numbers or another shape have one each."""
        key = name, codes.shape, numbers
        if key not in self._constants:
            made = name if name not in self.tensors else self.name_of(name)
            self.ops.append(Constant(name=self._op_name(f"{made}.constant"), output=made, values=codes))
            self._constants[key] = self.put(made, codes.shape, numbers, layout)
        return self._constants[key]

    def add(
        self,
        kind: type[Op],
        node: Node,
        output: str,
        numbers: Numbers,
        layout: Callable[[tuple[int, ...]], FileLayout | None] = lambda _: None,
        shape: tuple[int, ...] = (),
        dtype: str = "int8",
        **fields: Any,
    ) -> Tensor:
        """Appends an operator and its result; ``layout`` says the file's layout of a shape here."""
        op = kind(name=self._op_name(node.name), output=output, **fields)
        require(output not in self.tensors, node, f"its output {output!r} is made twice; export the model anew")
        if not shape:
            # A stand-in, for operators that ask their output for its numbers.
            stand_in = Tensor(name=output, shape=(1,), scale=numbers.scale, zero_point=numbers.zero_point, dtype=dtype)
            shape = op.infer({**self.tensors, output: stand_in})
        tensor = self.put(output, shape, numbers, layout(shape), dtype=dtype)
        self.ops.append(op)
        return tensor

    def quantize(self, node: Node, value: Value, numbers: Numbers, output: str) -> Tensor:
        """The codes of a real value."""
        if isinstance(value, Pending):
            return value.make(output, numbers, value.limits)
        if isinstance(value, Real):
            return self.requantized(node, value.tensor, output, numbers)
        good = isinstance(value, Tensor) and value.dtype == "float32"
        require(good, node, f"its input {node.inputs[0]!r} is not real numbers")
        assert isinstance(value, Tensor)
        return self.add(
            Quantize, node, output, numbers, lambda _: value.file_layout, input=value.name, rounding=Rounding.SINGLE
        )

    def requantized(
        self, node: Node, x: Tensor, output: str, numbers: Numbers, limits: tuple[float, float] = (-np.inf, np.inf)
    ) -> Tensor:
        """The same real values in other numbers, clamped."""
        low, high = clamp(numbers, limits)
        if numbers == numbers_of(x) and (low, high) == (-128, 127):
            return self.add(Reshape, node, output, numbers, lambda _: x.file_layout, shape=x.shape, input=x.name)
        with np.errstate(over="ignore"):
            ratio = float(np.float32(x.scale) / np.float32(numbers.scale))
        multiplier, shift = scaling(node, ratio)
        return self.add(
            Requantize,
            node,
            output,
            numbers,
            lambda _: x.file_layout,
            input=x.name,
            multiplier=multiplier,
            shift=shift,
            low=low,
            high=high,
            rounding=Rounding.SINGLE,
        )

    def image(self, node: Node, x: Tensor) -> Tensor:
        """A tensor of 4 axes, as (N, H, W, C) here."""
        require(len(x.file_shape) == 4, node, f"its input {x.name!r} must have 4 axes, not the shape {x.file_shape}")
        if x.file_layout is not None and x.file_layout.axes == IMAGE and x.file_layout.view == x.shape:
            return x
        if x.name not in self._images:
            plain = self.plain(node, x)
            shape = tuple(plain.shape[axis] for axis in (0, 2, 3, 1))
            self._images[x.name] = self.add(
                Transpose,
                node,
                self.name_of(f"{x.name}.image"),
                numbers_of(x),
                channels_first,
                shape=shape,
                dtype=x.dtype,
                input=plain.name,
                axes=(0, 2, 3, 1),
            )
        return self._images[x.name]

    def of_rank(self, node: Node, x: Tensor, rank: int) -> Tensor:
        """A tensor with as many axes, those that it lacks before its own."""
        missing = rank - len(x.file_shape)
        if missing <= 0:
            return x
        key = x.name, rank
        if key not in self._ranked:
            x = self.plain(node, x)
            name, shape = self.name_of(f"{key[0]}.{rank}d"), (1,) * missing + x.shape
            self._ranked[key] = self.add(Reshape, node, name, numbers_of(x), shape=shape, input=x.name)
        return self._ranked[key]

    def plain(self, node: Node, x: Tensor) -> Tensor:
        """A tensor in the file's own layout."""
        if x.file_layout is None:
            return x
        if x.name not in self._plain:
            self._plain[x.name] = self._made_plain(node, x, x.file_layout)
        return self._plain[x.name]

    def _made_plain(self, node: Node, x: Tensor, layout: FileLayout) -> Tensor:
        steps: list[tuple[type[Op], tuple[int, ...], dict[str, Any]]] = []
        kept = [axis for axis in layout.axes if layout.view[axis] > 1]
        if kept != sorted(kept):
            steps.append((Reshape, layout.view, {}))
            steps.append((Transpose, tuple(layout.view[axis] for axis in layout.axes), {"axes": layout.axes}))
        steps.append((Reshape, layout.shape, {}))
        name, source = x.name, x
        for place, (kind, shape, fields) in enumerate(steps):
            made = self.name_of(f"{name}.plain" if place == len(steps) - 1 else f"{name}.plain{place}")
            source = self.add(kind, node, made, numbers_of(x), shape=shape, dtype=x.dtype, input=source.name, **fields)
        return source


def _free(wanted: str, taken: Set[str]) -> str:
    names = (wanted, *(f"{wanted}.{i}" for i in range(len(taken))))
    return next(name for name in names if name not in taken)


def channels_first(shape: tuple[int, ...]) -> FileLayout | None:
    """The file's layout of an image of a shape here; of other tensors it is the same."""
    return FileLayout(shape, IMAGE, tuple(shape[axis] for axis in IMAGE)) if len(shape) == 4 else None


def numbers_of(x: Tensor) -> Numbers:
    """A tensor's numbers."""
    return Numbers(x.scale, x.zero_point, x.unsigned)


def clamp(numbers: Numbers, limits: tuple[float, float]) -> tuple[int, int]:
    """Real limits as codes, ties to even."""
    # What overflows lies beyond all codes.
    with np.errstate(over="ignore"):
        codes = [
            np.rint(np.float64(np.float32(limit) / np.float32(numbers.scale))) + numbers.zero_point for limit in limits
        ]
    low, high = (int(np.clip(code, -128, 127)) for code in codes)
    return low, high


def single(values: Array) -> Array:
    """Numbers as float32; infinite where that does not hold them."""
    with np.errstate(over="ignore"):
        return values.astype(np.float32)


def scaling(node: Node, scale: float) -> tuple[int, int]:
    """Multiplier and shift of a scale, which may have overflowed."""
    try:
        return golden.quantize_multiplier(scale)
    except ValueError as error:
        raise GraphError(f"{node}: its scales do not fit together ({error}); quantize the model anew") from None
