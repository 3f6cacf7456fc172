"""The sequencer hands out sections in order, and its counters give each cycle to one cause."""

import pytest

from harness import run


def test_sequencer():
    run("sequencer")


@pytest.mark.parametrize("overlap", [False, True])
def test_cause_counters(overlap):
    run("cause-counters", overlap=overlap)
