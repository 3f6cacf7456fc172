"""Reads ONNX files into plain records.

Errors of the parser leave this module as errors of this package.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from sateen.errors import CompileError
from sateen.extras import install_hint
from sateen.frontends.onnx.external import embed
from sateen.frontends.onnx.schemas import MICROSOFT, Schema, find, opsets, plain, same, text
from sateen.graph import Array, GraphError, one_line, require

__all__ = ["NARROW", "Node", "OnnxModel", "array", "guarded", "parse", "read", "records", "widened"]

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
    """Those that the file states."""
    schema: Schema | None
    """Its definition; ``None`` if there is none, so that no handler takes it."""
    used: set[str | int] = field(default_factory=set, compare=False)
    """The attributes and the places of inputs that a handler has used."""

    def __str__(self) -> str:
        return f"operator {self.name!r} ({self.kind})"

    @property
    def operator_form(self) -> bool:
        """Whether it computes with integers, whose quantization its inputs state."""
        return self.kind.removeprefix("com.microsoft.").startswith(("QLinear", "QGemm"))

    def get(self, name: str, missing: Any = None) -> Any:
        """An attribute, which counts as used: the file's value, else its default in this version of the operator, else
        ``missing``."""
        self.used.add(name)
        default = self._default(name)
        return self.attributes.get(name, missing if default is None else default)

    def has(self, place: int) -> bool:
        """Whether the file gives an input."""
        return place < len(self.inputs) and bool(self.inputs[place])

    def ignore(self, *names: str | int) -> None:
        """Counts attributes and inputs as used that cannot change the result here."""
        self.used.update(names)

    def _default(self, name: str) -> Any:
        attribute = self.schema.attributes.get(name) if self.schema else None
        return attribute.default if attribute else None

    def check_known(self, schema: Schema) -> None:
        """Raises :class:`GraphError` if the file states an attribute or an input that the definition lacks."""
        version = f"version {schema.version} of its definition"
        fits = len(self.inputs) <= schema.inputs
        require(fits, self, f"it has {len(self.inputs)} inputs, and {version} {schema.inputs}; export the model anew")
        for name in sorted(self.attributes.keys() - schema.attributes.keys()):
            raise GraphError(f"{self}: its attribute {name} is unknown to {version}; export the model without it")

    def check_used(self) -> None:
        """Raises :class:`GraphError` if the file states an attribute or an input that no handler has used, unless the
        attribute is at its default."""
        for name in sorted(self.attributes.keys() - self.used):
            value, default = self.attributes[name], self._default(name)
            remedy = "without it" if default is None else f"with {text(default)}"
            require(
                default is not None and same(value, default),
                self,
                f"its attribute {name} of {text(value)} is not supported; export the model {remedy}",
            )
        for place, name in enumerate(self.inputs):
            require(
                not name or place in self.used,
                self,
                f"its input {place}, {name!r}, is not supported; export the model without it",
            )


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
    free: bool = False
    """Whether an input's first axis is free."""
    replaceable: frozenset[str] = frozenset()
    """Constants that are inputs, too: other interpreters let callers replace them, and optimize less for it."""


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
    return records(*parse(data, folder))


def records(onnx: Any, model: Any) -> OnnxModel:
    """The records of a ModelProto; raises what :func:`read` does."""
    with guarded("file", "it is damaged"):
        if model.functions:
            model = onnx.inliner.inline_local_functions(model)
        return _model(onnx, model)


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
        import onnx.inliner
    except ImportError as error:
        raise CompileError(f"reading ONNX needs the onnx package ({error}); {install_hint('onnx')}") from error
    with guarded("file", "it is no ONNX model, or damaged"):
        model = onnx.ModelProto.FromString(data)
    require(len(model.graph.node) > 0, "file", "it is no ONNX model, or holds no operator; export or download it anew")
    with guarded("file", "its values in other files cannot be read"):
        embed(onnx, model, folder)
    return onnx, model


def _model(onnx: Any, model: Any) -> OnnxModel:
    graph, versions = model.graph, opsets(onnx, model)
    require(len(graph.sparse_initializer) == 0, "file", "it has sparse constants; export the model with dense ones")
    constants = {_text(tensor.name): array(onnx, tensor) for tensor in graph.initializer}
    inputs = {}
    for value in graph.input:
        if _text(value.name) not in constants:
            inputs[_text(value.name)] = _described(onnx, value)
    nodes, made = [_node(onnx, versions, index, node) for index, node in enumerate(graph.node)], set[str]()
    for node in nodes:
        twice = sorted(made & {*node.outputs})
        require(not twice, node, f"its output {twice[0] if twice else ''!r} is made twice; export the model anew")
        made |= {*node.outputs} - {""}
    return OnnxModel(
        name=_text(graph.name), nodes=_sorted(nodes, {*constants, *inputs, ""}), constants=constants, inputs=inputs,
        outputs=tuple(_text(value.name) for value in graph.output),
        free=any(
            not value.type.tensor_type.shape.dim[0].dim_value for value in graph.input if _text(value.name) in inputs
        ),
        # Before version 4 of the format every constant had to be an input.
        replaceable=frozenset(map(_text, (value.name for value in graph.input if model.ir_version > 3))) - {*inputs},
    )  # fmt: skip


def _text(name: str | bytes) -> str:
    """A name in one line. The parser returns bytes if it is not UTF-8."""
    return one_line(name.decode("utf-8", "replace") if isinstance(name, bytes) else name)


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


NARROW = {"int4": np.int8, "uint4": np.uint8}
"""Types of 4 bits, by their names, and the types of 8 bits that hold their values."""


def widened(values: Array) -> Array:
    """Values of 4 bits as such of 8 bits; others as they are."""
    return values.astype(NARROW[values.dtype.name]) if values.dtype.name in NARROW else values


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
    # Types that NumPy itself lacks are of kind V. Those of 4 bits stay what they are, so that only constants of codes
    # can be of them.
    require(
        values.dtype.kind in "biuf" or values.dtype.name in NARROW,
        who,
        f"its type {names[tensor.data_type]} is not supported; quantize the model to int8",
    )
    require(
        values.shape == shape,
        who,
        f"its values are of shape {values.shape}, not {shape}; export or download the model anew",
    )
    return values


def _node(onnx: Any, versions: Mapping[str, int], index: int, node: Any) -> Node:
    domain = "" if node.domain in ("", "ai.onnx") else _text(node.domain)
    kind = f"{domain}.{_text(node.op_type)}" if domain else _text(node.op_type)
    name = _text(node.name) or f"{kind}_{index}"
    who = f"operator {name!r} ({kind})"
    stated = domain in versions or domain not in ("", MICROSOFT)
    require(stated, who, f"the file states no version of its domain {domain or 'ai.onnx'!r}; export the model anew")
    require(
        domain != MICROSOFT or versions[domain] == 1,
        who,
        f"version {versions.get(domain)} of its domain is not known; export the model with version 1",
    )
    schema = find(onnx, domain, _text(node.op_type), versions.get(domain, 0))
    attributes = {}
    for attribute in node.attribute:
        title = _text(attribute.name)
        require(title not in attributes, who, f"it has two attributes {title!r}; export the model anew")
        attributes[title] = _attribute(onnx, who, title, attribute, schema)
    return Node(
        kind=kind,
        name=name,
        inputs=tuple(map(_text, node.input)),
        outputs=tuple(map(_text, node.output)),
        attributes=attributes,
        schema=schema,
    )


def _attribute(onnx: Any, who: str, title: str, attribute: Any, schema: Schema | None) -> Any:
    names = {number: name for name, number in onnx.AttributeProto.AttributeType.items()}
    kind = names.get(attribute.type, str(attribute.type))
    require(
        "GRAPH" not in kind, who, "graphs within operators are not supported; export the model without control flow"
    )
    require(kind in ATTRIBUTES, who, f"its attribute {title!r} has a type that is not supported, {kind}")
    known = schema.attributes.get(title) if schema else None
    require(
        known is None or known.kind == kind, who, f"its attribute {title} must be {known and known.kind}, not {kind}"
    )
    if kind == "TENSOR":
        return array(onnx, attribute.t)
    with guarded(who, f"its attribute {title!r} is damaged"):
        return plain(onnx.helper.get_attribute_value(attribute))


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
