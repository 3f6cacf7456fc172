"""The demonstration network: its data, its accuracy in int8, and that its training can be repeated."""

from __future__ import annotations

import dataclasses

import numpy as np
import pytest

import needs
from sateen.digits import NETWORK_FILE, load_data, load_network
from sateen.graph import run
from sateen.graph.network import BatchNorm
from sateen.hw.spec.descriptor import Rounding
from sateen.quantize.calibration import SCHEMES, quantize

needs.package("sklearn", extra="demo")


def test_data_is_split_by_class():
    train_x, train_y, test_x, test_y = load_data()
    assert train_x.shape == (1300, 8, 8, 1) and test_x.shape == (497, 8, 8, 1)
    assert train_x.dtype == np.float32 and train_x.min() == 0 and train_x.max() == 1
    share = np.bincount(train_y) / np.bincount(np.concatenate([train_y, test_y]))
    np.testing.assert_allclose(share, 1300 / 1797, atol=0.005)
    # No image of the test set is one of the training set.
    assert not {x.tobytes() for x in train_x} & {x.tobytes() for x in test_x}


def test_network_is_small_and_has_batch_norm():
    network = load_network()
    assert NETWORK_FILE.stat().st_size < 200_000
    assert sum(isinstance(layer, BatchNorm) for layer in network.layers) == 2
    assert sum(layer.weights.size for layer in network.layers if hasattr(layer, "weights")) < 20_000


@pytest.mark.parametrize("scheme", SCHEMES)
@pytest.mark.parametrize("rounding", [Rounding.DOUBLE, Rounding.FLOAT32])
def test_accuracy_in_int8(scheme, rounding):
    train_x, _, test_x, test_y = load_data()
    network = load_network()
    graph = quantize(network, train_x, scheme=scheme, rounding=rounding)
    logits = run(graph, graph.tensors["input"].quantize(test_x))["logits"]
    accuracy = np.mean(logits.argmax(axis=1) == test_y)
    assert accuracy >= 0.985
    assert accuracy >= np.mean(network.forward(test_x).argmax(axis=1) == test_y) - 0.005


def test_training_makes_the_committed_weights():
    """Equal to the last bit on one machine; 1e-5 is left for processors that round sums in another order."""
    needs.package("torch", extra="train")
    from sateen.digits.train import train

    for layer, committed in zip(train().layers, load_network().layers, strict=True):
        for field in dataclasses.fields(layer):
            actual, expected = getattr(layer, field.name), getattr(committed, field.name)
            if isinstance(actual, np.ndarray):
                np.testing.assert_allclose(actual, expected, rtol=0, atol=1e-5, err_msg=f"{layer}.{field.name}")
            else:
                assert actual == expected
