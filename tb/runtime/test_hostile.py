"""Whatever bytes come and whatever a program does, a new session is answered within a bounded time, and the device
computes as before."""

import random
from dataclasses import replace
from functools import cache

import numpy as np
import pytest
from in_sdram import WIDE
from test_shelf import DEVICE

import sateen
import seeds
from sateen.graph import run as golden
from sateen.hw.spec.config import PRESETS, parse_config
from sateen.hw.spec.descriptor import DESCRIPTOR_WORDS
from sateen.hw.spec.identity import IDENTITY_BYTES
from sateen.hw.spec.wire import Frame, FrameType, Op, OpHeader, Space, Status, Stuffing
from sateen.runtime import Device
from sateen.runtime.frames import CYCLES_PER_BYTE, MOST_MOVED
from sateen.runtime.link import Link, Operation, read, run, wait, write
from sateen.runtime.transport import SimulationTransport
from sateen.testing.graphs import Builder, random_input

CONFIGS = {
    "sequential": PRESETS["micro"],
    "pipelined": replace(PRESETS["tiny"], weight_bytes=16384),
    "bit-serial": replace(PRESETS["tiny"], weight_bytes=16384, pe="bitserial"),
    "overlapped": replace(PRESETS["tiny"], weight_bytes=16384, overlap=1),
    "products": replace(PRESETS["tiny"], weight_bytes=16384, products=1),
}
ATTACKED = CONFIGS | {
    name: parse_config(text)
    for name, text in {
        "SDRAM": DEVICE,
        "pipelined with SDRAM": WIDE[0],
        "softmax": "tiny,products=1,softmax=1,squares=1,layer_norm=16,positions=256,descriptors=12",
        "recurrent": "tiny,lanes=4,recurrent=64",
    }.items()
}
"""Where hostile programs run, in configurations that other tests have, too."""
BYTES = 4 * DESCRIPTOR_WORDS
HELLO_CYCLES = 20_000
"""Cycles within which a HELLO is answered, with what the device still answers before."""
LOOP = 28
"""The word of a descriptor with a count of the activations' nest."""
LIMIT = 1000
"""Cycles of a hostile program."""


class Known(Link):
    """A link to a device whose identity was read before: that takes longer than all else here."""

    def __init__(self, transport, identities):
        super().__init__(transport)
        self.identities = identities

    def transaction(self, operations, **options):
        operations = list(operations)
        if operations != [read(Space.IDENTITY, 0, IDENTITY_BYTES)]:
            return super().transaction(operations, **options)
        if not self.identities:
            self.identities.append(super().transaction(operations, **options))
        return self.identities[0]


class Victim:
    """A simulated device, a model whose program is attacked, and a small one whose results tell that all is well."""

    def __init__(self, config):
        self.config, self.transport, self.identities = config, SimulationTransport(config), []
        rng = np.random.default_rng(7)
        self.graph = Builder((3, 3, 2), rng).conv2d(3, (2, 2)).flatten().fully_connected(4).graph()
        self.model = sateen.compile(self.graph, config)
        self.x = random_input(self.graph, rng)
        probe = Builder((6,), rng).fully_connected(4).graph()
        self.probe, self.inputs = sateen.compile(probe, config), random_input(probe, rng)
        self.expected = golden(probe, self.inputs)[probe.outputs[0]]

    def link(self):
        return Known(self.transport, self.identities)

    def check(self, *, moved=0):
        """HELLO is answered in time, but for a move of so many bytes, and the model's results are right."""
        most = HELLO_CYCLES + CYCLES_PER_BYTE * moved
        device, seq = self.transport.device, 77
        stuffing, begin = Stuffing(), device.cycles
        frames, sent = [], Frame(FrameType.HELLO, seq, b"", 0xABCD).encode()
        while not any((frame.seq, frame.session) == (seq, 0xABCD) for frame in frames):
            came = device.exchange(sent, max_cycles=most)
            assert came and device.cycles - begin < most, "no answer to HELLO"
            frames += [frame for body in stuffing.feed(came) if (frame := Frame.decode(body))]
            sent = b""
        assert frames[-1].payload == bytes([Status.OK])
        np.testing.assert_array_equal(Device(self.link()).load(self.probe).run(self.inputs), self.expected)


@cache
def victim(name):
    return Victim(ATTACKED[name])


@pytest.fixture(params=CONFIGS)
def device(request):
    return victim(request.param)


def hang(device, *, reads=False):
    """A session, and a program that never ends: a descriptor of zeros waits for weights; one whose loop has billions of
    steps reads the scratchpad."""
    link = device.link()
    link.hello()
    program = bytearray(device.model.segments[0].program.tobytes()[:BYTES] if reads else bytes(BYTES))
    if reads:
        program[4 * LOOP : 4 * LOOP + 4] = (0x7FFFFFFF).to_bytes(4, "little")
    link.transaction([write(Space.PROGRAM, 0, bytes(program))])
    return link


def test_repeated_requests_fill_both_slots(device, monkeypatch):
    """The driver repeats a request that waits for ever, and begins anew."""
    link = hang(device)
    # Simulated seconds take long.
    monkeypatch.setattr("sateen.runtime.link.ANSWER_SECONDS", 1e-4)
    with pytest.raises(sateen.LinkError, match="did not answer"):
        link.transaction([run(0, 1), wait()])
    device.check()


def following(link):
    """The number of the next request."""
    return (link._seq + 1) % 256


@pytest.mark.parametrize("operation", [read(Space.SCRATCHPAD, 0, 40), write(Space.SCRATCHPAD, 0, bytes(40))], ids=str)
@pytest.mark.parametrize("space", [Space.SCRATCHPAD, Space.WEIGHTS, Space.PROGRAM, Space.COUNTERS])
@pytest.mark.parametrize("reads", [False, True])
def test_memories_beside_a_hung_program(device, operation, space, reads):
    if space == Space.COUNTERS and operation.header.op == Op.WRITE:
        return
    link = hang(device, reads=reads)
    header = replace(operation.header, space=space)
    # Twice: a program that begins after the abort would never be ended.
    request = 2 * (run(0, 1).header.encode() + header.encode() + operation.data)
    frame = Frame(FrameType.REQUEST, following(link), request, link.session).encode()
    device.transport.device.exchange(frame + frame, max_cycles=3000)
    device.check()


@pytest.mark.parametrize("behind", [[], [read(Space.PROGRAM, 0, 4)]], ids=["last", "followed"])
def test_says_that_a_program_was_aborted(device, behind):
    """A program that a HELLO ends did not finish, and nothing behind it is executed."""
    link = hang(device)
    request = b"".join(operation.header.encode() for operation in [run(0, 1), wait(), *behind])
    seq, hello = following(link), Frame(FrameType.HELLO, 2, b"", 0x1234)
    exchange = device.transport.device.exchange
    assert not exchange(Frame(FrameType.REQUEST, seq, request, link.session).encode(), max_cycles=500)
    came = exchange(hello.encode(), max_cycles=HELLO_CYCLES) + exchange(b"", max_cycles=HELLO_CYCLES)
    answers = [(frame.seq, frame.payload) for body in Stuffing().feed(came) if (frame := Frame.decode(body))]
    assert answers == [(seq, bytes([Status.ABORTED])), (2, bytes([Status.OK]))]
    device.check()


def test_limits(device):
    """A program ends by itself when its limit is reached; before that, nothing happens to it."""
    link = hang(device)
    with pytest.raises(sateen.OvertimeError, match="longer than its limit, in descriptor 0") as caught:
        link.transaction([run(0, 1, limit=1000), wait()])
    assert caught.value.place == 0
    link.transaction([run(0, 1, limit=500)])
    with pytest.raises(sateen.OvertimeError):
        link.transaction([wait()])
    device.check()


def test_names_the_layer(device):
    """A layer that never ends, behind one that does."""
    program = device.model.segments[0].program.copy()
    program.reshape(-1, BYTES)[-1] = 0
    segment = replace(device.model.segments[0], program=program)
    broken = replace(device.model, segments=(segment,))
    loaded = Device(Link(device.transport)).load(broken)
    with pytest.raises(sateen.OvertimeError, match=f"in layer '{device.model.layers[-1].name}': it still ran after"):
        loaded.run(device.x)
    device.check()


def programs(rng, model):
    """Bytes for the program memory, hostile in one way or another, and the number of descriptors."""
    good = bytearray(model.segments[0].program.tobytes())
    kind = rng.randrange(5)
    if kind == 0:
        return rng.randbytes(BYTES * 2)
    if kind == 1:
        # Few bits, so that counters are small.
        return bytes(rng.randrange(256) & rng.randrange(256) & rng.randrange(256) for _ in range(BYTES))
    for _ in range(rng.randrange(1, 4)):
        word = 4 * rng.randrange(len(good) // 4)
        value = rng.choice([0, 1, 0xFFFF, 0xFFFF0000, 0xFFFFFFFF, 0x7FFFFFFF, 0x80000000, rng.getrandbits(32)])
        good[word : word + 4] = value.to_bytes(4, "little")
    if kind == 2:
        return bytes(good)
    if kind == 3:
        bit = rng.randrange(8 * len(good))
        good[bit // 8] ^= 1 << bit % 8
        return bytes(good)
    return bytes(good) + bytes(good[::-1])


def listed(rng, link, operations):
    """Puts operations into SDRAM, some of which it damages, and calls them, or more."""
    data = bytearray(b"".join(operation.header.encode() for operation in operations))
    for _ in range(rng.choice([0, 0, 1, 3])):
        data[rng.randrange(len(data))] = rng.randrange(256)
    place = rng.choice([0, 4097, rng.getrandbits(20)])
    link.transaction([write(Space.SDRAM, place, bytes(data))])
    return [Operation(OpHeader(Op.CALL, 0, rng.choice([len(data), len(data), 8, 0xFFF8]), place))]


def attack(device, seed):
    """Runs a hostile program, with requests of all kinds beside it, in frames with a valid checksum. Returns how it
    ended."""
    rng = random.Random(seed)
    link = device.link()
    link.hello()
    program = programs(rng, device.model)[: 2 * BYTES]
    first, count = rng.choice([(0, len(program) // BYTES), (0, 1), (rng.randrange(256), rng.randrange(256))])
    limit = rng.choice([0, 1, 2, LIMIT])
    operations = [run(first, count, limit=limit)]
    for _ in range(rng.randrange(4)):
        space = rng.choice(list(Space))
        address, length = rng.choice([0, 5, 0xFFFFFF, 0xFFFFFFFF, rng.getrandbits(32)]), rng.randrange(60)
        data = rng.randbytes(length)
        kinds = [read(space, address, length), write(space, address, data), wait(), run(first, count, limit=limit)]
        if device.config.sdram:
            moved = rng.choice([0, 1, 6, 60, 600, rng.choice([3000, 3000, 3000, MOST_MOVED])])
            kinds.append(Operation(OpHeader(Op.SEEK, address=address)))
            kinds += [Operation(OpHeader(op, space, moved, address)) for op in (Op.COPY, Op.STORE)]
            kinds.append(Operation(OpHeader(Op.CALL, 0, moved // 8 * 8, address)))
        operations.append(rng.choice(kinds))
    operations.append(wait())
    if device.config.sdram and rng.random() < 0.5:
        operations = [*listed(rng, link, operations), *rng.choice([[], [wait()], operations])]
    link.transaction([write(Space.PROGRAM, 0, program)])
    payload = b"".join(operation.header.encode() + operation.data for operation in operations)
    frame = Frame(FrameType.REQUEST, following(link), payload, link.session).encode()
    sent = frame * rng.choice([1, 1, 2, 5]) + rng.choice([b"", rng.randbytes(20), frame[:-4]])
    came = device.transport.device.exchange(sent, max_cycles=len(sent) + rng.choice([10, LIMIT, 4 * LIMIT]))
    device.check(moved=MOST_MOVED if device.config.sdram else 0)
    frames = [frame for body in Stuffing().feed(came) if (frame := Frame.decode(body))]
    return Status(frames[0].payload[-1]).name.lower() if frames else "no answer"


def soak(seed):
    """One hostile program on each kind of engine."""
    return attack(victim(list(ATTACKED)[seed % len(ATTACKED)]), seed)


@pytest.mark.parametrize("device", ATTACKED, indirect=True)
def test_hostile_programs(device):
    """Random descriptors and damaged ones, counts of zero and 255, addresses outside, limits, repeated requests; with
    SDRAM also moves of any bytes into and out of any memory, and what they leave in it, and lists there."""
    base = random.Random(seeds.own()).randrange(2**31)
    ends = {attack(device, base + index) for index in range(50)}
    assert {"overtime", "no answer"} <= ends
