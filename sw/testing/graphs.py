"""Random graphs, with inputs for them: what benches of the whole accelerator run."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from sateen.compiler import Model, compile
from sateen.graph import Conv2D, DepthwiseConv2D, FullyConnected, Graph, MaxPool2D, Op, Reshape, Tensor
from sateen.hw.spec.config import Config
from sateen.hw.spec.descriptor import Rounding
from sateen.sim.golden import quantize_multiplier

Pair = tuple[int, int]
Pads = tuple[Pair, Pair]
NONE: Pads = ((0, 0), (0, 0))


class Builder:
    """A graph, layer by layer, with random weights whose results use the whole range of int8."""

    def __init__(self, shape: tuple[int, ...], rng: np.random.Generator, *, name: str = "random", density: float = 1.0):
        self.rng, self.name, self.density = rng, name, density
        self.ops: list[Op] = []
        self.tensors = {"x": Tensor(name="x", shape=(1, *shape), scale=0.05, zero_point=int(rng.integers(-128, 128)))}
        self.last = self.tensors["x"]

    def _output(self, shape: tuple[int, ...], *, same: bool = False) -> Tensor:
        scale, zero_point = (
            (self.last.scale, self.last.zero_point) if same else (0.05, int(self.rng.integers(-128, 128)))
        )
        tensor = Tensor(name=f"t{len(self.ops)}", shape=(1, *shape), scale=scale, zero_point=zero_point)
        self.tensors[tensor.name] = tensor
        return tensor

    def _weighted(self, shape: tuple[int, ...]) -> dict[str, Any]:
        rng, outputs = self.rng, shape[0]
        depth = int(np.prod(shape[1:]))
        weights = rng.integers(-128 if rng.random() < 0.2 else -127, 128, shape).astype(np.int8)
        if self.density < 1:
            weights[rng.random(shape) >= self.density] = 0
        scales = [quantize_multiplier(float(s) / (74 * np.sqrt(depth))) for s in rng.uniform(0.3, 1.5, outputs)]
        low, high = sorted(int(v) for v in rng.integers(-128, 128, 2)) if rng.random() < 0.2 else (-128, 127)
        return {
            "weights": weights,
            "bias": rng.integers(-(2**13), 2**13, outputs).astype(np.int32),
            # Each is a float32's.
            "multiplier": np.array([m & ~0x7F for m, _ in scales], np.int32),
            "shift": np.array([s for _, s in scales], np.int8),
            "low": low,
            "high": high,
            "rounding": int(rng.choice([Rounding.DOUBLE, Rounding.SINGLE, Rounding.FLOAT32])),
        }

    def _add(self, kind: Any, output: Tensor, **fields: Any) -> Builder:
        self.ops.append(kind(name=f"op{len(self.ops)}", input=self.last.name, output=output.name, **fields))
        self.last = output
        return self

    def conv2d(
        self, outputs: int, kernel: tuple[int, int], *, stride: Pair = (1, 1), padding: Pads = NONE,
        dilation: Pair = (1, 1), **fields: Any,
    ) -> Builder:  # fmt: skip
        """Adds a convolution; ``fields`` replace its random ones."""
        _, height, width, channels = self.last.shape
        sizes = [
            (size + sum(pads) - d * (k - 1) - 1) // s + 1
            for size, pads, d, k, s in zip((height, width), padding, dilation, kernel, stride, strict=True)
        ]
        made = {**self._weighted((outputs, *kernel, channels)), **fields}
        return self._add(
            Conv2D, self._output((*sizes, outputs)), stride=stride, padding=padding, dilation=dilation, **made
        )

    def depthwise_conv2d(
        self, kernel: tuple[int, int], *, stride: Pair = (1, 1), padding: Pads = NONE, each: int = 1
    ) -> Builder:
        """Adds a depthwise convolution with ``each`` results from every channel."""
        _, height, width, channels = self.last.shape
        sizes = [
            (size + sum(pads) - k) // s + 1
            for size, pads, k, s in zip((height, width), padding, kernel, stride, strict=True)
        ]
        made = self._weighted((channels * each, *kernel, 1))
        return self._add(
            DepthwiseConv2D, self._output((*sizes, channels * each)), stride=stride, padding=padding, **made
        )

    def max_pool2d(self, size: tuple[int, int], *, stride: Pair | None = None, padding: Pads = NONE) -> Builder:
        """Adds a max pooling layer."""
        stride = stride or size
        _, height, width, channels = self.last.shape
        sizes = [
            (length + sum(pads) - k) // s + 1
            for length, pads, k, s in zip((height, width), padding, size, stride, strict=True)
        ]
        return self._add(
            MaxPool2D, self._output((*sizes, channels), same=True), size=size, stride=stride, padding=padding
        )

    def flatten(self) -> Builder:
        """Adds a reshape to one dimension."""
        return self._add(Reshape, self._output((int(np.prod(self.last.shape[1:])),), same=True))

    def fully_connected(self, outputs: int, **fields: Any) -> Builder:
        """Adds a fully connected layer; ``fields`` replace its random ones."""
        made = {**self._weighted((outputs, self.last.shape[1])), **fields}
        return self._add(FullyConnected, self._output((outputs,)), **made)

    def graph(self) -> Graph:
        """The finished graph."""
        return Graph(name=self.name, tensors=self.tensors, ops=self.ops, inputs=["x"], outputs=[self.last.name])


def _pads(rng: np.random.Generator, below: Pair) -> Pads:
    """Before and behind, vertically and horizontally."""
    (top, bottom), (left, right) = ((int(v) for v in rng.integers(0, each, 2)) for each in below)
    return (top, bottom), (left, right)


def random_graph(rng: np.random.Generator) -> Graph:
    """One to four layers of random shapes, kernels, strides, paddings and dilations."""
    density = float(rng.choice([1.0, 1.0, 0.3, 0.1]))
    builder = Builder(
        (int(rng.integers(1, 12)), int(rng.integers(1, 12)), int(rng.integers(1, 20))), rng, density=density
    )
    for _ in range(int(rng.integers(1, 4))):
        _, height, width, _ = builder.last.shape
        kernel = int(rng.integers(1, min(height, 4) + 1)), int(rng.integers(1, min(width, 5) + 1))
        if rng.random() < 0.3:
            pads = _pads(rng, kernel)
            stride = int(rng.integers(1, 4)), int(rng.integers(1, 4))
            builder.max_pool2d(kernel, stride=stride, padding=pads)
            continue
        pads = _pads(rng, (4, 4))
        high, wide = (
            int(rng.integers(1, 3)) if (2 * (k - 1) + 1) <= size + sum(p) else 1
            for k, size, p in zip(kernel, (height, width), pads, strict=True)
        )
        builder.conv2d(
            int(rng.integers(1, 24)), kernel, stride=(int(rng.integers(1, 4)), int(rng.integers(1, 4))), padding=pads,
            dilation=(high, wide),
        )  # fmt: skip
    if rng.random() < 0.5:
        builder.flatten().fully_connected(int(rng.integers(1, 30)))
    return builder.graph()


def random_input(graph: Graph, rng: np.random.Generator, count: int = 1) -> NDArray[np.int8]:
    """A batch for a graph's only input."""
    return rng.integers(-128, 128, (count, *graph.tensors[graph.inputs[0]].shape[1:])).astype(np.int8)


def small_network(
    config: Config, seed: int, *, shape: tuple[int, int, int] = (4, 3, 2)
) -> tuple[Model, NDArray[np.int8]]:
    """A compiled network of a convolution and a fully connected layer with random weights, and an input for it; small
    enough for a simulation at pins.

    Parameters
    ----------
    config
        What it is compiled for.
    seed
        Where its random numbers begin.
    shape
        Height, width and channels of the input, 2 × 2 pixels or more.
    """
    rng = np.random.default_rng(seed)
    layers = Builder(shape, rng, name="small").conv2d(5, (2, 2), padding=((1, 0), (0, 1))).flatten().fully_connected(3)
    graph = layers.graph()
    return compile(graph, config), random_input(graph, rng)
