"""Public networks whose model files are not at hand, built layer by layer as published, with random weights; and any
network with narrower weights."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable

import numpy as np

from sateen.graph import Add, AveragePool2D, Graph, Weighted
from sateen.hw.spec.descriptor import Rounding
from sateen.testing.graphs import Builder

__all__ = ["NETWORKS", "mobilenet_v2", "narrowed", "streaming_wakeword", "visual_wake_words"]


def _same(size: int, kernel: int, stride: int) -> tuple[int, int]:
    """TensorFlow's padding that makes the result ``size / stride``, rounded up."""
    total = max(0, (-(-size // stride) - 1) * stride + kernel - size)
    return total // 2, total - total // 2


class _MobileNet(Builder):
    """Square images; every convolution is padded as above."""

    @property
    def size(self) -> int:
        return self.last.shape[1]

    def full(self, outputs: int, stride: int) -> _MobileNet:
        self.conv2d(outputs, (3, 3), stride=(stride, stride), padding=(_same(self.size, 3, stride),) * 2)
        return self

    def depthwise(self, stride: int) -> _MobileNet:
        self.depthwise_conv2d((3, 3), stride=(stride, stride), padding=(_same(self.size, 3, stride),) * 2)
        return self

    def pointwise(self, outputs: int) -> _MobileNet:
        self.conv2d(outputs, (1, 1))
        return self

    def bottleneck(self, outputs: int, *, expand: int, stride: int) -> None:
        """MobileNetV2's inverted residual."""
        before = self.last
        if expand > 1:
            self.pointwise(expand * before.shape[3])
        self.depthwise(stride).pointwise(outputs)
        if self.last.shape == before.shape:
            after, output = self.last, self._output(before.shape[1:])
            self.ops.append(Add(name=f"op{len(self.ops)}", a=before.name, b=after.name, output=output.name))
            self.last = output

    def classes(self, count: int) -> Graph:
        """The mean over the image, and a fully connected layer."""
        size, channels = self.size, self.last.shape[3]
        self._add(AveragePool2D, self._output((1, 1, channels), same=True), size=(size, size), stride=(size, size))
        return self.flatten().fully_connected(count).graph()


def _changed(graph: Graph, change: Callable[[Weighted], Weighted]) -> Graph:
    """The graph with its operators that have weights changed."""
    return dataclasses.replace(graph, ops=[change(op) if isinstance(op, Weighted) else op for op in graph.ops])


def _as_tflite(graph: Graph) -> Graph:
    """The graph with the rounding of TensorFlow Lite, in which its model is published."""
    return _changed(graph, lambda op: dataclasses.replace(op, rounding=Rounding.DOUBLE))


def visual_wake_words(seed: int = 0) -> Graph:
    """MLPerf Tiny's: MobileNetV1 (arXiv:1704.04861) of width 0.25 at 96×96×3, two classes."""
    net = _MobileNet((96, 96, 3), np.random.default_rng(seed), name="visual_wake_words")
    net.full(8, 2)
    blocks = [(16, 1), (32, 2), (32, 1), (64, 2), (64, 1), (128, 2), *[(128, 1)] * 5, (256, 2), (256, 1)]
    for outputs, stride in blocks:
        net.depthwise(stride).pointwise(outputs)
    return _as_tflite(net.classes(2))


def streaming_wakeword(seed: int = 0) -> Graph:
    """MLPerf Tiny's, of its reference implementation (``ds_tcn`` in ``benchmark/training/streaming_wakeword``): four
    separable convolutions over 30 frames of 40 features, without padding, and three classes."""
    net = Builder((30, 1, 40), np.random.default_rng(seed), name="streaming_wakeword")
    for outputs, frames in ((128, 3), (64, 5), (64, 10), (32, 15)):
        net.depthwise_conv2d((frames, 1)).conv2d(outputs, (1, 1))
    return _as_tflite(net.flatten().fully_connected(3).graph())


def mobilenet_v2(seed: int = 0, *, size: int = 160) -> Graph:
    """MobileNetV2 (arXiv:1801.04381) of width 0.35 at size×size×3 without the last, widest convolution."""
    net = _MobileNet((size, size, 3), np.random.default_rng(seed), name="mobilenet_v2")
    net.full(16, 2).bottleneck(8, expand=1, stride=1)
    stages = [(6, 8, 2, 2), (6, 16, 3, 2), (6, 24, 4, 2), (6, 32, 3, 1), (6, 56, 3, 2), (6, 112, 1, 1)]
    for expand, outputs, count, first in stages:
        for index in range(count):
            net.bottleneck(outputs, expand=expand, stride=first if index == 0 else 1)
    return net.classes(1000)


def narrowed(graph: Graph, bits: int) -> Graph:
    """The graph with weights of so many bits, the highest ones of its own."""
    return _changed(graph, lambda op: dataclasses.replace(op, weights=op.weights >> 8 - bits))


NETWORKS: dict[str, Callable[[], Graph]] = {
    "visual_wake_words": visual_wake_words,
    "streaming_wakeword": streaming_wakeword,
    "mobilenet_v2": mobilenet_v2,
}
"""By name."""
