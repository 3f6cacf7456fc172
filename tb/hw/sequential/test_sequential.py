"""The sequential engine's own parts: its memory, and what a device of it refuses."""

import random
from dataclasses import replace

import numpy as np
import pytest

import sateen
from harness import run
from sateen.graph import Add, Graph, Tensor
from sateen.graph import run as golden
from sateen.hw.sequential.counters import Cause
from sateen.hw.sequential.requantize import SerialRequantize
from sateen.hw.spec.config import parse_config
from sateen.hw.spec.descriptor import DESCRIPTOR_WORDS, Descriptor
from sateen.hw.spec.timing import RECORD_CYCLES, REQUANTIZE_CYCLES
from sateen.hw.spec.wire import Op, Space
from sateen.runtime.limits import expected_cycles
from sateen.runtime.link import read, wait, write
from sateen.runtime.link import run as run_operation
from sateen.testing.graphs import Builder, random_graph, random_input

MICRO = "micro,scratchpad_bytes=8192,weight_bytes=16384,descriptors=32"


@pytest.mark.parametrize(
    ("banks", "depth", "technology"),
    [(2, 16, None), (4, 100, None), (16, 64, None), (4, 32768, "up5k"), (8, 4096, "up5k")],
)
def test_memory(banks, depth, technology):
    run("banked-memory", technology=technology, banks=banks, depth=depth)


def test_timing():
    """What the cycle model knows is what the gateware says."""
    assert SerialRequantize.LATENCY == REQUANTIZE_CYCLES
    assert len(Cause) + 1 == RECORD_CYCLES


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("tiny,engine=sequential", "lanes must be 1 with engine=sequential, not 2"),
        ("micro,combine=2", "combine must be 1 with engine=sequential, not 2"),
        ("micro,pe=term,weight_bytes=32768", "a PE's group must be 1 with engine=sequential, not 8"),
        ("micro,cols=5", r"cols must be at most 4 \(banks\) with engine=sequential, not 5"),
        ("micro,engine=parallel", "engine must be one of pipelined, sequential, not 'parallel'"),
    ],
)
def test_rejects(text, message):
    with pytest.raises(ValueError, match=message):
        parse_config(text)


def test_runs_do_not_leave_anything():
    """The same program takes the same cycles again, whatever ran before."""
    rng = np.random.default_rng(1)
    graph = Builder((6, 6, 4), rng).conv2d(5, (3, 3)).max_pool2d((2, 2)).flatten().fully_connected(3).graph()
    with sateen.open(f"sim:{MICRO}") as device:
        loaded = device.load(sateen.compile(graph, device.config))
        x, profiles = random_input(graph, rng, 1), []
        for _ in range(3):
            np.testing.assert_array_equal(loaded.run(x), golden(graph, x)[graph.outputs[0]])
            profiles.append([layer.counters for layer in loaded.profile.layers])
            assert [(c.cycles, c.busy) for c in profiles[-1]] == [
                (layer.layer.predicted.cycles, layer.layer.predicted.busy) for layer in loaded.profile.layers
            ]
        assert all(c.link > 0 for c in (profile[0] for profile in profiles)) and all(
            c.link == 0 for c in profiles[-1][1:]
        )


class Meddling:
    """A link that reads and writes all memories, where nothing of the model is, right after a program has begun."""

    def __init__(self, link, config):
        self.link, self.end, self.rng = link, config.weight_bytes - 64, random.Random(5)
        self.scratch = config.scratchpad_bytes - 64

    def __getattr__(self, name):
        return getattr(self.link, name)

    def transaction(self, operations, **settings):
        at = next((place + 1 for place, operation in enumerate(operations) if operation.header.op == Op.RUN), None)
        if at is None:
            return self.link.transaction(operations, **settings)
        noise = [bytes(self.rng.randrange(256) for _ in range(40)) for _ in range(2)]
        more = [
            write(Space.WEIGHTS, self.end, noise[0]),
            read(Space.WEIGHTS, self.end, 40),
            write(Space.SCRATCHPAD, self.scratch, noise[1]),
            read(Space.SCRATCHPAD, self.scratch, 40),
            read(Space.COUNTERS, 0, 8),
            read(Space.PROGRAM, 0, 8),
        ]
        result = self.link.transaction([*operations[:at], *more, *operations[at:]], **settings)
        before = sum(operation.header.length for operation in operations[:at] if operation.header.op == Op.READ)
        assert result[before : before + 80] == noise[0] + noise[1]
        return result[:before] + result[before + 96 :]


@pytest.mark.parametrize("pe", ["mac", "bitserial"])
def test_host_beside_a_program(pe):
    """What the host reads and writes while a program runs is right, and does not disturb it."""
    rng = np.random.default_rng(6)
    graph = (
        Builder((7, 7, 5), rng)
        .conv2d(6, (3, 3), padding=((1, 1), (1, 1)))
        .max_pool2d((2, 2))
        .flatten()
        .fully_connected(4)
        .graph()
    )
    x = random_input(graph, rng, 3)
    with sateen.open(f"sim:{MICRO},pe={pe}") as device:
        device.link = Meddling(device.link, device.config)
        np.testing.assert_array_equal(
            device.load(sateen.compile(graph, device.config)).run(x), golden(graph, x)[graph.outputs[0]]
        )


def test_memory_holds_both():
    """Where the weights are no multiple of the banks: every byte of both is as it was written."""
    rng = random.Random(8)
    with sateen.open("sim:micro,rows=8,scratchpad_bytes=128,weight_bytes=574") as device:
        contents = {Space.SCRATCHPAD: rng.randbytes(128), Space.WEIGHTS: rng.randbytes(574)}
        for space, content in contents.items():
            device.link.transaction(
                [write(space, start, content[start : start + 64]) for start in range(0, len(content), 64)]
            )
        for space, content in contents.items():
            starts = range(0, len(content), 64)
            assert (
                device.link.transaction([read(space, start, len(content[start : start + 64])) for start in starts])
                == content
            )


def test_session_ends_a_program():
    """One that does not end by itself: its counters begin at 0. The next one runs as if it had not been."""
    rng = np.random.default_rng(7)
    graph = Builder((6, 6, 4), rng).conv2d(5, (3, 3)).graph()
    x = random_input(graph, rng, 1)
    with sateen.open(f"sim:{MICRO}") as device:
        for _ in range(3):
            device.link.transaction([write(Space.PROGRAM, 0, bytes(4 * DESCRIPTOR_WORDS)), run_operation(0, 1)])
            device.link.hello()
            device.link.transaction([wait()])
            loaded = device.load(sateen.compile(graph, device.config))
            np.testing.assert_array_equal(loaded.run(x), golden(graph, x)[graph.outputs[0]])
            (layer,) = loaded.profile.layers
            assert layer.counters.cycles == layer.layer.predicted.cycles


def test_same_programs():
    """What is compiled for a pipelined engine of the same layout runs on it, with the same results."""
    rng = np.random.default_rng(9)
    pipelined = parse_config(f"{MICRO},engine=pipelined")
    with sateen.open(f"sim:{MICRO}") as device:
        for _ in range(6):
            graph = random_graph(rng)
            x = random_input(graph, rng, 2)
            model = sateen.compile(graph, pipelined)
            if not any(Descriptor.slides(segment.program.tobytes()) for segment in model.segments):
                np.testing.assert_array_equal(device.load(model).run(x), golden(graph, x)[graph.outputs[0]])


def test_patience_is_that_of_the_device():
    """A model that was compiled for the pipelined engine may take as long as a sequential device needs."""
    config = parse_config("micro")
    rng = np.random.default_rng(0)
    graph = Builder((6, 6, 4), rng).conv2d(8, (3, 3)).conv2d(8, (3, 3)).graph()
    model = sateen.compile(graph, replace(config, engine="pipelined"))
    with sateen.open("sim:micro") as device:
        loaded = device.load(model)
        loaded.run(random_input(graph, rng))
        assert loaded.profile.cycles > 4 * sum(layer.predicted.cycles for layer in model.layers)
        assert expected_cycles(model, device.config) == loaded.profile.cycles


def test_refuses_what_it_lacks():
    """Models for a pipelined engine of the same layout whose windows slide, or which combine tensors through tables."""
    rng = np.random.default_rng(2)
    pipelined = parse_config(f"{MICRO},cols=4,engine=pipelined")
    slides = Builder((9, 9, 4), rng).depthwise_conv2d((3, 3)).graph()
    tensors = {name: Tensor(name=name, shape=(1, 8), scale=0.05, zero_point=3) for name in "aby"}
    adds = Graph(
        name="adds", tensors=tensors, ops=[Add(name="op", a="a", b="b", output="y")], inputs=["a", "b"], outputs=["y"]
    )
    with sateen.open(f"sim:{MICRO},cols=4") as device:
        for graph, lacks in ((slides, "sliding windows"), (adds, "tables")):
            message = f"engine is sequential here, which has no {lacks}, pipelined in the model"
            with pytest.raises(sateen.ConfigMismatch, match=message):
                device.load(sateen.compile(graph, pipelined, strict=True))
