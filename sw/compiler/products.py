"""Passes of products of two tensors: copies into the weight store, each before the product that reads it."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator, Sequence

import numpy as np
from numpy.typing import NDArray

from sateen.compiler.lowering import Kernel, ProductOfTwo
from sateen.compiler.passes import Pass, block_rows, passes
from sateen.hw.spec.config import Config
from sateen.hw.spec.descriptor import Descriptor
from sateen.hw.spec.nests import Dim

__all__ = ["product_passes"]


def product_passes(product: ProductOfTwo, config: Config, *, sources: Sequence[int], target: int) -> list[Pass]:
    """The passes of a product, as :func:`sateen.compiler.passes.passes`; ``sources`` are both operands' addresses.

    A pass has the words of the product first, which its copies write, and then those of the copies. All of its matrices
    use the same words, one after the other: a copy begins when the product before it has ended.
    """
    made = _Words(product, config)
    parts: list[list[Descriptor]] = [[]]
    before = None
    for item in product.items:
        multiplied = made.multiplied(sources[0] + item.left, target + item.target)
        copied = made.copied(sources[1] + item.right)
        if len(parts[-1]) + len(copied) + len(multiplied) > config.descriptors:
            parts.append([])
            before = None
        if item.right != before:
            parts[-1] += copied
            multiplied[0] = dataclasses.replace(
                multiplied[0], weights=dataclasses.replace(multiplied[0].weights, waits=True)
            )
        parts[-1] += multiplied
        before = item.right
    return [
        Pass(weights=made.words, descriptors=tuple(part), word_bytes=config.weight_word_bytes) for part in parts if part
    ]


class _Words:
    """The words of a pass, and descriptors that use them."""

    def __init__(self, product: ProductOfTwo, config: Config):
        self.product, self.config = product, config
        self.words: NDArray[np.int8] = self._pass(product.kernel, 0, 0).weights
        self.bases: list[int] = []
        """Where the words of each copy begin; equal ones are there once."""
        known: dict[bytes, int] = {}
        for copy in product.copies:
            words = self._pass(copy, 0, 0).weights
            key = words.tobytes()
            if key not in known:
                known[key] = len(self.words)
                self.words = np.concatenate([self.words, words])
            self.bases.append(known[key])

    def _pass(self, kernel: Kernel, source: int, target: int) -> Pass:
        rows = block_rows(kernel, self.config)[0]
        (made,) = passes(kernel, self.config, source=source, target=target, rows=rows, words=self.config.weight_words)
        return made

    def multiplied(self, source: int, target: int) -> list[Descriptor]:
        """The product of one matrix."""
        return list(self._pass(self.product.kernel, source, target).descriptors)

    def copied(self, source: int) -> list[Descriptor]:
        """The copies of one matrix."""
        copies = zip(self.product.copies, self.bases, strict=True)
        found: list[list[Descriptor]] = []
        for here in (list(self._copy(copy, base, source)) for copy, base in copies):
            # Copies of one block each.
            alone = found and len(found[-1]) == len(here) == 1
            joined = _joined(found[-1][0], here[0]) if alone else None
            found[-1:] = [*found[-1:], here] if joined is None else [[joined]]
        return [d for each in found for d in each]

    def _copy(self, copy: Kernel, base: int, source: int) -> Iterator[Descriptor]:
        for d in self._pass(copy, source, 0).descriptors:
            yield dataclasses.replace(
                d,
                weights=dataclasses.replace(d.weights, base=base),
                output=dataclasses.replace(d.output, to_weights=True),
            )


def _joined(before: Descriptor, after: Descriptor) -> Descriptor | None:
    """Both as blocks of one descriptor, if ``after`` is a block like those of ``before``, as far from the last of them
    as they are from each other. The results of a block are then written while the next one is summed up."""
    count, start = before.weights.blocks, _start(before)
    distance = [there - here for here, there in zip(start, _start(after), strict=True)]
    step = tuple(each // count for each in distance)
    strides = (*before.activations.dims[0].strides, *before.output.dims[0].strides)
    equidistant = count == 1 or (step == strides and [each * count for each in step] == distance)
    alike = after.weights.blocks == 1 and _in_blocks(after, start, 1, step) == _in_blocks(before, start, 1, step)
    return _in_blocks(before, start, count + 1, step) if equidistant and alike else None


def _start(d: Descriptor) -> tuple[int, int, int, int]:
    """The coordinates of the first beat, and the address of the first result."""
    return d.activations.row, d.activations.x, d.activations.address, d.output.address


def _in_blocks(d: Descriptor, start: tuple[int, ...], count: int, step: tuple[int, ...]) -> Descriptor:
    """A descriptor with so many blocks, from another start on."""
    row, x, address, target = start
    read, wrote = Dim(count, step[:3]), Dim(count, step[3:])
    activations = dataclasses.replace(
        d.activations, row=row, x=x, address=address, dims=(read, *d.activations.dims[1:])
    )
    output = dataclasses.replace(d.output, address=target, dims=(wrote, *d.output.dims[1:]))
    weights = dataclasses.replace(d.weights, blocks=count)
    return dataclasses.replace(d, weights=weights, activations=activations, output=output)
