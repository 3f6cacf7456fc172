"""Cross-layer equalization: channels between two layers get one range, which costs nothing in float.

A layer's output channel may be divided by any positive number, if the next layer's weights for it are multiplied by
that number: ReLU and pooling in between let it pass. Where channels' ranges lie far apart, one scale for all of them
leaves the small ones with few codes. After Nagel, van Baalen, Blankevoort, Welling: Data-Free Quantization through
Weight Equalization and Bias Correction (2019), section 4.1. The first layer's weights, which have a scale for each
output channel here, do not suffer from ranges apart; in their place stand the activations on the calibration data.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace

import numpy as np

from sateen.frontends.onnx.file import Node, OnnxModel
from sateen.graph import Array
from sateen.quantize.factors import channel_factors
from sateen.quantize.ranges import Trace
from sateen.quantize.rewriting import channel_axis

__all__ = ["channel_ranges", "equalize", "pairs", "scalable"]

LAYERS = ("Conv", "Gemm", "MatMul")
PASSING = ("Relu", "LeakyRelu", "MaxPool", "AveragePool", "GlobalAveragePool", "Identity", "Dropout")
"""Operators that a positive factor of a channel passes unchanged."""
FLATTENING = ("Flatten", "Reshape")


@dataclass(frozen=True)
class Pair:
    """Two layers with nothing but passing operators between them."""

    first: Node
    second: Node
    between: tuple[str, ...]
    """The tensors from one to the other, with channels along axis 1."""
    flat: tuple[str, ...]
    """Those that are flattened."""

    @property
    def last(self) -> str:
        """The last tensor that has channels along axis 1."""
        return self.between[-1]


def pairs(model: OnnxModel) -> Iterator[Pair]:
    """All pairs of layers between which channels can be scaled."""
    readers: dict[str, list[Node]] = {}
    for node in model.nodes:
        for name in node.inputs:
            readers.setdefault(name, []).append(node)
    for node in model.nodes:
        if node.kind not in LAYERS or not _own_weights(model, node, readers):
            continue
        between, flat, name = list[str](), list[str](), node.outputs[0]
        while True:
            (flat if flat or (between and _flattens(model, name)) else between).append(name)
            following = readers.get(name, [])
            if len(following) != 1 or name in model.outputs or following[0].inputs[0] != name:
                break
            reader = following[0]
            if reader.kind in LAYERS and _own_weights(model, reader, readers) and (not flat or reader.kind != "Conv"):
                yield Pair(node, reader, tuple(between), tuple(flat))
                break
            if reader.kind not in (*PASSING, *FLATTENING) or (flat and reader.kind != "Relu"):
                break
            name = reader.outputs[0]


def _flattens(model: OnnxModel, name: str) -> bool:
    maker = next(node for node in model.nodes if name in node.outputs)
    return maker.kind in FLATTENING


def _own_weights(model: OnnxModel, node: Node, readers: Mapping[str, list[Node]]) -> bool:
    """Whether an operator has constant weights and bias that no other reads."""
    return all(name in model.constants and len(readers[name]) == 1 for name in node.inputs[1:] if name)


def channel_ranges(trace: Trace, names: list[str]) -> dict[str, Array]:
    """The largest magnitude in each channel, along axis 1, of some tensors of a trace."""
    largest: dict[str, Array] = {}
    for tensors in trace():
        for name in names:
            values = np.abs(tensors[name])
            found = values.max(axis=tuple(axis for axis in range(values.ndim) if axis != 1))
            largest[name] = np.maximum(largest.get(name, 0), found)
    return largest


def equalize(model: OnnxModel, trace: Trace) -> tuple[OnnxModel, Trace]:
    """The same float function with equal ranges of channels, and its trace.

    Channel i of an activation is divided by ``√(r₁ / r₂)``, where r₁ is its largest magnitude and r₂ the largest weight
    of the next layer for it, as a share of the largest weight in the same row; by r₁ where rows have one channel only.
    """
    found = _fitting(model, trace)
    largest = channel_ranges(trace, [pair.last for pair in found]) if found else {}
    constants, divided = dict(model.constants), dict[str, Array]()
    for pair in found:
        factors = channel_factors(largest[pair.last], _by_channel(pair.second, constants, len(largest[pair.last])))
        _divide_rows(pair.first, constants, factors)
        _multiply_columns(pair.second, constants, factors)
        divided |= {name: factors for name in (*pair.between, *pair.flat)}

    def equalized() -> Iterator[Mapping[str, Array]]:
        for tensors in trace():
            yield {name: _divided(values, divided.get(name)) for name, values in tensors.items()}

    return replace(model, constants=constants), equalized


def scalable(model: OnnxModel, trace: Trace) -> frozenset[str]:
    """The tensors to whose channels equalization gives one range."""
    return frozenset(name for pair in _fitting(model, trace) for name in (*pair.between, *pair.flat))


def _fitting(model: OnnxModel, trace: Trace) -> list[Pair]:
    shapes = {name: values.shape for name, values in next(iter(trace())).items()}
    return [pair for pair in pairs(model) if _fits(pair, model.constants, shapes)]


def _fits(pair: Pair, constants: Mapping[str, Array], shapes: Mapping[str, tuple[int, ...]]) -> bool:
    """Whether channels lie where they are looked for: along axis 1, and flattened in order."""
    outputs = constants[pair.first.inputs[1]].shape[channel_axis(pair.first)]
    known = [shapes.get(name, ()) for name in pair.between]
    rank = (3, 4, 5) if pair.first.kind == "Conv" else (2,)
    good = all(len(shape) in rank and shape[1] == outputs for shape in known)
    return good and all(shapes.get(name) == (known[-1][0], math.prod(known[-1][1:])) for name in pair.flat)


def _divided(values: Array, factors: Array | None) -> Array:
    if factors is None:
        return values
    along = np.repeat(factors, values.shape[1] // len(factors))
    return (values / along.reshape(-1, *[1] * (values.ndim - 2))).astype(np.float32)


def _by_channel(node: Node, constants: Mapping[str, Array], channels: int) -> Array:
    """The largest weight for each input channel, as a share of the largest in its row."""
    weights = np.abs(_columns(node, constants[node.inputs[1]], channels)).astype(np.float64)
    rows = weights.max(axis=(1, 2), keepdims=True)
    shares = (weights / np.where(rows > 0, rows, 1)).max(axis=2)
    groups = node.attributes.get("group", 1)
    return shares.reshape(groups, -1, shares.shape[1]).max(axis=1).reshape(-1)


def _columns(node: Node, weights: Array, channels: int) -> Array:
    """Weights as [output channels, input channels of a group, all else]."""
    if node.kind == "Conv":
        return weights.reshape(*weights.shape[:2], -1)
    rows = weights if channel_axis(node) == 0 else weights.T
    return rows.reshape(len(rows), channels, -1)


def _divide_rows(node: Node, constants: dict[str, Array], factors: Array) -> None:
    weights, axis = constants[node.inputs[1]], channel_axis(node)
    constants[node.inputs[1]] = weights / factors.reshape([-1 if place == axis else 1 for place in range(weights.ndim)])
    if len(node.inputs) > 2:
        constants[node.inputs[2]] = constants[node.inputs[2]] / factors


def _multiply_columns(node: Node, constants: dict[str, Array], factors: Array) -> None:
    weights, groups = constants[node.inputs[1]], node.attributes.get("group", 1)
    columns = _columns(node, weights, len(factors))
    rows = np.repeat(factors.reshape(groups, -1), len(columns) // groups, axis=0)
    scaled = columns * rows[:, :, None]
    transposed = node.kind != "Conv" and channel_axis(node) == 1
    constants[node.inputs[1]] = scaled.reshape(weights.T.shape).T if transposed else scaled.reshape(weights.shape)
