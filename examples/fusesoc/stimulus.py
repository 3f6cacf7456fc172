"""What the benches send and expect: a digit's way through the accelerator, as files for ``$readmemh``.

``python stimulus.py PART PRESET`` writes ``stimulus.hex`` for ``bench_axi.v`` or ``bench_bytes.v``, and prints its
name.
"""

from __future__ import annotations

import sys
from collections.abc import Iterator
from enum import IntEnum
from pathlib import Path

import numpy as np

import sateen
from sateen.compiler import Model
from sateen.digits import load_data, load_network
from sateen.graph import run
from sateen.hw.spec.axi import MAGIC, RUN_COUNT, Register
from sateen.hw.spec.config import parse_config
from sateen.hw.spec.identity import Identity
from sateen.hw.spec.wire import Frame, FrameType, Op, OpHeader, Space, Status


class Step(IntEnum):
    """Upper byte of a word of ``stimulus.hex``, as the benches know it."""

    END = 0
    WRITE = 1
    """A register, in bits 32 to 39, and its value."""
    AWAIT = 2
    """Reads a register until it has a value."""
    SEND = 3
    """A byte into the accelerator."""
    EXPECT = 4
    """A byte that must come out."""


def main(part: str, preset: str) -> None:
    train_x, _, test_x, _ = load_data()
    model = sateen.compile(load_network(), preset, calibration=train_x)
    if not model.resident:
        sys.exit(f"the digits do not fit {preset} at once; choose a larger one")
    (name,), (result,) = model.graph.inputs, model.graph.outputs
    x = model.graph.tensors[name].quantize(test_x[:1])
    y = run(model.graph, x)[result]
    steps = axi if part == "accelerator-axi" else frames
    words = [*steps(model, preset, x.tobytes(), y.tobytes()), word(Step.END)]
    Path("stimulus.hex").write_text("".join(f"{each:012x}\n" for each in words))
    print("stimulus.hex")


def word(step: Step, value: int = 0, register: int = 0) -> int:
    return step << 40 | register << 32 | value


def memories(model: Model) -> Iterator[tuple[Space, bytes]]:
    """Weights and program, as the device's memories have them."""
    (segment,) = model.segments
    padding = ((0, 0), (0, model.config.weight_word_bytes - model.config.cols))
    yield Space.WEIGHTS, np.pad(segment.weights, padding).tobytes()
    yield Space.PROGRAM, segment.program.tobytes()


def axi(model: Model, preset: str, x: bytes, y: bytes) -> Iterator[int]:
    """Register accesses and bytes of the streams, see docs/c-driver.md."""
    (source,), (target,) = model.steps[0].writes, model.steps[0].reads
    yield word(Step.AWAIT, MAGIC, Register.MAGIC)
    yield word(Step.AWAIT, parse_config(preset).layout_code, Register.LAYOUT)
    places = [(space, 0, data) for space, data in memories(model)]
    for space, address, data in [*places, (Space.SCRATCHPAD, model.addresses[source], x)]:
        yield from (word(Step.WRITE, space, Register.SPACE), word(Step.WRITE, address, Register.ADDRESS))
        yield from (word(Step.SEND, byte) for byte in data)
        yield word(Step.AWAIT, address + len(data), Register.ADDRESS)
    yield word(Step.WRITE, model.segments[0].count << RUN_COUNT, Register.RUN)
    yield word(Step.AWAIT, 0, Register.STATUS)
    yield word(Step.WRITE, Space.SCRATCHPAD, Register.SPACE)
    yield word(Step.WRITE, model.addresses[target], Register.ADDRESS)
    yield word(Step.WRITE, len(y), Register.READ)
    yield from (word(Step.EXPECT, byte) for byte in y)


def frames(model: Model, preset: str, x: bytes, y: bytes) -> Iterator[int]:
    """Frames of the link, each sent when the one before is answered."""
    (source,), (target,) = model.steps[0].writes, model.steps[0].reads
    head = Identity(parse_config(preset), "").encode()[: len(Identity.HEAD) + 8]
    yield from exchange(FrameType.HELLO, 0, OpHeader(Op.READ, Space.IDENTITY, len(head), 0).encode(), head)
    size = model.config.frame_bytes - OpHeader.LAYOUT.size
    writes = [(space, at, data[at : at + size]) for space, data in memories(model) for at in range(0, len(data), size)]
    writes.append((Space.SCRATCHPAD, model.addresses[source], x))
    for number, (space, address, data) in enumerate(writes, start=1):
        yield from exchange(FrameType.REQUEST, number, OpHeader(Op.WRITE, space, len(data), address).encode() + data)
    read = OpHeader(Op.READ, Space.SCRATCHPAD, len(y), model.addresses[target]).encode()
    infer = OpHeader(Op.RUN, 0, model.segments[0].count, 0).encode() + OpHeader(Op.WAIT).encode() + read
    yield from exchange(FrameType.REQUEST, len(writes) + 1, infer, y)


def exchange(kind: FrameType, number: int, payload: bytes, answer: bytes = b"") -> Iterator[int]:
    """A frame and its answer, in session 1."""
    expected = Frame(FrameType.RESPONSE, number % 256, answer + bytes([Status.OK]), 1)
    yield from (word(Step.SEND, byte) for byte in Frame(kind, number % 256, payload, 1).encode())
    yield from (word(Step.EXPECT, byte) for byte in expected.encode())


if __name__ == "__main__":
    main(*sys.argv[1:])
