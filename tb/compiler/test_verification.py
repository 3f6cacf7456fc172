"""The comparison of finished programs with their graphs: it finds one wrong number, in whatever way a layer is
computed, and says where it is."""

import dataclasses
from functools import partial

import numpy as np
import pytest

import sateen
from sateen.compiler import passes, sliding
from sateen.compiler.lowering import LookUp
from sateen.compiler.verification import verify_program
from sateen.compiler.verification.decoding import records
from sateen.compiler.verification.definitions import SUMS
from sateen.errors import InternalError
from sateen.graph import Add, Concatenate, Graph, MatrixProduct, Reshape, Tensor, Weighted
from sateen.graph.ops import OPS, TransposeConv2D
from sateen.hw.spec.descriptor import DESCRIPTOR_WORDS
from sateen.sparsity import Packing
from sateen.testing.graphs import Builder

pytestmark = pytest.mark.filterwarnings("ignore:.* in parts:sateen.SateenWarning")

SAME = ((1, 1), (1, 1))
RNG = partial(np.random.default_rng, 3)
TERM = "tiny,pe=term,weight_bytes=32768"


def conv(shape, outputs, kernel=(3, 3), *, density=1.0, **fields):
    return Builder(shape, np.random.default_rng(3), density=density).conv2d(outputs, kernel, **fields).graph()


def depthwise(shape, kernel=(3, 3), **fields):
    return Builder(shape, np.random.default_rng(3)).depthwise_conv2d(kernel, **fields).graph()


def transposed(shape, outputs, kernel=(3, 3)):
    builder = Builder(shape, np.random.default_rng(3))
    rows, columns = (2 * (size - 1) + taps - 1 for size, taps in zip(shape, kernel, strict=False))
    made = builder._weighted((outputs, *kernel, shape[-1]))
    output = builder._output((rows, columns, outputs))
    return builder._add(TransposeConv2D, output, stride=(2, 2), crop=((1, 0), (0, 1)), **made).graph()


def wide(graph):
    """The graph with weights of 9 bits that have no zero point in common."""
    (op,) = graph.ops
    return dataclasses.replace(graph, ops=[dataclasses.replace(op, weights=op.weights.astype(np.int16) * 2)])


def narrow(graph):
    """The graph with weights of 4 bits."""
    (op,) = graph.ops
    return dataclasses.replace(graph, ops=[dataclasses.replace(op, weights=op.weights >> 4)])


def with_zero_point(graph, zero_point):
    """The graph with weights as uint8 models have them, less a zero point; those that were zero still are."""
    (op,) = graph.ops
    weights = np.where(op.weights, op.weights.astype(np.int16) - zero_point, 0)
    return dataclasses.replace(graph, ops=[dataclasses.replace(op, weights=weights.astype(np.int16))])


WAYS = {
    "blocks": ("large", conv((9, 9, 20), 24, padding=SAME)),
    "narrow": ("small", conv((12, 2, 1), 5, (5, 2), padding=((2, 2), (1, 0)))),
    "side by side": ("small", conv((7, 8, 3), 2, (3, 2), padding=((1, 1), (1, 0)))),
    "dilated": ("small", conv((9, 9, 5), 7, padding=SAME, dilation=(2, 3))),
    "fully connected": ("small", Builder((100,), np.random.default_rng(3)).fully_connected(30).graph()),
    "sliding": ("large", depthwise((9, 9, 20), padding=SAME)),
    "sliding on one pixel": ("large", depthwise((1, 1, 20), (5, 5), padding=((2, 2), (2, 2)))),
    "diagonal": ("tiny,pe=bitserial", depthwise((6, 6, 20), padding=SAME)),
    "several results a channel": ("small", depthwise((6, 6, 20), padding=SAME, each=2)),
    "combined": ("tiny,combine=4", conv((6, 6, 40), 7, padding=SAME, density=0.15)),
    "combined by 5": ("tiny,rows=6,cols=5,lanes=3,combine=5", conv((6, 6, 40), 7, padding=SAME, density=0.15)),
    "combined terms": (f"{TERM},combine=2", conv((6, 6, 40), 7, padding=SAME, density=0.15)),
    "terms": (TERM, conv((6, 6, 5), 7, padding=SAME)),
    "bit-serial": ("tiny,pe=bitserial", conv((6, 6, 5), 7, padding=SAME)),
    "transposed": ("small", transposed((5, 4, 6), 7)),
    "rows loaded at once": ("small,weight_rows=2", conv((6, 6, 20), 24, padding=SAME)),
    "rows loaded at once, sliding": ("large,weight_rows=4", depthwise((9, 9, 20), padding=SAME)),
    "two weights a byte": ("tiny,rows=8,weight_bits=4,weights_per_byte=2", narrow(conv((6, 6, 5), 7, padding=SAME))),
    "two weights a byte, sliding": (
        "small,rows=16,weight_bits=4,weights_per_byte=2", narrow(depthwise((9, 9, 20), padding=SAME)),
    ),
    "sums in place": ("tiny,overlap=1", Builder((100,), np.random.default_rng(3)).fully_connected(30).graph()),
    "sequential": ("micro", conv((6, 6, 5), 7, padding=SAME)),
    "stripes": ("small,scratchpad_bytes=1024", conv((16, 8, 8), 8, padding=SAME)),
    "streamed": ("tiny,weight_bytes=1024", conv((6, 6, 8), 40, padding=SAME)),
    "parts of wide weights": ("small", wide(conv((6, 6, 5), 7, padding=SAME))),
    "parts of wide depthwise weights": ("small", wide(depthwise((6, 6, 5), padding=SAME))),
    "parts on the diagonal": ("tiny,pe=bitserial", wide(depthwise((6, 6, 20), padding=SAME))),
    "parts with a dilation": ("small", wide(conv((9, 9, 5), 7, padding=SAME, dilation=(2, 3)))),
    "zero point": ("small", with_zero_point(conv((6, 6, 5), 7, padding=SAME), 127)),
    "zero point, narrow": ("small", with_zero_point(conv((12, 2, 1), 5, (5, 2), padding=((2, 2), (1, 0))), -128)),
    "zero point, side by side": ("small", with_zero_point(conv((7, 8, 3), 2, (3, 2), padding=((1, 1), (1, 0))), 9)),
    "zero point, sliding": ("large", with_zero_point(depthwise((9, 9, 20), padding=SAME), 100)),
    "zero point, diagonal": ("tiny,pe=bitserial", with_zero_point(depthwise((6, 6, 20), padding=SAME), -90)),
    "zero point, combined": (
        "tiny,combine=4",
        with_zero_point(conv((6, 6, 40), 7, padding=SAME, density=0.15), 127),
    ),
    "zero point, sequential": ("micro,weight_bits=9", with_zero_point(conv((6, 6, 5), 7, padding=SAME), 55)),
}


def changed(model, word, column, segment=0):
    """The model with one bit of a weight, or of a parameter, changed."""
    segments = list(model.segments)
    weights = segments[segment].weights.copy()
    weights[word, column] ^= 1
    segments[segment] = dataclasses.replace(segments[segment], weights=weights)
    return dataclasses.replace(model, segments=tuple(segments))


@pytest.mark.parametrize("way", WAYS)
def test_one_wrong_bit(way):
    """In the first column, which has a channel in every group: of any weight, bias, multiplier or shift."""
    config, graph = WAYS[way]
    model = sateen.compile(graph, config)
    rng = np.random.default_rng(5)
    caught = 0
    for word in rng.choice(len(model.segments[0].weights), 12, replace=False):
        try:
            verify_program(changed(model, word, 0))
        except InternalError as error:
            assert f"{graph.ops[0]}: its program" in str(error) and "please report it" in str(error)
            caught += 1
    # A select of a weight that is zero does not matter; windows slide over rows that none needs on a single pixel;
    # words between biases and scales have no meaning.
    assert caught == 12 or ("combined" in way or "at once" in way) and caught >= 6


def test_says_which_weight():
    config, graph = WAYS["blocks"]
    model = sateen.compile(graph, config)
    # Word 17 is byte 17 of the first kernel row, in its second tile: pixel 0, channel 17.
    weights = model.segments[0].weights
    assert weights[17, 2] == graph.ops[0].weights[2, 0, 0, 17]
    larger = 1 - 2 * (int(weights[17, 2]) & 1)
    with pytest.raises(InternalError, match=rf"weight of x\[., ., 17\] at result\[., ., 2\] .*larger by {larger} than"):
        verify_program(changed(model, 17, 2))


def exchanged(words):
    """Two different neighbours exchanged."""
    flat = words.reshape(-1).copy()
    place = next(i for i in range(len(flat) // 3, len(flat)) if flat[i] != flat[i - 1])
    flat[[place - 1, place]] = flat[[place, place - 1]]
    return flat.reshape(words.shape)


def moved(words):
    """All words one further."""
    return np.roll(words, 1, axis=-2)


@pytest.mark.parametrize(
    ("owner", "name", "way", "change"),
    [
        (passes, "_words", "blocks", exchanged),
        (passes, "parameter_words", "narrow", exchanged),
        (sliding, "words", "sliding", exchanged),
        (sliding, "parameter_words", "sliding", exchanged),
        (Packing, "words", "combined", exchanged),
        (LookUp, "words", "tables", moved),
    ],
)
def test_packers_that_are_broken(monkeypatch, owner, name, way, change):
    """``compile`` itself says so."""
    config, graph = WAYS.get(way) or ("small", sums())
    sateen.compile(graph, config)
    packer = getattr(owner, name)
    monkeypatch.setattr(owner, name, lambda *args: change(packer(*args)))
    with pytest.raises(InternalError, match="please report it"):
        sateen.compile(graph, config)


def test_two_weights_in_one_row(monkeypatch):
    """The walk that once overwrote weights: the packer refuses it, and so does the comparison."""
    monkeypatch.setattr(sliding, "_disjoint", lambda walk, kernel: True)
    with pytest.raises(ValueError, match="puts two weights in one row"):
        sateen.compile(depthwise((4, 1, 3), padding=SAME), "small")


def test_weights_of_another_layer(monkeypatch):
    """Every pass begins at word 0."""
    graph = Builder((4, 4, 4), np.random.default_rng(3)).conv2d(4, (1, 1)).conv2d(4, (1, 1)).graph()
    monkeypatch.setattr(passes.Pass, "relocated", lambda self, base: self.descriptors)
    with pytest.raises(InternalError, match="Conv2D 'op1'"):
        sateen.compile(graph, "tiny")


@pytest.mark.parametrize(
    ("streams", "reason"), [(("activations", "output"), "sums do not allow"), (("output",), "sums do not allow")]
)
def test_divided_accumulators(streams, reason):
    """Sums of several tiles are read back, for which divided halves have no port; the streams count the same parts."""
    model = sateen.compile(conv((4, 4, 9), 12), "tiny")
    (d,) = records(model.segments[0].program)
    assert not d.quarters
    divided = dataclasses.replace(d, **{name: dataclasses.replace(getattr(d, name), quarters=True) for name in streams})
    segment = dataclasses.replace(model.segments[0], program=np.frombuffer(divided.encode(), np.uint8))
    with pytest.raises(InternalError, match=reason):
        verify_program(dataclasses.replace(model, segments=(segment,)))


def test_more_sums_than_accumulators():
    model = sateen.compile(Builder((8, 8, 4), np.random.default_rng(3)).max_pool2d((8, 8)).graph(), "small")
    config = dataclasses.replace(model.config, positions=32)
    with pytest.raises(InternalError, match="has 64 sums, 32 fit"):
        verify_program(dataclasses.replace(model, config=config))


def sums():
    builder = Builder((4, 4, 4), np.random.default_rng(3)).conv2d(4, (1, 1))
    output = builder._output((4, 4, 4))
    builder.ops.append(Add(name="sum", a="x", b="t0", output=output.name))
    return Graph(name="sum", tensors=builder.tensors, ops=builder.ops, inputs=["x"], outputs=[output.name])


def products():
    """A product of two matrices, whose results are small."""
    shapes = {"a": (1, 3, 8), "b": (1, 8, 4), "y": (1, 3, 4)}
    tensors = {name: Tensor(name=name, shape=shape) for name, shape in shapes.items()}
    op = MatrixProduct(
        name="product", a="a", b="b", output="y", bias=np.zeros(1, np.int32), multiplier=1 << 30, shift=-9
    )
    return Graph(name="products", tensors=tensors, ops=[op], inputs=["a", "b"], outputs=["y"])


def test_a_tensor_and_its_reshape():
    """They are the same bytes."""
    builder = Builder((4, 4, 4), np.random.default_rng(3)).conv2d(4, (1, 1))
    made = builder.last
    builder._add(Reshape, builder._output((16, 4), same=True))._add(Reshape, builder._output((4, 4, 4), same=True))
    output = builder._output((4, 4, 8), same=True)
    builder.ops.append(Concatenate(name="join", sources=(made.name, builder.last.name), axis=3, output=output.name))
    sateen.compile(
        Graph(name="g", tensors=builder.tensors, ops=builder.ops, inputs=["x"], outputs=[output.name]), "tiny"
    )


@pytest.mark.parametrize("way", WAYS)
def test_what_a_device_gets_is_read_back(way):
    config, graph = WAYS[way]
    for segment in sateen.compile(graph, config).segments:
        decoded = records(segment.program)
        assert b"".join(record.encode() for record in decoded) == segment.program.tobytes()
        assert len(decoded) * 4 * DESCRIPTOR_WORDS == len(segment.program)


def test_every_layer_with_weights_has_a_definition():
    weighted = {op for op in OPS.values() if issubclass(op, Weighted)}
    assert weighted == set(SUMS)


ATTENTION = "tiny,products=1,softmax=1,squares=1,positions=256,descriptors=12"


@pytest.mark.parametrize(
    ("make", "config", "change", "reason"),
    [
        (lambda: Builder((6, 6, 4), RNG()).max_pool2d((3, 3)).graph(), "tiny", {"low": 1}, "its program gives -128 at"),
        (lambda: Builder((6, 6, 4), RNG()).max_pool2d((3, 3)).graph(), "tiny", {"high": 126}, "its program gives 127"),
        (sums, "tiny,positions=256", {"high": 126}, "the tables of .* give 127 for"),
        (products, ATTENTION, {"low": -120}, "its program gives -1.. at"),
        (products, ATTENTION, {"multiplier": (1 << 30) + 1}, "multiplies by 1073741824, the graph 1073741825"),
        (products, ATTENTION, {"bias": np.array([1], np.int32)}, "adds 0, the graph 1"),
    ],
    ids=["lowest of windows", "highest of windows", "highest of sums", "lowest of products", "a factor", "a bias"],
)
def test_what_few_results_show(make, config, change, reason):
    """Limits and factors of which the results for random bytes hardly tell."""
    model = sateen.compile(make(), config)
    verify_program(model)
    *before, op = model.graph.ops
    graph = dataclasses.replace(model.graph, ops=[*before, dataclasses.replace(op, **change)])
    with pytest.raises(InternalError, match=reason):
        verify_program(dataclasses.replace(model, graph=graph))
