"""ONNX's Cast between real numbers, codes, int32 and truth values, against onnxruntime."""

from __future__ import annotations

import numpy as np
import pytest
from test_onnx_real import compare

import needs
import sateen
from onnx_file import File
from sateen.frontends import onnx as frontend
from sateen.graph import GraphError

onnx = needs.package("onnx", extra="onnx")
needs.package("onnxruntime", extra="reference")
TYPES = {name: getattr(onnx.TensorProto, name) for name in ("FLOAT", "INT8", "UINT8", "INT32", "INT64", "BOOL")}
SHAPE = (1, 3, 4, 5)


def numbers(seed: int = 1) -> np.ndarray:
    """Real numbers of both signs, whole ones, small ones and some beyond int32."""
    x = (np.random.default_rng(seed).normal(size=SHAPE) * 40).astype(np.float32)
    x.reshape(-1)[:8] = [0, -0.0, 0.99, -0.99, 1e-30, 3e9, -3e9, 2.5]
    return x


@pytest.mark.parametrize("to", ["INT32", "BOOL"])
@pytest.mark.parametrize("source", ["real", "dequantized", "layer"])
def test_of_real_numbers(to, source):
    f = File()
    x = {"real": "x", "dequantized": f.around("x")}.get(source, "")
    x = x or f.node("Sigmoid", f.around("x"))
    y = f.node("Cast", x, to=TYPES[to])
    compare(f.build({"x": SHAPE}, y), {"x": numbers()})


@pytest.mark.parametrize("to", ["INT32", "INT64", "BOOL", "FLOAT"])
@pytest.mark.parametrize("kind", ["INT8", "UINT8"])
def test_of_codes(kind, to):
    """Codes stand for themselves, whatever their scale is."""
    f = File()
    codes = f.node("QuantizeLinear", "x", f.constant(np.float32(0.7)), f.constant(np.array(3, kind.lower())))
    y = f.node("Cast", codes, to=TYPES[to])
    compare(f.build({"x": SHAPE}, y), {"x": numbers()})


@pytest.mark.parametrize("through", ["INT32", "BOOL"])
def test_there_and_back(through):
    """Between two casts values are integers, or 0 and 1, also for what follows; and they compile."""
    f = File()
    whole = f.node("Cast", f.node("Cast", f.around("x"), to=TYPES[through]), to=TYPES["FLOAT"])
    y = f.around(f.node("Add", whole, f.around("x")))
    graph = compare(f.build({"x": SHAPE}, y), {"x": numbers()}, tolerance=1e-6)
    with pytest.warns(sateen.SateenWarning):
        assert sateen.compile(graph, "tiny").steps


@pytest.mark.parametrize("to", ["INT64", "INT8", "UINT8"])
def test_refused(to):
    """Real numbers beyond what there is here, and those that would be codes without a scale."""
    f = File()
    y = f.node("Cast", "x", to=TYPES[to])
    with pytest.raises(GraphError, match="it changes what its values are; export the model in float32 or INT32"):
        frontend.load(f.build({"x": SHAPE}, f.around("x"), y))
