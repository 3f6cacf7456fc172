"""Sums, differences and products of two tensors, on the simulated device against the golden model."""

from __future__ import annotations

import numpy as np
import pytest
from test_operators import CONFIGS, Chain, check, device  # noqa: F401

import sateen
from sateen.graph import (
    Add,
    Graph,
    Multiply,
    Subtract,
    Table,
    Tensor,
    run,
)
from sateen.hw.spec.descriptor import Rounding


def residual(kind, rng, **fields):
    """A block with a branch around it, and work before and after."""
    chain = Chain((6, 6, 5), rng).conv2d(8, (3, 3), padding=((1, 1), (1, 1)))
    around = chain.last
    chain.conv2d(8, (3, 3), padding=((1, 1), (1, 1)))
    output = chain._output((6, 6, 8))
    chain.ops.append(kind(name="joint", a=around.name, b=chain.last.name, output=output.name, **fields))
    chain.last = output
    return chain.conv2d(3, (2, 2), stride=(2, 2))


@pytest.mark.parametrize("kind", [Add, Subtract, Multiply])
def test_between_layers(device, kind):  # noqa: F811
    """Amid layers of the device, an operator that it has with tables and else lacks."""
    check(device, residual(kind, np.random.default_rng(8)).graph(), fallbacks=[] if device.config.tables else ["joint"])


@pytest.fixture
def tables():
    with sateen.open(f"sim:{CONFIGS[0]}") as opened:
        yield opened


def elementwise(kind, shape, scales, zero_points, *, a=None, b=None, **fields):
    """Two inputs, of the shapes ``a`` and ``b`` if they broadcast, and what they become."""
    tensors = {
        name: Tensor(name=name, shape=(1, *own), scale=float(scale), zero_point=int(zero))
        for name, own, scale, zero in zip("aby", (a or shape, b or shape, shape), scales, zero_points, strict=True)
    }
    return Graph(
        name="elementwise",
        tensors=tensors,
        ops=[kind(name="op", a="a", b="b", output="y", **fields)],
        inputs=["a", "b"],
        outputs=["y"],
    )


@pytest.mark.parametrize("kind", [Add, Subtract, Multiply])
@pytest.mark.parametrize("case", range(5))
def test_elementwise(tables, kind, case):
    """Corners of the operands' range and random pairs of them; equal to the golden model and as long as predicted."""
    rng = np.random.default_rng([14, case])
    shape = [(5, 7, 9), (1, 1, 1), (13,), (12, 10, 8), (3, 1, 4)][case]
    scales = 2.0 ** rng.uniform(-8, -2, 3)
    if kind is Multiply:
        scales[2] = scales[0] * scales[1] * 2.0 ** rng.uniform(4, 9)
    fields = {"low": -100, "high": 90} if case == 3 else {}
    graph = elementwise(kind, shape, scales, rng.integers(-128, 128, 3), **fields)
    x = [rng.integers(-128, 128, (2, *shape)).astype(np.int8) for _ in "ab"]
    for values, corners in zip(x, ([-128, -128, 127, 127], [-128, 127, -128, 127]), strict=True):
        values[0].flat[:4] = corners[: values[0].size]
    loaded = tables.load(sateen.compile(graph, tables.config, strict=True))
    np.testing.assert_array_equal(
        loaded.run(dict(zip("ab", x, strict=True))), run(graph, dict(zip("ab", x, strict=True)))["y"]
    )
    for layer in loaded.profile.layers:
        predicted, cycles = layer.layer.predicted.cycles, layer.counters.cycles
        assert abs(predicted - cycles) <= max(2, 0.01 * cycles), f"{cycles} cycles, predicted {predicted}"


@pytest.mark.parametrize(
    ("a", "b"),
    [((6, 4, 5), (1, 1, 5)), ((6, 4, 20), (6, 4, 1)), ((1, 4, 1), (6, 4, 9)), ((6, 1, 5), (1, 4, 5)),
     ((3, 2, 7), (1, 1, 1)), ((3, 1, 2, 1, 4), (1, 2, 1, 3, 1))],
)  # fmt: skip
def test_elementwise_broadcasts(tables, a, b):
    """What has one value along an axis is repeated first."""
    rng = np.random.default_rng([18, len(a), len(b)])
    x = {name: rng.integers(-128, 128, (2, *shape)).astype(np.int8) for name, shape in (("a", a), ("b", b))}
    shape = np.broadcast_shapes(a, b)
    for kind in (Add, Subtract, Multiply):
        graph = elementwise(kind, shape, (0.02, 0.03, 0.01), (3, -7, 11), a=a, b=b)
        # Five axes that grow in turns are more than a descriptor walks over.
        check(tables, graph, x=x, fallbacks=["op"] if len(a) == 5 else [])


@pytest.mark.parametrize("kind", [Add, Subtract, Multiply])
@pytest.mark.parametrize("fused", [True, False])
@pytest.mark.parametrize(
    ("scales", "points"),
    [((0.0203, 0.0307, 0.0411), (3, -7, 11)), ((0.5, 0.5, 1.0), (0, 0, 0)), ((0.25, 0.125, 0.5), (-84, 70, 117))],
)
def test_elementwise_in_float(tables, kind, fused, scales, points):
    """onnxruntime adds and multiplies in float32, halves to even; and so does the device."""
    fields = {"rounding": Rounding.FLOAT32, "fused": fused}
    graph = elementwise(kind, (4, 5, 3), tuple(float(np.float32(scale)) for scale in scales), points, **fields)
    check(tables, graph, x=dict.fromkeys("ab", random_input_of((2, 4, 5, 3))))


def test_elementwise_without_tables(tables):
    """Half of these sums are ties, and float32 makes them fall to either side."""
    scale = float(np.float32(0.0382780097424984))
    fields = {"rounding": Rounding.FLOAT32, "fused": False}
    graph = elementwise(Add, (4, 5, 3), (scale, scale, 2 * scale), (-81, 45, 41), **fields)
    check(tables, graph, fallbacks=["op"], x=dict.fromkeys("ab", random_input_of((2, 4, 5, 3))))


def random_input_of(shape):
    return np.random.default_rng(15).integers(-128, 128, shape).astype(np.int8)


def test_of_itself(tables):
    """x + x."""
    chain = Chain((6, 4, 5), np.random.default_rng(16)).conv2d(4, (2, 2))
    doubled, output = chain.last.name, chain._output((5, 3, 4))
    chain.ops.append(Add(name="double", a=doubled, b=doubled, output=output.name))
    chain.last = output
    check(tables, chain.conv2d(3, (1, 1)).graph())


def test_host_amid_rows_at_a_time():
    """The same where nothing fits the scratchpad whole."""
    with sateen.open("sim:tiny,scratchpad_bytes=512,weight_bytes=8192") as opened:
        check(opened, residual(Add, np.random.default_rng(8)).graph(), fallbacks=["joint"])


def test_tables_need_a_weight_store():
    """A byte too few, and the host computes; 512 entries of two tables and 9 words of parameters, 4 bytes each."""
    made = elementwise(Add, (4, 4, 4), (0.02, 0.03, 0.01), (3, -7, 11))
    sateen.compile(made, "tiny,positions=256,weight_bytes=2084", strict=True)
    with pytest.raises(sateen.CompileError, match="its tables take 2084 bytes of the weight store, which has 2080"):
        sateen.compile(made, "tiny,positions=256,weight_bytes=2080", strict=True)


def test_elements_at_a_time():
    """Sums, products and tables of tensors that do not fit the scratchpad."""
    rng = np.random.default_rng(17)
    chain = Chain((9, 8, 7), rng).then(
        Table, 9, 8, 7, table=rng.integers(-128, 128, 256).astype(np.int8), function="random"
    )
    with sateen.open("sim:tiny,positions=256,scratchpad_bytes=512,overlap=1,softmax=1") as opened:
        graphs = [elementwise(kind, (9, 8, 7), (0.02, 0.03, 0.01), (3, -7, 11)) for kind in (Add, Multiply)]
        for graph in (*graphs, chain.graph()):
            x = {name: random_input_of((2, 9, 8, 7)) for name in graph.inputs}
            loaded = opened.load(sateen.compile(graph, opened.config, strict=True))
            assert loaded.model.tiled == 1
            np.testing.assert_array_equal(loaded.run(x), run(graph, x)[graph.outputs[0]])
