"""The tensors of one inference that the host has."""

from __future__ import annotations

from collections.abc import Mapping

from sateen.graph import Array, Graph, Reshape

__all__ = ["Values"]


class Values(dict[str, Array]):
    """Tensors of one item, [1, …], by name. If one is there, so are its Reshapes, and the tensor that it reshapes."""

    def __init__(self, graph: Graph, inputs: Mapping[str, Array]):
        super().__init__(inputs)
        self.tensors = graph.tensors
        self.groups: dict[str, list[str]] = {}
        for op in graph.ops:
            if isinstance(op, Reshape):
                group = self.groups.setdefault(op.input, [op.input])
                group.append(op.output)
                self.groups[op.output] = group

    def knows(self, name: str) -> bool:
        """Whether the tensor is there, or one that it reshapes."""
        return name in self or any(other in self for other in self.groups.get(name, ()))

    def __missing__(self, name: str) -> Array:
        source = next((other for other in self.groups.get(name, ()) if other in self), None)
        if source is None:
            raise KeyError(name)
        self[name] = value = self[source].reshape(1, *self.tensors[name].shape[1:])
        return value
