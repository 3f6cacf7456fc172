"""Fetch: every request answered once, in order, whatever the consumer does."""

import pytest

from harness import run
from sateen.testing.benches.fetch import fetch


@pytest.mark.parametrize("latency", [1, 7, pytest.param(3, marks=pytest.mark.prove)])
@pytest.mark.parametrize("sliced", [True, False])
def test_fetch(latency, sliced):
    run("fetch", latency=latency, sliced=sliced)


def test_rejects():
    with pytest.raises(ValueError, match="latency must be 1 or more, not 0"):
        fetch(latency=0)
