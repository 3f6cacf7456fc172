"""ONNX's normalizations over the last axes and of images, against onnxruntime."""

from __future__ import annotations

import numpy as np
import pytest

import needs
import seeds
from onnx_models import model, numbers, quantized, reference
from sateen.frontends import onnx as frontend
from sateen.graph import GraphError, run

onnx = needs.package("onnx", extra="onnx")
make = onnx.helper.make_node


def file(kind, shape, constants, *, opset=23, **fields):
    """One normalization between Q and DQ."""
    held = numbers("x", 0.031, 5, "i") | numbers("y", 0.027, -11, "i") | constants
    nodes = [*quantized("x"), make(kind, ["x_d", *constants], ["y"], **fields), *quantized("y")]
    return model(nodes, [("x", "f", shape)], ("y_d", "f", None), held, opset=opset)


def reals(*shape):
    return np.random.default_rng(seeds.own()).normal(size=shape).astype(np.float32)


CASES = [
    ("LayerNormalization", (1, 5, 16), (16,), {}),
    ("LayerNormalization", (2, 3, 4, 7), (7,), {"epsilon": 0.1}),
    ("LayerNormalization", (2, 3, 4, 7), (4, 7), {"axis": 2}),
    ("LayerNormalization", (2, 24), (24,), {"axis": 1}),
    ("InstanceNormalization", (2, 5, 4, 7), (5,), {}),
    ("InstanceNormalization", (1, 6, 20), (6,), {"epsilon": 0.1}),
    ("RMSNormalization", (1, 5, 16), (16,), {}),
    ("RMSNormalization", (2, 3, 4, 7), (7,), {"epsilon": 0.1, "axis": -1}),
    ("RMSNormalization", (2, 3, 4, 7), (3, 4, 7), {"axis": 1}),
]


@pytest.mark.parametrize(("kind", "shape", "size", "fields"), CASES)
def test_normalizations(kind, shape, size, fields):
    """Results next to a tie may differ by a step."""
    biased = kind == "InstanceNormalization" or kind == "LayerNormalization" and "axis" not in fields
    constants = {"w": reals(*size) + 1} | ({"v": reals(*size)} if biased else {})
    data = file(kind, shape, constants, **fields)
    x = {"x": reals(*shape) * 2}
    graph = frontend.load(data)
    given = {"x": graph.tensors["x"].from_file(x["x"])}
    actual = graph.tensors[graph.outputs[0]].to_file(run(graph, given)[graph.outputs[0]])
    steps = np.rint((actual - reference(data, x)[0]) / np.float32(0.027))
    assert abs(steps).max() <= 1 and (steps != 0).mean() < 0.01
    assert len(np.unique(actual)) > 20


@pytest.mark.parametrize("kind", ["LayerNormalization", "RMSNormalization"])
@pytest.mark.parametrize("shape", [(1, 5, 16), (2, 5, 16)])
def test_over_all_axes(kind, shape):
    """The first axis is then no batch: a file has one item."""
    data = file(kind, shape, {"w": reals(*shape) + 1}, axis=0)
    x = reals(*shape) * 2
    graph = frontend.load(data)
    given = graph.tensors["x"].from_file(x if shape[0] == 1 else x[None])
    actual = graph.tensors[graph.outputs[0]].to_file(run(graph, {"x": given})[graph.outputs[0]])
    steps = np.rint((actual.reshape(shape) - reference(data, {"x": x})[0]) / np.float32(0.027))
    assert abs(steps).max() <= 1 and (steps != 0).mean() < 0.01


def test_refusals():
    data = file("LayerNormalization", (1, 5, 16), {"w": reals(5, 16)})
    with pytest.raises(GraphError, match="does not fit the axes from -1 on"):
        frontend.load(data)
    with pytest.raises(GraphError, match="is no image or rows, or its scale or B does not fit its channels"):
        frontend.load(file("InstanceNormalization", (1, 5, 16), {"w": reals(4), "v": reals(4)}))


@pytest.mark.parametrize("size", [1e-30, 1e18, 1e25])
@pytest.mark.parametrize("kind", ["LayerNormalization", "InstanceNormalization", "RMSNormalization", "ReduceL2"])
def test_squares_beyond_float32(kind, size):
    """They are infinite, so that nothing but the bias is left."""
    constants = {} if kind == "ReduceL2" else {"w": np.full(6, 2, np.float32)}
    constants |= {"v": np.full(6, 0.3, np.float32)} if kind[0] in "LI" else {}
    fields = {"axes": [3]} if kind == "ReduceL2" else {}
    nodes = [make(kind, ["x", *constants], ["y"], **fields), *quantized("y")]
    constants |= numbers("y", 0.027, -11, "i")
    data = model(nodes, [("x", "f", (1, 6, 4, 6))], ("y_d", "f", None), constants, opset=17 if fields else 23)
    x = {"x": reals(1, 6, 4, 6) * np.float32(size)}
    graph = frontend.load(data)
    actual = run(graph, {"x": graph.tensors["x"].from_file(x["x"])})[graph.outputs[0]]
    actual, expected = graph.tensors[graph.outputs[0]].to_file(actual), reference(data, x)[0]
    assert np.abs(actual - expected).max() <= 0.028
