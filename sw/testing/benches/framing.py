"""Framing: bodies come through stuffing and CRC unchanged, both ways; damage is seen."""

from __future__ import annotations

import random

import cocotb
from cocotb.triggers import RisingEdge

from sateen.hw.link.framing import Deframer, Framer
from sateen.hw.spec.wire import ESCAPE, FLAG, Frame, FrameType, Stuffing
from sateen.testing.bench import Bench
from sateen.testing.dut import reset
from sateen.testing.streams import receive, send


def payloads():
    """Corners: nothing, all that must be escaped; then anything."""
    yield b""
    yield bytes([FLAG, ESCAPE, FLAG ^ 0x20, ESCAPE ^ 0x20]) * 3
    for _ in range(20):
        yield bytes(random.choice([FLAG, ESCAPE, random.randrange(256)]) for _ in range(random.randrange(60)))


def framer():
    return Framer()


def deframer():
    return Deframer()


@cocotb.test()
@cocotb.parametrize(pause=[0.0, 0.5])
async def frames(dut, pause):
    layout = framer().i.payload.shape()
    await reset(dut)
    for payload in payloads():
        frame = Frame(FrameType.RESPONSE, random.randrange(256), payload, random.randrange(1 << 16))
        body = Frame.HEADER.pack(frame.type, frame.seq, len(payload), frame.session) + payload
        items = [{"data": byte, "last": index == len(body) - 1} for index, byte in enumerate(body)]
        cocotb.start_soon(send(dut, "i", items, layout=layout, pause=pause))
        expected = frame.encode()
        assert bytes(await receive(dut, "o", len(expected), pause=pause)) == expected


@cocotb.test()
@cocotb.parametrize(pause=[0.0, 0.5])
async def takes_frames_apart(dut, pause):
    layout = deframer().o.payload.shape()
    await reset(dut)
    stream = bytearray()
    for payload in payloads():
        data = bytearray(Frame(FrameType.REQUEST, 1, payload).encode())
        if random.random() < 0.3:
            # Garbage before, a byte damaged, or given up by an escape before the flag.
            kind = random.randrange(3)
            if kind == 0:
                data = bytearray(random.randbytes(5)) + data
            elif kind == 1:
                data[random.randrange(1, len(data) - 1)] ^= 1 << random.randrange(8)
            else:
                data.insert(len(data) - 1, ESCAPE)
        stream += data
    events = []

    async def watch():
        while True:
            await RisingEdge(dut.clk)
            if dut.o__valid.value:
                events.append(layout.from_bits(int(dut.o__payload.value)))

    cocotb.start_soon(watch())
    await send(dut, "i", stream, pause=pause)
    for _ in range(5):
        await RisingEdge(dut.clk)
    good, body, bodies = [], bytearray(), []
    for event in events:
        if event["end"]:
            good.append(bool(event["good"]))
            bodies.append(bytes(body))
            body.clear()
        else:
            body.append(event["data"])
    whole = [frame for frame in map(Frame.decode, Stuffing().feed(bytes(stream))) if frame]
    assert sum(good) == len(whole) > 4
    assert [Frame.decode(b) for b, ok in zip(bodies, good, strict=True) if ok] == whole


BENCHES = [
    Bench(
        name="framer",
        title="bodies of frames become stuffed bytes with a CRC",
        create=framer, only=("frames",),
    ),
    Bench(
        name="deframer",
        title="stuffed bytes become bodies of frames; damage is seen",
        create=deframer, only=("takes_frames_apart",),
    ),
]
