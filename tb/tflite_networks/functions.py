"""Functions of one tensor."""

from __future__ import annotations

import numpy as np

from tflite_networks.builder import NetworkBuilder, without

__all__ = ["Functions"]


class Functions(NetworkBuilder):
    """Each method tries to add an operator, and returns whether it did."""

    # Of one tensor.

    def function(self) -> bool:
        x = self._pick()
        if x is None:
            return False
        kind = str(self.rng.choice(["LOGISTIC", "TANH", "LEAKY_RELU", "HARD_SWISH", "RELU", "RELU6"]))
        if kind == "LOGISTIC":
            return self._op(kind, [x], self._new(x.shape, x, scale=1 / 256, zero_point=-128, size=0.5))
        if kind == "TANH":
            return self._op(kind, [x], self._new(x.shape, x, scale=1 / 128, zero_point=0, size=0.5))
        if kind == "RELU6":
            return self._op(kind, [x], self._new(x.shape, x))
        y = self._new(x.shape, size=x.size)
        if kind == "LEAKY_RELU":
            return self._op(kind, [x], y, "LeakyReluOptions", Alpha=float(self.rng.choice([0.0, 0.1, 0.3, 1.0, 1.5])))
        return self._op(kind, [x], y)

    def softmax(self) -> bool:
        x = self._pick(lambda x: 2 <= len(x.shape) <= 4 and x.shape[-1] < 512)
        if x is None or self._chance(0.5):
            return False
        if self._chance(0.5):
            y = self._new(x.shape, x, scale=1 / 16, zero_point=127, size=3.0)
            return self._op("LOG_SOFTMAX", [x], y)
        y = self._new(x.shape, x, scale=1 / 256, zero_point=-128, size=0.3)
        return self._op("SOFTMAX", [x], y, "SoftmaxOptions", Beta=float(self.rng.choice([1.0, 1.0, 0.5, 3.0])))

    def arg_max(self) -> bool:
        x = self._pick(lambda x: len(x.shape) >= 2)
        axis = None if x is None else self._axis(x)
        if x is None or axis is None or self._chance(0.5):
            return False
        y = self._new(without(x.shape, axis % len(x.shape)), x, type="INT32")
        return self._op("ARG_MAX", [x, self.b.constant([axis])], y, "ArgMaxOptions", OutputType=2)

    def requantize(self) -> bool:
        x = self._pick()
        return x is not None and self._op("QUANTIZE", [x], self._new(x.shape, size=x.size))

    def real(self) -> bool:
        """Quantizes or dequantizes."""
        x = self._pick(type="FLOAT32")
        if x is not None and self._chance(0.4):
            # What every interpreter rounds once.
            y = self._new(x.shape, x)
            if self._chance(0.5):
                return self._op(str(self.rng.choice(["RELU", "RELU6", "ABS", "NEG"])), [x], y)
            values = self.rng.uniform(-2, 2, x.shape[-1:]).astype(np.float32)
            kind, options = [("ADD", "AddOptions"), ("SUB", "SubOptions"), ("MUL", "MulOptions")][self._int(0, 2)]
            other = self.b.constant(values, "FLOAT32")
            return len(x.shape) <= 4 and self._op(kind, [x, other], y, options, FusedActivationFunction=self._int(0, 1))
        if x is not None and self._chance(0.7):
            return self._op("QUANTIZE", [x], self._new(x.shape, size=x.size))
        x = self._pick()
        return (
            x is not None and self._chance(0.5) and self._op("DEQUANTIZE", [x], self._new(x.shape, x, type="FLOAT32"))
        )
