"""Operators that move values."""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np
import onnx

from onnx_networks.builder import KINDS, MOST, NetworkBuilder, Value

__all__ = ["Moves"]


class Moves(NetworkBuilder):
    """The methods that return a ``bool`` try to add an operator; it says whether they did."""

    # What moves values.

    def move(self, kind: str, x: Value, shape: Sequence[int], *more: str, **attributes) -> None:
        """Adds an operator on one tensor whose result has the same quantization."""
        if self.coded():
            self.used.add(x.name)
            self.add(self.node(kind, [x.name, *more], **attributes)[0], shape, x.numbers)
        else:
            self.quantized(*self.moved(self.node(kind, [self.real(x), *more], **attributes)[0], shape), x.numbers)

    def slice(self) -> bool:
        x = self.pick()
        axes = [] if x is None else [axis for axis in range(1, len(x.shape)) if x.shape[axis] > 1]
        if x is None or not axes:
            return False
        rng, shape = self.rng, list(x.shape)
        chosen = sorted(rng.choice(axes, int(rng.integers(1, len(axes) + 1)), replace=False))
        starts, ends, steps = [], [], []
        for axis in chosen:
            size = shape[axis]
            start = int(rng.integers(size))
            end, step = int(rng.integers(start + 1, size + 1)), int(rng.choice([1, 1, 2, 3]))
            shape[axis] = len(range(start, end, step))
            starts.append(start - size if rng.random() < 0.3 else start)
            ends.append((end - size or 2**31 - 1) if rng.random() < 0.3 else end)
            steps.append(step)
        given = [self.constant(np.array(values, np.int64)) for values in (starts, ends, chosen, steps)]
        self.move("Slice", x, shape, *(given[:3] if set(steps) == {1} else given))
        return True

    def split(self) -> bool:
        x = self.pick()
        axes = [] if x is None else [axis for axis in range(1, len(x.shape)) if x.shape[axis] > 1]
        if x is None or not axes:
            return False
        rng = self.rng
        axis = int(rng.choice(axes))
        length = x.shape[axis]
        count = int(rng.integers(2, min(length, 3) + 1))
        if length % count == 0 and rng.random() < 0.4:
            sizes, more = [length // count] * count, []
        else:
            cuts = [0, *sorted(int(n) for n in rng.choice(np.arange(1, length), count - 1, replace=False)), length]
            sizes = [end - begin for begin, end in zip(cuts, cuts[1:], strict=False)]
            more = [self.constant(np.array(sizes, np.int64))]
        coded = self.coded()
        source = x.name if coded else self.real(x)
        self.used.add(x.name)
        for name, size in zip(self.node("Split", [source, *more], count, axis=axis), sizes, strict=True):
            shape = (*x.shape[:axis], size, *x.shape[axis + 1 :])
            if coded:
                self.add(name, shape, x.numbers)
            else:
                self.quantized(name, shape, x.numbers)
        return True

    def pad(self) -> bool:
        x = self.pick()
        if x is None:
            return False
        rng, rank = self.rng, len(x.shape)
        least = np.where(np.array(x.shape) > 2, -1 if rng.random() < 0.2 else 0, 0)
        pads = np.array([rng.integers(least, 3, rank), rng.integers(least, 3, rank)])
        pads[:, 0] = 0
        shape = [n + int(pads[:, axis].sum()) for axis, n in enumerate(x.shape)]
        if math.prod(shape) > MOST:
            return False
        given = [self.constant(pads.reshape(-1).astype(np.int64))]
        if self.coded():
            value = int(rng.integers(-128, 128)) + (128 if x.kind == "u" else 0) if rng.random() < 0.5 else x.zero_point
            self.used.add(x.name)
            made = self.node("Pad", [x.name, *given, self.constant(KINDS[x.kind](value))])
            self.add(made[0], shape, x.numbers)
        else:
            given += [self.constant(np.float32(0))] if rng.random() < 0.5 else []
            self.quantized(self.node("Pad", [self.real(x), *given])[0], shape, x.numbers)
        return True

    def resize(self) -> bool:
        x = self.pick(4)
        if x is None:
            return False
        rng = self.rng
        mode, rounding = [("asymmetric", "floor"), ("half_pixel", "round_prefer_floor")][int(rng.integers(2))]
        if mode == "half_pixel" or rng.random() < 0.6:
            sizes = [n * int(rng.integers(1, 4)) for n in x.shape[2:]]
        else:
            # Factors that float32 holds: of others a position may lie where its rounding decides.
            sizes = [
                n * int(rng.integers(1, 8)) // 4 if n % 4 == 0 else n // 2 if n % 2 == 0 else n for n in x.shape[2:]
            ]
        shape = [*x.shape[:2], *sizes]
        if math.prod(shape) > MOST:
            return False
        fields = {"mode": "nearest", "coordinate_transformation_mode": mode, "nearest_mode": rounding}
        whole = all(size % n == 0 for size, n in zip(shape, x.shape, strict=True))
        if whole and rng.random() < 0.5:
            given = [
                "",
                self.constant(np.array([size / n for size, n in zip(shape, x.shape, strict=True)], np.float32)),
            ]
        else:
            given = ["", "", self.constant(np.array(shape, np.int64))]
        self.move("Resize", x, shape, *given, **fields)
        return True

    def transpose(self) -> bool:
        x = self.pick(3, 4)
        if x is None:
            return False
        axes = [0, *(int(axis) + 1 for axis in self.rng.permutation(len(x.shape) - 1))]
        self.move("Transpose", x, [x.shape[axis] for axis in axes], perm=axes)
        return True

    def reshape(self) -> bool:
        x = self.pick()
        if x is None:
            return False
        rng, kind = self.rng, str(self.rng.choice(["Reshape", "Reshape", "Reshape", "Flatten", "Squeeze", "Unsqueeze"]))
        if kind == "Flatten":
            self.move("Flatten", x, (1, math.prod(x.shape)), axis=int(rng.integers(0, 2)))
        elif kind == "Squeeze":
            axes = [axis for axis in range(1, len(x.shape)) if x.shape[axis] == 1]
            axes = [axis for axis in axes if rng.random() < 0.7][: len(x.shape) - 2]
            if not axes:
                return False
            named = [axis - len(x.shape) if rng.random() < 0.3 else axis for axis in axes]
            shape = [n for axis, n in enumerate(x.shape) if axis not in axes]
            self.move("Squeeze", x, shape, self.constant(np.array(named, np.int64)))
        elif kind == "Unsqueeze":
            if len(x.shape) == 4:
                return False
            axis = int(rng.integers(1, len(x.shape) + 1))
            self.move("Unsqueeze", x, [*x.shape[:axis], 1, *x.shape[axis:]], self.constant(np.array([axis], np.int64)))
        else:
            shape = _factors(rng, math.prod(x.shape), int(rng.integers(1, 4)))
            if rng.random() < 0.2:
                # As exporters write it, by what the tensor's own shape says.
                self.used.add(x.name)
                first = self.node("Gather", [self.node("Shape", [self.real(x)])[0], self.constant(np.int64(0))])[0]
                first = self.node("Unsqueeze", [first, self.constant(np.array([0], np.int64))])[0]
                wanted = self.node("Concat", [first, self.constant(np.array(shape, np.int64))], axis=0)[0]
            else:
                wanted = [int(rng.choice([0, 1])), *shape]
                if rng.random() < 0.5:
                    wanted[int(rng.integers(1, len(wanted)))] = -1
                wanted = self.constant(np.array(wanted, np.int64))
            self.move("Reshape", x, (1, *shape), wanted)
        return True

    def same(self) -> bool:
        x, kind = self.pick(), str(self.rng.choice(["Identity", "Dropout", "Cast"]))
        if x is None:
            return False
        if kind == "Identity":
            self.move(kind, x, x.shape)
        else:
            fields = {"to": onnx.TensorProto.FLOAT} if kind == "Cast" else {}
            self.quantized(self.node(kind, [self.real(x)], **fields)[0], x.shape, x.numbers)
        return True


def _factors(rng: np.random.Generator, size: int, count: int) -> list[int]:
    """``count`` random factors of a size."""
    factors = [1] * count
    for prime in (2, 3, 5, 7, 11):
        while size % prime == 0:
            factors[int(rng.integers(count))] *= prime
            size //= prime
    factors[int(rng.integers(count))] *= size
    return factors
