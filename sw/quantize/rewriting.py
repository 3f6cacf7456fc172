"""Rewrites a float model of ONNX's operators in QDQ form, which its front end reads like any other model."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence, Set
from dataclasses import replace
from types import MappingProxyType

import numpy as np

from sateen.frontends.onnx.file import Node, OnnxModel
from sateen.frontends.onnx.making import Maker
from sateen.graph import Array, require
from sateen.quantize.calibration import weight_scales
from sateen.quantize.ranges import Range, activation_scale

__all__ = ["FUSED", "WEIGHTED", "channel_axis", "fold_batch_norms", "inline_constants", "rewrite"]

CODES = np.arange(-128, 128)
"""Every code of int8."""
WEIGHTED = {"Conv": 0, "ConvTranspose": 1, "Gemm": 1, "MatMul": 1}
"""Operators with constant weights, and the axis of their output channels; for a transposed Gemm it is 0."""
PRODUCTS = ("Gemm", "MatMul")
"""Of these, those that may be products of two tensors, too."""
FUSING = {"Conv", "ConvTranspose", "Gemm", "MatMul", "Add", "Mul", "Sub"}
"""Operators into which a following ReLU is fused."""
FUSED = ("Relu", "Clip")
MOVING = {
    "DepthToSpace", "Dropout", "Expand", "Flatten", "Gather", "GlobalMaxPool", "Identity", "MaxPool", "Pad",
    "ReduceMax", "ReduceMin", "Reshape", "Resize", "Slice", "SpaceToDepth", "Split", "Squeeze", "Tile", "Transpose",
    "Unsqueeze", "Upsample",
}  # fmt: skip
"""Operators whose result has the scale and zero point of their input."""


def channel_axis(node: Node) -> int:
    """The axis of an operator's weights along which its output channels lie."""
    return 0 if node.attributes.get("transB", 0) else WEIGHTED[node.kind]


def inline_constants(model: OnnxModel) -> OnnxModel:
    """The model with its Constant operators among its constants."""
    constants, nodes = dict(model.constants), []
    for node in model.nodes:
        if node.kind == "Constant" and len(node.attributes) == 1:
            (value,) = node.attributes.values()
            constants[node.outputs[0]] = np.asarray(value, None if isinstance(value, np.ndarray) else _type_of(value))
        else:
            nodes.append(node)
    return replace(model, nodes=tuple(nodes), constants=constants)


def _type_of(value: object) -> type:
    first = value[0] if isinstance(value, tuple) and value else value
    return np.float32 if isinstance(first, float) else np.int64


def fold_batch_norms(model: OnnxModel) -> OnnxModel:
    """The model with each batch normalization folded into the convolution or matrix product before it."""
    constants, nodes = dict(model.constants), list[Node]()
    makers: dict[str, int] = {}
    reads = [name for node in model.nodes for name in node.inputs]
    for node in model.nodes:
        place = makers.get(node.inputs[0]) if node.kind == "BatchNormalization" else None
        if node.kind == "BatchNormalization":
            before = None if place is None else nodes[place]
            known = before is not None and all(name in constants for name in (*node.inputs[1:], *before.inputs[1:]))
            alone = known and reads.count(node.inputs[0]) == 1 and node.inputs[0] not in model.outputs
            require(alone, node, "it can be folded only into a Conv or Gemm right before it")
            assert before is not None and place is not None
            nodes[place] = _folded(node, before, constants)
            makers[node.outputs[0]] = place
            continue
        if node.kind in ("Conv", "ConvTranspose", "Gemm"):
            makers[node.outputs[0]] = len(nodes)
        nodes.append(node)
    return replace(model, nodes=tuple(nodes), constants=constants)


def _folded(node: Node, before: Node, constants: dict[str, Array]) -> Node:
    gamma, beta, mean, variance = (constants[name].astype(np.float32) for name in node.inputs[1:5])
    factor = gamma / np.sqrt(variance + np.float32(node.get("epsilon", 1e-5)))
    weights, axis = constants[before.inputs[1]], channel_axis(before)
    grouped = before.kind == "ConvTranspose" and before.attributes.get("group", 1) > 1
    fits = weights.shape[axis] == len(factor) and not grouped
    require(fits, node, f"it has {len(factor)} channels, and {before} before it has others")
    plain = all(before.attributes.get(name, 1.0) == 1.0 for name in ("alpha", "beta")) or before.kind != "Gemm"
    require(plain, node, f"it cannot be folded into {before} with alpha or beta; export the model without them")
    bias = constants[before.inputs[2]] if len(before.inputs) > 2 else np.zeros(len(factor), np.float32)
    names = [f"{node.outputs[0]}.folded", f"{node.outputs[0]}.bias"]
    shape = [-1 if place == axis else 1 for place in range(weights.ndim)]
    constants |= {names[0]: weights * factor.reshape(shape), names[1]: (bias - mean) * factor + beta}
    return replace(before, inputs=(before.inputs[0], *names), outputs=node.outputs, used=set())


def rewrite(
    model: OnnxModel,
    ranges: Mapping[str, Range],
    maker: Maker,
    *,
    means: Mapping[str, Array] = MappingProxyType({}),
    keep_float: Sequence[str] = (),
    factors: Set[str] = frozenset(),
) -> OnnxModel:
    """The model in QDQ form. Tensors with a range become codes, named ``NAME.codes``.

    Parameters
    ----------
    model
        Without Constant operators and batch normalizations.
    ranges
        The range of each real tensor; tensors without one are not quantized by themselves.
    means
        The mean of each channel of layers' inputs: their biases make up for what rounded weights add to it.
    keep_float
        Layers that stay as they are, by the names of their results. What lies between two of them is not quantized.
    factors
        Tensors whose scales are powers of two, at most 1 % less than what covers their ranges. Their products get
        scales for which a device has tables.

    Raises
    ------
    GraphError
        If a layer's weights are no constants, or ``keep_float`` names none.
    """
    return _Rewriter(model, ranges, maker, means, keep_float, factors).model()


def _mean_error(node: Node, errors: Array, means: Array) -> Array:
    """What errors of weights [O, I of a group, …] add to each result on average, given the mean of each channel."""
    groups = node.attributes.get("group", 1)
    rows = np.repeat(means.reshape(groups, -1), len(errors) // groups, axis=0)
    columns = errors.astype(np.float64).reshape(*errors.shape[:2], -1).sum(axis=2)
    return (columns * rows).sum(axis=1).astype(np.float32)


def _zero_point(low: float, scale: float) -> int:
    """The zero point with which the least code stands for ``low``, or for 0 if that is less."""
    return int(np.clip(np.rint(-128 - min(low, 0.0) / scale), -128, 127))


def _of_product(a: tuple[float, int], b: tuple[float, int], low: float, scale: float) -> tuple[float, int]:
    """Scale and zero point of a product of codes whose scales are powers of two: the least scale from ``scale`` on, in
    steps of 0.1 %, with which float32 gives the same codes however it divides by the scale and adds the zero point. A
    device multiplies by the inverse, and adds integers."""
    products = np.unique(np.multiply.outer(CODES - a[1], CODES - b[1])).astype(np.float32)
    unit = np.float32(a[0]) * np.float32(b[0])
    for step in range(64):
        tried = np.float32(scale * (1 + step / 1024))
        zero, scaled = _zero_point(low, float(tried)), products * (unit / tried)
        wanted = np.clip(np.rint(scaled) + zero, -128, 127)
        ways = [np.rint(products * unit / tried) + zero]
        ways += [np.rint(scaled + np.float32(zero + base)) - base for base in (0, 128)]
        if all(np.array_equal(np.clip(way, -128, 127), wanted) for way in ways):
            return float(tried), zero
    return scale, _zero_point(low, scale)


class _Rewriter:
    def __init__(
        self,
        model: OnnxModel,
        ranges: Mapping[str, Range],
        maker: Maker,
        means: Mapping[str, Array],
        keep_float: Sequence[str],
        factors: Set[str],
    ):
        self.source, self.ranges, self.maker, self.means = model, ranges, maker, means
        self.factors = factors
        self.constants = dict(model.constants)
        self.numbers: dict[str, tuple[float, int]] = {}
        self.readers: dict[str, list[Node]] = {}
        for node in model.nodes:
            for name in node.inputs:
                self.readers.setdefault(name, []).append(node)
        self.kept = self._kept(keep_float)

    def _is_layer(self, node: Node) -> bool:
        """Whether an operator has weights, and is no product of two tensors."""
        return node.kind in WEIGHTED and (node.kind not in PRODUCTS or node.inputs[1] in self.constants)

    def _kept(self, wanted: Sequence[str]) -> set[str]:
        """The results of the layers that are kept, with those of the ReLUs that belong to them."""
        kept: set[str] = set()
        for node in self.source.nodes:
            name = node.outputs[0]
            after = self.readers[name][0].outputs[0] if self._fused(node, name) else name
            if name in wanted or after in wanted:
                kept |= {name, after}
        for name in wanted:
            layers = [node.outputs[0] for node in self.source.nodes if node.kind in WEIGHTED]
            known = name in kept
            require(known, f"layer {name!r}", f"the model has none of this name; layers are {', '.join(layers)}")
        return kept

    def _stays_real(self, node: Node, name: str) -> bool:
        """Whether a result is not quantized: only layers that are kept read it, or the host makes it anyway."""
        if node.kind == "LogSoftmax" and name not in self.readers:
            return True
        readers = [node.outputs[0] for node in self.readers.get(name, [])]
        return name in self.kept and all(reader in self.kept for reader in readers)

    def model(self) -> OnnxModel:
        nodes: list[Node] = []
        given: dict[str, str] = {}
        for entry, (kind, _) in self.source.inputs.items():
            if kind == "FLOAT":
                self.numbers[entry] = activation_scale(*self.ranges[entry], scheme="asymmetric")
                nodes += self._around(entry, entry, f"{entry}.real")
                given[entry] = f"{entry}.real"
        for node in self.source.nodes:
            inputs, outputs = [given.get(name, name) for name in node.inputs], list(node.outputs)
            if node.outputs[0] not in self.kept:
                nodes += self._weights(node, inputs) if self._is_layer(node) else self._operands(node, inputs)
            after: list[Node] = []
            for place, name in enumerate(node.outputs):
                if name in self.ranges and not self._fused(node, name) and not self._stays_real(node, name):
                    self.numbers[name] = self._numbers(node, name)
                    outputs[place] = f"{name}.float"
                    after += self._around(name, f"{name}.float", name)
            nodes += [replace(node, inputs=tuple(inputs), outputs=tuple(outputs), used=set()), *after]
        return replace(self.source, nodes=tuple(nodes), constants=self.constants)

    def _around(self, name: str, real: str, result: str) -> list[Node]:
        """Nodes that quantize and dequantize a real tensor, with the scale and zero point of ``name``."""
        scale, zero_point = self.numbers[name]
        self.constants[f"{name}.scale"] = np.asarray(np.float32(scale))
        self.constants[f"{name}.zero"] = np.asarray(np.int8(zero_point))
        numbers = [f"{name}.scale", f"{name}.zero"]
        return [
            self.maker.node("QuantizeLinear", f"{name}.quantize", [real, *numbers], [f"{name}.codes"]),
            self.maker.node("DequantizeLinear", f"{name}.dequantize", [f"{name}.codes", *numbers], [result]),
        ]

    def _fused(self, node: Node, name: str) -> bool:
        """Whether the only reader of a result is a ReLU into which it is fused."""
        readers = self.readers.get(name, [])
        only = len(readers) == 1 and readers[0].kind in FUSED
        return node.kind in FUSING and only and name not in self.source.outputs

    def _numbers(self, node: Node, name: str) -> tuple[float, int]:
        if node.kind in MOVING and node.inputs[0] in self.numbers:
            return self.numbers[node.inputs[0]]
        if str(node.attributes.get("title", node.kind)).lower() in ("sigmoid", "softmax"):
            return 1 / 256, -128
        scale, zero_point = activation_scale(*self.ranges[name], scheme="asymmetric")
        low = self.ranges[name][0]
        if name in self.factors:
            scale = 2.0 ** math.ceil(math.log2(scale * 0.99))
            return scale, _zero_point(low, scale)
        if node.kind == "Mul" and self.factors and self.factors >= {*node.inputs}:
            return _of_product(self.numbers[node.inputs[0]], self.numbers[node.inputs[1]], low, scale)
        return scale, zero_point

    def _weights(self, node: Node, inputs: list[str]) -> Iterator[Node]:
        """Nodes for constant weights, as codes with a scale per output channel, and their bias, as int32."""
        what = "its weights must be a constant; only such layers can be quantized"
        require(node.inputs[1] in self.constants, node, what)
        entry = node.inputs[0]
        require(entry in self.numbers, node, f"its input {entry!r} is not quantized; put it behind another operator")
        axis = channel_axis(node)
        rows = np.moveaxis(self.constants[node.inputs[1]].astype(np.float32), axis, 0)
        bias = self.constants.get(node.inputs[2]) if len(node.inputs) > 2 else None
        values = np.zeros(len(rows), np.float32) if bias is None else bias.astype(np.float32).reshape(-1)
        good = values.size == len(rows) and bool(np.isfinite(rows).all() and np.isfinite(values).all())
        require(good, node, "its weights or bias are not finite or do not match")
        step = self.numbers[entry][0]
        scales = weight_scales(rows, values, step).astype(np.float32)
        steps_of_rows = scales.reshape(-1, *[1] * (rows.ndim - 1))
        codes = np.clip(np.rint(rows / steps_of_rows), -127, 127).astype(np.int8)
        if entry in self.means and len(node.inputs) > 2:
            values = values - _mean_error(node, codes * steps_of_rows - rows, self.means[entry])
        yield self._coded(inputs, 1, f"{node.outputs[0]}.weights", np.moveaxis(codes, 0, axis), scales, axis)
        if bias is not None:
            steps = np.float32(step) * scales
            yield self._coded(inputs, 2, f"{node.outputs[0]}.bias", np.rint(values / steps).astype(np.int32), steps, 0)

    def _operands(self, node: Node, inputs: list[str]) -> Iterator[Node]:
        """Nodes for constant operands of sums and products, as codes."""
        for place, name in enumerate(node.inputs):
            if node.kind in ("Add", "Mul", "PRelu", "Sub") and name in self.constants:
                values = self.constants[name].astype(np.float32)
                good = values.size > 0 and bool(np.isfinite(values).all())
                require(good, node, f"its constant {name!r} is empty or not finite")
                scale, zero_point = activation_scale(float(values.min()), float(values.max()), scheme="asymmetric")
                codes = np.clip(np.rint(values / np.float32(scale)) + zero_point, -128, 127).astype(np.int8)
                made = f"{node.outputs[0]}.operand{place}"
                yield self._coded(inputs, place, made, codes, np.array([scale], np.float32), 0, zero_point)

    def _coded(
        self, inputs: list[str], place: int, name: str, codes: Array, scales: Array, axis: int, zero_point: int = 0
    ) -> Node:
        shape = () if len(scales) == 1 else (len(scales),)
        scales, zeros = scales.reshape(shape), np.full(shape, zero_point, codes.dtype)
        self.constants |= {f"{name}.codes": np.asarray(codes), f"{name}.scale": scales, f"{name}.zero": zeros}
        inputs[place] = name
        sources = [f"{name}.codes", f"{name}.scale", f"{name}.zero"]
        return self.maker.node("DequantizeLinear", f"{name}.dequantize", sources, [name], axis=axis)
