"""Where the descriptors of a layer stand, what they read and write; and what is said of one that is wrong."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np

from sateen.compiler.model import Part
from sateen.errors import InternalError
from sateen.graph.ops import Op

__all__ = ["Place", "element", "mistake", "places_of"]


@dataclass(frozen=True)
class Place:
    """A descriptor, and what it reads and writes."""

    segment: int
    index: int
    sources: tuple[tuple[int, int, int], ...]
    """For each input: its address, and the first byte and byte count of what stands there."""
    address: int
    """Of the results, which begin at byte ``first`` of the output."""
    first: int
    size: int
    follows: bool
    """The descriptor before it is always executed right before it."""

    def __str__(self) -> str:
        return f"descriptor {self.index} of segment {self.segment}"


def places_of(
    parts: tuple[Part, ...], sources: tuple[tuple[int, int, int], ...], address: int, first: int, size: int
) -> Iterator[Place]:
    """The descriptors of parts that read the same and write to the same output."""
    for part in parts:
        for index in range(part.first, part.first + part.count):
            yield Place(part.segment, index, sources, address, first, size, index > part.first)


def element(shape: tuple[int, ...], index: int, name: str = "result") -> str:
    """A value of a tensor, as an error names it."""
    return f"{name}[{', '.join(str(int(place)) for place in np.unravel_index(index, shape))}]"


def mistake(op: Op, what: str) -> InternalError:
    """The error that says what of an operator's program is wrong."""
    return InternalError(f"{op}: {what}; this is a mistake of Sateen's compiler: please report it with the model")
