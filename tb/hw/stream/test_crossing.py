"""Streams from one clock to another."""

import pytest

from harness import run
from sateen.hw.stream.crossing import Crossing


@pytest.mark.parametrize("read", [False, True])
def test_crossing(read):
    run("crossing", read=read, depth=64 if read else 32)


@pytest.mark.parametrize("depth", [8, 24])
def test_rejects(depth):
    with pytest.raises(ValueError, match=f"depth must be a power of two of 16 or more, not {depth}"):
        Crossing(8, depth=depth, write_domain="sync", read_domain="other")
