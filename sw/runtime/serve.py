"""A simulated device on a TCP port, as if it were a board."""

from __future__ import annotations

import logging
import socket
from typing import TYPE_CHECKING

from sateen.hw.spec.config import Config
from sateen.hw.spec.wire import FLAG

if TYPE_CHECKING:
    from sateen.sim.verilated import VerilatedDevice

__all__ = ["serve"]

log = logging.getLogger(__name__)

IDLE_CYCLES = 1 << 16
"""Cycles that the device runs between two polls of the connection."""
POLL_SECONDS = 0.0005


def serve(config: Config, *, host: str = "127.0.0.1", port: int = 7355, ready: socket.socket | None = None) -> None:
    """Offers a simulated device to one client after another, until interrupted.

    Parameters
    ----------
    config
        The configuration to simulate.
    host, port
        The address to listen on.
    ready
        A listening socket to use instead.
    """
    from sateen.sim.verilated import VerilatedDevice

    with VerilatedDevice(config) as device, ready or socket.create_server((host, port)) as server:
        while True:
            client, address = server.accept()
            log.info("connected: %s", address)
            with client:
                try:
                    _converse(device, client)
                except OSError as error:
                    log.info("connection lost: %s", error)
            log.info("disconnected: %s", address)


def _converse(device: VerilatedDevice, client: socket.socket) -> None:
    """Passes bytes between a client and the device until the client disconnects."""
    client.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    expecting = False
    while True:
        # While an answer is due, the device keeps running; otherwise it has nothing to do.
        client.settimeout(POLL_SECONDS if expecting else None)
        try:
            data = client.recv(1 << 16)
            if not data:
                return
            expecting = True
        except TimeoutError:
            data = b""
        answer = device.exchange(data, max_cycles=len(data) + IDLE_CYCLES)
        if answer:
            client.sendall(answer)
            expecting = answer[-1] != FLAG
