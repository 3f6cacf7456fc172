"""A queue: every item once, in order; as many wait as there are places."""

import pytest

from harness import run
from sateen.hw.stream.queue import Queue


@pytest.mark.parametrize(("bits", "depth"), [(12, 2), (100, 16)])
def test_queue(bits, depth):
    run("queue", bits=bits, depth=depth)


def test_rejects():
    with pytest.raises(ValueError, match="depth must be a power of two of 2 or more, not 12"):
        Queue(8, depth=12)
