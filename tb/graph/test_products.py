"""Matrix products of two tensors: their definition, what they refuse, and the device against the golden model."""

from __future__ import annotations

import itertools
import warnings
from dataclasses import replace

import numpy as np
import pytest

import sateen
import seeds
from sateen.compiler.verification import verify_program
from sateen.compiler.verification.decoding import records
from sateen.compiler.verification.segments import conflicts
from sateen.errors import CompileError, InternalError
from sateen.graph import Graph, GraphError, MatrixProduct, RealMatrixProduct, Tensor, run
from sateen.hw.spec.descriptor import Rounding
from sateen.sim import golden

SHAPES = [
    ((1, 5, 6), (1, 6, 7)),
    ((1, 3, 9, 17), (1, 3, 17, 10)),
    ((1, 2, 3, 5, 4), (1, 2, 1, 4, 9)),
    ((1, 1, 20, 3), (1, 1, 3, 33)),
    ((1, 1, 1), (1, 1, 1)),
]


def graph(a, b, *, exchanged=(False, False), points=(3, -7, 1), bias=(0,), scale=0.002, **fields):
    """A graph of one product; ``exchanged`` operands are given transposed."""
    flipped = [(*s[:-2], s[-1], s[-2]) if flag else s for s, flag in zip((a, b), exchanged, strict=True)]
    y = np.broadcast_shapes(a[:-2], b[:-2]) + (a[-2], b[-1])
    tensors = [
        Tensor(name=name, shape=shape, zero_point=point)
        for name, shape, point in zip("aby", (*flipped, y), points, strict=True)
    ]
    multiplier, shift = golden.quantize_multiplier(scale)
    op = MatrixProduct(
        name="product", a="a", b="b", output="y", bias=np.array(bias, np.int32), multiplier=multiplier, shift=shift,
        transpose_a=exchanged[0], transpose_b=exchanged[1], **fields,
    )  # fmt: skip
    return Graph(name="g", tensors={t.name: t for t in tensors}, ops=[op], inputs=["a", "b"], outputs=["y"])


def codes(made, items=1):
    rng = np.random.default_rng(seeds.own())
    shapes = {name: (items, *made.tensors[name].shape[1:]) for name in made.inputs}
    return {name: rng.integers(-128, 128, shape).astype(np.int8) for name, shape in shapes.items()}


def test_definition():
    """Each sum by itself, in Python's integers."""
    made = graph((1, 2, 3, 4), (1, 1, 4, 5), bias=(5, -9, 0, 1000, 7), low=-90, high=100)
    x = codes(made, items=2)
    y = run(made, x)["y"]
    for n, h, row, column in np.ndindex(2, 2, 3, 5):
        pairs = zip(x["a"][n, h, row].tolist(), x["b"][n, 0, :, column].tolist(), strict=True)
        total = sum((a - 3) * (b + 7) for a, b in pairs) + (5, -9, 0, 1000, 7)[column]
        op = made.ops[0]
        wanted = golden.requantize(total, op.multiplier, op.shift, zero_point=1, low=-90, high=100)
        assert y[n, h, row, column] == wanted


def test_transposed_operands():
    for exchanged in itertools.product((False, True), repeat=2):
        made, plain = graph((1, 3, 4, 6), (1, 3, 6, 5), exchanged=exchanged), graph((1, 3, 4, 6), (1, 3, 6, 5))
        x = codes(plain)
        given = {name: v.swapaxes(-1, -2) if flag else v for (name, v), flag in zip(x.items(), exchanged, strict=True)}
        np.testing.assert_array_equal(run(made, given)["y"], run(plain, x)["y"])


def test_requirements():
    with pytest.raises(GraphError, match=r"do not fit: 4 and 6 values"):
        graph((1, 3, 4), (1, 6, 5))
    with pytest.raises(GraphError, match="do not broadcast; repeat one"):
        Graph(
            name="g", tensors={n: Tensor(name=n, shape=s) for n, s in
                               {"a": (1, 2, 3, 4), "b": (1, 3, 4, 5), "y": (1, 6, 3, 5)}.items()},
            ops=[MatrixProduct(name="p", a="a", b="b", output="y", bias=np.zeros(1, np.int32), multiplier=0, shift=0)],
            inputs=["a", "b"], outputs=["y"],
        )  # fmt: skip
    with pytest.raises(GraphError, match="add a batch of 1"):
        graph((3, 4), (4, 5))
    with pytest.raises(GraphError, match="bias has 2 values for 5 columns"):
        graph((1, 3, 4), (1, 4, 5), bias=(0, 1))
    with pytest.raises(GraphError, match="bias must be one axis of float32"):
        RealMatrixProduct(name="p", a="a", b="b", output="y", bias=np.zeros(1, np.int32))


@pytest.mark.parametrize("config", ["micro", "tiny", "small"])
def test_devices_without_products(config):
    """The host computes them, also where a smaller operand of a sum would be repeated."""
    made = graph(*SHAPES[2])
    with warnings.catch_warnings(record=True) as warned:
        warnings.simplefilter("always")
        model = sateen.compile(made, config)
    assert [step.host for step in model.steps] == ["product"] and "runs on the host" in str(warned[0].message)


@pytest.fixture(scope="module")
def device():
    with sateen.open("sim:tiny,products=1,softmax=1,squares=1,positions=256,descriptors=12") as opened:
        yield opened


def check(device, made, items=1):
    """Runs a graph on the device alone: equal to the golden model, and as long as predicted."""
    model = sateen.compile(made, device.config, strict=True)
    x = codes(made, items)
    loaded = device.load(model)
    actual = loaded.run(x)
    np.testing.assert_array_equal(actual, run(made, x)[made.outputs[0]])
    for layer in loaded.profile.layers:
        predicted, cycles = layer.layer.predicted.cycles, layer.counters.cycles
        assert abs(predicted - cycles) <= max(2, 0.01 * cycles), f"{cycles} cycles, predicted {predicted}"
    return model


@pytest.mark.parametrize("shapes", SHAPES)
@pytest.mark.parametrize("transposed", [False, True])
def test_on_the_device(device, shapes, transposed):
    check(device, graph(*shapes, exchanged=(False, transposed)), items=2)


@pytest.fixture(scope="module")
def wide():
    """Four rows of weights are loaded at once; of the words of an address, results become one at a time."""
    with sateen.open("sim:tiny,rows=16,cols=3,lanes=2,weight_rows=4,products=1,descriptors=12,overlap=1") as opened:
        yield opened


@pytest.mark.parametrize("shapes", SHAPES)
@pytest.mark.parametrize("transposed", [False, True])
def test_with_words_side_by_side(wide, shapes, transposed):
    check(wide, graph(*shapes, exchanged=(False, transposed)), items=2)


@pytest.mark.parametrize("points", [(-128, 127, 0), (127, -128, -128), (-128, -128, 127), (0, 0, 5)])
def test_zero_points_on_the_device(device, points):
    """The products of the corners take all of 17 bits."""
    made = graph((1, 2, 5, 9), (1, 2, 9, 6), points=points, bias=(1, -2, 3000, 0, -50_000, 9), scale=1e-4)
    check(device, made)
    x = {
        name: np.full(made.tensors[name].shape, -128 if points[at] > 0 else 127, np.int8)
        for at, name in enumerate("ab")
    }
    loaded = device.load(sateen.compile(made, device.config, strict=True))
    np.testing.assert_array_equal(loaded.run(x), run(made, x)["y"])


@pytest.mark.parametrize("rounding", [Rounding.SINGLE, Rounding.FLOAT32])
def test_roundings_on_the_device(device, rounding):
    check(device, graph((1, 4, 8), (1, 8, 4), scale=2.0**-8, rounding=rounding, low=-100, high=90))


def test_several_products_on_the_device(device):
    """Of a tensor with itself, and of results of products; more heads than descriptors hold at a time."""
    shape, square = (1, 5, 6, 8), (1, 5, 6, 6)
    tensors = {name: Tensor(name=name, shape=s, zero_point=z) for name, s, z in
               [("x", shape, 4), ("s", square, -9), ("v", shape, 1), ("o", square, 2)]}  # fmt: skip
    multiplier, shift = golden.quantize_multiplier(0.003)
    fields = {"bias": np.zeros(1, np.int32), "multiplier": multiplier, "shift": shift}
    ops = [
        MatrixProduct(name="scores", a="x", b="x", output="s", transpose_b=True, **fields),
        MatrixProduct(name="values", a="s", b="x", output="v", **fields),
        MatrixProduct(name="again", a="v", b="x", output="o", transpose_b=True, **fields),
    ]
    made = Graph(name="g", tensors=tensors, ops=ops, inputs=["x"], outputs=["o"])
    model = check(device, made, items=2)
    assert len(model.segments) > 1 and not any(step.host for step in model.steps)
    # A broadcast operand is copied once.
    once, each = (check(device, graph((1, 3, 5, 4), b)).layers[0].parts for b in ((1, 1, 4, 3), (1, 3, 4, 3)))
    assert sum(part.count for part in once) == 1 + 3 and sum(part.count for part in each) == 3 + 3


def test_files(device, tmp_path):
    """A compiled model is verified again when it is read."""
    made = graph((1, 3, 5, 9), (1, 3, 9, 7))
    sateen.compile(made, device.config).save(tmp_path / "m.sateen")
    model = sateen.Model.load(tmp_path / "m.sateen")
    x = codes(made)
    np.testing.assert_array_equal(device.load(model).run(x), run(made, x)["y"])


@pytest.mark.parametrize(
    ("made", "config", "reason"),
    [
        (graph((1, 3, 4), (1, 4, 5)), "tiny", "the device multiplies by constants only; configure one with products=1"),
        (graph((1, 3, 4), (1, 4, 5), exchanged=(True, False)), "tiny,products=1", "its left operand is transposed"),
        (
            graph((1, 3, 64), (1, 64, 64)), "tiny,products=1,weight_bytes=2048",
            "its right operand of 64 by 64 does not fit the weight store's 512 words; raise weight_bytes",
        ),
        (
            # 21 words of the product, and 13 for the copy of each group of columns: the second one is narrower.
            graph((1, 3, 4), (1, 4, 6)), "tiny,products=1,weight_bytes=160",
            "its right operand of 4 by 6 does not fit the weight store's 40 words; raise weight_bytes",
        ),
        (
            # A copy of 16 columns takes four tiles.
            graph((1, 3, 4), (1, 4, 16)), "tiny,products=1,cols=16,weight_bytes=560",
            "its right operand of 4 by 16 does not fit the weight store's 35 words; raise weight_bytes",
        ),
        (
            graph((1, 3, 4), (1, 4, 42)), "tiny,products=1,descriptors=3",
            "one of its matrices takes 4 descriptors, more than the 3 that the device holds at a time",
        ),
        (
            # Copies of several blocks each are descriptors of their own.
            graph((1, 3, 128), (1, 128, 12)), "tiny,products=1,descriptors=3",
            "one of its matrices takes 4 descriptors, more than the 3 that the device holds at a time",
        ),
    ],
)  # fmt: skip
def test_reasons_for_the_host(made, config, reason):
    with pytest.raises(CompileError, match=reason):
        sateen.compile(made, config, strict=True)


def test_verification():
    """A program whose product does not wait, or whose copy goes elsewhere, is found."""
    model = sateen.compile(graph((1, 3, 5, 9), (1, 3, 9, 7)), "tiny,products=1")
    descriptors = records(model.segments[0].program)
    copy = next(d for d in descriptors if d.output.to_weights)
    product = next(d for d in descriptors if d.weights.waits)
    changes = [
        (product, replace(product, weights=replace(product.weights, waits=False)), "does not wait for the words"),
        (copy, replace(copy, output=replace(copy.output, address=copy.output.address + 4)), "its program gives"),
        (copy, replace(copy, output=replace(copy.output, address=1 << 13)), "writes beyond its segment's"),
        (product, replace(product, activations=replace(product.activations, settings=8)), "its program gives"),
    ]
    for old, new, found in changes:
        program = b"".join((new if d is old else d).encode() for d in descriptors)
        segment = replace(model.segments[0], program=np.frombuffer(program, np.uint8))
        with pytest.raises(InternalError, match=found):
            verify_program(replace(model, segments=(segment,)))


def test_words_of_others():
    """A copy must not write words that another layer, or a copy, reads: they are not sent again."""
    model = sateen.compile(graph((1, 5, 9), (1, 9, 7)), "tiny,products=1")
    descriptors, words = records(model.segments[0].program), len(model.segments[0].weights)
    first, second, product = descriptors
    own = replace(first, output=replace(first.output, address=first.weights.base * model.config.weight_word_bytes))
    assert not list(conflicts(descriptors, [0, 0, 0], words, model.config))
    cases = (descriptors, [0, 0, 1]), ([own, second, product], [0, 0, 0])
    found = [[index for index, _ in conflicts(*case, words, model.config)] for case in cases]
    assert found == [[0, 1], [0]]
