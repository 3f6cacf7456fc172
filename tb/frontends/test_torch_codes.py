"""Codes of uint8, of fewer values and of real ends in PyTorch programs: those of PyTorch's reference."""

from __future__ import annotations

import numpy as np
import pytest

import needs
from sateen.frontends.torch import load
from sateen.graph import run

torch = needs.package("torch", extra="torch")
nn, F = torch.nn, torch.nn.functional

from torch_programs import OPS, Binary, Unary, coded, compare, loaded  # noqa: E402


class Unsigned(nn.Module):
    """Codes of uint8, and real weights that the program quantizes (``convert_pt2e(fold_quantize=False)``)."""

    def __init__(self):
        super().__init__()
        self.weight = nn.Parameter(torch.randn(6, 4, 3, 3, generator=torch.Generator().manual_seed(0)) * 0.1)
        self.register_buffer("scales", torch.linspace(0.002, 0.004, 6))
        self.register_buffer("zeros", torch.zeros(6, dtype=torch.int64))

    def forward(self, x):
        x = coded(x, 0.03, 133, 0, 255, torch.uint8)
        numbers = (self.scales, self.zeros, 0, -127, 127, torch.int8)
        weight = OPS.dequantize_per_channel(OPS.quantize_per_channel(self.weight, *numbers), *numbers)
        y = coded(torch.relu(F.conv2d(x, weight, None, 1, 1)), 0.041, 0, 0, 255, torch.uint8)
        y = coded(y[:, :4] + x, 0.06, 99, 0, 255, torch.uint8)
        return coded(F.hardswish(F.max_pool2d(y, 2)), 0.05, 17, 0, 255, torch.uint8)


def test_codes_of_uint8():
    exported, graph, x = loaded(Unsigned(), 4, 8, 8, count=4)
    found = compare(exported, graph, x)
    assert not found.unexplained and found.different <= 3 and found.values > 3000
    assert {tensor.unsigned for tensor in graph.tensors.values() if tensor.dtype == "int8"} == {True}


@pytest.mark.parametrize("low, high", [(-127, 127), (-8, 7), (0, 127), (-128, 100)])
def test_fewer_codes_are_a_clamp(low, high):
    """Of a real input, a function, a moved value and a layer."""

    class Narrow(nn.Module):
        def forward(self, x):
            x = coded(x, 0.03, 1, low, high)
            x = coded(torch.tanh(x), 0.01, 2, low, high)
            x = coded(x.flatten(1), 0.01, 2, low, high)
            return coded(x + x, 0.017, 3, low, high)

    exported, graph, x = loaded(Narrow(), 4, 6, 6)
    assert compare(exported, graph, x).different == 0


def test_limits_between_codes_are_rounded_as_pytorch_does():
    """Limits that lie half way between two codes; dividing and multiplying by the reciprocal differ for many."""
    differ = 0
    for scale in np.random.default_rng(0).uniform(0.01, 0.02, 12).astype(np.float32).tolist():
        limit = float(np.float32(scale) * np.float32(40.5))
        module = Binary(lambda a, b, limit=limit: torch.clamp(a + b, -limit, limit), scale)
        exported = torch.export.export(module, (torch.zeros(1, 64), torch.zeros(1, 64)))
        a = np.linspace(-3, 3, 64, dtype=np.float32)[None]
        assert compare(exported, load(exported), a, a).different == 0
        limit = np.float32(limit)
        differ += bool(np.rint(limit / np.float32(scale)) != np.rint(limit * np.float32(1 / np.float32(scale))))
    assert differ > 0


def test_a_free_batch_is_one():
    shape = {0: torch.export.Dim("batch", min=1, max=64)}
    module = Unary(lambda x: F.max_pool2d(x, 2).view(x.size(0), -1), 0.03)
    exported = torch.export.export(module, (torch.zeros(3, 4, 6, 6),), dynamic_shapes=(shape,))
    graph = load(exported)
    assert graph.tensors[graph.inputs[0]].shape == (1, 6, 6, 4)
    x = np.random.default_rng(0).normal(size=(5, 4, 6, 6)).astype(np.float32)
    expected = exported.module()(torch.from_numpy(x)).numpy()
    found = run(graph, graph.tensors[graph.inputs[0]].from_file(x))[graph.outputs[0]]
    np.testing.assert_array_equal(graph.tensors[graph.outputs[0]].to_file(found), expected)


@pytest.mark.parametrize("name", ["sigmoid", "tanh", "softmax", "log_softmax", "exp"])
def test_the_host_computes_a_real_end(name):
    """What stands behind the last codes."""
    function = {"softmax": lambda x: F.softmax(x, 1), "log_softmax": lambda x: F.log_softmax(x, 1)}.get(name)
    function = function or getattr(torch, name)

    class Tail(nn.Module):
        def forward(self, x):
            return function(coded(x, 0.03, 5))

    exported, graph, x = loaded(Tail(), 40)
    expected = np.concatenate([exported.module()(torch.from_numpy(item[None])).numpy() for item in x])
    np.testing.assert_allclose(run(graph, x)[graph.outputs[0]], expected, rtol=1e-5, atol=1e-6)
    assert all(op.HOST_ONLY for op in graph.ops)


def test_real_inputs_on_ties_equal_pytorch():
    """Half way between two codes, dividing by a scale and multiplying by its reciprocal often differ."""
    halves = (np.arange(-128, 128) + 0.5).astype(np.float32)
    different = 0
    for scale in np.random.default_rng(3).uniform(0.001, 0.1, 8).astype(np.float32).tolist():
        x = (halves * np.float32(scale))[None]
        module = Unary(torch.relu, 0.1)
        module.forward = lambda x, scale=scale: coded(x, scale, 3)
        exported = torch.export.export(module, (torch.zeros(1, 256),))
        assert compare(exported, load(exported), x).different == 0
        different += int((np.rint(x / np.float32(scale)) != np.rint(x * np.float32(1 / scale))).sum())
    assert different > 100
