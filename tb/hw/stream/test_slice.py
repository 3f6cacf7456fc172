"""The register slice: every item once, in order, one per cycle."""

import pytest

from harness import run


@pytest.mark.parametrize("bits", [1, 8, 100])
def test_slice(bits):
    run("register-slice", bits=bits)
