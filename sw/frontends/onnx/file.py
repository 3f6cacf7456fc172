"""ONNX files as plain records."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

from sateen.errors import CompileError
from sateen.extras import install_hint
from sateen.graph import Array, GraphError, require

__all__ = ["Node", "OnnxModel", "read"]

TYPES = {"FLOAT": np.float32, "INT8": np.int8, "UINT8": np.uint8, "INT32": np.int32, "INT64": np.int64}


@dataclass(frozen=True, kw_only=True)
class Node:
    """An operator as the file has it."""

    kind: str
    """With its domain, if that is not ONNX's own: ``com.microsoft.QGemm``."""
    name: str
    inputs: tuple[str, ...]
    """Empty where an optional one is left out."""
    outputs: tuple[str, ...]
    attributes: Mapping[str, Any]

    def __str__(self) -> str:
        return f"operator {self.name!r} ({self.kind})"

    def get(self, name: str, default: Any) -> Any:
        """An attribute, of the default's type: a number, text, or a tuple of numbers."""
        value = self.attributes.get(name, default)
        if isinstance(value, bytes):
            value = value.decode("utf-8", "replace")
        if isinstance(default, tuple):
            good = isinstance(value, list | tuple) and all(isinstance(item, int | float) for item in value)
            require(good, self, f"its attribute {name} must be a list of numbers")
            return tuple(value)
        if default is not None:
            good = isinstance(value, type(default)) or isinstance(default, float) and isinstance(value, int)
            require(good, self, f"its attribute {name} must be {type(default).__name__}, not {value!r}")
        return value


@dataclass(frozen=True, kw_only=True)
class OnnxModel:
    """What of a file matters."""

    name: str
    nodes: tuple[Node, ...]
    """Each after those that it depends on."""
    constants: dict[str, Array]
    inputs: dict[str, tuple[str, tuple[int, ...]]]
    """Type and shape of each; a free first axis is 1."""
    outputs: tuple[str, ...]


def read(data: bytes) -> OnnxModel:
    """A model's records.

    Raises
    ------
    CompileError
        If the ``onnx`` package is missing.
    GraphError
        If the bytes are no ONNX model, or refer to other files, or operators depend on each other in a circle.
    """
    try:
        import onnx
        from google.protobuf.message import DecodeError
    except ImportError as error:
        raise CompileError(f"reading ONNX needs the onnx package ({error}); {install_hint('onnx')}") from error
    try:
        model = onnx.ModelProto.FromString(data)
    except DecodeError as error:
        raise GraphError(f"file: it is no ONNX model, or damaged ({error}); export or download it anew") from error
    graph = model.graph
    require(len(graph.node) > 0, "file", "it is no ONNX model, or holds no operator; export or download it anew")
    constants = {_text(tensor.name): _array(onnx, tensor) for tensor in graph.initializer}
    inputs = {}
    for value in graph.input:
        if _text(value.name) not in constants:
            inputs[_text(value.name)] = _described(onnx, value)
    nodes = [_node(onnx, index, node) for index, node in enumerate(graph.node)]
    return OnnxModel(
        name=graph.name, nodes=_sorted(nodes, {*constants, *inputs, ""}), constants=constants, inputs=inputs,
        outputs=tuple(_text(value.name) for value in graph.output),
    )  # fmt: skip


def _text(name: str | bytes) -> str:
    """A name as one line; the parser gives it as bytes if it is not UTF-8."""
    text = name.decode("utf-8", "replace") if isinstance(name, bytes) else name
    return "".join(char if char.isprintable() else "?" for char in text)


def _described(onnx: Any, value: Any) -> tuple[str, tuple[int, ...]]:
    who = f"tensor {value.name!r}"
    tensor = value.type.tensor_type
    names = {number: name for name, number in onnx.TensorProto.DataType.items()}
    kind = names.get(tensor.elem_type, str(tensor.elem_type))
    shape = [dim.dim_value if dim.HasField("dim_value") else 0 for dim in tensor.shape.dim]
    require(len(shape) > 0, who, "it has no shape; export the model with one")
    shape[0] = shape[0] or 1
    require(
        all(size > 0 for size in shape),
        who,
        f"its shape {tuple(shape)} is not fixed; export the model with fixed shapes",
    )
    return kind, tuple(shape)


def _array(onnx: Any, tensor: Any) -> Array:
    who = f"tensor {tensor.name!r}"
    require(
        tensor.data_location != onnx.TensorProto.EXTERNAL,
        who,
        "its values are in another file; save the model as one file",
    )
    shape = tuple(tensor.dims)
    require(
        all(size >= 0 for size in shape) and math.prod(shape) <= 2**28,
        who,
        f"its shape {shape} is negative or too large",
    )
    try:
        return np.asarray(onnx.numpy_helper.to_array(tensor))
    except (ValueError, TypeError, KeyError, AttributeError, IndexError) as error:
        raise GraphError(f"{who}: its values are damaged ({error}); export the model anew") from error


def _node(onnx: Any, index: int, node: Any) -> Node:
    domain = "" if node.domain in ("", "ai.onnx") else f"{_text(node.domain)}."
    kind = f"{domain}{_text(node.op_type)}"
    name = _text(node.name) or f"{kind}_{index}"
    attributes = {}
    for attribute in node.attribute:
        who = f"operator {name!r} ({kind})"
        if attribute.type == onnx.AttributeProto.TENSOR:
            attributes[_text(attribute.name)] = _array(onnx, attribute.t)
        elif attribute.type in (onnx.AttributeProto.GRAPH, onnx.AttributeProto.GRAPHS):
            raise GraphError(f"{who}: graphs within operators are not supported; export the model without control flow")
        else:
            try:
                attributes[_text(attribute.name)] = onnx.helper.get_attribute_value(attribute)
            except ValueError as error:
                raise GraphError(f"{who}: its attribute {attribute.name!r} is damaged ({error})") from error
    return Node(
        kind=kind,
        name=name,
        inputs=tuple(map(_text, node.input)),
        outputs=tuple(map(_text, node.output)),
        attributes=attributes,
    )


def _sorted(nodes: list[Node], known: set[str]) -> tuple[Node, ...]:
    """Nodes in an order in which each has its inputs."""
    known, ordered, waiting = set(known), [], list(nodes)
    readers: dict[str, list[int]] = {}
    missing = []
    for place, node in enumerate(waiting):
        wanted = {name for name in node.inputs if name not in known}
        missing.append(wanted)
        for name in wanted:
            readers.setdefault(name, []).append(place)
    ready = [place for place, wanted in enumerate(missing) if not wanted]
    while ready:
        place = ready.pop(0)
        ordered.append(waiting[place])
        for name in waiting[place].outputs:
            for reader in readers.pop(name, []):
                missing[reader].discard(name)
                if not missing[reader]:
                    ready.append(reader)
    if len(ordered) < len(nodes):
        stuck = next(node for node, wanted in zip(nodes, missing, strict=True) if wanted)
        name = sorted(missing[nodes.index(stuck)])[0]
        raise GraphError(
            f"{stuck}: its input {name!r} is made by no operator, or by one that waits for this one; export the model anew"
        )
    return tuple(ordered)
