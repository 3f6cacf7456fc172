"""The comparison of tensors with an interpreter's."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

from sateen.errors import InputError
from sateen.graph import Array, Graph
from sateen.reference.interpreters import Interpreter

__all__ = ["Difference", "compare", "interpreted"]

REAL = 1e-5
"""Relative difference of two real numbers that are taken as equal: the interpreters' exponential functions differ in
their last bits."""
LAST = 2.0**-22
"""The same relative to a tensor's largest number: a few of its last bits, which differences near 0 are of."""


@dataclass(frozen=True, kw_only=True)
class Difference:
    """What a tensor and the interpreter's differ in."""

    tensor: str
    label: str
    """The tensor's other name, for people."""
    op: str
    """The operator that makes it; empty for an input."""
    values: int
    different: int
    """Values that are not equal."""
    largest: float = 0.0
    """Their largest difference."""
    index: tuple[int, ...] = ()
    """Where the first of them is, in the file's layout."""
    actual: float = 0.0
    """Sateen's value there."""
    expected: float = 0.0
    """The interpreter's."""

    def __str__(self) -> str:
        name = f"{self.tensor!r}" + (f" ({self.label})" if self.label else "") + (f", of {self.op}" if self.op else "")
        if not self.different:
            return f"{name}: equal"
        place = ", ".join(map(str, self.index))
        return (
            f"{name}: {self.different:,} of {self.values:,} values differ, by at most {self.largest:g}; the first at "
            f"[{place}] is {self.actual:g}, not {self.expected:g}"
        )


def interpreted(
    reference: Interpreter, graph: Graph, inputs: Mapping[str, Array], progress: Callable[[int, int], Any]
) -> dict[str, Array]:
    """The interpreter's tensors for any number of items, [N, …] each.

    Raises
    ------
    InputError
        If N is no multiple of the model's batch.
    """
    batch, count = graph.tensors[graph.inputs[0]].shape[0], len(next(iter(inputs.values())))
    if count % batch:
        raise InputError(f"the model takes {batch} items at a time, and {count} is no multiple of that")
    results: list[dict[str, Array]] = []
    for first in range(0, count, batch):
        results.append(reference.run({name: values[first : first + batch] for name, values in inputs.items()}))
        progress(min(first + batch, count), count)
    return {
        name: np.concatenate([np.asarray(result[name]).reshape(batch, -1) for result in results])
        for name in results[0]
        if results[0][name].size % batch == 0
    }


def compare(graph: Graph, actual: Mapping[str, Array], expected: Mapping[str, Array]) -> list[Difference]:
    """All tensors that both have, in the order in which the graph makes them. Integers are compared with integers
    only."""
    made = {op.output: type(op).__name__ for op in graph.ops}
    names = [*graph.sources, *(op.output for op in graph.ops)]
    return [
        _difference(graph, name, made.get(name, ""), actual[name], expected[name])
        for name in names
        if name in actual and name in expected and _alike(actual[name], expected[name])
    ]


def _alike(a: Array, b: Array) -> bool:
    return a.size == b.size and np.issubdtype(a.dtype, np.floating) == np.issubdtype(b.dtype, np.floating)


def _difference(graph: Graph, name: str, op: str, actual: Array, expected: Array) -> Difference:
    expected = expected.reshape(actual.shape)
    a, b = actual.astype(np.float64), expected.astype(np.float64)
    equal = (a == b) | (np.isnan(a) & np.isnan(b))
    if np.issubdtype(actual.dtype, np.floating):
        finite = np.abs(b[np.isfinite(b)])
        equal |= np.isclose(a, b, rtol=REAL, atol=LAST * finite.max(initial=0), equal_nan=True)
    tensor = graph.tensors[name]
    same: dict[str, Any] = dict(tensor=name, label=tensor.label, op=op, values=actual.size)
    if equal.all():
        return Difference(**same, different=0)
    at = np.unravel_index(int(np.argmin(equal)), actual.shape)
    with np.errstate(invalid="ignore"):
        largest = float(np.nanmax(np.where(equal, 0, np.abs(a - b))))
    index = tuple(int(place) for place in at)
    return Difference(
        **same, different=int((~equal).sum()), largest=largest, index=index, actual=float(a[at]), expected=float(b[at])
    )
