"""Inputs of a run, checked and in the layout of the graph."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np

from sateen.errors import InputError
from sateen.graph import Array, Graph

__all__ = ["taken_inputs"]


def taken_inputs(graph: Graph, x: Any) -> dict[str, Array]:
    """A graph's inputs, [N, …] each in its own layout, from what a user gives in the layout of the model's file.

    Raises
    ------
    InputError
        If they have other names, shapes or types, or different numbers of items.
    """
    names = list(graph.inputs)
    given = dict(x) if isinstance(x, Mapping) else {names[0]: x}
    if set(given) != set(names):
        raise InputError(f"the model's inputs are {', '.join(names)}; {', '.join(map(str, given))} came")
    inputs = {}
    for name in names:
        tensor, values = graph.tensors[name], np.asarray(given[name])
        allowed = ("uint8", "int8") if tensor.unsigned else (tensor.dtype,)
        if values.dtype not in allowed:
            advice = f"; quantize it: model.graph.tensors[{name!r}].quantize(x)" if tensor.dtype == "int8" else ""
            raise InputError(f"input {name!r} must be {' or '.join(allowed)}, not {values.dtype}{advice}")
        shape = tensor.file_shape[1:]
        # A single item may come as it is.
        values = values[None] if values.shape == shape and shape else values
        if values.ndim != len(shape) + 1 or values.shape[1:] != shape or len(values) == 0:
            wanted = ", ".join(["N", *map(str, shape)])
            raise InputError(f"input {name!r} must have shape [{wanted}] with N of 1 or more, not {list(values.shape)}")
        inputs[name] = tensor.from_file(values)
    if len({len(values) for values in inputs.values()}) != 1:
        raise InputError("all inputs must have the same number of items")
    return inputs
