"""The compiler: memory is used again, what does not fit is named with how much, and the latencies it counts with are the gateware's."""

import math

import numpy as np
import pytest

import weft
from graphs import Builder
from weft.errors import CompileError
from weft.hw.accumulate import Accumulators
from weft.hw.memory import Scratchpad
from weft.hw.output import OutputUnit
from weft.hw.post import PostProcess
from weft.hw.spec.config import PRESETS, Config
from weft.hw.spec.timing import Timing
from weft.hw.tile import Tile
from weft.plan import plan

CONFIG = Config(rows=4, cols=4, lanes=2, scratchpad_bytes=1024, weight_bytes=2048, positions=64)


def chain(layers, *, channels=4):
    builder = Builder((8, 8, channels), np.random.default_rng(1))
    for _ in range(layers):
        builder.conv2d(channels, (1, 1))
    return builder.graph()


def test_dead_tensors_give_their_memory_back():
    """A chain of equal tensors takes two of them, however long."""
    graph = chain(7)
    memory = plan(graph, CONFIG)
    assert memory.peak == 2 * 256 and set(memory.used.values()) == {512}
    # Nothing that lives at the same time overlaps.
    for op in graph.ops:
        a, b = (memory.addresses[name] for name in (op.input, op.output))
        assert abs(a - b) >= 256


def test_reshape_shares_memory():
    graph = Builder((4, 4, 4), np.random.default_rng(1)).conv2d(4, (3, 3)).flatten().fully_connected(3).graph()
    memory = plan(graph, CONFIG)
    assert memory.addresses["t0"] == memory.addresses["t1"]


@pytest.mark.parametrize(
    ("build", "message"),
    [
        (lambda b: b.conv2d(16, (1, 1)), "needs 1280 bytes of scratchpad, 256 more than there are (most in 'op0'); raise scratchpad_bytes"),
        (lambda b: b.conv2d(4, (8, 8)).conv2d(8, (1, 1)).flatten().fully_connected(4), None),
        (lambda b: b.flatten().fully_connected(600), None),
    ],
)
def test_says_what_does_not_fit(build, message):
    graph = build(Builder((8, 8, 4), np.random.default_rng(2))).graph()
    if message is None:
        # More weights than the store holds are streamed.
        model = weft.compile(graph, CONFIG)
        assert sum(len(segment.weights) for segment in model.segments) * CONFIG.weight_word_bytes > 0
        assert all(len(segment.weights) <= CONFIG.weight_words for segment in model.segments)
        return
    with pytest.raises(CompileError) as error:
        weft.compile(graph, CONFIG)
    assert message in str(error.value)


def test_names_the_weight_store():
    graph = Builder((1, 1, 900), np.random.default_rng(2)).conv2d(4, (1, 1)).graph()
    with pytest.raises(CompileError, match=r"weight") as error:
        weft.compile(graph, CONFIG, strict=True)
    assert "weight_bytes" in str(error.value) and "more" in str(error.value)


def test_names_the_accumulators():
    graph = Builder((20, 10, 1), np.random.default_rng(2)).max_pool2d((10, 10)).graph()
    with pytest.raises(CompileError, match="positions"):
        weft.compile(graph, CONFIG, strict=True)


@pytest.mark.parametrize("name", PRESETS)
def test_latencies_are_the_gateware_s(name):
    config, timing = PRESETS[name], Timing(PRESETS[name])
    position_bits = int(math.log2(config.positions))
    scratchpad = Scratchpad(banks=config.banks, depth=config.scratchpad_bytes // config.banks)
    tile = Tile(rows=config.rows, cols=config.cols, pe=config.pe, position_bits=position_bits)
    post = PostProcess(lanes=config.lanes, tag=OutputUnit.tag_shape(lanes=config.lanes, address_bits=8))
    assert timing.scratchpad_read == scratchpad.read_latency
    # The tile, the skew of its columns, and the accumulators' four cycles.
    assert timing.beat_to_full == tile.latency + config.cols - 1 + 4
    assert timing.drain_to_done == Accumulators.LATENCY + post.latency + 3
