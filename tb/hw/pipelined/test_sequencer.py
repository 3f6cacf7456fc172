"""The sequencer hands out sections in order, and its counters give each cycle to one cause."""

from harness import run


def test_sequencer():
    run("sequencer")


def test_cause_counters():
    run("cause-counters")
