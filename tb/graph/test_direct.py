"""Pairs of codes without tables, and tables that stay, on the device against the golden model."""

from __future__ import annotations

import dataclasses

import numpy as np
import pytest

import sateen
import seeds
from sateen.compiler.verification.decoding import records
from sateen.errors import CompileError
from sateen.graph import Graph, Tensor, run
from sateen.graph.ops import Add, Multiply, NormalizedProduct, Softmax, Subtract, Table, TableProduct
from sateen.hw.spec.combining import Entries, Operand, Source
from sateen.hw.spec.config import Config
from sateen.hw.spec.descriptor import Rounding

CONFIG = "tiny,products=1,softmax=1,direct=1,norms=1,positions=256,descriptors=12"
SIZE = 600
RNG = np.random.default_rng(seeds.own())


def graph(ops, tensors, inputs="ab"):
    made = {
        name: Tensor(name=name, shape=(1, *shape), scale=scale, zero_point=point)
        for name, (shape, scale, point) in tensors.items()
    }
    return Graph(name="g", tensors=made, ops=list(ops), inputs=list(inputs), outputs=[ops[-1].output])


def pair(op, scales=(1.0, 1.0, 2.0), points=(0, 0, 0), size=SIZE, **fields):
    tensors = {name: ((size,), s, z) for name, s, z in zip("aby", scales, points, strict=True)}
    return graph([op(name="op", a="a", b="b", output="y", **fields)], tensors)


@pytest.fixture(scope="module")
def devices():
    """One that waits for each layer, and one whose layers overlap, with tables behind fewer positions than entries."""
    with sateen.open(f"sim:{CONFIG}") as one, sateen.open(f"sim:{CONFIG},positions=32,overlap=1") as other:
        yield one, other


def inputs(made):
    shapes = {name: made.tensors[name].shape for name in made.inputs}
    x = {name: RNG.integers(-128, 128, shape).astype(np.int8) for name, shape in shapes.items()}
    for values, corners in zip(x.values(), ([-128, 127, -128, 127], [127, -128, -128, 127]), strict=False):
        flat = values.reshape(-1)[:4]
        flat[:] = corners[: len(flat)]
    return x


def check(devices, made, cycles=6):
    """The device gives the golden model's results, in the cycles that the model says."""
    x, counted = inputs(made), []
    for device in devices:
        loaded = device.load(sateen.compile(made, device.config, strict=True))
        assert not any(step.host for step in loaded.model.steps)
        np.testing.assert_array_equal(loaded.run(x), run(made, x)[made.outputs[0]])
        for layer in loaded.profile.layers:
            counted.append((layer.counters.cycles, layer.layer.predicted.cycles))
    assert all(abs(found - predicted) <= cycles for found, predicted in counted), counted
    return counted


def words(made, config=CONFIG):
    """Words of tables of a graph's descriptors."""
    model = sateen.compile(made, config, strict=True)
    return [d.weights.words for segment in model.segments for d in records(segment.program) if d.weights.tables]


@pytest.mark.parametrize(
    "made",
    [
        pair(Multiply, (0.1, 0.2, 0.9), (-128, 127, 5)),
        pair(Multiply, (0.1, 0.1, 3.0), (3, 0, -128), size=1, low=-100, high=90),
        pair(Multiply, (0.1, 0.1, 3.0), (3, 0, -128), size=8),
        pair(Add, (1.0, 1.0, 1.0), (0, 0, 0)),
        pair(Add, (0.5, 4.0, 4.0), (127, -128, 9), size=37, rounding=Rounding.SINGLE),
        pair(Add, (0.5, 64.0, 64.0), (127, -128, 9), rounding=Rounding.SINGLE),
    ],
    ids=lambda made: f"{type(made.ops[0]).__name__}-{made.tensors['y'].shape[1]}-{made.tensors['b'].scale:g}",
)  # fmt: skip
def test_codes(devices, made):
    """Zero points and powers of two at their limits; one line, and many."""
    assert words(made) == [0]
    check(devices, made)


@pytest.mark.parametrize(
    "made",
    [
        pair(Add, (0.3, 0.7, 0.9), (3, 4, 5), size=8), pair(Add, (0.5, 128.0, 128.0), rounding=Rounding.SINGLE, size=8),
        pair(Subtract, (1.0, 1.0, 2.0), size=8), pair(Add, (1.0, 1.0, 2.0), size=8),
    ],
)  # fmt: skip
def test_tables_where_codes_do_not_do(made):
    """Scales that no power of two is between, or too large a one; differences; sums that are rounded twice."""
    assert words(made) == [512]


def test_layers_by_turns(devices):
    """Tables, codes, a table and a code, a softmax, products: nothing is left of the ones before."""
    shape, table = (6, 20), RNG.integers(-128, 128, 256).astype(np.int8)
    wide = RNG.integers(-512, 512, 256).astype(np.int16)
    wide[:2] = [-512, 511]
    tensors = {name: (shape, 0.05, 3) for name in "acde"}
    tensors |= {"b": (shape, 0.07, 3)}
    tensors |= {"f": (shape, 0.05, 0), "g": (shape, 0.1, 0), "h": (shape, 0.2, 1), "i": (shape, 1 / 256, -128)}
    tensors |= {"y": (shape, 1 / 256, -128)}
    ops = [
        Table(name="c", input="a", output="c", table=table, function="any"),
        Multiply(name="d", a="c", b="b", output="d"),
        Add(name="e", a="d", b="b", output="e"),
        TableProduct(
            name="f", a="e", b="a", output="f", table=wide, function="any", multiplier=1 << 30, shift=-8,
        ),
        Add(name="g", a="f", b="f", output="g"),
        Multiply(name="h", a="g", b="d", output="h"),
        Softmax(name="i", input="h", output="i"),
        Multiply(name="y", a="i", b="i", output="y"),
    ]  # fmt: skip
    made = graph(ops, tensors)
    assert words(made) == [512, 0, 512, 512, 0, 0, 512, 0]
    check(devices, made)


def test_a_normalized_product(devices):
    """By the inverse root of the tensor right before, for two products behind each other."""
    depth, width = 40, 11
    tensors = {"a": ((depth,), 1.0, 0), "b": ((depth,), 1.0, 0), "x": ((depth,), 2.0, 0)}
    tensors |= {"u": ((width,), 1.0, 0), "v": ((width,), 1.0, -3), "y": ((width,), 1.0, 0)}

    def product(name):
        return NormalizedProduct(
            name=name, input="x", output=name, weights=RNG.integers(-127, 128, (width, depth)).astype(np.int8),
            bias=RNG.integers(-9999, 9999, width).astype(np.int32), multiplier=np.zeros(width, np.int32),
            shift=RNG.integers(-3, 3, width).astype(np.int8),
        )  # fmt: skip

    ops = [Add(name="x", a="a", b="b", output="x"), product("u"), product("v")]
    ops.append(Multiply(name="y", a="u", b="v", output="y"))
    made = graph(ops, tensors)
    check(devices, made)
    # Of nothing: the sum counts as 1.
    loaded = devices[0].load(sateen.compile(made, devices[0].config, strict=True))
    none = {name: np.zeros((1, depth), np.int8) for name in "ab"}
    np.testing.assert_array_equal(loaded.run(none), run(made, none)["y"])
    with pytest.raises(CompileError, match="normalizes a tensor that the descriptor before does not give as a whole"):
        other = graph(
            [ops[0], Multiply(name="w", a="a", b="b", output="w"), *ops[1:]], {**tensors, "w": ((depth,), 2.0, 0)}
        )
        sateen.compile(dataclasses.replace(other, outputs=["y", "w"]), CONFIG, strict=True)
    with pytest.raises(CompileError, match="does not normalize; configure one with norms=1"):
        sateen.compile(made, CONFIG.replace(",norms=1", ""), strict=True)


def test_refusals():
    for field, text in (("direct", r"direct must be 0 without tables \(engine=pipelined and cols=4 or more\)"),
                        ("norms", "engine must be pipelined with norms=1, not 'sequential'")):  # fmt: skip
        with pytest.raises(ValueError, match=text):
            Config(**{field: 1}, rows=4, cols=2, lanes=1, engine="sequential")
        with pytest.raises(ValueError, match=f"{field} must be a whole number from 0 to 1, not 2"):
            Config(**{field: 2})
    table = np.zeros(256, np.int16)
    loaded = pair(TableProduct, table=table, function="none", multiplier=1 << 30, shift=0, loaded=True)
    with pytest.raises(CompileError, match="its table is on the device only with direct=1"):
        sateen.compile(loaded, CONFIG.replace(",direct=1", ""), strict=True)


def test_encoding():
    rows = [(Source.CODE, -128, 7), (Source.TABLE, 0, 0), (Source.NONE, 0, 0), (Source.CODE, 127, 0)]
    for first in rows:
        for second in rows:
            for loads in (False, True):
                entries = Entries(Operand(*first), Operand(*second), loads)
                assert Entries.decode(entries.encode()) == entries
