"""A serial port whose cable is pulled out, and a device that loses its power: the error says what to do, and behind a
new connection all is as before."""

import queue
import threading

import numpy as np
import pytest
from test_shelf import CONFIG

import sateen
from sateen.errors import DeviceError, DeviceTakenError
from sateen.hw.spec.wire import Space
from sateen.runtime.link import read, write
from sateen.runtime.shelf import DIRECTORY_BYTES
from sateen.runtime.terminal import terminal
from sateen.runtime.transport import SimulationTransport
from sateen.testing.graphs import small_network

SECONDS = 0.001
"""Simulated between two looks at the port."""


class Cable(threading.Thread):
    """Leads from a port to a simulated device, until so many bytes have come."""

    def __init__(self, device, until=float("inf")):
        super().__init__(daemon=True)
        self.device, self.until, self.names = device, until, queue.Queue()
        self.start()
        self.port = f"serial:{self.names.get()}?baud=1000000"

    def run(self):
        with terminal(self.names.put) as line:
            while self.until > 0:
                data = line.receive(0.01)[: int(min(self.until, 1 << 16))]
                self.until -= len(data)
                if answer := self.device.exchange(data, timeout=SECONDS):
                    line.send(answer)

    def pull(self):
        self.until = 0
        self.join()


@pytest.fixture(scope="module")
def simulation():
    transport = SimulationTransport(CONFIG)
    yield transport
    transport.close()


def test_cable_is_pulled_out(simulation, monkeypatch):
    """While a model is sent, of which nothing is found afterwards; while one runs; and between two runs."""
    # On a busy machine, a device that answers in real time is late.
    monkeypatch.setattr("sateen.runtime.link.ANSWER_SECONDS", 60.0)
    (model, x), (other, y) = small_network(CONFIG, 1), small_network(CONFIG, 2)
    cable = Cable(simulation)
    with sateen.open(cable.port) as device:
        expected = device.load(model).run(x)
        size = device.shelf.size(other)
        cable.until = size // 2
        with pytest.raises(DeviceError, match="connection is lost: .*; connect the device and open it again"):
            device.load(other)
    cable.join()
    cable = Cable(simulation)
    with sateen.open(cable.port) as device:
        assert [entry.name for entry in device.shelf.entries] == [model.graph.name]
        loaded = device.load(model)
        assert not device.shelf.sent
        cable.until = 10
        with pytest.raises(DeviceError, match="connection is lost"):
            loaded.run(x)
        with pytest.raises(DeviceError, match="connection is lost"):
            loaded.run(x)
    cable.join()
    cable = Cable(simulation)
    with sateen.open(cable.port) as device:
        np.testing.assert_array_equal(device.load(model).run(x), expected)
        device.load(other).run(y)
        assert device.shelf.sent == size and len(device.shelf.entries) == 2
        cable.pull()
        with pytest.raises(DeviceError, match="connection is lost"):
            device.load(model).run(x)


def test_power_is_lost(simulation, monkeypatch):
    """Behind a serial adapter that keeps its own: of the SDRAM the directory is left, and not the models that it names.
    None of them is found; the handle that was open says so, and what is loaded anew gives the same results."""
    monkeypatch.setattr("sateen.runtime.link.ANSWER_SECONDS", 60.0)
    model, x = small_network(CONFIG, 1)
    cable = Cable(simulation)
    with sateen.open(cable.port) as device:
        loaded = device.load(model)
        expected, size = loaded.run(x), device.shelf.size(model)
        directory = device.link.transaction([read(Space.SDRAM, 0, 2048)])
        cable.device = SimulationTransport(CONFIG)
        with pytest.raises(DeviceTakenError, match="or its power was off; .* open the device again"):
            loaded.run(x)
    with sateen.open(cable.port) as device:
        device.link.transaction([write(Space.SDRAM, 0, directory), write(Space.SDRAM, DIRECTORY_BYTES, bytes(size))])
        assert model.graph.name in [entry.name for entry in device.shelf.entries]
        np.testing.assert_array_equal(device.load(model).run(x), expected)
        assert device.shelf.sent == size
    cable.pull()
    cable.device.close()
