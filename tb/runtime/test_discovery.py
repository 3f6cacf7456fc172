"""Serial ports: what answers there, in which state they are, and that a port in use is left alone. A pseudo-terminal
with a simulated device behind it stands for a board."""

import json
import os
import pty
import threading
import time

import pytest

import sateen
from command_line import cli
from sateen.fpga.boards import BOARDS
from sateen.hw.spec.config import parse_config
from sateen.hw.spec.usb import MAKER, PRODUCT, TITLE, VENDOR
from sateen.runtime import discovery, resident
from sateen.runtime.discovery import Port, PortState, examine, serial_ports
from sateen.runtime.serve import serve_terminal
from sateen.runtime.transport import RATES
from sateen.sim.verilated import build
from sateen.testing.graphs import Builder

CONFIG = parse_config("micro")


@pytest.fixture
def served():
    """The name of a port with a device behind it."""
    build(CONFIG)
    names, ready = [], threading.Event()

    def tell(name):
        names.append(name)
        ready.set()

    threading.Thread(target=serve_terminal, args=(CONFIG, tell), daemon=True).start()
    assert ready.wait(60)
    return names[0]


@pytest.fixture
def patient(monkeypatch, tmp_path):
    """On a busy machine, a device that answers in real time is late. Models are remembered in a folder of the test."""
    monkeypatch.setattr("sateen.runtime.link.ANSWER_SECONDS", 60.0)
    monkeypatch.setattr(resident, "user_cache_path", lambda name: tmp_path / name)


def model(seed):
    import numpy as np

    graph = Builder((4, 4, 4), np.random.default_rng(seed), name=f"net {seed} [x]").conv2d(4, (3, 3)).graph()
    return sateen.compile(graph, CONFIG)


def test_device_and_its_model(served, patient):
    found = examine(Port(name=served))
    assert found.state == PortState.ANSWERS and found.baud == RATES[0]
    assert found.identity.config == CONFIG and found.identity.build == CONFIG.digest
    assert found.model is None
    one, other = model(1), model(2)
    with sateen.open(f"serial:{served}?baud={found.baud}") as device:
        device.load(one)
        assert resident.resident(device) == resident.UNKNOWN
        resident.remember(other)
        assert resident.resident(device) == resident.UNKNOWN
        resident.remember(one)
        assert resident.resident(device) == "net 1 [x]"
        device.load(other)
    assert examine(Port(name=served)).model == "net 2 [x]"


def test_port_in_use_is_left_alone(served, patient):
    with sateen.open(f"serial:{served}?baud={RATES[0]}") as device:
        found = examine(Port(name=served))
        assert found.state == PortState.IN_USE and "is in use by another program" in found.detail
        # The session goes on.
        device.load(model(3))


@pytest.fixture
def unlocked():
    """A port that another process has open, without a lock: its name, the process, and the line behind it."""
    line, port = pty.openpty()
    name = os.ttyname(port)
    child = os.fork()
    if child == 0:
        time.sleep(60)
        os._exit(0)
    os.close(port)
    yield name, child, line
    os.kill(child, 9)
    os.waitpid(child, 0)
    os.close(line)


def test_port_that_another_program_has_open_without_a_lock(unlocked):
    name, child, line = unlocked
    found = examine(Port(name=name))
    assert found.state == PortState.IN_USE and found.detail.endswith(f"process {child}")
    os.set_blocking(line, False)
    with pytest.raises(OSError):
        os.read(line, 1)


def test_files_that_are_closed_meanwhile(unlocked, monkeypatch):
    """A program closes all its other files just before they are looked at: its port is still found."""
    name, child, _ = unlocked
    readlink = os.readlink

    def closed(path):
        if (found := readlink(path)) != name:
            raise FileNotFoundError(path)
        return found

    monkeypatch.setattr(os, "readlink", closed)
    assert examine(Port(name=name)).detail.endswith(f"process {child}")


def test_silent_and_missing_ports(monkeypatch):
    line, port = pty.openpty()
    begin = time.monotonic()
    assert examine(Port(name=os.ttyname(port)), rates=RATES).state == PortState.SILENT
    assert time.monotonic() - begin < 15
    os.close(line)
    os.close(port)
    missing = examine(Port(name="/dev/nothing"))
    assert missing.state == PortState.CLOSED and "cannot open /dev/nothing" in missing.detail


class Info:
    """What pyserial says of a port."""

    def __init__(self, device, vid=None, pid=None, manufacturer=None, product=None):
        self.device, self.vid, self.pid, self.manufacturer, self.product = device, vid, pid, manufacturer, product

    def __lt__(self, other):
        return self.device < other.device


def test_ports_of_the_machine(monkeypatch):
    infos = [Info("/dev/ttyUSB0", 0x0403, 0x6015, "FER-RADIONA-EMARD", "ULX3S FPGA 85K v3.0.8"), Info("/dev/ttyS0")]
    monkeypatch.setattr(discovery.list_ports, "comports", lambda: infos)
    plain, board = serial_ports()
    assert (plain.name, plain.ids, plain.title) == ("/dev/ttyS0", None, "")
    assert board.ids == (BOARDS["ulx3s-85f"].usb.vendor, BOARDS["ulx3s-85f"].usb.product)
    assert board.title == "FER-RADIONA-EMARD ULX3S FPGA 85K v3.0.8" and board.state == PortState.NOT_ASKED


def test_devices_on_usb(monkeypatch):
    """Numbers for tests are anybody's; the texts say that it is one of ours."""
    infos = [Info("/dev/ttyACM0", VENDOR, PRODUCT, MAKER, TITLE), Info("/dev/ttyACM1", VENDOR, PRODUCT, "Other", TITLE)]
    monkeypatch.setattr(discovery.list_ports, "comports", lambda: infos)
    assert [port.own for port in serial_ports()] == [True, False]


def test_devices_command(served, tmp_path):
    """By the command line, whose driver has its usual patience; a busy machine may take two looks."""
    for _ in range(5):
        result = cli("devices", served, "--json", tmp_path / "devices.json")
        assert result.returncode == 0, result.stderr
        (entry,) = json.loads((tmp_path / "devices.json").read_text())["ports"]
        if entry["state"] == "answers":
            break
    assert entry["device"] == f"serial:{served}?baud={entry['baud']}"
    assert entry["config"]["rows"] == CONFIG.rows and entry["board"] is None and entry["build"] == CONFIG.digest
    assert f"{served}: answers" in result.stdout and f"--device {entry['device']}" in result.stdout
    result = cli("devices", "/dev/nothing", "--json", "-")
    assert json.loads(result.stdout)["ports"][0]["state"] == "cannot be opened"
