"""The weight unit and the channels' parameters."""

import pytest
from amaranth.lib import data

from harness import run
from sateen.hw.pipelined.weights import ChannelParameters


@pytest.mark.parametrize(("cols", "weight_rows"), [(1, 1), (6, 1), (16, 1), (4, 2), (3, 4)])
def test_weight_unit(cols, weight_rows):
    run("weight-unit", cols=cols, weight_rows=weight_rows, repeats=weight_rows == 4)


@pytest.mark.parametrize(("cols", "weight_rows"), [(8, 1), (8, 2), (9, 4)])
def test_weight_unit_with_words_before_weights(cols, weight_rows):
    run("weight-unit", cols=cols, weight_rows=weight_rows, residual=True, repeats=weight_rows == 2)


def test_weight_unit_that_waits():
    run("weight-unit", cols=3, waits=True, repeats=True)


@pytest.mark.parametrize(
    ("cols", "technology", "weight_rows"),
    [(1, None, 1), (6, None, 1), (6, "ecp5", 1), (3, None, 2), (5, None, 4)],
)
def test_channel_parameters(cols, technology, weight_rows):
    """On an ECP5 with copies of registers that are placed by hand."""
    run("channel-parameters", technology=technology, cols=cols, weight_rows=weight_rows)


@pytest.mark.parametrize(
    ("config", "technology"),
    [
        ("tiny,weight_bytes=256", None),
        ("tiny,cols=3,rows=8,weight_rows=2,weight_bytes=512", None),
        ("tiny,cols=6,rows=16,weight_rows=4,weight_bytes=4096", None),
        ("tiny,cols=3,rows=8,weight_rows=2,weight_bytes=512,products=1", None),
        # Block RAMs of 2048 words, and one whose words have 36 bits behind them.
        ("tiny,cols=6,rows=8,weight_rows=2,weight_bytes=36864", "ecp5"),
        ("tiny,cols=6,rows=8,weight_rows=2,weight_bytes=44032", "ecp5"),
    ],
)
def test_weight_store(config, technology):
    run("weight-store", technology=technology, config=config)


def test_rejects():
    with pytest.raises(ValueError, match="channel must have at most 72 bits, not 73"):
        ChannelParameters(cols=4, channel=data.StructLayout({"bias": 73}))
