"""Public models: every layer's integers against those that the reference interpreters gave, on the golden model and on
the device.

The folder has for each model its file, inputs, and each operator's result: ``t<index>`` of a TensorFlow Lite tensor,
``q:<name>`` of an ONNX one.
"""

from __future__ import annotations

import warnings

import numpy as np
import pytest

import needs
import sateen
from interpreters import litert_tensors
from mobilenet import mobilenet_v1
from networks import NETWORKS, mobilenet_v2
from sateen.frontends import load, tflite
from sateen.graph import Graph, run
from sateen.runtime.moves import memory_use
from sateen.testing.graphs import random_input

NAMES = [
    "tflite/ad_autoencoder.tflite",
    "tflite/hello_world.tflite",
    "tflite/ic_resnet8.tflite",
    "tflite/kws_dscnn.tflite",
    "tflite/micro_speech.tflite",
    "tflite/mnist_dw.tflite",
    "tflite/mnist_resnet.tflite",
    "tflite/mnist_valid.tflite",
    "onnx/ic_resnet8_qdq_s8s8_perchannel.onnx",
    "onnx/ic_resnet8_qop_u8s8_pertensor.onnx",
    "onnx/mnist_cntk_qdq_s8s8_perchannel.onnx",
    "onnx/mnist_cntk_qdq_u8s8_pertensor.onnx",
    "onnx/mnist_cntk_qop_s8s8_pertensor.onnx",
    "onnx/mnist_cntk_qop_u8s8_pertensor.onnx",
]
QUICK = [
    "tflite/mnist_dw.tflite",
    "tflite/mnist_resnet.tflite",
    "tflite/micro_speech.tflite",
    "onnx/mnist_cntk_qop_u8s8_pertensor.onnx",
]
"""Those that take seconds on the simulated device."""


def recorded(name: str) -> tuple[Graph, np.ndarray, np.ndarray, dict[str, np.ndarray]]:
    """A model's graph, its inputs and outputs, and its layers' results by the tensors' names."""
    if name.startswith("onnx"):
        needs.package("onnx", extra="onnx")
    path = needs.models() / name
    with np.load(path.with_suffix("").with_suffix(".golden.npz"), allow_pickle=False) as data:
        layers = {
            key.removeprefix("q:"): data[key]
            for key in data.files
            if key.startswith("q:") or key[0] == "t" and key[1:].isdigit()
        }
        graph = load(path)
        assert isinstance(graph, Graph)
        return graph, data["input"], data["output"], layers


def compare(actual: dict[str, np.ndarray], layers: dict[str, np.ndarray]) -> None:
    """Every recorded layer is there, of the same type and values."""
    assert layers
    for name, expected in layers.items():
        count = min(len(expected), len(actual[name]))
        assert actual[name].dtype == expected.dtype, name
        np.testing.assert_array_equal(
            actual[name][:count].reshape(expected[:count].shape), expected[:count], err_msg=name
        )


@pytest.mark.parametrize("name", NAMES)
def test_golden_model(name):
    """Every layer, and the output of every input."""
    graph, x, y, layers = recorded(name)
    source = graph.tensors[graph.inputs[0]]
    values = run(graph, source.from_file(x), layers=True)
    actual = {tensor: graph.tensors[tensor].to_file(value) for tensor, value in values.items()}
    compare(actual, layers)
    np.testing.assert_array_equal(actual[graph.outputs[0]].reshape(y.shape), y)


def on_device(name: str, config: str) -> sateen.Model:
    """A model's layers on a simulated device, against the recorded ones."""
    graph, x, y, layers = recorded(name)
    with sateen.open(f"sim:{config}") as device:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", sateen.SateenWarning)
            loaded = device.load(sateen.compile(graph, config))
        output, actual = loaded.run(x[:1], layers=True)
        compare(actual, layers)
        np.testing.assert_array_equal(output.reshape(y[:1].shape), y[:1])
        np.testing.assert_array_equal(loaded.run(x[:1]), output)
    return loaded.model


@pytest.mark.parametrize("name", QUICK)
def test_device(name):
    on_device(name, "small")


@pytest.mark.models
@pytest.mark.parametrize("name", sorted(set(NAMES) - set(QUICK)))
def test_every_model_on_a_small_device(name):
    """Larger ones are streamed, or go through the scratchpad row by row."""
    on_device(name, "small")


@pytest.mark.models
@pytest.mark.parametrize("name", NAMES)
def test_every_model_on_a_large_device(name):
    assert on_device(name, "large").tiled == 0


OUTSIDE = "large,sdram=as4c32m16sb"
CYCLES = {
    "tflite/ic_resnet8.tflite": 58_000,
    "tflite/kws_dscnn.tflite": 20_000,
    "tflite/ad_autoencoder.tflite": 18_500,
    "visual_wake_words": 55_000,
    "streaming_wakeword": 3_600,
}
"""What an inference on a large device may take at most."""


@pytest.mark.parametrize("name", CYCLES)
def test_predicted_cycles(name):
    """The MLPerf Tiny models stay on a large device, and take the cycles that they should; the device's own are in the
    tests of it. SDRAM beside it changes nothing."""
    graph = NETWORKS[name]() if name in NETWORKS else recorded(name)[0]
    models = [sateen.compile(graph, config) for config in ("large", OUTSIDE)]
    assert all(model.resident and not model.tiled for model in models)
    cycles, outside = ([layer.predicted.cycles for layer in model.layers] for model in models)
    assert cycles == outside and sum(cycles) <= CYCLES[name]


@pytest.mark.models
def test_mobilenet_with_zero_points():
    """A MobileNet of uint8, whose weights have zero points, equals TensorFlow Lite's reference kernels in every tensor,
    and takes the cycles of one of int8."""
    size, cycles = 128, {}
    for unsigned in (False, True):
        data = mobilenet_v1(unsigned=unsigned, size=size, width=0.25)
        x = np.random.default_rng(0).integers(0, 256, (1, size, size, 3)).astype(np.uint8)
        x = x if unsigned else (x.astype(np.int16) - 128).astype(np.int8)
        expected = litert_tensors(data, x)
        with sateen.open("sim:large") as device:
            loaded = device.load(sateen.compile(tflite.load(data), "large", strict=True))
            _, actual = loaded.run(x, layers=True)
            for name, values in actual.items():
                np.testing.assert_array_equal(values, expected[name], err_msg=name)
            loaded.run(x)
            cycles[unsigned] = loaded.profile.cycles
    assert cycles[True] <= 1.1 * cycles[False]


@pytest.mark.models
@pytest.mark.parametrize("name", NETWORKS)
def test_network_on_a_large_device(name):
    """Every layer equals the golden model's, and the device's counters are those predicted."""
    graph = NETWORKS[name]()
    x = random_input(graph, np.random.default_rng(0))
    expected = run(graph, x, layers=True)
    with sateen.open("sim:large") as device:
        loaded = device.load(sateen.compile(graph, "large", strict=True))
        _, actual = loaded.run(x, layers=True)
        for tensor, values in actual.items():
            np.testing.assert_array_equal(values, expected[tensor], err_msg=tensor)
        loaded.run(x)
    for layer in loaded.profile.layers:
        assert abs(layer.counters.cycles - layer.layer.predicted.cycles) <= max(2, 0.01 * layer.counters.cycles), (
            layer.layer.name
        )


@pytest.mark.models
@pytest.mark.parametrize(("size", "most"), [(160, 400_000), (224, 800_000)])
def test_mobilenet_in_sdram(size, most):
    """Neither weights nor tensors fit the device; the host computes nothing. Input and output pass the link; layers
    and waiting for SDRAM together take as long as they should, and as the models of both say."""
    graph = mobilenet_v2(size=size)
    x = random_input(graph, np.random.default_rng(0))
    expected = run(graph, x)[graph.outputs[0]]
    with sateen.open(f"sim:{OUTSIDE}") as device:
        loaded = device.load(sateen.compile(graph, device.config, strict=True))
        for _ in range(2):
            np.testing.assert_array_equal(loaded.run(x), expected)
        profile, use = loaded.profile, memory_use(loaded.model, device.config)
        assert profile.cycles == sum(layer.predicted.cycles for layer in loaded.model.layers)
        assert profile.memory_cycles == pytest.approx(use.cycles, rel=0.02)
        assert profile.cycles + profile.memory_cycles <= most, profile
        # Besides input and output, counters are read here.
        assert profile.link_bytes < 1.2 * (x.nbytes + expected.nbytes)
