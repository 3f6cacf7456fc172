"""Random quantized TensorFlow Lite models: graphs of a few operators of every kind that the front end reads, corners
first.

What is left out, and why:

- Depthwise convolutions of which a whole axis of results lies before the image's first line ((results − 1) · stride
  below the padding before): sliding windows give other integers for them.
- RELU_N1_TO_1 and RELU_0_TO_1 as operators, which tflite-micro lacks; the former is there as a fused activation.
- Whatever mixes a model's items: axis 0 of a tensor that begins with the batch is neither cut, padded, moved nor
  reduced.
- What tflite-micro has not: more axes than its kernels take, RELU6 with another scale behind than before, depthwise
  convolutions that name a bias of −1, for which it reads address 0, a softmax over 512 values or more, whose sum may
  exceed what it asserts.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np

from tflite_models import ModelBuilder

__all__ = ["random_network"]

VALUES = 1500
"""The largest tensor's."""
PRODUCTS = 60_000
"""The largest layer's."""
ITEMS = 2
NONE, RELU, RELU_N1_TO_1, RELU6 = range(4)
Shape = tuple[int, ...]


@dataclass(frozen=True, kw_only=True)
class Value:
    """A tensor of the file."""

    index: int
    shape: Shape
    type: str = "INT8"
    scale: float = 1.0
    zero_point: int = 0
    size: float = 1.0
    """About the root mean square of its real values, by which the next scale is chosen."""

    @property
    def numbers(self) -> tuple[float, int]:
        """Scale and zero point."""
        return self.scale, self.zero_point


def random_network(rng: np.random.Generator) -> tuple[bytes, list[np.ndarray]]:
    """A model of 2 to 9 operators, a few more where an operator wants others before it.

    Returns
    -------
    The file, and what it is given: for each of its inputs several times the values, [times, …] with the file's shape
    behind.
    """
    return _Network(rng).network()


class _Network:
    def __init__(self, rng: np.random.Generator):
        self.rng = rng
        self.b = ModelBuilder()
        self.batch = int(rng.choice([1, 1, 1, 1, 2, 3]))
        self.inputs: list[Value] = []
        self.given: list[np.ndarray] = []
        self.made: list[Value] = []
        self.read: set[int] = set()

    def network(self) -> tuple[bytes, list[np.ndarray]]:
        rng = self.rng
        for place in range(int(rng.choice([1, 1, 1, 2, 3]))):
            self._input(place)
        kinds: list[Callable[[], bool]] = [
            *[self.convolution] * 2,
            *[self.depthwise] * 2,
            self.fully_connected,
            self.pool,
            *[self.arithmetic] * 4,
            self.concatenation,
            self.pack,
            self.pad,
            self.slice,
            self.strided_slice,
            self.pieces,
            self.resize,
            self.transpose,
            self.reshape,
            self.computed_reshape,
            *[self.function] * 2,
            self.softmax,
            self.arg_max,
            self.mean,
            self.requantize,
            self.real,
        ]
        wanted = int(rng.integers(2, 10))
        for _ in range(200):
            if len(self.b.ops) >= wanted:
                break
            kinds[rng.integers(len(kinds))]()
        return self.b.build([x.index for x in self.inputs], self._outputs()), self.given

    def _outputs(self) -> list[int]:
        """What nothing reads, now and then without some, which makes dead operators, or with what others read as
        well."""
        ends = [x.index for x in self.made if x.index not in self.read]
        if self._chance(0.2):
            ends = [index for index in ends if self._chance(0.6)] or ends[-1:]
        if self._chance(0.3):
            ends += [x.index for x in self.made if x.index in self.read and self._chance(0.4)]
        self.rng.shuffle(ends)
        return ends

    # Drawing.

    def _chance(self, probability: float) -> bool:
        return bool(self.rng.random() < probability)

    def _int(self, low: int, high: int) -> int:
        """From ``low`` to ``high``, both included."""
        return int(self.rng.integers(low, high + 1))

    def _pair(self, low: int, high: int) -> tuple[int, int]:
        return self._int(low, high), self._int(low, high)

    def _zero_point(self) -> int:
        return self._int(-128, 127) if self._chance(0.7) else int(self.rng.choice([-128, 0, 127]))

    def _scale(self) -> float:
        return float(np.float32(2.0 ** self.rng.uniform(-9, -2))) if self._chance(0.9) else 2.0 ** self._int(-8, -2)

    def _activation(self, y: Value) -> int:
        """Of a result; mostly one that leaves a good part of the codes."""
        kind = int(self.rng.choice([NONE, NONE, RELU, RELU6, RELU_N1_TO_1]))
        least, largest = {NONE: (-math.inf, math.inf), RELU: (0, math.inf), RELU6: (0, 6), RELU_N1_TO_1: (-1, 1)}[kind]
        low, high = max(-128, least / y.scale + y.zero_point), min(127, largest / y.scale + y.zero_point)
        return kind if high - low > 40 or self._chance(0.1) else NONE

    def _image(self) -> Shape:
        side = int(self.rng.choice([1, 2, 3, 5, 8, 11]))
        other = side if self._chance(0.5) else self._int(1, 12)
        return side, other, int(self.rng.choice([1, 2, 3, 4, 7, 8, 12, 17]))

    def _with_batch(self, x: Value) -> bool:
        return len(x.shape) > 0 and x.shape[0] == self.batch

    def _first(self, x: Value) -> int:
        """The first axis that may be changed."""
        return 1 if self._with_batch(x) else 0

    def _axis(self, x: Value, places: int = 0) -> int | None:
        """An axis that may be changed, of those of the tensor and ``places`` more, negative now and then."""
        rank = len(x.shape) + places
        if self._first(x) >= rank:
            return None
        axis = self._int(self._first(x), rank - 1)
        return axis - rank if self._chance(0.3) else axis

    def _pick(self, good: Callable[[Value], bool] = lambda x: True, type: str = "INT8") -> Value | None:
        """A tensor to read, mostly a late one."""
        found = [x for x in (*self.inputs, *self.made) if x.type == type and good(x)]
        if not found:
            return None
        return found[-1] if self._chance(0.6) else found[self.rng.integers(len(found))]

    def _picture(self) -> Value | None:
        return self._pick(lambda x: len(x.shape) == 4 and self._with_batch(x))

    # Making tensors.

    def _input(self, place: int) -> None:
        rng = self.rng
        batchless = place > 0 and self.batch == 1 and self._chance(0.2)
        rest = self._image() if self._chance(0.75) else tuple(self._int(1, 9) for _ in range(self._int(1, 3)))
        shape = rest if batchless else (self.batch, *rest)
        scale, zero_point = self._scale(), self._zero_point()
        if self._chance(0.1):
            index = self.b.tensor(shape, "FLOAT32")
            values = (rng.integers(-300, 301, (ITEMS, *shape)) / 2 * scale).astype(np.float32)
            self.inputs.append(Value(index=index, shape=shape, type="FLOAT32", scale=scale, size=74 * scale))
        else:
            index = self.b.tensor(shape, scale=scale, zero_point=zero_point)
            values = rng.integers(-128, 128, (ITEMS, *shape)).astype(np.int8)
            size = scale * math.hypot(74, zero_point)
            self.inputs.append(Value(index=index, shape=shape, scale=scale, zero_point=zero_point, size=size))
        self.given.append(values)

    def _new(self, shape: Sequence[int], like: Value | None = None, *, size: float | None = None, **fields) -> Value:
        """A tensor in the making with another's numbers, or with those that suit a size."""
        shape = tuple(int(length) for length in shape)
        if like is not None:
            fields = {
                "type": like.type,
                "scale": like.scale,
                "zero_point": like.zero_point,
                "size": like.size,
                **fields,
            }
        else:
            zero_point = self._zero_point()
            assert size is not None
            scale = float(np.float32(size / self.rng.uniform(30, 90 + abs(zero_point) / 2)))
            fields = {"scale": scale, "zero_point": zero_point, "size": min(size, 128 * scale), **fields}
        numbers = (
            {}
            if fields.get("type", "INT8") != "INT8"
            else {"scale": fields["scale"], "zero_point": fields["zero_point"]}
        )
        return Value(index=self.b.tensor(shape, fields.get("type", "INT8"), **numbers), shape=shape, **fields)

    def _op(
        self, kind: str, sources: Sequence[Value | int], results: Value | Sequence[Value], options: str = "", **fields
    ) -> bool:
        results = [results] if isinstance(results, Value) else list(results)
        places = [x.index if isinstance(x, Value) else x for x in sources]
        self.b.op(kind, places, [y.index for y in results], options, **fields)
        self.read.update(places)
        self.made += results
        return True

    def _codes(self, shape: Sequence[int], scale: float, zero_point: int) -> Value:
        """A constant of int8."""
        values = self.rng.integers(-128, 128, shape).astype(np.int8)
        index = self.b.constant(values, "INT8", scale=scale, zero_point=zero_point)
        return Value(
            index=index, shape=tuple(shape), scale=scale, zero_point=zero_point, size=scale * math.hypot(74, zero_point)
        )

    # Layers with weights.

    def _window(self, x: Value) -> tuple[tuple[int, int], dict[str, int], Shape, Shape]:
        """Kernel, options, rows and columns of results, and padding before; a kernel may be larger than the image."""
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
        before = tuple(
            max((count - 1) * step + extent - size, 0) // 2 if same else 0
            for count, step, extent, size in zip(out, stride, extents, sizes, strict=True)
        )
        options = {
            "Padding": 0 if same else 1, "StrideH": stride[0], "StrideW": stride[1], "DilationHFactor": dilation[0],
            "DilationWFactor": dilation[1],
        }  # fmt: skip
        return kernel, options, out, before

    def _parameters(
        self, x: Value, shape: Shape, axis: int, depth: int, out: Shape, several: bool
    ) -> tuple[list[int], Value]:
        """Weights and bias, and the result."""
        rng, outputs = self.rng, shape[axis]
        density = float(rng.choice([1, 1, 0.4, 0.1]))
        weights = rng.integers(-128 if self._chance(0.2) else -127, 128, shape)
        weights[rng.random(shape) >= density] = 0
        size = self._scale() * 60
        y = self._new(out, size=size)
        sums = max(x.size, 3 * x.scale) / x.scale * 74 * math.sqrt(max(1, depth * density))
        scales = np.float32(size / (sums * x.scale)) * rng.uniform(0.4, 1.5, outputs if several else 1).astype(
            np.float32
        )
        places = [self.b.constant(weights, "INT8", scale=scales.tolist(), axis=axis if several else 0)]
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
        kernel, options, out, _ = self._window(x)
        outputs, depth = self._int(1, 20), math.prod(kernel) * x.shape[3]
        if math.prod(out) * outputs * depth * self.batch > PRODUCTS or math.prod(out) * outputs * self.batch > VALUES:
            return False
        shape = (self.batch, *out, outputs)
        places, y = self._parameters(x, (outputs, *kernel, x.shape[3]), 0, depth, shape, self._chance(0.8))
        return self._op(
            "CONV_2D", [x, *places], y, "Conv2DOptions", **options, FusedActivationFunction=self._activation(y)
        )

    def depthwise(self) -> bool:
        x = self._picture()
        if x is None:
            return False
        kernel, options, out, before = self._window(x)
        strides = (options["StrideH"], options["StrideW"])
        if any((count - 1) * step < pad for count, step, pad in zip(out, strides, before, strict=True)):
            return False
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
        size, options, out, _ = self._window(x)
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
        """A constant's shape that broadcasts: the tensor's, its last axes, some of them 1; no items of its own."""
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
        """A tensor with another's numbers, changed to them where it has others."""
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
            return _without(other.shape, place) == _without(x.shape, place) and len(other.shape) == len(x.shape)

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

    # Moves.

    def pad(self) -> bool:
        x = self._pick(lambda x: 1 <= len(x.shape) <= 4)
        if x is None:
            return False
        pairs = [self._pair(0, 3) if self._chance(0.6) else (0, 0) for _ in x.shape]
        pairs[: self._first(x)] = [(0, 0)] * self._first(x)
        out = [n + sum(pair) for n, pair in zip(x.shape, pairs, strict=True)]
        if math.prod(out) > VALUES:
            return False
        sizes = self.b.constant(pairs)
        if self._chance(0.3):
            value = self.b.constant([self._int(-128, 127)], "INT8", scale=x.scale, zero_point=x.zero_point)
            return self._op("PADV2", [x, sizes, value], self._new(out, x))
        return self._op("PAD", [x, sizes], self._new(out, x))

    def slice(self) -> bool:
        x = self._pick(lambda x: 1 <= len(x.shape) <= 5)
        if x is None:
            return False
        begins, ends = self._ranges(x)
        sizes = [
            -1 if end == n and self._chance(0.3) else end - begin
            for begin, end, n in zip(begins, ends, x.shape, strict=True)
        ]
        y = self._new([end - begin for begin, end in zip(begins, ends, strict=True)], x)
        return self._op("SLICE", [x, self.b.constant(begins), self.b.constant(sizes)], y, "SliceOptions")

    def _ranges(self, x: Value) -> tuple[list[int], list[int]]:
        """The begin and end of each axis; all of the items."""
        begins, ends = [], []
        for axis, n in enumerate(x.shape):
            begin = self._int(0, n - 1) if axis >= self._first(x) and self._chance(0.6) else 0
            begins.append(begin)
            ends.append(self._int(begin + 1, n) if axis >= self._first(x) and self._chance(0.6) else n)
        return begins, ends

    def strided_slice(self) -> bool:
        """With steps, masks, numbers from the end, and axes that vanish."""
        x = self._pick(lambda x: 1 <= len(x.shape) <= 4)
        if x is None:
            return False
        begins, ends = self._ranges(x)
        steps, masks, out = [], {"BeginMask": 0, "EndMask": 0, "ShrinkAxisMask": 0}, []
        for axis, n in enumerate(x.shape):
            free = axis >= self._first(x)
            step = self._int(1, 3) if free and self._chance(0.5) else 1
            if free and self._chance(0.15) and len(out) + len(x.shape) - axis > 1:
                masks["ShrinkAxisMask"] |= 1 << axis
                ends[axis], step = begins[axis] + 1, 1
                if self._chance(0.3):
                    begins[axis] -= n
                    ends[axis] = begins[axis] + 1
            else:
                if begins[axis] == 0 and self._chance(0.3):
                    masks["BeginMask"] |= 1 << axis
                if ends[axis] == n and self._chance(0.3):
                    masks["EndMask"] |= 1 << axis
                out.append(len(range(begins[axis], ends[axis], step)))
                if self._chance(0.2) and ends[axis] < n:
                    ends[axis] -= n
                elif self._chance(0.2) and ends[axis] == n:
                    ends[axis] += 5
            steps.append(step)
        constants = [self.b.constant(values) for values in (begins, ends, steps)]
        return self._op("STRIDED_SLICE", [x, *constants], self._new(out, x), "StridedSliceOptions", **masks)

    def pieces(self) -> bool:
        """SPLIT, SPLIT_V or UNPACK, of whose results nobody may want some."""
        x = self._pick(lambda x: 1 <= len(x.shape) <= 4)
        axis = None if x is None else self._axis(x)
        if x is None or axis is None:
            return False
        place = axis % len(x.shape)
        n = x.shape[place]
        kind = ["SPLIT", "SPLIT_V", "UNPACK"][self._int(0, 2)]
        if kind == "UNPACK":
            if n > 6 or len(x.shape) < 2:
                return False
            results = [self._new(_without(x.shape, place), x) for _ in range(n)]
            return self._op(kind, [x], results, "UnpackOptions", Num=n, Axis=axis)
        if kind == "SPLIT":
            counts = [count for count in range(1, 6) if n % count == 0]
            sizes = [n // counts[-1]] * counts[-1]
        else:
            cuts = sorted(set(self._int(1, n) for _ in range(self._int(1, 3))) | {n})
            sizes = [end - begin for begin, end in zip([0, *cuts], cuts, strict=False)]
        results = [self._new((*x.shape[:place], size, *x.shape[place + 1 :]), x) for size in sizes]
        if kind == "SPLIT":
            return self._op(kind, [self.b.constant(axis), x], results, "SplitOptions", NumSplits=len(sizes))
        stated = list(sizes)
        if self._chance(0.3):
            stated[self._int(0, len(sizes) - 1)] = -1
        return self._op(
            kind, [x, self.b.constant(stated), self.b.constant(axis)], results, "SplitVOptions", NumSplits=len(sizes)
        )

    def resize(self) -> bool:
        x = self._picture()
        if x is None:
            return False
        whole = self._chance(0.6)
        sizes = [n * self._int(1, 3) if whole else self._int(1, 12) for n in x.shape[1:3]]
        if math.prod(sizes) * x.shape[3] * self.batch > VALUES:
            return False
        flags = [{}, {}, {"AlignCorners": True}, {"HalfPixelCenters": True}][self._int(0, 3)]
        y = self._new((self.batch, *sizes, x.shape[3]), x)
        return self._op(
            "RESIZE_NEAREST_NEIGHBOR", [x, self.b.constant(sizes)], y, "ResizeNearestNeighborOptions", **flags
        )

    def transpose(self) -> bool:
        x = self._pick(lambda x: 2 <= len(x.shape) <= 5, str(self.rng.choice(["INT8", "INT8", "FLOAT32"])))
        if x is None:
            return False
        first = self._first(x)
        axes = [*range(first), *(int(axis) for axis in first + self.rng.permutation(len(x.shape) - first))]
        return self._op(
            "TRANSPOSE", [x, self.b.constant(axes)], self._new([x.shape[axis] for axis in axes], x), "TransposeOptions"
        )

    def reshape(self) -> bool:
        x = self._pick()
        if x is None:
            return False
        kind = ["RESHAPE", "RESHAPE", "RESHAPE", "SQUEEZE", "EXPAND_DIMS"][self._int(0, 4)]
        if kind == "EXPAND_DIMS" and len(x.shape) <= 4:
            axis = self._int(1, len(x.shape))
            y = self._new((*x.shape[:axis], 1, *x.shape[axis:]), x)
            return self._op(kind, [x, self.b.constant([axis])], y, "ExpandDimsOptions")
        if kind == "SQUEEZE" and any(n > 1 for n in x.shape):
            return self._op(kind, [x], self._new([n for n in x.shape if n > 1], x), "SqueezeOptions")
        if kind != "RESHAPE":
            return False
        shape = self._factors(math.prod(x.shape) // self.batch)
        if self.batch > 1 or self._chance(0.8):
            shape = [self.batch, *shape]
        return self._op(kind, [x, self.b.constant(shape)], self._new(shape, x))

    def _factors(self, count: int) -> list[int]:
        """One to four numbers whose product is a count."""
        factors = []
        for _ in range(self._int(0, 3)):
            factors.append(int(self.rng.choice([n for n in range(1, count + 1) if count % n == 0])))
            count //= factors[-1]
        factors.append(count)
        self.rng.shuffle(factors)
        return factors

    def computed_reshape(self) -> bool:
        """To a shape that the model computes, although it is known."""
        x = self._pick(lambda x: len(x.shape) >= 2 and self._with_batch(x))
        if x is None or self._chance(0.5):
            return False
        b, rest = self.b, math.prod(x.shape[1:])
        shape, batch, wanted = b.tensor((len(x.shape),), "INT32"), b.tensor((), "INT32"), b.tensor((2,), "INT32")
        b.op("SHAPE", [x.index], [shape], "ShapeOptions", OutType=2)
        b.op(
            "STRIDED_SLICE",
            [shape, b.constant([0]), b.constant([1]), b.constant([1])],
            [batch],
            "StridedSliceOptions",
            ShrinkAxisMask=1,
        )
        b.op("PACK", [batch, b.constant(rest)], [wanted], "PackOptions", ValuesCount=2)
        return self._op("RESHAPE", [x, wanted], self._new((self.batch, rest), x))

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
        y = self._new(_without(x.shape, axis % len(x.shape)), x, type="INT32")
        return self._op("ARG_MAX", [x, self.b.constant([axis])], y, "ArgMaxOptions", OutputType=2)

    def requantize(self) -> bool:
        x = self._pick()
        return x is not None and self._op("QUANTIZE", [x], self._new(x.shape, size=x.size))

    def real(self) -> bool:
        """To real numbers, or from them."""
        x = self._pick(type="FLOAT32")
        if x is not None and self._chance(0.7):
            return self._op("QUANTIZE", [x], self._new(x.shape, size=x.size))
        x = self._pick()
        return (
            x is not None and self._chance(0.5) and self._op("DEQUANTIZE", [x], self._new(x.shape, x, type="FLOAT32"))
        )


def _without(shape: Shape, axis: int) -> Shape:
    return shape[:axis] + shape[axis + 1 :]
