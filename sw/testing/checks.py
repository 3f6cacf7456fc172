"""The golden checker: what a device computes, layer by layer, against the golden model."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np

from sateen.graph import Array, Graph
from sateen.graph import run as run_golden
from sateen.reference import compare
from sateen.runtime import LoadedModel

__all__ = ["check_layers", "check_tensors", "golden"]


def golden(graph: Graph, x: Any) -> dict[str, Array]:
    """Every tensor of a graph by the golden model, for inputs in the layout and type of the model's file."""
    given = x if isinstance(x, Mapping) else {graph.inputs[0]: x}
    inputs = {}
    for name, values in given.items():
        tensor, values = graph.tensors[name], np.asarray(values)
        inputs[name] = tensor.from_file(values if values.ndim == len(tensor.shape) else values[None])
    return run_golden(graph, inputs, layers=True)


def check_tensors(graph: Graph, tensors: Mapping[str, Array], expected: Mapping[str, Array]) -> None:
    """Compares tensors with the golden model's.

    Parameters
    ----------
    graph
        The model's.
    tensors
        By name, in the layout and type of the model's file; those of all layers, or some.
    expected
        What :func:`golden` returns for the same inputs.

    Raises
    ------
    AssertionError
        With the first tensor that differs, in the order in which the graph makes them: how many of its values, and
        which is the first.
    """
    actual = {name: graph.tensors[name].from_file(values) for name, values in tensors.items()}
    order = [name for name in (*graph.sources, *(op.output for op in graph.ops)) if name in actual]
    for done, name in enumerate(order):
        if np.array_equal(actual[name], expected[name], equal_nan=actual[name].dtype.kind == "f"):
            continue
        differences = compare(graph, {name: actual[name]}, {name: expected[name]})
        shapes = f"{name!r} has shape {actual[name].shape}, not {expected[name].shape}"
        what = differences[0] if differences and differences[0].different else shapes
        raise AssertionError(f"tensor {what}, in {graph.name!r}; the {done} tensors before it equal the golden model")


def check_layers(loaded: LoadedModel, x: Any) -> Any:
    """Runs a model on its device, layer by layer and then in one go, from its first states; both must equal the golden
    model.

    Parameters
    ----------
    loaded
        The model on the device.
    x
        Its inputs.

    Returns
    -------
    The model's outputs.

    Raises
    ------
    AssertionError
        With the first tensor that differs.
    """
    graph = loaded.model.graph
    expected = golden(graph, x)
    loaded.reset()
    y, tensors = loaded.run(x, layers=True)
    check_tensors(graph, tensors, expected)
    loaded.reset()
    again = loaded.run(x)
    outputs = again if isinstance(again, Mapping) else {graph.outputs[0]: again}
    check_tensors(graph, outputs, expected)
    return y
