"""Damaged model files: the error is one line that names the tensor or operator, whatever the bytes are."""

from __future__ import annotations

import contextlib
import warnings

import numpy as np
import pytest
import tflite as schema

import needs
import sateen
import seeds
from mutations import check_mutated
from sateen.errors import CompileError
from sateen.frontends import load, tflite
from sateen.frontends import onnx as onnx_frontend
from sateen.graph import GraphError
from small_models import File, sources
from small_onnx import CALIBRATION, in_codes, in_real
from tflite_models import ModelBuilder

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


def outside() -> bytes:
    """A file whose operator has options that point to fields before its beginning."""
    data = convolution()
    table = schema.Model.GetRootAsModel(data, 0).Subgraphs(0).Operators(0).BuiltinOptions()
    return data[: table.Pos] + (2**31 - 1).to_bytes(4, "little") + data[table.Pos + 4 :]


def relu(x: float, y: float) -> bytes:
    """A file of a ReLU between two scales."""
    f = File((1, 8), numbers=(x, 0))
    return whole(f.to("RELU", (1, 8), numbers=(y, 0)))


def whole(file) -> bytes:
    """The bytes of a :class:`File`."""
    builder, *ends = file
    return builder.build(*ends)


def joined(given: list[int], numbers=(0.1, 0)) -> bytes:
    """A file of a uint8 concatenation."""
    f = File((1, 3, 2), "UINT8", numbers=(1e30, 0))
    return whole(f.ends("CONCATENATION", given, [f.like((1, 3, 4), numbers)], "ConcatenationOptions", Axis=2))


def split_constant() -> bytes:
    """A file of two items that splits a constant without a batch."""
    f = File((2, 3))
    pieces = [f.like((2, 3)) for _ in range(2)]
    given = f.like((2, 3), data=np.ones((2, 3), np.int8))
    return whole(f.ends("UNPACK", [given], pieces, "UnpackOptions", Num=2, Axis=1))


def divided() -> bytes:
    """A file with a shape that is divided by 0."""
    f = File((1, 6))
    shape, wanted = f.tensor((2,), "INT32"), f.tensor((2,), "INT32")
    f.op("SHAPE", [f.given], [shape])
    f.op("FLOOR_DIV", [shape, f.constant(0)], [wanted])
    return whole(f.ends("RESHAPE", [f.given, wanted], [f.like((1, 6))]))


@pytest.mark.parametrize(
    ("data", "message"),
    [
        (outside(), "operator 0 (CONV_2D): its options are damaged (TypeError: bad number"),
        (convolution(options="Pool2DOptions"), "(CONV_2D): its options are Pool2DOptions, not Conv2DOptions"),
        (relu(1e38, 1e-38), "operator 0 (RELU): its scales do not fit together"),
        (whole(File((1, 8)).to("ARG_MAX", (1,), "ArgMaxOptions", [[0, 1]])), "its input 1 must be one number, not 2"),
        (joined([0, -1]), "operator 0 (CONCATENATION): its input 1 is missing"),
        (joined([0, 0], (1e-30, 0)), "operator 0 (CONCATENATION): its scales do not fit together"),
        (split_constant(), "its constant tensor 't3' of (2, 3) does not begin with the batch of 2"),
        (whole(File().ends("TRANSPOSE", [], [0])), "operator 0 (TRANSPOSE): its input 0 is missing"),
        (divided(), "operator 1 (FLOOR_DIV): it cannot be computed from its constants (divide by zero"),
        (b"", "no TensorFlow Lite model"),
        (b"\x1c\0\0\0TFL3", "file: it is damaged"),
        (convolution()[:300], "file: it is damaged"),
        (convolution(x={"scale": 0.0}), "tensor 't0' (image): scale must be a finite float above 0, not 0.0"),
        (convolution(x={"scale": NAN}), "tensor 't0' (image): scale must be a finite float above 0, not nan"),
        (convolution(y={"scale": INFINITE}), "tensor 't2' (result): scale must be a finite float above 0, not inf"),
        (
            convolution(w={"scale": [0.01, NAN, 0.01, 0.01]}),
            "tensor 't1' (kernel): its scale must be finite and above 0, not nan",
        ),
        (
            convolution(w={"scale": [0.01, 0.01]}),
            "operator 0 (CONV_2D): its weights tensor 't1' (kernel) have 2 scales for 4 channels",
        ),
        (convolution(x={"zero_point": 128}), "tensor 't0' (image): its zero point 128 must lie within -128 to 127"),
        (convolution(x={"scale": [0.1, 0.2]}), "tensor 't0' (image): it has 2 scales; activations must have one"),
        (convolution(x={"scale": None}), "tensor 't0' (image): it has no scale; quantize the whole model to int8"),
        (
            convolution(x={"type": "INT16"}),
            "tensor 't0' (image): its zero point 3 must be 0, as that of INT16 is",
        ),
        (
            convolution(x={"type": "FLOAT32"}),
            "its weights tensor 't1' (kernel) are INT8, but its input is real: only weights are quantized "
            "(dynamic-range or weight-only quantization). Quantize activations, too: in TensorFlow set "
            "converter.representative_dataset",
        ),
        (
            convolution(w={"type": "FLOAT32", "data": np.ones((4, 3, 3, 2), np.float32)}),
            "its weights tensor 't1' (kernel) are FLOAT32",
        ),
        (convolution(w={"data": None}), "tensor 't1' (kernel) must be a constant; it is computed at run time"),
        (
            convolution(w={"data": np.ones(7, np.int8)}),
            "tensor 't1' (kernel): its 7 bytes do not fill its shape (4, 3, 3, 2)",
        ),
        (convolution(bias={"type": "INT64", "data": np.zeros(4, np.int64)}), "its bias must be INT32, not INT64"),
        (
            convolution(bias={"shape": (3,), "data": np.zeros(3, np.int32)}),
            "operator 0 (CONV_2D): its bias has 3 values for 4 channels",
        ),
        (convolution(x={"shape": (1, 5, -5, 2)}), "tensor 't0' (image): shape must be whole numbers of 1 or more"),
        (convolution(x={"shape": (1, 2**20, 2**20, 2)}), "tensor 't0' (image): its shape"),
        (
            convolution(y={"shape": (1, 5, 4, 4)}),
            "its result is (1, 5, 5, 4), but tensor 't2' (result) is (1, 5, 4, 4)",
        ),
        (
            convolution(x={"shape": (1, 5, 5, 3)}),
            "Conv2D 'conv_2d_0': its weights take 2 channels, but tensor 't0' (image) has 3",
        ),
        (convolution(StrideH=0), "operator 0 (CONV_2D): its stride must be 1 or more, not (0, 1)"),
        (convolution(DilationHFactor=0), "operator 0 (CONV_2D): its dilation must be 1 or more"),
        (convolution(Padding=7), "operator 0 (CONV_2D): its padding 7 is neither SAME nor VALID"),
        (convolution(FusedActivationFunction=4), "operator 0 (CONV_2D): its fused activation 4 is not supported"),
        (convolution(options=""), "operator 0 (CONV_2D): its options are missing"),
        (
            convolution(kind="CUMSUM", options=""),
            "operator 0 (CUMSUM): CUMSUM is not supported; convert the model without it, or split it off",
        ),
        (
            convolution(kind="CUSTOM", options="", custom="Mine"),
            "operator 0 (Mine): the custom operator 'Mine' is not supported",
        ),
    ],
)  # fmt: skip
def test_tflite_says_what_is_wrong(data, message):
    with pytest.raises(GraphError) as error, np.errstate(all="raise"):
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
    onnx = needs.package("onnx", extra="onnx")
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


def _short(model):
    model.graph.initializer[2].raw_data = b"abc"


def _narrow(model):
    model.graph.initializer[2].data_type = 16
    model.graph.initializer[2].raw_data *= 2


IMAGE, ROW, CHANNELS = (1, 2, 4, 4), (1, 32), (1, 4, 2, 2)
TINY, ODD = np.float32(1e-38), np.float32(np.nan)


@pytest.mark.parametrize(
    ("kind", "inputs", "shape", "fields", "message"),
    [
        ("Resize", "d none none s", IMAGE, {"s": [1, 2, 2**40, 8]}, "(Resize): its sizes (1, 2, 1099511627776, 8)"),
        ("Reshape", "d s", ROW, {"s": np.array([1, np.nan])}, "(Reshape): its input 1 must be whole numbers"),
        ("Unsqueeze", "d s", IMAGE, {"s": [1, 1]}, "its axes (1, 1) are no different ones of 6"),
        ("Pad", "d s e", IMAGE, {"s": [0] * 8, "e": np.zeros(0, np.float32)}, "pads with what is no constant, finite"),
        ("Clip", "d s", IMAGE, {"s": ODD}, "(Clip): its limits must be single numbers"),
        ("Conv", "d wd s", CHANNELS, {"s": np.zeros(3, np.float32)}, "(Conv): its bias of (3,) has 3 values for 4"),
        ("Conv", "d wd", CHANNELS, {"ys": TINY, "ws": np.float32(1e30)}, "(Conv): its scales do not fit together"),
        ("Conv", "d wd", CHANNELS, {"wz": ODD}, "its zero points of 'w' are float32, not int8"),
        ("Relu", "d", IMAGE, {"xs": np.float32(1e38), "ys": TINY}, "(Relu): its scales do not fit together"),
        ("QLinearAdd", "q xs xz s ws wz ys yz", IMAGE, {"s": ODD}, "its constant 's' is float32"),
        ("QLinearLeakyRelu", "q xs xz ys yz", IMAGE, {"xs": np.float64(1e300)}, "its scale 'xs' is float64"),
    ],
)  # fmt: skip
def test_onnx_says_what_is_odd(kind, inputs, shape, fields, message):
    """Constants of whole files."""
    constants = {name: np.asarray(value) for name, value in {"none": np.zeros(0, np.float32), **fields}.items()}
    make = in_codes if kind.startswith("QLinear") else in_real
    data = make(kind, inputs, shape, constants=constants)
    with pytest.raises(GraphError) as error, np.errstate(all="raise"):
        onnx_frontend.load(data)
    assert message in str(error.value) and "\n" not in str(error.value)


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({"change": _short}, "m.onnx: tensor 'w': its values are damaged (ValueError: "),
        ({"change": _narrow}, "tensor 'w': its type BFLOAT16 is not supported; quantize the model to int8"),
        ({"strides": [1.5, 1.5]}, "its attribute strides must be INTS, not FLOATS"),
        ({"change": _kind("Einsum")}, "operator 'conv' (Einsum): Einsum is not supported; export the model without it"),
        (
            {"change": _kind("Mine", "my.own")},
            "operator 'conv' (my.own.Mine): my.own.Mine is not supported",
        ),
        ({"change": _cycle}, "is made by no operator, or by one that waits for this one"),
        ({"change": _shape}, "tensor 'x': its shape (1, 2, 0, 5) is not fixed; export the model with fixed shapes"),
        ({"change": _external}, "tensor 'w': it names no file for its values; export the model anew"),
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
        ({"strides": "wide"}, "its attribute strides must be INTS, not STRING"),
        ({"pads": [-1, 0, 0, 0]}, "its pads must be 4 numbers of 0 or more"),
        ({"auto_pad": "MIDDLE"}, "its auto_pad 'MIDDLE' is not supported"),
        ({"auto_pad": "SAME_UPPER", "pads": [1, 0, 1, 0]}, "it states pads (1, 0, 1, 0) beside its auto_pad 'SAME_"),
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
    onnx = needs.package("onnx", extra="onnx")
    make = onnx.helper
    ends = [make.make_tensor_value_info(name, 1, (1, 2, 5, 5)) for name in "xy"]
    tensors = [onnx.numpy_helper.from_array(np.ones((2, 2, 1, 1), np.float32), "w")]
    model = make.make_model(
        make.make_graph([make.make_node("Conv", ["x", "w"], ["y"], "c")], "g", ends[:1], ends[1:], tensors)
    )
    (tmp_path / "m.onnx").write_bytes(model.SerializeToString())
    with pytest.raises(
        GraphError, match=r"m.onnx: the model is not quantized; quantize it to int8, by sateen quantize with a batch"
    ):
        load(tmp_path / "m.onnx")


def test_other_files(tmp_path):
    (tmp_path / "m.onnx").write_bytes(b"\x00\x01 no model")
    with pytest.raises(GraphError, match="no ONNX model"):
        load(tmp_path / "m.onnx")
    (tmp_path / "m.bin").write_bytes(b"something else")
    with pytest.raises(CompileError, match="is a text; give a quantized model"):
        load(tmp_path / "m.bin")
    with pytest.raises(CompileError, match="cannot read"):
        load(tmp_path / "none.tflite")


@pytest.mark.parametrize(
    ("format", "seed"),
    [
        ("onnx", 50005076), ("onnx", 60038522), ("onnx", 70020464), ("onnx", 758469677), ("tflite", 80012429),
        ("tflite", 91006091), ("tflite", 93059469), ("tflite", 31033997),
    ],
)  # fmt: skip
def test_files_that_once_ended_otherwise(format, seed):
    """Scales beyond float32, a single number in place of a matrix, operators that read each other, a variable that is
    none or has a name of several lines, tensors of one and of more axes side by side."""
    if format == "onnx":
        needs.package("onnx", extra="onnx")
    assert check_mutated(format, seed, 1) in (0, 1)


@pytest.mark.parametrize(
    ("format", "count", "models"),
    [
        ("tflite", 2000, False),
        ("tflite", 400, True),
        ("onnx", 1500, False),
        ("onnx", 300, True),
        ("float onnx", 300, False),
    ],
)
def test_mutated_files(format, count, models):
    """Each file is compiled or refused in one line, in little time and memory. SATEEN_SEED draws other files."""
    if format != "tflite":
        needs.package("onnx", extra="onnx")
    if models:
        needs.models()
    assert check_mutated(format, seeds.own(), count, models=models) > count // 20


def test_inputs_that_are_left_out(tmp_path):
    """The first operator of each kind, with inputs cut off or of no name: refused in one line, or compiled."""
    onnx, path, seen = needs.package("onnx", extra="onnx"), tmp_path / "model.onnx", set()
    for format in ("onnx", "float onnx"):
        for model in map(onnx.ModelProto.FromString, sources(format)):
            for place, node in enumerate(model.graph.node):
                if (format, node.op_type) in seen:
                    continue
                seen.add((format, node.op_type))
                for number in range(2 * len(node.input)):
                    changed = onnx.ModelProto.FromString(model.SerializeToString())
                    inputs = changed.graph.node[place].input
                    if number < len(node.input):
                        del inputs[number:]
                    else:
                        inputs[number - len(node.input)] = ""
                    path.write_bytes(changed.SerializeToString())
                    with contextlib.suppress(GraphError, CompileError), warnings.catch_warnings(action="ignore"):
                        sateen.compile(path, "tiny", calibration=CALIBRATION if format != "onnx" else None)
    assert len(seen) > 60
