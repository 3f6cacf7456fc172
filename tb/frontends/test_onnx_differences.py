"""Warnings of what onnxruntime computes otherwise: they are given where it does, and nowhere else."""

from __future__ import annotations

import warnings

import numpy as np
import pytest

import needs
from sateen.frontends import onnx
from sateen.frontends.onnx.ties import Sums
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


@pytest.mark.parametrize("between", ["", "Relu", "Identity", "Dropout", "reader", "readers of the second"])
@pytest.mark.parametrize("second", [(0.1, 3), (0.07, 3), (0.1, 4), (0.3, -128)])
def test_pairs_that_are_merged(between, second):
    """Only where nothing stands between them and nobody else reads."""
    types = {"s1": np.float32(0.1), "z1": np.int8(3), "s2": np.float32(second[0]), "z2": np.int8(second[1])}
    nodes = [*pair("x", "a", "b", "1")]
    moved = between in ("Relu", "Identity", "Dropout")
    nodes += [helper.make_node(between, ["b"], ["c"])] if moved else []
    nodes += pair("c" if moved else "b", "d", "e", "2")
    nodes.append(
        helper.make_node("Add", ["e", "b" if between == "reader" else "e"], ["y"])
        if between.startswith("reader")
        else helper.make_node("Identity", ["e"], ["y"])
    )
    data = file(nodes, (1, 999), (TensorProto.FLOAT, None), types)
    graph, texts = warned(data)
    x = np.random.default_rng(1).uniform(-14, 14, (1, 999)).astype(np.float32)
    mine = next(iter(run(graph, x).values()))
    np.testing.assert_array_equal(mine, results(data, x, "ORT_DISABLE_ALL"))
    differs = not np.array_equal(mine, results(data, x))
    assert differs == any("operator 'to_d' (QuantizeLinear) with other scales" in text for text in texts)


@pytest.mark.parametrize("second", [(0.02, 0), (0.013, 0)])
def test_pairs_of_constants_that_are_merged(second):
    """Before constants are folded."""
    weights = np.random.default_rng(0).normal(size=(2, 2, 1, 1)).astype(np.float32)
    types = {"s0": np.float32(0.05), "z0": np.int8(3), "s1": np.float32(0.02), "z1": np.int8(0), "w": weights}
    types |= {"s2": np.float32(second[0]), "z2": np.int8(second[1])}
    nodes = [*pair("x", "q", "d", "0"), *pair("w", "a", "b", "1"), *pair("b", "c", "e", "2")]
    nodes += [helper.make_node("Conv", ["d", "e"], ["r"]), *pair("r", "t", "y", "0")]
    data = file(nodes, (1, 2, 9, 9), (TensorProto.FLOAT, None), types)
    graph, texts = warned(data)
    x = np.random.default_rng(1).uniform(-6, 6, (1, 2, 9, 9)).astype(np.float32)
    mine = graph.tensors["y"].to_file(run(graph, {"x": graph.tensors["x"].from_file(x)})["y"])
    assert np.abs(mine - results(data, x, "ORT_DISABLE_ALL")).max() < 0.051
    differs = np.abs(mine - results(data, x)).max() > 0.051
    assert differs == any("operator 'to_c' (QuantizeLinear) with other scales" in text for text in texts)
    assert differs == (second[0] != 0.02)


@pytest.mark.parametrize(("kind", "bound"), [
    ("Min", -0.0969), ("Min", 0.33), ("Min", 1000.0), ("Max", 1000.0), ("Max", 0.15), ("Max", -1000.0),
])  # fmt: skip
def test_real_limits_beyond_the_codes(kind, bound):
    """Codes clamped to a limit that none of them reaches stand for it only if it cuts nothing off."""
    types = {"s1": np.float32(0.05), "z1": np.uint8(0), "v": np.float32(bound)}
    nodes = [*pair("x", "q", "d", "1"), helper.make_node(kind, ["d", "v"], ["y"])]
    data = file(nodes, (1, 99), (TensorProto.FLOAT, None), types)
    graph, texts = warned(data)
    x = np.random.default_rng(1).uniform(-6, 14, (1, 99)).astype(np.float32)
    mine = graph.tensors["y"].to_file(run(graph, {"x": graph.tensors["x"].from_file(x)})["y"])
    np.testing.assert_array_equal(mine, results(data, x))
    assert not texts


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


POWERS, DECIMALS = (2.0**-5, 2.0**-6, 2.0**-2), (0.05, 0.01, 0.25)


def small_layer(kind, scales, clamp="Relu", types=("int8", "int8"), zero_point=0, bias=False):
    """A file of one layer, or a product of two tensors, whose codes are given, and values for its inputs."""
    rng, image = np.random.default_rng(3), kind.startswith("Conv")
    shape, size = ((1, 16, 24, 24), (16, 16, 3, 3)) if image else ((1, 400, 48), (48, 20))
    size = (1, *size) if kind == "product" else size
    offsets = {name: 128 * (dtype == "uint8") for name, dtype in zip("xy", types, strict=True)}
    x, w = rng.integers(-128, 128, shape) + offsets["x"], rng.integers(-127, 128, size).astype(np.int8)
    constants = {f"s_{name}": np.float32(scale) for name, scale in zip("xwy", scales, strict=True)}
    constants |= {"z_x": np.array(3 + offsets["x"]).astype(types[0]), "z_w": np.int8(0)}
    constants["z_y"] = np.array(zero_point + offsets["y"]).astype(types[1])
    nodes = [helper.make_node("DequantizeLinear", [n, f"s_{n}", f"z_{n}"], [f"{n}_real"]) for n in "xw"]
    inputs = ["x_real", "w_real"]
    if bias:
        constants["b"] = rng.normal(size=16 if image else 20).astype(np.float32)
        inputs.append("b")
    name = {"product": "MatMul"}.get(kind, kind)
    if kind == "Gemm":
        nodes.append(helper.make_node("Flatten", ["x_real"], ["flat"], axis=2))
        inputs[0] = "flat"
    nodes.append(helper.make_node(name, inputs, ["c"], name="layer"))
    if clamp:
        nodes.append(helper.make_node(clamp, ["c"], ["d"]))
    nodes.append(helper.make_node("QuantizeLinear", ["d" if clamp else "c", "s_y", "z_y"], ["y"]))
    numbers = {"int8": TensorProto.INT8, "uint8": TensorProto.UINT8}
    ends = [helper.make_tensor_value_info("x", numbers[types[0]], shape)]
    feeds = {"x": x.astype(types[0])}
    if kind == "product":
        ends.append(helper.make_tensor_value_info("w", TensorProto.INT8, size))
        feeds["w"] = w
    else:
        constants["w"] = w
    out = helper.make_tensor_value_info("y", numbers[types[1]], None)
    values = [numpy_helper.from_array(np.asarray(value), name) for name, value in constants.items()]
    graph = helper.make_graph(nodes, "g", ends, [out], values)
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 13)], ir_version=8)
    return model.SerializeToString(), feeds


def apart(data, feeds):
    """How far each result is from onnxruntime's, and what the import warns of."""
    graph, texts = warned(data)
    mine = run(graph, {name: graph.tensors[name].from_file(value) for name, value in feeds.items()})
    expected = runtime.InferenceSession(data, providers=["CPUExecutionProvider"]).run(None, feeds)[0]
    return np.abs(graph.tensors["y"].to_file(mine["y"]).astype(int) - expected), texts


@pytest.mark.parametrize("scales", [POWERS, DECIMALS])
@pytest.mark.parametrize("kind", ["Conv", "ConvTranspose", "MatMul", "product"])
def test_layers_of_real_numbers(kind, scales):
    """Codes of int8 that are given, or a clamp: real sums, which are exact where scales are powers of two."""
    distance, texts = apart(*small_layer(kind, scales))
    told = any("operator 'layer' (" in text and "in an order of its own or" in text for text in texts)
    assert told == (scales is DECIMALS)
    assert distance.max() <= told


def test_a_result_that_differs_is_told():
    """Sums next to ties in both directions."""
    distance, texts = apart(*small_layer("ConvTranspose", (0.03, 0.02, 0.12)))
    assert distance.max() == 1 and any("operator 'layer' (ConvTranspose) with real numbers" in text for text in texts)


@pytest.mark.parametrize(
    ("kind", "clamp", "types", "zero_point", "told"),
    [
        ("Conv", "Relu", ("uint8", "uint8"), -128, False),
        ("Conv", "Relu", ("uint8", "uint8"), 0, True),
        ("Conv", "", ("uint8", "uint8"), 0, False),
        ("Conv", "", ("uint8", "int8"), 0, True),
        ("ConvTranspose", "", ("uint8", "uint8"), 0, True),
        ("MatMul", "", ("uint8", "uint8"), 0, False),
        ("MatMul", "", ("int8", "int8"), 0, True),
        ("product", "", ("uint8", "uint8"), 0, False),
        ("product", "Relu", ("uint8", "uint8"), 0, True),
    ],
)
def test_kernels_of_codes_are_exact(kind, clamp, types, zero_point, told):
    if kind == "product":
        needs.exact_sums()
    distance, texts = apart(*small_layer(kind, DECIMALS, clamp, types, zero_point))
    assert any("in an order of its own" in text for text in texts) == told
    assert distance.max() <= told


@pytest.mark.parametrize("bits", [1, 3, 5])
def test_exact_sums(bits):
    """Scales of few bits: a result differs if and only if it does when both formulas are computed for all sums."""
    rng, found = np.random.default_rng(bits), []
    for _ in range(60):
        given, weight, step = (np.float32(n) for n in rng.integers(1, 2**bits, 3) * 2.0 ** -rng.integers(3, 9, 3))
        reach = int(rng.integers(1, 4000))
        sums = Sums(scales=(given, weight), reach=np.array([float(reach)]), terms=9, error=np.zeros(1))
        every, unit = np.arange(-reach, reach + 1).astype(np.float32), given * weight
        theirs, ours = np.rint(every * unit / step), np.rint(every * (unit / step))
        expected = bool((np.clip(theirs, -128, 127) != np.clip(ours, -128, 127)).any())
        assert sums.is_exact() and sums.differ(float(step), range(-128, 128)) == expected
        found.append(expected)
    assert any(found) == (bits > 1)


def test_sums_of_one_product():
    """What is said to be equal is, for every code and weight."""
    rng, codes, equal = np.random.default_rng(5), np.arange(-128, 128).astype(np.float32), 0
    for _ in range(200):
        given, weight, step = (np.float32(n) for n in 10 ** rng.uniform(-3, 0, 3))
        code = np.float32(rng.integers(1, 128))
        sums = Sums(scales=(given, weight), reach=np.array([128.0 * code]), terms=1, error=np.zeros(1))
        theirs = np.rint((codes * given) * (code * weight) / step)
        ours = np.rint(codes * code * (given * weight / step))
        differ = bool((np.clip(theirs, -128, 127) != np.clip(ours, -128, 127)).any())
        assert sums.differ(float(step), range(-128, 128)) or not differ
        equal += not sums.differ(float(step), range(-128, 128))
    assert equal > 100


@pytest.mark.parametrize(("scale", "expected"), [(0.0105, False), (0.01041, True)])
def test_tables_next_to_ties(scale, expected):
    """Functions that every interpreter approximates."""
    constants = {"s1": np.float32(0.0461), "z1": np.int8(0), "s2": np.float32(scale), "z2": np.int8(0)}
    nodes = [*pair("x", "a", "b", "1"), helper.make_node("Cos", ["b"], ["c"], name="curve"), *pair("c", "d", "y", "2")]
    data = file(nodes, (1, 256), (TensorProto.FLOAT, None), constants)
    graph, texts = warned(data)
    x = (np.arange(-128, 128) * np.float32(0.0461)).astype(np.float32)[None]
    mine = next(iter(run(graph, {"x": x}).values()))
    assert np.array_equal(mine, results(data, x)) != expected
    assert any("operator 'to_d' (QuantizeLinear)" in text for text in texts) == expected


@pytest.mark.parametrize(("kind", "told"), [("Softmax", True), ("ReduceL2", True), ("Sqrt", False), ("Add", False)])
def test_real_numbers_that_are_quantized(kind, told):
    """Behind an operator of the host."""
    constants = {"s1": np.float32(0.05), "z1": np.int8(0), "s2": np.float32(0.004), "z2": np.int8(-128)}
    nodes = [*pair("x", "a", "b", "1"), helper.make_node("Add", ["b", "x"], ["r"])]
    inputs = ["r", "x"] if kind == "Add" else ["r"]
    fields = {"axes": [2]} if kind == "ReduceL2" else {}
    nodes += [helper.make_node(kind, inputs, ["c"], name="host", **fields), *pair("c", "d", "y", "2")]
    _, texts = warned(file(nodes, (1, 6, 9), (TensorProto.FLOAT, None), constants))
    assert any("real numbers, in an order of its own, which are quantized" in text for text in texts) == told


@pytest.mark.parametrize("kind", ["Gemm", "MatMul"])
@pytest.mark.parametrize(
    ("scales", "behind", "told"),
    [((), "Abs", True), ((20,), "Abs", True), ((1,), "Abs", False), ((), "Relu", False), ((), "QuantizeLinear", False)],
)
def test_real_numbers_that_meet_codes(kind, scales, behind, told, tmp_path):
    """What onnxruntime quantizes while it runs, in place of real numbers."""
    rng = np.random.default_rng(7)
    constants = {"w": rng.integers(-127, 128, (48, 20)).astype(np.int8), "s": np.full(scales, 0.01, np.float32)}
    constants |= {"z": np.zeros(scales, np.int8), "s2": np.float32(0.5), "z2": np.int8(0)}
    nodes = [helper.make_node("DequantizeLinear", ["w", "s", "z"], ["w_real"], axis=1 if scales else 0)]
    nodes += [helper.make_node(kind, ["x", "w_real"], ["r"], name="layer")]
    nodes += [helper.make_node(behind, ["r", *(["s2", "z2"] if behind[0] == "Q" else [])], ["c"])]
    nodes += [helper.make_node("DequantizeLinear", ["c", "s2", "z2"], ["y"])] if behind[0] == "Q" else []
    nodes += [] if behind[0] == "Q" else [helper.make_node("Neg", ["c"], ["y"])]
    data = file(nodes, (50, 48), (TensorProto.FLOAT, None), constants)
    graph, texts = warned(data)
    x = rng.normal(size=(50, 48)).astype(np.float32)
    mine = graph.tensors["y"].to_file(run(graph, {"x": graph.tensors["x"].from_file(x)})["y"])
    np.testing.assert_allclose(
        mine, results(data, x, "ORT_DISABLE_ALL"), rtol=1e-4, atol=0.51 if behind[0] == "Q" else 1e-4
    )
    options = runtime.SessionOptions()
    options.graph_optimization_level = runtime.GraphOptimizationLevel.ORT_ENABLE_EXTENDED
    options.optimized_model_filepath = str(tmp_path / "optimized.onnx")
    runtime.InferenceSession(data, options, providers=["CPUExecutionProvider"])
    kinds = {node.op_type for node in package.load(tmp_path / "optimized.onnx").graph.node}
    assert ("MatMulNBits" in kinds) == told
    assert any(f"operator 'layer' ({kind}) with codes that it makes" in text for text in texts) == told


@pytest.mark.parametrize("channels", [False, True])
@pytest.mark.parametrize(("factor", "point"), [(1, 0), (1.009, 0), (1.02, 0), (2, 0), (1, 100)])
@pytest.mark.parametrize("kind", ["Conv", "Gemm", "MatMul"])
def test_biases_that_are_taken_for_others(kind, factor, point, channels):
    """By kernels of codes, whose biases have no scale. Convolutions have such a kernel if the scale is about right."""
    rng, image = np.random.default_rng(1), kind == "Conv"
    weights = np.full(4 if channels else (), 0.01, np.float32)
    constants = {"s_x": np.float32(0.05), "z_x": np.uint8(128), "s_w": weights, "z_w": np.zeros(weights.shape, np.int8)}
    constants |= {"w": rng.integers(-50, 50, (4, 4, 3, 3) if image else (8, 4)).astype(np.int8)}
    constants |= {
        "s_b": np.float32(0.05) * weights * np.float32(factor),
        "z_b": np.full(weights.shape, point, np.int32),
    }
    constants |= {"b": rng.integers(-3000, 3000, 4).astype(np.int32), "s_y": np.float32(0.1), "z_y": np.uint8(128)}
    axes = {"x": 0, "w": 0 if image else 1, "b": 0}
    nodes = [
        helper.make_node("DequantizeLinear", [n, f"s_{n}", f"z_{n}"], [f"{n}_real"], axis=a) for n, a in axes.items()
    ]
    inputs = ["x_real", "w_real", *(["b_real"] if kind != "MatMul" else [])]
    nodes.append(helper.make_node(kind, inputs, ["c"], name="layer"))
    nodes += [helper.make_node("Add", ["c", "b_real"], ["d"])] if kind == "MatMul" else []
    nodes.append(helper.make_node("QuantizeLinear", ["d" if kind == "MatMul" else "c", "s_y", "z_y"], ["y"]))
    shape = (1, 4, 40, 40) if image else (200, 8)
    ends = [helper.make_tensor_value_info(name, TensorProto.UINT8, end) for name, end in (("x", shape), ("y", None))]
    values = [numpy_helper.from_array(np.asarray(value), name) for name, value in constants.items()]
    graph = helper.make_graph(nodes, "g", ends[:1], ends[1:], values)
    opset = [helper.make_opsetid("", 13)]
    data = helper.make_model(graph, opset_imports=opset, ir_version=8).SerializeToString()
    distance, texts = apart(data, {"x": rng.integers(0, 256, shape).astype(np.uint8)})
    told = [text for text in texts if text.startswith("onnxruntime")]
    other = any(f"operator 'layer' ({kind}) with another bias than the file's" in text for text in told)
    assert distance.max() == 0 or told
    assert other == ((factor, point) != (1, 0) and (not image or factor == 1.009))
    assert distance.max() <= 1 or other
