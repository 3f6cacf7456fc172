"""Small ONNX files that together have every kind of operator of the front end, quantized and float."""

from __future__ import annotations

from typing import Any

import numpy as np

import needs

__all__ = ["CALIBRATION", "float_files", "in_codes", "in_real", "onnx_files"]

CODES = np.arange(-8, 8, dtype=np.int8)
"""Weights."""


def _onnx_file(nodes, shapes, constants, kinds="ff") -> bytes:
    """A file of nodes (kind, inputs, output, attributes) from ``x`` to ``y``."""
    onnx = needs.package("onnx", extra="onnx")
    make, types = onnx.helper, {"f": 1, "i": 3, "u": 2}
    made = []
    for place, (kind, inputs, outputs, attributes) in enumerate(nodes):
        domain = (
            "com.microsoft"
            if kind.startswith("QLinear") and kind not in ("QLinearConv", "QLinearMatMul") or kind == "QGemm"
            else ""
        )
        made.append(
            make.make_node(kind, inputs.split(" "), outputs.split(" "), f"n{place}", domain=domain, **attributes)
        )
    ends = [
        make.make_tensor_value_info(name, types[type], shape)
        for name, type, shape in zip("xy", kinds, shapes, strict=True)
    ]
    tensors = [onnx.numpy_helper.from_array(np.asarray(value), name) for name, value in constants.items()]
    graph = make.make_graph(made, "g", ends[:1], ends[1:], tensors)
    opsets = [make.make_opsetid("", 13), make.make_opsetid("com.microsoft", 1)]
    return make.make_model(graph, opset_imports=opsets, ir_version=8).SerializeToString()


NUMBERS = {
    "xs": np.float32(0.1),
    "xz": np.uint8(3),
    "ws": np.float32(0.01),
    "wz": np.int8(0),
    "ys": np.float32(0.2),
    "yz": np.uint8(9),
    "w": np.resize(CODES, (4, 2, 3, 3)),
    "b": np.arange(4, dtype=np.int32),
    "bs": np.float32(0.001),
    "bz": np.int32(0),
    "v": np.resize(CODES, (32, 5)),
    "u": np.resize(CODES, (1, 2, 1, 1)),
    "k": np.resize(CODES, (4, 2, 2, 2)),
    "p": np.arange(4, dtype=np.float32),
}
"""Constants of files."""


def in_codes(kind, inputs, shape, given=(1, 2, 4, 4), constants=None, **attributes) -> bytes:
    """A file of one operator on integers; its input and output are real."""
    nodes = [
        ("QuantizeLinear", "x xs xz", "q", {}),
        (kind, inputs, "c", attributes),
        ("DequantizeLinear", "c ys yz", "y", {}),
    ]
    return _onnx_file(nodes, (given, shape), _used(nodes, constants))


def in_real(kind, inputs, shape, given=(1, 2, 4, 4), constants=None, numbers="ys yz", **attributes) -> bytes:
    """A file of one operator on dequantized values: on ``d``, and on constants such as ``wd`` and ``bd``."""
    nodes = [("QuantizeLinear", "x xs xz", "q", {}), ("DequantizeLinear", "q xs xz", "d", {})]
    nodes += [
        ("DequantizeLinear", f"{name} ws wz", f"{name}d", {}) for name in "wvukg" if f"{name}d" in inputs.split(" ")
    ]
    nodes += [("DequantizeLinear", "b bs bz", "bd", {})] * ("bd" in inputs.split(" "))
    nodes += [
        (kind, inputs, "r", attributes),
        ("QuantizeLinear", f"r {numbers}", "c", {}),
        ("DequantizeLinear", f"c {numbers}", "y", {}),
    ]
    return _onnx_file(nodes, (given, shape), _used(nodes, constants))


def _used(nodes, constants) -> dict[str, Any]:
    names = {name for _, inputs, _, _ in nodes for name in inputs.split(" ")}
    return {name: value for name, value in {**NUMBERS, **(constants or {})}.items() if name in names}


def onnx_files() -> list[bytes]:
    """Quantized ONNX files that have every kind of operator."""
    return [*_operator_form_files(), *_qdq_files(), *_several_node_files(), *_partly_real_files()]


def _operator_form_files() -> list[bytes]:
    image, row = (1, 2, 4, 4), (1, 32)
    return [
        in_codes(
            "QLinearConv",
            "q xs xz w ws wz ys yz b",
            (1, 4, 2, 2),
            kernel_shape=[3, 3],
            strides=[1, 1],
            pads=[0, 0, 0, 0],
        ),
        in_codes("QLinearMatMul", "q xs xz v ws wz ys yz", (1, 5), row),
        in_codes("QGemm", "q xs xz v ws wz  ys yz", (1, 5), row, alpha=1.0, transB=0),
        in_codes("QLinearAdd", "q xs xz q xs xz ys yz", image),
        in_codes("QLinearMul", "q xs xz u ws wz ys yz", image),
        in_codes("QLinearConcat", "ys yz q xs xz q xs xz", (1, 4, 4, 4), axis=1),
        in_codes("QLinearGlobalAveragePool", "q xs xz ys yz", (1, 2, 1, 1), channels_last=0),
        in_codes("QLinearAveragePool", "q xs xz ys yz", (1, 2, 2, 2), kernel_shape=[2, 2], strides=[2, 2]),
        in_codes("QLinearLeakyRelu", "q xs xz ys yz", row, row, alpha=0.1),
        in_codes("QLinearSigmoid", "q xs xz ys yz", row, row),
        in_codes("QLinearSoftmax", "q xs xz ys yz", row, row, axis=-1, opset=13),
    ]


def _qdq_files() -> list[bytes]:
    image, row = (1, 2, 4, 4), (1, 32)
    floor = {"nearest_mode": "floor", "coordinate_transformation_mode": "asymmetric"}
    integers = {name: np.array(values) for name, values in MOVED.items()}
    return [
        in_real("Conv", "d wd bd", (1, 4, 4, 4), kernel_shape=[3, 3], pads=[1, 1, 1, 1], dilations=[1, 1]),
        in_real("Conv", "d kd p", (1, 4, 3, 3), (1, 4, 4, 4), kernel_shape=[2, 2], group=2),
        in_real("Gemm", "d vd", (1, 5), row, beta=1.0),
        in_real("MatMul", "d vd", (1, 5), row),
        in_real("MatMul", "d d", image),
        *(in_real(kind, "d d", image) for kind in ("Add", "Sub")),
        in_real("Mul", "d ud", image),
        *(in_real(kind, "d", image) for kind in ("Relu", "Sigmoid", "Tanh", "HardSwish", "Identity")),
        in_real("HardSigmoid", "d", image, alpha=0.2, beta=0.5),
        in_real("LeakyRelu", "d", image, alpha=0.2),
        in_real("Clip", "d low high", image, constants={"low": np.float32(0), "high": np.float32(6)}),
        in_real("GlobalAveragePool", "d", (1, 2, 1, 1)),
        in_real("AveragePool", "d", (1, 2, 2, 2), kernel_shape=[2, 2], strides=[2, 2], auto_pad="SAME_UPPER"),
        in_real("Softmax", "d", row, row, axis=1),
        in_real("Concat", "d d", (1, 2, 4, 8), axis=3),
        in_real("MaxPool", "d", (1, 2, 2, 2), kernel_shape=[2, 2], strides=[2, 2], ceil_mode=1, numbers="xs xz"),
        in_real("Flatten", "d", row, axis=1, numbers="xs xz"),
        in_real("Transpose", "d", (1, 4, 4, 2), perm=[0, 2, 3, 1], numbers="xs xz"),
        in_real("Reshape", "d wanted", (1, 8, 4), constants=integers, numbers="xs xz"),
        in_real("Squeeze", "d one", (1, 4, 4), (1, 1, 4, 4), integers, numbers="xs xz"),
        in_real("Unsqueeze", "d one", (1, 1, 2, 4, 4), constants=integers, numbers="xs xz"),
        in_real("Pad", "d pads", (1, 2, 6, 6), constants=integers, numbers="xs xz"),
        in_real("Slice", "d one three one", (1, 1, 4, 4), constants=integers, numbers="xs xz"),
        in_real("Upsample", "d scales", (1, 2, 8, 8), constants=integers, numbers="xs xz"),
        in_real("Resize", "d none none sizes", (1, 2, 8, 8), constants=integers, numbers="xs xz", mode="nearest"),
        in_real("Resize", "d none scales", (1, 2, 8, 8), constants=integers, numbers="xs xz", **floor),
        *_more_qdq_files(),
    ]


def _more_qdq_files() -> list[bytes]:
    image, deep, row = (1, 2, 4, 4), (1, 4, 2, 2), (1, 4, 7)
    held = {
        "w": np.ones((2, 3, 2, 3), np.int8),
        "v": np.ones((4, 2, 3), np.int8),
        "each": np.full(4, 0.5, np.float32),
        "axes": np.array([2, 3]),
        "counts": np.array([1, 1, 2, 3]),
        "larger": np.array([1, 4, 2, 2]),
        "none": np.zeros(0, np.float32),
        "places": np.array([1, -1, 0]),
        "pads": np.array([0, 0, 1, 2, 0, 0, 0, 1]),
        "sizes": np.array([1, 2, 7, 9]),
    }
    two = {"kernel_shape": [2], "strides": [2]}
    return [
        in_real("ConvTranspose", "d wd", (1, 6, 9, 9), image, held, strides=[2, 2], group=1, output_padding=[1, 0]),
        in_real("Conv", "d vd", (1, 4, 6), row, held, group=2, pads=[1, 1]),
        in_real("MaxPool", "d", (1, 4, 3), row, numbers="xs xz", **two),
        in_real("AveragePool", "d", image, kernel_shape=[3, 3], pads=[1, 1, 1, 1]),
        in_real("BatchNormalization", "d each each each each", deep, deep, held, epsilon=0.01),
        in_real("ReduceMean", "d", (1, 2, 1, 1), axes=[2, 3], keepdims=1),
        in_real("ReduceSum", "d axes", (1, 2), constants=held, keepdims=0),
        in_real("ReduceMax", "d", (1, 2), axes=[-1, 2], keepdims=0, numbers="xs xz"),
        in_real("GlobalMaxPool", "d", (1, 2, 1, 1), numbers="xs xz"),
        in_real("DepthToSpace", "d", (1, 1, 4, 4), deep, blocksize=2, mode="CRD", numbers="xs xz"),
        in_real("SpaceToDepth", "d", (1, 8, 2, 2), blocksize=2, numbers="xs xz"),
        in_real("Gather", "d places", (1, 2, 3, 4), constants=held, axis=2, numbers="xs xz"),
        in_real("Tile", "d counts", (1, 2, 8, 12), constants=held, numbers="xs xz"),
        in_real("Expand", "d larger", deep, (1, 4, 1, 1), held, numbers="xs xz"),
        in_real("Pad", "d pads", (1, 2, 5, 7), constants=held, mode="reflect", numbers="xs xz"),
        in_real(
            "Resize", "d none none sizes", (1, 2, 7, 9), constants=held, mode="linear", cubic_coeff_a=-0.75
        ),  # fmt: skip
        in_real("Gemm", "d gd", (1, 5), (1, 4), {"g": np.ones((4, 5), np.int8)}, alpha=0.5, beta=2.0),
    ]


def _several_node_files() -> list[bytes]:
    image, row = (1, 2, 4, 4), (1, 32)
    integers = {name: np.array(values) for name, values in MOVED.items()}
    files = []
    q = [("QuantizeLinear", "x xs xz", "q", {})]
    nodes = [*q, ("ArgMax", "q", "y", {"axis": 1, "keepdims": 0})]
    files.append(_onnx_file(nodes, (row, (1,)), _used(nodes, None)))
    nodes = [*q, ("Split", "q halves", "y z", {"axis": 1})]
    files.append(_onnx_file(nodes, (image, (1, 1, 4, 4)), _used(nodes, integers), "fu"))
    nodes = [
        *q,
        ("Shape", "q", "s", {}),
        ("Gather", "s zeroth", "n", {"axis": 0}),
        ("Unsqueeze", "n zero", "nn", {}),
        ("Constant", "", "c", {"value_ints": [64]}),
        ("Div", "c one", "e", {}),
        ("Div", "e two", "g", {}),
        ("Cast", "g", "gg", {"to": 7}),
        ("Concat", "nn gg", "t", {"axis": 0}),
        ("Slice", "t zero two", "tt", {}),
        ("Reshape", "q tt", "y", {}),
    ]
    files.append(_onnx_file(nodes, (image, row), _used(nodes, integers), "fu"))
    return files


def _partly_real_files() -> list[bytes]:
    """Constants that the file quantizes, heads and tails of real numbers, layers that are not quantized, no batch."""
    image, deep, row = (1, 2, 4, 4), (1, 4, 2, 2), (1, 32)
    real = {
        "f": np.linspace(-1, 1, 72, dtype=np.float32).reshape(4, 2, 3, 3), "each": np.full(4, 0.01, np.float32),
        "zeros": np.zeros(4, np.int8), "low": np.int8(-7), "high": np.int8(7), "half": np.float32(0.5),
        "m": np.array([0.5, 0.25], np.float32).reshape(1, 2, 1, 1), "h": np.ones((32, 5), np.float32),
        "g": np.ones(5, np.float32), "three": np.array([3]), "first": np.array([0]),
    }  # fmt: skip
    coded = [("QuantizeLinear", "x xs xz", "q", {}), ("DequantizeLinear", "q xs xz", "d", {})]
    ends = [("QuantizeLinear", "r ys yz", "c", {}), ("DequantizeLinear", "c ys yz", "y", {})]
    folded = [
        ("QuantizeLinear", "f each zeros", "fq", {"axis": 0}),
        ("Clip", "fq low high", "fc", {}),
        ("DequantizeLinear", "fc each zeros", "fd", {"axis": 0}),
        ("Conv", "d fd p", "r", {}),
    ]
    head = [("Sub", "x m", "s", {}), ("Div", "s m", "t", {}), ("QuantizeLinear", "t xs xz", "q", {})]
    chain = [
        ("Div", "d half", "s", {}), ("Erf", "s", "t", {}), ("Add", "t half", "e", {}), ("Mul", "d e", "r", {}),
    ]  # fmt: skip
    tail = [("MatMul", "d h", "m0", {}), ("Add", "m0 g", "m1", {}), ("Softmax", "m1", "m2", {"axis": 1})]
    sums = [("DequantizeLinear", "w ws wz", "wd", {}), ("Conv", "d wd", "n", {}), ("Tanh", "n", "y", {})]
    dropped = [("Squeeze", "d first", "e", {}), ("Softmax", "e", "r", {"axis": 0})]
    cases = [
        ([*coded, *folded, *ends], image, deep),
        ([*head, ("DequantizeLinear", "q xs xz", "y", {})], image, image),
        ([*coded, *chain, *ends], image, image),
        ([*coded, *tail, ("TopK", "m2 three", "y z", {"axis": 1})], row, (1, 3)),
        ([*coded, *sums], image, deep),
        ([*coded, *dropped, *ends], row, (32,)),
    ]
    return [_onnx_file(nodes, (given, made), _used(nodes, real)) for nodes, given, made in cases]


MOVED: dict[str, Any] = {
    "zeroth": 0,
    "zero": [0],
    "one": [1],
    "two": [2],
    "three": [3],
    "wanted": [1, 8, -1],
    "pads": [0, 0, 1, 1, 0, 0, 1, 1],
    "none": np.zeros(0, np.float32),
    "sizes": [1, 2, 8, 8],
    "scales": np.array([1, 1, 2, 2], np.float32),
    "halves": [1, 1],
}
"""Constants of operators that move values."""
CALIBRATION = np.random.default_rng(1).normal(size=(2, 2, 4, 4)).astype(np.float32)
"""Inputs of the float files."""


def float_files() -> list[bytes]:
    """A float ONNX file."""
    rng = np.random.default_rng(2)
    sizes = {"w": (4, 2, 3, 3), "b": (4,), "m": (64, 3), "g": (4,), "o": (4,), "e": (4,), "c": (1, 4, 1, 1)}
    constants = {name: (rng.normal(size=size) * 0.3).astype(np.float32) for name, size in sizes.items()}
    constants["a"] = np.full(4, 0.5, np.float32)
    nodes = [
        ("Conv", "x w b", "h", {"pads": [1, 1, 1, 1]}),
        ("BatchNormalization", "h g o e a", "i", {}),
        ("Relu", "i", "j", {}),
        ("Mul", "j c", "k", {}),
        ("Add", "k j", "l", {}),
        ("Flatten", "l", "f", {"axis": 1}),
        ("MatMul", "f m", "p", {}),
        ("Softmax", "p", "y", {"axis": 1}),
    ]
    return [_onnx_file(nodes, ((1, 2, 4, 4), (1, 3)), constants)]
