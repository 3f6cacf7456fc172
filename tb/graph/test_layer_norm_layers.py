"""Layer normalization on the device, against the golden model."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from test_softmax_layers import check, on_activations, on_output, tampered

import sateen
import seeds
from sateen.compiler.verification import verify_program
from sateen.errors import CompileError, InternalError
from sateen.graph import Graph, GraphError, LayerNorm, Tensor, run
from sateen.hw.spec.config import Config, parse_config
from sateen.hw.spec.descriptor import Rounding
from sateen.sim import golden

CONFIGS = [
    "tiny,layer_norm=64,positions=256,descriptors=12,scratchpad_bytes=1024",
    "small,layer_norm=64,softmax=1,direct=1,positions=64,lanes=3,overlap=1,weight_rows=2",
]
"""Records in two words and in one; tables in two ways; lanes that do not divide the columns."""
SHAPES = [(16,), (3, 24), (2, 3, 40), (9, 64), (20, 16)]
"""One row, and several; some that are cut between rows."""


def graph(shape, *, centred=True, scale=0.02, zero_point=3, output=(0.03, -4), epsilon=1e-5, factor=1.0):
    """A layer normalization, with a bias if it is ``centred``."""
    rng = np.random.default_rng(seeds.own())
    factors, bias = rng.normal(size=(2, shape[-1])).astype(np.float32)
    x = Tensor(name="x", shape=(1, *shape), scale=scale, zero_point=zero_point)
    y = Tensor(name="y", shape=(1, *shape), scale=output[0], zero_point=output[1])
    op = LayerNorm(
        name="norm", input="x", output="y", scale=factors * np.float32(factor), bias=bias * np.float32(centred),
        epsilon=epsilon, centred=centred,
    )  # fmt: skip
    return Graph(name="g", tensors={"x": x, "y": y}, ops=[op], inputs=["x"], outputs=["y"])


def codes(*shape):
    return np.random.default_rng(seeds.own()).integers(-128, 128, shape).astype(np.int8)


@pytest.fixture(scope="module", params=CONFIGS)
def device(request):
    with sateen.open(f"sim:{request.param}") as opened:
        yield opened


@pytest.mark.parametrize("centred", [True, False])
@pytest.mark.parametrize("shape", SHAPES)
def test_on_the_device(device, shape, centred):
    x = codes(3, *shape)
    # Rows of equal values, and of all but one.
    x[0, ..., :] = x[0, ..., :1]
    x[1, ..., 1:] = 5
    check(device, graph(shape, centred=centred), x)


@pytest.mark.parametrize(("zero_point", "output"), [(-128, (0.05, 127)), (127, (0.004, -128)), (0, (0.1, 0))])
def test_zero_points(device, zero_point, output):
    check(device, graph((4, 32), zero_point=zero_point, output=output), codes(2, 4, 32))


def test_behind_each_other(device):
    """Two layers, with other records each."""
    first, second = graph((5, 24)), graph((5, 24), centred=False, scale=0.03, zero_point=-4, output=(0.02, 9))
    tensors = {**first.tensors, "z": replace(second.tensors["y"], name="z")}
    ops = [first.ops[0], replace(second.ops[0], name="second", input="y", output="z")]
    made = Graph(name="g", tensors=tensors, ops=ops, inputs=["x"], outputs=["z"])
    x = codes(2, 5, 24)
    loaded = device.load(sateen.compile(made, device.config, strict=True))
    np.testing.assert_array_equal(loaded.run(x), run(made, x)["z"])
    for layer in loaded.profile.layers:
        assert abs(layer.layer.predicted.cycles - layer.counters.cycles) <= 2


def test_limits():
    """Each code's is the least number that has it, whatever float32 rounds."""
    rng = np.random.default_rng(seeds.own())
    for output in (
        (0.1, 0),
        (1 / 3, -128),
        (2.0**-20, 127),
        *zip(10 ** rng.uniform(-5, 5, 20), range(20), strict=True),
    ):
        limits, wanted = golden.code_limits(output), np.arange(-127, 128)
        for order, codes in ((limits, wanted), (limits - 1, wanted - 1)):
            found = golden.quantize(golden.from_ordered(order), output, rounding=Rounding.FLOAT32)
            np.testing.assert_array_equal(found, codes)


@pytest.mark.parametrize(
    ("made", "config", "reason"),
    [
        (graph((3, 16)), "small", "of layer normalizations the device has none; configure one with layer_norm=16"),
        (graph((3, 80)), CONFIGS[0], "has rows of 64 values or fewer; configure one with layer_norm=128"),
        (graph((8192,)), CONFIGS[0], "its rows have 8192 values, and .* has rows of 64 values or fewer"),
        (graph((20,)), CONFIGS[0], "its rows have 20 values, the device takes multiples of 8"),
        (graph((16,), scale=2.0**21), CONFIGS[0], "its input's scale, 2.09.*, is beyond the device's 9.53.* to"),
        (graph((16,), output=(2.0**-21, 0)), CONFIGS[0], "its results' scale, 4.7.*, is beyond"),
        (graph((16,), epsilon=1e-31), CONFIGS[0], "its epsilon, 1e-31, is beyond"),
        (graph((16,), factor=1e-9), CONFIGS[0], "a scale of its values, .*, is beyond"),
        (graph((64,)), f"{CONFIGS[0]},weight_bytes=1024", "its tables take .* bytes of the weight store"),
        (graph((64,)), f"{CONFIGS[0]},scratchpad_bytes=64", "one row and its results take 128 bytes"),
    ],
)  # fmt: skip
def test_refusals(made, config, reason):
    """The host computes it, and says why."""
    with pytest.warns(sateen.SateenWarning, match=f"layer 'norm' runs on the host: .*{reason}"):
        model = sateen.compile(made, config)
    assert [step.host for step in model.steps] == ["norm"]
    with pytest.raises(CompileError, match=reason):
        sateen.compile(made, config, strict=True)


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({"epsilon": 0.0}, "epsilon must be a finite number above 0, not 0.0"),
        ({"scale": np.ones(15, np.float32)}, "its scale must be 16 finite float32 numbers"),
        ({"bias": np.full(16, np.nan, np.float32)}, "its bias must be 16 finite float32 numbers"),
    ],
)
def test_operator(fields, message):
    made = graph((2, 16))
    with pytest.raises(GraphError, match=message):
        Graph(name="g", tensors=made.tensors, ops=[replace(made.ops[0], **fields)], inputs=["x"], outputs=["y"])


def test_short_rows():
    with pytest.raises(GraphError, match="its rows must have 16 values or more"):
        graph((2, 8), centred=False)
    assert run(graph((2, 8)), codes(1, 2, 8))["y"].shape == (1, 2, 8)


def test_other_devices_refuse():
    model = sateen.compile(graph((2, 16)), "tiny,layer_norm=32,positions=256", strict=True)
    with sateen.open(f"sim:{CONFIGS[0]}") as device:
        with pytest.raises(sateen.ConfigMismatch, match="layer_norm"):
            device.load(model)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (on_output(layer_norm=False), "does not normalize rows"),
        (on_output(channels=7), r"does not write result\[0, 7\]"),
        (on_output(low=-127), "change the codes of normalized rows"),
        (on_output(rounding=0), "states rounding"),
        (on_activations(width=40), "states counters, lines and rows"),
        (on_activations(address=1), "its program gives"),
    ],
)
def test_verification(change, message):
    model = sateen.compile(graph((5, 16)), "small,layer_norm=16", strict=True)
    verify_program(model)
    if message == "states rounding":
        # The same codes, however they are rounded.
        verify_program(tampered(model, change))
        return
    with pytest.raises(InternalError, match=message):
        verify_program(tampered(model, change))


@pytest.mark.parametrize("config", ["small,layer_norm=16", "tiny,layer_norm=16,positions=256"])
def test_verification_of_records(config):
    model = sateen.compile(graph((5, 16)), config, strict=True)
    words = model.segments[0].weights.shape[0]
    for word in range(0, words - 9, 29):
        weights = model.segments[0].weights.copy()
        weights[word, 0] ^= 1
        broken = replace(model, segments=(replace(model.segments[0], weights=weights),))
        with pytest.raises(InternalError, match="records of .* are not those|change the codes"):
            verify_program(broken)
    with pytest.raises(InternalError, match="normalizes rows"):
        verify_program(replace(model, config=parse_config(config.replace("layer_norm=16", "layer_norm=0"))))


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({"layer_norm": 8}, "layer_norm must be 0, or a power of two from 16 to 4096, not 8"),
        ({"layer_norm": 48}, "layer_norm must be a power of two, not 48"),
        ({"layer_norm": True}, "layer_norm must be 0, or a power of two from 16 to 4096, not True"),
        ({"layer_norm": 64, "positions": 128}, "layer_norm must be 0 without tables .*, not 64"),
        ({"layer_norm": 64, "engine": "sequential", "lanes": 1}, "layer_norm must be 0 without tables"),
    ],
)
def test_configurations(fields, message):
    with pytest.raises(ValueError, match=message):
        Config(**fields)
