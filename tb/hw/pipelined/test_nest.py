"""The affine nest, against the definition of its counters."""

import pytest

from harness import run
from sateen.hw.pipelined.nest import Nest
from sateen.testing.benches.nest import COORDINATES


@pytest.mark.parametrize("dims", [1, 9, pytest.param(3, marks=pytest.mark.prove)])
def test_nest(dims):
    run("nest", dims=dims)


def test_staged():
    """A walk is set while the one before is under way."""
    run("nest", dims=4, staged=True)


def test_rejects():
    with pytest.raises(ValueError, match="dims must be 1 or more, not 0"):
        Nest(dims=0, coordinates=COORDINATES)
    with pytest.raises(ValueError, match="coordinates must name at least one"):
        Nest(dims=1, coordinates={})
