"""PyTorch programs quantized by PT2E: their integers are those of PyTorch's reference, up to its float sums."""

from __future__ import annotations

import numpy as np
import pytest

import needs
import sateen
from sateen.frontends.torch import load
from sateen.graph import run

torch = needs.package("torch", extra="torch")
nn, functional = torch.nn, torch.nn.functional

from torch_programs import compare, quantized  # noqa: E402


class Net(nn.Module):
    """Most kinds of layers."""

    def __init__(self):
        super().__init__()
        self.first, self.norm = nn.Conv2d(3, 8, 3, padding=1, bias=False), nn.BatchNorm2d(8)
        self.depthwise = nn.Conv2d(8, 8, 3, padding=1, groups=8)
        self.grouped = nn.Conv2d(8, 12, 3, stride=2, padding=2, dilation=2, groups=4)
        self.last = nn.Linear(12 * 2 * 2, 5)

    def forward(self, x):
        x = torch.relu(self.norm(self.first(x)))
        x = functional.hardswish(self.grouped(x + self.depthwise(x)))
        return self.last(torch.flatten(functional.max_pool2d(x, 2), 1))


def batches(*shape, count=4):
    return [torch.randn(1, *shape) for _ in range(count)]


@pytest.fixture(scope="module")
def net():
    torch.manual_seed(0)
    return quantized(Net().eval(), batches(3, 8, 8)), torch.randn(20, 3, 8, 8).numpy()


def test_equals_pytorch_up_to_its_sums(net):
    exported, x = net
    with pytest.warns(sateen.SateenWarning, match="biases that are no whole numbers"):
        graph = load(exported)
    kinds = [type(op).__name__ for op in graph.ops]
    assert kinds == ["Quantize", "Conv2D", "DepthwiseConv2D", "Add", "Conv2D", "Table", "MaxPool2D", "Reshape",
                     "FullyConnected", "Dequantize"]  # fmt: skip
    found = compare(exported, graph, x)
    assert not found.unexplained and found.values > 20_000
    assert found.different <= found.values * 0.003


def test_device(net):
    exported, x = net
    with pytest.warns(sateen.SateenWarning), sateen.open("sim:tiny") as device:
        loaded = device.load(sateen.compile(exported, "tiny"))
        y = loaded.run(x[:2])
    graph = loaded.model.graph
    np.testing.assert_array_equal(y, run(graph, graph.tensors[graph.inputs[0]].from_file(x[:2]))[graph.outputs[0]])
