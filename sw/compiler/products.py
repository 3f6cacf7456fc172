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
        return [d for copy, base in copies for d in self._copy(copy, base, source)]

    def _copy(self, copy: Kernel, base: int, source: int) -> Iterator[Descriptor]:
        for d in self._pass(copy, source, 0).descriptors:
            yield dataclasses.replace(
                d,
                weights=dataclasses.replace(d.weights, base=base),
                output=dataclasses.replace(d.output, to_weights=True),
            )
