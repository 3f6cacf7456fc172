"""The compiler: memory is used again, what does not fit is named with how much, and the latencies it counts with are
the gateware's."""

import math

import numpy as np
import pytest

import sateen
from sateen.compiler.memory import plan
from sateen.errors import CompileError
from sateen.hw.pe.shape import ArrayShape
from sateen.hw.pipelined.accumulate import Accumulators
from sateen.hw.pipelined.lookup import Combiner
from sateen.hw.pipelined.output import OutputUnit
from sateen.hw.pipelined.postprocess import PostProcess
from sateen.hw.pipelined.weight_store import WeightStore
from sateen.hw.scratchpad import Scratchpad
from sateen.hw.spec.config import PRESETS, Config
from sateen.hw.spec.timing import Timing
from sateen.hw.tile import Tile
from sateen.testing.graphs import Builder

CONFIG = Config(rows=4, cols=4, lanes=2, scratchpad_bytes=1024, weight_bytes=2048, positions=64)


def chain(layers, *, channels=4):
    builder = Builder((8, 8, channels), np.random.default_rng(1))
    for _ in range(layers):
        builder.conv2d(channels, (1, 1))
    return builder.graph()


def test_dead_tensors_give_their_memory_back():
    """A chain of equal tensors takes two of them, however long."""
    graph = chain(7)
    memory = plan(graph)
    assert memory.peak == 2 * 256 and set(memory.bytes_in_use.values()) == {512}
    # Nothing that lives at the same time overlaps.
    for op in graph.ops:
        a, b = (memory.addresses[name] for name in (op.input, op.output))
        assert abs(a - b) >= 256


def test_reshape_shares_memory():
    graph = Builder((4, 4, 4), np.random.default_rng(1)).conv2d(4, (3, 3)).flatten().fully_connected(3).graph()
    memory = plan(graph)
    assert memory.addresses["t0"] == memory.addresses["t1"]


def test_more_weights_than_the_store_holds_are_streamed():
    model = sateen.compile(Builder((8, 8, 4), np.random.default_rng(2)).flatten().fully_connected(600).graph(), CONFIG)
    assert len(model.segments) > 1
    assert all(len(segment.weights) <= CONFIG.weight_words for segment in model.segments)


def test_tensors_that_do_not_fit_are_tiled():
    """256 bytes in, 1024 out, of 1024: the first layer goes row by row, the second has its memory to itself."""
    builder = Builder((8, 8, 4), np.random.default_rng(2))
    graph = builder.conv2d(16, (3, 3), padding=((1, 1), (1, 1))).conv2d(2, (1, 1), stride=(2, 2)).graph()
    model = sateen.compile(graph, CONFIG)
    assert model.tiled == 2 and model.scratchpad_bytes <= CONFIG.scratchpad_bytes
    for step in model.steps:
        rows = [tile.target for tile in step.tiles]
        assert [start for start, _ in rows] == [sum(size for _, size in rows[:i]) for i in range(len(rows))]
        assert sum(size for _, size in rows) == model.size(model.layers[step.first].output)


def test_says_when_not_even_a_row_fits():
    graph = Builder((2, 2, 700), np.random.default_rng(2)).max_pool2d((2, 2)).graph()
    with pytest.raises(
        CompileError, match="one row of results takes 3500 bytes of scratchpad .*, 2476 more than there are"
    ):
        sateen.compile(graph, CONFIG, strict=True)
    with pytest.warns(sateen.SateenWarning, match="layer 'op0' runs on the host: one row of results takes 3500 bytes"):
        assert list(sateen.compile(graph, CONFIG).fallbacks) == ["op0"]


def test_names_the_weight_store():
    graph = Builder((1, 1, 900), np.random.default_rng(2)).conv2d(4, (1, 1)).graph()
    with pytest.raises(CompileError, match=r"weight") as error:
        sateen.compile(graph, CONFIG, strict=True)
    assert "weight_bytes" in str(error.value) and "more" in str(error.value)


def test_names_the_accumulators():
    graph = Builder((20, 10, 1), np.random.default_rng(2)).max_pool2d((10, 10)).graph()
    with pytest.raises(CompileError, match="positions"):
        sateen.compile(graph, CONFIG, strict=True)


@pytest.mark.parametrize("name", PRESETS)
def test_latencies_are_the_gateware_s(name):
    config, timing = PRESETS[name], Timing(PRESETS[name])
    position_bits = int(math.log2(config.positions))
    scratchpad = Scratchpad(banks=config.banks, depth=config.scratchpad_bytes // config.banks)
    tile = Tile(ArrayShape.of(config), position_bits=position_bits)
    post = PostProcess(lanes=config.lanes, tag=OutputUnit.tag_shape(lanes=config.lanes, address_bits=8))
    store = WeightStore(config)
    assert timing.scratchpad_read == scratchpad.read_latency
    # A request, the weight store, a queue; then a register slice.
    assert timing.weight_store_latency == store.latency + 5
    # The tile, the skew of its columns, and the accumulators' five cycles.
    assert timing.beat_to_full == tile.latency + config.cols - 1 + 5
    assert timing.drain_to_done == Accumulators.LATENCY + post.latency + 3 + (Combiner.LATENCY if config.tables else 0)
    # Parameters change over behind the last sums of the group before.
    assert timing.open_to_free == Accumulators.LATENCY + 1 + (Combiner.LATENCY if config.tables else 0)


def test_a_step_beyond_a_descriptor():
    """Also of a window of one row, which takes none; and from the last window back to the first."""
    builder = Builder((2, 2, 4), np.random.default_rng(2)).conv2d(4, (1, 1), dilation=(65535, 1))
    message = "65535 lines from row to row of its window, more than the 32767 that a descriptor"
    with pytest.raises(CompileError, match=message):
        sateen.compile(builder.graph(), CONFIG, strict=True)
    padded = Builder((2, 2, 4), np.random.default_rng(2)).conv2d(4, (1, 1), padding=((32767, 9), (0, 0)))
    with pytest.raises(CompileError, match="32777 lines from its first window to its last, more than the 32767"):
        sateen.compile(padded.graph(), CONFIG, strict=True)


def test_a_stride_beyond_a_descriptor():
    """Also where there is a single row of results, which takes no step."""
    graph = Builder((2, 2, 4), np.random.default_rng(2)).depthwise_conv2d((2, 2), stride=(65535, 1)).graph()
    with pytest.raises(CompileError, match="65535 lines from result to result, more than the 32767 that a descriptor"):
        sateen.compile(graph, CONFIG, strict=True)
