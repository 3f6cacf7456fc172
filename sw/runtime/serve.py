"""A simulated device on a TCP port or a pseudo-terminal, as if it were a board."""

from __future__ import annotations

import logging
import socket
import threading
import time
from collections.abc import Callable
from contextlib import ExitStack
from typing import TYPE_CHECKING

from sateen.hw.spec.config import Config
from sateen.hw.spec.wire import Frame, FrameType, Status, Stuffing
from sateen.runtime.terminal import terminal

if TYPE_CHECKING:
    from sateen.sim.verilated import VerilatedDevice

__all__ = ["serve", "serve_terminal"]

log = logging.getLogger(__name__)

IDLE_CYCLES = 1 << 16
"""Cycles that the device runs between two polls of the connection."""
POLL_SECONDS = 0.0005
WAIT_SECONDS = 0.5
"""How long a client waits for the one before."""
CLIENTS = 32
"""As many clients are connected at a time, of which one has the device and the others are refused; of more, the
connection is closed at once."""
REFUSE_SECONDS, REFUSE_BYTES = 5.0, 1 << 20
"""How long a client that is refused is listened to, and for how many bytes at most, whatever trickles in."""


def serve(config: Config, *, host: str = "127.0.0.1", port: int = 7355, ready: socket.socket | None = None) -> None:
    """Offers a simulated device to one client after another, until interrupted. Another client meanwhile is told that
    the device is in use.

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

    in_use, room = threading.Lock(), threading.Semaphore(CLIENTS)
    with VerilatedDevice(config) as device, ready or socket.create_server((host, port)) as server:
        while True:
            client, address = server.accept()
            if room.acquire(blocking=False):
                log.info("connected: %s", address)
                threading.Thread(target=_serve, args=(device, client, in_use, room), daemon=True).start()
            else:
                client.close()


def _serve(device: VerilatedDevice, client: socket.socket, in_use: threading.Lock, room: threading.Semaphore) -> None:
    """Serves a client until it disconnects, or refuses it; then there is room for another."""
    with client, ExitStack() as left:
        left.callback(room.release)
        # The client before may just have closed its end.
        free = in_use.acquire(timeout=WAIT_SECONDS)
        try:
            if free:
                _converse(device, client)
            else:
                _refuse(client)
            log.info("disconnected")
        except OSError as error:
            log.info("connection lost: %s", error)
        finally:
            if free:
                in_use.release()


def _refuse(client: socket.socket) -> None:
    """Answers a client's first frame: the device is in use."""
    log.info("refused, since the device is in use")
    stuffing, deadline, left = Stuffing(), time.monotonic() + REFUSE_SECONDS, REFUSE_BYTES
    while left > 0 and (seconds := deadline - time.monotonic()) > 0:
        client.settimeout(seconds)
        data = client.recv(min(left, 1 << 12))
        if not data:
            return
        left -= len(data)
        for frame in filter(None, map(Frame.decode, stuffing.feed(data))):
            status = bytes([Status.IN_USE])
            client.sendall(Frame(FrameType.RESPONSE, frame.seq, status, frame.session).encode())
            return


class Due:
    """Whether a device still owes an answer: the one to the last frame that came."""

    def __init__(self) -> None:
        self.expecting = False
        self._came, self._went = Stuffing(), Stuffing()
        self._last: tuple[int, int] | None = None

    def comes(self, data: bytes) -> None:
        """Bytes to the device."""
        self.expecting = self.expecting or bool(data)
        for frame in filter(None, map(Frame.decode, self._came.feed(data))):
            self._last = frame.seq, frame.session

    def goes(self, data: bytes) -> None:
        """Bytes from the device."""
        for frame in filter(None, map(Frame.decode, self._went.feed(data))):
            if (frame.seq, frame.session) == self._last:
                self.expecting = False


def _converse(device: VerilatedDevice, client: socket.socket) -> None:
    """Passes bytes between a client and the device until the client disconnects."""
    client.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    due = Due()
    while True:
        # While an answer is due, the device keeps running; otherwise it has nothing to do.
        client.settimeout(POLL_SECONDS if due.expecting else None)
        try:
            data = client.recv(1 << 16)
            if not data:
                return
        except TimeoutError:
            data = b""
        due.comes(data)
        answer = device.exchange(data, max_cycles=len(data) + IDLE_CYCLES)
        if answer:
            client.sendall(answer)
            due.goes(answer)


def serve_terminal(config: Config, ready: Callable[[str], None]) -> None:
    """Offers a simulated device on a pseudo-terminal, which programs open like a serial port, until interrupted.

    Parameters
    ----------
    config
        The configuration to simulate.
    ready
        Called with the name of the pseudo-terminal.
    """
    from sateen.sim.verilated import VerilatedDevice

    with VerilatedDevice(config) as device, terminal(ready) as line:
        due = Due()
        while True:
            data = line.receive(POLL_SECONDS if due.expecting else None)
            due.comes(data)
            answer = device.exchange(data, max_cycles=len(data) + IDLE_CYCLES) if data or due.expecting else b""
            if answer:
                line.send(answer)
                due.goes(answer)
