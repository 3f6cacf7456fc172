"""What is wrong with a model file is said in one line that names the tensor or operator; nothing else happens, whatever
the bytes."""

from __future__ import annotations

import os
import random
import resource
import time

import numpy as np
import pytest

import sateen
from networks import MODELS
from sateen.errors import CompileError
from sateen.extras import install_hint
from sateen.frontends import load
from sateen.frontends.tflite import importer as tflite
from sateen.graph import GraphError
from tflite_models import ModelBuilder

SEED = int(os.environ.get("SATEEN_SEED") or random.randrange(1, 2**31))
CONV = {"StrideH": 1, "StrideW": 1, "DilationHFactor": 1, "DilationWFactor": 1}


def convolution(*, x=(), w=(), y=(), bias=None, options="Conv2DOptions", kind="CONV_2D", custom="", **fields) -> bytes:
    """A file of one convolution; ``x``, ``w`` and ``y`` change the fields of its tensors."""
    b = ModelBuilder()
    given = b.tensor(**{"shape": (1, 5, 5, 2), "scale": 0.1, "zero_point": 3, "name": "image", **dict(x)})
    weights = {
        "shape": (4, 3, 3, 2),
        "scale": [0.01] * 4,
        "data": np.ones((4, 3, 3, 2), np.int8),
        "name": "kernel",
        **dict(w),
    }
    inputs = [given, b.tensor(**weights)]
    result = b.tensor(**{"shape": (1, 5, 5, 4), "scale": 0.2, "name": "result", **dict(y)})
    if bias is not None:
        inputs.append(
            b.tensor(**{"shape": (4,), "type": "INT32", "data": np.zeros(4, np.int32), "name": "bias", **bias})
        )
    b.op(kind, inputs, [result], options, custom=custom, **{**CONV, **fields} if options == "Conv2DOptions" else fields)
    return b.build([given], [result])


NAN, INFINITE = float("nan"), float("inf")


@pytest.mark.parametrize(
    ("data", "message"),
    [
        (b"", "no TensorFlow Lite model"),
        (b"\x1c\0\0\0TFL3", "file: it is damaged"),
        (convolution()[:300], "file: it is damaged"),
        (convolution(x={"scale": 0.0}), "tensor 't0' (image): scale must be a finite float above 0, not 0.0"),
        (convolution(x={"scale": NAN}), "tensor 't0' (image): scale must be a finite float above 0, not nan"),
        (convolution(y={"scale": INFINITE}), "tensor 't2' (result): scale must be a finite float above 0, not inf"),
        (convolution(w={"scale": [0.01, NAN, 0.01, 0.01]}), "tensor 't1' (kernel): its scale must be finite and above 0, not nan"),
        (convolution(w={"scale": [0.01, 0.01]}), "operator 0 (CONV_2D): its weights tensor 't1' (kernel) have 2 scales for 4 channels"),
        (convolution(x={"zero_point": 128}), "tensor 't0' (image): its zero point 128 must lie within -128 to 127"),
        (convolution(x={"scale": [0.1, 0.2]}), "tensor 't0' (image): it has 2 scales; activations must have one"),
        (convolution(x={"scale": None}), "tensor 't0' (image): it has no scale; quantize the whole model to int8"),
        (convolution(x={"type": "INT16"}), "tensor 't0' (image): its type INT16 is not supported; quantize the model to int8"),
        (convolution(x={"type": "FLOAT32"}), "(image) is FLOAT32, not INT8 or UINT8; quantize the whole model to int8"),
        (convolution(w={"type": "FLOAT32", "data": np.ones((4, 3, 3, 2), np.float32)}), "its weights tensor 't1' (kernel) are FLOAT32"),
        (convolution(w={"data": None}), "tensor 't1' (kernel) must be a constant; it is computed at run time"),
        (convolution(w={"data": np.ones(7, np.int8)}), "tensor 't1' (kernel): its 7 bytes do not fill its shape (4, 3, 3, 2)"),
        (convolution(bias={"type": "INT64", "data": np.zeros(4, np.int64)}), "its bias must be INT32, not INT64"),
        (convolution(bias={"shape": (3,), "data": np.zeros(3, np.int32)}), "operator 0 (CONV_2D): its bias has 3 values for 4 channels"),
        (convolution(x={"shape": (1, 5, -5, 2)}), "tensor 't0' (image): shape must be whole numbers of 1 or more"),
        (convolution(x={"shape": (1, 2**20, 2**20, 2)}), "tensor 't0' (image): its shape"),
        (convolution(y={"shape": (1, 5, 4, 4)}), "its result is (1, 5, 5, 4), but tensor 't2' (result) is (1, 5, 4, 4)"),
        (convolution(x={"shape": (1, 5, 5, 3)}), "Conv2D 'conv_2d_0': its weights take 2 channels, but tensor 't0' (image) has 3"),
        (convolution(StrideH=0), "operator 0 (CONV_2D): its stride must be 1 or more, not (0, 1)"),
        (convolution(DilationHFactor=0), "operator 0 (CONV_2D): its dilation must be 1 or more"),
        (convolution(Padding=7), "operator 0 (CONV_2D): its padding 7 is neither SAME nor VALID"),
        (convolution(FusedActivationFunction=4), "operator 0 (CONV_2D): its fused activation 4 is not supported"),
        (convolution(options=""), "operator 0 (CONV_2D): its options are missing"),
        (convolution(kind="SVDF", options=""), "operator 0 (SVDF): SVDF is not supported; convert the model without it, or split it off"),
        (convolution(kind="CUSTOM", options="", custom="Mine"), "operator 0 (Mine): the custom operator 'Mine' is not supported"),
    ],
)  # fmt: skip
def test_tflite_says_what_is_wrong(data, message):
    with pytest.raises(GraphError) as error:
        tflite.load(data)
    assert message in str(error.value) and "\n" not in str(error.value)


def test_cycle():
    """Two operators that wait for each other."""
    b = ModelBuilder()
    x, a, c = (b.tensor((1, 8), scale=0.1) for _ in range(3))
    b.op("ADD", [x, c], [a], "AddOptions")
    b.op("ADD", [x, a], [c], "AddOptions")
    with pytest.raises(GraphError, match="Add 'add_0': its input 't2' is not made yet"):
        tflite.load(b.build([x], [c]))


def onnx_file(change=None, **fields) -> bytes:
    """A file of one quantized convolution; ``change`` is called with the model."""
    onnx = pytest.importorskip("onnx", reason=f"needs onnx; {install_hint('onnx')}")
    constants = {
        "xs": np.float32(0.1),
        "xz": np.uint8(3),
        "w": np.ones((4, 2, 3, 3), np.int8),
        "ws": np.float32(0.01),
        "wz": np.int8(0),
        "ys": np.float32(0.2),
        "yz": np.uint8(9),
        **fields.pop("constants", {}),
    }
    make = onnx.helper
    nodes = [
        make.make_node("QuantizeLinear", ["x", "xs", "xz"], ["q"], "quantize"),
        make.make_node("QLinearConv", ["q", "xs", "xz", "w", "ws", "wz", "ys", "yz"], ["c"], "conv", **fields),
        make.make_node("DequantizeLinear", ["c", "ys", "yz"], ["y"], "dequantize"),
    ]
    ends = [make.make_tensor_value_info(name, 1, shape) for name, shape in (("x", (1, 2, 5, 5)), ("y", (1, 4, 3, 3)))]
    tensors = [onnx.numpy_helper.from_array(np.asarray(value), name) for name, value in constants.items()]
    model = make.make_model(make.make_graph(nodes, "g", ends[:1], ends[1:], tensors))
    if change is not None:
        change(model)
    return model.SerializeToString()


def _kind(kind, domain=""):
    def change(model):
        model.graph.node[1].op_type, model.graph.node[1].domain = kind, domain

    return change


def _cycle(model):
    model.graph.node[0].input[0] = "y"


def _shape(model):
    model.graph.input[0].type.tensor_type.shape.dim[2].dim_param = "height"


def _external(model):
    model.graph.initializer[2].data_location = 1


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({"change": _kind("Einsum")}, "operator 'conv' (Einsum): Einsum is not supported; export the model without it"),
        ({"change": _kind("Mine", "my.own")}, "operator 'conv' (my.own.Mine): my.own.Mine is not supported"),
        ({"change": _cycle}, "is made by no operator, or by one that waits for this one"),
        ({"change": _shape}, "tensor 'x': its shape (1, 2, 0, 5) is not fixed; export the model with fixed shapes"),
        ({"change": _external}, "tensor 'w': its values are in another file; save the model as one file"),
        ({"constants": {"xs": np.float32(0)}}, "its scale 'xs' must be finite and above 0, not 0.0"),
        ({"constants": {"ys": np.float32(np.nan)}}, "its scale 'ys' must be finite and above 0, not nan"),
        ({"constants": {"ws": np.float32(np.inf)}}, "its scales 'ws' must be finite and above 0"),
        ({"constants": {"xz": np.int16(0)}}, "its codes are int16, not int8 or uint8; quantize to 8 bits"),
        (
            {"constants": {"w": np.ones((4, 3, 3, 3), np.int8)}},
            "operator 'conv' (QLinearConv): its weights (4, 3, 3, 3) in 1 groups",
        ),
        ({"group": 3}, "in 3 groups do not fit 2 channels"),
        ({"strides": [0, 1]}, "its strides must be 1 or more, not (0, 1)"),
        ({"strides": "wide"}, "its attribute strides must be a list of numbers"),
        ({"pads": [-1, 0, 0, 0]}, "its pads must be 4 numbers of 0 or more"),
        ({"auto_pad": "MIDDLE"}, "its auto_pad 'MIDDLE' is not supported"),
        ({"pads": [2, 2, 2, 2], "dilations": [5, 5]}, "exceeds its padded input"),
    ],
)
def test_onnx_says_what_is_wrong(tmp_path, fields, message):
    (tmp_path / "m.onnx").write_bytes(onnx_file(**fields))
    with pytest.raises(GraphError) as error:
        load(tmp_path / "m.onnx")
    assert message in str(error.value) and "\n" not in str(error.value)


def test_float_onnx_is_named(tmp_path):
    """A model that is not quantized."""
    onnx = pytest.importorskip("onnx", reason=f"needs onnx; {install_hint('onnx')}")
    make = onnx.helper
    ends = [make.make_tensor_value_info(name, 1, (1, 2, 5, 5)) for name in "xy"]
    tensors = [onnx.numpy_helper.from_array(np.ones((2, 2, 1, 1), np.float32), "w")]
    model = make.make_model(
        make.make_graph([make.make_node("Conv", ["x", "w"], ["y"], "c")], "g", ends[:1], ends[1:], tensors)
    )
    (tmp_path / "m.onnx").write_bytes(model.SerializeToString())
    with pytest.raises(
        GraphError, match=r"operator 'c' \(Conv\): its input 'x' is computed in float; quantize the whole model to int8"
    ):
        load(tmp_path / "m.onnx")


def test_other_files(tmp_path):
    (tmp_path / "m.onnx").write_bytes(b"\x00\x01 no model")
    with pytest.raises(GraphError, match="no ONNX model"):
        load(tmp_path / "m.onnx")
    (tmp_path / "m.bin").write_bytes(b"something else")
    with pytest.raises(CompileError, match="damaged or not a file of Sateen"):
        load(tmp_path / "m.bin")
    with pytest.raises(CompileError, match="cannot read"):
        load(tmp_path / "none.tflite")


def _mutated(data: bytes, rng: random.Random) -> bytes:
    """A file with some bytes changed, cut, moved or repeated."""
    result = bytearray(data)
    for _ in range(rng.choice([1, 1, 2, 4, 16])):
        place = rng.randrange(len(result))
        what = rng.random()
        if what < 0.4:
            result[place] = rng.randrange(256)
        elif what < 0.6:
            result[place : place + 4] = rng.choice([0, 1, 127, 2**31 - 1, 2**32 - 1, rng.randrange(2**32)]).to_bytes(
                4, "little"
            )
        elif what < 0.7:
            del result[place:]
        elif what < 0.8:
            del result[place : place + rng.randrange(1, 32)]
        elif what < 0.9:
            result[place:place] = rng.randbytes(rng.randrange(1, 32))
        else:
            source = rng.randrange(len(result))
            result[place : place + 16] = result[source : source + 16]
        if len(result) < 16:
            break
    return bytes(result)


@pytest.mark.parametrize("suffix", ["tflite", "onnx"])
@pytest.mark.filterwarnings("ignore::sateen.SateenWarning")
def test_mutated_files(tmp_path, suffix):
    """For some seconds: each file is refused in one line or compiled, quickly and in little memory."""
    print(f"repeat with SATEEN_SEED={SEED}")
    rng = random.Random(SEED)
    sources = [convolution(bias={})] if suffix == "tflite" else [onnx_file()]
    if MODELS.is_dir():
        sources += [
            path.read_bytes() for path in sorted((MODELS / suffix).glob(f"*.{suffix}")) if path.stat().st_size < 40000
        ]
    path = tmp_path / f"m.{suffix}"
    limits = resource.getrlimit(resource.RLIMIT_AS)
    resource.setrlimit(resource.RLIMIT_AS, (min(8 << 30, limits[1]) if limits[1] > 0 else 8 << 30, limits[1]))
    begin, refused, total = time.monotonic(), 0, 0
    try:
        while time.monotonic() - begin < 8:
            path.write_bytes(_mutated(rng.choice(sources), rng))
            start = time.monotonic()
            try:
                sateen.compile(path, "tiny")
            except (GraphError, CompileError) as error:
                assert str(error) and "\n" not in str(error)
                refused += 1
            total += 1
            assert time.monotonic() - start < 20
    finally:
        resource.setrlimit(resource.RLIMIT_AS, limits)
    assert refused > total // 20
