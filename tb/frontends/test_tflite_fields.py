"""Every field of a TensorFlow Lite file is used or refused: fields of all options of all operators, of tensors and of
operators, at values that change something."""

from __future__ import annotations

import copy
import re
from typing import Any

import flatbuffers
import numpy as np
import pytest
import tflite as schema

from interpreters import litert, portable
from sateen.errors import SateenWarning
from sateen.frontends import tflite
from sateen.frontends.tflite import options
from sateen.frontends.tflite.handlers import HANDLERS
from sateen.frontends.tflite.options import Options, _fields
from sateen.graph import Constant, GraphError, run
from small_models import File, tflite_files
from tflite_models import ModelBuilder

FILES = tflite_files()
VALUES: list[Any] = [0, 1, 2, 3, -1]
NAMED = {
    "RESHAPE": "ReshapeOptions", "LOG_SOFTMAX": "LogSoftmaxOptions", "PAD": "PadOptions", "PADV2": "PadV2Options",
    "SLICE": "SliceOptions", "TRANSPOSE": "TransposeOptions", "HARD_SWISH": "HardSwishOptions",
}  # fmt: skip
"""Options of files that have none."""


def cases() -> list[tuple[int, int, str, str, Any]]:
    """A file's number, the operator's, and a field of its options with a value."""
    found = []
    for number, (builder, *_) in enumerate(FILES):
        for place, op in enumerate(builder.ops):
            options = op["options"] or NAMED.get(op["kind"], "")
            for field, is_list in (_fields(getattr(schema, options)) if options else {}).items():
                now = op["fields"].get(field, default(options, field))
                choices = [[], [1, 32], [2], [0]] if is_list else VALUES
                if isinstance(now, bool):
                    choices = [False, True]
                elif isinstance(now, float):
                    choices = [0.5, 2.0, -1.0]
                elif isinstance(now, str):
                    choices = ["another"]
                found += [(number, place, options, field, value) for value in choices if value != now]
    return found


def default(options: str, field: str) -> Any:
    """The schema's default of a field."""
    builder = flatbuffers.Builder()
    getattr(schema, f"{options}Start")(builder)
    builder.Finish(getattr(schema, f"{options}End")(builder))
    reader = getattr(schema, options).GetRootAs(builder.Output())
    return [] if hasattr(reader, f"{field}Length") else getattr(reader, field)()


def results(data: bytes, given: list[np.ndarray], unsigned: bool) -> list[np.ndarray]:
    """The interpreter's outputs: tflite-micro's, or TensorFlow Lite's for uint8."""
    if unsigned:
        return [litert(data, given)]
    interpreter = portable(data)
    for place, value in enumerate(given):
        interpreter.set_input(value, place)
    interpreter.invoke()
    return [interpreter.get_output(place).copy() for place in range(len(tflite.load(data).outputs))]


def check(data: bytes, seed: int = 0) -> str:
    """Whether a file is refused by name, or gives the interpreter's results."""
    try:
        graph = tflite.load(data)
    except GraphError as error:
        assert re.match(r"operator \d|tensor '|\w+ '", str(error)), error
        return "refused"
    rng, given = np.random.default_rng(seed), []
    for name in graph.inputs:
        x = graph.tensors[name]
        values = rng.integers(-128, 128, x.file_shape)
        # Sums of products of such real numbers are exact, whatever their order.
        given.append((values / 16).astype(np.float32) if x.dtype == "float32" else x.to_file(values.astype(np.int8)))
    x = {n: graph.tensors[n].from_file(v) for n, v in zip(graph.inputs, given, strict=True)}
    actual = run(graph, x)
    try:
        expected = results(data, given, graph.tensors[graph.inputs[0]].unsigned)
    except (RuntimeError, ValueError):
        return "refused by the interpreter"
    for name, values in zip(graph.outputs, expected, strict=False):
        np.testing.assert_array_equal(graph.tensors[name].to_file(actual[name]).reshape(values.shape), values)
    return "equal"


@pytest.mark.parametrize(("number", "place", "options", "field", "value"), cases())
def test_options(number, place, options, field, value):
    """Each field of an operator's options is refused, or changes what it changes in the interpreter."""
    builder, inputs, outputs = copy.deepcopy(FILES[number])
    op = builder.ops[place]
    op["options"], op["fields"] = options, {**op["fields"], field: value}
    check(builder.build(inputs, outputs))


def test_every_operator_has_a_file():
    """An operator whose options have fields is among the files, so that new fields are tried. CALL_ONCE's only one
    names a second graph, which these files lack."""
    tried = {op["kind"] for builder, *_ in FILES for op in builder.ops}
    assert not set(HANDLERS) - tried - {"RELU_N1_TO_1", "RELU_0_TO_1", "EXPAND_DIMS", "SQUEEZE", "CALL_ONCE"}


def test_fields_of_a_newer_schema():
    """A field that this version's schema lacks is refused."""
    builder = flatbuffers.Builder()
    builder.StartObject(9)
    builder.PrependInt32Slot(7, 5, 0)
    builder.Finish(builder.EndObject())
    table = schema.AddOptions.GetRootAs(builder.Output())._tab
    assert Options.of("AddOptions", table).unread() == {"field 7 of AddOptions": "set"}


def test_options_that_no_handler_reads(monkeypatch):
    """Fields of another table, and those of a later schema, which are said to begin earlier here."""
    f = File((1, 8))
    f.op("RELU", [f.given], [f.like((1, 8), (0.1, 0))], "Pool2DOptions", StrideH=1, Padding=0)
    with pytest.raises(GraphError, match=r"operator 0 \(RELU\): its options StrideH = 1 are not supported"):
        tflite.load(f.build([f.given], [1]))
    f = File((1, 8))
    f.op("ADD", [f.given, f.given], [f.like((1, 8), (0.1, 0))], "AddOptions", PotScaleInt16=False)
    data = f.build([f.given], [1])
    assert check(data) == "equal"
    known = options._known
    monkeypatch.setattr(options, "_known", lambda kind: 1 if kind == "AddOptions" else known(kind))
    with pytest.raises(GraphError, match="its options field 1 of AddOptions = set are not supported"):
        tflite.load(data)


def convolution(*, kind="CONV_2D", x=(), w=(), bias=None, y=(), version=1, more=None, **fields) -> bytes:
    """A file of a layer of two channels; arguments change fields of its tensors and of the operator."""
    shape, options = {
        "CONV_2D": ((2, 1, 1, 2), "Conv2DOptions"),
        "DEPTHWISE_CONV_2D": ((1, 1, 1, 2), "DepthwiseConv2DOptions"),
        "FULLY_CONNECTED": ((2, 2), "FullyConnectedOptions"),
    }[kind]
    b, rng = ModelBuilder(), np.random.default_rng(4)
    type = dict(x).get("type", "INT8")
    outer = (1, 3, 3) if kind != "FULLY_CONNECTED" else (1,)
    given = b.tensor((*outer, 2), **{"scale": 0.1, "zero_point": 3, **dict(x)})
    codes = rng.integers(0 if type == "UINT8" else -90, 90, shape)
    weights = b.constant(
        codes,
        **{
            "type": type,
            "scale": [0.02] * 2 if type == "INT8" else 0.02,
            "axis": 3 if kind[0] == "D" else 0,
            **dict(w),
        },
    )
    places = [given, weights]
    if bias is not None:
        places.append(b.constant([300, -200], **{"type": "INT32", "scale": 0.002, **bias}))
    result = b.tensor((*outer, 2), **{"type": type, "scale": 0.3, "zero_point": 1, **dict(y)})
    if kind != "FULLY_CONNECTED":
        fields = {"StrideH": 1, "StrideW": 1, "DilationHFactor": 1, "DilationWFactor": 1, **fields}
    if kind[0] == "D":
        fields = {"DepthMultiplier": 1, **fields}
    b.op(kind, places, [result], options, version=version, more=more, **fields)
    return b.build([given], [result])


LAYERS = ["CONV_2D", "DEPTHWISE_CONV_2D", "FULLY_CONNECTED"]


@pytest.mark.parametrize("kind", LAYERS)
@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({}, None),
        ({"bias": {}}, None),
        ({"bias": {"scale": None}}, None),
        ({"bias": {"scale": 0.002004}}, None),
        ({"bias": {"scale": 0.004}}, "has the scale 0.004 in channel 0, not 0.002, the product of the scales"),
        ({"bias": {"scale": [0.002, 0.003]}}, "has the scale 0.003 in channel 1, not 0.002"),
        ({"bias": {"scale": [0.002] * 3}}, "has 3 scales for 2 channels"),
        ({"bias": {"zero_point": 4}}, "has a zero point; quantize it symmetrically"),
        ({"bias": {"type": "INT64"}}, "its bias must be INT32, not INT64"),
        ({"w": {"scale": [0.02, 0.01], "zero_point": 2}}, "have zero points, which int8 weights must not"),
        ({"w": {"scale": [0.02, 0.01], "axis": 1}}, "have scales along axis 1, not"),
        ({"w": {"type": "UINT8"}}, "are UINT8, not INT8 or INT4"),
        ({"w": {"IsVariable": True}}, "it is a variable"),
        ({"x": {"details": 1}}, "its quantization is custom"),
        ({"w": {"details": 2}}, "its quantization is blockwise"),
        ({"y": {"type": "UINT8", "zero_point": 129}}, "it mixes INT8 and UINT8"),
        ({"x": {"type": "UINT8", "zero_point": 131}, "w": {"scale": [0.02, 0.01]}}, "have 2 scales for 2 channels"),
        ({"x": {"type": "UINT8", "zero_point": 131}, "w": {"zero_point": 7}, "bias": {}}, None),
        ({"version": 99}, "its version 99 is newer than version"),
        ({"more": {"Intermediates": [0]}}, "it has intermediate tensors, which is not supported"),
        ({"more": {"CustomOptionsFormat": 0}}, None),
    ],
)
def test_layers(kind, changes, message):
    """Weights and biases whose numbers the interpreters ignore, and other fields of tensors and operators."""
    data = convolution(kind=kind, **changes)
    if message is None:
        assert check(data) == "equal"
    else:
        with pytest.raises(GraphError, match=re.escape(message)):
            tflite.load(data)


def test_one_zero_point_of_weights():
    """Fully connected layers subtract it, convolutions would not."""
    assert check(convolution(kind="FULLY_CONNECTED", w={"scale": 0.02, "zero_point": 5})) == "equal"
    for kind in LAYERS[:2]:
        with pytest.raises(GraphError, match="have zero points, which int8 weights must not"):
            tflite.load(convolution(kind=kind, w={"scale": 0.02, "zero_point": 5}))


def test_inputs_that_nothing_reads():
    f = File((1, 8))
    f.op("RELU", [f.given, f.constant([1])], [f.like((1, 8), (0.1, 0))])
    with pytest.raises(GraphError, match=r"operator 0 \(RELU\): its input 1 is not supported"):
        tflite.load(f.build([f.given], [2]))


def test_outputs_that_nothing_makes():
    f = File((1, 8))
    f.op("RELU", [f.given], [f.like((1, 8), (0.1, 0)), f.like((1, 8))])
    with pytest.raises(GraphError, match=r"operator 0 \(RELU\): its output 1 is not supported"):
        tflite.load(f.build([f.given], [1]))


@pytest.mark.parametrize(
    ("kind", "shape", "out", "options", "constants", "fields"),
    [
        ("RESHAPE", (1, 2, 6), (1, 12), "", [[1, 6, 2]], {}),
        ("RESHAPE", (1, 2, 6), (1, 12), "ReshapeOptions", [], {"NewShape": [1, 6, 2]}),
        ("SQUEEZE", (1, 2, 1, 6), (1, 2, 6), "SqueezeOptions", [], {"SqueezeDims": [0]}),
        ("SQUEEZE", (1, 2, 1, 6), (1, 2, 6), "SqueezeOptions", [], {}),
        ("EXPAND_DIMS", (1, 2, 6), (1, 2, 6, 1), "", [2], {}),
        ("RESIZE_NEAREST_NEIGHBOR", (1, 2, 2, 1), (1, 4, 4, 1), "ResizeNearestNeighborOptions", [[4, 6]], {}),
    ],
)
def test_shapes_that_contradict_the_output(kind, shape, out, options, constants, fields):
    builder, inputs, outputs = File(shape).to(kind, out, options, constants, **fields)
    with pytest.raises(GraphError, match=r"its output has the shape .*, (which is not|not rows and columns)"):
        tflite.load(builder.build(inputs, outputs))


def test_a_newer_kind_is_named_before_types():
    b = ModelBuilder()
    x, y = b.tensor((1, 4), "INT16", scale=0.1), b.tensor((1, 4), "FLOAT32")
    b.op("CUMSUM", [x], [y])
    with pytest.raises(GraphError, match="CUMSUM is not supported; convert the model without it"):
        tflite.load(b.build([x], [y]))


def test_buffers_behind_the_tables():
    """Files beyond 2 GiB state where a buffer begins in the file."""
    b, values = ModelBuilder(), np.arange(1, 9, dtype=np.int8)
    x, y = b.tensor((1, 8), scale=0.1), b.tensor((1, 8), scale=0.2)
    w = b.tensor((1, 8), scale=0.1, outside=values)
    b.op("ADD", [x, w], [y], "AddOptions")
    data = b.build([x], [y])
    constant = next(op for op in tflite.load(data).ops if isinstance(op, Constant))
    np.testing.assert_array_equal(constant.values, values[None])
    with pytest.raises(GraphError, match="its buffer lies outside of the file"):
        tflite.load(data[:-1])


def test_other_graphs_are_left_out():
    """The interpreter runs the first; a warning says so."""
    b = ModelBuilder()
    x, y = b.tensor((1, 8), scale=0.1), b.tensor((1, 8), scale=0.2)
    b.op("RELU", [x], [y])
    with pytest.warns(SateenWarning, match="the file has 2 graphs; the first is taken"):
        assert check(b.build([x], [y], graphs=2)) == "equal"


def test_kinds_without_the_older_number():
    """ai-edge-quantizer numbers the operators that it adds in the newer field alone."""
    b = ModelBuilder(old_codes=False)
    x, y = b.tensor((1, 64), scale=0.1), b.tensor((1, 64), scale=0.2, zero_point=3)
    b.op("QUANTIZE", [x], [y])
    assert check(b.build([x], [y])) == "equal"
