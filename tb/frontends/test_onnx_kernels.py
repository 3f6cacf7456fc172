"""Which operators onnxruntime computes with kernels of codes, found as it does, in small graphs around one operator."""

from __future__ import annotations

import itertools

import numpy as np
import pytest

import needs
from sateen.frontends.onnx.file import read
from sateen.frontends.onnx.kernels import optimized
from sateen.frontends.onnx.replacement import Kernel
from sateen.sim import golden

onnx = needs.package("onnx", extra="onnx")
runtime = needs.package("onnxruntime", extra="reference")

from onnx import TensorProto, helper  # noqa: E402

from onnx_kernels import KINDS, File, check, found, operator  # noqa: E402
from onnx_networks import random_network  # noqa: E402

MOVERS = {
    "Reshape": {"shape": [1, 4, 4, 4]}, "Transpose": {"perm": [0, 3, 1, 2]}, "Flatten": {}, "Relu": {}, "Identity": {},
}  # fmt: skip


@pytest.mark.parametrize("kind", ["Add", "Mul", "AveragePool", "GlobalAveragePool", "Softmax"])
@pytest.mark.parametrize("types", [*itertools.product(["int8", "uint8"], repeat=2)])
def test_types_and_readers(kind, types, tmp_path):
    """Codes that are given, that are made, that another operator or an output reads; the same after the operator."""
    if kind == "Mul" and types != ("int8", "int8"):
        # Chosen as Add is.
        return
    for before, after, codes, second in itertools.product(
        ["", "reader", "output"], ["real", "codes", "reader", "both"], [False, True], ["same", "other", "constant"]
    ):
        if second != "other" and kind not in ("Add", "Mul"):
            continue
        file = File()
        a = file.given(types[0], codes=codes)
        b = a if second == "same" else file.constant(np.ones((1, 4, 4, 4), types[0]))
        b = file.given(types[0], codes=False) if second == "other" else b
        made = operator(file, kind, [file.real(a, types[0]), file.real(b, types[0])])
        y = file.quantize(made, types[1])
        if before == "reader":
            file.output(file.node("Abs", file.real(a, types[0])))
        elif before == "output" and not codes:
            file.output(a, KINDS[types[0]])
        if after in ("codes", "both"):
            file.output(y, KINDS[types[1]])
        if after != "codes":
            file.output(file.real(y, types[1]))
        if after == "reader":
            file.output(file.node("Abs", file.real(y, types[1])))
        check(file, tmp_path)


def _chains() -> list[tuple[str, ...]]:
    """One or two of them; what is flat has too few axes to be transposed."""
    found = [*itertools.product(MOVERS, repeat=1), *itertools.product(MOVERS, repeat=2)]
    return [each for each in found if not ("Flatten" in each and each[-1] == "Transpose")]


@pytest.mark.parametrize("opset", [17, 21])
@pytest.mark.parametrize("place", ["before", "behind"])
@pytest.mark.parametrize("movers", _chains())
def test_operators_that_move_values(movers, place, opset, tmp_path):
    """Quantizations move across some of them; the others keep codes away."""
    for kind, read_twice in (("int8", False), ("uint8", False), ("uint8", True)):
        # onnxruntime 1.32 refuses int8 there: it gives its own pairs two types.
        if kind == "int8" and opset == 21 and place == "before":
            continue
        file = File(opset)
        x = file.real(file.given(kind, codes=False), kind)
        first = x
        for mover in movers if place == "before" else ():
            x = file.node(mover, x, **MOVERS[mover])
        y = file.node("Softmax", x) if "Flatten" in movers else file.node("AveragePool", x, kernel_shape=[1, 1])
        for mover in movers if place == "behind" else ():
            y = file.node(mover, y, **MOVERS[mover])
        if read_twice:
            file.output(file.node("Abs", first if place == "before" else y))
        file.output(file.real(file.quantize(y, kind), kind))
        check(file, tmp_path)


def between_transposes(seed: int) -> File:
    """Operators that have kernels of codes, and Transposes of real numbers and of codes around them."""
    rng, file = np.random.default_rng(seed), File(17)
    kind = str(rng.choice(["int8", "uint8"]))
    y = first = file.real(file.given(kind, codes=bool(rng.random() < 0.3)), kind)
    for step in range(int(rng.integers(3, 9))):
        pool = {"kernel_shape": [2, 2], "pads": [0, 0, 1, 1]}
        choice = str(rng.choice(["pool", "Softmax", "Add", "codes", "codes", "real", "real", "pair", "Relu", "branch"]))
        orders = [[0, 3, 1, 2], [0, 2, 3, 1], [0, 3, 2, 1], [0, 1, 3, 2]]
        perm = orders[int(rng.integers(4))]
        if choice == "pool":
            y = file.node("AveragePool", y, **pool)
        elif choice == "Add":
            other = file.constant(np.full((1, 4, 4, 4), 7, kind))
            y = file.node("Add", y, first if rng.random() < 0.3 else file.real(other, kind))
        elif choice == "codes":
            y = file.real(file.node("Transpose", file.quantize(y, kind), perm=perm), kind)
        elif choice == "real":
            y = file.node("Transpose", y, perm=perm)
        elif choice == "pair":
            y = file.real(file.quantize(y, kind), kind)
        elif choice == "branch" and step:
            file.output(file.node("Abs", y))
        elif choice != "branch":
            y = file.node(choice, y)
        if choice in ("pool", "Softmax", "Add") and rng.random() < 0.7:
            y = file.quantize(y, kind)
            y = file.node("Transpose", y, perm=perm) if rng.random() < 0.2 else y
            y = file.real(y, kind)
    file.output(y)
    return file


DOUBLE = ("alone", "twice", "many", "output of the second", "output of the first", "first", "other numbers", "moved",
          "second moved", "thrice", "not stated", "other type")  # fmt: skip


@pytest.mark.parametrize("scale", [0.1, 0.2])
@pytest.mark.parametrize("case", DOUBLE)
@pytest.mark.parametrize("kind", ["AveragePool", "Softmax"])
def test_two_pairs(kind, case, scale, tmp_path):
    """The inner half of them goes, whoever reads the codes of the second, if both have one scale, or if nobody else
    reads those of the first."""
    file, code = File(), "uint8" if case == "not stated" else "int8"
    other = "uint8" if case == "other type" else code

    def numbers(scale: float, kind: str) -> list[str]:
        found = file.numbers(kind, scale)
        return [found[0], file.constant(np.zeros((), kind))] if case != "not stated" else found[:1]

    def pair(x: str, scale: float, kind: str) -> str:
        return file.node("DequantizeLinear", x, *numbers(scale, kind))

    y = operator(file, kind, [file.real(file.given(code, codes=False), code)])
    first = file.node("QuantizeLinear", y, *numbers(0.1, code))
    inner = pair(first, 0.1, code)
    second = file.node("QuantizeLinear", inner, *numbers(scale, other))
    last = pair(second, scale, other)
    file.output(file.node("Abs", last))
    if case in ("twice", "many"):
        file.output(file.node("Neg", last))
    if case == "many":
        file.output(file.node("Ceil", pair(second, scale, other)))
    elif case == "output of the second":
        file.output(second, KINDS[other])
    elif case == "output of the first":
        file.output(first, KINDS[code])
    elif case == "first":
        file.output(file.node("Neg", inner))
    elif case == "other numbers":
        file.output(file.node("Neg", pair(second, 0.7, other)))
    elif case == "moved":
        file.output(file.node("Neg", pair(file.node("Transpose", first, perm=[0, 2, 1, 3]), 0.1, code)))
    elif case == "second moved":
        file.output(file.node("Neg", pair(file.node("Transpose", second, perm=[0, 2, 1, 3]), scale, other)))
    elif case == "thrice":
        file.output(file.node("Neg", pair(file.node("QuantizeLinear", last, *numbers(0.3, other)), 0.3, other)))
    check(file, tmp_path)
    constants = {tensor.name for tensor in onnx.load(tmp_path / "optimized.onnx").graph.initializer}
    changed = any(name.startswith("DoubleQDQRemoved") for name in constants)
    assert bool(optimized(read(file.build())).merged) == changed


@pytest.mark.parametrize("behind", ["real", "codes", "nothing", "Relu", "reader"])
@pytest.mark.parametrize("bias", ["", "int32", "real", "two axes"])
@pytest.mark.parametrize("kind", ["Conv", "ConvTranspose", "Gemm", "MatMul", "MatMul of rows"])
def test_layers(kind, bias, behind, tmp_path):
    """Of all types of codes, which are given or made; one scale for all weights, or one for each channel."""
    image, name = kind.startswith("Conv"), kind.split()[0]
    if bias == "two axes" and name != "Gemm" or kind == "ConvTranspose" and (bias or behind != "real"):
        return
    rng, shape = np.random.default_rng(1), [1, 4, 4, 4] if image else [1, 5, 8] if "rows" in kind else [5, 8]
    for x, w, y, given in itertools.product(*[["int8", "uint8"]] * 3, [False, True]):
        file = File()
        source = file.given(x, codes=given)
        file.inputs[-1] = helper.make_tensor_value_info("x0", KINDS[x] if given else 1, shape)
        size = (4, 4, 3, 3) if image else (8, 4)
        scales = np.full(() if given else 4, 0.02, np.float32)
        codes = rng.integers(0, 100, size).astype(w)
        points = file.constant(np.zeros(scales.shape, w))
        axis = 0 if kind == "Conv" else 1
        weights = file.node("DequantizeLinear", file.constant(codes), file.constant(scales), points, axis=axis)
        inputs = [file.real(source, x), weights]
        values = file.constant(np.arange(4, dtype=np.int32 if bias == "int32" else np.float32))
        units = [file.constant(scales * np.float32(0.1)), file.constant(np.zeros(scales.shape, np.int32))]
        added = file.node("DequantizeLinear", values, *units, axis=0) if bias == "int32" else values
        added = file.constant(np.ones((1, 4), np.float32)) if bias == "two axes" else added
        result = file.node(name, *inputs, *([added] if bias and name != "MatMul" else []))
        result = file.node("Add", result, added) if bias and name == "MatMul" else result
        if behind == "reader":
            file.output(file.node("Abs", result))
        result = file.node("Relu", result) if behind == "Relu" else result
        if behind == "nothing":
            file.output(file.node("Neg", result))
        else:
            made = file.quantize(result, y)
            file.output(made if behind == "codes" else file.real(made, y), KINDS[y] if behind == "codes" else 1)
        data = file.build()
        model = read(data)
        followed, actual = optimized(model), found(data, tmp_path)
        (layer,) = (node for node in model.nodes if node.kind == name)
        expected = followed.kernels[layer.outputs[0]]
        expected = followed.rows[layer.outputs[0]] if "rows" in kind else expected
        # Where it makes no codes itself, that of rows has exact sums still, and is taken for one of real numbers.
        cautious = "rows" in kind and bias and behind in ("Relu", "reader")
        assert actual.get(layer.name, Kernel.REAL) is expected or cautious, (x, w, y, given)


@pytest.mark.parametrize("group", range(2))
def test_transposes(group, tmp_path):
    """They move towards each other, and pairs close up where they were."""
    for seed in (*range(group * 20, group * 20 + 20), 288 + group):
        file = between_transposes(seed)
        if any(node.op_type in ("AveragePool", "Softmax", "Add") for node in file.nodes):
            check(file, tmp_path)


@pytest.mark.parametrize("limits", [None, (-20, 20), (-1, 20), (-20, 5), (-13.29, 12.19), (-13.2, 12.19)])
@pytest.mark.parametrize("kind", ["int8", "uint8"])
def test_clamps(limits, kind, tmp_path):
    """A clamp that changes no code does not matter."""
    for point in (-128, 5):
        file = File()
        numbers = [
            file.constant(np.float32(0.1)),
            file.constant(np.array(point + 128 * (kind == "uint8")).astype(kind)),
        ]
        y = file.node("AveragePool", file.real(file.given(kind, codes=True), kind), kernel_shape=[2, 2])
        limits_of = [file.constant(np.float32(limit)) for limit in limits or ()]
        y = file.node("Clip" if limits else "Relu", y, *limits_of)
        file.output(file.node("QuantizeLinear", y, *numbers), KINDS[kind])
        check(file, tmp_path)


@pytest.mark.parametrize("stated", [True, False])
def test_clamps_with_one_limit(stated, tmp_path):
    """Without a zero point, which is 0 of uint8 then, onnxruntime takes no upper limit for a low one."""
    for low, high, scale in itertools.product((None, -30, -1e10), (None, 100, 1e9, 1e10), (0.1, 3.0)):
        file = File()
        y = file.node("AveragePool", file.real(file.given("uint8", codes=True), "uint8"), kernel_shape=[2, 2])
        limits = ["" if limit is None else file.constant(np.float32(limit)) for limit in (low, high)]
        numbers = file.numbers("uint8", scale)
        clipped = file.node("Clip", y, *(limits if high is not None else limits[: low is not None]))
        made = file.node("QuantizeLinear", clipped, *(numbers if stated else numbers[:1]))
        file.output(made, KINDS["uint8"])
        check(file, tmp_path)


@pytest.mark.parametrize("case", ["shape", "cast", "equal", "double", "inverse"])
def test_operators_that_go_away(case, tmp_path):
    """Those that are computed when the file is read, equal ones, and pairs that undo each other."""
    file = File()
    x = file.given("int8", codes=False)
    a = file.real(x, "int8")
    if case == "shape":
        b = file.node("Reshape", x, file.node("Shape", file.real(x, "int8")))
        a = file.real(b, "int8")
    elif case == "cast":
        a = file.node("Cast", a, to=TensorProto.FLOAT)
    elif case in ("double", "inverse"):
        a = file.node("Cast", a, to=TensorProto.FLOAT) if case == "inverse" else a
        a = file.real(file.quantize(a, "int8"), "int8")
    y = file.node("AveragePool", a, kernel_shape=[2, 2])
    z = file.quantize(y, "int8")
    file.output(file.real(z, "int8"))
    if case == "equal":
        file.output(file.node("Abs", file.real(file.quantize(y, "int8"), "int8")))
    check(file, tmp_path)


def test_other_domain(tmp_path):
    """Pairs of onnxruntime's own operators are pairs."""
    file = File()
    y = file.node("AveragePool", file.real(file.given("int8", codes=False), "int8"), kernel_shape=[2, 2])
    file.output(file.real(file.quantize(y, "int8"), "int8"))
    model = onnx.ModelProto.FromString(file.build())
    for node in model.graph.node:
        node.domain = "com.microsoft" if node.op_type.endswith("Linear") else ""
    model.opset_import.append(helper.make_opsetid("com.microsoft", 1))
    data = model.SerializeToString()
    assert optimized(read(data)).kernels == {y: found(data, tmp_path)[y]} == {y: Kernel.UINT8}


def test_equal_operators(tmp_path):
    """They become one, which two operators read then."""
    file = File()
    x = file.node("Abs", file.real(file.given("int8", codes=False), "int8"))
    pools = [file.node("AveragePool", x, kernel_shape=[2, 2]) for _ in range(2)]
    for y, scale in zip(pools, (0.1, 0.2), strict=True):
        file.output(file.node("QuantizeLinear", y, *file.numbers("int8", scale)), KINDS["int8"])
    data = file.build()
    (expected,) = (kernel for name, kernel in found(data, tmp_path).items() if name in pools)
    assert optimized(read(data)).kernels == dict.fromkeys(pools, expected)


@pytest.mark.parametrize("kind", ["Sigmoid", "Tanh"])
@pytest.mark.parametrize("count", [1, 5, 40_001])
def test_functions_in_float32(kind, count):
    """Every value is onnxruntime's, in whatever place of a tensor."""
    x = (np.random.default_rng(1).normal(size=count) * 5).astype(np.float32)
    ends = [helper.make_tensor_value_info(name, TensorProto.FLOAT, [count]) for name in "xy"]
    graph = helper.make_graph([helper.make_node(kind, ["x"], ["y"])], "g", ends[:1], ends[1:])
    data = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8).SerializeToString()
    (expected,) = runtime.InferenceSession(data).run(None, {"x": x})
    np.testing.assert_array_equal({"Sigmoid": golden.float32_sigmoid, "Tanh": golden.float32_tanh}[kind](x), expected)


@pytest.mark.parametrize("group", range(2))
def test_random_networks(group, tmp_path):
    """Whatever stands around an operator; some are removed, or become one."""
    seen = 0
    for seed in range(group * 20, group * 20 + 20):
        data, _ = random_network(np.random.default_rng(seed))
        model = read(data)
        expected, names = found(data, tmp_path), {node.outputs[0]: node.name for node in model.nodes if node.outputs}
        followed = optimized(model)
        for output, kernel in followed.kernels.items():
            actual = expected.get(names[output], kernel)
            assert actual in (kernel, followed.rows.get(output, kernel)), f"{names[output]} of network {seed}"
            seen += names[output] in expected
    assert seen > 5
