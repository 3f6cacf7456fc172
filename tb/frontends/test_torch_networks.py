"""Networks in plain PyTorch, from module to device: quantized here, or by PT2E and then equal to its reference."""

from __future__ import annotations

import warnings

import numpy as np
import pytest

import needs
import sateen
from sateen.frontends.torch import load
from sateen.graph import run
from sateen.quantize import assess, quantize_torch

torch = needs.package("torch", extra="torch")
nn = torch.nn

from torch_networks import DsCnn, MobileNetV2, ResNet8, initialized  # noqa: E402
from torch_programs import compare, quantized  # noqa: E402


def items(count, *shape):
    return torch.randn(count, *shape, generator=torch.Generator().manual_seed(1))


def noise_ratio(expected, found):
    """Signal to noise, in dB."""
    return 10 * np.log10((expected**2).sum() / ((expected - found) ** 2).sum())


@pytest.fixture(scope="module")
def resnet8():
    return initialized(ResNet8(8)), items(8, 3, 16, 16)


def on_host(graph, x):
    return run(graph, graph.tensors[graph.inputs[0]].from_file(x.numpy()))[graph.outputs[0]]


def test_resnet8_by_pt2e(resnet8):
    module, x = resnet8
    exported = quantized(module, [item[None] for item in x[:3]])
    with pytest.warns(sateen.SateenWarning, match="biases that are no whole numbers"):
        graph = load(exported)
    found = compare(exported, graph, x[:2].numpy())
    assert not found.unexplained
    assert found.values > 20_000 and found.different < found.values * 0.001


def test_ds_cnn_by_pt2e_has_a_real_end():
    module, x = initialized(DsCnn(8)), items(4, 1, 49, 10)
    exported = quantized(module, [item[None] for item in x])
    with warnings.catch_warnings(action="ignore"):
        graph = load(exported)
    assert type(graph.ops[-1]).__name__ == "RealSoftmax"
    found = compare(exported, graph, x.numpy())
    assert not found.unexplained and found.different < found.values * 0.005
    with torch.no_grad():
        assert np.abs(on_host(graph, x) - module(x).numpy()).max() < 0.1


@pytest.mark.parametrize("name", ["resnet8", "ds_cnn"])
def test_from_module_to_device(name, resnet8):
    module, x = resnet8 if name == "resnet8" else (initialized(DsCnn(16)), items(8, 1, 49, 10))
    with warnings.catch_warnings(action="ignore"):
        model = sateen.compile(module, "small", calibration=x)
    assert all("Softmax" in reason or name == "softmax" for name, reason in model.fallbacks.items())
    with sateen.open("sim:small") as device:
        loaded = device.load(model)
        y = loaded.run(x[:1].numpy())
    graph = loaded.model.graph
    np.testing.assert_array_equal(y, on_host(graph, x[:1]))
    with torch.no_grad():
        assert noise_ratio(module(x).numpy(), on_host(graph, x)) > 25


@pytest.mark.filterwarnings("ignore:.* layers have biases:sateen.SateenWarning")
def test_encoder_of_a_transformer():
    """Its batch moves between axes, its products are of two tensors, and most of it is real."""
    module = initialized(nn.TransformerEncoderLayer(8, 2, 16, dropout=0, batch_first=True))
    x = items(4, 6, 8)
    program = quantized(module, list(x.split(1)))
    graph = quantize_torch(program)
    for item in x.split(1):
        y = run(graph, graph.tensors[graph.inputs[0]].from_file(item.numpy()))[graph.outputs[0]]
        with torch.no_grad():
            np.testing.assert_allclose(graph.tensors[graph.outputs[0]].to_file(y), program.module()(item), atol=1e-5)
    made = quantize_torch(module, x)
    assert min(layer.snr for layer in assess(made).layers) > 25


def test_mobilenet_v2():
    module, x = initialized(MobileNetV2(0.25, 20, 64)), items(2, 3, 32, 32)
    seen = []
    graph = quantize_torch(module, x, progress=lambda done, total: seen.append((done, total))).graph
    assert seen == [(1, 2), (2, 2)]
    kinds = [type(op).__name__ for op in graph.ops]
    assert kinds.count("DepthwiseConv2D") == 17 and kinds.count("Conv2D") == 35 and kinds.count("Add") == 11
    with torch.no_grad():
        assert noise_ratio(module(x).numpy(), on_host(graph, x)) > 12


def test_loaders_and_fixed_batches():
    """A loader of batches with labels, and a program of a fixed batch, give the ranges that one tensor gives."""
    module, x = initialized(torch.nn.Sequential(torch.nn.Conv2d(2, 3, 3), torch.nn.ReLU())), items(5, 2, 6, 6)
    whole = quantize_torch(module, x).graph
    loader = [(x[:2], torch.zeros(2)), (x[2:4], torch.zeros(2)), (x[4:], torch.zeros(1))]
    fixed = torch.export.export(module, (x[:2],))
    for given in (module, fixed):
        graph = quantize_torch(given, (batch for batch in loader)).graph
        scales = [[tensor.scale for tensor in each.tensors.values()] for each in (graph, whole)]
        np.testing.assert_allclose(*scales, rtol=1e-5)
