"""STRIDED_SLICE: what its begins, ends, steps and masks select."""

from __future__ import annotations

from dataclasses import dataclass

import tflite

from sateen.frontends.tflite.file import RawOperator
from sateen.graph import Array, require

__all__ = ["Selection"]

Range = tuple[int, int, int]


@dataclass(frozen=True)
class Selection:
    """Part of a tensor: for each axis of the input the positions ``range(begin, end, step)``, and the result's
    shape, in which axes may be new or left out."""

    ranges: tuple[Range, ...]
    shape: tuple[int, ...]

    @classmethod
    def read(cls, operator: RawOperator, shape: tuple[int, ...], begin: Array, end: Array, step: Array) -> Selection:
        """The selection from a tensor of ``shape``. :class:`GraphError` if it has more axes than the tensor."""
        options = operator.options(tflite.StridedSliceOptions)
        lists = [values.reshape(-1).tolist() for values in (begin, end, step)]
        count = len(lists[0])
        require(all(len(values) == count for values in lists), operator, "its begin, end and step differ in length")
        ellipsis = [place for place in range(count) if options.EllipsisMask >> place & 1]
        require(len(ellipsis) <= 1, operator, "it has several ellipses; convert the model anew")
        new = [place for place in range(count) if options.NewAxisMask >> place & 1 and place not in ellipsis]
        named = count - len(new) - len(ellipsis)
        require(named <= len(shape), operator, f"its {named} ranges are more than the axes of {shape}")
        ranges: list[Range] = []
        sizes: list[int] = []
        for place, (b, e, s) in enumerate(zip(*lists, strict=True)):
            if place in ellipsis:
                for size in shape[len(ranges) : len(ranges) + len(shape) - named]:
                    ranges.append((0, size, 1))
                    sizes.append(size)
            elif place in new:
                sizes.append(1)
            else:
                shrink = bool(options.ShrinkAxisMask >> place & 1)
                ranges.append(_range(operator, place, shape[len(ranges)], b, e, s, shrink))
                sizes += [] if shrink else [len(range(*ranges[-1]))]
        whole = shape[len(ranges) :]
        require(0 not in sizes, operator, f"it selects nothing of {shape}")
        return cls((*ranges, *((0, size, 1) for size in whole)), (*sizes, *whole))

    def apply(self, x: Array) -> Array:
        """The selection from a tensor."""
        return x[tuple(slice(b, e if e >= 0 else None, s) for b, e, s in self.ranges)].reshape(self.shape)


def _range(operator: RawOperator, place: int, size: int, begin: int, end: int, step: int, shrink: bool) -> Range:
    options = operator.options(tflite.StridedSliceOptions)
    require(step != 0, operator, "its step must not be 0")
    lowest, highest = (0, size) if step > 0 else (-1, size - 1)
    start = min(max(begin + size if begin < 0 else begin, lowest), highest)
    if options.BeginMask >> place & 1:
        start = 0 if step > 0 else size - 1
    if shrink:
        # The interpreters leave what they give then as their memory was.
        require(step > 0, operator, f"it takes a single position, {begin}, with the step {step}, which must be above 0")
        require(0 <= start < size, operator, f"its index {begin} is none of {size} positions")
        return start, start + 1, 1
    end += start if options.Offset else 0
    stop = min(max(end + size if end < 0 else end, lowest), highest)
    if options.EndMask >> place & 1:
        stop = size if step > 0 else -1
    return start, stop, step
