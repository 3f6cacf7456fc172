"""A search for term budgets: per layer, the fewest term pairs that keep the network's answers."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike, NDArray

from sateen.graph import Graph, Weighted, run
from sateen.hw.spec.pe import Encoding, TermBudget

__all__ = ["CANDIDATES", "Tuning", "term_pairs", "tune", "with_terms"]

GROUP = 8
BITS = 8
CANDIDATES: tuple[TermBudget, ...] = tuple(
    sorted(
        (
            TermBudget(group=GROUP, weight_terms=k, data_terms=s, encoding=Encoding.NAF)
            for k in (4, 6, 8, 10, 12, 14, 16, 20, 24)
            for s in (1, 2, 3, 4)
        ),
        key=lambda budget: (budget.pairs, -budget.data_terms),
    )
)
"""Budgets to try, the cheapest first."""


@dataclass(frozen=True)
class Tuning:
    """What a search found."""

    graph: Graph
    """The graph, with a budget in each layer that has weights."""
    accuracy: float
    baseline: float
    """Accuracy in full precision."""
    pairs: int
    """Upper bound on the term pairs of one inference."""
    baseline_pairs: int
    """Term pairs of 8-bit products: 8 × 8 for each multiplication."""


def with_terms(graph: Graph, budgets: dict[str, TermBudget | None]) -> Graph:
    """The graph with new budgets, given by the operators' names."""
    ops = [
        dataclasses.replace(op, terms=budgets[op.name]) if isinstance(op, Weighted) and op.name in budgets else op
        for op in graph.ops
    ]
    return dataclasses.replace(graph, ops=ops)


def term_pairs(graph: Graph) -> int:
    """Term pairs of one inference: k · s for each group of weights and each result, and 64 for each product without a
    budget."""
    total = 0
    for op in graph.ops:
        if not isinstance(op, Weighted):
            continue
        budget, macs = op.terms, op.macs(graph.tensors)
        if budget is None:
            total += macs * BITS * BITS
        else:
            channels = op.weights.shape[-1]
            total += macs // channels * -(-channels // budget.group) * budget.pairs
    return total


def tune(
    graph: Graph,
    x: NDArray[np.int8],
    labels: ArrayLike,
    *,
    loss: float = 0.005,
    candidates: Sequence[TermBudget] = CANDIDATES,
    progress: Callable[[int, int], None] | None = None,
) -> Tuning:
    """Chooses the cheapest budget for each layer that keeps the accuracy, starting with the layer that multiplies most.

    Parameters
    ----------
    x, labels
        A calibration set: int8 inputs [N, …] and the class of each [N].
    loss
        How much accuracy may be lost in total, as a share of the set.
    progress
        Called with (layers done, layers).
    """
    truth = np.asarray(labels)
    layers = sorted((op for op in graph.ops if isinstance(op, Weighted)), key=lambda op: -op.macs(graph.tensors))
    exact = with_terms(graph, {op.name: None for op in layers})

    def accuracy(candidate: Graph) -> float:
        output = run(candidate, x)[candidate.outputs[0]]
        return float((output.reshape(len(x), -1).argmax(axis=1) == truth).mean())

    baseline = reached = accuracy(exact)
    tuned = exact
    for done, op in enumerate(layers):
        # Each layer may lose an equal share, plus what earlier layers did not use.
        floor = baseline - loss * (done + 1) / len(layers)
        for budget in candidates:
            candidate = with_terms(tuned, {op.name: budget})
            if term_pairs(candidate) >= term_pairs(tuned):
                continue
            result = accuracy(candidate)
            if result >= floor:
                tuned, reached = candidate, result
                break
        if progress is not None:
            progress(done + 1, len(layers))
    return Tuning(
        graph=tuned, accuracy=reached, baseline=baseline, pairs=term_pairs(tuned), baseline_pairs=term_pairs(exact)
    )
