"""ONNX models whose tensors do not all begin with a batch, against onnxruntime."""

from __future__ import annotations

import warnings

import numpy as np
import pytest
from test_onnx_networks import reference

import needs
import sateen
import seeds
from onnx_file import File, W, X, Y, ints
from sateen.frontends import onnx as frontend
from sateen.graph import GraphError, run

onnx = needs.package("onnx", extra="onnx")
onnxruntime = needs.package("onnxruntime", extra="reference")

from onnx_networks import random_network  # noqa: E402


def compare(f: File, shape: tuple[int, ...], *outputs: str, tolerance: float = 0.0):
    """Asserts that a file's results are onnxruntime's, but for axes of length 1."""
    data = f.build({"x": shape}, *outputs)
    x = (np.random.default_rng(1).normal(size=shape) * 2).astype(np.float32)
    graph = frontend.load(data)
    tensor = graph.tensors["x"]
    given = x if tensor.file_shape == shape else x[None]
    results = run(graph, {"x": tensor.from_file(given)})
    session = onnxruntime.InferenceSession(data, providers=["CPUExecutionProvider"])
    for name, expected in zip(graph.outputs, session.run(None, {"x": x}), strict=True):
        actual = graph.tensors[name].to_file(results[name])
        assert [n for n in actual.shape if n > 1] == [n for n in expected.shape if n > 1]
        difference = np.abs(actual.reshape(expected.shape).astype(np.float64) - expected)
        assert difference.max() <= tolerance
    return graph, x


@pytest.mark.parametrize("shape", [(10,), (4, 6), (3, 8, 8), (2, 3, 4, 5)])
@pytest.mark.parametrize("kind", ["Softmax", "ReduceMean", "ArgMax", "Transpose", "Slice", "Concat", "Reshape", "Pad"])
def test_the_first_axis_is_none(kind, shape):
    """Operators that reach into the first axis."""
    f, rank = File(), len(shape)
    x = f.around("x")
    if kind == "Slice":
        y = f.node(
            kind, x, f.constant(ints(shape[0] - 1)), f.constant(ints(-99)), f.constant(ints(0)), f.constant(ints(-1))
        )
    elif kind == "Concat":
        y = f.node(
            kind, x, f.dequantize(f.constant(np.arange(np.prod(shape)).reshape(shape).astype(np.int8)), X, 3), axis=0
        )
    elif kind == "Reshape":
        y = f.node(kind, x, f.constant(ints(-1)))
    elif kind == "Pad":
        y = f.node(kind, x, f.constant(ints(*[1, *[0] * (rank - 1), 2, *[0] * (rank - 1)])))
    elif kind == "Transpose":
        y = f.node(kind, x, perm=list(range(rank))[::-1])
    elif kind == "ReduceMean":
        y = f.node(kind, x, axes=[0], keepdims=0 if rank > 1 else 1)
    else:
        y = f.node(kind, x, axis=0)
    real = kind in ("Softmax", "ReduceMean")
    compare(f, shape, y if kind == "ArgMax" else f.around(y, Y / 4 if real else X, 3), tolerance=0)


def test_a_head_without_a_batch():
    """An image without a batch, which a convolution gets with one."""
    f = File()
    x = f.node("Unsqueeze", f.around("x"), f.constant(ints(0)))
    x = f.around(f.node("Relu", f.node("Conv", x, f.weights(4, 3, 3, 3), strides=[2, 2])), Y)
    x = f.node("Squeeze", x, f.constant(ints(0)))
    y = f.around(f.node("ReduceMax", x, axes=[1, 2], keepdims=0), Y)
    graph, x = compare(f, (3, 9, 9), y)
    with sateen.open("sim:tiny") as device:
        loaded = device.load(sateen.compile(graph, "tiny"))
        for given in (x, x[None]):
            np.testing.assert_array_equal(loaded.run(given), run(graph, graph.tensors["x"].from_file(x[None]))[y])


@pytest.mark.parametrize("kind", ["Squeeze", "Reshape", "Gather", "ReduceMean"])
def test_a_tail_that_drops_the_batch(kind):
    f = File()
    x = f.around(f.node("MaxPool", f.around("x"), kernel_shape=[2, 2], strides=[2, 2]))
    x = f.around(f.node("Gemm", f.node("Flatten", x), f.weights(48, 7, axis=1)), Y)
    if kind == "Squeeze":
        y = f.node(kind, x, f.constant(ints(0)))
    elif kind == "Reshape":
        y = f.node(kind, x, f.constant(ints(7)))
    elif kind == "Gather":
        y = f.node(kind, x, f.constant(np.int64(0)), axis=0)
    else:
        y = f.node(kind, x, axes=[0], keepdims=0)
    graph, _ = compare(f, (1, 3, 8, 8), f.node("Sigmoid", y), x, tolerance=3e-7)
    assert graph.tensors["x"].file_shape == (1, 3, 8, 8) and graph.tensors[graph.outputs[1]].file_shape == (1, 7)


def test_a_shape_that_is_asked_for():
    f = File()
    x = f.around("x")
    wanted = f.node("Concat", f.node("Shape", x), f.constant(ints(1)), axis=0)
    y = f.node("ReduceMax", f.node("Reshape", x, wanted), axes=[0], keepdims=0)
    compare(f, (4, 6), f.around(y))


def freed(data: bytes) -> bytes:
    """A file with a free batch."""
    model = onnx.ModelProto.FromString(data)
    model.graph.input[0].type.tensor_type.shape.dim[0].dim_param = "N"
    return model.SerializeToString()


@pytest.mark.parametrize("keep", [0, 1])
@pytest.mark.parametrize("axes", [[0], [0, 2], None])
@pytest.mark.parametrize("kind", ["ReduceMax", "ReduceMean"])
def test_a_free_batch_stays(kind, axes, keep):
    """What is computed of several items together is refused."""
    f, fields = File(), {"keepdims": keep} | ({"axes": axes} if axes else {})
    data = f.build({"x": (1, 4, 7)}, f.quantize(f.node(kind, f.around("x"), **fields)))
    with pytest.raises(GraphError, match="it reduces the batch, .* with a fixed batch of 1"):
        frontend.load(freed(data))


ONE = {
    "Reshape": [ints(1, -1)], "Flatten": [], "Unsqueeze": [ints(0)], "Slice": [ints(0), ints(1), ints(0)],
    "Expand": [ints(1, 1, 4, 7)], "Add": [], "Resize": [ints(1, 4, 14)],
}  # fmt: skip
SEVERAL = {
    "Reshape": [ints(-1, 28)], "Flatten": [], "Unsqueeze": [ints(1)], "Slice": [ints(0), ints(2**31 - 1), ints(0)],
    "Expand": [ints(1, 4, 7)], "Add": [], "Resize": [np.array([1, 1, 2], np.float32)],
}  # fmt: skip


@pytest.mark.parametrize("one", [True, False])
@pytest.mark.parametrize("kind", ONE)
def test_a_free_batch_that_is_taken_for_one(kind, one):
    """That is told, since several items would not be computed each by itself."""
    f = File()
    constants = [f.constant(values) for values in (ONE if one else SEVERAL)[kind]]
    x, fields = f.around("x"), {"axis": int(not one)} if kind == "Flatten" else {}
    if kind == "Add":
        # An axis more: the batch stands beside the other's second axis.
        constants.append(f.around(f.node("Unsqueeze", x, f.constant(ints(1)))) if one else x)
    if kind == "Resize":
        constants[:0] = ["", ""] if one else [""]
    y = f.quantize(f.node(kind, x, *constants, **fields))
    data = freed(f.build({"x": (1, 4, 7)}, y))
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        graph = frontend.load(data)
    assert any("of several items together" in note for note in graph.notes) == one
    x = (np.random.default_rng(1).normal(size=(1 if one else 3, 4, 7)) * 2).astype(np.float32)
    (expected,) = onnxruntime.InferenceSession(data, providers=["CPUExecutionProvider"]).run(None, {"x": x})
    actual = graph.tensors[y].to_file(run(graph, {"x": graph.tensors["x"].from_file(x)})[y])
    np.testing.assert_array_equal(actual.reshape(expected.shape), expected)


def test_weights_are_found():
    """A product of a matrix with rows, none of which is an item."""
    f = File()
    y = f.around(f.node("MatMul", f.around("x"), f.weights(6, 5)), Y)
    y = f.around(f.node("Add", y, f.dequantize(f.constant(f.rng.integers(-128, 128, (7, 5)).astype(np.int8)), W, 0)), Y)
    compare(f, (7, 6), y)


@pytest.mark.parametrize("attributes", [{}, {"transB": 1, "alpha": 0.5}], ids=["plain", "both"])
@pytest.mark.parametrize("shape", [(6, 4), (1, 6), (6, 1)])
def test_products_of_transposed_tensors(shape, attributes):
    """A Gemm with transA adds along the first axis of its tensor, which is no batch then."""
    f, rng = File(), np.random.default_rng(2)
    x, (depth, _) = f.around("x"), shape
    codes = rng.integers(-127, 128, (5, depth) if attributes else (depth, 5)).astype(np.int8)
    weights = f.dequantize(f.constant(codes), 0.01, 0)
    compare(f, shape, f.around(f.node("Gemm", x, weights, transA=1, **attributes), 0.1, 3))


@pytest.mark.parametrize("use", ["Reshape", "Expand", "Resize", "Div", "Tile", "Slice"])
def test_how_many_items_there_are(use):
    """A constant that is computed of it is told of, unless it is the batch of a shape."""
    f = File()
    x = f.around("x")
    sizes = f.node("Shape", x)
    count = f.node("Slice", sizes, f.constant(ints(0)), f.constant(ints(1)))
    if use == "Reshape":
        y = f.node(use, x, f.node("Concat", count, f.constant(ints(-1)), axis=0))
    elif use == "Expand":
        y = f.node(use, f.node("ReduceMax", x, axes=[2, 3]), sizes)
    elif use == "Resize":
        larger = f.node("Mul", f.node("Slice", sizes, f.constant(ints(2)), f.constant(ints(4))), f.constant(ints(2)))
        wanted = f.node("Concat", count, f.constant(ints(4)), larger, axis=0)
        floor = {"coordinate_transformation_mode": "asymmetric", "nearest_mode": "floor"}
        y = f.node(use, x, "", "", wanted, mode="nearest", **floor)
    elif use == "Div":
        y = f.node(use, x, f.node("Cast", count, to=1))
    elif use == "Tile":
        y = f.node(use, x, f.node("Concat", count, f.constant(ints(1, 1, 1)), axis=0))
    else:
        y = f.node(use, x, f.constant(ints(0)), count, f.constant(ints(1)))
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        graph = frontend.load(freed(f.build({"x": (1, 4, 3, 5)}, f.quantize(y))))
    told = any(f"({use}) of several items together" in note for note in graph.notes)
    assert told == (use in ("Div", "Tile", "Slice"))


def several(seed: int) -> tuple[bytes, dict[str, np.ndarray]]:
    """A random network with a free batch, some of whose shapes are free, too, and three items."""
    rng = np.random.default_rng(seed)
    data, inputs = random_network(rng, (14, 17, 20))
    model = onnx.ModelProto.FromString(data)
    for info in model.graph.input:
        info.type.tensor_type.shape.dim[0].dim_param = "N"
    shapes = {node.input[1] for node in model.graph.node if node.op_type == "Reshape"} if seed % 2 else set()
    for tensor in model.graph.initializer:
        values = onnx.numpy_helper.to_array(tensor)
        if tensor.name in shapes and values[0] == 1 and -1 not in values:
            tensor.CopyFrom(onnx.numpy_helper.from_array(np.array([-1, *values[1:]]), tensor.name))
    items = {name: np.concatenate([x, np.roll(x, 1, axis=-1), x[..., ::-1]]) for name, x in inputs.items()}
    return model.SerializeToString(), items


def test_random_networks_of_several_items():
    """They are onnxruntime's, or a warning says of what they are not."""
    outcomes = []
    for seed in range(seeds.BASE, seeds.BASE + 40):
        data, x = several(seed)
        try:
            expected = reference(data, x)
        except Exception:
            outcomes.append("refused by onnxruntime")
            continue
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            graph = frontend.load(data)
        values = run(graph, {name: graph.tensors[name].from_file(each) for name, each in x.items()}, layers=True)
        actual = {name: graph.tensors[name].to_file(values[name]) for name in expected}
        same = all(
            np.array_equal(actual[name], wanted) for name, wanted in expected.items() if wanted.dtype != "float32"
        )
        told = any("of several items together" in note or "order of its own" in note for note in graph.notes)
        assert same or told, f"network {seed}"
        outcomes.append("equal" if same else "told")
    assert outcomes.count("equal") > len(outcomes) / 2
