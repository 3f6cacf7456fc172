"""One device and several users: threads take turns, a second driver or client is refused by name."""

import os
import pty
import signal
import socket
import subprocess
import sys
import threading
import time

import numpy as np
import pytest

import sateen
from sateen.graph import run as golden
from sateen.hw.spec.config import PRESETS
from sateen.runtime import Device, serve
from sateen.runtime.link import Link
from sateen.runtime.transport import SerialTransport, SimulationTransport, TcpTransport
from sateen.sim.errors import SimulationError
from sateen.sim.verilated import build
from sateen.testing.graphs import Builder, random_input

CONFIG = PRESETS["micro"]


def cases(count):
    """Models of one configuration, inputs and right results.."""
    rng = np.random.default_rng(3)
    for outputs in range(2, 2 + count):
        graph = Builder((4, 4, 2), rng).conv2d(outputs, (2, 2)).flatten().fully_connected(5).graph()
        x = random_input(graph, rng, 2)
        yield sateen.compile(graph, CONFIG), x, golden(graph, x)[graph.outputs[0]]


def run_in_threads(device, models, *, threads, rounds):
    """The results that are wrong, and exceptions."""
    wrong = []

    def work(number):
        model, x, expected = models[number % len(models)]
        try:
            loaded = device.load(model)
            for _ in range(rounds):
                if not np.array_equal(loaded.run(x), expected):
                    wrong.append(number)
        except Exception as error:
            wrong.append(error)

    users = [threading.Thread(target=work, args=(number,)) for number in range(threads)]
    for user in users:
        user.start()
    for user in users:
        user.join()
    return wrong


def test_threads_take_turns():
    with Device(Link(SimulationTransport(CONFIG))) as device:
        assert run_in_threads(device, list(cases(2)), threads=8, rounds=6) == []


def test_another_session_takes_over():
    """Two drivers on one line. Requests of the first are refused by name, until it begins a session again."""
    transport = SimulationTransport(CONFIG)
    (model, x, expected), (other, other_x, other_expected) = cases(2)
    first = Device(Link(transport))
    loaded = first.load(model)
    np.testing.assert_array_equal(loaded.run(x), expected)
    second = Device(Link(transport))
    for _ in range(2):
        with pytest.raises(sateen.DeviceTakenError, match="another session has taken over the device"):
            loaded.run(x)
        np.testing.assert_array_equal(second.load(other).run(other_x), other_expected)
    first.link.hello()
    np.testing.assert_array_equal(first.load(model).run(x), expected)
    with pytest.raises(sateen.DeviceTakenError, match="another session"):
        second.load(other).run(other_x)
    transport.close()


def test_a_port_has_one_user():
    line, port = pty.openpty()
    name = os.ttyname(port)
    first = SerialTransport(name)
    with pytest.raises(sateen.DeviceTakenError, match=f"{name} is in use by another program; close that one first"):
        SerialTransport(name)
    first.close()
    SerialTransport(name).close()
    os.close(line)
    os.close(port)


@pytest.fixture(scope="module")
def server():
    """A simulated device on a TCP port of this machine, built before somebody waits for its answers."""
    build(CONFIG)
    listening = socket.create_server(("127.0.0.1", 0))
    threading.Thread(target=serve, args=(CONFIG,), kwargs={"ready": listening}, daemon=True).start()
    return listening.getsockname()[1]


@pytest.fixture
def patient(monkeypatch):
    """On a busy machine, a device that answers in real time is late."""
    monkeypatch.setattr("sateen.runtime.link.ANSWER_SECONDS", 60.0)


def test_a_served_device_has_one_client(server, patient):
    (model, x, expected), *_ = cases(1)
    for _ in range(2):
        with sateen.open(f"tcp:127.0.0.1:{server}") as device:
            with pytest.raises(sateen.DeviceTakenError, match="the device is in use by another client"):
                sateen.open(f"tcp:127.0.0.1:{server}")
            np.testing.assert_array_equal(device.load(model).run(x), expected)


def test_closed_by_another_thread(server, patient):
    """Threads that use the device end with an error that says so, in process and over TCP."""
    (model, x, expected), *_ = cases(1)
    for transport in (SimulationTransport(CONFIG), TcpTransport("127.0.0.1", server)):
        device = Device(Link(transport))
        loaded, ended = device.load(model), []

        def work(loaded=loaded, ended=ended):
            try:
                while True:
                    np.testing.assert_array_equal(loaded.run(x), expected)
            except (sateen.SateenError, SimulationError) as error:
                ended.append(str(error))

        threads = [threading.Thread(target=work) for _ in range(3)]
        for thread in threads:
            thread.start()
        loaded.run(x)
        device.close()
        for thread in threads:
            thread.join(timeout=120)
        assert len(ended) == 3 and all("closed" in each or "connection is lost" in each for each in ended), ended


def test_many_clients(server, patient):
    """However many connect, and whatever they send: the one that has the device goes on, and after it another."""
    (model, x, expected), *_ = cases(1)
    with sateen.open(f"tcp:127.0.0.1:{server}") as device:
        loaded = device.load(model)
        others = [socket.create_connection(("127.0.0.1", server)) for _ in range(100)]
        with pytest.raises(OSError):
            for _ in range(1000):
                # Without a flag: no frame ever ends.
                others[0].sendall(bytes(1 << 16))
        np.testing.assert_array_equal(loaded.run(x), expected)
        for other in others:
            other.close()
    deadline = time.monotonic() + 60
    while True:
        try:
            with sateen.open(f"tcp:127.0.0.1:{server}") as device:
                np.testing.assert_array_equal(device.load(model).run(x), expected)
            break
        except sateen.DeviceError:
            # Until the server has seen that they are gone.
            assert time.monotonic() < deadline


KILLED = """
import os, signal, sys
import numpy as np
import sateen
from sateen.runtime.transport import TcpTransport

exchange, left = TcpTransport.exchange, int(sys.argv[3])

def dying(self, data, *, timeout):
    global left
    left -= bool(data)
    if left < 0:
        self._socket.sendall(data[: len(data) * 2 // 3])
        os.kill(os.getpid(), signal.SIGKILL)
    return exchange(self, data, timeout=timeout)

TcpTransport.exchange = dying
device, model = sateen.open(f"tcp:127.0.0.1:{sys.argv[1]}"), sateen.Model.load(sys.argv[2])
while True:
    device.load(model).run(np.zeros((1, 4, 4, 2), np.int8))
"""
"""A client that is killed in the midst of a frame."""


def opened(server):
    """The device, as soon as the server has seen that the client before is gone: a busy machine is slow."""
    deadline = time.monotonic() + 60
    while True:
        try:
            return sateen.open(f"tcp:127.0.0.1:{server}")
        except sateen.DeviceTakenError:
            assert time.monotonic() < deadline
            time.sleep(0.1)


def test_a_client_that_is_killed(server, patient, tmp_path):
    """Within HELLO, a load, an inference: the next client finds a device as it should be."""
    (model, x, expected), *_ = cases(1)
    model.save(tmp_path / "model.sateen")
    for place in (0, 10, 12):
        command = [sys.executable, "-c", KILLED, str(server), tmp_path / "model.sateen", str(place)]
        assert subprocess.run(command).returncode == -signal.SIGKILL
        with opened(server) as device:
            np.testing.assert_array_equal(device.load(model).run(x), expected)


def test_a_forked_process_has_no_session(server, patient):
    with sateen.open(f"tcp:127.0.0.1:{server}") as device:
        (model, x, expected), *_ = cases(1)
        loaded = device.load(model)
        child = os.fork()
        if child == 0:
            try:
                loaded.run(x)
            except sateen.DeviceError as error:
                os._exit(0 if "before this process was forked" in str(error) else 2)
            os._exit(3)
        assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0
        np.testing.assert_array_equal(loaded.run(x), expected)


def in_fork(call):
    """What a call raises in a fork; it must not wait."""
    ends, child = os.pipe(), os.fork()
    if child == 0:
        signal.alarm(20)
        try:
            call()
        except BaseException as error:
            os.write(ends[1], f"{type(error).__name__}: {error}".encode())
        os._exit(0)
    os.close(ends[1])
    with open(ends[0]) as said:
        text = said.read()
    assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0, "it hangs"
    return text


def test_a_fork_while_threads_use_the_device():
    """Their locks are held for ever in the fork, where they do not exist."""
    (model, x, expected), *_ = cases(1)
    device = Device(Link(SimulationTransport(CONFIG)))
    loaded, held, done = device.load(model), threading.Event(), threading.Event()

    def hold():
        with device.turn, device.link._turn, loaded._submissions._lock:
            held.set()
            done.wait()

    thread = threading.Thread(target=hold, daemon=True)
    thread.start()
    held.wait()
    calls = [
        lambda: loaded.run(x), lambda: loaded.submit(x), lambda: device.load(model), device.link.hello,
        lambda: Device(device.link), lambda: loaded.reset(),
    ]  # fmt: skip
    refused = [in_fork(call) for call in calls]
    closed = in_fork(device.close)
    done.set()
    thread.join()
    assert {*refused} == {"DeviceError: the device was opened before this process was forked; open it in this process"}
    assert closed == ""
    np.testing.assert_array_equal(loaded.run(x), expected)
    np.testing.assert_array_equal(loaded.submit(x).result(), expected)
    device.close()


def test_threads_over_tcp(server, patient):
    with sateen.open(f"tcp:127.0.0.1:{server}") as device:
        assert run_in_threads(device, list(cases(2)), threads=8, rounds=1) == []


@pytest.mark.parametrize("sends", [b"\x7e", b"\x00", bytes(1 << 16)], ids=["flags", "bytes", "flood"])
def test_a_peer_that_never_ends(sends):
    """Whatever trickles in, the deadlines stand: a session needs about a second to fail, here as if nothing came."""
    done = threading.Event()

    def trickle(listening):
        client, _ = listening.accept()
        with client:
            while not done.wait(0.005):
                try:
                    client.sendall(sends)
                except OSError:
                    return

    with socket.create_server(("127.0.0.1", 0)) as listening:
        threading.Thread(target=trickle, args=(listening,), daemon=True).start()
        begin = time.monotonic()
        transport = TcpTransport("127.0.0.1", listening.getsockname()[1])
        with pytest.raises(sateen.LinkError, match="did not answer"):
            Link(transport).hello()
        assert time.monotonic() - begin < 60
        transport.close()
        done.set()


def test_a_flood_is_not_kept():
    """However fast bytes without a flag come, memory is bounded."""

    class Flood:
        bits_per_second = clock_hz = float("inf")

        def now(self):
            return 0.0

        def exchange(self, data, *, timeout):
            return bytes(1 << 16)

    link = Link(Flood())
    with pytest.raises(sateen.LinkError, match="did not answer"):
        link.hello()
    assert link.bytes < 8 << 20


def test_a_peer_that_takes_nothing():
    """A connection whose other end neither reads nor writes."""
    with socket.create_server(("127.0.0.1", 0)) as listening:
        transport = TcpTransport("127.0.0.1", listening.getsockname()[1])
        while transport.exchange(bytes(1 << 20), timeout=0.01):
            pass
        with pytest.raises(sateen.LinkError, match="did not answer"):
            Link(transport).hello()
        transport.close()
    with pytest.raises(sateen.DeviceError, match="cannot open tcp:127.0.0.1:1: .*; check the name"):
        sateen.open("tcp:127.0.0.1:1")
