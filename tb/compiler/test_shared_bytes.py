"""Narrow weights of which several share a byte: the same results from half or a quarter of the weight store."""

import dataclasses

import numpy as np
import pytest

import sateen
import seeds
from networks import narrowed
from sateen.compiler.model import Model
from sateen.compiler.shared_bytes import packed, unpacked
from sateen.compiler.verification import verify_program
from sateen.errors import InternalError
from sateen.graph import Weighted
from sateen.hw.spec.config import parse_config
from sateen.testing import check_layers
from sateen.testing.graphs import Builder, random_graph, random_input

DEVICES = [
    "tiny,rows=8,weight_bits=4,weights_per_byte=2",
    "tiny,rows=8,cols=5,lanes=3,weight_bits=3,weights_per_byte=2,pe=bitserial,positions=32",
    "tiny,rows=16,cols=6,lanes=3,weight_bits=2,weights_per_byte=4,positions=256,weight_bytes=32768,overlap=1",
    "tiny,rows=32,cols=4,weight_rows=4,weight_bits=4,weights_per_byte=2,multipliers=40,weight_bytes=32768",
    pytest.param("small,rows=16,weight_rows=2,weight_bits=4,weights_per_byte=2,residual=2,overlap=1,window_skip=16",
                 marks=pytest.mark.prove),
    pytest.param("tiny,rows=8,cols=4,weight_bits=4,weights_per_byte=2,pe=packed,multipliers=8",
                 marks=pytest.mark.prove),
]  # fmt: skip


def network(rng, bits):
    """Layers of all kinds that have weights: a window side by side and in steps, sliding ones, a pool, many inputs."""
    layers = Builder((9, 8, 3), rng).conv2d(12, (3, 3), padding=((1, 1), (1, 1))).depthwise_conv2d((3, 3))
    layers = layers.conv2d(20, (1, 1)).conv2d(7, (2, 3), stride=(2, 1)).max_pool2d((2, 2))
    return narrowed(layers.flatten().fully_connected(30).fully_connected(5).graph(), bits)


def test_places_in_a_byte():
    weights = np.array([[[1], [-1], [-2], [0]]], np.int8)
    assert packed(weights, 2).view(np.uint8).tolist() == [[[0xF1], [0x0E]]]
    assert packed(weights, 4).view(np.uint8).tolist() == [[[0b00101101]]]
    assert packed(weights, 1) is weights


@pytest.mark.parametrize("per_byte", [1, 2, 4])
def test_every_byte_comes_back(per_byte):
    """And gives numbers of so many bits."""
    words = np.arange(-128, 128).astype(np.int8).reshape(2, 32, 4)
    weights, limit = unpacked(words, per_byte), 1 << 8 // per_byte - 1
    assert weights.shape == (2, 32 * per_byte, 4) and (weights.min(), weights.max()) == (-limit, limit - 1)
    assert (packed(weights, per_byte) == words).all()


@pytest.mark.parametrize("name", DEVICES)
def test_equal_results(name):
    """Of a network, and of random ones, on the device; what is predicted is what it counts, to within some cycles."""
    config, rng = parse_config(name), np.random.default_rng(seeds.BASE)
    graphs = [network(rng, config.weight_bits), *(narrowed(random_graph(rng), config.weight_bits) for _ in range(6))]
    with sateen.open(f"sim:{name}") as device:
        for graph in graphs:
            model = sateen.compile(graph, config)
            loaded = device.load(model)
            check_layers(loaded, random_input(graph, rng, 2))
            loaded.run(random_input(graph, rng))
            for layer, counted in zip(model.layers, loaded.profile.layers, strict=True):
                difference = abs(layer.predicted.cycles - counted.counters.cycles)
                assert difference <= max(8, 0.03 * counted.counters.cycles), (graph, layer)


@pytest.mark.parametrize("per_byte", [2, 4])
def test_less_memory(per_byte, tmp_path):
    """Tiles of weights take so many times fewer words; parameters as many as before. So is the model's file."""
    graph = network(np.random.default_rng(5), 2)
    one = parse_config("small,rows=16,weight_bits=2")
    several = dataclasses.replace(one, weights_per_byte=per_byte)
    models = [sateen.compile(graph, config) for config in (one, several)]
    counts = [sum(len(segment.weights) for segment in model.segments) for model in models]
    # Six layers with weights, and a pool of 7 channels.
    channels = [7, *(op.weights.shape[0] for op in graph.ops if isinstance(op, Weighted))]
    parameters = sum(-(-each // 8) for each in channels) * one.parameter_words
    assert counts[0] - parameters == per_byte * (counts[1] - parameters)
    for model, name in zip(models, ("one", "several"), strict=True):
        model.save(tmp_path / name)
    assert Model.load(tmp_path / "several").config.weights_per_byte == per_byte
    assert (tmp_path / "several").stat().st_size < (tmp_path / "one").stat().st_size


@pytest.mark.parametrize("bit", range(8))
def test_one_wrong_bit(bit):
    """Of any weight in a byte, with 4 bits a weight."""
    model = sateen.compile(network(np.random.default_rng(5), 4), "tiny,rows=8,weight_bits=4,weights_per_byte=2")
    weights = model.segments[0].weights.copy()
    weights.view(np.uint8)[0, 0] ^= 1 << bit
    segments = (dataclasses.replace(model.segments[0], weights=weights), *model.segments[1:])
    with pytest.raises(InternalError, match="its program"):
        verify_program(dataclasses.replace(model, segments=segments))


def test_another_layout_is_refused():
    graph = network(np.random.default_rng(5), 4)
    model = sateen.compile(graph, "tiny,rows=8,weight_bits=4,weights_per_byte=2")
    with sateen.open("sim:tiny,rows=8,weight_bits=4") as device:
        with pytest.raises(sateen.ConfigMismatch, match="weights_per_byte is 1 here, 2 in the model"):
            device.load(model)
