"""The choice among the ways to compute layers, beside those before and behind them."""

import numpy as np
import pytest

import sateen
from sateen.compiler import choice, neighbours
from sateen.hw.spec.config import parse_config
from sateen.testing.graphs import Builder, random_graph


def cycles(graph, config):
    return sum(layer.predicted.cycles for layer in sateen.compile(graph, config).layers)


@pytest.fixture
def alone(monkeypatch):
    """Cycles when each layer is computed in the way that is the fastest alone."""

    def found(graph, config):
        with monkeypatch.context() as patch:
            patch.setattr(choice, "choose_together", lambda ways, config: [0] * len(ways))
            return cycles(graph, config)

    return found


def test_results_are_not_waited_for(alone):
    """Each layer reads the last results of the one before soon. In smaller blocks fewer are late."""
    config, pads = "small,overlap=1", ((1, 1), (1, 1))
    builder = Builder((25, 5, 16), np.random.default_rng(0))
    for _ in range(2):
        builder = builder.conv2d(16, (1, 1)).depthwise_conv2d((3, 3), padding=pads)
    graph = builder.graph()
    assert cycles(graph, config) < 0.92 * alone(graph, config)


def test_never_slower(alone):
    better = 0
    for seed in range(12):
        graph = random_graph(np.random.default_rng([52, seed]))
        before, now = alone(graph, "tiny,overlap=1"), cycles(graph, "tiny,overlap=1")
        assert now <= before, seed
        better += now < before
    assert better


@pytest.mark.parametrize(
    ("best", "descriptors"),
    [
        # Two neighbours must change together.
        ((1, 1), (1, 1)),
        # Three must, to ways of fewer descriptors.
        ((1, 1, 1), (2, 1)),
    ],
)
def test_beyond_single_changes(best, descriptors, monkeypatch):
    """Each other choice takes more cycles the closer it is to the best one."""

    def predicted(chain, places, chosen):
        right = sum(chosen[place] == best[place] for place in places)
        return 0 if right == len(places) else 10 + right

    monkeypatch.setattr(neighbours, "overlapped", lambda way, config: way)
    monkeypatch.setattr(neighbours._Chain, "_predicted", predicted)
    ways = [[(None,) * count for count in descriptors]] * len(best)
    assert neighbours.choose_together(ways, parse_config("tiny,overlap=1")) == list(best)


def test_without_overlap(monkeypatch):
    """Layers that do not overlap are chosen alone, as they always were."""
    monkeypatch.setattr(choice, "choose_together", None)
    assert cycles(random_graph(np.random.default_rng([52, 0])), "tiny")
