"""A decoder in int8 alone: a graph of operators that a device has all of.

Everything between the embedding and the classifier's codes is there: products with weights, normalization, RoPE,
attention and its cache of keys and values, SiLU, residual sums. Of these, two operators of each layer depend on the
position, by the number of keys and values: the attention's two products, with a softmax between them.

- **Normalization.** The matrix behind takes the vector as it is, and its sums are scaled by the inverse root of the
  vector's sum of squares. The gain is in the matrix.
- **RoPE** turns pairs of channels by angles that depend on the position: the heads times a matrix of cosines and sines,
  [head_dim, head_dim], which comes as an input with the embedding.
- **The residual stream** has one scale, so that tables of all sums are the same.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from sateen.graph import Graph
from sateen.graph.ops import Concatenate, MatrixProduct, Op, Reshape, Slice, Softmax, Tensor
from sateen.language.decoder import Shape, rotations
from sateen.language.integers import Scaling

__all__ = ["ROTATION", "Attention", "Int8Layer", "Int8Model", "rotation"]

ROTATION = 127
"""The code of a cosine of 1."""


@dataclass(frozen=True, kw_only=True)
class Attention:
    """The numbers of a layer's attention."""

    multiplier: int
    """With ``shift``: products of queries and keys to scores."""
    shift: int
    scale: float
    """Of scores, as :class:`~sateen.graph.ops.Softmax` takes them."""
    zero_point: int
    mix_multiplier: int
    """With ``mix_shift``: shares times values to codes."""
    mix_shift: int


@dataclass(frozen=True, kw_only=True, eq=False)
class Int8Layer:
    """Operators of one layer, before and behind its attention. The one side leaves the heads of queries, keys and
    values in ``N.heads`` and, if there is RoPE, turned by it in ``N.turned``, both
    [1, heads + 2 · kv_heads, head_dim]; the other takes ``N.mixed``, [1, dim]."""

    before: tuple[Op, ...]
    attention: Attention
    after: tuple[Op, ...]


@dataclass(frozen=True, kw_only=True, eq=False)
class Int8Model:
    """A decoder in int8."""

    name: str
    shape: Shape
    embedding: NDArray[np.int8]
    """[vocabulary, dim]."""
    layers: tuple[Int8Layer, ...]
    last: tuple[Op, ...]
    """Normalization and classifier."""
    tensors: Mapping[str, Tensor]
    """Those of all operators."""
    logits: Scaling
    """Codes to logits with :data:`~sateen.language.integers.LOGIT_BITS`."""
    offset: NDArray[np.int32]
    """Added to the scaled logits."""
    weights: int
    """Number of weights."""
    places: NDArray[np.int8] | None = None
    """[context, dim]: what each position adds to the embedding, as input ``placed``; then nothing is turned by RoPE."""

    @property
    def turns(self) -> bool:
        """Whether RoPE turns queries and keys."""
        return self.places is None

    @property
    def inputs(self) -> tuple[str, ...]:
        """What the host looks up for a token."""
        return "embedded", "rotation" if self.turns else "placed"

    def given(self, token: int, position: int) -> dict[str, NDArray[np.int8]]:
        """Those inputs."""
        second = rotation(self.shape, position) if self.places is None else self.places[position]
        return dict(zip(self.inputs, (self.embedding[token], second), strict=True))

    @property
    def turned(self) -> str:
        """The tensor with queries and keys as they are compared, behind the layer's number."""
        return "turned" if self.turns else "heads"

    def attention(self, number: int, positions: int) -> tuple[dict[str, Tensor], list[Op]]:
        """Tensors and operators of a layer's attention, with so many keys and values, those of the present token
        among them. ``N.keys.before`` and ``N.values.before`` are those of the others."""
        s, a, n = self.shape, self.layers[number].attention, f"{number}."
        tensors: dict[str, Tensor] = {}
        ops: list[Op] = []

        def tensor(name: str, *shape: int, scale: float = 1.0, zero_point: int = 0) -> str:
            tensors[n + name] = Tensor(name=n + name, shape=(1, *shape), scale=scale, zero_point=zero_point)
            return n + name

        def part(name: str, source: str, first: int, count: int, *shape: int) -> str:
            cut = tensor(f"{name}.part", count, s.head_dim)
            ranges = ((first, first + count, 1), (0, s.head_dim, 1))
            ops.append(Slice(name=f"{n}{name}.part", input=n + source, output=cut, ranges=ranges))
            ops.append(Reshape(name=n + name, input=cut, output=tensor(name, *shape)))
            return n + name

        queries = part("queries", self.turned, 0, s.heads, s.kv_heads, s.sharing, s.head_dim)
        held = {}
        for name, source, first in (("keys", self.turned, s.heads), ("values", "heads", s.heads + s.kv_heads)):
            held[name] = part(f"{name}.new", source, first, s.kv_heads, s.kv_heads, 1, s.head_dim)
            if positions > 1:
                before = tensor(f"{name}.before", s.kv_heads, positions - 1, s.head_dim)
                joined = tensor(name, s.kv_heads, positions, s.head_dim)
                ops.append(Concatenate(name=n + name, sources=(before, held[name]), output=joined, axis=2))
                held[name] = joined
        grid = s.kv_heads, s.sharing
        scores = tensor("scores", *grid, positions, scale=a.scale, zero_point=a.zero_point)
        shares = tensor("shares", *grid, positions, scale=1 / 256, zero_point=-128)
        mixed = tensor("mixed.heads", *grid, s.head_dim)
        none = np.zeros(1, np.int32)
        ops += [
            MatrixProduct(
                name=scores, a=queries, b=held["keys"], output=scores, bias=none, transpose_b=True,
                multiplier=a.multiplier, shift=a.shift,
            ),
            Softmax(name=shares, input=scores, output=shares),
            MatrixProduct(
                name=mixed, a=shares, b=held["values"], output=mixed, bias=none,
                multiplier=a.mix_multiplier, shift=a.mix_shift,
            ),
            Reshape(name=f"{n}mixed", input=mixed, output=f"{n}mixed"),
        ]  # fmt: skip
        return tensors, ops

    def graph(self, positions: int) -> Graph:
        """The whole decoder of one token, with so many keys and values in each layer. Inputs are :attr:`inputs`, and
        all keys and values before; outputs are ``logits`` and the keys and values."""
        tensors, ops = dict(self.tensors), []
        inputs, outputs = [*self.inputs], ["logits"]
        for number, layer in enumerate(self.layers):
            more, attention = self.attention(number, positions)
            tensors |= more
            ops += [*layer.before, *attention, *layer.after]
            for name in ("keys", "values"):
                inputs += [f"{number}.{name}.before"] if positions > 1 else []
                outputs.append(f"{number}.{name}" if positions > 1 else f"{number}.{name}.new")
        return Graph(name=self.name, tensors=tensors, ops=[*ops, *self.last], inputs=inputs, outputs=outputs)


def rotation(shape: Shape, position: int) -> NDArray[np.int8]:
    """The matrix by which RoPE turns a head at a position, from the right: [head_dim, head_dim]."""
    cosines, sines = (np.rint(table[0] * ROTATION).astype(np.int8) for table in rotations(shape, [position]))
    even, odd = np.arange(0, shape.head_dim, 2), np.arange(1, shape.head_dim, 2)
    turned = np.zeros((shape.head_dim, shape.head_dim), np.int8)
    turned[even, even] = turned[odd, odd] = cosines
    turned[even, odd], turned[odd, even] = sines, -sines
    return turned
