"""The host's port: bytes reach their memory, and come back in order from memories of different latency."""

from harness import run


def test_host_port():
    run("host-port")
