"""Residual tensors that are added to results."""

import numpy as np
import pytest
from amaranth.lib import data

from harness import run
from sateen.hw.pipelined.residual import ResidualUnit
from sateen.hw.spec.residual import Sum, sum_words


@pytest.mark.parametrize(
    ("cols", "lanes", "per_cycle", "weight_rows"), [(8, 4, 1, 1), (9, 4, 2, 2), (16, 6, 1, 4), (8, 16, 2, 1)]
)
def test_residual_unit(cols, lanes, per_cycle, weight_rows):
    run("residual", cols=cols, lanes=lanes, per_cycle=per_cycle, weight_rows=weight_rows)


@pytest.mark.parametrize(("cols", "weight_rows"), [(8, 1), (13, 4)])
def test_words(cols, weight_rows):
    rng = np.random.default_rng(1)
    tables = rng.integers(-(1 << 31), 1 << 31, (2, 256))
    given = Sum(
        tables=tables, multiplier=(1 << 31) - 1, shift=-31, zero_point=-128, low=-100, high=127, rounding=2,
        bias=-(1 << 31),
    )  # fmt: skip
    words = given.words(cols, weight_rows)
    assert len(words) == sum_words(weight_rows) * cols and sum_words(weight_rows) % weight_rows == 0
    read = Sum.read(words, cols)
    assert np.array_equal(read.tables, tables)
    for name in ("multiplier", "shift", "zero_point", "low", "high", "rounding", "bias"):
        assert getattr(read, name) == getattr(given, name)


def test_rejects():
    settings = {
        "cols": 8, "lanes": 4, "per_cycle": 1, "weight_rows": 1, "tag": data.StructLayout({"address": 4}),
        "address_bits": 4, "item_latency": 15, "line_latency": 8,
    }  # fmt: skip
    for wrong, message in (
        ({"cols": 7}, "cols must be 8 or more, not 7"),
        ({"per_cycle": 3}, "per_cycle must be a divisor of half the 4 lanes, not 3"),
        ({"line_latency": 15}, "line_latency must be less than item_latency=15, not 15"),
        ({"line_latency": 10}, "spare must not be 0: lines would be read when results are written"),
    ):
        with pytest.raises(ValueError, match=message):
            ResidualUnit(**(settings | wrong))
