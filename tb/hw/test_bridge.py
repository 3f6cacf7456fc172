"""Requests and moves pass the bridge to SDRAM in order."""

from harness import run


def test_bridge():
    run("bridge")
