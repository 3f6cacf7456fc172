"""Small quantized ONNX models in QDQ form, operator by operator."""

from __future__ import annotations

import numpy as np

import needs

onnx = needs.package("onnx", extra="onnx")
helper = onnx.helper

__all__ = ["File", "W", "X", "Y", "ints"]

X, W, Y = np.float32(0.0513), np.float32(0.0113), np.float32(0.1171)
"""Scales of inputs, weights and results. Their mantissas are odd, so that no value lies on a tie of rounding."""


class File:
    """A model in the making."""

    def __init__(self, opset: int = 17, seed: int = 0):
        self.nodes: list = []
        self.constants: dict[str, np.ndarray] = {}
        self.opset, self.rng = opset, np.random.default_rng(seed)

    def constant(self, value, name: str = "") -> str:
        name = name or f"k{len(self.constants)}"
        self.constants[name] = np.asarray(value)
        return name

    def reals(self, *shape: int) -> str:
        return self.constant(self.rng.normal(size=shape).astype(np.float32))

    def node(self, kind: str, *inputs: str, outputs: int = 1, domain: str = "", **attributes):
        names = [f"{kind.lower()}{len(self.nodes)}{'abc'[place] if outputs > 1 else ''}" for place in range(outputs)]
        made = helper.make_node(kind, inputs, names, f"{kind}_{len(self.nodes)}", domain=domain, **attributes)
        self.nodes.append(made)
        return names[0] if outputs == 1 else names

    def numbers(self, scale, zero_point, kind=np.int8) -> list[str]:
        return [self.constant(np.asarray(scale, np.float32)), self.constant(np.asarray(zero_point, kind))]

    def quantize(self, x: str, scale=Y, zero_point=3, kind=np.int8, **attributes) -> str:
        return self.node("QuantizeLinear", x, *self.numbers(scale, zero_point, kind), **attributes)

    def dequantize(self, x: str, scale=Y, zero_point=3, kind=np.int8, **attributes) -> str:
        return self.node("DequantizeLinear", x, *self.numbers(scale, zero_point, kind), **attributes)

    def around(self, x: str, scale=X, zero_point=3, kind=np.int8, **attributes) -> str:
        """Quantized and dequantized."""
        return self.dequantize(
            self.quantize(x, scale, zero_point, kind, **attributes), scale, zero_point, kind, **attributes
        )

    def weights(self, *shape: int, scale=W, axis: int = 0) -> str:
        codes = self.constant(self.rng.integers(-127, 128, shape).astype(np.int8))
        zeros = np.zeros(np.shape(scale), np.int8)
        return self.dequantize(codes, scale, zeros, axis=axis) if np.ndim(scale) else self.dequantize(codes, scale, 0)

    def build(self, inputs: dict[str, tuple], *outputs: str) -> bytes:
        """The file; inputs are float32 of a shape, or (shape, type)."""
        ends = []
        for name, shape in inputs.items():
            kind = onnx.TensorProto.FLOAT if isinstance(shape[0], int) else shape[1]
            ends.append(helper.make_tensor_value_info(name, kind, shape if isinstance(shape[0], int) else shape[0]))
        made = [helper.make_tensor_value_info(name, 0, None) for name in outputs]
        for info in made:
            info.ClearField("type")
        tensors = [onnx.numpy_helper.from_array(value, name) for name, value in self.constants.items()]
        graph = helper.make_graph(self.nodes, "g", ends, made, tensors)
        opsets = [helper.make_opsetid("", self.opset), helper.make_opsetid("com.microsoft", 1)]
        return helper.make_model(graph, opset_imports=opsets, ir_version=8).SerializeToString()


def ints(*values):
    return np.array(values, np.int64)
