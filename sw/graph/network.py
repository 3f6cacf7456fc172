"""Float networks, before quantization: a chain of layers on NHWC images, with a NumPy forward pass."""

from __future__ import annotations

import dataclasses
import math
import os
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from sateen import archive
from sateen.graph.ops.base import LARGEST
from sateen.records import RecordError, read, short
from sateen.sim import golden

__all__ = [
    "LAYERS", "BatchNorm", "Conv2D", "Flatten", "FullyConnected", "Layer", "MaxPool2D", "Network", "NetworkError",
    "Relu",
]  # fmt: skip

Floats = NDArray[np.float32]
Shape = tuple[int, ...]
Pair = tuple[int, int]
Padding = tuple[Pair, Pair]


class NetworkError(ValueError):
    """A network contradicts itself or cannot be quantized; the message names the layer and what to change."""


@dataclass(frozen=True, kw_only=True, eq=False)
class Layer:
    """One layer. Arrays are float32 and finite."""

    name: str

    def __post_init__(self) -> None:
        for field in dataclasses.fields(self):
            value = getattr(self, field.name)
            if isinstance(value, np.ndarray) and not (value.dtype == np.float32 and np.isfinite(value).all()):
                raise NetworkError(f"{self}: {field.name} must be finite float32 numbers")

    def __str__(self) -> str:
        return f"{type(self).__name__} {self.name!r}"

    def forward(self, x: Floats) -> Floats:
        """The layer's result for N items: [N, ...] → [N, ...]. :class:`NetworkError` if the shape does not fit."""
        raise NotImplementedError

    def _check_channels(self, array: Floats, channels: int) -> None:
        if array.shape != (channels,):
            raise NetworkError(f"{self}: it needs {channels} values per channel, not an array of {array.shape}")

    def _windows(self, x: Floats, size: Pair, stride: Pair, padding: Padding, dilation: Pair, fill: float) -> Floats:
        if x.ndim != 4:
            raise NetworkError(f"{self}: its input must be (N, H, W, C), not {x.shape}")
        if min(*size, *stride, *dilation) < 1 or min(*padding[0], *padding[1]) < 0:
            raise NetworkError(f"{self}: size, stride and dilation must be 1 or more, padding 0 or more")
        lengths = [length + sum(pads) for length, pads in zip(x.shape[1:3], padding, strict=True)]
        if math.prod(lengths) * x.shape[3] > LARGEST:
            raise NetworkError(f"{self}: its padded input of {tuple(lengths)} is too large")
        if any(length < d * (extent - 1) + 1 for length, extent, d in zip(lengths, size, dilation, strict=True)):
            raise NetworkError(f"{self}: a window of {size} exceeds its padded input of {tuple(lengths)}")
        return golden.windows(x, size, stride=stride, padding=padding, dilation=dilation, pad_value=fill)


@dataclass(frozen=True, kw_only=True, eq=False)
class Conv2D(Layer):
    """A convolution, padded with zeros."""

    weights: Floats
    """[O, kernel height, kernel width, I]."""
    bias: Floats
    """[O]."""
    stride: Pair = (1, 1)
    padding: Padding = ((0, 0), (0, 0))
    """((top, bottom), (left, right))."""
    dilation: Pair = (1, 1)

    def forward(self, x: Floats) -> Floats:
        if self.weights.ndim != 4:
            raise NetworkError(f"{self}: its weights must be (O, height, width, I), not {self.weights.shape}")
        outputs, height, width, channels = self.weights.shape
        self._check_channels(self.bias, outputs)
        if x.shape[-1] != channels:
            raise NetworkError(f"{self}: its weights take {channels} channels, but its input has {x.shape[-1]}")
        windows = self._windows(x, (height, width), self.stride, self.padding, self.dilation, 0.0)
        columns = windows.transpose(0, 1, 2, 4, 5, 3).reshape(*windows.shape[:3], height * width * channels)
        return columns @ self.weights.reshape(outputs, -1).T + self.bias


@dataclass(frozen=True, kw_only=True, eq=False)
class BatchNorm(Layer):
    """Batch normalization with fixed statistics: ``gamma · (x − mean) / √(variance + epsilon) + beta``, per channel."""

    gamma: Floats
    beta: Floats
    mean: Floats
    variance: Floats
    epsilon: float = 1e-5

    def affine(self) -> tuple[Floats, Floats]:
        """(factor, offset) that express the layer as ``factor · x + offset``."""
        factor = self.gamma / np.sqrt(self.variance + np.float32(self.epsilon))
        return factor, self.beta - factor * self.mean

    def forward(self, x: Floats) -> Floats:
        for array in (self.gamma, self.beta, self.mean, self.variance):
            self._check_channels(array, x.shape[-1])
        factor, offset = self.affine()
        return factor * x + offset


@dataclass(frozen=True, kw_only=True, eq=False)
class Relu(Layer):
    """``min(max(x, 0), limit)``: ReLU, or ReLU6 with a limit of 6."""

    limit: float | None = None

    def forward(self, x: Floats) -> Floats:
        return np.clip(x, np.float32(0), None if self.limit is None else np.float32(self.limit))


@dataclass(frozen=True, kw_only=True, eq=False)
class MaxPool2D(Layer):
    """The largest value of each window; padding never wins."""

    size: Pair
    stride: Pair
    padding: Padding = ((0, 0), (0, 0))

    def forward(self, x: Floats) -> Floats:
        return self._windows(x, self.size, self.stride, self.padding, (1, 1), -math.inf).max(axis=(4, 5))


@dataclass(frozen=True, kw_only=True, eq=False)
class Flatten(Layer):
    """(N, ...) → (N, all the rest), in row-major order."""

    def forward(self, x: Floats) -> Floats:
        return x.reshape(len(x), -1)


@dataclass(frozen=True, kw_only=True, eq=False)
class FullyConnected(Layer):
    """A matrix product."""

    weights: Floats
    """[O, I]."""
    bias: Floats
    """[O]."""

    def forward(self, x: Floats) -> Floats:
        if self.weights.ndim != 2:
            raise NetworkError(f"{self}: its weights must be (O, I), not {self.weights.shape}")
        self._check_channels(self.bias, len(self.weights))
        if x.ndim != 2 or x.shape[1] != self.weights.shape[1]:
            raise NetworkError(
                f"{self}: its input must be (N, {self.weights.shape[1]}), not {x.shape}; is a Flatten missing?"
            )
        return x @ self.weights.T + self.bias


LAYERS: dict[str, type[Layer]] = {
    layer.__name__: layer for layer in (Conv2D, BatchNorm, Relu, MaxPool2D, Flatten, FullyConnected)
}
"""Every kind of layer, by its name in files."""


@dataclass(frozen=True, kw_only=True, eq=False)
class Network:
    """A chain of layers, each of which takes the previous one's result.

    Raises
    ------
    NetworkError
        If two layers share a name, or a layer does not fit the previous one's result.
    """

    name: str
    input_shape: Shape
    """Shape of one item, without the batch: (H, W, C) or (C,)."""
    layers: Sequence[Layer]

    FORMAT = "sateen.network/1"

    def __post_init__(self) -> None:
        names = [layer.name for layer in self.layers]
        if len(set(names)) < len(names) or "input" in names or not names:
            raise NetworkError(
                f"network {self.name!r}: its layers need names, each different and none 'input', not {names}"
            )
        if any(size < 1 for size in self.input_shape) or math.prod(self.input_shape) > LARGEST:
            raise NetworkError(f"network {self.name!r}: its input's shape {self.input_shape} is none, or too large")
        self.trace(np.zeros((1, *self.input_shape), np.float32))

    def trace(self, x: ArrayLike) -> dict[str, Floats]:
        """The results of all layers for a batch [N, *input_shape], by the layer's name; the first is the input,
        ``"input"``."""
        values = np.asarray(x, np.float32)
        if values.ndim == 0 or values.shape[1:] != tuple(self.input_shape):
            raise NetworkError(f"network {self.name!r}: give (N, *{tuple(self.input_shape)}), not {values.shape}")
        results = {"input": values}
        for layer in self.layers:
            results[layer.name] = values = layer.forward(values)
        return results

    def forward(self, x: ArrayLike) -> Floats:
        """The last layer's result for a batch [N, *input_shape]."""
        return list(self.trace(x).values())[-1]

    def fold(self) -> Network:
        """The same function without batch normalization, which is folded into the weights and bias before it."""
        layers: list[Layer] = []
        for layer in self.layers:
            if not isinstance(layer, BatchNorm):
                layers.append(layer)
                continue
            previous = layers[-1] if layers else None
            if not isinstance(previous, (Conv2D, FullyConnected)):
                raise NetworkError(f"{layer}: it can be folded only into a Conv2D or FullyConnected right before it")
            factor, offset = layer.affine()
            weights = previous.weights * factor.reshape(-1, *[1] * (previous.weights.ndim - 1))
            layers[-1] = dataclasses.replace(previous, weights=weights, bias=previous.bias * factor + offset)
        return dataclasses.replace(self, layers=layers)

    def save(self, path: str | os.PathLike[str]) -> None:
        """Writes the network to an ``.npz`` file."""
        layers = [
            {"layer": type(layer).__name__}
            | {field.name: getattr(layer, field.name) for field in dataclasses.fields(layer)}
            for layer in self.layers
        ]
        document = {"name": self.name, "input_shape": self.input_shape, "layers": layers}
        archive.save(path, document, format=self.FORMAT)

    @classmethod
    def load(cls, path: str | os.PathLike[str]) -> Network:
        """Reads a file that :meth:`save` wrote; :class:`~sateen.archive.ArchiveError` if it is damaged or something
        else."""
        document = archive.load(path, format=cls.FORMAT, remedy=archive.MAKE_AGAIN)
        try:
            parts = read(_Document, document, "the network")
            layers = [_layer(fields, place) for place, fields in enumerate(parts.layers)]
        except RecordError as error:
            raise NetworkError(f"{path} describes no network: {error}; write it with Network.save") from error
        return cls(name=parts.name, input_shape=parts.input_shape, layers=layers)


@dataclass(frozen=True, kw_only=True)
class _Document:
    """A network as files have it."""

    name: str
    input_shape: Shape
    layers: tuple[dict[str, Any], ...]
    """Their fields; ``layer`` is the class."""


def _layer(fields: dict[str, Any], place: int) -> Layer:
    kind = fields.get("layer")
    if not isinstance(kind, str) or kind not in LAYERS:
        raise RecordError(f"layer {place} is of no known kind, {short(kind)}")
    fields = {name: value for name, value in fields.items() if name != "layer"}
    return read(LAYERS[kind], fields, f"layer {place} ({kind})")
