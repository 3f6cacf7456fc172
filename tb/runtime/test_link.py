"""The link between driver and device: damage of every kind on the line, silence, and a device that comes back."""

import random
import socket
import threading
from dataclasses import replace

import numpy as np
import pytest

import sateen
import seeds
from sateen.hw.spec.wire import FLAG, Frame, FrameType, Op, OpHeader, Space, Status, Stuffing
from sateen.runtime import Device
from sateen.runtime.link import TRIES, Link, read, run, wait, write
from sateen.runtime.transport import SerialTransport, SimulationTransport, open_transport
from sateen.sim.verilated import build
from sateen.testing.graphs import Builder, random_input

CONFIG = sateen.Config(rows=4, cols=4, lanes=2, scratchpad_bytes=8192, weight_bytes=16384, positions=64)


class Noisy:
    """A line that drops, flips, inserts and repeats bytes, each with a small probability."""

    bits_per_second = clock_hz = float("inf")

    def __init__(self, inner, rate, seed):
        self.inner, self.rate, self.rng = inner, rate, random.Random(seed)
        self.silent = False
        self.now = inner.now

    def exchange(self, data, *, timeout):
        if self.silent:
            return b""
        return self._damaged(self.inner.exchange(self._damaged(data), timeout=min(timeout, 1e-3)))

    def close(self):
        self.inner.close()

    def _damaged(self, data):
        damaged = bytearray()
        for byte in data:
            kind = self.rng.randrange(4) if self.rng.random() < self.rate else None
            if kind == 0:
                continue
            damaged.append(byte ^ (1 << self.rng.randrange(8)) if kind == 1 else byte)
            if kind == 2:
                damaged.append(self.rng.randrange(256))
            if kind == 3:
                damaged.append(byte)
        return bytes(damaged)


@pytest.fixture
def simulation():
    """A device of its own for each test."""
    with SimulationTransport(CONFIG).device as device:
        yield device


def test_answers_at_once():
    """A frame that begins with the first cycle after reset."""
    with SimulationTransport(CONFIG).device as device:
        assert device.exchange(Frame(FrameType.HELLO, 1, b"").encode(), max_cycles=1000)


@pytest.fixture
def transport(simulation):
    bare = object.__new__(SimulationTransport)
    bare.device, bare.clock_hz = simulation, CONFIG.clock_hz
    bare.close = lambda: None
    return bare


def answers(device, data, cycles=20000):
    """The answers to raw bytes."""
    return [
        frame for body in Stuffing().feed(device.exchange(data, max_cycles=cycles)) if (frame := Frame.decode(body))
    ]


def hello(seq):
    return Frame(FrameType.HELLO, seq).encode()


def test_resynchronizes(simulation):
    """Garbage, cut frames, wrong lengths, overlong frames: dropped silently, and the next frame is answered."""
    good = Frame(FrameType.REQUEST, 1, OpHeader(Op.READ, Space.IDENTITY, 4, 2).encode())
    cut, flipped = good.encode()[:9], bytearray(good.encode())
    flipped[6] ^= 1
    body = bytearray(Frame(FrameType.REQUEST, 2, b"12345678").encode())
    body[3] += 1
    overlong = Frame(FrameType.REQUEST, 3, bytes(CONFIG.frame_bytes + 1)).encode()
    rng = random.Random(seeds.own())
    noise = bytes(rng.choice([0x7D, 0x7E, 0xFF, rng.randrange(256)]) for _ in range(3000))
    for seq, junk in enumerate(
        [b"", b"\x7e" * 50, cut, bytes(flipped), bytes(body), overlong, noise, b"\x7d", b"\x7d\x7e"]
    ):
        assert answers(simulation, junk, cycles=len(junk) + 100) == [], junk[:20]
        assert answers(simulation, bytes([FLAG]) + hello(100 + seq)) == [Frame(FrameType.RESPONSE, 100 + seq, b"\0")]


def test_executes_once(simulation):
    """A repeated request is answered again, but not executed again."""
    answers(simulation, hello(7))
    assert answers(
        simulation, Frame(FrameType.REQUEST, 8, write(Space.SCRATCHPAD, 0, b"ab").header.encode() + b"ab").encode()
    )
    first = Frame(FrameType.REQUEST, 9, OpHeader(Op.READ, Space.SCRATCHPAD, 2, 0).encode()).encode()
    assert answers(simulation, first)[0].payload == b"ab\0"
    change = Frame(FrameType.REQUEST, 10, OpHeader(Op.WRITE, Space.SCRATCHPAD, 2, 0).encode() + b"cd").encode()
    read_all = OpHeader(Op.READ, Space.SCRATCHPAD, 2, 0).encode()
    both = Frame(FrameType.REQUEST, 11, read_all + OpHeader(Op.WRITE, Space.SCRATCHPAD, 2, 0).encode() + b"ef").encode()
    answers(simulation, change)
    assert answers(simulation, both)[0].payload == b"cd\0"
    assert answers(simulation, both)[0].payload == b"cd\0", (
        "the answer is kept, the write not done before the read again"
    )


def test_late_requests_are_dropped(simulation):
    """A request that comes again after later ones, or after a HELLO that came again."""
    old, new = (
        Frame(FrameType.REQUEST, seq, OpHeader(Op.WRITE, Space.SCRATCHPAD, 2, 0).encode() + data).encode()
        for seq, data in ((8, b"ab"), (9, b"cd"))
    )
    for sent in (hello(7), old, new):
        assert answers(simulation, sent)[0].payload == b"\0"
    look = OpHeader(Op.READ, Space.SCRATCHPAD, 2, 0).encode()
    assert answers(simulation, old) == []
    assert answers(simulation, Frame(FrameType.REQUEST, 10, look).encode())[0].payload == b"cd\0"
    assert answers(simulation, hello(7))[0].payload == b"\0"
    assert answers(simulation, new) == []


@pytest.mark.parametrize(
    ("operations", "status"),
    [
        (OpHeader(Op.READ, 7, 1, 0).encode(), Status.BAD_SPACE),
        (OpHeader(Op.WRITE, Space.IDENTITY, 1, 0).encode() + b"x", Status.BAD_SPACE),
        (OpHeader(Op.WRITE, Space.COUNTERS, 1, 0).encode() + b"x", Status.BAD_SPACE),
        (OpHeader(Op.WRITE, Space.SCRATCHPAD, 9, 0).encode() + b"x", Status.BAD_OP),
        (b"\x09" + bytes(7), Status.BAD_OP),
        (OpHeader(Op.READ, Space.SCRATCHPAD, 1, 0).encode()[:5], Status.BAD_OP),
        (OpHeader(Op.READ, Space.SCRATCHPAD, CONFIG.frame_bytes, 0).encode(), Status.OVERFLOW),
        (OpHeader(Op.READ, Space.SCRATCHPAD, CONFIG.frame_bytes - 1, 0).encode(), Status.OK),
    ],
)
def test_statuses(simulation, operations, status):
    answers(simulation, hello(1))
    (answer,) = answers(simulation, Frame(FrameType.REQUEST, 2, operations).encode())
    assert answer.payload[-1] == status


def test_hello_aborts(simulation):
    """A program that never ends is aborted by the next session, even while a request waits for it."""
    link = Link(SimulationTransportOf(simulation))
    link.hello()
    # A descriptor of zeros waits for weights for ever.
    link.transaction([write(Space.PROGRAM, 0, bytes(192)), run(0, 1)])
    seq = (link._seq + 1) % 256
    waiting = Frame(FrameType.REQUEST, seq, OpHeader(Op.WAIT).encode(), link.session).encode()
    assert answers(simulation, waiting, cycles=5000) == []
    came = answers(simulation, hello(201)) + answers(simulation, b"", cycles=5000)
    assert [(frame.seq, frame.payload[-1]) for frame in came] == [(seq, Status.ABORTED), (201, Status.OK)]
    assert answers(simulation, Frame(FrameType.REQUEST, 202, OpHeader(Op.WAIT).encode()).encode())[0].payload == b"\0"


class SimulationTransportOf:
    """A transport to a simulation that is there already."""

    bits_per_second = clock_hz = float("inf")

    def __init__(self, device):
        self.device = device

    def now(self):
        return self.device.cycles / CONFIG.clock_hz

    def exchange(self, data, *, timeout):
        return self.device.exchange(data, max_cycles=len(data) + 100_000)

    def close(self):
        """The simulation stays."""


@pytest.mark.parametrize("rate", [1e-4, 3e-4])
def test_noise(simulation, rate):
    """With damage on the line every result is right all the same."""
    rng = np.random.default_rng(seeds.own())
    graph = Builder((5, 5, 3), rng).conv2d(6, (3, 3)).flatten().fully_connected(7).graph()
    x = random_input(graph, rng, 10)
    line = Noisy(SimulationTransportOf(simulation), rate, seeds.own())
    link = Link(line)
    device = Device(link)
    loaded = device.load(sateen.compile(graph, device.config))
    from sateen.graph import run as golden

    np.testing.assert_array_equal(loaded.run(x), golden(graph, x)[graph.outputs[0]])


def test_silence_then_back(simulation):
    """A device that falls silent is an error after the retries, and works again without a reset when it is back."""
    rng = np.random.default_rng(1)
    graph = Builder((3, 3, 2), rng).conv2d(3, (2, 2)).graph()
    x = random_input(graph, rng)
    line = Noisy(SimulationTransportOf(simulation), 0.0, 1)
    device = Device(Link(line))
    loaded = device.load(sateen.compile(graph, device.config))
    expected = loaded.run(x)
    line.silent = True
    with pytest.raises(sateen.LinkError, match=f"did not answer {TRIES} times; check that it is connected"):
        loaded.run(x)
    line.silent = False
    np.testing.assert_array_equal(loaded.run(x), expected)


class Short(SimulationTransportOf):
    """Leaves out or adds bytes of answers, with checksums that are right."""

    change = 0

    def exchange(self, data, *, timeout):
        (body,) = Stuffing().feed(super().exchange(data, timeout=timeout))
        frame = Frame.decode(body)
        middle = frame.payload[:-1]
        middle = middle[: self.change] if self.change < 0 else middle + bytes(self.change)
        return replace(frame, payload=middle + frame.payload[-1:]).encode()


@pytest.mark.parametrize("change", [-1, 1])
def test_answers_of_another_size(simulation, change):
    """A device that gives more or less than was asked for: no result is made of it."""
    line = Short(simulation)
    link = Link(line)
    link.hello()
    line.change = change
    with pytest.raises(sateen.DeviceError, match=f"answered {6 + change} bytes where 6 were asked for"):
        link.transaction([read(Space.SCRATCHPAD, 0, 5)])


class Losing(SimulationTransportOf):
    """Loses frames ``way`` the device, or back."""

    way = ""

    def exchange(self, data, *, timeout):
        came = super().exchange(data, timeout=timeout) if self.way != "to" else b""
        return came if self.way != "from" else b""


@pytest.mark.parametrize("way", ["to", "from"])
def test_goes_on_after_silence(simulation, way):
    """Whether the frame that was not answered never came or its answer was lost: what follows is executed, once."""
    line = Losing(simulation)
    link = Link(line)
    link.hello()
    place = [read(Space.SCRATCHPAD, 0, 2)]
    link.transaction([write(Space.SCRATCHPAD, 0, b"ab")])
    line.way = way
    with pytest.raises(sateen.LinkError, match="did not answer"):
        link.transaction([*place, write(Space.SCRATCHPAD, 0, b"cd")])
    line.way = ""
    assert link.transaction([*place, write(Space.SCRATCHPAD, 0, b"ef")]) == (b"ab" if way == "to" else b"cd")
    assert link.transaction(place) == b"ef"


def test_silence_and_another_session(simulation):
    """Somebody else took the device over while the line was silent: an error says so."""
    line = Losing(simulation)
    link = Link(line)
    link.hello()
    line.way = "to"
    with pytest.raises(sateen.LinkError, match="did not answer"):
        link.transaction([wait()])
    line.way = ""
    Link(line).hello()
    with pytest.raises(sateen.DeviceTakenError, match="another session"):
        link.transaction([wait()])


def test_long_operations_are_split(transport):
    link = Link(transport)
    link.hello()
    data = random.Random(seeds.own()).randbytes(5000)
    assert link.transaction([write(Space.SCRATCHPAD, 3, data), read(Space.SCRATCHPAD, 3, 5000), wait()]) == data
    assert link.bytes > 10000 and link.retransmissions == 0


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("sim", "'sim' names no device; write sim:PRESET"),
        ("usb:1", "'usb:1' names no device"),
        ("sim:huge", "'huge' is no preset; there are micro, tiny, small, large"),
        ("sim:tiny,rows", "'rows' is not of the form field=value"),
        ("sim:tiny,rows=3", r"rows must be a whole number from 4 to 64 \(the accumulators need"),
        ("sim:tiny,wheels=4", "'wheels' is no field of a configuration"),
        ("tcp:localhost", "write tcp:HOST:PORT"),
        ("udp::7355", "write udp:HOST or udp:HOST:PORT"),
        ("udp:localhost:0", "write udp:HOST or udp:HOST:PORT"),
        ("udp:localhost:²", "write udp:HOST or udp:HOST:PORT"),
        ("tcp:localhost:²", "write tcp:HOST:PORT"),
        ("serial:/dev/x?baud=²", "write serial:/dev/ttyUSB0"),
        ("sim:tiny,rows=²", "rows must be a whole number from 4 to 64"),
        ("sim:tiny,rows=--8", "rows must be a whole number from 4 to 64"),
        ("udp:a..b", "cannot open udp:a..b: .*; check the address"),
        ("tcp:a..b:80", "cannot open tcp:a..b:80: .*; check the name"),
        ("udp:no-such-host.invalid", "cannot open udp:no-such-host.invalid: .*; check the address"),
        ("serial:/dev/no-such-port", "cannot open /dev/no-such-port"),
        ("serial:/dev/x?speed=3", "write serial:/dev/ttyUSB0"),
    ],
)
def test_device_names(name, message):
    with pytest.raises(sateen.DeviceError, match=message):
        open_transport(name)


def test_trace_needs_a_simulation():
    with pytest.raises(sateen.DeviceError, match="no waveform to write"):
        open_transport("tcp:localhost:1", trace="x.fst")


@pytest.fixture(scope="module")
def server():
    """A simulated device on a TCP port of this machine, built before somebody waits for its answers."""
    from sateen.runtime import serve

    build(CONFIG)
    listening = socket.create_server(("127.0.0.1", 0))
    thread = threading.Thread(target=serve, args=(CONFIG,), kwargs={"ready": listening}, daemon=True)
    thread.start()
    return listening.getsockname()[1]


@pytest.mark.parametrize("form", ["tcp:127.0.0.1:{}", "serial:socket://127.0.0.1:{}?baud=4000000"])
def test_over_tcp(server, form, monkeypatch):
    """The serial driver against a real stream of bytes, one client after another."""
    # The one test whose device answers in real time, and on a busy machine late.
    monkeypatch.setattr("sateen.runtime.link.ANSWER_SECONDS", 60.0)
    rng = np.random.default_rng(2)
    graph = Builder((4, 4, 3), rng).conv2d(5, (3, 3)).graph()
    x = random_input(graph, rng, 3)
    from sateen.graph import run as golden

    for _ in range(2):
        with sateen.open(form.format(server)) as device:
            loaded = device.load(sateen.compile(graph, device.config))
            np.testing.assert_array_equal(loaded.run(x), golden(graph, x)[graph.outputs[0]])


def test_nobody_answers():
    """A connection at whose other end there is no device."""
    with socket.create_server(("127.0.0.1", 0)) as dumb:
        transport = SerialTransport(f"socket://127.0.0.1:{dumb.getsockname()[1]}", baud=4_000_000)
        with pytest.raises(sateen.LinkError, match="did not answer"):
            Link(transport).hello()
        transport.close()
