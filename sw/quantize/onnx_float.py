"""Float ONNX models, quantized after training: calibrated with the reference evaluator, rewritten in QDQ form, and read
like any other model."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import ArrayLike

from sateen.files import read_source
from sateen.frontends.onnx import array, guarded, load, parse
from sateen.graph import Array, Graph, GraphError, require
from sateen.quantize.calibration import activation_scale, weight_scales

__all__ = ["quantize"]

WEIGHTED = {"Conv": 0, "Gemm": 1, "MatMul": 1}
"""Operators with constant weights, and the axis of their output channels; for a transposed Gemm it is 0."""
FUSING = {*WEIGHTED, "Add", "Mul", "Sub"}
"""Operators into which a following ReLU is fused."""
MOVING = {
    "Dropout",
    "Flatten",
    "Identity",
    "MaxPool",
    "Pad",
    "Reshape",
    "Resize",
    "Slice",
    "Split",
    "Squeeze",
    "Transpose",
    "Unsqueeze",
    "Upsample",
}
"""Operators whose result has the scale and zero point of their input."""
QUANTIZED = ("QuantizeLinear", "DequantizeLinear", "QLinear", "QGemm")
"""How the names of quantized models' operators begin."""
DYNAMIC = ("DynamicQuantize", "MatMulInteger", "ConvInteger")
"""As :data:`QUANTIZED`, for models that measure the ranges of activations while they run."""


def quantize(source: bytes | str | os.PathLike[str], calibration: ArrayLike, *, name: str = "") -> Graph:
    """A float ONNX model as a graph of int8 activations and weights.

    Weights have a scale for each output channel. An activation's scale covers its smallest and largest value on the
    calibration data.

    Parameters
    ----------
    calibration
        Representative values [N, …] of the model's only input, in its layout.

    Raises
    ------
    OSError
        If the file cannot be read.
    CompileError
        If the ``onnx`` package is missing.
    GraphError
        If the file is damaged, is quantized already, has an operator that cannot be quantized, or the calibration data
        does not fit it.
    """
    data, name = read_source(source, name)
    onnx, model = parse(data, None if isinstance(source, bytes) else Path(source).parent)
    # Names that are no UTF-8 come as bytes.
    with guarded("file", "it is damaged"):
        _check_float(model)
    batch = np.asarray(calibration, np.float32)
    # What is not finite is found by its value.
    with guarded("file", "it cannot be quantized"), np.errstate(all="ignore"):
        quantized = _Quantizer(onnx, model, batch).model().SerializeToString()
    return load(quantized, name=name)


def _check_float(model: Any) -> None:
    """Raises :class:`GraphError` if a model has operators on integers that stand for real numbers."""
    for node in model.graph.node:
        who = f"operator {node.name!r} ({node.op_type})"
        require(
            not node.op_type.startswith(DYNAMIC),
            who,
            "the model is quantized dynamically; quantize the float model from which it was made",
        )
        require(
            not node.op_type.startswith(QUANTIZED),
            who,
            "the model is quantized already; compile it as it is, without calibration data",
        )


class _Quantizer:
    """The model's graph, rewritten in place."""

    def __init__(self, onnx: Any, model: Any, calibration: Array):
        self.onnx, self.file, self.graph = onnx, model, model.graph
        self.constants: dict[str, Any] = {tensor.name: array(onnx, tensor) for tensor in self.graph.initializer}
        for node in self.graph.node:
            if node.op_type == "Constant":
                self.constants[node.output[0]] = array(onnx, node.attribute[0].t)
        self._fold()
        self.readers: dict[str, list[Any]] = {}
        for node in self.graph.node:
            for name in node.input:
                self.readers.setdefault(name, []).append(node)
        self.inputs = [value for value in self.graph.input if value.name not in self.constants]
        require(
            len(self.inputs) == 1, "file", f"it has {len(self.inputs)} inputs; only models of one can be quantized here"
        )
        self.ranges = self._ranges(calibration)
        self.numbers: dict[str, tuple[float, int]] = {}

    def model(self) -> Any:
        """The model in QDQ form."""
        nodes: list[Any] = []
        entry, given = self.inputs[0].name, {}
        self.numbers[entry] = activation_scale(*self.ranges[entry], scheme="asymmetric")
        nodes += self._around(entry, entry, f"{entry}.real")
        given[entry] = f"{entry}.real"
        for node in self.graph.node:
            if node.op_type == "Constant":
                continue
            made = self.onnx.NodeProto()
            made.CopyFrom(node)
            made.input[:] = [given.get(name, name) for name in node.input]
            nodes += self._weights(node, made) if node.op_type in WEIGHTED else self._operands(node, made)
            after = []
            for place, name in enumerate(node.output):
                if name in self.ranges and not self._fused(node, name):
                    self.numbers[name] = self._numbers(node, name)
                    made.output[place] = f"{name}.float"
                    after += self._around(name, f"{name}.float", name)
            nodes += [made, *after]
        del self.graph.node[:]
        self.graph.node.extend(nodes)
        del self.graph.initializer[:]
        self.graph.initializer.extend(
            self.onnx.numpy_helper.from_array(np.asarray(value), name) for name, value in self.constants.items()
        )
        return self.file

    def _around(self, name: str, real: str, result: str) -> list[Any]:
        """Nodes that quantize and dequantize a real tensor, with the scale and zero point of ``name``."""
        scale, zero_point = self.numbers[name]
        self.constants |= {f"{name}.scale": np.float32(scale), f"{name}.zero": np.int8(zero_point)}
        numbers, make = [f"{name}.scale", f"{name}.zero"], self.onnx.helper.make_node
        return [
            make("QuantizeLinear", [real, *numbers], [f"{name}.codes"], f"{name}.quantize"),
            make("DequantizeLinear", [f"{name}.codes", *numbers], [result], f"{name}.dequantize"),
        ]

    def _fused(self, node: Any, name: str) -> bool:
        """Whether the only reader of a result is a ReLU into which it is fused."""
        readers = self.readers.get(name, [])
        only = len(readers) == 1 and readers[0].op_type in ("Relu", "Clip")
        return node.op_type in FUSING and only and name not in {value.name for value in self.graph.output}

    def _numbers(self, node: Any, name: str) -> tuple[float, int]:
        if node.op_type in MOVING and node.input[0] in self.numbers:
            return self.numbers[node.input[0]]
        if node.op_type in ("Softmax", "Sigmoid"):
            return 1 / 256, -128
        return activation_scale(*self.ranges[name], scheme="asymmetric")

    def _weights(self, node: Any, made: Any) -> Iterator[Any]:
        """Nodes for constant weights, as codes with a scale per output channel, and their bias, as int32."""
        who = f"operator {node.name!r} ({node.op_type})"
        require(
            node.input[1] in self.constants, who, "its weights must be a constant; only such layers can be quantized"
        )
        require(
            node.input[0] in self.numbers,
            who,
            f"its input {node.input[0]!r} is not quantized; put it behind another operator",
        )
        weights = self.constants[node.input[1]].astype(np.float32)
        transposed = any(attribute.name == "transB" and attribute.i for attribute in node.attribute)
        axis = 0 if transposed else WEIGHTED[node.op_type]
        rows = np.moveaxis(weights, axis, 0)
        bias = self.constants.get(node.input[2]) if len(node.input) > 2 else None
        values = np.zeros(len(rows), np.float32) if bias is None else bias.astype(np.float32).reshape(-1)
        good = values.size == len(rows) and bool(np.isfinite(rows).all() and np.isfinite(values).all())
        require(good, who, "its weights or bias are not finite or do not match")
        scales = weight_scales(rows, values, self.numbers[node.input[0]][0]).astype(np.float32)
        codes = np.clip(np.rint(rows / scales.reshape(-1, *[1] * (rows.ndim - 1))), -127, 127).astype(np.int8)
        yield self._coded(made, 1, f"{node.output[0]}.weights", np.moveaxis(codes, 0, axis), scales, axis)
        if bias is not None:
            steps = np.float32(self.numbers[node.input[0]][0]) * scales
            yield self._coded(made, 2, f"{node.output[0]}.bias", np.rint(values / steps).astype(np.int32), steps, 0)

    def _operands(self, node: Any, made: Any) -> Iterator[Any]:
        """Nodes for constant operands of sums and products, as codes."""
        for place, name in enumerate(node.input):
            if node.op_type in ("Add", "Mul", "Sub") and name in self.constants:
                values = self.constants[name].astype(np.float32)
                good = values.size > 0 and bool(np.isfinite(values).all())
                require(
                    good, f"operator {node.name!r} ({node.op_type})", f"its constant {name!r} is empty or not finite"
                )
                scale, zero_point = activation_scale(float(values.min()), float(values.max()), scheme="asymmetric")
                codes = np.clip(np.rint(values / np.float32(scale)) + zero_point, -128, 127).astype(np.int8)
                yield self._coded(
                    made, place, f"{node.output[0]}.operand{place}", codes, np.array([scale], np.float32), 0, zero_point
                )

    def _coded(
        self, made: Any, place: int, name: str, codes: Array, scales: Array, axis: int, zero_point: int = 0
    ) -> Any:
        shape = () if len(scales) == 1 else (len(scales),)
        scales, zeros = scales.reshape(shape), np.full(shape, zero_point, codes.dtype)
        self.constants |= {f"{name}.codes": codes, f"{name}.scale": scales, f"{name}.zero": zeros}
        made.input[place] = name
        sources = [f"{name}.codes", f"{name}.scale", f"{name}.zero"]
        return self.onnx.helper.make_node("DequantizeLinear", sources, [name], f"{name}.dequantize", axis=axis)

    def _fold(self) -> None:
        """Folds each batch normalization into the convolution before it."""
        makers = {name: node for node in self.graph.node for name in node.output}
        nodes = []
        for node in self.graph.node:
            if node.op_type != "BatchNormalization":
                nodes.append(node)
                continue
            who, before = f"operator {node.name!r} (BatchNormalization)", makers.get(node.input[0])
            if (
                before is None
                or before.op_type != "Conv"
                or any(n not in self.constants for n in (*node.input[1:], *before.input[1:]))
            ):
                raise GraphError(f"{who}: it can be folded only into a Conv right before it")
            epsilon = next((attribute.f for attribute in node.attribute if attribute.name == "epsilon"), 1e-5)
            gamma, beta, mean, variance = (self.constants[name].astype(np.float32) for name in node.input[1:5])
            factor = gamma / np.sqrt(variance + np.float32(epsilon))
            weights = self.constants[before.input[1]]
            bias = self.constants[before.input[2]] if len(before.input) > 2 else np.zeros(len(weights), np.float32)
            names = [f"{node.output[0]}.folded", f"{node.output[0]}.bias"]
            self.constants |= {names[0]: weights * factor.reshape(-1, 1, 1, 1), names[1]: (bias - mean) * factor + beta}
            before.input[:] = [before.input[0], *names]
            before.output[0] = node.output[0]
        del self.graph.node[:]
        self.graph.node.extend(nodes)
        del self.graph.initializer[:]
        self.graph.initializer.extend(
            self.onnx.numpy_helper.from_array(value, name) for name, value in self.constants.items()
        )

    def _ranges(self, calibration: Array) -> dict[str, tuple[float, float]]:
        """The smallest and largest value of every real tensor on the calibration data."""
        from onnx.reference import ReferenceEvaluator

        require(len(calibration) > 0, "calibration", "it holds no item; give one or more")
        entry = self.inputs[0].name
        ranges: dict[str, tuple[float, float]] = {}
        with guarded("file", "it cannot be run"):
            evaluator = ReferenceEvaluator(self.file)
        for item in calibration:
            with guarded("calibration", "the model does not run on it", "give inputs in its layout"):
                results = evaluator.run(None, {entry: item[None]}, intermediate=True)
            for name, values in dict(results).items():
                if (
                    name in self.constants
                    or not isinstance(values, np.ndarray)
                    or values.dtype != np.float32
                    or not values.size
                ):
                    continue
                low, high = float(values.min()), float(values.max())
                require(
                    np.isfinite(low) and np.isfinite(high),
                    f"tensor {name!r}",
                    "calibration leads to values in it that are not finite",
                )
                before = ranges.get(name, (low, high))
                ranges[name] = min(low, before[0]), max(high, before[1])
        return ranges
