"""The device's end of the link: frames kept and released, responses repeated, operations executed once, whatever pauses
there are."""

import random

import cocotb
from cocotb.triggers import ClockCycles, RisingEdge

from harness import receive, reset, run, send
from sateen.hw.link.answer import Answer
from sateen.hw.link.endpoint import Endpoint
from sateen.hw.link.receiver import Receiver
from sateen.hw.spec.config import Config
from sateen.hw.spec.identity import Identity
from sateen.hw.spec.wire import ESCAPE, FLAG, Frame, FrameType, Op, OpHeader, Space, Status, Stuffing

FRAME_BYTES = 256
CONFIG = Config(
    rows=4, cols=4, lanes=2, scratchpad_bytes=8192, weight_bytes=16384, positions=64, frame_bytes=FRAME_BYTES
)


def payload(length):
    return bytes(random.choice([FLAG, ESCAPE, random.randrange(256)]) for _ in range(length))


@cocotb.test()
async def keeps_two_frames(dut):
    """Frames come out in order, whole; the third of three waits outside, so it is lost; damaged ones are."""
    await reset(dut)

    async def check(frame):
        assert (int(dut.type.value), int(dut.seq.value), int(dut.length.value)) == (
            frame.type,
            frame.seq,
            len(frame.payload),
        )
        for address, byte in enumerate(frame.payload):
            dut.address.value = address
            await ClockCycles(dut.clk, Receiver.LATENCY + 1)
            assert dut.data.value == byte

    for length in (0, 1, FRAME_BYTES, *(random.randrange(FRAME_BYTES) for _ in range(3))):
        frames = [Frame(FrameType.REQUEST, random.randrange(256), payload(n)) for n in (length, 3, 5)]
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
@cocotb.parametrize(pause=[0.0, 0.5])
async def repeats_a_response(dut, pause):
    layout = Answer(frame_bytes=FRAME_BYTES).o.payload.shape()
    await reset(dut)
    for length in (0, 1, 2, FRAME_BYTES - 1, random.randrange(FRAME_BYTES)):
        dut.clear.value = 1
        await RisingEdge(dut.clk)
        dut.clear.value = 0
        data = payload(length)
        await send(dut, "i", data, pause=pause)
        await RisingEdge(dut.clk)
        assert dut.count.value == length
        dut.seq.value, dut.status.value = seq, status = random.randrange(256), random.randrange(256)
        expected = Frame.HEADER.pack(FrameType.RESPONSE, seq, length + 1) + data + bytes([status])
        for _ in range(2):
            dut.start.value = 1
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
        self.layout = Endpoint(CONFIG).request.payload.shape()

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
    assert (response.type, response.seq) == (FrameType.RESPONSE, frame.seq)
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


@cocotb.test()
async def says_what_fails(dut):
    await reset(dut)
    cocotb.start_soon(Memories(dut, 0.0).serve())
    dut.run__ready.value = 1
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
    for seq, (request, status) in enumerate(cases):
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


async def watch(dut):
    """Until ``halt`` pulses."""
    while not dut.halt.value:
        await RisingEdge(dut.clk)


def test_receiver():
    run(Receiver(frame_bytes=FRAME_BYTES), __file__, tests=["keeps_two_frames"])


def test_answer():
    run(Answer(frame_bytes=FRAME_BYTES), __file__, tests=["repeats_a_response"])


def test_endpoint():
    run(Endpoint(CONFIG), __file__, tests=["executes_once", "says_what_fails"])
