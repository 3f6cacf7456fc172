"""Decoders of the Llama family: their shape, their weights, and the float decoder that says what they compute."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from sateen.errors import CompileError, InputError

__all__ = ["Block", "FloatDecoder", "Floats", "Llama", "Shape", "rotations"]

Floats = NDArray[np.floating[Any]]


@dataclass(frozen=True, kw_only=True)
class Shape:
    """Sizes of a decoder.

    Raises
    ------
    CompileError
        If they contradict each other.
    """

    dim: int
    """Channels of the residual stream."""
    hidden: int
    """Channels inside the feed-forward part."""
    layers: int
    heads: int
    kv_heads: int
    """Heads of keys and values; ``heads / kv_heads`` heads of queries share one."""
    vocabulary: int
    context: int
    """Positions that the model was trained for."""
    rope_base: float = 10_000.0
    epsilon: float = 1e-5
    """Added to the mean square in a normalization."""

    def __post_init__(self) -> None:
        for name in ("dim", "hidden", "layers", "heads", "kv_heads", "vocabulary", "context"):
            value = getattr(self, name)
            if not 1 <= value <= 1 << 24:
                raise CompileError(f"a language model's {name} must be 1 or more, not {value}; the file is damaged")
        if self.dim % self.heads or self.heads % self.kv_heads or self.head_dim % 2:
            raise CompileError(
                f"{self.dim} channels, {self.heads} heads and {self.kv_heads} heads of keys do not divide into heads "
                f"of an even size"
            )
        if not (math.isfinite(self.rope_base) and self.rope_base > 0 and 0 < self.epsilon < 1):
            raise CompileError(f"rope_base {self.rope_base} or epsilon {self.epsilon} is out of range")

    @property
    def head_dim(self) -> int:
        """Channels of a head."""
        return self.dim // self.heads

    @property
    def kv_dim(self) -> int:
        """Channels of all keys, and of all values."""
        return self.head_dim * self.kv_heads

    @property
    def sharing(self) -> int:
        """Heads of queries that share a head of keys and values."""
        return self.heads // self.kv_heads


@dataclass(frozen=True, kw_only=True, eq=False)
class Block:
    """Weights of one layer, float32. A matrix is [outputs, inputs]."""

    attention_norm: Floats
    query: Floats
    key: Floats
    value: Floats
    output: Floats
    feed_norm: Floats
    gate: Floats
    """llama2.c's w1, whose result passes SiLU."""
    up: Floats
    """w3."""
    down: Floats
    """w2."""


@dataclass(frozen=True, kw_only=True, eq=False)
class Llama:
    """A decoder with float weights. RoPE turns neighbouring pairs of channels.

    Raises
    ------
    CompileError
        If an array does not have the shape that :attr:`shape` says, or is not finite.
    """

    name: str
    shape: Shape
    embedding: Floats
    """[vocabulary, dim]."""
    blocks: tuple[Block, ...]
    norm: Floats
    classifier: Floats
    """[vocabulary, dim]; often the embedding itself."""

    def __post_init__(self) -> None:
        s = self.shape
        square, narrow, wide = (s.dim, s.dim), (s.kv_dim, s.dim), (s.hidden, s.dim)
        expected = {
            "attention_norm": (s.dim,), "query": square, "key": narrow, "value": narrow, "output": square,
            "feed_norm": (s.dim,), "gate": wide, "up": wide, "down": (s.dim, s.hidden),
        }  # fmt: skip
        arrays = [(f"layer {i}'s {name}", getattr(b, name), size) for i, b in enumerate(self.blocks) for name, size in
                  expected.items()]  # fmt: skip
        table = (s.vocabulary, s.dim)
        arrays += [("embedding", self.embedding, table), ("norm", self.norm, (s.dim,))]
        arrays += [("classifier", self.classifier, table)]
        for name, array, size in arrays:
            if array.shape != size:
                raise CompileError(f"model {self.name!r}: its {name} must be {size}, not {array.shape}")
            if not np.isfinite(array).all():
                raise CompileError(f"model {self.name!r}: its {name} has values that are not finite")
        if len(self.blocks) != s.layers:
            raise CompileError(f"model {self.name!r}: it must have {s.layers} layers, not {len(self.blocks)}")

    @property
    def weights(self) -> int:
        """Number of weights of the matrices that every token passes, the classifier among them."""
        s = self.shape
        block = 2 * s.dim * s.dim + 2 * s.kv_dim * s.dim + 3 * s.hidden * s.dim
        return s.layers * block + s.vocabulary * s.dim


def rotations(shape: Shape, positions: Sequence[int]) -> tuple[Floats, Floats]:
    """Cosines and sines of RoPE, [positions, head_dim / 2] each, float64."""
    frequencies = shape.rope_base ** (-2.0 * np.arange(shape.head_dim // 2) / shape.head_dim)
    angles = np.asarray(positions, np.float64)[:, None] * frequencies
    return np.cos(angles), np.sin(angles)


class FloatDecoder:
    """The decoder in floating point, token by token with a cache of keys and values: the definition.

    Parameters
    ----------
    dtype
        ``np.float32``, or ``np.float64`` where results shall not depend on the order of sums.
    observe
        Called with a name and an array [tokens, channels] for each activation that quantization needs the range of.
    """

    def __init__(self, model: Llama, *, dtype: Any = np.float32, observe: Any = None):
        self.model, self.dtype, self.observe = model, dtype, observe
        self.position = 0
        """Tokens so far."""
        s = model.shape
        empty = np.zeros((0, s.kv_heads, s.head_dim), dtype)
        self._keys, self._values = [empty] * s.layers, [empty] * s.layers

    def step(self, tokens: Sequence[int]) -> Floats:
        """Takes the next tokens; logits [tokens, vocabulary], one row for each.

        Raises
        ------
        InputError
            If the context is full.
        CompileError
            If a logit is not finite.
        """
        with np.errstate(over="ignore", invalid="ignore"):
            logits = self._step(tokens)
        if not np.isfinite(logits).all():
            raise CompileError(f"model {self.model.name!r}: its numbers overflow; its weights are damaged")
        return logits

    def _step(self, tokens: Sequence[int]) -> Floats:
        s, count = self.model.shape, len(tokens)
        if self.position + count > s.context:
            raise InputError(f"the context of {s.context} tokens is full")
        cosines, sines = (t.astype(self.dtype) for t in rotations(s, range(self.position, self.position + count)))
        x = self._cast(self.model.embedding)[list(tokens)]
        for index, block in enumerate(self.model.blocks):
            x = x + self._attention(x, index, block, cosines[:, None], sines[:, None])
            self._see(f"{index}.middle", x)
            y = self._norm(x, block.feed_norm, f"{index}.feed")
            gate, up = y @ self._cast(block.gate).T, y @ self._cast(block.up).T
            self._see(f"{index}.gate", gate)
            self._see(f"{index}.up", up)
            # gate / (1 + exp(−gate)), without overflow.
            hidden = gate * (1 + np.tanh(gate / 2)) / 2 * up
            self._see(f"{index}.hidden", hidden)
            down = hidden @ self._cast(block.down).T
            self._see(f"{index}.down", down)
            x = x + down
            self._see(f"{index}.end", x)
        logits = self._norm(x, self.model.norm, "classifier") @ self._cast(self.model.classifier).T
        self._see("logits", logits)
        self.position += count
        return logits

    def _attention(self, x: Floats, index: int, block: Block, cosines: Floats, sines: Floats) -> Floats:
        s, count, start = self.model.shape, len(x), self.position
        y = self._norm(x, block.attention_norm, f"{index}.attention")
        heads = {}
        for name, weights in (("query", block.query), ("key", block.key), ("value", block.value)):
            heads[name] = (y @ self._cast(weights).T).reshape(count, -1, s.head_dim)
            self._see(f"{index}.{name}", heads[name].reshape(count, -1))
        query, key = (_rotate(heads[name], cosines, sines) for name in ("query", "key"))
        self._see(f"{index}.query", query.reshape(count, -1))
        self._see(f"{index}.key", key.reshape(count, -1))
        keys = self._keys[index] = np.concatenate([self._keys[index], key])
        values = self._values[index] = np.concatenate([self._values[index], heads["value"]])
        grouped = query.reshape(count, s.kv_heads, s.sharing, s.head_dim)
        scores = np.einsum("tgsd,pgd->tgsp", grouped, keys) / np.sqrt(self.dtype(s.head_dim))
        future = np.arange(start + count) > start + np.arange(count)[:, None]
        scores = np.where(future[:, None, None], -np.inf, scores)
        self._see(f"{index}.peaks", scores.max(axis=-1).reshape(-1, 1))
        weights = np.exp(scores - scores.max(axis=-1, keepdims=True))
        weights /= weights.sum(axis=-1, keepdims=True)
        mixed = np.einsum("tgsp,pgd->tgsd", weights, values).reshape(count, s.dim)
        self._see(f"{index}.mixed", mixed)
        result = mixed @ self._cast(block.output).T
        self._see(f"{index}.output", result)
        return result

    def _norm(self, x: Floats, gain: Floats, name: str) -> Floats:
        square = (x * x).mean(axis=-1, keepdims=True)
        self._see(f"{name}.square", square)
        y = x / np.sqrt(square + self.dtype(self.model.shape.epsilon))
        self._see(f"{name}.normalized", y)
        return y * self._cast(gain)

    def _cast(self, weights: Floats) -> Floats:
        return weights.astype(self.dtype, copy=False)

    def _see(self, name: str, values: Floats) -> None:
        if self.observe is not None:
            self.observe(name, values)


def _rotate(x: Floats, cosines: Floats, sines: Floats) -> Floats:
    """RoPE of [tokens, heads, head_dim]."""
    even, odd = x[..., 0::2], x[..., 1::2]
    result = np.empty_like(x)
    result[..., 0::2], result[..., 1::2] = even * cosines - odd * sines, even * sines + odd * cosines
    return result
