"""Operators that move values."""

from __future__ import annotations

import math

from tflite_networks.builder import VALUES, NetworkBuilder, Value, without

__all__ = ["Moves"]


class Moves(NetworkBuilder):
    """Each method tries to add an operator, and returns whether it did."""

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
        """A random begin and end for each axis; the batch is taken whole."""
        begins, ends = [], []
        for axis, n in enumerate(x.shape):
            begin = self._int(0, n - 1) if axis >= self._first(x) and self._chance(0.6) else 0
            begins.append(begin)
            ends.append(self._int(begin + 1, n) if axis >= self._first(x) and self._chance(0.6) else n)
        return begins, ends

    def strided_slice(self) -> bool:
        """Steps, masks, indices from the end, and axes that are removed."""
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
            elif free and self._chance(0.2):
                out.append(len(range(begins[axis], ends[axis], step)))
                first, last, step = ends[axis] - 1, begins[axis] - 1, -step
                masks["EndMask"] |= (last < 0) << axis
                begins[axis] = first - n if self._chance(0.3) else first
                ends[axis] = max(last, 0)
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
        """SPLIT, SPLIT_V or UNPACK; some of the results may have no reader."""
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
            results = [self._new(without(x.shape, place), x) for _ in range(n)]
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
        """One to four factors whose product is a count."""
        factors = []
        for _ in range(self._int(0, 3)):
            factors.append(int(self.rng.choice([n for n in range(1, count + 1) if count % n == 0])))
            count //= factors[-1]
        factors.append(count)
        self.rng.shuffle(factors)
        return factors

    def computed_reshape(self) -> bool:
        """A Reshape to a constant shape that the model computes."""
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
