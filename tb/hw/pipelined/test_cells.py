"""The unit of recurrent layers."""

import pytest

from harness import run
from sateen.hw.pipelined.cells import Cells
from sateen.hw.pipelined.output import OutputUnit
from sateen.hw.spec.config import parse_config


def test_curve():
    run("curve")


@pytest.mark.parametrize(("lanes", "overlap"), [(4, 0), (8, 1), (12, 1)])
def test_cells(lanes, overlap):
    run("cells", lanes=lanes, overlap=overlap)


def test_rejects():
    tag = OutputUnit.tag_shape(lanes=6, address_bits=8)
    with pytest.raises(ValueError, match="lanes must be a multiple of 4, not 6"):
        Cells(lanes=6, words=64, item_latency=7, tag=tag)


@pytest.mark.parametrize(
    ("config", "message"),
    [
        ("small,recurrent=63", "recurrent must be 0 or a power of two from 64 to 4096, not 63"),
        ("small,recurrent=8192", "recurrent must be a whole number from 0 to 4096, not 8192"),
        ("micro,recurrent=64", "engine must be pipelined with recurrent=64, not 'sequential'"),
        ("small,recurrent=64,combine=2", "combine must be 1 with recurrent=64, not 2"),
        ("tiny,recurrent=64", r"lanes must be a multiple of 4 that divides cols \(4\) with recurrent=64, not 2"),
        ("small,recurrent=64,cols=12,lanes=8", r"lanes must be a multiple of 4 that divides cols \(12\)"),
        ("small,recurrent=4096,scratchpad_bytes=2048", "scratchpad_bytes must be 4096 or more with recurrent=4096"),
    ],
)
def test_configurations_that_are_refused(config, message):
    with pytest.raises(ValueError, match=message):
        parse_config(config)
