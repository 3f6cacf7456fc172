"""Weights of 9 bits, those of files that give weights a zero point: in every form of a layer, as fast as int8 ones."""

from __future__ import annotations

import dataclasses
import itertools

import numpy as np
import pytest

import sateen
from sateen.compiler import notes
from sateen.compiler.lowering.zero_points import weight_parts, zero_point
from sateen.graph import run
from sateen.hw.spec.config import parse_config
from sateen.hw.spec.descriptor import Descriptor
from sateen.testing.graphs import Builder, random_input

SAME = ((1, 1), (1, 1))
ZERO_POINTS = (-128, -1, 0, 127, 40)
"""Of int8: those of uint8 are larger by 128."""


def test_zero_point():
    """Every range that has one; its codes are bytes, also that of no weight."""
    for low, high in itertools.product(range(-255, 256, 5), repeat=2):
        weights = np.array(sorted({low, high}), np.int16)
        if max(0, high, low) - min(0, high, low) > 255:
            with pytest.raises(ValueError, match="have no zero point in common"):
                zero_point(weights)
            continue
        found = zero_point(weights)
        codes = np.append(weights, 0) + found
        assert codes.min() >= -128 and codes.max() <= 127
        assert found == 0 or weights.min() < -128 or weights.max() > 127


def test_weight_parts():
    """Bytes, or one part where the device subtracts a zero point, or parts that sum up."""
    wide, narrow = parse_config("small"), parse_config("small,weight_bits=8")
    for weights in ([-128, 127], [-255, 0], [0, 255], [-200, 55], [-129, 127], [-255, 255]):
        array = np.array(weights, np.int16)
        for config in (wide, narrow):
            parts = weight_parts(array, config)
            np.testing.assert_array_equal(sum(part.astype(np.int64) for part in parts), array)
            one = min(weights) >= -128 and max(weights) <= 127 or config is wide and max(weights) - min(weights) <= 255
            assert (len(parts) == 1) == one
            assert all(part.dtype == np.int8 for part in parts) or one


def forms(rng):
    """A layer for each form in which it may be computed."""
    yield Builder((6, 6, 12), rng, name="blocks").conv2d(7, (3, 3), padding=SAME)
    yield Builder((12, 2, 1), rng, name="narrow").conv2d(5, (5, 2), stride=(2, 1), padding=((2, 1), (1, 0)))
    yield Builder((7, 8, 3), rng, name="side by side").conv2d(2, (3, 2), stride=(2, 1), padding=((1, 1), (1, 0)))
    yield Builder((9, 9, 2), rng, name="dilated").conv2d(7, (3, 3), dilation=(2, 3), padding=((2, 2), (3, 3)))
    yield Builder((5, 5, 40), rng, name="sparse", density=0.1).conv2d(6, (3, 3), padding=SAME)
    yield Builder((7, 6, 20), rng, name="depthwise").depthwise_conv2d((3, 3), padding=SAME)
    yield Builder((1, 3, 5), rng, name="depthwise of one line").depthwise_conv2d((5, 3), padding=((2, 2), (1, 1)))
    yield Builder((6, 6, 3), rng, name="depthwise, several each").depthwise_conv2d((3, 3), padding=SAME, each=2)
    yield Builder((30,), rng, name="fully connected").fully_connected(11)


def with_zero_points(graph, points, rng):
    """The graph with weights less zero points: for each layer one, or one for each channel; both ends of the codes."""
    ops = []
    for op, layer_points in zip(graph.ops, points, strict=True):
        codes = rng.integers(-128, 128, op.weights.shape)
        codes.flat[:2] = -128, 127
        point = np.reshape(layer_points, [-1, *[1] * (codes.ndim - 1)])
        if (op.weights == 0).mean() > 0.5:
            codes = np.where(op.weights == 0, point, codes)
        ops.append(dataclasses.replace(op, weights=(codes - point).astype(np.int16)))
    return dataclasses.replace(graph, ops=ops)


def cycles(graph, config):
    return sum(layer.predicted.cycles for layer in sateen.compile(graph, config).layers)


def check(device, graph, rng):
    """Every tensor equals the golden model's."""
    x = random_input(graph, rng)
    loaded = device.load(sateen.compile(graph, device.config, strict=True))
    _, tensors = loaded.run(x, layers=True)
    for name, values in run(graph, x, layers=True).items():
        np.testing.assert_array_equal(tensors[name], values, err_msg=f"{name} of {graph.name}")
    return loaded


@pytest.mark.parametrize(
    "config",
    [
        "tiny", "small", "tiny,combine=4", "tiny,pe=bitserial", "tiny,pe=interleaved",
        pytest.param("tiny,pe=packed,multipliers=4", marks=pytest.mark.prove),
        "micro,weight_bits=9,scratchpad_bytes=8192,weight_bytes=16384,descriptors=32",
    ],
)  # fmt: skip
def test_every_form(config):
    """Exact, and in the cycles of int8 weights."""
    rng, slid = np.random.default_rng(1), 0
    with sateen.open(f"sim:{config}") as device:
        for number, builder in enumerate(forms(rng)):
            plain = builder.graph()
            graph = with_zero_points(plain, [ZERO_POINTS[number % len(ZERO_POINTS)]], rng)
            loaded = check(device, graph, rng)
            slid += any(Descriptor.slides(segment.program.tobytes()) for segment in loaded.model.segments)
            if plain.name != "sparse":
                assert cycles(graph, device.config) == cycles(plain, device.config), plain.name
        assert (slid > 0) == device.config.sliding


def test_layers_of_different_zero_points_follow_each_other():
    """The weights of the next layer are loaded while this one computes."""
    rng = np.random.default_rng(2)
    builder = Builder((6, 6, 8), rng)
    for _ in range(3):
        builder.conv2d(9, (1, 1)).depthwise_conv2d((3, 3), padding=SAME)
    graph = with_zero_points(builder.graph(), (-128, 127, 0, 40, -1, 127), rng)
    with sateen.open("sim:tiny") as device:
        loaded, x = device.load(sateen.compile(graph, device.config)), random_input(graph, rng, 2)
        assert loaded.model.resident
        np.testing.assert_array_equal(loaded.run(x), run(graph, x)[graph.outputs[0]])


SEVERAL = "their zero points differ too much between channels; quantize weights with one zero point, or with none"
NARROW = "holds weights of 8 bits; set its weight_bits to 9, or quantize weights to int8 without a zero point"
TERM = "pe=term holds weights of 8 bits; quantize weights to int8 without a zero point"


@pytest.mark.parametrize(
    ("config", "each", "reason"),
    [
        ("small", True, SEVERAL),
        ("tiny,pe=bitserial", True, SEVERAL),
        ("tiny,weight_bits=8", False, NARROW),
        ("tiny,weight_bits=8", True, SEVERAL),
        ("tiny,pe=term,weight_bytes=32768", False, TERM),
    ],
)
def test_parts(config, each, reason):
    """Where the device cannot subtract a zero point, layers are exact, windows slide, and the compiler says why."""
    rng = np.random.default_rng(3)
    with sateen.open(f"sim:{config}") as device:
        for builder in forms(rng):
            plain = builder.graph()
            outputs = len(plain.ops[0].weights)
            points = np.resize([-128, 127, 0], outputs) if each else 127
            with pytest.warns(sateen.SateenWarning, match="1 layer multiplies its weights in parts") as said:
                loaded = check(device, with_zero_points(plain, [points], rng), rng)
            assert str(said[0].message).endswith(reason)
            # What shows a compiled model says it again.
            (note,) = notes(loaded.model).values()
            assert note.startswith("its weights are multiplied in ") and note.endswith(reason)
            if plain.name == "depthwise" and device.config.sliding:
                assert any(Descriptor.slides(segment.program.tobytes()) for segment in loaded.model.segments)


def test_dilation_of_many_channels():
    """Their parts have no kernel."""
    rng = np.random.default_rng(4)
    graph = Builder((9, 9, 12), rng).conv2d(4, (3, 3), dilation=(2, 2)).graph()
    graph = with_zero_points(graph, [np.array([-128, 127, 0, 0])], rng)
    with pytest.raises(sateen.CompileError, match="a dilation, weights of more than 4 channels.*zero points differ"):
        sateen.compile(graph, "tiny", strict=True)


def test_older_devices_refuse():
    """A device whose PEs have 8 bits would not subtract."""
    rng = np.random.default_rng(5)
    graph = with_zero_points(Builder((4, 4, 4), rng).conv2d(3, (1, 1)).graph(), [127], rng)
    model = sateen.compile(graph, "tiny")
    with sateen.open("sim:tiny,weight_bits=8") as device:
        with pytest.raises(sateen.ConfigMismatch, match="weight_bits is 8 here, 9 in the model"):
            device.load(model)
