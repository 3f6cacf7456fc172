"""Warnings of what onnxruntime computes otherwise: they are given where it does, and nowhere else."""

from __future__ import annotations

import warnings

import numpy as np
import pytest

import needs
from sateen.frontends import onnx
from sateen.graph import run

package = needs.package("onnx", extra="onnx")
runtime = needs.package("onnxruntime", extra="reference")

from onnx import TensorProto, helper, numpy_helper  # noqa: E402


def warned(data: bytes) -> tuple[object, list[str]]:
    """The graph of a file, and what its import warns of."""
    with warnings.catch_warnings(record=True) as found:
        warnings.simplefilter("always")
        graph = onnx.load(data)
    return graph, [str(each.message) for each in found]


def results(data: bytes, x: np.ndarray, level: str = "ORT_ENABLE_ALL") -> np.ndarray:
    options = runtime.SessionOptions()
    options.graph_optimization_level = getattr(runtime.GraphOptimizationLevel, level)
    return runtime.InferenceSession(data, options).run(None, {"x": x})[0]


def file(nodes, shape, out, constants) -> bytes:
    """A file of nodes from x to y."""
    ends = [helper.make_tensor_value_info(*end) for end in (("x", TensorProto.FLOAT, shape), ("y", *out))]
    values = [numpy_helper.from_array(np.asarray(value), name) for name, value in constants.items()]
    graph = helper.make_graph(nodes, "g", ends[:1], ends[1:], values)
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", 13)], ir_version=8).SerializeToString()


def pair(source: str, middle: str, target: str, numbers: str) -> list:
    names = [f"s{numbers}", f"z{numbers}"]
    return [
        helper.make_node("QuantizeLinear", [source, *names], [middle], name=f"to_{middle}"),
        helper.make_node("DequantizeLinear", [middle, *names], [target]),
    ]


@pytest.mark.parametrize("between", ["", "Relu", "Identity", "Dropout", "reader"])
@pytest.mark.parametrize("second", [(0.1, 3), (0.07, 3), (0.1, 4), (0.3, -128)])
def test_pairs_that_are_merged(between, second):
    """Only where nothing stands between them and nobody else reads."""
    types = {"s1": np.float32(0.1), "z1": np.int8(3), "s2": np.float32(second[0]), "z2": np.int8(second[1])}
    nodes = [*pair("x", "a", "b", "1")]
    moved = between in ("Relu", "Identity", "Dropout")
    nodes += [helper.make_node(between, ["b"], ["c"])] if moved else []
    nodes += pair("c" if moved else "b", "d", "e", "2")
    nodes.append(
        helper.make_node("Add", ["e", "b"], ["y"])
        if between == "reader"
        else helper.make_node("Identity", ["e"], ["y"])
    )
    data = file(nodes, (1, 999), (TensorProto.FLOAT, None), types)
    graph, texts = warned(data)
    x = np.random.default_rng(1).uniform(-14, 14, (1, 999)).astype(np.float32)
    mine = next(iter(run(graph, x).values()))
    np.testing.assert_array_equal(mine, results(data, x, "ORT_DISABLE_ALL"))
    differs = not np.array_equal(mine, results(data, x))
    assert differs == any("operator 'to_d' (QuantizeLinear) with other scales" in text for text in texts)


@pytest.mark.parametrize("kind", ["ReduceMean", "ReduceSum"])
@pytest.mark.parametrize(("scale", "expected"), [(0.0625, False), (0.1, True)])
def test_sums_next_to_ties(kind, scale, expected):
    """Equal scales and an even count: half of a step is a common result. Powers of two are exact."""
    constants = {"s1": np.float32(scale), "z1": np.int8(3)}
    fields = {"axes": [1]} if kind == "ReduceMean" else {}
    constants |= {} if fields else {"axes": np.array([1])}
    reduced = helper.make_node(kind, ["b", *([] if fields else ["axes"])], ["c"], name="reduced", **fields)
    nodes = [*pair("x", "a", "b", "1"), reduced, *pair("c", "d", "y", "1")]
    data = file(nodes, (1, 6, 5), (TensorProto.FLOAT, None), constants)
    _, texts = warned(data)
    # A sum of equal scales is a whole number of steps.
    assert any("adds the real numbers of" in text for text in texts) == (expected and kind == "ReduceMean")


@pytest.mark.parametrize("domain", ["", "com.microsoft"])
@pytest.mark.parametrize("between", ["", "Relu", "Identity", "Flatten", "reader"])
@pytest.mark.parametrize("kind", ["Conv", "ConvTranspose", "Gemm", "MatMul"])
def test_weights_that_are_rounded(kind, between, domain):
    """Real weights between codes, unless something else stands there, or an operator that onnxruntime spares."""
    rng = np.random.default_rng(3)
    shape, weights = ((1, 4, 5, 5), (4, 4, 3, 3)) if kind.startswith("Conv") else ((1, 64), (64, 50))
    constants = {"s1": np.float32(0.05), "z1": np.int8(3), "s2": np.float32(0.03), "z2": np.int8(0)}
    constants["w"] = (rng.normal(size=weights) * 0.1).astype(np.float32)
    nodes = [*pair("x", "a", "b", "1"), helper.make_node(kind, ["b", "w"], ["c"], name="layer")]
    last = "d" if between in ("Relu", "Identity", "Flatten") else "c"
    nodes += [helper.make_node(between, ["c"], ["d"])] if last == "d" else []
    nodes += pair(last, "e", "f", "2")
    flat = helper.make_node("Flatten", ["c"], ["other"])
    nodes += [flat, helper.make_node("Flatten", ["f"], ["g"]), helper.make_node("Concat", ["g", "other"], ["y"], axis=1)
              ] if between == "reader" else [helper.make_node("Identity", ["f"], ["y"])]  # fmt: skip
    for node in nodes:
        node.domain = domain if node.op_type.endswith("Linear") else ""
    model = package.ModelProto.FromString(file(nodes, shape, (TensorProto.FLOAT, None), constants))
    model.opset_import.append(helper.make_opsetid("com.microsoft", 1))
    data = model.SerializeToString()
    graph, texts = warned(data)
    x = rng.uniform(-6, 6, shape).astype(np.float32)
    mine = next(iter(run(graph, {"x": graph.tensors["x"].from_file(x)}).values()))
    mine, plain = graph.tensors[graph.outputs[0]].to_file(mine), results(data, x, "ORT_DISABLE_ALL")
    np.testing.assert_allclose(mine, plain, atol=1e-5)
    told = any(f"rounds the real weights of operator 'layer' ({kind})" in text for text in texts)
    assert told == (np.abs(results(data, x) - plain).max() > 1e-4)
