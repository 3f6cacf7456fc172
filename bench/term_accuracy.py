"""Accuracies on the test digits of what the processing elements of ``bench/terms.py`` compute: narrow weights, narrow
activations, and terms whose exponents follow a schedule."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Sequence

import numpy as np
from numpy.typing import NDArray

from sateen.digits import load_data, load_network
from sateen.graph import Graph, run
from sateen.graph.ops.weighted import Weighted
from sateen.hw.spec.pe import Encoding, TermBudget
from sateen.quantize import quantize, with_terms

Integers = NDArray[np.integer]


def narrow(bits: int) -> float:
    """With weights of so many bits and activations of 8."""
    return _accuracy(_graph(bits))


def any_terms(terms: int) -> float:
    """With so many terms of eight weights, any ones, and whole activations."""
    budget = TermBudget(group=8, weight_terms=terms, data_terms=8, encoding=Encoding.NAF)
    graph = _graph(8)
    return _accuracy(with_terms(graph, {op.name: budget for op in graph.ops}))


def scheduled_terms(schedule: Sequence[int], group: int) -> float:
    """With one term of ``group`` weights for each exponent in ``schedule``, and whole activations."""
    return _accuracy(_changed(_graph(8), lambda weights: scheduled(weights, schedule, group)))


def powers() -> float:
    """With weights that are one power of two, or 0."""
    return _accuracy(_changed(_graph(8), nearest_power))


def scheduled(weights: Integers, schedule: Sequence[int], group: int) -> NDArray[np.int64]:
    """Weights as sums of terms: for each exponent, falling, the one of a group (along the last axis) that reduces the
    sum of squared errors most is given a term of it, if any is improved."""
    channels = weights.shape[-1]
    padded = np.zeros((*weights.shape[:-1], -(-channels // group) * group), np.int64)
    padded[..., :channels] = weights
    left = padded.reshape(-1, group).copy()
    rows = np.arange(len(left))
    for exponent in sorted(schedule, reverse=True):
        term = np.sign(left) << exponent
        gain = left**2 - (left - term) ** 2
        best = gain.argmax(axis=1)
        left[rows, best] -= np.where(gain[rows, best] > 0, term[rows, best], 0)
    return (padded - left.reshape(padded.shape))[..., :channels]


def nearest_power(weights: Integers) -> NDArray[np.int64]:
    """The nearest of 0, ±1, ±2, ±4 … ±128 to each weight, with its sign."""
    values = np.array([0, *(1 << e for e in range(8))])
    size = np.abs(weights.astype(np.int64))
    return np.sign(weights) * values[np.abs(size[..., None] - values).argmin(axis=-1)]


def _graph(bits: int) -> Graph:
    train, *_ = load_data()
    return quantize(load_network(), train, weight_bits=bits)


def _changed(graph: Graph, change: Callable[[Integers], Integers]) -> Graph:
    ops = [
        dataclasses.replace(op, weights=change(op.weights).astype(np.int16)) if isinstance(op, Weighted) else op
        for op in graph.ops
    ]
    return dataclasses.replace(graph, ops=ops)


def _accuracy(graph: Graph) -> float:
    _, _, x, labels = load_data()
    answers = run(graph, graph.tensors[graph.inputs[0]].quantize(x))[graph.outputs[0]].argmax(axis=1)
    return float((answers == labels).mean())
