"""Softmax of rows: distances, passes and scales."""

import pytest

from harness import run
from sateen.hw.pipelined.lookup import Combiner
from sateen.hw.pipelined.softmax import Distances, Reciprocal, RowScales, scales_latency
from sateen.hw.spec.config import parse_config
from sateen.hw.spec.timing import Timing


@pytest.mark.parametrize(("width", "beat_bytes"), [(6, 8), (17, 17)])
def test_distances(width, beat_bytes):
    run("distances", width=width, beat_bytes=beat_bytes)


def test_passes():
    run("passes", cols=6)


@pytest.mark.parametrize("lanes", [1, 5])
def test_row_scales(lanes):
    run("row-scales", lanes=lanes)


def test_rejects():
    with pytest.raises(ValueError, match=r"width must be 1 to beat_bytes \(4\), not 5"):
        Distances(width=5, beat_bytes=4)
    with pytest.raises(ValueError, match="lanes must be 1 or more, not 0"):
        RowScales(lanes=0)


@pytest.mark.parametrize("lanes", [1, 2, 4, 5, 16])
def test_latencies_are_the_cycle_models(lanes):
    timing = Timing(parse_config(f"small,softmax=1,rows=16,cols=16,lanes={lanes}"))
    assert timing.reciprocal == Reciprocal.LATENCY
    # The accumulators, a combiner, two registers before the entries; the last sum, which is registered.
    assert timing.entries_to_sum + Reciprocal.LATENCY == 5 + Combiner.LATENCY + 1 + scales_latency(lanes)
    assert timing.entries_to_scale == 5 + Combiner.LATENCY
