"""The activation unit: beats equal those of the descriptor's definition; padding; halves of the accumulators."""

import pytest

from harness import run
from sateen.hw.pipelined.padding import Padding


@pytest.mark.parametrize("lanes", [6, 16, pytest.param(4, marks=pytest.mark.prove)])
def test_activation_unit(lanes):
    run("activation-unit", lanes=lanes)


def test_rejects():
    with pytest.raises(ValueError, match="latency must be 3 or more, not 2"):
        Padding(lanes=4, bits=12, latency=2)
