"""Operators on int16 activations."""

from __future__ import annotations

import math

import numpy as np

from tflite_networks.builder import PRODUCTS, NetworkBuilder, Value

__all__ = ["Wide"]


class Wide(NetworkBuilder):
    """Each method tries to add an operator, and returns whether it did."""

    def wide(self) -> bool:
        """From int8 to int16, between int16, or back."""
        x = self._pick(type="INT16")
        if x is None or self._chance(0.2):
            x = self._pick(lambda x: len(x.shape) >= 2)
            return x is not None and self._op("QUANTIZE", [x], self._new_wide(x.shape, x.size))
        kinds = [
            self._narrow,
            self._wide_function,
            self._wide_pair,
            self._wide_layer,
            self._wide_function,
            self._wide_pair,
        ]
        return kinds[self._int(0, len(kinds) - 1)](x)

    def _new_wide(self, shape, size: float, scale: float | None = None) -> Value:
        scale = float(np.float32(size / self.rng.uniform(3000, 20000))) if scale is None else scale
        index = self.b.tensor(shape, "INT16", scale=scale)
        return Value(index=index, shape=tuple(shape), type="INT16", scale=scale, size=min(size, 2**15 * scale))

    def _narrow(self, x: Value) -> bool:
        return self._op("QUANTIZE", [x], self._new(x.shape, size=x.size))

    def _wide_function(self, x: Value) -> bool:
        kind = str(self.rng.choice(["LOGISTIC", "TANH", "RELU", "LEAKY_RELU", "SOFTMAX"]))
        if kind in ("LOGISTIC", "TANH") and x.scale < 1:
            return self._op(kind, [x], self._new_wide(x.shape, 0.5, 2.0**-15))
        if kind == "SOFTMAX" and 2 <= len(x.shape) <= 4 and x.shape[-1] < 100:
            return self._op(kind, [x], self._new_wide(x.shape, 0.3, 2.0**-15), "SoftmaxOptions", Beta=1.0)
        y = self._new_wide(x.shape, x.size)
        if kind == "LEAKY_RELU":
            return self._op(kind, [x], y, "LeakyReluOptions", Alpha=float(self.rng.choice([0.1, 0.3, 1.5])))
        return kind == "RELU" and self._op(kind, [x], y)

    def _wide_pair(self, x: Value) -> bool:
        other = self._pick(lambda other: other.shape == x.shape, type="INT16")
        assert other is not None
        kind, options = [("ADD", "AddOptions"), ("SUB", "SubOptions"), ("MUL", "MulOptions")][self._int(0, 2)]
        y = self._new_wide(x.shape, (x.size * other.size if kind == "MUL" else math.hypot(x.size, other.size)) / 1.4)
        return self._op(kind, [x, other], y, options, FusedActivationFunction=int(self.rng.choice([0, 0, 1])))

    def _wide_layer(self, x: Value) -> bool:
        """A convolution of single pixels, or a matrix product."""
        depth, outputs = x.shape[-1], self._int(1, 12)
        image = len(x.shape) == 4 and self._with_batch(x)
        if math.prod(x.shape) * outputs > PRODUCTS or not (image or len(x.shape) == 2):
            return False
        weights = self.rng.integers(-127, 128, (outputs, 1, 1, depth) if image else (outputs, depth))
        scales = self.rng.uniform(0.002, 0.02, outputs).astype(np.float32)
        y = self._new_wide((*x.shape[:-1], outputs), x.size * 0.8 * math.sqrt(depth))
        w = self.b.constant(weights, "INT8", scale=scales.tolist())
        bias = self.b.constant(
            self.rng.integers(-(2**16), 2**16, outputs), "INT64", scale=(np.float32(x.scale) * scales).tolist()
        )
        if image:
            fields = {"StrideH": 1, "StrideW": 1, "DilationHFactor": 1, "DilationWFactor": 1}
            return self._op("CONV_2D", [x, w, bias], y, "Conv2DOptions", **fields)
        return self._op("FULLY_CONNECTED", [x, w, bias], y, "FullyConnectedOptions")
