"""Operators that compute: layers with weights, pools, means, and operators on several tensors."""

from __future__ import annotations

import math

import numpy as np

from tflite_networks.builder import PRODUCTS, VALUES, NetworkBuilder, Shape, Value, without

__all__ = ["Layers"]


class Layers(NetworkBuilder):
    """Each method tries to add an operator, and returns whether it did."""

    # Layers with weights.

    def _window(self, x: Value) -> tuple[tuple[int, int], dict[str, int], Shape]:
        """Kernel, options, and rows and columns of results; a kernel may be larger than the image."""
        sizes = x.shape[1:3]
        same = self._chance(0.6)
        kernel = self._pair(1, int(self.rng.choice([1, 2, 3, 3, 5, 7])))
        dilation = self._pair(1, 3) if self._chance(0.25) else (1, 1)
        stride = self._pair(1, int(self.rng.choice([1, 1, 2, 3, 6])))
        extents = tuple(d * (k - 1) + 1 for d, k in zip(dilation, kernel, strict=True))
        if not same and any(extent > size for extent, size in zip(extents, sizes, strict=True)):
            kernel, dilation = tuple(min(k, size) for k, size in zip(kernel, sizes, strict=True)), (1, 1)
            extents = kernel
        out = tuple(
            -(-size // step) if same else (size - extent) // step + 1
            for size, extent, step in zip(sizes, extents, stride, strict=True)
        )
        options = {
            "Padding": 0 if same else 1, "StrideH": stride[0], "StrideW": stride[1], "DilationHFactor": dilation[0],
            "DilationWFactor": dilation[1],
        }  # fmt: skip
        return kernel, options, out

    def _parameters(
        self, x: Value, shape: Shape, axis: int, depth: int, out: Shape, several: bool
    ) -> tuple[list[int], Value]:
        """Weights and bias, and the result."""
        rng, outputs = self.rng, shape[axis]
        density = float(rng.choice([1, 1, 0.4, 0.1]))
        weights = rng.integers(-128 if self._chance(0.2) else -127, 128, shape)
        weights[rng.random(shape) >= density] = 0
        type, size = "INT8", self._scale() * 60
        if self._chance(0.15):
            type, weights = "INT4", weights >> 4
        y = self._new(out, size=size)
        sums = max(x.size, 3 * x.scale) / x.scale * (74 if type == "INT8" else 5) * math.sqrt(max(1, depth * density))
        scales = np.float32(size / (sums * x.scale)) * rng.uniform(0.4, 1.5, outputs if several else 1).astype(
            np.float32
        )
        places = [self.b.constant(weights, type, scale=scales.tolist(), axis=axis if several else 0)]
        if self._chance(0.8):
            bias = rng.uniform(-1, 1, outputs) * sums
            places.append(self.b.constant(bias.astype(np.int32), scale=(np.float32(x.scale) * scales).tolist()))
        elif axis == 0 and self._chance(0.5):
            places.append(-1)
        return places, y

    def convolution(self) -> bool:
        x = self._picture()
        if x is None:
            return False
        kernel, options, out = self._window(x)
        channels = x.shape[3]
        groups = (
            int(self.rng.choice([n for n in range(1, channels + 1) if channels % n == 0])) if self._chance(0.2) else 1
        )
        outputs, depth = groups * self._int(1, max(1, 20 // groups)), math.prod(kernel) * (channels // groups)
        if math.prod(out) * outputs * depth * self.batch > PRODUCTS or math.prod(out) * outputs * self.batch > VALUES:
            return False
        shape = (self.batch, *out, outputs)
        places, y = self._parameters(x, (outputs, *kernel, channels // groups), 0, depth, shape, self._chance(0.8))
        return self._op(
            "CONV_2D", [x, *places], y, "Conv2DOptions", **options, FusedActivationFunction=self._activation(y)
        )

    def depthwise(self) -> bool:
        x = self._picture()
        if x is None:
            return False
        kernel, options, out = self._window(x)
        multiplier = int(self.rng.choice([1, 1, 1, 2, 3, 5]))
        outputs = multiplier * x.shape[3]
        if math.prod(out) * outputs * self.batch > VALUES:
            return False
        shape = (self.batch, *out, outputs)
        places, y = self._parameters(x, (1, *kernel, outputs), 3, math.prod(kernel), shape, self._chance(0.8))
        options |= {"DepthMultiplier": multiplier, "FusedActivationFunction": self._activation(y)}
        return self._op("DEPTHWISE_CONV_2D", [x, *places], y, "DepthwiseConv2DOptions", **options)

    def fully_connected(self) -> bool:
        """Over the last axis, over all of them, or over a depth that divides the whole."""
        x = self._pick(lambda x: len(x.shape) >= 2)
        if x is None:
            return False
        count, outputs = math.prod(x.shape), self._int(1, 24)
        keep = False
        if self._with_batch(x) and self._chance(0.4):
            depth = count // self.batch
            out: Shape = (self.batch, outputs)
        elif self.batch == 1 and self._chance(0.2):
            depth = int(self.rng.choice([n for n in range(1, count + 1) if count % n == 0]))
            out = (count // depth, outputs)
        else:
            depth, keep = x.shape[-1], True
            out = (*x.shape[:-1], outputs)
        if count * outputs > PRODUCTS or math.prod(out) > VALUES:
            return False
        places, y = self._parameters(x, (outputs, depth), 0, depth, out, False)
        fields = {"FusedActivationFunction": self._activation(y), "KeepNumDims": keep}
        return self._op("FULLY_CONNECTED", [x, *places], y, "FullyConnectedOptions", **fields)

    # Pools and means.

    def pool(self) -> bool:
        x = self._picture()
        if x is None:
            return False
        size, options, out = self._window(x)
        options = {name: value for name, value in options.items() if not name.startswith("Dilation")}
        if options["Padding"] == 0:
            out = tuple(-(-n // s) for n, s in zip(x.shape[1:3], (options["StrideH"], options["StrideW"]), strict=True))
        else:
            strides = (options["StrideH"], options["StrideW"])
            out = tuple((n - k) // s + 1 for n, k, s in zip(x.shape[1:3], size, strides, strict=True))
        kind = str(self.rng.choice(["AVERAGE_POOL_2D", "MAX_POOL_2D"]))
        y = self._new((self.batch, *out, x.shape[3]), x)
        options |= {"FilterHeight": size[0], "FilterWidth": size[1], "FusedActivationFunction": self._activation(y)}
        return self._op(kind, [x], y, "Pool2DOptions", **options)

    def mean(self) -> bool:
        x = self._pick(lambda x: 2 <= len(x.shape) <= 4)
        if x is None:
            return False
        axes = [axis for axis in range(self._first(x), len(x.shape)) if self._chance(0.5)]
        keep = self._chance(0.5)
        if not axes or not keep and len(axes) == len(x.shape):
            return False
        out = [1 if axis in axes else n for axis, n in enumerate(x.shape) if keep or axis not in axes]
        count = math.prod(x.shape[axis] for axis in axes)
        y = self._new(out, x) if self._chance(0.2) else self._new(out, size=max(x.size / math.sqrt(count), x.scale))
        named = self.b.constant([axis - len(x.shape) if self._chance(0.2) else axis for axis in axes])
        return self._op("MEAN", [x, named], y, "ReducerOptions", KeepDims=keep)

    def limit(self) -> bool:
        """The larger or smaller of a tensor and a constant."""
        x = self._pick()
        if x is None:
            return False
        code = self.b.constant([self._int(-128, 127)], "INT8", scale=x.scale, zero_point=x.zero_point)
        operands = [x, code] if self._chance(0.5) else [code, x]
        kind = "MAXIMUM" if self._chance(0.5) else "MINIMUM"
        return self._op(kind, operands, self._new(x.shape, x), "MaximumMinimumOptions")

    # Of two tensors.

    def arithmetic(self) -> bool:
        a = self._pick()
        if a is None:
            return False
        if self._chance(0.3):
            b = self._codes(self._smaller(a), self._scale(), self._zero_point())
        else:
            others = self._pick(lambda x: x is not a and self._together(a, x) is not None)
            b = a if others is None or self._chance(0.1) else others
        out = self._together(a, b)
        if out is None or math.prod(out) > VALUES:
            return False
        if a is b and self._chance(0.5):
            return False
        kind, options = [("ADD", "AddOptions"), ("SUB", "SubOptions"), ("MUL", "MulOptions")][self._int(0, 2)]
        y = self._new(out, size=(a.size * b.size if kind == "MUL" else math.hypot(a.size, b.size)) / 1.4)
        operands = [a, b] if self._chance(0.5) else [b, a]
        return self._op(kind, operands, y, options, FusedActivationFunction=self._activation(y))

    def _smaller(self, x: Value) -> Shape:
        """A shape that broadcasts to a tensor's: its last axes, some of them 1, with a batch of 1."""
        shape = [1 if self._chance(0.3) else n for n in x.shape]
        if self._with_batch(x):
            shape[0] = 1
        elif self._chance(0.3):
            return x.shape if len(x.shape) <= 4 and self.batch == 1 else tuple(shape)
        return tuple(shape[self._int(0, len(shape) - 1) :])

    def _together(self, a: Value, b: Value) -> Shape | None:
        """The shape of a sum, if there is one that neither the front end nor tflite-micro refuses."""
        if a.shape == b.shape:
            return a.shape
        if max(len(a.shape), len(b.shape)) > 4 or self.batch > 1 and len(a.shape) != len(b.shape):
            return None
        try:
            out = np.broadcast_shapes(a.shape, b.shape)
        except ValueError:
            return None
        return out if self.batch == 1 or out[0] == self.batch else None

    def _with_numbers(self, x: Value, like: Value) -> Value:
        """A tensor with the quantization of another one; it is requantized if it has a different one."""
        if x.numbers == like.numbers:
            return x
        y = self._new(x.shape, like)
        self._op("QUANTIZE", [x], y)
        return y

    def concatenation(self) -> bool:
        x = self._pick(lambda x: 1 <= len(x.shape) <= 5)
        axis = None if x is None else self._axis(x)
        if x is None or axis is None:
            return False
        place = axis % len(x.shape)

        def fits(other: Value) -> bool:
            return without(other.shape, place) == without(x.shape, place) and len(other.shape) == len(x.shape)

        sources = [x]
        for _ in range(self._int(0 if self._chance(0.1) else 1, 3)):
            if self.batch == 1 and self._chance(0.15):
                shape = (*x.shape[:place], self._int(1, 4), *x.shape[place + 1 :])
                sources.append(self._codes(shape, *x.numbers))
                continue
            other = self._pick(fits)
            assert other is not None
            sources.append(self._with_numbers(other, x))
        total = sum(source.shape[place] for source in sources)
        out = (*x.shape[:place], total, *x.shape[place + 1 :])
        if math.prod(out) > VALUES:
            return False
        self.rng.shuffle(sources)  # type: ignore[arg-type]
        return self._op("CONCATENATION", sources, self._new(out, x), "ConcatenationOptions", Axis=axis)

    def pack(self) -> bool:
        x = self._pick(lambda x: 1 <= len(x.shape) <= 3)
        if x is None:
            return False
        # Of one item the new axis may be the first.
        rank = len(x.shape) + 1
        axis = self._int(0 if self.batch == 1 else 1, rank - 1)
        if self.batch > 1 and not self._with_batch(x):
            return False
        others = [self._pick(lambda other: other.shape == x.shape) or x for _ in range(self._int(0, 2))]
        sources = [x, *(self._with_numbers(other, x) for other in others)]
        out = (*x.shape[:axis], len(sources), *x.shape[axis:])
        if math.prod(out) > VALUES:
            return False
        axis = axis - rank if self._chance(0.3) else axis
        return self._op("PACK", sources, self._new(out, x), "PackOptions", Axis=axis, ValuesCount=len(sources))
