"""The quantized decoder: integers only, the golden model of what a device and its host compute together.

The residual stream has 16 bits; what the matrices take and give has 8. Products with constant weights go through
:class:`Products`, which a device can take over; everything else stands here. Each rule is one that the hardware or
TensorFlow Lite's fixed-point kernels have: products of int8, scaled by a multiplier of 31 bits and a shift
(:func:`sateen.sim.golden.rescale`), tables, and gemmlowp's exponential, reciprocal and inverse square root.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from sateen.errors import InputError
from sateen.hw.spec.descriptor import Rounding
from sateen.language.decoder import Shape, rotations
from sateen.sim import golden
from sateen.sim.golden import fixed

__all__ = [
    "ANGLE_BITS", "LOGIT_BITS", "MIX_BITS", "NORM_BITS", "SCORE_BITS", "AnyDecoder", "Cache", "Decoder", "Described",
    "GoldenProducts", "Layer", "Matrix", "Products", "Quantized", "Scaling",
]  # fmt: skip

Integers = NDArray[np.integer[Any]]

NORM_BITS = 26
"""Fraction bits of a value divided by the root of its row's sum of squares; that is at most 1."""
ANGLE_BITS = 14
"""Fraction bits of RoPE's cosines and sines."""
SCORE_BITS = 26
"""Fraction bits of a score's distance to the row's largest; five integer bits are left, as gemmlowp's exponential
takes them."""
SHARE_BITS = 15
"""Bits of a position's share before the division by their sum."""
MIX_BITS = 16
"""Fraction bits of mixed values after that division."""
LOGIT_BITS = 16
"""Fraction bits of logits."""
LEAST = -(2**31) + 1


@dataclass(frozen=True, kw_only=True, eq=False)
class Scaling:
    """Factors, one a channel: ``multiplier · 2^(shift − 31)``."""

    multiplier: NDArray[np.int32]
    shift: NDArray[np.int8]

    def __call__(self, values: Integers) -> NDArray[np.int64]:
        """The values, scaled and rounded once, ties toward +∞."""
        return golden.rescale(values, self.multiplier, self.shift, rounding=Rounding.SINGLE)


@dataclass(frozen=True, kw_only=True, eq=False)
class Matrix:
    """A matrix of constant weights: ``clamp(round(scaling · (W·x + bias)))``, TensorFlow Lite's double rounding."""

    weights: NDArray[np.int8]
    """[outputs, inputs], −127 to 127."""
    bias: NDArray[np.int32]
    scaling: Scaling


@dataclass(frozen=True, kw_only=True, eq=False)
class Layer:
    """What a layer needs beside its matrices ``N.qkv``, ``N.output``, ``N.gate_up`` and ``N.down``, and ``N.latent``
    before the first if that is factored."""

    attention_norm: Scaling
    scores: Scaling
    """One a head: products of codes to scores with :data:`SCORE_BITS`."""
    mixed: Scaling
    """Mixed values to codes."""
    output: Scaling
    """Codes to the residual stream."""
    feed_norm: Scaling
    silu: NDArray[np.int16]
    """The gate's codes, −128 first, to 16 bits."""
    hidden: Scaling
    """Products of gate and up to codes."""
    down: Scaling


@dataclass(frozen=True, kw_only=True, eq=False)
class Quantized:
    """A quantized decoder."""

    name: str
    shape: Shape
    embedding: NDArray[np.int16]
    epsilon: int
    """What is added to a row's sum of squares."""
    layers: tuple[Layer, ...]
    norm: Scaling
    logits: Scaling
    """Codes to logits with :data:`LOGIT_BITS`."""
    offset: NDArray[np.int32]
    """Added to the scaled logits; the classifier's bias has taken it off."""
    matrices: Mapping[str, Matrix]
    """In the order in which a token passes them."""

    @property
    def weights(self) -> int:
        """Number of weights."""
        return sum(matrix.weights.size for matrix in self.matrices.values())


class Products(Protocol):
    """Whatever computes the products with constant weights."""

    def __call__(self, name: str, x: NDArray[np.int8]) -> NDArray[np.int8]:
        """The matrix ``name`` times each row of ``x``: [tokens, inputs] → [tokens, outputs]."""


class GoldenProducts:
    """The products by definition."""

    def __init__(self, model: Quantized):
        self.model = model

    def __call__(self, name: str, x: NDArray[np.int8]) -> NDArray[np.int8]:
        matrix = self.model.matrices[name]
        sums = golden.fully_connected(x.astype(np.int64), matrix.weights.astype(np.int64), matrix.bias, zero_point=0)
        return golden.requantize(sums, matrix.scaling.multiplier, matrix.scaling.shift)


class Cache:
    """Keys and values of the tokens so far, those that are kept, by layer: int8 [positions, kv_heads, head_dim]."""

    def __init__(self, shape: Shape):
        self.position = 0
        """Tokens so far, those that are kept and others."""
        empty = np.zeros((0, shape.kv_heads, shape.head_dim), np.int8)
        self.keys, self.values = [empty] * shape.layers, [empty] * shape.layers
        self.places = [np.zeros((0, shape.kv_heads), np.int64)] * shape.layers
        """Which tokens of the text these are, by layer: [positions, kv_heads]."""

    def add(self, layer: int, keys: NDArray[np.int8], values: NDArray[np.int8]) -> None:
        """Appends a layer's keys and values of new tokens."""
        places = self.places[layer]
        # The last one is always kept.
        first = int(places[-1, 0]) + 1 if len(places) else 0
        new = np.repeat(np.arange(first, first + len(keys))[:, None], places.shape[1], axis=1)
        self.places[layer] = np.concatenate([places, new])
        self.keys[layer] = np.concatenate([self.keys[layer], keys])
        self.values[layer] = np.concatenate([self.values[layer], values])

    def attended(self, layer: int, shares: Integers) -> None:
        """Told, after each token, its shares [heads, positions] with :data:`SHARE_BITS`; for caches that evict."""

    def forget(self, count: int) -> None:
        """Takes back the last ``count`` tokens."""
        self.position -= count
        if count:
            self.keys = [keys[:-count] for keys in self.keys]
            self.values = [values[:-count] for values in self.values]
            self.places = [places[:-count] for places in self.places]

    @property
    def full(self) -> str:
        """What ends a text when it reaches the model's context; empty where nothing does."""
        return "the context is full"


class Described(Protocol):
    """What is known of any quantized decoder."""

    @property
    def name(self) -> str: ...

    @property
    def shape(self) -> Shape: ...

    @property
    def weights(self) -> int:
        """Number of weights."""
        ...


class AnyDecoder:
    """A quantized decoder at work, whatever computes it."""

    model: Described
    cache: Cache

    def step(self, tokens: Sequence[int]) -> NDArray[np.int32]:
        """Takes the next tokens; logits with :data:`LOGIT_BITS`, [tokens, vocabulary]."""
        raise NotImplementedError

    def attended(self, layer: int, shares: Integers) -> None:
        """Told, after each token, its shares [heads, positions] of a layer; only their ratios count."""
        self.cache.attended(layer, shares)


class Decoder(AnyDecoder):
    """A quantized decoder at work: a cache, and someone who computes products.

    Parameters
    ----------
    products
        Computes the products with weights; by default the golden model.
    cache
        Holds keys and values; by default it keeps all, up to the model's context.
    """

    model: Quantized

    def __init__(self, model: Quantized, products: Products | None = None, cache: Cache | None = None):
        self.model = model
        self.products = GoldenProducts(model) if products is None else products
        self.cache = Cache(model.shape) if cache is None else cache

    def step(self, tokens: Sequence[int]) -> NDArray[np.int32]:
        """Takes the next tokens; logits with :data:`LOGIT_BITS`, [tokens, vocabulary]. Several tokens in one step give
        the integers that they give one by one.

        Raises
        ------
        InputError
            If the context is full.
        """
        model, cache = self.model, self.cache
        if cache.full and cache.position + len(tokens) > model.shape.context:
            raise InputError(f"the context of {model.shape.context} tokens is full")
        x = model.embedding[list(tokens)].astype(np.int64)
        for number, layer in enumerate(model.layers):
            y = self._normalized(x, layer.attention_norm)
            if f"{number}.latent" in model.matrices:
                y = self.products(f"{number}.latent", y)
            mixed = self._attention(number, layer, self.products(f"{number}.qkv", y))
            x = _saturated(x + layer.output(self.products(f"{number}.output", mixed)))
            y = self._normalized(x, layer.feed_norm)
            gate, up = np.split(self.products(f"{number}.gate_up", y).astype(np.int64), 2, axis=1)
            hidden = np.clip(layer.hidden(layer.silu[gate + 128].astype(np.int64) * up), -128, 127).astype(np.int8)
            x = _saturated(x + layer.down(self.products(f"{number}.down", hidden)))
        codes = self.products("classifier", self._normalized(x, model.norm))
        cache.position += len(tokens)
        return (model.logits(codes) + model.offset).astype(np.int32)

    def _normalized(self, x: NDArray[np.int64], scaling: Scaling) -> NDArray[np.int8]:
        """x divided by the root of its row's sum of squares, scaled per channel."""
        rows = []
        for row in x:
            # What the inverse root takes has 31 bits; a shift by two bits of the sum is one of the root.
            total = int((row * row).sum()) + self.model.epsilon
            halvings = max(0, (total.bit_length() - 30) // 2)
            multiplier, shift = fixed.inverse_square_root(total >> 2 * halvings)
            rows.append(golden.rescale(row, multiplier, shift + NORM_BITS - halvings, rounding=Rounding.SINGLE))
        return np.clip(scaling(np.array(rows)), -128, 127).astype(np.int8)

    def _attention(self, number: int, layer: Layer, qkv: NDArray[np.int8]) -> NDArray[np.int8]:
        """Heads that look at all kept positions; codes [tokens, dim]."""
        s, cache, count = self.model.shape, self.cache, len(qkv)
        query, key, value = np.split(qkv.reshape(count, -1, s.head_dim), [s.heads, s.heads + s.kv_heads], axis=1)
        tables = rotations(s, range(cache.position, cache.position + count))
        turn = [np.rint(table * 2**ANGLE_BITS).astype(np.int64)[:, None] for table in tables]
        query, key = _rotated(query, *turn), _rotated(key, *turn)
        rows = []
        for token in range(count):
            cache.add(number, key[token : token + 1], value[token : token + 1])
            keys, values = (held[number].astype(np.int64) for held in (cache.keys, cache.values))
            grouped = query[token].astype(np.int64).reshape(s.kv_heads, s.sharing, s.head_dim)
            scores = np.einsum("gsd,pgd->gsp", grouped, keys).reshape(s.heads, -1)
            distance = layer.scores((scores - scores.max(axis=1, keepdims=True)).T).T
            exponential = fixed.exp_on_negative(np.maximum(distance, LEAST), 31 - SCORE_BITS)
            shares = golden.rescale(exponential, 2**30, SHARE_BITS - 30, rounding=Rounding.SINGLE)
            self.attended(number, shares)
            mixed = np.einsum("gsp,pgd->gsd", shares.reshape(s.kv_heads, s.sharing, -1), values)
            rows.append(_divided(mixed.reshape(s.heads, -1), shares.sum(axis=1)))
        return np.clip(layer.mixed(np.array(rows).reshape(count, s.dim)), -128, 127).astype(np.int8)


def _rotated(x: NDArray[np.int8], cosines: NDArray[np.int64], sines: NDArray[np.int64]) -> NDArray[np.int8]:
    """RoPE of [tokens, heads, head_dim]."""
    even, odd = x[..., 0::2].astype(np.int64), x[..., 1::2].astype(np.int64)
    result = np.empty(x.shape, np.int64)
    result[..., 0::2], result[..., 1::2] = even * cosines - odd * sines, even * sines + odd * cosines
    return np.clip((result + (1 << (ANGLE_BITS - 1))) >> ANGLE_BITS, -128, 127).astype(np.int8)


def _divided(sums: NDArray[np.int64], totals: NDArray[np.int64]) -> NDArray[np.int64]:
    """Sums [heads, head_dim] divided by totals [heads], with :data:`MIX_BITS`. The sums' magnitude is at most 128 times
    the total; of more than 32 bits, the lowest are rounded off."""
    zeros = fixed.leading_zeros(totals)
    spare = np.maximum(8 - zeros, 0)[:, None]
    reciprocal = fixed.one_over_one_plus((totals << zeros) - (1 << 31))
    return golden.rescale(
        (sums + (1 << spare >> 1)) >> spare, reciprocal[:, None], (zeros - 31 + MIX_BITS)[:, None] + spare,
        rounding=Rounding.SINGLE,
    )  # fmt: skip


def _saturated(x: NDArray[np.int64]) -> NDArray[np.int64]:
    return np.clip(x, -(2**15), 2**15 - 1)
