"""Parts of other makers: Yosys finds memories and multipliers in the exported Verilog, not registers and LUTs."""

import pytest

from families import FAMILIES, cells, counted
from sateen.hw.spec.config import PRESETS

TINY = PRESETS["tiny"]


@pytest.mark.fpga
@pytest.mark.parametrize("family", FAMILIES)
def test_tiny(family):
    """A multiplier for every PE and some for every lane; the scratchpad and the weights in block RAMs."""
    found = counted(family, cells("tiny", family))
    assert found["multipliers"] == TINY.rows * TINY.cols + 4 * TINY.lanes
    assert found["block_rams"] >= 12 and found["registers"] < 15_000 and found["luts"] < 8_000
