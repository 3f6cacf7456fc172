"""Tables and pairs: words become entries, lines pairs, whatever the pauses; what is made of two entries."""

import pytest

from harness import run
from sateen.hw.pipelined.accumulate import Accumulators
from sateen.hw.pipelined.lookup import LookUp


@pytest.mark.parametrize(("cols", "beat_bytes"), [(4, 4), (7, 16), (16, 8)])
def test_look_up(cols, beat_bytes):
    run("look-up", cols=cols, beat_bytes=beat_bytes)


def test_rejects():
    with pytest.raises(ValueError, match="cols must be 4 or more, not 3"):
        LookUp(cols=3, beat_bytes=8)
    with pytest.raises(ValueError, match="positions must be 256 or more with tables, not 128"):
        Accumulators(cols=4, positions=128, sum_bits=20, tables=True)


@pytest.mark.parametrize("squares", [False, True])
def test_combiner(squares):
    run("combiner", squares=squares)


def test_tables_in_accumulators():
    run("tables", cols=4, positions=256)
