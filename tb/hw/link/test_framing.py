"""Framing: bodies come through stuffing and CRC unchanged, both ways; damage is seen."""

import pytest

from harness import run


@pytest.mark.parametrize("side", ["framer", "deframer"])
def test_framing(side):
    run(side)
