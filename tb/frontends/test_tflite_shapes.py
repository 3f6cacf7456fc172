"""Shapes that TensorFlow Lite's files have besides images with a batch: convolutions in groups, slices backwards,
tensors without a batch or without a scale."""

from __future__ import annotations

import itertools

import numpy as np
import pytest

from interpreters import litert, micro
from sateen.frontends import tflite
from sateen.frontends.tflite.file import read
from sateen.graph import Conv2D, DepthwiseConv2D, GraphError, run
from small_models import File
from tflite_models import ModelBuilder


def check(data: bytes, *interpreters, seed: int = 0) -> None:
    """Asserts that the graph of a file gives the results of interpreters, for one item."""
    graph, rng = tflite.load(data), np.random.default_rng(seed)
    model = read(data)
    given = []
    for index in model.inputs:
        raw = model.tensors[index]
        low = 0 if raw.type == "UINT8" else -128
        given.append(rng.integers(low, low + 256, raw.shape).astype(raw.type.lower()))
    shaped = {
        name: graph.tensors[name].from_file(values.reshape(graph.tensors[name].shape))
        for name, values in zip(graph.inputs, given, strict=True)
    }
    y = graph.outputs[0]
    actual = graph.tensors[y].to_file(run(graph, shaped)[y])
    for interpreter in interpreters:
        expected = interpreter(data, given)
        np.testing.assert_array_equal(actual.reshape(expected.shape), expected, err_msg=interpreter.__name__)


@pytest.mark.parametrize(("groups", "depth", "outputs"), [(2, 2, 6), (3, 1, 3), (3, 1, 6), (2, 3, 2), (1, 4, 5)])
@pytest.mark.parametrize("kernel", [1, 3])
def test_groups(groups, depth, outputs, kernel):
    b, rng = ModelBuilder(), np.random.default_rng(groups)
    x = b.tensor((1, 5, 4, groups * depth), scale=0.05, zero_point=7)
    w = rng.integers(-127, 128, (outputs, kernel, kernel, depth))
    scales = rng.uniform(0.005, 0.02, outputs)
    weights, bias = b.constant(w, "INT8", scale=scales), b.constant(rng.integers(-900, 900, outputs))
    y = b.tensor((1, 5, 4, outputs), scale=0.3, zero_point=-4)
    fields = {"StrideH": 1, "StrideW": 1, "DilationHFactor": 1, "DilationWFactor": 1, "FusedActivationFunction": 1}
    b.op("CONV_2D", [x, weights, bias], [y], "Conv2DOptions", version=6, **fields)
    data = b.build([x], [y])
    (op,) = tflite.load(data).ops
    assert type(op) is (DepthwiseConv2D if depth == 1 else Conv2D)
    check(data, micro, litert)


def test_groups_that_do_not_fit():
    b = ModelBuilder()
    x, y = b.tensor((1, 2, 2, 6), scale=0.05), b.tensor((1, 2, 2, 4), scale=0.3)
    w = b.constant(np.ones((4, 1, 1, 2)), "INT8", scale=0.01)
    b.op("CONV_2D", [x, w], [y], "Conv2DOptions", StrideH=1, StrideW=1, DilationHFactor=1, DilationWFactor=1)
    with pytest.raises(GraphError, match=r"its weights tensor 't2' of \(4, 1, 1, 2\) do not fit 6 channels"):
        tflite.load(b.build([x], [y]))


@pytest.mark.parametrize("type", ["INT8", "UINT8"])
@pytest.mark.parametrize("kind", ["MAXIMUM", "MINIMUM"])
@pytest.mark.parametrize("place", [0, 1])
@pytest.mark.parametrize("code", [-128, -3, 0, 127])
def test_limits(type, kind, place, code):
    """The larger or smaller of a tensor and a constant."""
    f = File((1, 512), type)
    code += 128 if type == "UINT8" else 0
    limit = f.like((1,), data=np.array([code], type.lower()))
    inputs = [limit, f.given] if place else [f.given, limit]
    builder, *ends = f.ends(kind, inputs, [f.like((1, 512))], "MaximumMinimumOptions")
    check(builder.build(*ends), litert, *([micro] if type == "INT8" else []))


def test_limits_of_another_scale():
    f = File((1, 8))
    limit = f.like((), (0.1, 3), data=np.int8(5))
    builder, *ends = f.ends("MAXIMUM", [f.given, limit], [f.like((1, 8))])
    with pytest.raises(GraphError, match="must have the same scale and zero point, because codes are compared"):
        tflite.load(builder.build(*ends))


def sliced(shape, begin, end, step, out, **masks) -> bytes:
    """A file of a STRIDED_SLICE."""
    f = File(shape)
    constants = [f.constant(values) for values in (begin, end, step)]
    result = f.like(out)
    other = f.tensor((1, 3), scale=0.1)
    f.op("STRIDED_SLICE", [f.given, *constants], [result], "StridedSliceOptions", **masks)
    return f.build([f.given, other], [result])


@pytest.mark.parametrize("step", [-3, -1, 1, 2])
@pytest.mark.parametrize("masks", range(4))
def test_slices_backwards(step, masks):
    """Every begin and end of an axis, from within to beyond."""
    for begin, end in itertools.product((-9, -1, 0, 3, 8), repeat=2):
        flags = {"BeginMask": masks & 1 and 2, "EndMask": masks >> 1 and 2}
        first = slice(None if masks & 1 else begin, None if masks >> 1 else end, step)
        count = len(range(*first.indices(5)))
        if count:
            check(sliced((1, 5, 3), [0, begin, 0], [1, end, 3], [1, step, 1], (1, count, 3), **flags), micro, litert)


@pytest.mark.parametrize(
    ("shape", "begin", "end", "step", "out", "masks", "interpreters"),
    [
        ((2, 4, 5), [0, 9, 1], [0, 0, 3], [1, 1, 1], (2, 4, 2), {"EllipsisMask": 2, "EndMask": 1}, [litert]),
        ((2, 4, 5), [0, 1], [0, 3], [1, 1], (2, 4, 2), {"EllipsisMask": 1}, [litert]),
        ((2, 4, 5), [1, 0], [2, 0], [1, 1], (1, 4, 5), {"EllipsisMask": 2}, [litert]),
        ((2, 4, 5), [1], [2], [1], (1, 4, 5), {}, [litert]),
        ((2, 4, 5), [1], [2], [1], (4, 5), {"ShrinkAxisMask": 1}, [litert]),
        ((1, 4, 5), [0], [1], [1], (4, 5), {"ShrinkAxisMask": 1}, [litert]),
        ((2, 4, 5), [-1, 3, 0], [0, 0, 5], [1, 1, 1], (5,), {"ShrinkAxisMask": 3}, [micro, litert]),
        ((2, 4, 5), [1, 3, 4], [0, 0, 5], [1, 1, 1], (), {"ShrinkAxisMask": 7}, [micro]),
        ((2, 4, 5), [1, 3], [0, 0], [1, 1], (4, 5), {"ShrinkAxisMask": 1, "BeginMask": 3, "EndMask": 2}, [litert]),
        ((2, 4, 5), [0, 7, 1], [2, 7, 4], [1, 7, 2], (2, 1, 2, 5), {"NewAxisMask": 2}, [litert]),
        ((1, 4, 5), [0, 0], [0, 0], [1, 1], (1, 4, 5, 1), {"NewAxisMask": 2, "EllipsisMask": 1}, [litert]),
        ((3, 4, 5), [2, 0, 0], [0, 2, 5], [-1, 1, 1], (2, 2, 5), {}, [micro, litert]),
        ((3, 4, 5), [-1, 0, 0], [0, 4, 5], [-1, 1, 1], (3, 4, 5), {"EndMask": 1}, [micro, litert]),
        ((1, 6), [0, 1], [1, 3], [1, 1], (1, 3), {"Offset": True}, [litert]),
    ],
)  # fmt: skip
def test_slices(shape, begin, end, step, out, masks, interpreters):
    """Ellipses, new axes, axes that are left out, and the first axis."""
    check(sliced(shape, begin, end, step, out, **masks), *interpreters)


@pytest.mark.parametrize(
    ("masks", "begin", "message"),
    [
        ({"EllipsisMask": 3}, [0, 0], "it has several ellipses"),
        ({}, [0, 5], "it selects nothing of"),
        ({"ShrinkAxisMask": 2}, [0, 7], "its index 7 is none of 4 positions"),
        ({}, [0, 0, 0, 0], r"its 4 ranges are more than the axes of \(1, 4, 5\)"),
    ],
)
def test_slices_that_are_refused(masks, begin, message):
    data = sliced((1, 4, 5), begin, [1, 4, 5, 6][: len(begin)], [1] * len(begin), (1, 4, 5), **masks)
    with pytest.raises(GraphError, match=message):
        tflite.load(data)


def test_a_single_position_backwards():
    """The interpreters write nothing of it: what they give differs."""
    with pytest.raises(GraphError, match="takes a single position, 2, with the step -1"):
        tflite.load(sliced((1, 4, 5), [0, 2], [1, 3], [1, -1], (1, 5), ShrinkAxisMask=2))


@pytest.mark.parametrize(
    ("kind", "shape", "out", "options", "constants", "fields"),
    [
        ("RESHAPE", (12,), (3, 4), "", [[3, 4]], {}),
        ("RESHAPE", (), (1,), "", [[1]], {}),
        ("EXPAND_DIMS", (), (1,), "", [0], {}),
        ("TRANSPOSE", (3, 4, 5), (5, 3, 4), "", [[2, 0, 1]], {}),
        ("TRANSPOSE", (1, 4, 5), (5, 1, 4), "", [[2, 0, 1]], {}),
        ("TRANSPOSE", (1, 4, 5), (4, 5, 1), "", [[1, -1, 0]], {}),
        ("PAD", (3, 4), (6, 4), "", [[[1, 2], [0, 0]]], {}),
        ("PAD", (1, 4), (3, 5), "", [[[1, 1], [0, 1]]], {}),
        ("SLICE", (3, 4), (1, 2), "", [[1, 2], [1, -1]], {}),
        ("RELU", (7,), (7,), "", [], {}),
        ("RELU", (), (), "", [], {}),
        ("RELU", (3, 4), (3, 4), "", [], {}),
    ],
)
@pytest.mark.parametrize("alone", [True, False])
def test_tensors_without_a_batch(kind, shape, out, options, constants, fields, alone):
    """Also where all tensors begin with the same size, which then is no batch."""
    f = File(shape)
    inputs, result = [f.given, *(f.constant(values) for values in constants)], f.like(out)
    f.op(kind, inputs, [result], options, **fields)
    others = [] if alone else [f.tensor((1, 3), scale=0.1)]
    interpreter = litert if kind == "TRANSPOSE" else micro
    check(f.build([f.given, *others], [result]), interpreter)


def test_an_image_without_a_batch():
    """All tensors at the ends begin with the number of rows."""
    b, rng = ModelBuilder(), np.random.default_rng(1)
    x, y = b.tensor((6, 5, 2), scale=0.1), b.tensor((6, 5, 3), scale=0.3)
    image, made = b.tensor((1, 6, 5, 2), scale=0.1), b.tensor((1, 6, 5, 3), scale=0.3)
    weights = b.constant(rng.integers(-127, 128, (3, 3, 3, 2)), "INT8", scale=0.01)
    b.op("EXPAND_DIMS", [x, b.constant(0)], [image])
    fields = {"StrideH": 1, "StrideW": 1, "DilationHFactor": 1, "DilationWFactor": 1}
    b.op("CONV_2D", [image, weights, b.constant(np.zeros(3))], [made], "Conv2DOptions", **fields)
    b.op("SQUEEZE", [made], [y], "SqueezeOptions", SqueezeDims=[0])
    check(b.build([x], [y]), micro, litert)


@pytest.mark.parametrize("axis", [0, 1])
@pytest.mark.parametrize("kind", ["SPLIT", "UNPACK"])
def test_pieces_of_the_first_axis(kind, axis):
    b = ModelBuilder()
    x, other = b.tensor((2, 4), scale=0.1), b.tensor((1, 3), scale=0.1)
    shape = {("SPLIT", 0): (1, 4), ("SPLIT", 1): (2, 2), ("UNPACK", 0): (4,), ("UNPACK", 1): (2,)}[kind, axis]
    count = 4 if (kind, axis) == ("UNPACK", 1) else 2
    pieces = [b.tensor(shape, scale=0.1) for _ in range(count)]
    if kind == "SPLIT":
        b.op(kind, [b.constant(axis), x], pieces, "SplitOptions", NumSplits=count)
    else:
        b.op(kind, [x], pieces, "UnpackOptions", Num=count, Axis=axis)
    check(b.build([x, other], [pieces[-1]]), micro, litert)


@pytest.mark.parametrize("type", ["INT8", "UINT8"])
@pytest.mark.parametrize("scales", [(None, None, None), (0.1, None, None), (None, None, 0.1), (None, 0.1, None)])
def test_tensors_without_a_scale(type, scales):
    """Codes that are only moved need none."""
    b = ModelBuilder()
    shapes = [(1, 4, 3), (1, 3, 4), (1, 3, 2)]
    x, y, z = (
        b.tensor(shape, type, scale=scale, zero_point=130 if type == "UINT8" else 5)
        for shape, scale in zip(shapes, scales, strict=True)
    )
    b.op("TRANSPOSE", [x, b.constant([0, 2, 1])], [y])
    b.op("SLICE", [y, b.constant([0, 0, 1]), b.constant([1, 3, 2])], [z])
    check(b.build([x], [z]), litert, *([micro] if type == "INT8" else []))


def test_tensors_without_a_scale_that_are_computed_with():
    b = ModelBuilder()
    x, y, z = b.tensor((1, 4)), b.tensor((4, 1)), b.tensor((4, 1), scale=0.1)
    b.op("RESHAPE", [x, b.constant([4, 1])], [y])
    b.op("RELU", [y], [z])
    with pytest.raises(GraphError, match="tensor 't1': it has no scale; quantize the whole model to int8"):
        tflite.load(b.build([x], [z]))
