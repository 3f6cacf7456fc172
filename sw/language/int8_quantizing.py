"""Quantization of a decoder to int8 alone; see :mod:`sateen.language.int8`.

As in :mod:`sateen.language.quantizing`, ranges are those of text that the float model writes, and scales of channels
between two matrices balance their ranges. A normalized vector has one scale, and so do the scores of all heads. A
channel's weights have a scale in a fixed ratio to that of its results, so that a matrix has one multiplier: multipliers
and tables take room. For the same reason, tables of the inverse root, of SiLU and of softmax are the same in all
layers, and scales of what is added differ by powers of two.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np
from numpy.typing import ArrayLike, NDArray

from sateen.errors import CompileError
from sateen.graph.ops import Add, FullyConnected, MatrixProduct, Multiply, Op, Reshape, Table, Tensor
from sateen.language.decoder import Block, Floats, Llama
from sateen.language.int8 import ROTATION, Attention, Int8Layer, Int8Model
from sateen.language.integers import Matrix
from sateen.language.quantizing import (
    FIRST_SEED,
    SEEDS,
    TOKENS,
    Quantizer,
    Ranges,
    calibrate,
    scaling,
    steady,
    written,
)  # fmt: skip
from sateen.sim import golden

__all__ = ["quantize_int8"]

LARGEST_SQUARES = 250
"""The code of the largest mean of squares that was seen; 255 is the largest code."""
HIDDEN_SCALE = 64
"""What SiLU's code and up's have as a product in a code of 1."""
SLACK = 1e-4
"""Of a power of two, since scales are rounded."""
TAIL = 8.0
"""How far below a row's largest score others still count: e^-8 is less than a tenth of a share's code."""
LEAST_RANGE = 0.5
"""The least range of a token's logits relative to that of its weights, in medians of all tokens."""
LOGIT_ROOM = 1.25
"""Largest distance of a logit to its middle that a code holds, relative to the largest that was seen."""


def quantize_int8(model: Llama, texts: Sequence[Sequence[int]] | None = None) -> Int8Model:
    """A decoder in int8.

    Parameters
    ----------
    texts
        Tokens that activations are calibrated on; by default text that the float model writes.

    Raises
    ------
    CompileError
        If its numbers are too large, or differ too much in range.
    """
    if texts is None:
        texts = written(model, range(FIRST_SEED, FIRST_SEED + SEEDS), TOKENS)
    return _Int8Quantizer(model, calibrate(model, texts)).made()


class _Int8Quantizer(Quantizer):
    """Makes operators of a float decoder and of ranges."""

    def __init__(self, model: Llama, ranges: Ranges):
        super().__init__(model, ranges)
        self.spare = LOGIT_ROOM
        self.tensors: dict[str, Tensor] = {}
        numbers = range(model.shape.layers)
        self.points = self._points()
        """Scales of the residual stream and of what is added to it, by tensor."""
        self.squares = {
            name: (ranges.low[f"{name}.square"].item(), ranges.largest(f"{name}.square").item())
            for name in (*(f"{number}.{part}" for number in numbers for part in ("attention", "feed")), "classifier")
        }
        """The least and the largest mean of squares before each normalization."""
        # The largest code is the inverse root of the least code that was seen.
        least = max(1.0, min(LARGEST_SQUARES * low / high for low, high in self.squares.values()))
        self.root = steady(255 * math.sqrt(least)).item()
        """The code of an inverse root, times the root of the code of which it is one."""
        self.gate = steady(max(float(ranges.largest(f"{number}.gate").max()) for number in numbers) / 127).item()
        self.silu, self.silu_scale, self.silu_point = _silu(self.gate)
        self.highest = [max(ranges.high[f"{number}.peaks"].item(), 0.0) for number in numbers]
        """The highest score of each layer."""
        lowest = [min(ranges.low[f"{number}.peaks"].item() - TAIL, 0.0) for number in numbers]
        self.score = steady((np.array(self.highest) - lowest).max() / 255).item()
        """The scale of scores."""

    def made(self) -> Int8Model:
        """The decoder."""
        model, s = self.model, self.model.shape
        x = self._tensor("embedded", s.dim, scale=self.points["embedded"])
        self._tensor("rotation", s.head_dim, s.head_dim)
        layers = []
        for number, block in enumerate(model.blocks):
            layer, x = self._int8_layer(number, block, x)
            layers.append(layer)
        last: list[Op] = []
        y, norm = self._norm("classifier", x, last)
        logits, offset = self._classifier(np.full(s.dim, norm))
        self._full("classifier", y, "logits", last)
        return Int8Model(
            name=model.name,
            shape=s,
            embedding=np.clip(np.rint(model.embedding / self.points["embedded"]), -127, 127).astype(np.int8),
            layers=tuple(layers),
            last=tuple(last),
            tensors=self.tensors,
            logits=logits,
            offset=offset,
            weights=sum(matrix.weights.size for matrix in self.matrices.values()),
        )

    def _points(self) -> dict[str, float]:
        """Scales with which all that was seen fits, powers of two apart."""
        numbers = range(self.model.shape.layers)
        names = [f"{number}.{part}" for number in numbers for part in ("output", "middle", "down", "end")]
        largest = {"embedded": float(np.abs(self.model.embedding).max())}
        largest |= {name: float(self.ranges.largest(name).max()) for name in names}
        unit = steady(max(largest.values()) / 127).item()
        return {name: unit * 2.0 ** math.ceil(math.log2(each / 127 / unit) - SLACK) for name, each in largest.items()}

    def _int8_layer(self, number: int, block: Block, x: str) -> tuple[Int8Layer, str]:
        """A layer behind ``x``, and the tensor of its result."""
        s, n = self.model.shape, f"{number}."
        before: list[Op] = []
        after: list[Op] = []
        y, norm = self._norm(f"{n}attention", x, before)
        attention, mixed = self._int8_attention(number, block, norm)
        self._full(f"{n}qkv", y, f"{n}qkv", before)
        heads = s.heads + 2 * s.kv_heads
        before.append(Reshape(name=f"{n}heads", input=f"{n}qkv", output=self._tensor(f"{n}heads", heads, s.head_dim)))
        self._product(f"{n}turned", f"{n}heads", "rotation", 1 / ROTATION, (heads, s.head_dim), before)
        output = np.asarray(block.output, np.float64)
        self._matrix(f"{n}output", output * mixed, np.full(s.dim, self.points[f"{n}output"]))
        self._full(f"{n}output", self._tensor(f"{n}mixed", s.dim), f"{n}output", after)
        middle = self._sum(f"{n}middle", x, f"{n}output", after)
        down = self._feed_forward(n, block, middle, after)
        end = self._sum(f"{n}end", middle, down, after)
        return Int8Layer(before=tuple(before), attention=attention, after=tuple(after)), end

    def _feed_forward(self, n: str, block: Block, x: str, ops: list[Op]) -> str:
        s = self.model.shape
        y, norm = self._norm(f"{n}feed", x, ops)
        self._matrix(f"{n}gate", self._folded(block.gate, block.feed_norm) * norm, np.full(s.hidden, self.gate))
        down = np.asarray(block.down, np.float64)
        # A channel of up and the one of the product have scales in the same ratio, with which both fit.
        ratio = self.silu_scale * HIDDEN_SCALE
        product = self._balanced(self.ranges.largest(f"{n}hidden"), down)
        up = steady(np.maximum(self.ranges.largest(f"{n}up") / 127, product / ratio))
        self._matrix(f"{n}up", self._folded(block.up, block.feed_norm) * norm, up)
        self._full(f"{n}gate", y, f"{n}gate", ops)
        self._full(f"{n}up", y, f"{n}up", ops)
        silu = self._tensor(f"{n}silu", s.hidden, zero_point=self.silu_point)
        ops.append(Table(name=silu, input=f"{n}gate", output=silu, table=self.silu, function="SiLU"))
        hidden = self._tensor(f"{n}hidden", s.hidden, scale=float(HIDDEN_SCALE))
        ops.append(Multiply(name=hidden, a=silu, b=f"{n}up", output=hidden))
        self._matrix(f"{n}down", down * (up * ratio), np.full(s.dim, self.points[f"{n}down"]))
        return self._full(f"{n}down", hidden, f"{n}down", ops)

    def _int8_attention(self, number: int, block: Block, norm: float) -> tuple[Attention, Floats]:
        """The attention's numbers, and the scales of mixed values. Makes the matrix before."""
        s, n = self.model.shape, f"{number}."
        query, key, products = self._turned(number)
        # All heads' scores get one scale, that of the largest.
        product = products.max()
        query = query * np.repeat(product / products, s.head_dim)
        value = self._scale(f"{n}value")
        qkv = self._folded(np.concatenate([block.query, block.key, block.value]), block.attention_norm)
        self._matrix(f"{n}qkv", qkv * norm, np.concatenate([query, key, value]))
        multiplier, shift = _scaled(product / math.sqrt(s.head_dim) / self.score)
        mix_multiplier, mix_shift = _scaled(1 / 256)
        zero_point = int(np.clip(np.rint(127 - self.highest[number] / self.score), -128, 127))
        attention = Attention(
            multiplier=multiplier, shift=shift, scale=self.score, zero_point=zero_point,
            mix_multiplier=mix_multiplier, mix_shift=mix_shift,
        )  # fmt: skip
        # The values of a head of keys are those of all heads that share it.
        return attention, np.repeat(value.reshape(s.kv_heads, 1, -1), s.sharing, axis=1).reshape(-1)

    def _logit_scales(self, scale: Floats, weights: Floats) -> Floats:
        """A token whose logits were all alike gets a wider range: for its sake, the weights of all others would have
        few codes."""
        largest = np.maximum(np.abs(weights).max(axis=1), 1e-9)
        return steady(np.maximum(scale, largest * np.median(scale / largest) * LEAST_RANGE))

    def _matrix(self, name: str, weights: Floats, scale: Floats, offset: ArrayLike = 0.0) -> Floats:
        """As the other quantizer's, but with one multiplier for all channels: the device then has it once, which saves
        eight bytes a channel."""
        factor = steady((np.maximum(np.abs(weights).max(axis=1), 1e-9) / 127 / scale).max()).item()
        unit = factor * scale
        self.matrices[name] = Matrix(
            weights=np.clip(np.rint(weights / unit[:, None]), -127, 127).astype(np.int8),
            bias=np.rint(-np.broadcast_to(offset, unit.shape) / unit).astype(np.int32),
            scaling=scaling(np.full(len(unit), factor)),
        )
        return scale

    def _norm(self, name: str, x: str, ops: list[Op]) -> tuple[str, float]:
        """x divided by the root of its mean of squares, and the scale of the result."""
        dim, unit = self.model.shape.dim, self.tensors[x].scale
        row = self._tensor(f"{name}.row", 1, dim, scale=unit)
        column = self._tensor(f"{name}.column", dim, 1, scale=unit)
        ops += [Reshape(name=row, input=x, output=row), Reshape(name=column, input=x, output=column)]
        # The code of a sum of squares of 1.
        code = LARGEST_SQUARES / (dim * self.squares[name][1] / unit**2)
        epsilon = round(self.model.shape.epsilon * dim / unit**2)
        squares = self._product(
            f"{name}.squares", row, row, code, (1, 1), ops, zero_point=-128, bias=epsilon, transposed=True
        )
        root = self._tensor(f"{name}.root", 1, 1, zero_point=-128)
        table = np.clip(np.rint(self.root / np.sqrt(np.maximum(np.arange(256), 1))), 0, 255) - 128
        ops.append(Table(name=root, input=squares, output=root, table=table.astype(np.int8), function="inverse root"))
        scale = steady(self.ranges.largest(f"{name}.normalized").max() / 127).item()
        scaled = self._product(
            f"{name}.scaled", column, root, math.sqrt(dim * code) / self.root / scale, (dim, 1), ops
        )
        y = self._tensor(f"{name}.normalized", dim)
        ops.append(Reshape(name=y, input=scaled, output=y))
        return y, scale

    def _product(
        self, name: str, a: str, b: str, factor: float, shape: tuple[int, int], ops: list[Op], *, zero_point: int = 0,
        bias: int = 0, transposed: bool = False,
    ) -> str:  # fmt: skip
        """The product of two tensors, times a factor."""
        multiplier, shift = _scaled(factor)
        ops.append(
            MatrixProduct(
                name=name, a=a, b=b, output=self._tensor(name, *shape, zero_point=zero_point),
                bias=np.full(1, bias, np.int32), transpose_b=transposed, multiplier=multiplier, shift=shift,
            )
        )  # fmt: skip
        return name

    def _full(self, matrix: str, x: str, name: str, ops: list[Op]) -> str:
        """The product of a matrix of weights with ``x``."""
        made = self.matrices[matrix]
        ops.append(
            FullyConnected(
                name=name, input=x, output=self._tensor(name, len(made.bias), scale=self.points.get(name, 1.0)),
                weights=made.weights, bias=made.bias, multiplier=made.scaling.multiplier, shift=made.scaling.shift,
            )
        )  # fmt: skip
        return name

    def _sum(self, name: str, a: str, b: str, ops: list[Op]) -> str:
        ops.append(Add(name=name, a=a, b=b, output=self._tensor(name, self.model.shape.dim, scale=self.points[name])))
        return name

    def _tensor(self, name: str, *shape: int, scale: float = 1.0, zero_point: int = 0) -> str:
        self.tensors[name] = Tensor(name=name, shape=(1, *shape), scale=scale, zero_point=zero_point)
        return name


def _silu(scale: float) -> tuple[NDArray[np.int8], float, int]:
    """SiLU of all codes of a scale, and its scale and zero point."""
    x = np.arange(-128, 128) * scale
    values = x * (1 + np.tanh(x / 2)) / 2
    unit = steady((values.max() - values.min()) / 255).item()
    zero_point = round(-128 - values.min() / unit)
    return np.clip(np.rint(values / unit) + zero_point, -128, 127).astype(np.int8), unit, zero_point


def _scaled(factor: float) -> tuple[int, int]:
    try:
        return golden.quantize_multiplier(float(factor))
    except ValueError as error:
        raise CompileError(f"the model's layers differ too much in range to be quantized: {error}") from error
