"""Every operator that the device has besides convolutions, and what is the host's, on the simulated device against the
golden model."""

from __future__ import annotations

import dataclasses

import numpy as np
import pytest

import sateen
from sateen.graph import (
    ArgMax,
    AveragePool2D,
    Concatenate,
    Constant,
    DepthwiseConv2D,
    Dequantize,
    FloatAveragePool2D,
    Graph,
    Mean,
    Multiply,
    Pad,
    Quantize,
    ReduceMin,
    Requantize,
    Reshape,
    Resize,
    Slice,
    Softmax,
    Table,
    Tensor,
    Transpose,
    run,
)
from sateen.hw.spec.descriptor import Rounding
from sateen.testing.graphs import Builder, random_input

CONFIGS = ["tiny,positions=256", "tiny,rows=6,cols=5,lanes=3,positions=32"]
"""With tables and without."""


@pytest.fixture(params=CONFIGS)
def device(request):
    """A device of its own for each test: no other one's bytes are in its memories."""
    with sateen.open(f"sim:{request.param}") as opened:
        yield opened


class Chain(Builder):
    """A builder for operators of any kind."""

    def then(self, kind, *shape, same=True, **fields):
        """Appends an operator of one input whose result has a shape."""
        return self._add(kind, self._output(shape, same=same), **fields)

    def depthwise(self, multiplier, kernel, *, wide=False, stride=(1, 1), padding=((0, 0), (0, 0)), dilation=(1, 1)):
        """Appends a depthwise convolution; ``wide`` weights need more than 8 bits."""
        _, height, width, channels = self.last.shape
        sizes = [
            (size + sum(pads) - d * (k - 1) - 1) // s + 1
            for size, pads, d, k, s in zip((height, width), padding, dilation, kernel, stride, strict=True)
        ]
        made = self._weighted((channels * multiplier, *kernel, 1))
        if wide:
            made["weights"] = self.rng.integers(-255, 256, made["weights"].shape).astype(np.int16)
        output = self._output((*sizes, channels * multiplier))
        return self._add(DepthwiseConv2D, output, stride=stride, padding=padding, dilation=dilation, **made)


def check(device, graph, *, fallbacks=(), x=None):
    """Runs a graph by layers and at once, on the device except for ``fallbacks``; both must equal the golden model."""
    x = random_input(graph, np.random.default_rng(5), 2) if x is None else x
    if fallbacks:
        with pytest.warns(sateen.SateenWarning) as caught:
            model = sateen.compile(graph, device.config)
            loaded = device.load(model)
        # Of every layer when it is compiled, and again when it is loaded.
        said = [str(warning.message).partition(":")[0] for warning in caught]
        assert said == 2 * [f"layer {name!r} runs on the host" for name in fallbacks]
        with pytest.raises(sateen.CompileError, match="compile without strict"):
            sateen.compile(graph, device.config, strict=True)
    else:
        loaded = device.load(sateen.compile(graph, device.config, strict=True))
    assert list(loaded.model.fallbacks) == list(fallbacks)
    expected = run(loaded.model.graph, x, layers=True)
    y, tensors = loaded.run(x, layers=True)
    for name, values in tensors.items():
        np.testing.assert_array_equal(
            values, np.broadcast_to(expected[name], values.shape), err_msg=f"{name} of {graph.name}"
        )
    again = loaded.run(x)
    for name in graph.outputs:
        single = len(graph.outputs) == 1
        np.testing.assert_array_equal(again if single else again[name], y if single else y[name])
    assert set(tensors) == set(expected)


@pytest.mark.parametrize("multiplier", [1, 2, 3, 8])
@pytest.mark.parametrize("channels", [1, 3, 9, 20])
def test_depthwise(device, multiplier, channels):
    rng = np.random.default_rng([1, multiplier, channels])
    chain = Chain((7, 6, channels), rng).depthwise(multiplier, (3, 3), padding=((1, 1), (0, 1)), stride=(2, 1))
    check(device, chain.depthwise(1, (2, 3), dilation=(1, 2)).graph())


@pytest.mark.filterwarnings("ignore:.* in parts:sateen.SateenWarning")
@pytest.mark.parametrize("channels", [3, 12])
def test_weights_beyond_eight_bits(device, channels):
    rng = np.random.default_rng(2)
    chain = Chain((5, 5, channels), rng).depthwise(1, (3, 3), wide=True)
    for outputs, kernel in ((6, (3, 2)), (7, (1, 1))):
        weights = rng.integers(-255, 256, (outputs, *kernel, chain.last.shape[3])).astype(np.int16)
        chain.conv2d(outputs, kernel, weights=weights)
    check(device, chain.flatten().fully_connected(5, weights=rng.integers(-255, 256, (5, 14)).astype(np.int16)).graph())


@pytest.mark.parametrize("size", [(2, 2), (3, 2), (6, 5), (1, 4)])
@pytest.mark.parametrize("ties_up", [False, True])
def test_average_pool(device, size, ties_up):
    chain = Chain((6, 5, 7), np.random.default_rng(3))
    out = (6 // size[0], 5 // size[1], 7)
    check(device, chain.then(AveragePool2D, *out, size=size, stride=size, low=-100, high=90, ties_up=ties_up).graph())


@pytest.mark.parametrize(
    ("out", "size", "stride", "padding"),
    [
        ((6, 5), (3, 3), (1, 1), ((1, 1), (1, 1))),
        ((3, 3), (3, 2), (2, 2), ((0, 1), (0, 1))),
        ((1, 6), (6, 4), (1, 1), ((0, 0), (2, 2))),
    ],
)
@pytest.mark.parametrize("ties_up", [False, True])
def test_average_pool_at_the_border(device, out, size, stride, padding, ties_up):
    """Windows that hold fewer values than others are divided by what they hold."""
    chain = Chain((6, 5, 7), np.random.default_rng(3)).conv2d(7, (1, 1))
    chain.then(AveragePool2D, *out, 7, size=size, stride=stride, padding=padding, ties_up=ties_up).conv2d(4, (1, 1))
    check(device, chain.graph())


@pytest.mark.parametrize(
    ("scales", "points"),
    [
        ((0.0625, 0.0625), (3, -7)),
        ((0.0625, 0.03125), (-128, 0)),
        ((0.03123457, 0.02771234), (-128, -127)),
        ((0.031, 0.031), (0, 0)),
    ],
)
def test_average_pool_in_float(device, scales, points):
    """Half of these means are ties if scales are equal. If float32 does not hold every sum, the host computes them."""
    chain = Chain((6, 4, 7), np.random.default_rng(8))
    chain.then(FloatAveragePool2D, 3, 2, 7, same=False, size=(2, 2), stride=(2, 2), dilation=(1, 1),
               padding=((0, 0), (0, 0)), count=4)  # fmt: skip
    graph = chain.graph()
    for name, scale, point in zip((*graph.inputs, *graph.outputs), scales, points, strict=True):
        fields = {"scale": float(np.float32(scale)), "zero_point": point}
        graph.tensors[name] = dataclasses.replace(graph.tensors[name], **fields)
    check(device, graph, fallbacks=["op0"] if scales == (0.031, 0.031) else [])


@pytest.mark.parametrize(("axes", "out"), [((1, 2), (7,)), ((1,), (5, 7)), ((2,), (6, 7))])
@pytest.mark.parametrize("rounding", [Rounding.DOUBLE, Rounding.FLOAT32])
def test_mean(device, axes, out, rounding):
    check(
        device,
        Chain((6, 5, 7), np.random.default_rng(4)).then(Mean, *out, same=False, axes=axes, rounding=rounding).graph(),
    )


@pytest.mark.parametrize("shape", [(6, 5, 7), (131,), (3, 8)])
@pytest.mark.parametrize("scaling", [(2**30, 1), (1879048192, -1), (1342177280, 2)])
def test_requantize(device, shape, scaling):
    multiplier, shift = scaling
    chain = Chain(shape, np.random.default_rng(5))
    check(device, chain.then(Requantize, *shape, same=False, multiplier=multiplier, shift=shift, low=-90).graph())


def test_moves(device):
    """Pad, slice and resize."""
    chain = Chain((6, 5, 7), np.random.default_rng(6)).then(Pad, 9, 6, 7, padding=((1, 2), (0, 1), (0, 0)), value=-9)
    chain.then(Slice, 4, 3, 5, ranges=((1, 9, 2), (2, 5, 1), (1, 6, 1))).then(Resize, 8, 9, 5)
    chain.then(Reshape, 8, 45).then(Slice, 3, 45, ranges=((2, 8, 2), (0, 45, 1)))
    check(device, chain.graph())


@pytest.mark.parametrize("sizes", [(1, 1), (0, 2), (7, 0), (12, 9)])
@pytest.mark.parametrize("value", [0, -128, 127])
def test_padded_channels(device, sizes, value):
    chain = Chain((6, 5, 7), np.random.default_rng(6)).conv2d(3, (1, 1)).then(Resize, 7, 9, 3)
    chain.then(Pad, 8, 9, 3 + sum(sizes), padding=((0, 1), (0, 0), sizes), value=value)
    check(device, chain.conv2d(4, (2, 2)).graph())
    check(
        device, Chain((11,), np.random.default_rng(7)).then(Pad, 11 + sum(sizes), padding=(sizes,), value=value).graph()
    )


@pytest.mark.parametrize("sides", [(2, 5), (6, 3), (3, 10), (1, 1), (1, 10)])
def test_smaller_images(device, sides):
    """A resize that leaves positions out."""
    chain = Chain((6, 5, 3), np.random.default_rng(6)).conv2d(3, (1, 1)).then(Resize, *sides, 3)
    check(device, chain.conv2d(4, (1, 1)).graph())


@pytest.mark.parametrize("size", [(2, 6), (2, 2), (3, 1), (1, 1)])
def test_resize_to_fewer_rows_or_columns(device, size):
    """Even if those that are left are the first."""
    chain = Chain((3, 2, 2), np.random.default_rng(6)).conv2d(3, (1, 1)).then(Resize, *size, 3)
    check(device, chain.conv2d(4, (1, 1)).graph())


@pytest.mark.parametrize("axis", [1, 2, 3])
def test_concatenate(device, axis):
    """Three branches of one tensor, joined."""
    chain = Chain((4, 5, 6), np.random.default_rng(7))
    chain.conv2d(6, (1, 1))
    root = chain.last
    numbers = {"scale": 0.05, "zero_point": 3}
    sources = []
    for _ in range(3):
        chain.last = root
        chain.conv2d(6, (1, 1))
        chain.tensors[chain.last.name] = chain.last = Tensor(name=chain.last.name, shape=chain.last.shape, **numbers)
        sources.append(chain.last.name)
    shape = [4, 5, 6]
    shape[axis - 1] *= 3
    output = chain.tensors["joined"] = Tensor(name="joined", shape=(1, *shape), **numbers)
    chain.ops.append(Concatenate(name="join", sources=tuple(sources), axis=axis, output="joined"))
    chain.last = output
    check(device, chain.conv2d(3, (1, 1)).graph())


def test_tables_and_constants(device):
    rng = np.random.default_rng(9)
    chain = Chain((5, 4, 3), rng).conv2d(6, (2, 2))
    chain.then(Table, 4, 3, 6, table=rng.integers(-128, 128, 256).astype(np.int8), function="random")
    constant, output = Tensor(name="c", shape=(1, 1, 1, 6), scale=0.04, zero_point=1), chain._output((4, 3, 6))
    chain.tensors["c"] = constant
    chain.ops.append(
        Constant(name="constant", output="c", values=rng.integers(-128, 128, constant.shape).astype(np.int8))
    )
    chain.ops.append(Multiply(name="scale", a=chain.last.name, b="c", output=output.name))
    chain.last = output
    check(
        device, chain.flatten().fully_connected(7).graph(), fallbacks=[] if device.config.tables else ["op1", "scale"]
    )


def test_real_ends(device):
    """Real numbers in and out, softmax and argmax, transposition: the host's by nature, without a warning."""
    rng = np.random.default_rng(10)
    chain = Chain((4, 5, 3), rng)
    real = Tensor(name="real", shape=(1, 3, 4, 5), dtype="float32")
    chain.tensors |= {
        "real": real,
        "q": Tensor(name="q", shape=(1, 3, 4, 5), scale=chain.last.scale, zero_point=chain.last.zero_point),
    }
    chain.ops += [
        Quantize(name="quantize", input="real", output="q"),
        Transpose(name="turn", input="q", output="x", axes=(0, 2, 3, 1)),
    ]
    chain.conv2d(6, (2, 2)).flatten().fully_connected(10)
    logits = chain.last.name
    chain.tensors |= {
        "p": Tensor(name="p", shape=(1, 10), scale=1 / 256, zero_point=-128),
        "y": Tensor(name="y", shape=(1, 10), dtype="float32"),
        "best": Tensor(name="best", shape=(1,), dtype="int32"),
    }
    chain.ops += [
        Softmax(name="softmax", input=logits, output="p"),
        Dequantize(name="real_again", input="p", output="y"),
    ]
    chain.ops.append(ArgMax(name="argmax", input=logits, output="best", axis=1))
    graph = Graph(name="ends", tensors=chain.tensors, ops=chain.ops, inputs=["real"], outputs=["y", "best"])
    x = rng.normal(size=(2, 3, 4, 5)).astype(np.float32)
    loaded = device.load(sateen.compile(graph, device.config, strict=True))
    expected, actual = run(graph, x), loaded.run(x)
    assert actual["y"].dtype == np.float32 and actual["best"].dtype == np.int32
    for name in graph.outputs:
        np.testing.assert_array_equal(actual[name], expected[name])


def reshaped(rng, readers, side=3):
    """Two convolutions, one under a softmax; the other's result, reshaped twice behind that, is read by several."""
    chain = Chain((side, side, 4), rng).conv2d(4, (2, 2))
    source = chain.last
    chain.last = chain.tensors["x"]
    chain.conv2d(6, (2, 2)).then(Reshape, 6 * (side - 1) ** 2)
    chain.tensors["p"] = Tensor(name="p", shape=chain.last.shape, scale=1 / 256, zero_point=-128)
    chain.ops.append(Softmax(name="softmax", input=chain.last.name, output="p"))
    chain.last = source
    half = 2 * (side - 1) ** 2
    flat, square = chain.then(Reshape, 2 * half).last, chain.then(Reshape, 2, half).last
    outputs = {"p": True, source.name: "source" in readers}
    outputs |= {flat.name: "flat" in readers, square.name: "square" in readers}
    if "host" in readers:
        outputs[chain.then(Transpose, half, 2, axes=(0, 2, 1)).last.name] = True
    if "layer" in readers:
        chain.last = flat
        outputs[chain.fully_connected(5).last.name] = True
    chain.last = chain.tensors["x"]
    outputs[chain.then(Reshape, 4 * side**2).last.name] = "input" in readers
    names = [name for name, wanted in outputs.items() if wanted]
    return Graph(name=" ".join(readers), tensors=chain.tensors, ops=chain.ops, inputs=["x"], outputs=names)


READERS = [
    ["flat"], ["square"], ["source", "flat", "square"], ["host"], ["layer"], ["host", "layer"], ["source", "host"],
    ["layer", "square"],
    ["source", "flat", "square", "host", "layer", "input"],
]  # fmt: skip


@pytest.mark.parametrize("readers", READERS, ids=" ".join)
def test_reshapes_behind_the_host(device, readers):
    """Whoever has one of the tensors that Reshapes make of one another has them all, whatever stands between."""
    check(device, reshaped(np.random.default_rng(19), readers))


@pytest.mark.parametrize("readers", READERS, ids=" ".join)
def test_reshapes_behind_the_host_without_memory(readers):
    """The same where nothing stays on the device."""
    with sateen.open("sim:tiny,scratchpad_bytes=512,weight_bytes=8192") as device:
        for side in (6, 7, 12):
            check(device, reshaped(np.random.default_rng(19), readers, side))


def test_all_on_the_host(device):
    """A model without anything for the device still gives its answer."""
    table = np.arange(-128, 128).astype(np.int8)[::-1].copy()
    chain = Chain((8,), np.random.default_rng(11)).then(Table, 8, table=table, function="mirror")
    check(device, chain.graph(), fallbacks=[] if device.config.tables else ["op0"])


def test_saved_and_loaded(device, tmp_path):
    """Steps survive a file."""
    chain = (
        Chain((6, 5, 7), np.random.default_rng(8)).conv2d(4, (1, 1)).then(ReduceMin, 6, 1, 4, axes=(2,), keep_dims=True)
    )
    graph = chain.conv2d(3, (2, 1)).graph()
    with pytest.warns(sateen.SateenWarning):
        sateen.compile(graph, device.config).save(tmp_path / "m.sateen")
    model = sateen.Model.load(tmp_path / "m.sateen")
    x = random_input(graph, np.random.default_rng(5), 2)
    with pytest.warns(sateen.SateenWarning, match="layer 'op1' runs on the host: the device has no such operator"):
        loaded = device.load(model)
    np.testing.assert_array_equal(loaded.run(x), run(graph, x)[graph.outputs[0]])
