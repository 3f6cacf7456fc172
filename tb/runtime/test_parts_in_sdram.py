"""Models in parts that lie in SDRAM, of which some are copied while others run."""

from unittest import mock

import numpy as np
import pytest
from in_sdram import WIDE, in_parts

import sateen
import seeds
from sateen.graph import run as run_golden
from sateen.runtime.slots import Stock
from sateen.testing.graphs import Builder, random_input


@pytest.mark.parametrize("config", WIDE)
def test_models_in_parts(config):
    """Weights and tensors that do not fit, on engines that take words of SDRAM."""
    rng = np.random.default_rng(seeds.own())
    graph = (
        Builder((15, 9, 3), rng).conv2d(20, (3, 3), padding=((1, 1), (1, 1))).conv2d(30, (3, 3), stride=(2, 2)).graph()
    )
    x = random_input(graph, rng, 2)
    with sateen.open(f"sim:{config}") as opened:
        model = sateen.compile(graph, opened.config)
        loaded = opened.load(model)
        np.testing.assert_array_equal(loaded.run(x), run_golden(graph, x)[graph.outputs[0]])
        assert loaded.profile.cycles == sum(layer.predicted.cycles for layer in model.layers)


def test_segments_are_copied_while_others_run():
    """It takes fewer cycles than one after the other, and the same results, also of models that take turns."""
    with sateen.open(f"sim:{WIDE[0]}") as opened:
        cases = [in_parts(seed, opened.config) for seed in (1, 2)]
        loaded = [opened.load(model) for model, _, _ in cases]
        assert all(len(model.segments) > 3 for model, _, _ in cases)
        for number in (0, 1, 1, 0, 0, 1):
            np.testing.assert_array_equal(loaded[number].run(cases[number][1]), cases[number][2])

        def cycles():
            loaded[0].run(cases[0][1])
            before = opened.simulated_cycles
            np.testing.assert_array_equal(loaded[0].run(cases[0][1]), cases[0][2])
            return opened.simulated_cycles - before

        ahead, copied = cycles(), loaded[0].profile.copied_bytes
        with mock.patch.object(Stock, "ahead", return_value=[]):
            behind = cycles()
            assert loaded[0].profile.copied_bytes == copied
        assert ahead < behind - 500, (ahead, behind)
        np.testing.assert_array_equal(loaded[1].run(cases[1][1]), cases[1][2])
        # The host asks once for all parts of an item.
        with mock.patch.object(opened.link, "transaction", wraps=opened.link.transaction) as asked:
            loaded[1].run(cases[1][1][:1])
        assert asked.call_count == 1
