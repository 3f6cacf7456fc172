"""Accumulators: 32-bit sums over several tiles, while the other half is read; wrap; the shortest distances."""

import pytest

from harness import run
from sateen.hw.pipelined.accumulate import Accumulators


@pytest.mark.parametrize(("cols", "positions"), [(1, 16), (5, 32)])
def test_accumulators(cols, positions):
    run("accumulators", cols=cols, positions=positions)


def test_sums_in_place():
    run("accumulators", cols=2, positions=16, in_place=1, logic=1)


def test_accumulators_on_ecp5():
    run("accumulators", technology="ecp5", cols=2, positions=256)


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"cols": 0}, "cols must be 1 or more, not 0"),
        ({"positions": 1}, "positions must be 2 or more, not 1"),
        ({"sum_bits": 33}, "sum_bits must be 1 to 32, not 33"),
    ],
)
def test_rejects(settings, message):
    with pytest.raises(ValueError, match=message):
        Accumulators(**{"cols": 2, "positions": 16, "sum_bits": 20, **settings})
