"""Models whose tensors do not all begin with a batch: one more axis of length 1 in front of each is the batch.

A graph computes items, each by itself, along the first axis of every tensor. Where a model's own first axis is none, as
behind a Squeeze of all axes, or is one that an operator reaches into, it becomes the second axis here. Operators keep
what they compute: places of axes are shifted, and operators on images get their images without the axis.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import Any

import numpy as np

from sateen.frontends.onnx.file import Node, OnnxModel
from sateen.frontends.onnx.making import Maker
from sateen.graph import Array, FileLayout, Tensor, require

__all__ = ["with_batch", "without_axis"]

BY_AXIS = (
    "ArgMax", "ArgMin", "Concat", "Gather", "LayerNormalization", "LogSoftmax", "RMSNormalization",
    "SimplifiedLayerNormalization", "Softmax", "Split", "TopK", "com.microsoft.QLinearConcat",
    "com.microsoft.QLinearSoftmax",
)  # fmt: skip
"""Operators along an attribute ``axis``."""
IMAGES = (
    "AveragePool", "BatchNormalization", "Conv", "ConvTranspose", "DepthToSpace", "GlobalAveragePool", "GlobalMaxPool",
    "MaxPool", "QLinearConv", "Resize", "SpaceToDepth", "Upsample", "com.microsoft.QLinearAveragePool",
    "com.microsoft.QLinearGlobalAveragePool",
)  # fmt: skip
"""Operators that give the first two axes a meaning."""


def with_batch(model: OnnxModel) -> OnnxModel:
    """The same model with one more axis in front of every tensor that depends on an input.

    Inputs whose first axis is 1 already keep it, and are given without the new one. A :class:`GraphError` names an
    operator that cannot be extended.
    """
    return _Extended(model).extended()


def without_axis(tensor: Tensor) -> Tensor:
    """A tensor of an extended model, in the file's layout without the second axis, if that is 1."""
    shape = tensor.file_shape
    if len(shape) < 3 or shape[1] != 1:
        return tensor
    layout = tensor.file_layout or FileLayout(shape, tuple(range(len(shape))), shape)
    return replace(tensor, file_layout=replace(layout, shape=(shape[0], *shape[2:])))


class _Extended:
    def __init__(self, model: OnnxModel):
        self.model, self.make = model, Maker()
        self.nodes: list[Node] = []
        self.constants = dict(model.constants)
        self.held = {
            node.outputs[0]: value
            for node in model.nodes
            for name, value in node.attributes.items()
            if node.kind == "Constant" and name in ("value", "value_int", "value_ints")
        }
        """Constants that operators hold."""
        self.names = {*model.constants, *model.inputs, *(name for node in model.nodes for name in node.outputs)}
        self.renamed: dict[str, str] = {}
        """Inputs of the model, by the names of their extended tensors."""
        self.dynamic: set[str] = set()
        """Tensors of the new model that have the new axis."""

    def extended(self) -> OnnxModel:
        inputs = {}
        for name, (kind, shape) in self.model.inputs.items():
            if shape[0] == 1 and len(shape) > 1:
                inputs[name] = kind, shape
                self.renamed[name] = self.unsqueezed(name, 1)
            else:
                inputs[name] = kind, (1, *shape)
            self.dynamic.add(self.renamed.get(name, name))
        for node in self.model.nodes:
            if node.schema is not None:
                # Some are replaced with operators that have other attributes.
                node.check_known(node.schema)
            node = replace(node, inputs=tuple(self.renamed.get(name, name) for name in node.inputs), used=set())
            if not self.dynamic.intersection(node.inputs):
                self.nodes.append(node)
                continue
            self.extend(node)
            if node.kind != "Shape":
                self.dynamic.update(node.outputs)
        outputs = tuple(self.renamed.get(name, name) for name in self.model.outputs)
        return replace(self.model, nodes=tuple(self.nodes), constants=self.constants, inputs=inputs, outputs=outputs)

    def extend(self, node: Node) -> None:
        """Adds an operator with the new axis in its inputs and outputs."""
        if node.kind in IMAGES:
            self.around(node)
        elif node.kind in BY_AXIS:
            self.along(node)
        elif node.kind in ("Squeeze", "Unsqueeze") or node.kind.startswith("Reduce"):
            self.over(node)
        else:
            special: dict[str, Callable[[Node], None]] = {
                "Flatten": self.flatten, "Gemm": self.gemm, "Pad": self.pad, "Reshape": self.reshape,
                "Shape": self.shape, "Slice": self.slice, "Tile": self.tile, "Transpose": self.transpose,
                "com.microsoft.QGemm": self.gemm,
            }  # fmt: skip
            special.get(node.kind, self.nodes.append)(node)

    # Parts.

    def name(self, wanted: str) -> str:
        others = (f"{wanted}.{place}" for place in range(len(self.names)))
        free = next(name for name in (wanted, *others) if name not in self.names)
        self.names.add(free)
        return free

    def constant(self, values: Sequence[int] | Array, like: str) -> str:
        name = self.name(f"{like}.extended")
        self.constants[name] = np.asarray(values, np.int64)
        return name

    def add(self, kind: str, inputs: list[str], output: str, **attributes: Any) -> str:
        self.nodes.append(self.make.node(kind, f"{output}.{kind}", inputs, [output], **attributes))
        return output

    def unsqueezed(self, name: str, axis: int) -> str:
        return self.add("Unsqueeze", [name, self.constant([axis], name)], self.name(f"{name}.item"))

    def known(self, node: Node, place: int) -> Array:
        """A constant input that is in the file as such."""
        require(node.has(place), node, f"its input {place} is missing; export the model anew")
        value = self.constants.get(node.inputs[place], self.held.get(node.inputs[place]))
        good = value is not None
        require(good, node, f"its input {node.inputs[place]!r} must be a constant in a model without a batch")
        values = np.asarray(value).reshape(-1)
        require(values.dtype.kind in "iu", node, f"its input {place} must be whole numbers, not {values.dtype}")
        return values

    def with_input(self, node: Node, place: int, name: str) -> Node:
        inputs = [*node.inputs, *[""] * (place + 1 - len(node.inputs))]
        inputs[place] = name
        return replace(node, inputs=tuple(inputs))

    def with_attributes(self, node: Node, **attributes: Any) -> Node:
        return replace(node, attributes={**node.attributes, **attributes})

    # Kinds of operators.

    def around(self, node: Node) -> None:
        """Operators on images: without the axis before them, with it behind."""
        image = self.name(f"{node.inputs[0]}.image")
        self.add("Squeeze", [node.inputs[0], self.constant([1], image)], image)
        made = [self.name(f"{name}.image") if name else "" for name in node.outputs]
        self.nodes.append(replace(self.with_input(node, 0, image), outputs=tuple(made)))
        for name, inner in zip(node.outputs, made, strict=True):
            if name:
                self.add("Unsqueeze", [inner, self.constant([1], name)], name)

    def along(self, node: Node) -> None:
        axis = node.get("axis")
        if isinstance(axis, int) and axis >= 0:
            node = self.with_attributes(node, axis=axis + 1)
        if node.kind == "Concat":
            inputs = (name if name in self.dynamic else self.unsqueezed(name, 0) for name in node.inputs)
            node = replace(node, inputs=tuple(inputs))
        self.nodes.append(node)

    def over(self, node: Node) -> None:
        if node.has(1):
            axes = _shifted(self.known(node, 1))
            self.nodes.append(self.with_input(node, 1, self.constant(axes, node.outputs[0])))
            return
        axes = node.get("axes", ())
        all_of_them = node.kind != "Squeeze" and not axes
        require(not all_of_them, node, "it names no axes, in a model without a batch; export it with axes")
        self.nodes.append(self.with_attributes(node, axes=tuple(_shifted(axes))) if axes else node)

    def flatten(self, node: Node) -> None:
        axis = node.get("axis")
        require(axis in (0, 1), node, f"its axis {axis} is not supported in a model without a batch; use 1")
        target = [1, 0, -1] if axis == 1 else [1, 1, -1]
        self.add("Reshape", [node.inputs[0], self.constant(target, node.outputs[0])], node.outputs[0])

    def gemm(self, node: Node) -> None:
        """With transA the first axis of the file's tensor, which is no batch then, is the last of the product's."""
        if node.get("transA", 0):
            name = self.add("Transpose", [node.inputs[0]], self.name(f"{node.inputs[0]}.transposed"), perm=(0, 2, 1))
            others = {key: value for key, value in node.attributes.items() if key != "transA"}
            node = replace(self.with_input(node, 0, name), attributes=others)
        self.nodes.append(node)

    def reshape(self, node: Node) -> None:
        if not node.has(1):
            self.nodes.append(self.with_attributes(node, shape=(1, *node.get("shape", ()))))
            return
        wanted = self.name(f"{node.inputs[1]}.wanted")
        self.add("Concat", [self.constant([1], wanted), node.inputs[1]], wanted, axis=0)
        self.nodes.append(self.with_input(node, 1, wanted))

    def shape(self, node: Node) -> None:
        require(not node.attributes, node, "part of a shape is not supported in a model without a batch")
        whole = self.name(f"{node.outputs[0]}.whole")
        self.nodes.append(replace(node, outputs=(whole,)))
        ends = [self.constant([value], whole) for value in (1, 2**31 - 1, 0)]
        self.add("Slice", [whole, *ends], node.outputs[0])

    def slice(self, node: Node) -> None:
        if not node.has(1):
            axes = node.get("axes", tuple(range(len(node.get("starts", ())))))
            self.nodes.append(self.with_attributes(node, axes=tuple(_shifted(axes))))
            return
        axes = self.known(node, 3) if node.has(3) else np.arange(len(self.known(node, 1)))
        self.nodes.append(self.with_input(node, 3, self.constant(_shifted(axes), node.outputs[0])))

    def pad(self, node: Node) -> None:
        if node.has(3):
            self.nodes.append(self.with_input(node, 3, self.constant(_shifted(self.known(node, 3)), node.outputs[0])))
            return
        pads = [int(size) for size in (self.known(node, 1) if node.has(1) else node.get("pads", ()))]
        pads = [0, *pads[: len(pads) // 2], 0, *pads[len(pads) // 2 :]]
        if node.has(1):
            self.nodes.append(self.with_input(node, 1, self.constant(pads, node.outputs[0])))
        else:
            self.nodes.append(self.with_attributes(node, pads=tuple(pads)))

    def tile(self, node: Node) -> None:
        self.nodes.append(self.with_input(node, 1, self.constant([1, *self.known(node, 1)], node.outputs[0])))

    def transpose(self, node: Node) -> None:
        order = node.get("perm", ())
        require(len(order) > 0, node, "it names no order of axes, in a model without a batch; export it with perm")
        self.nodes.append(self.with_attributes(node, perm=(0, *(axis + 1 for axis in order))))


def _shifted(axes: Sequence[int] | Array) -> list[int]:
    """Places of axes behind the new one; those counted from the end stay."""
    return [int(axis) + 1 if axis >= 0 else int(axis) for axis in axes]
