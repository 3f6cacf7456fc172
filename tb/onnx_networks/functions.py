"""Functions of single values, softmax and argmax."""

from __future__ import annotations

import numpy as np
import onnx

from onnx_networks.builder import NetworkBuilder

__all__ = ["Functions"]


class Functions(NetworkBuilder):
    """Each method tries to add an operator, and returns whether it did."""

    # Functions of single values.

    def clip(self) -> bool:
        """A clamp by itself, or another scale."""
        x = self.pick()
        if x is None:
            return False
        numbers = x.numbers if self.rng.random() < 0.4 else self.drawn(float(x.scale), x.kind)
        span = float(x.scale) * 100
        if self.rng.random() < 0.5:
            made = self.node("Relu", [self.real(x)])[0]
        else:
            limits = [
                self.constant(np.float32(limit)) for limit in (self.rng.uniform(-span, 0), self.rng.uniform(0, span))
            ]
            made = self.node("Clip", [self.real(x), *limits])[0]
        self.quantized(made, x.shape, numbers)
        return True

    def table(self) -> bool:
        x = self.pick()
        if x is None:
            return False
        rng, kind = self.rng, str(self.rng.choice(["Sigmoid", "Tanh", "LeakyRelu", "HardSwish", "HardSigmoid"]))
        low = 0 if x.kind == "u" else -128
        out, fields = self.drawn(float(x.scale) * 0.8, x.kind), {}
        if kind in ("Sigmoid", "HardSigmoid"):
            out = np.float32(rng.uniform(0.0035, 0.006)), low, x.kind
        elif kind == "Tanh":
            out = np.float32(rng.uniform(0.0075, 0.01)), low + 128 + int(rng.integers(-5, 6)), x.kind
        if kind == "LeakyRelu":
            fields = {"alpha": float(rng.uniform(0.01, 0.4))}
        elif kind == "HardSigmoid" and rng.random() < 0.5:
            fields = {"alpha": float(rng.uniform(0.1, 0.4)), "beta": float(rng.uniform(0.3, 0.6))}
        if kind in ("Sigmoid", "LeakyRelu") and self.coded():
            self.add(self.node(f"QLinear{kind}", [*self.codes(x), *self.numbers(*out)], **fields)[0], x.shape, out)
        else:
            self.quantized(self.node(kind, [self.real(x)], **fields)[0], x.shape, out)
        return True

    def softmax(self) -> bool:
        x = self.pick()
        if x is None:
            return False
        out = np.float32(self.rng.uniform(0.0035, 0.0045)), 0 if x.kind == "u" else -128, x.kind
        axis = int(self.rng.choice([-1, *range(1, len(x.shape))]))
        if self.coded():
            made = self.node("QLinearSoftmax", [*self.codes(x), *self.numbers(*out)], axis=axis, opset=13)
            self.add(made[0], x.shape, out)
        else:
            self.quantized(self.node("Softmax", [self.real(x)], axis=axis)[0], x.shape, out)
        return True

    def tail(self) -> bool:
        """An operator on real numbers, whose result is an output."""
        x = self.pick()
        if x is None or len(self.ends) > 1:
            return False
        rng, name = self.rng, self.real(x)
        kind = str(rng.choice(["Softmax", "LogSoftmax", "Sigmoid", "Mul", "Sub", "ReduceMean", "Exp"]))
        if kind in ("Mul", "Sub"):
            shape = [n if rng.random() < 0.5 else 1 for n in x.shape[1:]]
            made = self.node(kind, [name, self.constant(rng.normal(size=shape).astype(np.float32))])
        elif kind == "ReduceMean":
            axes = sorted({int(axis) for axis in rng.integers(1, len(x.shape), 2)})
            made = self.node(kind, [name], axes=axes, keepdims=int(rng.integers(2)))
        else:
            axis = {"axis": int(rng.integers(1, len(x.shape)))} if kind.endswith("Softmax") else {}
            made = self.node(kind, [name], **axis)
        self.ends.append((made[0], onnx.TensorProto.FLOAT))
        return True

    def argmax(self) -> bool:
        x = self.pick()
        if x is None or len(self.ends) > 1:
            return False
        axis, keep = int(self.rng.integers(1, len(x.shape))), int(self.rng.integers(2))
        name = self.node("ArgMax", [self.real(x)], axis=axis, keepdims=keep)[0]
        self.ends.append((name, onnx.TensorProto.INT64))
        return True
