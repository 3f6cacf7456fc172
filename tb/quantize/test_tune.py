"""The search for term budgets, on the digits: far fewer term pairs, and the answers stay on digits that it has not
seen."""

import numpy as np
import pytest

import needs
from sateen.graph import Graph, run
from sateen.hw.spec.pe import Encoding, TermBudget
from sateen.quantize import term_pairs, tune, with_terms
from sateen.testing.graphs import Builder

needs.package("sklearn", extra="demo")


@pytest.fixture(scope="module")
def digits():
    from sateen.digits import load_data, load_network
    from sateen.quantize import quantize

    train_x, _, x, y = load_data()
    graph = quantize(load_network(), train_x)
    return graph, graph.tensors[graph.inputs[0]].quantize(x), y


def accuracy(graph, x, y):
    return (run(graph, x)[graph.outputs[0]].argmax(axis=1) == y).mean()


def test_digits(digits):
    graph, x, y = digits
    candidates = [TermBudget(group=8, weight_terms=k, data_terms=3, encoding=Encoding.NAF) for k in (8, 12, 16)]
    found = tune(graph, x[:248], y[:248], loss=0.0, candidates=candidates)
    assert found.baseline_pairs / found.pairs >= 4
    assert found.accuracy == accuracy(found.graph, x[:248], y[:248]) >= found.baseline
    # On those that the search did not see.
    assert accuracy(found.graph, x[248:], y[248:]) >= accuracy(graph, x[248:], y[248:]) - 0.005


def test_counts_pairs(digits):
    graph = Builder((4, 4, 10), np.random.default_rng(1)).conv2d(3, (2, 2)).graph()
    assert term_pairs(graph) == 9 * 3 * 4 * 10 * 64
    # Ten channels are two groups of eight at most.
    assert (
        term_pairs(with_terms(graph, {"op0": TermBudget(group=8, weight_terms=5, data_terms=2)})) == 9 * 3 * 4 * 2 * 10
    )


def test_budgets_are_saved(digits, tmp_path):
    budget = TermBudget(group=4, weight_terms=5, data_terms=2, encoding=Encoding.HESE)
    graph = with_terms(digits[0], {"conv1": budget})
    graph.save(tmp_path / "g.npz")
    loaded = Graph.load(tmp_path / "g.npz")
    assert [op.terms for op in loaded.ops if hasattr(op, "terms")] == [budget, None, None]
