"""The C driver over a line of bytes: a simulated device, a line that damages, and a device that answers anything."""

import random
import re
import zlib
from dataclasses import replace

import numpy as np
import pytest
from c_driver import CDriver

import sateen
import seeds
from sateen.embedded import export
from sateen.errors import CompileError
from sateen.graph import Graph
from sateen.graph import run as golden
from sateen.hw.spec.config import PRESETS, parse_config
from sateen.hw.spec.identity import Identity
from sateen.hw.spec.wire import Frame, FrameType, Op, OpHeader, Space, Status, Stuffing
from sateen.runtime.link import Link
from sateen.sim.verilated import VerilatedDevice
from sateen.testing.graphs import Builder, random_input

CONFIG = sateen.Config(rows=4, cols=4, lanes=2, scratchpad_bytes=8192, weight_bytes=16384, positions=64)
CHIP = "sdram=as4c32m16sb"
SMALL = parse_config("tiny,scratchpad_bytes=1024,weight_bytes=4096,descriptors=4")
CYCLES_PER_MS = 100
"""Time for the driver: simulated cycles."""


class Line:
    """A line to a simulated device, whose bytes arrive in pieces of any size; ``rate`` of them are damaged."""

    def __init__(self, device, *, rate=0.0):
        self.device, self.rate, self.rng = device, rate, random.Random(seeds.own())
        self.buffer = self.sent = b""
        self.silent = self.broken = False

    def send(self, data):
        self.sent += data
        if not self.silent:
            self.buffer += self.device.exchange(self._damaged(data), max_cycles=len(data) + 8)
        return not self.broken

    def receive(self, size, milliseconds):
        if self.broken:
            return None
        if not self.buffer and not self.silent:
            self.buffer = self._damaged(self.device.exchange(b"", max_cycles=milliseconds * CYCLES_PER_MS))
        came = self.buffer[: self.rng.randrange(1, size + 1)]
        self.buffer = self.buffer[len(came) :]
        return came

    def now(self):
        # A clock that wraps soon.
        return (self.device.cycles // CYCLES_PER_MS - 100) % 2**32

    def _damaged(self, data):
        damaged = bytearray()
        for byte in data:
            kind = self.rng.randrange(4) if self.rng.random() < self.rate else None
            if kind != 0:
                damaged.append(byte ^ (1 << self.rng.randrange(8)) if kind == 1 else byte)
            if kind in (2, 3):
                damaged.append(byte if kind == 3 else self.rng.randrange(256))
        return bytes(damaged)

    def open(self, driver, session=7):
        return driver.open_link(self.send, self.receive, self.now, session=session, clock_hz=CYCLES_PER_MS * 1000)


class Scripted:
    """A device without memory: what it answers to each frame is a function of the frame."""

    def __init__(self, answers):
        self.answers, self.frames, self.buffer, self.time = answers, [], b"", 0
        self.stuffing = Stuffing()

    def send(self, data):
        for body in self.stuffing.feed(data):
            frame = Frame.decode(body)
            assert frame is not None, "the driver sends whole frames only"
            self.frames.append(frame)
            self.buffer = self.answers(frame)
        return True

    def receive(self, size, milliseconds):
        came, self.buffer = self.buffer[:size], self.buffer[size:]
        self.time += 1 if came else milliseconds
        return came

    def open(self, driver, session=7):
        return driver.open_link(self.send, self.receive, lambda: self.time, session=session)


def answer(frame, payload=b"\0", **changes):
    fields = {"type": FrameType.RESPONSE, "seq": frame.seq, "session": frame.session, "payload": payload, **changes}
    return Frame(**fields).encode()


def identity(frame, text=None):
    """An answer to a HELLO, or to the READ of the identity."""
    text = Identity(CONFIG, "").encode() if text is None else text
    return answer(frame, (text[:30] if frame.type == FrameType.REQUEST else b"") + b"\0")


def conv_net(seed, config=CONFIG):
    rng = np.random.default_rng(seed)
    graph = Builder((5, 5, 3), rng).conv2d(6, (3, 3)).flatten().fully_connected(7).graph()
    return sateen.compile(graph, config)


def unsigned(graph):
    """The same network as a uint8 file has it."""
    tensors = {name: replace(tensor, unsigned=True) for name, tensor in graph.tensors.items()}
    return Graph(name=graph.name, tensors=tensors, ops=graph.ops, inputs=graph.inputs, outputs=graph.outputs)


@pytest.fixture(scope="module")
def driver(tmp_path_factory):
    stuck = conv_net(1)
    zeros = replace(stuck.segments[0], program=np.zeros_like(stuck.segments[0].program))
    return CDriver(
        tmp_path_factory.mktemp("driver"), net=conv_net(1), other=conv_net(2),
        stuck=replace(stuck, segments=(zeros,)), foreign=conv_net(3, PRESETS["small"]),
        bytes=sateen.compile(unsigned(conv_net(4).graph), CONFIG),
    )  # fmt: skip


@pytest.fixture
def device():
    with VerilatedDevice(CONFIG) as simulated:
        yield simulated


@pytest.fixture
def line(device, driver):
    made = Line(device)
    assert made.open(driver) == driver.Status.OK
    return made


def check(driver, name, count=2):
    graph = driver.models[name].graph
    for x in random_input(graph, np.random.default_rng(seeds.own()), count):
        tensor = graph.tensors[graph.inputs[0]]
        status, (y,) = driver.run(name, tensor.to_file(x[None]))
        assert status == driver.Status.OK, driver.library.sateen_message(int(status))
        expected = golden(graph, x[None])[graph.outputs[0]]
        np.testing.assert_array_equal(y, graph.tensors[graph.outputs[0]].to_file(expected))


def test_equals_golden(driver, line):
    """Two models in turn, and one of unsigned bytes."""
    for name in ("net", "net", "other", "bytes", "net"):
        check(driver, name)
    assert driver.load("other") == driver.Status.OK
    check(driver, "other")
    assert driver.retransmissions == 0


@pytest.mark.parametrize("rate", [1e-4, 1e-3])
def test_noise(driver, device, rate):
    """With damage on the line every result is right all the same."""
    line = Line(device)
    assert line.open(driver) == driver.Status.OK
    line.rate = rate
    for name in ("net", "other", "net"):
        check(driver, name, count=4)
    assert driver.retransmissions > 0


def test_streamed_and_in_pieces(tmp_path):
    """Segments that are sent one after the other, and layers row by row, whose tensors stand in the work area."""
    rng = np.random.default_rng(3)
    streamed = Builder((6, 6, 8), rng).conv2d(24, (3, 3)).flatten().fully_connected(40).graph()
    pieces = (
        Builder((12, 9, 6), np.random.default_rng(13))
        .conv2d(20, (3, 2), padding=((1, 1), (0, 1)))
        .conv2d(9, (3, 3), dilation=(2, 1), stride=(2, 2), padding=((2, 2), (1, 1)))
        .flatten()
        .fully_connected(40)
        .graph()
    )
    models = {"streamed": sateen.compile(streamed, SMALL), "pieces": sateen.compile(pieces, SMALL)}
    assert len(models["streamed"].segments) > 1 and models["pieces"].tiled > 1
    driver = CDriver(tmp_path, **models)
    with VerilatedDevice(SMALL) as device:
        assert Line(device).open(driver) == driver.Status.OK
        check(driver, "streamed")
        check(driver, "pieces")


@pytest.mark.parametrize("text", ["tiny,scratchpad_bytes=1024", f"tiny,scratchpad_bytes=1024,weight_bytes=4096,{CHIP}"])
def test_chains(tmp_path, text):
    """Layers in the same stripes: the first one's input is sent, the last one's result stands in the work area. SDRAM
    beside the device is not used."""
    builder = Builder((9, 8, 4), np.random.default_rng(3)).conv2d(20, (1, 1)).depthwise_conv2d((3, 3), stride=(2, 2))
    graph = builder.conv2d(20, (1, 1)).conv2d(40, (1, 1)).conv2d(4, (2, 2)).flatten().fully_connected(9).graph()
    config = parse_config(text)
    model = sateen.compile(graph, config)
    assert any(step.tiles and step.count > 1 for step in model.steps) and len(model.steps) > 1
    driver = CDriver(tmp_path, chain=model)
    with VerilatedDevice(config) as device:
        assert Line(device).open(driver) == driver.Status.OK
        check(driver, "chain")


def test_overtime_and_after(driver, line):
    """A program that never ends is ended by the device; the next run sends its model again."""
    x = np.zeros((1, 5, 5, 3), np.int8)
    check(driver, "net", count=1)
    assert driver.run("stuck", x)[0] == driver.Status.OVERTIME
    assert driver.place == 0 and driver.retransmissions == 0
    check(driver, "net", count=1)


def test_another_session(driver, line):
    """A session of somebody else's makes this one's requests strangers; opened again, the device is ours."""
    transport = type("Transport", (), {"bits_per_second": 1e9, "clock_hz": 1e8, "now": lambda _: 0.0})()
    transport.exchange = lambda data, timeout: line.device.exchange(data, max_cycles=100_000)
    Link(transport).hello()
    assert driver.run("net", np.zeros((1, 5, 5, 3), np.int8))[0] == driver.Status.TAKEN
    assert line.open(driver, session=8) == driver.Status.OK
    check(driver, "net", count=1)


def test_refusals(driver, line):
    assert driver.write(Space.IDENTITY, 0, b"x") == driver.Status.REFUSED and driver.refusal == Status.BAD_SPACE
    assert driver.read(7, 0, 1)[0] == driver.Status.REFUSED and driver.refusal == Status.BAD_SPACE
    data = random.Random(1).randbytes(5000)
    assert driver.write(Space.SCRATCHPAD, 3, data) == driver.Status.OK
    assert driver.read(Space.SCRATCHPAD, 3, 5000) == (driver.Status.OK, data)
    assert driver.write(Space.SCRATCHPAD, 3, b"") == driver.Status.OK
    for address, size in ((1 << 24, 1), (0, (1 << 24) + 1), ((1 << 24) - 1, 2)):
        assert driver.read(Space.SCRATCHPAD, address, size)[0] == driver.Status.BAD_ARGUMENT


def test_models_for_others(driver, line):
    assert driver.load("foreign") == driver.Status.OTHER_LAYOUT
    assert driver.run("foreign", np.zeros((1, 5, 5, 3), np.int8))[0] == driver.Status.OTHER_LAYOUT
    check(driver, "net", count=1)


@pytest.mark.parametrize("came", [True, False], ids=["the frame came", "it never came"])
def test_silence_then_back(driver, line, came):
    """After a failure the model is sent again, whatever has become of it and of the frame that was not answered."""
    check(driver, "net", count=1)
    line.silent = True
    assert driver.run("net", np.zeros((1, 5, 5, 3), np.int8))[0] == driver.Status.SILENT
    assert driver.retransmissions == 4
    line.silent = False
    forget = OpHeader(Op.WRITE, Space.WEIGHTS, 900, 0).encode() + bytes(900)
    (*_, lost) = Stuffing().feed(line.sent)
    forged = Frame(FrameType.REQUEST, Frame.decode(lost).seq, forget, 7)
    if came:
        assert line.device.exchange(forged.encode(), max_cycles=5000)
    check(driver, "net", count=1)
    line.broken = True
    assert driver.run("net", np.zeros((1, 5, 5, 3), np.int8))[0] == driver.Status.LOST


@pytest.mark.parametrize("status", Status)
def test_every_status(driver, status):
    """What each status of a response is to the caller."""
    expected = {
        Status.STRANGER: "TAKEN", Status.ABORTED: "TAKEN", Status.IN_USE: "IN_USE", Status.OVERTIME: "OVERTIME",
        Status.OK: "OK",
    }.get(status, "REFUSED")  # fmt: skip
    said = {}
    device = Scripted(lambda frame: answer(frame, said["payload"]) if said else identity(frame))
    assert device.open(driver) == driver.Status.OK
    said["payload"] = bytes([9, status])
    assert driver.read(Space.SCRATCHPAD, 0, 1)[0] == driver.Status[expected]
    assert expected != "REFUSED" or driver.refusal == status
    assert expected != "OVERTIME" or driver.place == 9


def damaged(frame):
    """Answers that are none, to a READ of two bytes whose right answer is ``ab``."""
    right = answer(frame, b"ab\0")
    flipped = bytearray(right)
    flipped[-3] ^= 1
    crc = bytearray(Frame(FrameType.RESPONSE, frame.seq, b"xy\0", frame.session).encode())
    longer = Frame.HEADER.pack(FrameType.RESPONSE, frame.seq, 4, frame.session) + b"xy\0"
    wrong_length = longer + zlib.crc32(longer).to_bytes(4, "little")
    return {
        "another sequence number": answer(frame, b"xy\0", seq=(frame.seq + 1) % 256),
        "another session": answer(frame, b"xy\0", session=frame.session ^ 0x100),
        "the session's other byte": answer(frame, b"xy\0", session=frame.session ^ 1),
        "a request": answer(frame, b"xy\0", type=FrameType.REQUEST),
        "a wrong CRC": bytes(flipped),
        "cut short": bytes(crc[:-3]) + b"\x7e",
        "a wrong length": b"\x7e" + Stuffing.stuff(wrong_length) + b"\x7e",
        "an escape before the flag": right[:-1] + b"\x7d\x7e",
        "no payload": answer(frame, b""),
        "far too long": right[:-1] + bytes(3000) + b"\x7e",
        "noise": random.Random(5).randbytes(300).replace(b"\x7e", b""),
        "flags": b"\x7e" * 100,
    }


@pytest.mark.parametrize("kind", damaged(Frame(FrameType.REQUEST, 0)))
def test_other_frames(driver, kind):
    """A frame that is no answer is passed over: behind it the right one is found, and without that the request is sent
    again, the same each time."""
    mode = {}

    def answers(frame):
        if not mode:
            return identity(frame)
        return damaged(frame)[kind] + (answer(frame, b"ab\0") if mode["right"] else b"")

    device = Scripted(answers)
    assert device.open(driver, session=0x7E7D) == driver.Status.OK
    mode["right"] = True
    assert driver.read(Space.SCRATCHPAD, 0, 2) == (driver.Status.OK, b"ab")
    mode["right"] = False
    device.frames.clear()
    assert driver.read(Space.SCRATCHPAD, 0, 2)[0] == driver.Status.SILENT
    assert len(device.frames) == 5 and len(set(device.frames)) == 1
    assert driver.retransmissions == 4


def test_answers_that_fit_no_request(driver):
    """A good answer with more or fewer bytes than were asked for."""
    mode = {}
    device = Scripted(lambda frame: answer(frame, mode["payload"]) if mode else identity(frame))
    assert device.open(driver) == driver.Status.OK
    for payload in (b"a\0", b"abc\0", b"\0"):
        mode["payload"] = payload
        assert driver.read(Space.SCRATCHPAD, 0, 2)[0] == driver.Status.INCOMPATIBLE


@pytest.mark.parametrize(
    "text", [b'{"sateen":99,"layout":"12345678","x', b'{"sateen":3,"layout":"1234567g","x', bytes(30)]
)
def test_strange_devices(driver, text):
    assert Scripted(lambda frame: identity(frame, text)).open(driver) == driver.Status.INCOMPATIBLE


def test_requests_are_numbered(driver):
    """One session, and a new number for each request; the HELLO before them."""
    device = Scripted(lambda frame: identity(frame) if len(device.frames) < 3 else answer(frame, b"ab\0"))
    assert device.open(driver, session=513) == driver.Status.OK
    for _ in range(300):
        driver.read(Space.SCRATCHPAD, 0, 2)
    assert {frame.session for frame in device.frames} == {513}
    first = device.frames[0].seq
    assert [frame.seq for frame in device.frames] == [(first + n) % 256 for n in range(len(device.frames))]
    assert [frame.type for frame in device.frames] == [FrameType.HELLO] + [FrameType.REQUEST] * (len(device.frames) - 1)
    assert device.frames[2].payload == OpHeader(Op.READ, Space.SCRATCHPAD, 2, 0).encode()


def test_babble_ends(driver):
    """A line that never falls silent: the deadline stands."""
    device = Scripted(identity)
    assert device.open(driver) == driver.Status.OK
    device.receive = lambda size, milliseconds: bytes(size)
    driver.kept.clear()
    times = iter(range(10**9))
    status = driver.open_link(device.send, lambda size, _: bytes(size), lambda: next(times))
    assert status == driver.Status.SILENT


def test_what_cannot_be_exported():
    model = conv_net(1)
    for name in ("2fast", "a-b", "int", "sateen", "x y", "", "é"):
        with pytest.raises(CompileError, match="names no model in C"):
            export(model, name)


def test_names_cannot_leave_their_place(tmp_path):
    """Tensors of any name: in comments and literals they are harmless."""
    model = conv_net(1)
    awkward = 'x */ "\\ ?\n\u00fc'
    graph = model.graph
    tensors = {
        awkward if k == "x" else k: replace(t, name=awkward if k == "x" else k) for k, t in graph.tensors.items()
    }
    ops = [replace(op, input=awkward) if op.input == "x" else op for op in graph.ops]
    renamed = Graph(name='*/ "', tensors=tensors, ops=ops, inputs=[awkward], outputs=graph.outputs)
    CDriver(tmp_path, net=sateen.compile(renamed, CONFIG))


def test_every_status_has_a_message(driver):
    messages = [driver.library.sateen_message(int(status)) for status in driver.Status]
    assert len(set(messages)) == len(driver.Status) and driver.library.sateen_message(99) == b"unknown status"
    assert all(re.fullmatch(rb"done|[a-z].{20,}", message) for message in messages)
