"""The cycle model's figures for the same programs as ever, beside those of the devices' counters. A prediction that
moves by a single cycle is seen here; tests with a tolerance do not see it."""

from dataclasses import replace

import numpy as np
import pytest

import sateen
from sateen.graph import Add, Graph, Softmax, Table, Tensor
from sateen.hw.spec.config import parse_config
from sateen.hw.spec.counters import Counters
from sateen.testing.graphs import Builder, random_graph, random_input

ZERO = Counters(0, 0, 0, 0, 0, 0, 0)
LOOKED_UP = [(1, 1, 3), (1, 2, 4), (3, 1, 4), (2, 3, 4), (4, 5, 9)]
"""Shapes of tables: of one to many lines, on four columns."""
ROWS = [(1,), (10,), (5, 7), (16, 16), (3, 1)]
"""Shapes of softmax."""
FIGURES = {
    "tiny": (
        (30274, 23058, 2510, 1780, 435, 2491, 0),
        (30274, 23058, 2510, 1780, 435, 2491, 0),
    ),
    "tiny,pe=bitserial": (
        (190017, 186768, 25, 1472, 0, 1752, 0),
        (190017, 186768, 25, 1472, 0, 1752, 0),
    ),
    "tiny,combine=4": (
        (28974, 21788, 2473, 1842, 370, 2501, 0),
        (28974, 21788, 2473, 1840, 372, 2501, 0),
    ),
    "tiny,rows=16,cols=6,lanes=3,weight_rows=4,positions=256,weight_bytes=32768,overlap=1": (
        (16208, 6572, 2947, 1911, 445, 4333, 0),
        (16225, 6572, 2940, 1899, 451, 4363, 0),
    ),
    "tiny,products=1,softmax=1,squares=1,positions=256,descriptors=12": (
        (40694, 23715, 7936, 4331, 294, 4418, 0),
        (40694, 23715, 7930, 4337, 294, 4418, 0),
    ),
    "tiny,positions=256,scratchpad_bytes=512,overlap=1,softmax=1": (
        (36054, 17127, 8554, 5213, 578, 4582, 0),
        (36063, 17127, 8545, 5199, 586, 4606, 0),
    ),
    "tiny,pe=term,overlap=1,weight_bytes=32768,positions=256": (
        (506157, 491056, 4770, 8196, 0, 2135, 0),
        (506283, 491056, 4747, 7972, 0, 2508, 0),
    ),
}
"""For each configuration, the sums over all layers of the counters: predicted, and what the device counted."""


def operator(shape, op, *inputs, **output):
    """A graph of one operator."""
    tensors = [Tensor(name=name, shape=(1, *shape), scale=0.05, zero_point=3) for name in inputs]
    tensors.append(Tensor(name="y", shape=(1, *shape), **{"scale": 0.05, "zero_point": 3, **output}))
    return Graph(name="op", tensors={t.name: t for t in tensors}, ops=[op], inputs=list(inputs), outputs=["y"])


def graphs(config):
    """Layers of all kinds that a device has."""
    rng = np.random.default_rng(17)
    for _ in range(10):
        yield random_graph(rng)
    builder = Builder((7, 6, 5), rng).conv2d(9, (1, 1)).depthwise_conv2d((3, 3)).conv2d(13, (2, 2)).max_pool2d((2, 2))
    yield builder.flatten().fully_connected(30).fully_connected(11).graph()
    yield operator((4, 3, 7), Add(name="op", a="a", b="b", output="y"), "a", "b")
    if config.tables:
        halves = np.arange(-64, 64, 0.5).astype(np.int8)
        for shape in LOOKED_UP:
            yield operator(shape, Table(name="op", input="x", output="y", table=halves, function="half"), "x")
        # One behind the other, and between layers of products.
        chain = Builder((4, 3, 8), rng).conv2d(8, (1, 1))
        for _ in range(2):
            chain._add(Table, chain._output((4, 3, 8)), table=halves, function="half")
        yield chain.conv2d(6, (1, 1)).graph()
    if config.softmax:
        for shape in ROWS:
            op = Softmax(name="op", input="x", output="y")
            yield operator(shape, op, "x", scale=1 / 256, zero_point=-128)


def predicted(config):
    """The sums of what the model says."""
    return sum((layer.predicted for graph in graphs(config) for layer in sateen.compile(graph, config).layers), ZERO)


def measured(name):
    """The sums of what a device counts."""
    total, rng = ZERO, np.random.default_rng(1)
    with sateen.open(f"sim:{name}") as device:
        for graph in graphs(device.config):
            loaded = device.load(sateen.compile(graph, device.config))
            loaded.run({each: random_input(graph, rng) for each in graph.inputs})
            total = sum((layer.counters for layer in loaded.profile.layers), total)
    return replace(total, link=0)


@pytest.mark.filterwarnings("ignore::sateen.SateenWarning")
@pytest.mark.parametrize("name", FIGURES)
def test_predictions(name):
    assert predicted(parse_config(name)) == Counters(*FIGURES[name][0])


@pytest.mark.prove
@pytest.mark.filterwarnings("ignore::sateen.SateenWarning")
@pytest.mark.parametrize("name", FIGURES)
def test_measurements(name):
    assert measured(name) == Counters(*FIGURES[name][1])
