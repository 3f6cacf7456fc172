"""Graphs: what they refuse, their execution, and their files."""

from __future__ import annotations

import dataclasses
from dataclasses import fields
from typing import get_type_hints

import numpy as np
import pytest

from sateen.archive import ArchiveError
from sateen.graph import (
    OPS,
    Add,
    Conv2D,
    FileLayout,
    FullyConnected,
    Graph,
    GraphError,
    LogSoftmax,
    MaxPool2D,
    Reshape,
    Tensor,
    WideningProduct,
    run,
)
from sateen.hw.spec.descriptor import Rounding
from sateen.records import RecordError, read
from sateen.sim import golden


def tensor(name, *shape, scale=0.5, zero_point=-3):
    return Tensor(name=name, shape=shape, scale=scale, zero_point=zero_point)


def parameters(*shape, seed=0):
    """Random weights, and what goes with them, as keyword arguments."""
    rng = np.random.default_rng(seed)
    outputs = shape[0]
    return {
        "weights": rng.integers(-127, 128, shape, np.int8),
        "bias": rng.integers(-1000, 1000, outputs, np.int32),
        "multiplier": rng.integers(2**30, 2**31, outputs, np.int32),
        "shift": np.full(outputs, -7, np.int8),
    }


def small_graph():
    """Convolution, max pool, reshape, fully connected on 6×5×3 images."""
    tensors = [
        tensor("image", 1, 6, 5, 3, zero_point=5),
        tensor("conv", 1, 6, 3, 4, zero_point=-128),
        tensor("pool", 1, 3, 1, 4, zero_point=-128),
        tensor("flat", 1, 12, zero_point=-128),
        tensor("logits", 1, 10, zero_point=7),
    ]
    ops = [
        Conv2D(
            name="c", input="image", output="conv", padding=((1, 1), (0, 1)), stride=(1, 2), low=-128, high=100,
            **parameters(4, 3, 2, 3), rounding=Rounding.SINGLE,
        ),
        MaxPool2D(name="p", input="conv", output="pool", size=(2, 2), stride=(2, 2)),
        Reshape(name="r", input="pool", output="flat"),
        FullyConnected(name="f", input="flat", output="logits", **parameters(10, 12, seed=1)),
    ]  # fmt: skip
    return Graph(name="small", tensors={t.name: t for t in tensors}, ops=ops, inputs=["image"], outputs=["logits"])


def random_images(count, seed=0):
    return np.random.default_rng(seed).integers(-128, 128, (count, 6, 5, 3), np.int8)


def test_run_is_the_golden_model_layer_by_layer():
    graph, images = small_graph(), random_images(4)
    conv, _, _, full = graph.ops
    acc = golden.conv2d(
        images, conv.weights, conv.bias, stride=(1, 2), padding=((1, 1), (0, 1)), pad_value=5, zero_point=5
    )
    a = golden.requantize(
        acc, conv.multiplier, conv.shift, rounding=Rounding.SINGLE, zero_point=-128, low=-128, high=100
    )
    b = golden.max_pool2d(a, size=(2, 2), stride=(2, 2)).reshape(4, 12)
    acc = golden.fully_connected(b, full.weights, full.bias, zero_point=-128)
    logits = golden.requantize(acc, full.multiplier, full.shift, zero_point=7)
    results = run(graph, {"image": images}, layers=True)
    assert list(results) == ["image", "conv", "pool", "flat", "logits"]
    np.testing.assert_array_equal(results["conv"], a)
    np.testing.assert_array_equal(results["flat"], b)
    np.testing.assert_array_equal(results["logits"], logits)
    assert list(run(graph, images)) == ["logits"]
    assert len(np.unique(logits)) > 10
    assert run(graph, random_images(0))["logits"].shape == (0, 10)


def test_macs():
    assert small_graph().macs == {"c": 6 * 3 * 4 * 18, "p": 0, "r": 0, "f": 120}


def test_quantize_and_dequantize():
    t = tensor("t", 1, 4, scale=0.5, zero_point=2)
    np.testing.assert_array_equal(t.quantize([0.25, 0.75, -0.25, 1e9, -np.inf]), [2, 4, 2, 127, -128])
    np.testing.assert_array_equal(t.dequantize(np.array([2, -128, 127], np.int8)), np.float32([0, -65, 62.5]))
    with pytest.raises(ValueError, match="tensor 't': the values to quantize contain NaN"):
        t.quantize([np.nan])


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({"name": ""}, "tensor: give it a name"),
        ({"shape": (1, 0)}, r"tensor 't': shape must be whole numbers of 1 or more, not \(1, 0\)"),
        ({"scale": 0.0}, "scale must be a finite float above 0, not 0.0"),
        ({"scale": float("inf")}, "scale must be a finite float above 0"),
        ({"zero_point": 128}, "zero_point must be a whole number from -128 to 127, not 128"),
        ({"dtype": "uint8"}, "dtype must be int8, not 'uint8'"),
        ({"channel_order": (0, 0)}, "channel_order must name each of the channels once"),
        ({"channel_order": (0, 2, 1)}, "channel_order must name each of the channels once"),
        ({"channel_order": ()}, "channel_order must name each of the channels once"),
        ({"file_layout": FileLayout((1, 2), (0, 0), (1, 2))}, "file_layout must move all of its values"),
        ({"file_layout": FileLayout((1, 2, 1), (1, 0, 2), (1, 2))}, "file_layout must move all of its values"),
        ({"file_layout": FileLayout((1, 3), (0, 1), (1, 3))}, "file_layout must move all of its values"),
    ],
)
def test_tensor_refuses(fields, message):
    with pytest.raises(GraphError, match=message):
        Tensor(**{"name": "t", "shape": (1, 2), "scale": 1.0, "zero_point": 0} | fields)


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({"weights": np.zeros((4, 3, 2, 3))}, "Conv2D 'c': weights must be an array of int8, not float64"),
        ({"weights": np.zeros((4, 3), np.int8)}, r"weights must have 4 dimensions, not shape \(4, 3\)"),
        ({"weights": np.zeros((4, 0, 2, 3), np.int8)}, "weights must not be empty"),
        ({"bias": np.zeros(3, np.int32)}, "bias must have 4 output channels, not 3"),
        ({"bias": [0, 0, 0, 0]}, "bias must be an array of int32, not list"),
        ({"multiplier": np.full(4, -1, np.int32)}, "every multiplier must be 0 or more"),
        ({"shift": np.full(4, 31, np.int8)}, "every shift must lie within -31 to 30"),
        ({"low": 5, "high": 4}, "low and high must be in order within -128 to 127, not 5 and 4"),
        ({"rounding": 3}, "rounding must be Rounding.DOUBLE, SINGLE or FLOAT32, not 3"),
        ({"rounding": Rounding.FLOAT32, "multiplier": np.full(4, 2**30 + 1, np.int32)}, "must be multiples of 2\\^7"),
        ({"stride": (0, 1)}, r"stride must be a pair \(y, x\) of whole numbers from 1 to 65535, not \(0, 1\)"),
        ({"dilation": (1, 1, 1)}, r"dilation must be a pair"),
        ({"padding": (1, 1)}, r"padding must be \(\(top, bottom\), \(left, right\)\) of 0 to 65535, not \(1, 1\)"),
    ],
)
def test_convolution_refuses(fields, message):
    with pytest.raises(GraphError, match=message):
        dataclasses.replace(small_graph().ops[0], **fields)


@pytest.mark.parametrize(
    ("index", "changes", "message"),
    [
        (0, {"weights": np.zeros((4, 3, 2, 2), np.int8)}, "takes? 2 channels, but tensor 'image' has 3"),
        (0, {"stride": (1, 1)}, r"Conv2D 'c': its result is \(1, 6, 5, 4\), but tensor 'conv' is \(1, 6, 3, 4\)"),
        (0, {"dilation": (5, 1)}, r"a window of \(11, 2\) exceeds its padded input"),
        (0, {"input": "logits"}, "its input 'logits' is not made yet; put the operator that makes it before"),
        (0, {"input": "nothing"}, "its tensor 'nothing' is unknown; add it to tensors"),
        (1, {"output": "image"}, "its output 'image' is made already"),
        (1, {"padding": ((2, 0), (0, 0))}, r"padding must be below the window's size of \(2, 2\)"),
        (1, {"name": "c"}, "graph 'small': 2 operators are named 'c'; name each differently"),
        (2, {"output": "logits"}, "must have the same scale and zero point, because values pass unchanged"),
        (3, {"input": "pool"}, r"its input must be \(N, 12\), but tensor 'pool' is \(1, 3, 1, 4\); put a Reshape"),
    ],
)
def test_graph_refuses(index, changes, message):
    graph = small_graph()
    with pytest.raises(GraphError, match=message):
        ops = list(graph.ops)
        ops[index] = dataclasses.replace(ops[index], **changes)
        dataclasses.replace(graph, ops=ops)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"inputs": []}, "name at least one input and one output"),
        ({"inputs": ["x"]}, "its input 'x' is no tensor"),
        ({"outputs": ["x"]}, "no operator makes its output 'x'"),
        ({"tensors": {"x": tensor("y", 1)}}, "tensor 'y': it stands under the name 'x'"),
    ],
)
def test_graph_refuses_its_own_fields(changes, message):
    with pytest.raises(GraphError, match=message):
        dataclasses.replace(small_graph(), **changes)


@pytest.mark.parametrize(
    ("changes", "states", "message"),
    [
        ({}, {"kept": "other"}, "nothing makes 'other', which replaces this state"),
        ({"next": tensor("next", 1, 4, scale=0.25)}, {"kept": "next"}, "must have its shape, type and scale"),
        ({"x": tensor("x", 1, 4)}, {"x": "next"}, "an input or state is named twice; name each once"),
        ({name: tensor(name, 2, 4) for name in ("x", "kept", "next")}, {"kept": "next"}, "its batch must be 1, not 2"),
    ],
)
def test_states_are_refused(changes, states, message):
    tensors = {name: tensor(name, 1, 4) for name in ("x", "kept", "next")} | changes
    op = Add(name="add", a="x", b="x" if "x" in states else "kept", output="next")
    with pytest.raises(GraphError, match=message):
        Graph(name="g", tensors=tensors, ops=[op], inputs=["x"], outputs=["next"], states=states)


def test_states_run_from_item_to_item():
    tensors = {name: Tensor(name=name, shape=(1, 2)) for name in ("x", "kept", "next")}
    op = Add(name="add", a="x", b="kept", output="next")
    graph = Graph(name="g", tensors=tensors, ops=[op], inputs=["x"], outputs=["next"], states={"kept": "next"})
    x, states = np.arange(8, dtype=np.int8).reshape(4, 2), graph.first_states()
    values = run(graph, x, layers=True, states=states)
    np.testing.assert_array_equal(values["next"], x.cumsum(axis=0))
    np.testing.assert_array_equal(values["kept"], np.concatenate([np.zeros((1, 2)), values["next"][:-1]]))
    np.testing.assert_array_equal(states["kept"], values["next"][-1:])


def test_reshape_keeps_the_batch():
    tensors = {"a": tensor("a", 2, 3), "b": tensor("b", 3, 2)}
    with pytest.raises(GraphError, match="keep the batch and the number of values"):
        Graph(name="g", tensors=tensors, ops=[Reshape(name="r", input="a", output="b")], inputs=["a"], outputs=["b"])


@pytest.mark.parametrize(
    ("inputs", "message"),
    [
        ({"x": random_images(1)}, r"graph 'small': give inputs \['image'\], not \['x'\]"),
        (random_images(1).astype(np.int32), r"give int8 values of shape \(N, 6, 5, 3\), not int32 of \(1, 6, 5, 3\)"),
        (random_images(1)[0], r"not int8 of \(6, 5, 3\)"),
    ],
)
def test_run_refuses(inputs, message):
    with pytest.raises(GraphError, match=message):
        run(small_graph(), inputs)


def test_save_and_load(tmp_path):
    graph, path = small_graph(), tmp_path / "small.graph"
    graph.save(path)
    again = Graph.load(path)
    assert (again.name, again.tensors, again.inputs, again.outputs) == (
        graph.name, graph.tensors, graph.inputs, graph.outputs,
    )  # fmt: skip
    for op, other in zip(graph.ops, again.ops, strict=True):
        assert type(op) is type(other)
        for field in dataclasses.fields(op):
            np.testing.assert_equal(getattr(other, field.name), getattr(op, field.name))
    np.testing.assert_array_equal(run(graph, random_images(2))["logits"], run(again, random_images(2))["logits"])


def test_load_refuses_damage(tmp_path):
    """Every truncation and every flipped byte is refused, or leaves the graph as it was."""
    path, damaged = tmp_path / "small.graph", tmp_path / "damaged.graph"
    graph = small_graph()
    graph.save(path)
    data = path.read_bytes()
    expected = run(graph, random_images(2))["logits"]
    refused = 0
    for position in range(0, len(data), 37):
        for bad in (data[:position], data[:position] + bytes([data[position] ^ 0x55]) + data[position + 1 :]):
            damaged.write_bytes(bad)
            try:
                again = Graph.load(damaged)
            except ArchiveError as error:
                assert "damaged or not a file of Sateen" in str(error)
                refused += 1
            else:
                np.testing.assert_array_equal(run(again, random_images(2))["logits"], expected)
    assert refused > len(data) // 37


def test_load_refuses_other_files(tmp_path):
    path = tmp_path / "other.npz"
    np.savez(path, x=np.zeros(3))
    with pytest.raises(ArchiveError, match="damaged or not a file of Sateen"):
        Graph.load(path)
    np.savez(path, document=np.array({"pickled": 1}, dtype=object))
    with pytest.raises(ArchiveError, match="damaged or not a file of Sateen"):
        Graph.load(path)
    np.savez(path, document=np.array('{"format": "sateen.graph/2"}'))
    with pytest.raises(
        ArchiveError,
        match="holds no sateen.graph/1 but sateen.graph/2, of another version of Sateen; .* compile it again",
    ):
        Graph.load(path)
    with pytest.raises(FileNotFoundError):
        Graph.load(tmp_path / "absent")


@pytest.mark.parametrize(
    "change", [{"ops": [{"op": "Sine"}]}, {"tensors": [{"size": 1}]}, {"inputs": None}, {"ops": None}]
)
def test_from_document_refuses(change):
    with pytest.raises(GraphError, match="describes no graph: .*; make it with Graph.to_document"):
        Graph.from_document(small_graph().to_document() | change)


def test_sums_need_as_many_axes():
    """With fewer, items of one would stand beside rows of the other."""
    tensors = {t.name: t for t in (tensor("a", 1, 4, 5), tensor("b", 1, 5), tensor("y", 1, 4, 5))}
    message = r"'a' of \(1, 4, 5\) and tensor 'b' of \(1, 5\) must have the same number of axes; put a Reshape before"
    with pytest.raises(GraphError, match=message):
        Graph(
            name="g", tensors=tensors, ops=[Add(name="s", a="a", b="b", output="y")], inputs=["a", "b"], outputs=["y"]
        )


@pytest.mark.parametrize("kind", OPS.values(), ids=lambda kind: kind.__name__)
def test_fields_are_of_types_that_files_have(kind):
    """A field of another type could be written, but never read."""
    for name, hint in get_type_hints(kind).items():
        if name in {field.name for field in fields(kind)}:
            with pytest.raises(RecordError):
                read(hint, object(), name)


@pytest.mark.parametrize(("scale", "beta"), [(2.0**-60, 1.0), (0.1, 1e-300)])
def test_a_logarithm_of_softmax_needs_a_scale(scale, beta):
    """A scale that no multiplier has would be divided by."""
    tensors = {
        "x": Tensor(name="x", shape=(1, 4), scale=scale),
        "y": Tensor(name="y", shape=(1, 4), scale=1 / 16, zero_point=127),
    }
    op = LogSoftmax(name="log", input="x", output="y", beta=beta)
    with pytest.raises(GraphError, match="the scale of its input times beta must be 5.55112e-17 or more, not"):
        Graph(name="g", tensors=tensors, ops=[op], inputs=["x"], outputs=["y"])


@pytest.mark.parametrize("multiplier", [2**31, 2**63, 1])
def test_factors_of_recurrent_layers(multiplier):
    with pytest.raises(GraphError, match=r"multipliers must be 0 or 2\^30 to 2\^31 - 1"):
        WideningProduct(
            name="op", input="x", output="y", weights=np.ones((2, 2), np.int8), multiplier=multiplier, shift=0
        )


@pytest.mark.parametrize("dtype", ["float32", "int32", "int16", "bool"])
def test_only_codes_are_unsigned(dtype):
    """Others would be shifted, and cut to 8 bits, in what a user gets."""
    with pytest.raises(GraphError, match=f"only codes of int8 are uint8 in a model's file, not values of {dtype}"):
        Tensor(name="x", shape=(1, 4), dtype=dtype, unsigned=True)


def test_operators_have_names():
    """A step of a model names the operator that the host computes, or none."""
    tensors = {name: Tensor(name=name, shape=(1, 4)) for name in "xy"}
    with pytest.raises(GraphError, match="an operator has no name; give it one"):
        Graph(name="g", tensors=tensors, ops=[Reshape(name="", input="x", output="y")], inputs=["x"], outputs=["y"])
