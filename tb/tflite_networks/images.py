"""Operators on images that make larger or smaller ones, on pairs of tensors besides sums and products, and over whole
axes."""

from __future__ import annotations

import itertools
import math

from tflite_networks.builder import PRODUCTS, VALUES, NetworkBuilder, Value
from tflite_networks.layers import Layers

__all__ = ["Images"]


class Images(Layers, NetworkBuilder):
    """Each method tries to add an operator, and returns whether it did."""

    def transposed(self) -> bool:
        x = self._picture()
        if x is None:
            return False
        same, kernel, stride = self._chance(0.5), self._pair(1, 4), self._pair(1, 3)
        outputs, depth = self._int(1, 9), math.prod(kernel) * x.shape[3]
        if same:
            out = tuple(
                n * s - (self._int(0, s - 1) if n > 1 else 0) for n, s in zip(x.shape[1:3], stride, strict=True)
            )
        else:
            out = tuple((n - 1) * s + k for n, s, k in zip(x.shape[1:3], stride, kernel, strict=True))
        shape = (self.batch, *out, outputs)
        if math.prod(x.shape[:3]) * outputs * depth > PRODUCTS or math.prod(shape) > VALUES:
            return False
        (weights, *bias), y = self._parameters(x, (outputs, *kernel, x.shape[3]), 0, depth, shape, self._chance(0.8))
        if self.b.tensors[weights]["type"] != "INT8":
            # tflite-micro takes no weights of 4 bits here.
            return False
        places = [self.b.constant(list(shape)), weights, x, *(place for place in bias if place >= 0)]
        fields = {"Padding": 0 if same else 1, "StrideH": stride[0], "StrideW": stride[1]}
        return self._op("TRANSPOSE_CONV", places, y, "TransposeConvOptions", **fields)

    def interpolated(self) -> bool:
        x = self._picture()
        if x is None:
            return False
        sizes = [n * 2 ** self._int(0, 2) if self._chance(0.6) else self._int(1, 12) for n in x.shape[1:3]]
        if math.prod(sizes) * x.shape[3] * self.batch > VALUES:
            return False
        flags = [{}, {"AlignCorners": True}, {"HalfPixelCenters": True}, {"HalfPixelCenters": True}][self._int(0, 3)]
        y = self._new((self.batch, *sizes, x.shape[3]), x)
        return self._op("RESIZE_BILINEAR", [x, self.b.constant(sizes)], y, "ResizeBilinearOptions", **flags)

    def blocks(self) -> bool:
        x = self._picture()
        if x is None:
            return False
        (batch, rows, columns, channels), size = x.shape, self._int(2, 3)
        if channels % size**2 == 0:
            y = self._new((batch, rows * size, columns * size, channels // size**2), x)
            return self._op("DEPTH_TO_SPACE", [x], y, "DepthToSpaceOptions", BlockSize=size)
        if rows % size or columns % size:
            return False
        y = self._new((batch, rows // size, columns // size, channels * size**2), x)
        return self._op("SPACE_TO_DEPTH", [x], y, "SpaceToDepthOptions", BlockSize=size)

    def mirrored(self) -> bool:
        x = self._pick(lambda x: 2 <= len(x.shape) <= 4)
        if x is None:
            return False
        mode = self._int(0, 1)
        pairs = [self._pair(0, min(3, n - 1 + mode)) if self._chance(0.5) else (0, 0) for n in x.shape]
        pairs[: self._first(x)] = [(0, 0)] * self._first(x)
        out = [n + sum(pair) for n, pair in zip(x.shape, pairs, strict=True)]
        if math.prod(out) > VALUES:
            return False
        return self._op("MIRROR_PAD", [x, self.b.constant(pairs)], self._new(out, x), "MirrorPadOptions", Mode=mode)

    def gathered(self) -> bool:
        x = self._pick(lambda x: 1 <= len(x.shape) <= 4)
        axis = None if x is None else self._axis(x)
        if x is None or axis is None:
            return False
        place, count = axis % len(x.shape), self._int(1, 8)
        out = (*x.shape[:place], count, *x.shape[place + 1 :])
        if math.prod(out) > VALUES:
            return False
        chosen = self.rng.integers(0, x.shape[place], count)
        return self._op("GATHER", [x, self.b.constant(chosen)], self._new(out, x), "GatherOptions", Axis=axis)

    def reduced(self) -> bool:
        x = self._pick(lambda x: 2 <= len(x.shape) <= 4)
        if x is None:
            return False
        axes = [axis for axis in range(self._first(x), len(x.shape)) if self._chance(0.5)]
        keep = self._chance(0.5)
        if not axes or not keep and len(axes) == len(x.shape):
            return False
        out = [1 if axis in axes else n for axis, n in enumerate(x.shape) if keep or axis not in axes]
        kind = str(self.rng.choice(["SUM", "REDUCE_MAX"]))
        count = math.prod(x.shape[axis] for axis in axes)
        y = self._new(out, x) if kind == "REDUCE_MAX" else self._new(out, size=x.size * math.sqrt(count))
        return self._op(kind, [x, self.b.constant(axes)], y, "ReducerOptions", KeepDims=keep)

    def table(self) -> bool:
        x = self._pick()
        if x is None:
            return False
        kind = str(self.rng.choice(["ABS", "ELU"]))
        return self._op(kind, [x], self._new(x.shape, size=x.size))

    def slopes(self) -> bool:
        x = self._pick(lambda x: 2 <= len(x.shape) <= 4)
        if x is None:
            return False
        shape = (1,) * (len(x.shape) - 1) + (x.shape[-1] if self._chance(0.8) else 1,)
        return self._op(
            "PRELU", [x, self._codes(shape, self._scale(), self._zero_point())], self._new(x.shape, size=x.size)
        )

    def pair(self) -> bool:
        a = self._pick(lambda x: len(x.shape) >= 1)
        if a is None:
            return False
        kind = str(self.rng.choice(["MAXIMUM", "MINIMUM", "SQUARED_DIFFERENCE"]))
        b: Value | None = self._pick(lambda x: x is not a and self._together(a, x) is not None)
        b = b if b is not None and self._chance(0.7) else self._codes(self._smaller(a), *a.numbers)
        out = self._together(a, b)
        if out is None or math.prod(out) > VALUES:
            return False
        if kind == "SQUARED_DIFFERENCE":
            size = max(4 * math.hypot(a.size, b.size) ** 2, max(a.scale, b.scale) ** 2)
            return self._op(kind, [a, b], self._new(out, size=size))
        return self._op(kind, [a, self._with_numbers(b, a)], self._new(out, a))

    def product(self) -> bool:
        """A matrix product of two tensors; often of one with itself, as in attention."""
        a = self._pick(lambda x: len(x.shape) >= 3 and self._with_batch(x))
        if a is None:
            return False
        b = self._pick(lambda x: len(x.shape) == len(a.shape) and x.shape[:-2] == a.shape[:-2])
        b = a if b is None else b
        fitting = [flags for flags in itertools.product((False, True), repeat=2) if _inner(a, b, *flags)]
        if not fitting:
            return False
        left, right = fitting[self.rng.integers(len(fitting))]
        rows, depth = a.shape[-2:][::-1] if left else a.shape[-2:]
        out = (*a.shape[:-2], rows, b.shape[-2] if right else b.shape[-1])
        if math.prod(out) > VALUES or math.prod(out) * depth > PRODUCTS:
            return False
        y = self._new(out, size=a.size * b.size * math.sqrt(depth))
        return self._op("BATCH_MATMUL", [a, b], y, "BatchMatMulOptions", AdjX=left, AdjY=right)

    def lengths(self) -> bool:
        x = self._pick(lambda x: 2 <= len(x.shape) <= 4)
        if x is None or self._chance(0.7):
            return False
        y = self._new(x.shape, x, scale=1 / 128, zero_point=0, size=0.5)
        return self._op("L2_NORMALIZATION", [x], y, "L2NormOptions")

    def choice(self) -> bool:
        """A comparison, and the values that it chooses."""
        x = self._pick(lambda x: 1 <= len(x.shape) <= 4 and x.scale < 1)
        if x is None or self._chance(0.5):
            return False
        other = self._codes(tuple(1 for _ in x.shape), self._scale(), self._zero_point())
        flag = self._new(x.shape, x, type="BOOL")
        kind = str(self.rng.choice(["EQUAL", "NOT_EQUAL", "GREATER", "GREATER_EQUAL", "LESS", "LESS_EQUAL"]))
        self._op(kind, [x, other], flag)
        second = self._codes(x.shape if self.batch == 1 else (1,) * len(x.shape), *x.numbers)
        return self._op("SELECT_V2", [flag, x, second], self._new(x.shape, x))


def _inner(a: Value, b: Value, left: bool, right: bool) -> bool:
    """Whether two matrices fit, each of which may be transposed."""
    return a.shape[-2 if left else -1] == b.shape[-1 if right else -2]
