"""Operators on images and rows beyond the common ones: transposed convolutions, reductions, blocks, borders, copies."""

from __future__ import annotations

import math

import numpy as np

from onnx_networks.builder import MOST
from onnx_networks.layers import Layers
from onnx_networks.moves import Moves

__all__ = ["Images"]


class Images(Layers, Moves):
    """Each method tries to add an operator, and returns whether it did."""

    def rows(self) -> bool:
        """A convolution or pool of rows."""
        x = self.pick(3)
        if x is None:
            return False
        rng, (_, channels, length) = self.rng, x.shape
        size, stride = int(rng.integers(1, min(length, 4) + 1)), int(rng.integers(1, 4))
        pads = [int(rng.integers(0, size)) for _ in range(2)]
        fields = {"kernel_shape": [size], "strides": [stride], "pads": pads}
        longer = (length + sum(pads) - size) // stride + 1
        if rng.random() < 0.3:
            self.move("MaxPool", x, (1, channels, longer), **fields)
            return True
        groups = int(rng.choice([1, channels]))
        outputs = groups * int(rng.integers(1, 4))
        if outputs * longer > MOST:
            return False
        weights = self.weights((outputs, channels // groups, size), 0, x.kind)
        depth = channels // groups * size
        self.layer("Conv", x, weights, 0, depth, (1, outputs, longer), biased=True, group=groups, **fields)
        return True

    def transposed(self) -> bool:
        """A transposed convolution."""
        x = self.pick(4)
        if x is None:
            return False
        rng, channels = self.rng, x.shape[1]
        groups = int(rng.choice([n for n in range(1, channels + 1) if channels % n == 0]))
        each, size, stride = int(rng.integers(1, 4)), rng.integers(1, 4, 2), rng.integers(1, 4, 2)
        pads = [int(rng.integers(0, n)) for n in (*size, *size)]
        more = [int(rng.integers(0, n)) for n in stride]
        sides = [
            (n - 1) * int(step) + int(k) + added - pads[axis] - pads[axis + 2]
            for axis, (n, step, k, added) in enumerate(zip(x.shape[2:], stride, size, more, strict=True))
        ]
        shape = (1, groups * each, *sides)
        if min(sides) < 1 or math.prod(shape) > MOST:
            return False
        scale = np.float32(rng.uniform(0.003, 0.02))
        codes = rng.integers(-127, 128, (channels, each, *size)).astype(np.int8)
        numbers = [self.constant(scale, "s"), self.constant(np.int8(0), "z")]
        weights = self.node("DequantizeLinear", [self.constant(codes, "w"), *numbers])[0]
        fields = {"group": groups, "strides": stride.tolist(), "pads": pads, "output_padding": more}
        made = self.node("ConvTranspose", [self.real(x), weights], **fields)[0]
        depth = channels // groups * math.prod(map(int, size)) / math.prod(map(int, stride))
        self.result(made, shape, float(x.scale) * float(scale) * 100 * math.sqrt(max(depth, 1)), x.kind)
        return True

    def reduced(self) -> bool:
        """A reduction; sums and means are requantized."""
        x = self.pick(3, 4)
        if x is None:
            return False
        rng, rank, kind = self.rng, len(x.shape), str(self.rng.choice(["Mean", "Sum", "Max", "Min"]))
        axes = sorted(int(axis) for axis in rng.choice(np.arange(1, rank), int(rng.integers(1, rank)), replace=False))
        keep = rng.random() < 0.6 or rank - len(axes) < 2
        shape = [1 if axis in axes else n for axis, n in enumerate(x.shape) if keep or axis not in axes]
        fields = {"keepdims": int(keep)}
        given = []
        if kind == "Sum":
            given = [self.constant(np.array(axes, np.int64))]
        else:
            fields["axes"] = axes
        if kind in ("Max", "Min"):
            self.move(f"Reduce{kind}", x, shape, *given, **fields)
            return True
        count = math.prod(x.shape[axis] for axis in axes)
        scale = float(x.scale) * (math.sqrt(count) if kind == "Sum" else 0.5)
        self.result(self.node(f"Reduce{kind}", [self.real(x), *given], **fields)[0], shape, scale, x.kind)
        return True

    def normalized(self) -> bool:
        """A batch normalization."""
        x = self.pick(3, 4)
        if x is None:
            return False
        rng, channels = self.rng, x.shape[1]
        scale, bias, mean = (
            rng.normal(size=channels) * spread for spread in (1, float(x.scale) * 30, float(x.scale) * 30)
        )
        given = [scale, bias, mean, rng.uniform(0.3, 2, channels)]
        names = [self.constant(values.astype(np.float32)) for values in given]
        made = self.node("BatchNormalization", [self.real(x), *names], epsilon=float(rng.choice([1e-5, 1e-3])))[0]
        self.result(made, x.shape, float(x.scale) * 1.5, x.kind)
        return True

    def blocks(self) -> bool:
        """Blocks of pixels as channels, or back."""
        x = self.pick(4)
        if x is None:
            return False
        _, channels, *sides = x.shape
        if channels % 4 == 0 and self.rng.random() < 0.6:
            shape = (1, channels // 4, *(2 * side for side in sides))
            self.move("DepthToSpace", x, shape, blocksize=2, mode=str(self.rng.choice(["DCR", "CRD"])))
            return True
        if any(side % 2 for side in sides):
            return False
        self.move("SpaceToDepth", x, (1, 4 * channels, *(side // 2 for side in sides)), blocksize=2)
        return True

    def taken(self) -> bool:
        """Values at other places: borders of the tensor's own, copies, chosen positions."""
        x = self.pick(2, 3, 4)
        if x is None:
            return False
        rng, rank, kind = self.rng, len(x.shape), str(self.rng.choice(["Pad", "Tile", "Gather"]))
        axis = int(rng.integers(1, rank))
        shape = list(x.shape)
        if kind == "Pad":
            pads = [0] * 2 * rank
            pads[axis], pads[axis + rank] = (int(n) for n in rng.integers(0, min(shape[axis], 4), 2))
            shape[axis] += pads[axis] + pads[axis + rank]
            given, fields = pads, {"mode": str(rng.choice(["edge", "reflect"]))}
        elif kind == "Tile":
            given, fields = [1] * rank, {}
            given[axis] = int(rng.integers(2, 4))
            shape[axis] *= given[axis]
        else:
            given, fields = rng.integers(-shape[axis], shape[axis], int(rng.integers(1, 6))), {"axis": axis}
            shape[axis] = len(given)
        if math.prod(shape) > MOST:
            return False
        self.move(kind, x, shape, self.constant(np.array(given, np.int64)), **fields)
        return True
