"""Reads ONNX files into plain records.

Errors of the parser leave this module as errors of this package.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from sateen.errors import CompileError
from sateen.extras import install_hint
from sateen.frontends.onnx.external import embed
from sateen.graph import Array, GraphError, require

__all__ = ["Node", "OnnxModel", "array", "guarded", "parse", "read"]

ATTRIBUTES = ("FLOAT", "INT", "STRING", "TENSOR", "FLOATS", "INTS", "STRINGS")
"""Types of attributes that operators here have."""


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

    @property
    def operator_form(self) -> bool:
        """Whether it computes with integers, whose quantization its inputs state."""
        return self.kind.removeprefix("com.microsoft.").startswith(("QLinear", "QGemm"))

    def get(self, name: str, default: Any) -> Any:
        """An attribute, of the default's type: a number, text, or a tuple of whole numbers."""
        value = self.attributes.get(name, default)
        if isinstance(value, bytes):
            value = value.decode("utf-8", "replace")
        if isinstance(default, tuple):
            good = isinstance(value, list | tuple) and all(isinstance(item, int) for item in value)
            require(good, self, f"its attribute {name} must be a list of numbers")
            return tuple(value)
        if default is not None:
            good = isinstance(value, type(default)) or isinstance(default, float) and isinstance(value, int)
            require(good, self, f"its attribute {name} must be {type(default).__name__}, not {value!r}")
        return value


@dataclass(frozen=True, kw_only=True)
class OnnxModel:
    """The parts of a file that matter here."""

    name: str
    nodes: tuple[Node, ...]
    """In an order in which each comes after those that it depends on."""
    constants: dict[str, Array]
    inputs: dict[str, tuple[str, tuple[int, ...]]]
    """Type and shape of each; a free first axis is 1."""
    outputs: tuple[str, ...]


def read(data: bytes, folder: Path | None = None) -> OnnxModel:
    """A model's records. ``folder`` is that of its file, where its other files are.

    Raises
    ------
    CompileError
        If the ``onnx`` package is missing.
    GraphError
        If the bytes are no ONNX model, or operators depend on each other in a circle, or another file of the model
        cannot be used.
    """
    onnx, model = parse(data, folder)
    with guarded("file", "it is damaged"):
        return _model(onnx, model.graph)


@contextmanager
def guarded(who: object, what: str, then: str = "export or download the model anew") -> Iterator[None]:
    """Turns any exception of a library into a :class:`GraphError`.

    Libraries trust the file; a damaged one makes them raise nearly anything.
    """
    try:
        yield
    except GraphError:
        raise
    except Exception as error:
        lines = str(error).split("\n")
        text = next((line.strip() for line in lines if line.strip()), "")
        raise GraphError(f"{who}: {what} ({type(error).__name__}: {text}); {then}") from error


def parse(data: bytes, folder: Path | None = None) -> tuple[Any, Any]:
    """The ``onnx`` package, and the file as its ModelProto, with the values that stand in other files of ``folder``."""
    try:
        import onnx
    except ImportError as error:
        raise CompileError(f"reading ONNX needs the onnx package ({error}); {install_hint('onnx')}") from error
    with guarded("file", "it is no ONNX model, or damaged"):
        model = onnx.ModelProto.FromString(data)
    require(len(model.graph.node) > 0, "file", "it is no ONNX model, or holds no operator; export or download it anew")
    with guarded("file", "its values in other files cannot be read"):
        embed(onnx, model, folder)
    return onnx, model


def _model(onnx: Any, graph: Any) -> OnnxModel:
    constants = {_text(tensor.name): array(onnx, tensor) for tensor in graph.initializer}
    inputs = {}
    for value in graph.input:
        if _text(value.name) not in constants:
            inputs[_text(value.name)] = _described(onnx, value)
    nodes = [_node(onnx, index, node) for index, node in enumerate(graph.node)]
    return OnnxModel(
        name=_text(graph.name), nodes=_sorted(nodes, {*constants, *inputs, ""}), constants=constants, inputs=inputs,
        outputs=tuple(_text(value.name) for value in graph.output),
    )  # fmt: skip


def _text(name: str | bytes) -> str:
    """A name in one line. The parser returns bytes if it is not UTF-8."""
    text = name.decode("utf-8", "replace") if isinstance(name, bytes) else name
    return "".join(char if char.isprintable() else "?" for char in text)


def _described(onnx: Any, value: Any) -> tuple[str, tuple[int, ...]]:
    who = f"tensor {_text(value.name)!r}"
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


def array(onnx: Any, tensor: Any) -> Array:
    """A constant's values; a :class:`GraphError` unless the file has them whole, as numbers or truth values."""
    who = f"tensor {_text(tensor.name)!r}"
    shape = tuple(tensor.dims)
    require(
        all(size >= 0 for size in shape) and math.prod(shape) <= 2**28,
        who,
        f"its shape {shape} is negative or too large",
    )
    with guarded(who, "its values are damaged"):
        values = np.asarray(onnx.numpy_helper.to_array(tensor))
    names = {number: name for name, number in onnx.TensorProto.DataType.items()}
    # Types that NumPy itself lacks are of kind V.
    require(
        values.dtype.kind in "biuf",
        who,
        f"its type {names[tensor.data_type]} is not supported; quantize the model to int8",
    )
    require(
        values.shape == shape,
        who,
        f"its values are of shape {values.shape}, not {shape}; export or download the model anew",
    )
    return values


def _node(onnx: Any, index: int, node: Any) -> Node:
    domain = "" if node.domain in ("", "ai.onnx") else f"{_text(node.domain)}."
    kind = f"{domain}{_text(node.op_type)}"
    name = _text(node.name) or f"{kind}_{index}"
    who = f"operator {name!r} ({kind})"
    names = {number: name for name, number in onnx.AttributeProto.AttributeType.items()}
    attributes = {}
    for attribute in node.attribute:
        title, type_name = _text(attribute.name), names.get(attribute.type, str(attribute.type))
        require(
            "GRAPH" not in type_name,
            who,
            "graphs within operators are not supported; export the model without control flow",
        )
        require(type_name in ATTRIBUTES, who, f"its attribute {title!r} has a type that is not supported, {type_name}")
        if type_name == "TENSOR":
            attributes[title] = array(onnx, attribute.t)
        else:
            with guarded(who, f"its attribute {title!r} is damaged"):
                attributes[title] = onnx.helper.get_attribute_value(attribute)
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
            f"{stuck}: its input {name!r} is made by no operator, or by one that waits for this one; "
            "export the model anew"
        )
    return tuple(ordered)
