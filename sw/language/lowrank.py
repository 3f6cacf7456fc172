"""Queries, keys and values through a narrow vector: their joint matrix as a product of two, by singular values.

After QSVD (Wang and others, 2025): the three matrices, stacked, are cut to a common rank. Before, the channels that
they take are made as uncorrelated as they are in the calibration text, so that what is cut matters least there.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np

from sateen.errors import InputError
from sateen.language.decoder import FloatDecoder, Floats, Llama

__all__ = ["Factors", "cut", "largest_rank"]


@dataclass(frozen=True, kw_only=True, eq=False)
class Factors:
    """A layer's queries, keys and values as a product of two matrices, for its normalized channels."""

    wide: Floats
    """[queries, keys and values, rank]."""
    narrow: Floats
    """[rank, dim]; the normalization's gain is folded in."""


def largest_rank(model: Llama) -> int:
    """The largest rank at which two matrices have fewer weights than one."""
    s = model.shape
    rows = s.dim + 2 * s.kv_dim
    return (rows * s.dim - 1) // (rows + s.dim)


def cut(model: Llama, rank: int, texts: Sequence[Sequence[int]]) -> tuple[Llama, tuple[Factors, ...]]:
    """A model whose queries, keys and values have a joint rank, and each layer's factors.

    Raises
    ------
    InputError
        If the rank saves no weights, or is below 1.
    """
    largest = largest_rank(model)
    if not 1 <= rank <= largest:
        raise InputError(f"rank must be 1 to {largest}, above which it saves no weights, not {rank}")
    moments: dict[str, Floats] = {}

    def observe(name: str, values: Floats) -> None:
        if name.endswith(".attention.normalized"):
            moments[name] = moments.get(name, 0.0) + values.T @ values

    for text in texts:
        FloatDecoder(model, dtype=np.float64, observe=observe).step(text[: model.shape.context])
    factors, blocks = [], []
    for number, block in enumerate(model.blocks):
        gain = block.attention_norm.astype(np.float64)
        joint = np.concatenate([block.query, block.key, block.value]) * gain
        found = _factors(joint, moments[f"{number}.attention.normalized"], rank)
        product = (found.wide @ found.narrow / gain).astype(np.float32)
        query, key, value = np.split(product, [len(block.query), len(block.query) + len(block.key)])
        factors.append(found)
        blocks.append(replace(block, query=query, key=key, value=value))
    return replace(model, blocks=tuple(blocks)), tuple(factors)


def _factors(joint: Floats, moment: Floats, rank: int) -> Factors:
    """The two matrices whose product is nearest in what it makes of inputs with these second moments."""
    damped = moment + 1e-4 * np.trace(moment) / len(moment) * np.eye(len(moment))
    root = np.linalg.cholesky(damped)
    left, values, right = np.linalg.svd(joint @ root, full_matrices=False)
    # Of a vector and its negative, one: which comes out depends on the machine.
    signs = np.sign(right[np.arange(len(right)), np.abs(right).argmax(axis=1)])
    balance = np.sqrt(values[:rank])
    narrow = np.linalg.solve(root.T, (right * signs[:, None])[:rank].T).T
    return Factors(wide=(left * signs)[:, :rank] * balance, narrow=narrow * balance[:, None])
