"""The driver over datagrams, with a simulated device behind them: lost, repeated, exchanged ones, and nobody there."""

import random
import socket
import threading

import numpy as np
import pytest

import sateen
import seeds
from sateen.graph import run
from sateen.hw.spec.config import parse_config
from sateen.hw.spec.ethernet import DATAGRAM_BYTES
from sateen.runtime.transport import SimulationTransport, UdpTransport, open_transport
from sateen.testing.graphs import small_network

CONFIG = "tiny"


class Board(threading.Thread):
    """A device at a UDP port, as the gateware is one: bytes in, bytes out, in datagrams. Some do not come through."""

    def __init__(self, *, lose=0.0, seed=0):
        super().__init__(daemon=True)
        self.transport, self.random, self.lose = SimulationTransport(parse_config(CONFIG)), random.Random(seed), lose
        self.socket = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
        self.socket.bind(("127.0.0.1", 0))
        self.socket.settimeout(0.01)
        self.port, self.lost, self.longest = self.socket.getsockname()[1], 0, 0
        self.ended = threading.Event()

    def run(self):
        peer, held = None, []
        while not self.ended.is_set():
            try:
                data, peer = self.socket.recvfrom(1 << 16)
            except TimeoutError:
                data = b""
            self.longest = max(self.longest, len(data))
            if not self._passes():
                data = b""
            came = self.transport.exchange(data, timeout=1e-4)
            pieces = [came[at : at + DATAGRAM_BYTES] for at in range(0, len(came), DATAGRAM_BYTES)]
            held += [piece for piece in pieces if self._passes()]
            if self.lose and self.random.random() < self.lose:
                self.random.shuffle(held)
                held += held[:1]
            for piece in held if peer else ():
                self.socket.sendto(piece, peer)
            held = []

    def _passes(self):
        passes = self.random.random() >= self.lose
        self.lost += not passes
        return passes

    def close(self):
        self.ended.set()
        self.join()
        self.socket.close()
        self.transport.close()


@pytest.mark.parametrize("lose", [0.0, 0.1])
def test_network(lose, monkeypatch):
    # On a busy machine, a device that answers in real time is late.
    monkeypatch.setattr("sateen.runtime.link.ANSWER_SECONDS", 1.0)
    board = Board(lose=lose, seed=seeds.own())
    board.start()
    try:
        with sateen.open(f"udp:127.0.0.1:{board.port}") as device:
            model, x = small_network(device.config, seeds.own())
            loaded = device.load(model)
            for _ in range(3):
                result = loaded.run(x)
                np.testing.assert_array_equal(result, run(model.graph, x)[model.graph.outputs[0]])
    finally:
        board.close()
    assert (board.lost > 0) == (lose > 0) and board.longest <= DATAGRAM_BYTES


def test_nobody_there():
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    with pytest.raises(sateen.DeviceError, match=f"udp:127.0.0.1:{port} takes no datagrams there; check that the addr"):
        sateen.open(f"udp:127.0.0.1:{port}")


def test_strangers_are_not_heard():
    """Only the device's own datagrams arrive; those without a byte end no wait."""
    with (
        socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as board,
        socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as other,
    ):
        board.bind(("127.0.0.1", 0))
        transport = open_transport(f"udp:127.0.0.1:{board.getsockname()[1]}")
        assert isinstance(transport, UdpTransport)
        assert transport.exchange(b"x" * (DATAGRAM_BYTES + 1), timeout=0.01) == b""
        came, host = board.recvfrom(4096)
        assert (len(came), board.recvfrom(4096)) == (DATAGRAM_BYTES, (b"x", host))
        other.sendto(b"wrong", host)
        board.sendto(b"", host)
        assert transport.exchange(b"", timeout=0.01) == b""
        board.sendto(b"", host)
        board.sendto(b"right", host)
        assert transport.exchange(b"", timeout=1) == b"right"
        transport.close()


def test_names_with_other_addresses(monkeypatch):
    """Of a name's addresses the board's is one of IPv4."""
    found = socket.getaddrinfo

    def both(host, port, family=0, **fields):
        others = [] if family else [(socket.AF_INET6, socket.SOCK_DGRAM, 17, "", ("::1", port, 0, 0))]
        return others + found(host, port, family=socket.AF_INET, **fields)

    monkeypatch.setattr(socket, "getaddrinfo", both)
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as board:
        board.bind(("127.0.0.1", 0))
        transport = open_transport(f"udp:localhost:{board.getsockname()[1]}")
        transport.exchange(b"here", timeout=0.01)
        assert board.recv(100) == b"here"
        transport.close()
