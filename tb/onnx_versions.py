"""Files of one operator each, for every version of every operator that the ONNX front end knows.

Versions, attributes and inputs come from the operators' schemas, so that a new one of a later package is tried, too.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any

import numpy as np

import needs
from onnx_models import MICROSOFT
from sateen.frontends.onnx.schemas import ADDED

onnx = needs.package("onnx", extra="onnx")
onnxruntime = needs.package("onnxruntime", extra="reference")
helper = onnx.helper

__all__ = ["STEP", "Trial", "file", "newest", "schemas", "trials"]

IMAGE, ROW, ROWS = (1, 4, 6, 5), (1, 12), (1, 3, 16)
OLDEST = 7
"""The oldest opset that onnxruntime supports."""
FLOAT, INT8, UINT8 = onnx.TensorProto.FLOAT, onnx.TensorProto.INT8, onnx.TensorProto.UINT8


@dataclass
class Trial:
    """One operator with its attributes; inputs by the names of :func:`file`, or as values of constants."""

    kind: str
    version: int
    opset: int
    inputs: list[Any]
    attributes: dict[str, Any]
    shape: tuple[int, ...] = IMAGE
    about: str = ""
    """The attribute or input that is tried."""
    outputs: int = 1
    constants: dict[str, np.ndarray] = field(default_factory=dict)

    def __str__(self) -> str:
        return f"{self.kind} {self.version} {self.about or 'by default'}: {self.attributes} of {self.inputs}"


def schemas() -> dict[str, list[Any]]:
    """All definitions of every kind of operator, with the domain before its name where that is not ONNX's; by
    version."""
    found: dict[str, list[Any]] = {}
    runtimes = onnxruntime.capi.onnxruntime_pybind11_state.get_all_operator_schema()
    own = [s for s in runtimes if s.domain == MICROSOFT or (s.domain == "" and s.name in ADDED)]
    for schema in (*onnx.defs.get_all_schemas_with_history(), *own):
        if schema.domain in ("", MICROSOFT):
            name = f"{schema.domain}.{schema.name}" if schema.domain else schema.name
            found.setdefault(name, []).append(schema)
    return {name: sorted(group, key=lambda schema: schema.since_version) for name, group in found.items()}


def newest(group: list[Any], version: int) -> int:
    """The last opset at which a version is in force."""
    later = [schema.since_version for schema in group if schema.since_version > version]
    return min(later) - 1 if later else onnx.defs.onnx_opset_version()


def _integers(*values: int) -> np.ndarray:
    return np.array(values, np.int64)


Base = tuple[list[Any], dict[str, Any], tuple[int, ...]]
"""Inputs, attributes and the shape of x for an operator that does something."""


def _base(kind: str, version: int) -> Base | None:
    """The example of an operator; ``None`` if it is of constants."""
    plain = kind.removeprefix(f"{MICROSOFT}.")
    if plain.startswith(("Q", "DequantizeLinear")):
        return _of_codes(plain)
    if plain.startswith("Reduce"):
        # As of some version the axes are an input.
        last = {"ReduceSum": 13}.get(plain, 18)
        return (["d"], {"axes": [2, 3]}, IMAGE) if version < last else (["d", _integers(2, 3)], {}, IMAGE)
    if kind in ("Constant", "Shape"):
        return None
    real = _by_version(version) | _of_all_versions()
    return real.get(kind, (["d", "e"] if kind in BINARY else ["d"], {}, IMAGE))


def _of_codes(plain: str) -> Base:
    """Operators in operator form, QuantizeLinear and DequantizeLinear."""
    one, two = ["qs", "qz"], ["ys", "yz"]
    codes: dict[str, Base] = {
        "QLinearConv": (["q", *one, "w", "ws", "wz", *two], {}, IMAGE),
        "QLinearMatMul": (["q", *one, "v", "vs", "vz", *two], {}, ROW),
        "QGemm": (["q", *one, "v", "vs", "vz", "", *two], {}, ROW),
        "QLinearAdd": (["q", *one, "q", *one, *two], {}, IMAGE),
        "QLinearMul": (["q", *one, "q", *one, *two], {}, IMAGE),
        "QLinearConcat": ([*two, "q", *one, "q", *one], {"axis": 1}, IMAGE),
        "QLinearAveragePool": (["q", *one, *two], {"kernel_shape": [2, 3]}, IMAGE),
        "QLinearSoftmax": (["q", *one, *two], {"opset": 13}, IMAGE),
        "QuantizeLinear": (["d", *two], {}, IMAGE),
        "DequantizeLinear": (["q", *one], {}, IMAGE),
    }
    return codes.get(plain, (["q", *one, *two], {}, IMAGE))


def _by_version(version: int) -> dict[str, Base]:
    """Operators whose inputs and attributes differ between versions."""
    by_axes = {"axes": [1, 3]} if version < 13 else {}
    return {
        "Gemm": (["d", "vd", *(["fd"] if version < 11 else [])], {}, ROW),
        "Squeeze": (["d", *([] if version < 13 else [_integers(1, 3)])], by_axes, (1, 1, 6, 1, 5)),
        "Unsqueeze": (["d", *([] if version < 13 else [_integers(1, 3)])], by_axes, ROW),
        "Slice": (
            (["d"], {"starts": [0, 1], "ends": [9, 4]}, IMAGE)
            if version < 10
            else (["d", _integers(0, 1), _integers(1, 4)], {}, IMAGE)
        ),
        "Pad": (
            (["d"], {"pads": [0, 0, 1, 2, 0, 0, 3, 0]}, IMAGE)
            if version < 11
            else (["d", _integers(0, 0, 1, 2, 0, 0, 3, 0)], {}, IMAGE)
        ),
        "Upsample": (
            (["d"], {"scales": [1.0, 1.0, 2.0, 3.0]}, IMAGE)
            if version < 9
            else (["d", np.array([1, 1, 2, 3], np.float32)], {}, IMAGE)
        ),
        "Resize": (
            ["d", *([np.zeros(0, np.float32)] if version > 10 else []), np.array([1, 1, 2, 3], np.float32)],
            {},
            IMAGE,
        ),
        "Split": (["d"], {"axis": 1, **({"num_outputs": 2} if version >= 18 else {})}, IMAGE),
    }


def _of_all_versions() -> dict[str, Base]:
    """Operators whose inputs and attributes are the same in all versions."""
    each = np.linspace(0.5, 1.5, 4, dtype=np.float32)
    window = {"kernel_shape": [2, 3]}
    return {
        "BatchNormalization": (["d", each, each - 1, -each, each], {}, IMAGE),
        "Conv": (["d", "wd"], {}, IMAGE),
        "ConvTranspose": (["d", "td"], {}, IMAGE),
        "MatMul": (["d", "vd"], {}, ROW),
        "Concat": (["d", "d"], {"axis": 1}, IMAGE),
        "MaxPool": (["d"], window, IMAGE),
        "AveragePool": (["d"], window, IMAGE),
        "Cast": (["d"], {"to": FLOAT}, IMAGE),
        "Reshape": (["d", _integers(0, 3, -1)], {}, IMAGE),
        "Transpose": (["d"], {"perm": [0, 3, 1, 2]}, IMAGE),
        "ArgMax": (["d"], {"axis": 1}, IMAGE),
        "ArgMin": (["d"], {"axis": 1}, IMAGE),
        "Pow": (["d", np.float32(2)], {}, IMAGE),
        "Softmax": (["d"], {}, IMAGE),
        "TopK": (["d", _integers(3)], {}, IMAGE),
        "InstanceNormalization": (["d", np.float32([1, 2, 3, 4]), np.float32([0.1, -2, 0, 4])], {}, IMAGE),
        "LayerNormalization": (["d", np.ones(16, np.float32)], {}, ROWS),
        "RMSNormalization": (["d", np.linspace(0.5, 1.5, 16, dtype=np.float32)], {}, ROWS),
        "SimplifiedLayerNormalization": (["d", np.linspace(0.5, 1.5, 16, dtype=np.float32)], {}, ROWS),
        "DepthToSpace": (["d"], {"blocksize": 2}, (1, 8, 3, 5)),
        "Expand": (["d", _integers(3, 4, 5)], {}, (1, 3, 1, 5)),
        "Gather": (["d", _integers(2, -4, 2)], {"axis": 1}, IMAGE),
        "SpaceToDepth": (["d"], {"blocksize": 2}, (1, 3, 4, 6)),
        "Tile": (["d", _integers(1, 2, 1, 3)], {}, IMAGE),
    }


STEP = np.float32(0.0417)
"""The scale of results."""
BINARY = ("Add", "Sub", "Mul", "Div", "PRelu", "Min", "Max", "Sum")
OTHERS: dict[str, list[Any]] = {
    "blocksize": [1, 2, 3],
    "auto_pad": ["SAME_UPPER", "SAME_LOWER", "VALID", "NOTSET"],
    "ends": [[1, 2], [1, -1]],
    "axis": [-1, -2, 0, 1, 2, 3, 9, -9],
    "axes": [[1], [2, 3], [-1], [0], [3, 2]],
    "coordinate_transformation_mode": ["asymmetric", "align_corners", "pytorch_half_pixel", "tf_crop_and_resize"],
    "dilations": [[1, 1], [2, 1]],
    "group": [1, 2, 4],
    "keep_aspect_ratio_policy": ["not_larger", "not_smaller", "stretch"],
    "kernel_shape": [[3, 3], [2, 2], [1, 3]],
    "mode": ["constant", "nearest", "linear", "cubic", "edge", "reflect", "wrap", "DCR", "CRD"],
    "nearest_mode": ["floor", "ceil", "round_prefer_ceil"],
    "num_outputs": [2],
    "opset": [10, 13],
    "output_padding": [[0, 0], [1, 1]],
    "output_shape": [[6, 6], [7, 7], [9, 9]],
    "output_dtype": [FLOAT, INT8, UINT8, 10],
    "pads": [[1, 0, 1, 2], [0, 0, 0, 0], [0, 0, 1, 0, 0, 0, 0, 2]],
    "perm": [[0, 2, 3, 1], [1, 0, 2, 3], [0, 1, 2, 3]],
    "precision": [FLOAT, 10],
    "round_mode": ["down", "nearest"],
    "starts": [[0, 2], [0, -3]],
    "split": [[1, 3], [2, 2]],
    "strides": [[1, 1], [2, 1], [2, 3]],
    "to": [FLOAT, INT8, 10, 6],
}
"""Other values of attributes; those that are not named here take the values of their type."""
OF_TYPES: dict[str, list[Any]] = {
    "FLOAT": [0.3, 2.0, -0.75], "INT": [0, 1, 2], "INTS": [[1], [1, 1], [2, 2]], "STRING": ["other"],
}  # fmt: skip
INPUTS: dict[str, list[Any]] = {
    "B": [np.arange(8, dtype=np.int32) * 300], "C": ["fd"], "axes": [_integers(2, 3), _integers(-1)],
    "constant_value": [np.float32(0), np.float32(0.7)], "max": [np.float32(0.4)], "min": [np.float32(-0.3)],
    "ratio": [np.float32(0.5)], "roi": [np.zeros(0, np.float32), np.ones(8, np.float32)],
    "scales": [np.array([1, 1, 2, 1], np.float32)], "sizes": [_integers(1, 4, 12, 10)], "split": [_integers(1, 3)],
    "steps": [_integers(1, 2)], "training_mode": [np.bool_(False), np.bool_(True)],
    "x_zero_point": ["qz"], "y_zero_point": ["yz", np.uint8(7)],
}  # fmt: skip
"""Values of optional inputs; those that are not named here are 1."""


def _type(attribute: Any) -> str:
    return str(getattr(attribute.type, "name", attribute.type)).rsplit(".", 1)[-1]


def trials(kind: str, schema: Any, group: list[Any], *, attributes: bool) -> Iterator[Trial]:
    """An operator by default, then with each of its ``attributes`` and its optional inputs at other values."""
    version, base = schema.since_version, _base(kind, schema.since_version)
    if base is None:
        return
    domain = MICROSOFT if kind.startswith(MICROSOFT) else ""
    # As of opset 10, ONNX itself can quantize; onnxruntime does not know the newest.
    opset = 17 if domain else min(max(version, 10), newest(group, version))
    inputs, fields, shape = base
    plain = Trial(kind, version, opset, inputs, fields, shape, outputs=2 if kind == "Split" else 1)
    yield plain
    for name, attribute in sorted(schema.attributes.items()) if attributes else ():
        for value in OTHERS.get(name, OF_TYPES.get(_type(attribute), [])):
            yield _changed(plain, name, attributes={**fields, name: value})
    for place, parameter in enumerate(schema.inputs) if attributes else ():
        optional = "Optional" in str(parameter.option)
        if not optional or domain:
            continue
        for value in INPUTS.get(parameter.name, [np.float32(1)]):
            given = [*inputs, *[""] * (place - len(inputs))]
            given[place : place + 1] = [value]
            yield _changed(plain, parameter.name, inputs=given)
        if place < len(inputs):
            yield _changed(plain, parameter.name, inputs=[*inputs[:place], "", *inputs[place + 1 :]])
    for place in range(1, len(schema.outputs)) if kind != "Split" else ():
        yield _changed(plain, f"output {place}", outputs=place + 1)


def _changed(trial: Trial, about: str, **fields: Any) -> Trial:
    return Trial(**{**vars(trial), "about": about, **fields})


def file(trial: Trial) -> bytes:
    """A file of an operator between real inputs x and e, which are quantized (q, d), and real outputs, which are."""
    rng = np.random.default_rng(5)
    opset, whole = trial.opset, lambda *shape: rng.integers(-127, 128, shape).astype(np.int8)
    constants = {
        "qs": np.float32(0.0313), "qz": np.int8(3), "es": np.float32(0.0471), "ez": np.int8(-9),
        "ys": STEP, "yz": np.int8(-5), "w": whole(8, 4, 3, 2), "ws": np.float32(0.0051),
        "wz": np.int8(0), "v": whole(12, 12), "vs": np.float32(0.0113), "vz": np.int8(0), "f": whole(12),
        "fs": np.float32(0.031), "fz": np.int8(0),
        "t": whole(4, 3, 2, 3), "ts": np.float32(0.0051), "tz": np.int8(0),
    }  # fmt: skip
    domain = "" if opset >= 10 else MICROSOFT
    nodes = []

    def add(kind, inputs, outputs, **attributes):
        own = MICROSOFT if kind.startswith(MICROSOFT) else domain if kind.endswith("quantizeLinear") else ""
        name = kind.removeprefix(f"{MICROSOFT}.")
        own = domain if name in ("QuantizeLinear", "DequantizeLinear") and not own else own
        nodes.append(helper.make_node(name, inputs, outputs, domain=own, **attributes))

    names = []
    for place, value in enumerate(trial.inputs):
        names.append(value if isinstance(value, str) else f"k{place}")
        if not isinstance(value, str):
            constants[f"k{place}"] = np.asarray(value)
    for name, codes in (("d", "q"), ("ed", "e")):
        add("QuantizeLinear", ["x", f"{codes}s", f"{codes}z"], [f"{codes}" if name == "d" else "ec"])
        add("DequantizeLinear", ["q" if name == "d" else "ec", f"{codes}s", f"{codes}z"], [name])
    names = ["ed" if name == "e" else name for name in names]
    for name in "wvft":
        if f"{name}d" in names:
            add("DequantizeLinear", [name, f"{name}s", f"{name}z"], [f"{name}d"])
    plain = trial.kind.removeprefix(f"{MICROSOFT}.")
    results = [f"r{place}" for place in range(trial.outputs)]
    nodes.append(
        helper.make_node(
            plain, names, results, "tried", domain=MICROSOFT if trial.kind != plain else "", **trial.attributes
        )
    )
    outputs = _outputs(trial, plain, add, constants)
    used = {name for node in nodes for name in node.input}
    tensors = [onnx.numpy_helper.from_array(np.asarray(v), name) for name, v in constants.items() if name in used]
    inputs = [helper.make_tensor_value_info("x", FLOAT, trial.shape)]
    made = [helper.make_tensor_value_info(name, kind, None) for name, kind in outputs]
    graph = helper.make_graph([node for node in nodes if _wanted(node, nodes, outputs)], "g", inputs, made, tensors)
    opsets = [helper.make_opsetid("", opset), helper.make_opsetid(MICROSOFT, 1)]
    return helper.make_model(graph, opset_imports=opsets, ir_version=10).SerializeToString()


def _outputs(trial: Trial, plain: str, add: Any, constants: dict[str, np.ndarray]) -> list[tuple[str, int]]:
    """Quantizes real results, and dequantizes integers; the outputs' names and types."""
    if plain in ("ArgMax", "ArgMin"):
        return [("r0", onnx.TensorProto.INT64)]
    quantizes = plain == "QuantizeLinear" or plain.startswith(("QLinear", "QGemm"))
    if quantizes:
        # What the codes are can be seen where they leave the model.
        unsigned = trial.attributes.get("output_dtype") == UINT8 or len(trial.inputs) < 3 or trial.inputs[2] == ""
        number = isinstance(trial.inputs[-1], np.generic)
        return [("r0", UINT8 if plain == "QuantizeLinear" and (unsigned or number) else INT8)]
    outputs = []
    for place in range(trial.outputs):
        if place and plain != "Split":
            outputs.append((f"r{place}", onnx.TensorProto.BOOL if plain == "Dropout" else onnx.TensorProto.INT64))
            continue
        scale = ["ys", "yz"]
        # onnxruntime computes in integers if they are dequantized again.
        add("QuantizeLinear", [f"r{place}", *scale], [f"c{place}"])
        add("DequantizeLinear", [f"c{place}", *scale], [f"y{place}"])
        outputs.append((f"y{place}", FLOAT))
    return outputs


def _wanted(node: Any, nodes: list[Any], outputs: list[tuple[str, int]]) -> bool:
    read = {name for other in nodes for name in other.input} | {name for name, _ in outputs}
    return any(name in read for name in node.output)
