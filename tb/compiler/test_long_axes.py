"""Axes that are too long to look for runs of places: refused before, which leaves them to the host; and long ones."""

import time
from types import SimpleNamespace

import pytest

from sateen.compiler.lowering import arrange
from sateen.errors import CompileError
from sateen.hw.spec.config import PRESETS


@pytest.mark.parametrize(
    ("lower", "op", "shape"),
    [
        (arrange.take, SimpleNamespace(places=((0,) * 131_073,)), (1, 2)),
        (arrange.slice_, SimpleNamespace(ranges=((0, 262_146, 2),)), (1, 1 << 28)),
        (arrange.resize, SimpleNamespace(), (1, 131_073, 4, 1)),
    ],
    ids=["take", "slice", "resize"],
)
def test_long_axes(lower, op, shape):
    tensor = SimpleNamespace(shape=shape)
    with pytest.raises(CompileError, match="it places 131,073 values along an axis, more than the 131,072 that"):
        lower(op, tensor, tensor, PRESETS["micro"])


def test_runs_of_a_long_axis():
    """Places are looked at as often as they may make fewer runs: 131,072 take no second, where they took half a
    minute."""
    begin = time.process_time()
    found = arrange.runs([place >> 14 for place in range(1 << 17)])
    assert time.process_time() - begin < 3
    assert found == [arrange.Run(first << 14, 1, 1 << 14, first, 0) for first in range(8)]
