"""What all operators of a random network are made of: random choices, and tensors."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np

from tflite_models import ModelBuilder

__all__ = ["ITEMS", "NONE", "PRODUCTS", "VALUES", "NetworkBuilder", "Shape", "Value", "without"]

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


class NetworkBuilder:
    """Draws choices, and adds tensors and operators to a file."""

    def __init__(self, rng: np.random.Generator):
        self.rng = rng
        self.b = ModelBuilder()
        self.batch = int(rng.choice([1, 1, 1, 1, 2, 3]))
        self.inputs: list[Value] = []
        self.given: list[np.ndarray] = []
        self.made: list[Value] = []
        self.read: set[int] = set()

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
        """A result's activation; mostly one that leaves a good part of its range."""
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
        """An axis that may be changed, of the tensor's axes and ``places`` more; negative now and then."""
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
        """A new tensor with the quantization of another one, or with one that suits a size."""
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
        """An int8 constant."""
        values = self.rng.integers(-128, 128, shape).astype(np.int8)
        index = self.b.constant(values, "INT8", scale=scale, zero_point=zero_point)
        return Value(
            index=index, shape=tuple(shape), scale=scale, zero_point=zero_point, size=scale * math.hypot(74, zero_point)
        )


def without(shape: Shape, axis: int) -> Shape:
    """A shape without an axis."""
    return shape[:axis] + shape[axis + 1 :]
