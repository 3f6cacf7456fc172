"""ONNX's layers with weights, and windows over images."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np

from sateen.frontends.grouped import dense_weights
from sateen.frontends.onnx.file import Node, widened
from sateen.frontends.onnx.folding import registers
from sateen.frontends.onnx.importer import Importer, Operator
from sateen.frontends.onnx.ties import Sums, sums_of
from sateen.frontends.onnx.values import (
    REAL,
    Deferred,
    Limits,
    Quantization,
    QuantizedConstant,
    Value,
    clamp,
    image_layout,
    real_values,
    scaling,
    stored,
    to_float32,
)
from sateen.frontends.onnx.windows import Window
from sateen.graph import (
    LARGEST,
    Array,
    Conv2D,
    DepthwiseConv2D,
    Dequantize,
    FileLayout,
    FullyConnected,
    Op,
    RealBinary,
    Tensor,
    Weighted,
    require,
)
from sateen.hw.spec.descriptor import Rounding

__all__ = [
    "LAYERS",
    "Layer",
    "dequantized",
    "is_in_units",
    "layer",
    "quantized_bias",
    "quantized_constant",
    "weighted_gemm",
    "weighted_matmul",
    "weighted_qgemm",
    "weights_of",
]

LAYERS: dict[str, Operator] = {}
handles = registers(LAYERS)


def quantized_constant(importer: Importer, node: Node, place: int, axis: int) -> QuantizedConstant:
    """A constant input, with its scales and zero points at the next two places."""
    values, scales = widened(importer.constant(node, place)), importer.scales(node, place + 1)
    points = widened(importer.constant(node, place + 2, np.zeros(1, values.dtype))).reshape(-1)
    known = values.dtype in (np.int8, np.uint8, np.int32)
    require(known, node, f"its constant {node.inputs[place]!r} is {values.dtype}; quantize to 8 bits")
    require(
        len(scales) > 0 and len(points) in (1, len(scales)),
        node,
        f"its scales and zero points of {node.inputs[place]!r} do not match",
    )
    require(
        points.dtype == values.dtype,
        node,
        f"its zero points of {node.inputs[place]!r} are {points.dtype}, not {values.dtype}",
    )
    good = bool(np.isfinite(scales).all() and (scales >= 0).all())
    require(good, node, f"its scales {node.inputs[place + 1]!r} must be finite and above 0")
    fits = len(scales) == 1 or -values.ndim <= axis < values.ndim and len(scales) == values.shape[axis]
    require(fits, node, f"its {len(scales)} scales of {node.inputs[place]!r} do not fit axis {axis} of {values.shape}")
    return QuantizedConstant(values, scales, points, axis)


def weights_of(node: Node, codes: QuantizedConstant, axis: int) -> Array:
    """Weights with their zero points subtracted; int8 if they fit, else int16. Scales are along ``axis``, or one."""
    count = codes.values.shape[axis]
    require(codes.values.dtype != np.int32, node, "its weights are int32; quantize to 8 bits")
    require(len(codes.scales) in (1, count), node, f"its weights have {len(codes.scales)} scales for {count} channels")
    require(
        len(codes.scales) == 1 or codes.axis % codes.values.ndim == axis,
        node,
        f"its weights' scales are along axis {codes.axis}",
    )
    points = codes.zero_points.astype(np.int64).reshape(
        [-1 if place == axis else 1 for place in range(codes.values.ndim)]
    )
    values = codes.values.astype(np.int64) - points
    require(values.size > 0, node, "its weights are empty")
    return values.astype(np.int8 if values.min() >= -128 and values.max() <= 127 else np.int16)


def layer(
    importer: Importer,
    node: Node,
    kind: type[Op],
    x: Tensor,
    weights: Array,
    scales: Array,
    bias: Value | None,
    name: str,
    quantization: Quantization,
    limits: Limits,
    layout: Callable[[tuple[int, ...]], FileLayout | None] = lambda _: None,
    **fields: Any,
) -> Tensor:
    """Appends a layer with weights [O, …]. Its bias is int32, or real."""
    with np.errstate(over="ignore"):
        products = (np.float32(x.scale) * scales).astype(np.float32)
        ratios = products / np.float32(quantization.scale)
    scalings = [scaling(node, float(ratio)) for ratio in np.broadcast_to(ratios, len(weights))]
    low, high = clamp(quantization, limits)
    return importer.add(
        kind,
        node,
        name,
        quantization,
        layout,
        input=x.name,
        weights=np.ascontiguousarray(weights),
        bias=quantized_bias(importer, node, bias, np.broadcast_to(products, len(weights)), quantization.scale),
        multiplier=np.array([factor for factor, _ in scalings], np.int32),
        shift=np.array([shift for _, shift in scalings], np.int8),
        low=low,
        high=high,
        rounding=Rounding.FLOAT32,
        **fields,
    )


@dataclass(frozen=True, kw_only=True)
class Layer:
    """A layer that is made when its result's quantization is known, or as real numbers."""

    importer: Importer
    node: Node
    kind: type[Op]
    x: Tensor
    weights: Array
    """[O, …]."""
    scales: Array
    bias: Value | None
    layout: Callable[[tuple[int, ...]], FileLayout | None] = lambda _: None
    channels: int = 1
    """The place of the channels in the file's layout, from the end."""
    fields: Mapping[str, Any] = field(default_factory=dict)

    def make(self, name: str, quantization: Quantization, limits: Limits) -> Tensor:
        """Appends the layer with a quantized result."""
        made = layer(
            self.importer, self.node, self.kind, self.x, self.weights, self.scales, self.bias, name, quantization,
            limits, self.layout, **self.fields,
        )  # fmt: skip
        self._compare(made, clamp(quantization, limits))
        return made

    def real(self, name: str) -> Tensor:
        """Appends the layer with a real result: exact sums of integers, multiplied by their unit in float32."""
        importer, node, outputs = self.importer, self.node, len(self.weights)
        with np.errstate(over="ignore"):
            products = np.broadcast_to((np.float32(self.x.scale) * self.scales).astype(np.float32), outputs)
        coded = isinstance(self.bias, QuantizedConstant) and is_in_units(self.bias, products)
        sums = importer.add(
            self.kind, node, importer.name_of(f"{name}.sums"), REAL, self.layout, dtype="int32", input=self.x.name,
            weights=np.ascontiguousarray(self.weights),
            bias=quantized_bias(importer, node, self.bias if coded else None, products, 1.0),
            multiplier=np.zeros(outputs, np.int32), shift=np.zeros(outputs, np.int8), rounding=Rounding.FLOAT32,
            **self.fields,
        )  # fmt: skip
        self._compare(sums)
        steps: list[tuple[str, Array]] = [("multiply", products)]
        if self.bias is not None and not coded:
            steps.append(("add", self._real_bias(outputs)))
        real = importer.add(
            Dequantize, node, importer.name_of(f"{name}.real"), REAL, self.layout, dtype="float32", input=sums.name
        )
        for place, (function, values) in enumerate(steps):
            made = name if place == len(steps) - 1 else importer.name_of(f"{name}.{function}")
            values = values.reshape(*[1] * (len(real.shape) - 1), outputs)
            constant = importer.add_constant(importer.name_of(f"{made}.{function}.values"), values, REAL, None)
            fields: dict[str, Any] = {"a": real.name, "b": constant.name, "function": function}
            real = importer.add(RealBinary, node, made, REAL, self.layout, dtype="float32", **fields)
        return real

    def _compare(self, made: Tensor, limits: tuple[int, int] | None = None) -> None:
        bias, products = self.bias, np.float32(self.x.scale) * self.scales
        own = isinstance(bias, QuantizedConstant) and not (is_in_units(bias, products) and not bias.zero_points.any())
        self.importer.compare_sums(self.node, made, self._sums, limits, in_units=not own)

    def _sums(self) -> Sums:
        """What the layer that was appended last adds up."""
        op, bias = self.importer.ops[-1], self.bias
        assert isinstance(op, Weighted)
        bias = real_values(bias) if isinstance(bias, QuantizedConstant) else bias
        return sums_of(self.x, self.weights, self.scales, op.bias, bias if isinstance(bias, np.ndarray) else None)

    def _real_bias(self, outputs: int) -> Array:
        values = real_values(self.bias) if isinstance(self.bias, QuantizedConstant) else self.bias
        good = isinstance(values, np.ndarray) and values.dtype == np.float32 and values.size in (1, outputs)
        require(good, self.node, f"its bias must be {outputs} constants, real or quantized")
        assert isinstance(values, np.ndarray)
        return np.broadcast_to(values.reshape(-1), outputs)

    def deferred(self) -> Deferred:
        """The result until its quantization is known."""
        return Deferred(self.make, real=self.real, biased=self._biased if self.bias is None else None)

    def _biased(self, bias: QuantizedConstant | Array) -> Deferred | None:
        values, outputs = bias.values if isinstance(bias, QuantizedConstant) else bias, len(self.weights)
        rank = max(len(self.x.shape), self.channels + 1) if self.channels == 1 else self.channels + 1
        fits = self.channels <= values.ndim <= rank
        each = fits and values.size == outputs == values.shape[values.ndim - self.channels]
        if not each and values.size != 1:
            return None
        if each and isinstance(bias, QuantizedConstant):
            bias = replace(bias, values=values.reshape(-1), axis=0)
        else:
            real = real_values(bias) if isinstance(bias, QuantizedConstant) else bias
            bias = np.ascontiguousarray(np.broadcast_to(real.reshape(-1), outputs))
        return replace(self, bias=bias).deferred()


def is_in_units(bias: QuantizedConstant, products: Array) -> bool:
    """Whether a bias has the scales of the sums. Tools compute the product of two scales in float64, too."""
    return bool(np.allclose(bias.scales, products, rtol=1e-6, atol=0))


def quantized_bias(importer: Importer, node: Node, bias: Value | None, products: Array, step: float) -> Array:
    """A bias in units of the sums, which are ``products`` of scales. What is no whole number of them is rounded, and
    the importer is told by how much, in steps of the result."""
    if bias is None:
        return np.zeros(len(products), np.int32)
    values = bias.values if isinstance(bias, QuantizedConstant) else bias
    require(isinstance(values, np.ndarray), node, "its bias must be a constant; it is computed at run time")
    assert isinstance(values, np.ndarray)
    # A Gemm's may be one value for all.
    one = values.size == 1 and node.kind == "Gemm"
    fits = one or values.size == len(products) and values.shape[-1:] == products.shape
    require(fits, node, f"its bias of {values.shape} has {values.size} values for {len(products)} channels")
    values = np.broadcast_to(values.reshape(-1), len(products))
    if isinstance(bias, QuantizedConstant):
        values = values.astype(np.int64) - bias.zero_points
        if not is_in_units(bias, products):
            values = values * bias.scales.astype(np.float64)
    integers = np.issubdtype(values.dtype, np.integer)
    require(not integers or isinstance(bias, QuantizedConstant) or node.operator_form, node, "its bias is not real")
    with np.errstate(divide="ignore", over="ignore", invalid="ignore"):
        wanted = values if integers else np.where(values == 0, 0, values.astype(np.float64) / products)
        codes = np.clip(np.rint(wanted), -(2**31), 2**31 - 1)
        errors = np.abs(codes - wanted)
    require(bool(np.isfinite(wanted).all()), node, "its bias or its scales are not finite")
    # Below that, float32 does not tell the two apart.
    errors[errors <= 1e-6 * np.abs(wanted)] = 0
    importer.rounds(node, float((errors * products).max() / step))
    return codes.astype(np.int32)


def _conv(importer: Importer, node: Node, x: Tensor, codes: QuantizedConstant, bias: Value | None) -> Layer:
    """A convolution; weights are [O, I / groups, kernel height, kernel width]."""
    rank, shape = len(x.file_shape), codes.values.shape
    good = codes.values.ndim == rank in (3, 4)
    require(good, node, f"its weights of {shape} must be those of images or rows, as its input of {x.file_shape} is")
    x = importer.as_image(node, x)
    weights = weights_of(node, codes, 0)
    weights = (weights[:, :, None] if rank == 3 else weights).transpose(0, 2, 3, 1)
    groups, outputs, channels = node.get("group"), len(weights), x.shape[3]
    fits = groups > 0 and channels == groups * weights.shape[3] and outputs % groups == 0
    require(fits, node, f"its weights {codes.values.shape} in {groups} groups do not fit {channels} channels")
    kind: type[Op] = DepthwiseConv2D if groups > 1 and groups == channels else Conv2D
    if 1 < groups < channels:
        require(
            weights.size * groups <= LARGEST, node, f"its weights {codes.values.shape} in {groups} groups are too large"
        )
        weights = dense_weights(weights, groups)
    stated = node.get("kernel_shape", shape[2:])
    require(stated == shape[2:], node, f"its kernel_shape {stated} is not that of its weights {shape}")
    fields = Window.read(node, shape[2:]).fields(x)
    return Layer(
        importer=importer, node=node, kind=kind, x=x, weights=weights, scales=codes.scales, bias=bias,
        layout=image_layout(rank), channels=rank - 1, fields=fields,
    )  # fmt: skip


@handles("QLinearConv 10")
def qlinear_conv(importer: Importer, node: Node) -> None:
    """A convolution of integers."""
    bias, x = importer.value(node, 8) if node.has(8) else None, importer.codes(node)
    made = _conv(importer, node, x, quantized_constant(importer, node, 3, 0), bias)
    importer.set_result(node, made.make, 6, stored(x))


@handles("Conv 1 11 22")
def conv(importer: Importer, node: Node) -> None:
    """A convolution of dequantized values."""
    bias, x = importer.value(node, 2) if node.has(2) else None, importer.quantized_input(node)
    importer.values[node.outputs[0]] = _conv(importer, node, x, dequantized(importer, node, 1), bias).deferred()


def dequantized(importer: Importer, node: Node, place: int) -> QuantizedConstant:
    """Weights that are dequantized."""
    value = importer.value(node, place)
    require(
        isinstance(value, QuantizedConstant),
        node,
        f"its input {node.inputs[place]!r} is computed at run time; weights must be constants; split it off",
    )
    assert isinstance(value, QuantizedConstant)
    return value


def _product(
    importer: Importer, node: Node, x: Tensor, codes: QuantizedConstant, bias: Value | None, *, transposed: bool
) -> Layer:
    """A matrix product over the last axis; weights are [I, O], or [O, I] if ``transposed``."""
    require(codes.values.ndim == 2, node, f"its weights must have 2 axes, not {codes.values.shape}")
    axis = 0 if transposed else 1
    weights = weights_of(node, codes, axis)
    weights = weights if transposed else weights.T
    if x.file_layout is not None and len(x.shape) == 2 and x.file_shape[1:] == weights.shape[1:]:
        # The index here of each value of the file's layout.
        places = x.file_layout.to_file(np.arange(weights.shape[1])[None])[0]
        order = np.empty_like(places)
        order[places] = np.arange(len(places))
        weights = weights[:, order]
    else:
        x = importer.in_file_layout(node, x)
    fits = len(x.shape) >= 2 and x.shape[-1] == weights.shape[1]
    require(fits, node, f"its weights take {weights.shape[1]} values, but {x.name!r} is {x.file_shape}")
    return Layer(
        importer=importer, node=node, kind=FullyConnected, x=x, weights=weights, scales=codes.scales, bias=bias
    )


def weighted_matmul(importer: Importer, node: Node) -> None:
    """A matrix product of integers."""
    x, codes = importer.codes(node), quantized_constant(importer, node, 3, 1)
    importer.set_result(node, _product(importer, node, x, codes, None, transposed=False).make, 6, stored(x))


def _scaled(node: Node, codes: QuantizedConstant, bias: Value | None) -> tuple[QuantizedConstant, Value | None]:
    """Weights times the attribute alpha, and a bias times beta."""
    alpha, beta = float(node.get("alpha", 1.0)), float(node.get("beta", 1.0))
    good = bool(np.isfinite([alpha, beta]).all()) and alpha != 0
    require(good, node, f"its alpha {alpha:g} or beta {beta:g} is no factor of a layer; export the model without it")
    values, points = codes.values, codes.zero_points
    if alpha < 0:
        # Scales are above 0.
        values, points = (points.astype(np.int16) - values).astype(np.int16), np.zeros(1, np.int16)
    scales = to_float32(codes.scales * np.float64(abs(alpha)))
    if isinstance(bias, QuantizedConstant) and beta != 1:
        bias = replace(bias, scales=to_float32(bias.scales * np.float64(beta)))
    elif isinstance(bias, np.ndarray):
        # In operator form a bias is in units of the sums, so alpha is its factor, too.
        bias = (-bias if alpha < 0 else bias) if node.operator_form else to_float32(bias * np.float64(beta))
    return QuantizedConstant(values, scales, points, codes.axis), bias


def weighted_qgemm(importer: Importer, node: Node) -> None:
    """A matrix product of integers, with a bias."""
    transposed, x = bool(node.get("transB")), importer.codes(node)
    codes = quantized_constant(importer, node, 3, 0 if transposed else 1)
    bias = importer.value(node, 6) if node.has(6) else None
    codes, bias = _scaled(node, codes, bias)
    made = _product(importer, node, x, codes, bias, transposed=transposed)
    if node.has(7):
        importer.set_result(node, made.make, 7, stored(x))
    else:
        # No scale is given for its result, which is real.
        if isinstance(bias, np.ndarray):
            units = (np.float32(x.scale) * codes.scales).astype(np.float32)
            bias = QuantizedConstant(bias.reshape(-1), units, np.zeros(1, np.int32), 0)
        importer.set_real(node, replace(made, bias=bias).real(importer.real_name(node)))


def weighted_gemm(importer: Importer, node: Node) -> None:
    """A matrix product of dequantized values."""
    transposed, x = bool(node.get("transB", 0)), importer.quantized_input(node)
    require(not node.get("transA", 0), node, "its transA takes the batch for columns; export the model without it")
    bias = importer.value(node, 2) if node.has(2) else None
    codes, bias = _scaled(node, dequantized(importer, node, 1), bias)
    made = _product(importer, node, x, codes, bias, transposed=transposed)
    importer.values[node.outputs[0]] = made.deferred()
