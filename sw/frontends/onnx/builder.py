"""Adds tensors and operators to a graph, in the layouts that the graph's operators take.

Images are (N, H, W, C) in the graph, whatever their layout in the file.
"""

from __future__ import annotations

from collections.abc import Callable, Set
from dataclasses import replace
from typing import Any

import numpy as np

from sateen.frontends.onnx.file import Node
from sateen.frontends.onnx.lines import layer_of
from sateen.frontends.onnx.tables import table_of
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
    image_layout,
    quantization_of,
    scaling,
)
from sateen.graph import (
    Arithmetic,
    Array,
    Broadcast,
    Concatenate,
    Constant,
    DepthwiseConv2D,
    FileLayout,
    Op,
    Pad,
    Pool2D,
    Quantize,
    Requantize,
    Reshape,
    Resize,
    Restate,
    Slice,
    Table,
    Tensor,
    Transpose,
    Weighted,
    require,
)
from sateen.hw.spec.descriptor import Rounding

__all__ = ["Builder"]

CLAMPING = (Arithmetic, Pool2D, Requantize, Weighted)
"""Operators that clamp their results."""
MOVING = (Broadcast, Concatenate, Pad, Reshape, Resize, Slice, Transpose)
"""Operators whose results have the type of their inputs."""


class Builder:
    """Tensors and operators. What several operators need, such as a tensor as an image, is made once."""

    def __init__(self, names: Set[str], *, free: bool = False):
        """``names`` are those that the file has; ``free``: its batch is."""
        self.free = free
        self.single: list[Node] = []
        """Operators that take a free batch for 1."""
        self.of_two: dict[str, Array] = {}
        """What constants that depend on how many items there are would be for two."""
        self.tensors: dict[str, Tensor] = {}
        self.ops: list[Op] = []
        self.open: dict[str, Node] = {}
        """The file's operators of which onnxruntime may have a result that is one step from theirs here, or, of real
        numbers, another last bit; by tensors that they make."""
        self.biased: list[Node] = []
        """Layers whose bias onnxruntime takes for something else."""
        self.notes: list[str] = []
        """What to warn of."""
        self.origins: dict[str, Node] = {}
        """The file's operators, by the tensors that operators here make for them."""
        self._names = names
        self._in_file_layout: dict[str, Tensor] = {}
        self._images: dict[str, Tensor] = {}
        self._ranked: dict[tuple[str, int], Tensor] = {}
        self._constants: dict[tuple[str, tuple[int, ...], Quantization], Tensor] = {}
        self._restated: dict[tuple[str, Quantization], Tensor] = {}

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

    def restated(self, node: Node, x: Tensor, quantization: Quantization) -> Tensor:
        """A tensor's codes, which stand for other real values from here on."""
        self.check_stored(node, x.name, x.unsigned, quantization)
        if quantization == quantization_of(x):
            return x
        key = x.name, quantization
        if key not in self._restated:
            name = self.name_of(f"{x.name}.restated")
            self._restated[key] = self.restate(node, x, quantization, name)
        return self._restated[key]

    def restate(self, node: Node, x: Tensor, quantization: Quantization, name: str) -> Tensor:
        """Appends a tensor of another's codes with a quantization of its own."""
        return self.add(Restate, node, name, quantization, lambda _: x.file_layout, shape=x.shape, input=x.name)

    @staticmethod
    def check_stored(node: Node, name: str, unsigned: bool, quantization: Quantization) -> None:
        kinds = [("int8", "uint8")[flag] for flag in (unsigned, quantization.unsigned)]
        require(kinds[0] == kinds[1], node, f"its input {name!r} is {kinds[0]}, but the zero point is {kinds[1]}")

    def name_of(self, wanted: str) -> str:
        """A name for a tensor that the file does not have: the wanted one, or a similar one if that is taken."""
        return _free(wanted, self._names | self.tensors.keys())

    def op_name(self, wanted: str) -> str:
        return _free(wanted, {op.name for op in self.ops})

    def add_constant(self, name: str, codes: Array, quantization: Quantization, layout: FileLayout | None) -> Tensor:
        """A constant's tensor. There is one for each quantization and shape in which operators read it."""
        dtype = codes.dtype.name
        key = f"{name} {dtype}", codes.shape, quantization
        if key not in self._constants:
            made = name if name not in self.tensors else self.name_of(name)
            self.ops.append(Constant(name=self.op_name(f"{made}.constant"), output=made, values=codes))
            self._constants[key] = self.put(made, codes.shape, quantization, layout, dtype=dtype)
        return self._constants[key]

    def add(
        self,
        kind: type[Op],
        node: Node,
        output: str,
        quantization: Quantization,
        layout: Callable[[tuple[int, ...]], FileLayout | None] = lambda _: None,
        shape: tuple[int, ...] = (),
        dtype: str = "",
        **fields: Any,
    ) -> Tensor:
        """Appends an operator and its result; ``layout`` gives the file's layout of the result's shape. ``dtype`` is
        int8 if it is left out, or the input's if values only move."""
        op = kind(name=self.op_name(node.name), output=output, **fields)
        dtype = dtype or (self.tensors[op.inputs[0]].dtype if isinstance(op, MOVING) else "int8")
        require(output not in self.tensors, node, f"its output {output!r} is made twice; export the model anew")
        if not shape:
            # Some operators ask for their output's quantization.
            stand_in = Tensor(
                name=output, shape=(1,), scale=quantization.scale, zero_point=quantization.zero_point, dtype=dtype
            )
            shape = op.infer({**self.tensors, output: stand_in})
        tensor = self.put(output, shape, quantization, layout(shape), dtype=dtype)
        self.ops.append(op)
        self.origins[output] = node
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
        found = table_of(self.ops, self.tensors, value, quantization)
        if found is not None:
            if found.open:
                self.open[output] = node
            fields: dict[str, Any] = {"input": found.input, "table": found.values, "function": found.function}
            return self.add(Table, node, output, quantization, lambda _: value.file_layout, **fields)
        lines = layer_of(self.ops, self.tensors, value, quantization)
        if lines is not None:
            low, high = clamp(quantization, lines.limits)
            fields = {**vars(lines.lines), "weights": lines.lines.weights[:, None, None, None]}
            fields |= {"input": lines.input, "low": low, "high": high, "rounding": Rounding.FLOAT32}
            return self.add(DepthwiseConv2D, node, output, quantization, lambda _: value.file_layout, **fields)
        return self.add(
            Quantize,
            node,
            output,
            quantization,
            lambda _: value.file_layout,
            input=value.name,
            rounding=Rounding.FLOAT32,
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
            rounding=Rounding.FLOAT32,
        )

    def with_clamp(self, node: Node, make: MakeResult) -> MakeResult:
        """A result of an operator that has no clamp of its own, which clamps it afterwards where one follows."""

        def clamped(name: str, quantization: Quantization, limits: Limits) -> Tensor:
            if clamp(quantization, limits) == (-128, 127):
                return make(name, quantization, UNLIMITED)
            before = make(self.name_of(f"{name}.before"), quantization, UNLIMITED)
            return self.requantize(node, before, name, quantization, limits)

        return clamped

    def clip_codes(self, node: Node, x: Tensor, output: str, limits: Limits, *, only: bool) -> Tensor:
        """Codes clamped to limits, which are codes of the file. If ``only`` this reads them, the operator that makes
        them clamps them where it can."""
        offset = 128 if x.unsigned else 0
        low, high = (int(np.clip(limit, -128 + offset, 127 + offset)) - offset for limit in limits)
        maker = self.ops[-1] if self.ops else None
        if only and isinstance(maker, CLAMPING) and maker.output == x.name:
            ends: dict[str, Any] = {name: int(np.clip(getattr(maker, name), low, high)) for name in ("low", "high")}
            self.ops[-1] = replace(maker, output=output, **ends)
            del self.tensors[x.name]
            return self.put(output, x.shape, quantization_of(x), x.file_layout)
        return self.add(
            Requantize, node, output, quantization_of(x), lambda _: x.file_layout, input=x.name, multiplier=1 << 30,
            shift=1, low=low, high=high, rounding=Rounding.FLOAT32,
        )  # fmt: skip

    def as_image(self, node: Node, x: Tensor) -> Tensor:
        """A tensor of 4 axes as (N, H, W, C), or one of 3 as (N, 1, L, C)."""
        rank = len(x.file_shape)
        require(rank in (3, 4), node, f"its input {x.name!r} must have 3 or 4 axes, not the shape {x.file_shape}")
        if x.file_layout is not None and x.file_layout.axes == IMAGE and x.file_layout.view == x.shape:
            return x
        if x.name not in self._images:
            source, axes = self.in_file_layout(node, x), (0, 2, 3, 1) if rank == 4 else (0, 2, 1)
            shape, kind, name = tuple(source.shape[axis] for axis in axes), quantization_of(x), f"{x.name}.image"
            layout = channels_first if rank == 4 else lambda shape: FileLayout(shape, (0, 2, 1), source.shape)
            image = self.add(
                Transpose, node, self.name_of(name if rank == 4 else f"{x.name}.channels_last"), kind, layout,
                shape=shape, dtype=x.dtype, input=source.name, axes=axes,
            )  # fmt: skip
            if rank == 3:
                shape = (shape[0], 1, *shape[1:])
                image = self.add(
                    Reshape, node, self.name_of(name), kind, image_layout(rank), shape=shape, dtype=x.dtype,
                    input=image.name,
                )  # fmt: skip
            self._images[x.name] = image
        return self._images[x.name]

    def takes_one(self, node: Node, *, where: bool = True) -> None:
        """Notes an operator, if it takes one item where the batch is free."""
        self.single += [node] if where and self.free and node not in self.single else []

    def drop_unread(self, read: Set[str]) -> None:
        """Drops real values, sums and constants that neither an operator nor ``read`` reads."""
        read = set(read)
        kept: list[Op] = []
        for op in reversed(self.ops):
            unneeded = isinstance(op, Constant) or self.tensors[op.output].dtype != "int8"
            if unneeded and op.output not in read:
                del self.tensors[op.output]
                continue
            read.update(op.inputs)
            kept.append(op)
        self.ops[:] = kept[::-1]

    def with_rank(self, node: Node, x: Tensor, rank: int) -> Tensor:
        """A tensor with at least ``rank`` axes; missing ones are added in front."""
        missing = rank - len(x.file_shape)
        if missing <= 0:
            return x
        key = x.name, rank
        self.takes_one(node)
        if key not in self._ranked:
            x = self.in_file_layout(node, x)
            name, shape = self.name_of(f"{key[0]}.{rank}d"), (1,) * missing + x.shape
            self._ranked[key] = self.add(Reshape, node, name, quantization_of(x), shape=shape, input=x.name)
        return self._ranked[key]

    def in_order(self, node: Node, x: Tensor) -> tuple[Tensor, tuple[int, ...]]:
        """A tensor whose axes here are those of the file, perhaps in another order: for each axis of the file its place
        here."""
        layout = x.file_layout
        if layout is None or layout.view != x.shape or layout.shape != tuple(layout.view[axis] for axis in layout.axes):
            x = self.in_file_layout(node, x)
            return x, tuple(range(len(x.shape)))
        return x, layout.axes

    def with_axis_last(
        self, node: Node, x: Tensor, axis: int
    ) -> tuple[Tensor, Callable[[tuple[int, ...]], FileLayout | None]]:
        """A tensor whose last axis here is an axis of the file, and the file's layout of results of its shape."""
        rank = len(x.file_shape)
        layout = x.file_layout or FileLayout(x.shape, tuple(range(rank)), x.shape)
        if layout.view != x.shape or layout.shape != tuple(layout.view[place] for place in layout.axes):
            x = self.in_file_layout(node, x)
            layout = FileLayout(x.shape, tuple(range(rank)), x.shape)
        if layout.axes[axis] == rank - 1:
            return x, lambda _: x.file_layout
        order = (*(place for place in range(rank) if place != axis), axis)
        moved = FileLayout(
            layout.view, tuple(layout.axes[place] for place in order), tuple(x.file_shape[place] for place in order)
        )
        name = self.name_of(f"{x.name}.moved")
        fields: dict[str, Any] = {"shape": x.shape, "input": x.name}
        last = self.in_file_layout(node, self.add(Reshape, node, name, quantization_of(x), lambda _: moved, **fields))
        back = tuple(order.index(place) for place in range(rank))
        return last, lambda shape: FileLayout(shape, back, tuple(shape[place] for place in back))

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
