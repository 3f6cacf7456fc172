"""The device's end of the link: frames kept and released, responses repeated, operations executed once, whatever pauses
there are."""

from __future__ import annotations

import random

import cocotb
from cocotb.triggers import ClockCycles, RisingEdge

from sateen.hw.link.answer import Answer
from sateen.hw.link.endpoint import Endpoint
from sateen.hw.link.receiver import Receiver
from sateen.hw.spec.config import Config
from sateen.hw.spec.identity import Identity
from sateen.hw.spec.wire import ESCAPE, FLAG, Frame, FrameType, Op, OpHeader, Space, Status, Stuffing
from sateen.testing.bench import Bench
from sateen.testing.dut import reset
from sateen.testing.streams import receive, send

FRAME_BYTES = 256
CONFIG = Config(
    rows=4, cols=4, lanes=2, scratchpad_bytes=8192, weight_bytes=16384, positions=64, frame_bytes=FRAME_BYTES
)


def payload(length):
    return bytes(random.choice([FLAG, ESCAPE, random.randrange(256)]) for _ in range(length))


def receiver():
    return Receiver(frame_bytes=FRAME_BYTES)


def answer():
    return Answer(frame_bytes=FRAME_BYTES)


def endpoint():
    return Endpoint(CONFIG)


@cocotb.test()
async def keeps_two_frames(dut):
    """Frames come out in order, whole; the third of three waits outside, so it is lost; damaged ones are."""
    await reset(dut)

    async def check(frame):
        fields = (dut.type, dut.seq, dut.length, dut.session)
        assert [int(field.value) for field in fields] == [frame.type, frame.seq, len(frame.payload), frame.session]
        for address, byte in enumerate(frame.payload):
            dut.address.value = address
            await ClockCycles(dut.clk, Receiver.LATENCY + 1)
            assert dut.data.value == byte

    for length in (0, 1, FRAME_BYTES, *(random.randrange(FRAME_BYTES) for _ in range(3))):
        frames = [
            Frame(FrameType.REQUEST, random.randrange(256), payload(n), random.randrange(1 << 16))
            for n in (length, 3, 5)
        ]
        damaged = bytearray(frames[0].encode())
        damaged[2] ^= 4
        too_long = Frame(FrameType.REQUEST, 1, bytes(FRAME_BYTES + 1)).encode()
        await send(dut, "i", bytes(damaged) + too_long + b"".join(frame.encode() for frame in frames), pause=0.2)
        await ClockCycles(dut.clk, 4)
        for index, frame in enumerate(frames[:2]):
            assert dut.valid.value and bool(dut.next_valid.value) == (index == 0)
            await check(frame)
            dut.done.value = 1
            await RisingEdge(dut.clk)
            dut.done.value = 0
            await ClockCycles(dut.clk, 2)
        assert not dut.valid.value


@cocotb.test()
async def makes_room_for_hello(dut):
    """A HELLO takes the place of the frame that waits, whenever the oldest is released; a damaged one gives it up."""
    await reset(dut)
    hello = Frame(FrameType.HELLO, 9, payload(20), 0x1234)
    size = len(hello.encode())
    for release in range(0, size + 8, 3):
        await send(dut, "i", b"".join(Frame(FrameType.REQUEST, seq, payload(30)).encode() for seq in (1, 2, 3)))
        await ClockCycles(dut.clk, 4)
        assert dut.next_valid.value and dut.next_type.value == FrameType.REQUEST
        sending = cocotb.start_soon(send(dut, "i", hello.encode()))
        await ClockCycles(dut.clk, release + 1)
        dut.done.value = 1
        await RisingEdge(dut.clk)
        dut.done.value = 0
        await sending
        await ClockCycles(dut.clk, 4)
        # The other one stays only if the oldest was released before the HELLO began.
        seqs = []
        while dut.valid.value:
            seqs.append(int(dut.seq.value))
            last = int(dut.type.value), int(dut.length.value), int(dut.session.value)
            for address in range(20 if seqs[-1] == 9 else 0):
                dut.address.value = address
                await ClockCycles(dut.clk, Receiver.LATENCY + 1)
                assert dut.data.value == hello.payload[address]
            dut.done.value = 1
            await RisingEdge(dut.clk)
            dut.done.value = 0
            await ClockCycles(dut.clk, 2)
        assert seqs in ([2, 9], [9]) and last == (FrameType.HELLO, 20, 0x1234), (release, seqs)
    await send(dut, "i", b"".join(Frame(FrameType.REQUEST, seq, payload(30)).encode() for seq in (1, 2)))
    damaged = bytearray(hello.encode())
    damaged[-3] ^= 1
    await send(dut, "i", bytes(damaged))
    await ClockCycles(dut.clk, 4)
    assert dut.valid.value and dut.seq.value == 1 and not dut.next_valid.value
    await send(dut, "i", hello.encode())
    await ClockCycles(dut.clk, 4)
    assert dut.next_valid.value and dut.next_type.value == FrameType.HELLO


@cocotb.test()
@cocotb.parametrize(pause=[0.0, 0.5])
async def repeats_a_response(dut, pause):
    layout = answer().o.payload.shape()
    await reset(dut)
    for length in (0, 1, 2, FRAME_BYTES - 1, random.randrange(FRAME_BYTES)):
        dut.clear.value = 1
        await RisingEdge(dut.clk)
        dut.clear.value = 0
        data = payload(length)
        await send(dut, "i", data, pause=pause)
        await RisingEdge(dut.clk)
        assert dut.count.value == length
        seq, status, session = (random.randrange(1 << bits) for bits in (8, 8, 16))
        dut.seq.value, dut.status.value, dut.session.value = seq, status, session
        for bare in (0, 1, 0):
            body = b"" if bare else data
            expected = Frame.HEADER.pack(FrameType.RESPONSE, seq, len(body) + 1, session) + body + bytes([status])
            dut.start.value, dut.bare.value = 1, bare
            await RisingEdge(dut.clk)
            dut.start.value = 0
            items = await receive(dut, "o", len(expected), layout=layout, pause=pause)
            assert bytes(item["data"] for item in items) == expected
            assert [item["last"] for item in items] == [0] * (len(expected) - 1) + [1]
            await ClockCycles(dut.clk, 2)


class Memories:
    """What the endpoint's memory port is connected to: bytes, and answers in order some cycles later."""

    def __init__(self, dut, pause):
        self.dut, self.pause = dut, pause
        self.bytes, self.writes = {}, 0
        self.layout = endpoint().request.payload.shape()

    async def serve(self):
        answers = []
        while True:
            self.dut.request__ready.value = take = int(random.random() >= self.pause)
            self.dut.response__valid.value = 0
            if answers and random.random() >= self.pause:
                self.dut.response__valid.value, self.dut.response__payload.value = 1, answers.pop(0)
            await RisingEdge(self.dut.clk)
            if take and self.dut.request__valid.value:
                item = self.layout.from_bits(int(self.dut.request__payload.value))
                place = item["space"], item["address"]
                if item["write"]:
                    self.bytes[place] = item["data"]
                    self.writes += 1
                else:
                    answers.append(self.bytes.get(place, 0))


async def exchange(dut, frame, pause):
    """Sends a frame; gives the response."""
    cocotb.start_soon(send(dut, "rx", frame.encode(), pause=pause))
    stuffing, body = Stuffing(), None
    while body is None:
        for byte in await receive(dut, "tx", 1, pause=pause):
            body = next(iter(stuffing.feed(bytes([byte]))), None)
    response = Frame.decode(body)
    assert (response.type, response.seq, response.session) == (FrameType.RESPONSE, frame.seq, frame.session)
    return response.payload


@cocotb.test()
@cocotb.parametrize(pause=[0.0, 0.4])
async def executes_once(dut, pause):
    await reset(dut)
    memories = Memories(dut, pause)
    cocotb.start_soon(memories.serve())
    identity = OpHeader(Op.READ, Space.IDENTITY, 200, 0).encode()
    first = await exchange(dut, Frame(FrameType.HELLO, 7, identity), pause)
    assert first[-1] == Status.OK and Identity(CONFIG, CONFIG.digest).encode().startswith(first[:-1])
    for seq in range(8, 14):
        data, space = payload(random.randrange(1, 60)), random.choice([Space.SCRATCHPAD, Space.WEIGHTS, Space.PROGRAM])
        address = random.randrange(1 << 12)
        request = OpHeader(Op.WRITE, space, len(data), address).encode() + data
        request += OpHeader(Op.READ, space, len(data), address).encode()
        writes = memories.writes
        for _ in range(2):
            assert await exchange(dut, Frame(FrameType.REQUEST, seq, request), pause) == data + bytes([Status.OK])
            assert memories.writes == writes + len(data), "a repeated request was executed again"
    # Frames that come again after later ones, or before their turn, get no answer.
    writes, write = memories.writes, OpHeader(Op.WRITE, Space.SCRATCHPAD, 1).encode() + b"x"
    for seq in (12, 8, 15, 13 + 128, 12 + 128):
        await send(dut, "rx", Frame(FrameType.REQUEST, seq, write).encode(), pause=pause)
    # Nor does any behind a HELLO that came again.
    assert await exchange(dut, Frame(FrameType.REQUEST, 14, b""), pause) == bytes([Status.OK])
    assert await exchange(dut, Frame(FrameType.HELLO, 7), pause) == bytes([Status.OK])
    for seq in (13, 14, 15):
        await send(dut, "rx", Frame(FrameType.REQUEST, seq, write).encode(), pause=pause)
    assert await exchange(dut, Frame(FrameType.HELLO, 255), pause) == bytes([Status.OK])
    assert await exchange(dut, Frame(FrameType.REQUEST, 0, b""), pause) == bytes([Status.OK])
    assert memories.writes == writes, "a request was executed that comes after later ones"


@cocotb.test()
async def says_what_fails(dut):
    await reset(dut)
    cocotb.start_soon(Memories(dut, 0.0).serve())
    dut.run__ready.value = 1
    assert await exchange(dut, Frame(FrameType.HELLO, 89), 0.0) == bytes([Status.OK])
    cases = [
        (bytes([99, 0, 0, 0, 0, 0, 0, 0]), Status.BAD_OP),
        (OpHeader(Op.READ).encode()[:5], Status.BAD_OP),
        (OpHeader(Op.WRITE, Space.SCRATCHPAD, 9).encode() + bytes(8), Status.BAD_OP),
        (OpHeader(Op.WRITE, Space.IDENTITY, 1).encode() + bytes(1), Status.BAD_SPACE),
        (OpHeader(Op.WRITE, Space.COUNTERS, 1).encode() + bytes(1), Status.BAD_SPACE),
        (OpHeader(Op.READ, 9, 1).encode(), Status.BAD_SPACE),
        (OpHeader(Op.READ, Space.IDENTITY, FRAME_BYTES).encode(), Status.OVERFLOW),
        (OpHeader(Op.READ, Space.IDENTITY, FRAME_BYTES - 1).encode(), Status.OK),
        (OpHeader(Op.RUN, 0, 0, 0).encode(), Status.OK),
        (b"", Status.OK),
    ]
    for seq, (request, status) in enumerate(cases, start=90):
        assert (await exchange(dut, Frame(FrameType.REQUEST, seq, request), 0.0))[-1] == status, request
    dut.busy.value = 1
    assert (await exchange(dut, Frame(FrameType.REQUEST, 100, OpHeader(Op.RUN, 0, 1).encode()), 0.0))[-1] == Status.BUSY
    # A session that begins while a request waits ends the wait.
    await send(dut, "rx", Frame(FrameType.REQUEST, 101, OpHeader(Op.WAIT).encode()).encode())
    halted = cocotb.start_soon(watch(dut))
    cocotb.start_soon(send(dut, "rx", Frame(FrameType.HELLO, 102).encode()))
    stuffing, bodies = Stuffing(), []
    while len(bodies) < 2:
        bodies += stuffing.feed(bytes(await receive(dut, "tx", 1)))
    frames = [Frame.decode(body) for body in bodies]
    assert [(frame.seq, frame.payload[-1]) for frame in frames] == [(101, Status.ABORTED), (102, Status.OK)]
    await halted
    # A program that ran for too long: the place comes with the status, and it can be asked for again.
    dut.overtime.value, dut.place.value = 1, 77
    for _ in range(2):
        late = await exchange(dut, Frame(FrameType.REQUEST, 103, OpHeader(Op.WAIT).encode()), 0.0)
        assert late == bytes([77, Status.OVERTIME])


@cocotb.test()
async def refuses_strangers(dut):
    """A request of no session or of another is not executed, and leaves the session's last response as it is."""
    await reset(dut)
    memories = Memories(dut, 0.0)
    cocotb.start_soon(memories.serve())
    write = OpHeader(Op.WRITE, Space.SCRATCHPAD, 3, 5).encode() + b"abc"
    both = write + OpHeader(Op.READ, Space.SCRATCHPAD, 3, 5).encode()
    stranger = bytes([Status.STRANGER])
    assert await exchange(dut, Frame(FrameType.REQUEST, 1, both, 0), 0.0) == stranger
    for session in (0, 0x8001, 0xFFFF):
        assert await exchange(dut, Frame(FrameType.HELLO, 1, b"", session), 0.0) == bytes([Status.OK])
        assert await exchange(dut, Frame(FrameType.REQUEST, 2, both, session), 0.0) == b"abc\0"
        writes = memories.writes
        for other in (session ^ 1, session ^ 0x8000):
            for seq in (2, 3):
                assert await exchange(dut, Frame(FrameType.REQUEST, seq, both, other), 0.0) == stranger
        assert await exchange(dut, Frame(FrameType.REQUEST, 2, both, session), 0.0) == b"abc\0"
        assert memories.writes == writes


@cocotb.test()
async def answers_hello(dut):
    """Whatever a request waits for, a HELLO behind it is answered: the program is halted, and what is left of the
    request is not begun. It does not matter that a repeated request waits in the other slot."""
    await reset(dut)
    stuck, layout = [True], endpoint().request.payload.shape()

    async def engine():
        """Takes a run and is busy then; memories wait for it; ``halt`` frees it, some cycles later."""
        answers = []
        while True:
            dut.request__ready.value = dut.run__ready.value = int(not stuck[0])
            dut.busy.value = int(stuck[0])
            dut.response__valid.value = 0
            if answers:
                dut.response__valid.value, dut.response__payload.value = 1, answers.pop(0)
            await RisingEdge(dut.clk)
            if dut.halt.value:
                stuck[0] = False
            elif dut.run__valid.value and dut.run__ready.value:
                stuck[0] = True
            if dut.request__valid.value and dut.request__ready.value:
                item = layout.from_bits(int(dut.request__payload.value))
                answers += [] if item["write"] else [7]

    cocotb.start_soon(engine())
    run = OpHeader(Op.RUN, 0, 1).encode()
    waits = {
        "wait": OpHeader(Op.WAIT).encode(),
        "read": OpHeader(Op.READ, Space.SCRATCHPAD, 9, 0).encode(),
        "write": OpHeader(Op.WRITE, Space.SCRATCHPAD, 2, 0).encode() + b"ab",
        "run": run,
    }
    seq = 0
    for first in waits.values():
        for then in ((), (run,), (run, waits["wait"]), (waits["read"], run, waits["read"])):
            stuck[0], seq = True, seq + 2
            request = Frame(FrameType.REQUEST, seq % 256, first + b"".join(then)).encode()
            if seq == 2:
                await send(dut, "rx", Frame(FrameType.HELLO, 1).encode())
                await receive(dut, "tx", len(Frame(FrameType.RESPONSE, 1, b"\0").encode()))
                stuck[0] = True
            await send(dut, "rx", request + request)
            await ClockCycles(dut.clk, 100)
            cocotb.start_soon(send(dut, "rx", Frame(FrameType.HELLO, (seq + 1) % 256).encode()))
            stuffing, answered = Stuffing(), []
            for _ in range(400):
                answered += stuffing.feed(bytes(await receive(dut, "tx", 1)))
                if answered and Frame.decode(answered[-1]).seq == (seq + 1) % 256:
                    break
            assert Frame.decode(answered[-1]) == Frame(FrameType.RESPONSE, (seq + 1) % 256, b"\0")


async def watch(dut):
    """Until ``halt`` pulses."""
    while not dut.halt.value:
        await RisingEdge(dut.clk)


BENCHES = [
    Bench(
        name="receiver",
        title="frames from the host: two are kept, damaged ones dropped, HELLO always received",
        create=receiver, only=("keeps_two_frames", "makes_room_for_hello",),
    ),
    Bench(
        name="answer",
        title="responses, repeated on demand",
        create=answer, only=("repeats_a_response",),
    ),
    Bench(
        name="endpoint",
        title="the device's end of the link: every operation is executed once",
        create=endpoint, only=("executes_once", "says_what_fails", "refuses_strangers", "answers_hello",),
    ),
]
