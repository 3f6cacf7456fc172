"""Devices whose lanes do not round as onnxruntime does."""

import dataclasses

import numpy as np
import pytest

import sateen
from residual_networks import residual_network
from sateen.graph import run
from sateen.hw.pipelined.units import Units
from sateen.hw.spec.config import Config, parse_config
from sateen.hw.spec.descriptor import Rounding
from sateen.testing.graphs import Builder, random_input

PLAIN = "tiny,cols=8,lanes=4,residual=2,positions=256,weight_bytes=32768,float_rounding=0"
NEEDS = "it rounds as onnxruntime does, for which a device needs float_rounding=1"


def network(rounding):
    """A convolution, and one whose result is added to the first one's."""
    graph = residual_network(np.random.default_rng(1), (6, 5, 8), rounding=rounding)
    return dataclasses.replace(graph, ops=[dataclasses.replace(op, rounding=rounding) for op in graph.ops])


@pytest.mark.parametrize("rounding", [Rounding.DOUBLE, Rounding.SINGLE])
def test_other_roundings_stay(rounding):
    graph = network(rounding)
    x = random_input(graph, np.random.default_rng(2), 2)
    with sateen.open(f"sim:{PLAIN}") as device:
        loaded = device.load(sateen.compile(graph, device.config, strict=True))
        np.testing.assert_array_equal(loaded.run(x), run(graph, x)[graph.outputs[0]])


def test_onnxruntimes_goes_to_the_host():
    rounding = Rounding.FLOAT32
    graph = Builder((6, 5, 8), np.random.default_rng(1)).conv2d(8, (3, 3), rounding=rounding).graph()
    with pytest.raises(sateen.CompileError, match=NEEDS):
        sateen.compile(graph, PLAIN, strict=True)
    with pytest.warns(sateen.SateenWarning, match=NEEDS):
        model = sateen.compile(graph, PLAIN)
    assert len(model.fallbacks) == len(graph.ops)
    sateen.compile(graph, PLAIN.replace("float_rounding=0", "float_rounding=1"), strict=True)


def test_models_of_other_devices_are_refused():
    graph = network(Rounding.DOUBLE)
    with sateen.open(f"sim:{PLAIN}") as device, pytest.raises(sateen.ConfigMismatch, match="float_rounding is 0 here"):
        device.load(sateen.compile(graph, PLAIN.replace("float_rounding=0", "float_rounding=1")))
    codes = {parse_config(f"tiny,float_rounding={value}").layout_code for value in (0, 1)}
    assert len(codes) == 2 and parse_config("tiny,float_rounding=1").layout_code == parse_config("tiny").layout_code


def test_all_lanes_go_without():
    for value in (0, 1):
        units = Units(dataclasses.replace(parse_config(PLAIN), float_rounding=value))
        assert units.postprocess.float_rounding == units.residual.float_rounding == bool(value)


@pytest.mark.parametrize(
    "fields",
    [{"engine": "sequential", "lanes": 1}, {"softmax": 2}, {"layer_norm": 64}],
    ids=lambda fields: next(iter(fields)),
)
def test_refusals(fields):
    Config(**fields)
    with pytest.raises(ValueError, match="float_rounding must be 1 with engine=sequential, softmax=2 or layer_norm"):
        Config(**fields, float_rounding=0)
    with pytest.raises(ValueError, match="float_rounding must be a whole number from 0 to 1, not 2"):
        Config(float_rounding=2)
