"""Attention in ONNX on the device, its softmax included, against onnxruntime."""

from __future__ import annotations

import numpy as np
import pytest

import needs
import sateen
import seeds
from onnx_models import model, numbers, quantized, reference
from sateen.frontends import onnx as frontend

onnx = needs.package("onnx", extra="onnx")
make = onnx.helper.make_node


def attention(length, depth, heads, *, kind, axis):
    """Q·Kᵀ, its softmax along an axis, and the product with V, in QDQ form. Heads stand one behind the other in inputs
    of three axes, which the host need not turn."""
    rng = np.random.default_rng(seeds.own())
    shapes = {"q": (length, depth), "k": (depth, length), "v": (length, depth)}
    nodes, held, given = [], {}, []
    for name, shape in shapes.items():
        nodes += quantized(name, kind)
        numbered = [f"{name}_s", f"{name}_z"]
        nodes += [
            make("Reshape", [f"{name}_d", f"{name}_shape"], [f"{name}_heads"]),
            make("QuantizeLinear", [f"{name}_heads", *numbered], [f"{name}_codes"]),
            make("DequantizeLinear", [f"{name}_codes", *numbered], [f"{name}_each"]),
        ]
        held[f"{name}_shape"] = np.int64([1, heads, *shape])
        held |= numbers(name, float(rng.uniform(0.02, 0.05)), int(rng.integers(-20, 20)), kind)
        given.append((name, "f", (1, heads * shape[0], shape[1])))
    nodes += [make("MatMul", ["q_each", "k_each"], ["s"]), *quantized("s", kind)]
    nodes += [make("Softmax", ["s_d"], ["p"], axis=axis), *quantized("p", kind)]
    nodes += [make("MatMul", ["p_d", "v_each"], ["y"]), *quantized("y", kind)]
    nodes += [make("Reshape", ["y_d", "y_shape"], ["z"])]
    held["y_shape"] = np.int64([1, heads * length, depth])
    held |= numbers("s", float(np.sqrt(depth) * rng.uniform(0.03, 0.06)), int(rng.integers(-9, 9)), kind)
    held |= numbers("p", float(rng.uniform(1 / 256, 1 / 250)), -128, kind) | numbers("y", 0.02, 3, kind)
    data = model(nodes, given, ("z", "f", (1, heads * length, depth)), held)
    return data, {name: rng.normal(size=shape).astype(np.float32) * 2 for name, _, shape in given}


@pytest.mark.parametrize(
    ("length", "depth", "heads", "kind", "axis"),
    [(7, 5, 2, "i", -1), (12, 8, 3, "u", -1), (9, 4, 1, "i", -1), (33, 6, 1, "u", -1), (6, 5, 2, "i", 2)],
)
def test_attention(length, depth, heads, kind, axis):
    """No operator of codes is the host's, and results are onnxruntime's."""
    data, inputs = attention(length, depth, heads, kind=kind, axis=axis)
    with sateen.open("sim:small,products=1,softmax=2") as device:
        loaded = device.load(sateen.compile(frontend.load(data), device.config, strict=True))
        steps = [
            type(op).__name__ for op in loaded.model.graph.ops for step in loaded.model.steps if step.host == op.name
        ]
        assert set(steps) <= {"Quantize", "Dequantize"}
        tensors = loaded.model.graph.tensors
        given = {name: tensors[name].from_file(x.reshape(tensors[name].file_shape)) for name, x in inputs.items()}
        actual = tensors[loaded.model.graph.outputs[0]].to_file(loaded.run(given))
    np.testing.assert_array_equal(actual, reference(data, inputs)[0])
    assert len(np.unique(actual)) > 10
