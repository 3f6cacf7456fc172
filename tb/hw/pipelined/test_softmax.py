"""Softmax of rows: distances, passes and scales."""

import pytest
import shares

from harness import run
from sateen.hw.pipelined.lookup import Combiner
from sateen.hw.pipelined.shares import Share, Shares, total_latency
from sateen.hw.pipelined.softmax import Distances, Reciprocal, RowScales, largest_cycles, scales_latency
from sateen.hw.requantize import Requantize
from sateen.hw.spec.config import parse_config
from sateen.hw.spec.descriptor import REAL_SOFTMAX_LENGTH
from sateen.hw.spec.timing import DIVIDE_CYCLES, Timing


def test_distances():
    """So many bytes that their maximum is that of maxima of eight."""
    run("distances", width=17, beat_bytes=20)


@pytest.mark.parametrize("paced", [0, 1])
def test_passes(paced):
    run("passes", cols=6, paced=paced)


def test_row_scales():
    """Of so many lanes that they are added up in two stages."""
    run("row-scales", lanes=5)


@pytest.mark.parametrize("count", [1, 3])
def test_shares(count):
    run("shares", lanes=count)


def test_shares_of_many_rows():
    """Of numbers of every size, by the processor's own arithmetic."""
    shares.check(1, 30_000)
    shares.check(2, 300, lanes=5, longest=REAL_SOFTMAX_LENGTH // 8)


def test_rejects():
    with pytest.raises(ValueError, match=r"width must be 1 to beat_bytes \(4\), not 5"):
        Distances(width=5, beat_bytes=4)
    with pytest.raises(ValueError, match="lanes must be 1 or more, not 0"):
        RowScales(lanes=0)
    with pytest.raises(ValueError, match="lanes must be 1 or more, not 0"):
        Shares(lanes=0)


@pytest.mark.parametrize("lanes", [1, 2, 4, 5, 16])
def test_latencies_are_the_cycle_models(lanes):
    timing = Timing(parse_config(f"small,softmax=1,rows=16,cols=16,lanes={lanes}"))
    assert timing.reciprocal == Reciprocal.LATENCY
    assert timing.row_to_row == largest_cycles(16)
    # The accumulators, a combiner, two registers before the entries; the last sum, which is registered.
    assert timing.entries_to_sum + Reciprocal.LATENCY == 5 + Combiner.LATENCY + 1 + scales_latency(lanes)
    assert timing.entries_to_scale == 5 + Combiner.LATENCY
    # The accumulators, and a register. A sum waits in another one until that before has been taken.
    assert timing.entries_to_total == 5 + 1 + total_latency(lanes)
    assert timing.entries_to_taken == 5 + 2


def test_shares_come_with_other_results():
    """They are there when a requantized value would be, and still are."""
    assert Share.LATENCY <= Combiner.LATENCY + Requantize.LATENCY < Share.LATENCY + DIVIDE_CYCLES
