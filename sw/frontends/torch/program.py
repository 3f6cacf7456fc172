"""Exported PyTorch programs as plain records, and the arguments of their calls by name."""

from __future__ import annotations

import copy
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from sateen.graph import GraphError, require

if TYPE_CHECKING:
    import torch

__all__ = ["Call", "Program", "read"]


@dataclass(frozen=True, kw_only=True)
class Program:
    """What matters of a ``torch.export.ExportedProgram``: it has no calls that change their arguments."""

    module: torch.fx.GraphModule
    """Takes constants and inputs in the order of its placeholders."""
    constants: dict[str, torch.Tensor]
    """Parameters, buffers and constants, by the placeholder's name."""
    inputs: tuple[str, ...]
    outputs: tuple[torch.fx.Node, ...]

    @property
    def quantized(self) -> bool:
        """Whether PT2E has quantized it."""
        return any("quantized_decomposed" in str(node.target) for node in self.module.graph.nodes)

    @property
    def batch(self) -> int:
        """The size of the first input's first axis; 0 if it is free."""
        nodes = {node.name: node for node in self.module.graph.nodes}
        size = nodes[self.inputs[0]].meta["val"].shape[0]
        return size if isinstance(size, int) else 0


def read(exported: torch.export.ExportedProgram) -> Program:
    """A program's records, with calls that change their arguments replaced by calls that do not.

    Raises
    ------
    GraphError
        If the program changes its buffers, returns something else than tensors, or has control flow.
    """
    import torch
    from torch.export.graph_signature import InputKind, OutputKind

    module = torch.fx.GraphModule(exported.graph_module, copy.deepcopy(exported.graph))
    if not _without_changes(module.graph):
        exported = exported.run_decompositions({})
        module = exported.graph_module
    signature, constants, inputs = exported.graph_signature, {}, []
    values = {**exported.state_dict, **exported.constants}
    # A copy's placeholders may have other names.
    placeholders = [node for node in module.graph.nodes if node.op == "placeholder"]
    for spec, node in zip(signature.input_specs, placeholders, strict=True):
        if spec.kind is InputKind.USER_INPUT:
            tensor = hasattr(node.meta.get("val"), "shape")
            require(tensor, "program", f"its input {node.name} is no tensor; export it with tensors alone")
            inputs.append(node.name)
        else:
            kind, known = spec.kind.name.lower(), spec.target in values
            require(known, "program", f"its {kind} {spec.target!r} is not supported; export it without")
            constants[node.name] = values[spec.target].detach()
    for output in signature.output_specs:
        kept = output.kind is OutputKind.USER_OUTPUT
        require(kept, "program", f"it changes its {output.target!r}; call eval() on the module before the export")
    (end,) = (node for node in module.graph.nodes if node.op == "output")
    outputs = end.args[0]
    for node in outputs:
        good = hasattr(node, "op") and node.name not in constants
        require(good, "program", f"its output {node} is a constant; return what is computed from the input")
    for node in module.graph.nodes:
        plain = node.op in ("placeholder", "output", "call_function")
        require(plain, f"operator {node.name!r}", f"{node.op} of {node.target} is not supported; export without it")
    return Program(module=module, constants=constants, inputs=tuple(inputs), outputs=tuple(outputs))


def _without_changes(graph: torch.fx.Graph) -> bool:
    """Replaces calls that change their argument (``relu_``) by those that do not, where nobody could tell.

    Returns whether that went for all. PyTorch can always do it, which takes as long as the export.
    """
    import torch

    places = {node: place for place, node in enumerate(graph.nodes)}
    for node in graph.nodes:
        schema = getattr(node.target, "_schema", None)
        if schema is None or not schema.is_mutable:
            continue
        changed, name = node.args[0], schema.name.removeprefix("aten::").removesuffix("_")
        packet = getattr(torch.ops.aten, name, None)
        others = [user for user in changed.users if user is not node]
        free = changed.op == "call_function" and not _aliases(changed)
        before = all(places[user] < places[node] and not _aliases(user) for user in others)
        twin = getattr(packet, schema.overload_name or "default", None)
        if not (free and before) or twin is None or twin._schema.is_mutable:
            return False
        node.target = twin
    return True


def _aliases(node: torch.fx.Node) -> bool:
    """Whether a call may return its argument's memory."""
    schema = getattr(node.target, "_schema", None)
    # In evaluation, dropout returns its argument, whatever its schema says.
    return schema is None or "dropout" in schema.name or any(result.alias_info is not None for result in schema.returns)


class Call:
    """A call of an ATen operator, with its arguments by name.

    Whoever translates it takes the arguments that it knows. The others must have their defaults: :meth:`finish` refuses
    any other value.
    """

    def __init__(self, node: torch.fx.Node):
        self.node = node
        self.kind = str(node.target)
        schema = getattr(node.target, "_schema", None)
        require(schema is not None, f"operator {node.name!r}", f"{self.kind} is not supported; export without it")
        assert schema is not None
        self.arguments: dict[str, Any] = {}
        self._defaults: dict[str, Any] = {}
        for place, argument in enumerate(schema.arguments):
            default = argument.default_value if argument.has_default_value() else None
            given = place < len(node.args) and not argument.kwarg_only
            value = node.args[place] if given else node.kwargs.get(argument.name, default)
            self.arguments[argument.name], self._defaults[argument.name] = _plain(value), default
        self._left = set(self.arguments)

    def __str__(self) -> str:
        return f"operator {self.node.name!r} ({self.kind})"

    def take(self, name: str) -> Any:
        """An argument's value, which is hereby heeded."""
        self._left.discard(name)
        return self.arguments[name]

    def pair(self, name: str, count: int = 2) -> tuple[int, ...]:
        """An argument of ``count`` whole numbers, of which one may stand for all; the default, if it is empty."""
        value = self.take(name)
        values = tuple(value) if isinstance(value, Sequence) else (value,)
        values = values * count if len(values) == 1 else values
        self.require(len(values) == count, f"its {name} must be {count} numbers, not {value}")
        return values

    def require(self, condition: bool, what: str) -> None:
        """Raises :class:`GraphError` unless ``condition`` holds."""
        require(condition, self, what)

    def shape(self, node: torch.fx.Node | None = None) -> tuple[int, ...]:
        """The shape of a tensor, or of this call's result; a free batch is 1."""
        shape = (node or self.node).meta["val"].shape
        return tuple(_size(size) for size in shape)

    def finish(self) -> None:
        """Refuses arguments that nobody has taken and that are not at their defaults."""
        for name in self.arguments:
            value, default = self.arguments[name], self._defaults[name]
            same = value is default or (not hasattr(value, "op") and value == default)
            if name in self._left and not same:
                raise GraphError(f"{self}: its argument {name} = {value} is not supported; export without it")


def _plain(value: Any) -> Any:
    """An argument with numbers that depend on a free batch as those of a batch of 1."""
    if isinstance(value, list | tuple):
        return [_plain(item) for item in value]
    meta = getattr(value, "meta", {}).get("val")
    # Tensors stay nodes; whole numbers that are computed become what they are.
    return value if meta is None or hasattr(meta, "shape") or isinstance(meta, list | tuple) else _size(meta)


def _size(size: Any) -> int:
    """A size; the batch, where it is free, counts as 1."""
    if isinstance(size, int):
        return size
    expression = size.node.expr
    return int(expression.subs(dict.fromkeys(expression.free_symbols, 1)))
