"""ONNX's matrix products: by weights, which are layers, and of two tensors."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np

from sateen.frontends.onnx.file import Node
from sateen.frontends.onnx.folding import registers
from sateen.frontends.onnx.importer import Importer, Operator
from sateen.frontends.onnx.layers import (
    is_in_units,
    quantized_bias,
    quantized_constant,
    weighted_gemm,
    weighted_matmul,
    weighted_qgemm,
)
from sateen.frontends.onnx.real_layers import real_constant, real_gemm
from sateen.frontends.onnx.ties import Sums, largest
from sateen.frontends.onnx.values import (
    REAL,
    Deferred,
    Limits,
    Quantization,
    QuantizedConstant,
    Value,
    clamp,
    real_values,
    scaling,
    stored,
)
from sateen.graph import Array, Dequantize, MatrixProduct, RealBinary, RealMatrixProduct, Tensor, require
from sateen.hw.spec.descriptor import Rounding

__all__ = ["PRODUCTS", "REAL_PRODUCTS"]

PRODUCTS: dict[str, Operator] = {}
REAL_PRODUCTS: dict[str, Operator] = {}
"""How products of real numbers are imported."""
handles, of_reals = registers(PRODUCTS), registers(REAL_PRODUCTS)


def _is_layer(importer: Importer, node: Node, place: int) -> bool:
    """Whether a product's right operand is one matrix of constants, and its left one is computed at run time."""
    left, right = (importer.values.get(node.inputs[each]) if node.has(each) else None for each in (0, place))
    right = right.values if isinstance(right, QuantizedConstant) else right
    constant = isinstance(left, QuantizedConstant | np.ndarray)
    return not constant and isinstance(right, np.ndarray) and right.ndim == 2


def _rank(value: Tensor | QuantizedConstant | Array) -> int:
    if isinstance(value, Tensor):
        return len(value.file_shape)
    return value.values.ndim if isinstance(value, QuantizedConstant) else value.ndim


def _operand(importer: Importer, node: Node, value: Tensor | QuantizedConstant | Array, name: str, rank: int) -> Tensor:
    """An operand with so many axes, in the file's layout; a constant is added to the graph."""
    if isinstance(value, Tensor):
        whole = value.file_shape[0] == 1 or len(value.file_shape) == rank
        require(whole, node, f"the batch of {name!r}, {value.file_shape[0]}, stands beside another axis")
        return importer.in_file_layout(node, importer.with_rank(node, value, rank))
    if isinstance(value, QuantizedConstant):
        good = len(value.scales) == 1 and value.values.dtype != np.int32
        require(good, node, f"its constant {name!r} must be of 8 bits with one scale; quantize it so")
        unsigned = value.values.dtype == np.uint8
        codes, offset = value.values.astype(np.int16), 128 if unsigned else 0
        quantization = Quantization(float(value.scales[0]), int(value.zero_points[0]) - offset, unsigned)
        codes = (codes - offset).astype(np.int8)
    else:
        codes, quantization = value, REAL
    require(rank > 0, node, f"its constant {name!r} is a single number, no matrix")
    codes = codes.reshape((1,) * (rank - codes.ndim) + codes.shape)
    require(len(codes) == 1, node, f"its constant {name!r} of {codes.shape} does not broadcast over the batch")
    return importer.add_constant(f"{name}.matrix", np.ascontiguousarray(codes), quantization, None)


@dataclass(frozen=True, kw_only=True)
class Product:
    """A product of codes that is made when its result's quantization is known, or as real numbers."""

    importer: Importer
    node: Node
    a: Tensor
    b: Tensor
    transposed: bool
    """Whether ``b`` is (N, …, O, I)."""
    alpha: float
    bias: Value | None

    @property
    def unit(self) -> np.float32:
        """What one step of the sums stands for."""
        with np.errstate(over="ignore"):
            return np.float32(np.float32(self.alpha) * np.float32(self.a.scale) * np.float32(self.b.scale))

    @property
    def columns(self) -> int:
        """Columns of the result."""
        return self.b.shape[-2 if self.transposed else -1]

    def _fields(self, step: float, bias: Value | None) -> dict[str, Any]:
        bias = quantized_bias(self.importer, self.node, bias, np.broadcast_to(self.unit, self.columns), step)
        return {
            "a": self.a.name, "b": self.b.name, "bias": bias, "transpose_b": self.transposed,
            "rounding": Rounding.FLOAT32,
        }  # fmt: skip

    def make(self, name: str, quantization: Quantization, limits: Limits) -> Tensor:
        """Appends the product with a quantized result."""
        with np.errstate(over="ignore"):
            multiplier, shift = scaling(self.node, float(self.unit / np.float32(quantization.scale)))
        low, high = clamp(quantization, limits)
        made = self.importer.add(
            MatrixProduct, self.node, name, quantization, multiplier=multiplier, shift=shift, low=low, high=high,
            **self._fields(quantization.scale, self.bias),
        )  # fmt: skip
        self._compare(made, (low, high))
        return made

    def _compare(self, made: Tensor, limits: tuple[int, int] | None = None) -> None:
        bias, units = self.bias, np.broadcast_to(self.unit, self.columns)
        own = isinstance(bias, QuantizedConstant) and not (is_in_units(bias, units) and not bias.zero_points.any())
        self.importer.compare_sums(self.node, made, self._sums, limits, in_units=not own)

    def _sums(self) -> Sums:
        """What the product that was appended last adds up."""
        op, a, b = self.importer.ops[-1], self.a, self.b
        assert isinstance(op, MatrixProduct)
        codes, terms = np.abs(op.bias.astype(np.int64)), a.shape[-1]
        reach = (terms * largest(a) * largest(b) + codes).astype(np.float64)
        error = np.zeros(len(codes))
        if isinstance(self.bias, QuantizedConstant | np.ndarray) and not self.node.operator_form:
            bias = real_values(self.bias) if isinstance(self.bias, QuantizedConstant) else self.bias
            error = np.abs(op.bias * np.float64(self.unit) - bias.reshape(-1).astype(np.float64))
        scales = np.float32(np.float32(self.alpha) * np.float32(a.scale)), np.float32(b.scale)
        return Sums(scales=scales, reach=reach, terms=terms, error=error)

    def real(self, name: str) -> Tensor:
        """Appends the product with a real result: exact sums of integers, multiplied by their unit in float32; a bias
        that is no whole number of them is added behind."""
        importer, node = self.importer, self.node
        units = np.broadcast_to(self.unit, self.columns)
        coded = isinstance(self.bias, np.ndarray) and self.bias.dtype == np.int32
        coded |= isinstance(self.bias, QuantizedConstant) and is_in_units(self.bias, units)
        sums = importer.add(
            MatrixProduct, node, importer.name_of(f"{name}.sums"), REAL, dtype="int32", multiplier=0, shift=0,
            **self._fields(1.0, self.bias if coded else None),
        )  # fmt: skip
        self._compare(sums)
        real = importer.add(Dequantize, node, importer.name_of(f"{name}.real"), REAL, dtype="float32", input=sums.name)
        steps = [("multiply", np.reshape(self.unit, -1))]
        if self.bias is not None and not coded:
            bias = real_values(self.bias) if isinstance(self.bias, QuantizedConstant) else self.bias
            good = isinstance(bias, np.ndarray) and bias.dtype == np.float32 and bias.size in (1, self.columns)
            require(good, node, f"its bias must be one constant for each of {self.columns} columns, or one for all")
            assert isinstance(bias, np.ndarray)
            steps.append(("add", bias.reshape(-1)))
        for place, (function, values) in enumerate(steps):
            made = name if place == len(steps) - 1 else importer.name_of(f"{name}.{function}")
            values = values.reshape(*[1] * (len(real.shape) - 1), -1)
            constant = importer.add_constant(importer.name_of(f"{made}.{function}.values"), values, REAL, None)
            fields: dict[str, Any] = {"a": real.name, "b": constant.name, "function": function}
            real = importer.add(RealBinary, node, made, REAL, dtype="float32", **fields)
        return real


def _product(
    importer: Importer, node: Node, left: Tensor | QuantizedConstant, right: Tensor | QuantizedConstant, place: int,
    bias: Value | None = None,
) -> Product:  # fmt: skip
    """A product of two operands, the second of which stands at ``place``."""
    alpha, beta = float(node.get("alpha", 1.0)), float(node.get("beta", 1.0))
    good = np.isfinite(alpha) and alpha > 0 and (bias is None or beta == 1)
    factors = f"its alpha {alpha:g} must be above 0, and its beta {beta:g} must be 1 beside a bias"
    require(good, node, f"{factors}, where two tensors are multiplied; export the model so")
    # Behind its transposition the first axis would be the batch.
    require(not node.get("transA", 0), node, "its transA is not supported here; export the model without it")
    rank = max(_rank(left), _rank(right))
    a, b = (_operand(importer, node, value, node.inputs[each], rank) for value, each in ((left, 0), (right, place)))
    transposed = bool(node.get("transB", 0))
    return Product(importer=importer, node=node, a=a, b=b, transposed=transposed, alpha=alpha, bias=bias)


def _of_codes(importer: Importer, node: Node, place: int) -> Tensor | QuantizedConstant:
    """An operand in operator form: a tensor, or a constant with its scale and zero point."""
    if isinstance(importer.value(node, place), np.ndarray):
        return quantized_constant(importer, node, place, 0)
    return importer.codes(node, place)


@handles("QLinearMatMul 10 21")
def qlinear_matmul(importer: Importer, node: Node) -> None:
    """A product of integers."""
    if _is_layer(importer, node, 3):
        return weighted_matmul(importer, node)
    left, right = (_of_codes(importer, node, place) for place in (0, 3))
    made = _product(importer, node, left, right, 3)
    importer.set_result(node, made.make, 6, stored(made.a))


@handles("com.microsoft.QGemm 1")
def qgemm(importer: Importer, node: Node) -> None:
    """A product of integers, with a bias."""
    if _is_layer(importer, node, 3):
        return weighted_qgemm(importer, node)
    bias = importer.value(node, 6) if node.has(6) else None
    left, right = (_of_codes(importer, node, place) for place in (0, 3))
    made = _product(importer, node, left, right, 3, bias)
    if node.has(7):
        importer.set_result(node, made.make, 7, stored(made.a))
    else:
        importer.set_real(node, made.real(importer.real_name(node)))


@handles("Gemm 7 9 11 13", "MatMul 1 9 13")
def gemm(importer: Importer, node: Node) -> None:
    """A product of dequantized values."""
    if _is_layer(importer, node, 1):
        return weighted_gemm(importer, node)
    values = [importer.value(node, place) for place in (0, 1)]
    left, right = (
        value if isinstance(value, QuantizedConstant) else importer.quantized_input(node, place)
        for place, value in enumerate(values)
    )
    bias = importer.value(node, 2) if node.has(2) else None
    made = _product(importer, node, left, right, 1, bias)
    importer.values[node.outputs[0]] = Deferred(made.make, real=made.real)


@of_reals("Gemm 7 9 11 13", "MatMul 1 9 13")
def real_product(importer: Importer, node: Node) -> None:
    """A product of real values."""
    if _is_layer(importer, node, 1):
        return real_gemm(importer, node)
    operands: list[Tensor | Array] = []
    for place in (0, 1):
        value = importer.value(node, place)
        if isinstance(value, QuantizedConstant):
            value = real_values(value)
        operands.append(value if isinstance(value, np.ndarray) else importer.real(node, place))
    require(not node.get("transA", 0), node, "its transA is not supported here; export the model without it")
    factors = [float(node.get(name, 1.0)) for name in ("alpha", "beta")]
    require(factors == [1, 1], node, "its alpha and beta are not supported here; export the model without them")
    bias = real_constant(importer, node, 2).reshape(-1) if node.has(2) else np.zeros(1, np.float32)
    rank = max(map(_rank, operands))
    a, b = (_operand(importer, node, value, node.inputs[place], rank) for place, value in enumerate(operands))
    result = importer.add(
        RealMatrixProduct, node, importer.real_name(node), REAL, dtype="float32", a=a.name, b=b.name, bias=bias,
        transpose_b=bool(node.get("transB", 0)),
    )  # fmt: skip
    importer.set_real(node, result)
