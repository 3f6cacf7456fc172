"""Weights of uint8 with zero points, from a file to a simulated device, against the interpreters: every integer, in the
cycles of int8 weights."""

from __future__ import annotations

import numpy as np
import pytest

import needs
import sateen
from interpreters import litert_tensors
from mobilenet import mobilenet_v1
from onnx_models import model, numbers, reference
from sateen.frontends import onnx as onnx_frontend
from sateen.frontends import tflite
from sateen.runtime import Device

helper = needs.package("onnx", extra="onnx").helper


@pytest.fixture(scope="module")
def device():
    with sateen.open("sim:small") as opened:
        yield opened


def test_mobilenet(device):
    """Every tensor equals TensorFlow Lite's reference kernels."""
    cycles = {}
    for unsigned in (False, True):
        data = mobilenet_v1(unsigned=unsigned, size=24, width=0.25, blocks=4, classes=19)
        x = np.random.default_rng(0).integers(0, 256, (1, 24, 24, 3)).astype(np.uint8)
        x = x if unsigned else (x.astype(np.int16) - 128).astype(np.int8)
        expected = litert_tensors(data, x)
        loaded = device.load(sateen.compile(tflite.load(data), device.config, strict=True))
        _, actual = loaded.run(x, layers=True)
        for name, values in actual.items():
            np.testing.assert_array_equal(values, expected[name], err_msg=name)
        cycles[unsigned] = loaded.profile.cycles
    assert cycles[True] == cycles[False]


CORNERS = (0, 127, 128, 255, 93)


@pytest.mark.parametrize("zero_point", CORNERS)
@pytest.mark.parametrize("groups", [1, 12])
def test_onnx_convolution(device: Device, zero_point: int, groups: int):
    """QLinearConv, also depthwise, of weights whose codes reach both ends."""
    rng = np.random.default_rng([zero_point, groups])
    w = rng.integers(0, 256, (12, 12 // groups, 3, 3)).astype(np.uint8)
    w[0, 0, 0, :2] = 0, 255
    scale = 0.9 / np.sqrt(((w.astype(float) - zero_point) ** 2).sum(axis=(1, 2, 3)).mean())
    constants = numbers("x", 0.0513, 3, "u") | numbers("y", 0.0497, -5, "u")
    constants |= {"w": w, "w_s": np.float32(scale), "w_z": np.uint8(zero_point)}
    constants |= {"b": rng.integers(-300, 300, 12).astype(np.int32)}
    places = ["x", "x_s", "x_z", "w", "w_s", "w_z", "y_s", "y_z", "b"]
    node = helper.make_node("QLinearConv", places, ["y"], pads=[1, 1, 1, 1], group=groups)
    data = model([node], [("x", "u", (1, 12, 5, 6))], ("y", "u", (1, 12, 5, 6)), constants)
    x = rng.integers(0, 256, (1, 12, 5, 6)).astype(np.uint8)
    (expected,) = reference(data, {"x": x})
    loaded = device.load(sateen.compile(onnx_frontend.load(data), device.config, strict=True))
    np.testing.assert_array_equal(loaded.run(x), expected)
    assert len(np.unique(expected)) > 100
