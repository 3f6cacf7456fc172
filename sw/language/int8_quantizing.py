"""Quantization of a decoder to int8 alone; see :mod:`sateen.language.int8`.

As in :mod:`sateen.language.quantizing`, ranges are those of text that the float model writes, and scales of channels
between two matrices balance their ranges. The scores of all heads have one scale. Behind a normalization a channel's
weights have a scale that is a power of two times that of its results, since all sums are multiplied by the same inverse
root; for the classifier it is the same power for all channels, which saves room. Tables of SiLU and of softmax are the
same in all layers, and scales of what is added differ by powers of two.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import replace

import numpy as np
from numpy.typing import NDArray

from sateen.errors import CompileError
from sateen.graph.ops import Add, FullyConnected, MatrixProduct, NormalizedProduct, Op, Reshape, TableProduct, Tensor
from sateen.hw.spec.descriptor import Rounding
from sateen.language.decoder import Block, Floats, Llama
from sateen.language.int8 import ROTATION, Attention, Int8Layer, Int8Model
from sateen.language.integers import LOGIT_BITS, Matrix, Scaling
from sateen.language.quantizing import (
    FIRST_SEED,
    LARGEST_LOGIT,
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

__all__ = ["LOGIT_ROOM", "SLACK", "TAIL", "Int8Quantizer", "quantize_int8", "scaled"]

HIDDEN_SCALE = 256
"""What SiLU's entry and up's code have as a product in a code of 1."""
LARGEST_ENTRY = 511
"""Of SiLU's table."""
WIDTH = 16
"""The feed-forward part has a multiple of so many channels: those beyond the model's are zero."""
SLACK = 1e-4
"""Of a power of two, since scales are rounded."""
TAIL = 8.0
"""How far below a row's largest score others still count: e^-8 is less than a tenth of a share's code."""
LEAST_RANGE = 0.5
"""The least range of a token's logits relative to that of its weights, in medians of all tokens."""
LOGIT_ROOM = 1.25
"""The largest logit that a code holds, relative to the largest that was seen."""
LARGEST_SHIFT = 15
"""By how many powers of two the scales of a matrix behind a normalization may differ from those of its results."""


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
    return Int8Quantizer(model, calibrate(model, texts)).made()


class Int8Quantizer(Quantizer):
    """Makes operators of a float decoder and of ranges."""

    def __init__(self, model: Llama, ranges: Ranges):
        super().__init__(model, ranges)
        self.tensors: dict[str, Tensor] = {}
        numbers = range(model.shape.layers)
        self.points = self._points()
        """Scales of the residual stream and of what is added to it, by tensor."""
        self.gate = steady(max(float(ranges.largest(f"{number}.gate").max()) for number in numbers) / 127).item()
        self.silu, self.silu_scale = _silu(self.gate)
        self.highest = [max(ranges.high[f"{number}.peaks"].item(), 0.0) for number in numbers]
        """The highest score of each layer."""
        lowest = [min(ranges.low[f"{number}.peaks"].item() - TAIL, 0.0) for number in numbers]
        self.score = steady((np.array(self.highest) - lowest).max() / 255).item()
        """The scale of scores."""

    def made(self) -> Int8Model:
        """The decoder."""
        model, s = self.model, self.model.shape
        unit = self.points["embedded"]
        # Twice the half of it: so it is a result of the device, of which squares are summed up.
        half = self._tensor("embedded", s.dim, scale=unit / 2)
        self._tensor("rotation", s.head_dim, s.head_dim)
        layers = []
        first: list[Op] = []
        x = self._sum("start", half, half, first)
        for number, block in enumerate(model.blocks):
            layer, x = self._int8_layer(number, block, x)
            layers.append(layer)
        layers[0] = replace(layers[0], before=(*first, *layers[0].before))
        last: list[Op] = []
        logits, offset = self._last()
        self._full("classifier", x, "logits", last)
        return Int8Model(
            name=model.name,
            shape=s,
            embedding=np.clip(np.rint(model.embedding / self.points["embedded"]), -127, 127).astype(np.int8),
            layers=tuple(layers),
            last=tuple(last),
            tensors=self.tensors,
            logits=logits,
            offset=offset,
            weights=model.weights,
        )

    def _points(self) -> dict[str, float]:
        """Scales with which all that was seen fits, powers of two apart."""
        numbers = range(self.model.shape.layers)
        names = [f"{number}.{part}" for number in numbers for part in ("output", "middle", "down", "end")]
        largest = {"embedded": float(np.abs(self.model.embedding).max())}
        largest |= {name: float(self.ranges.largest(name).max()) for name in names}
        unit = steady(max(largest.values()) / 127).item()
        points = {name: unit * 2.0 ** math.ceil(math.log2(each / 127 / unit) - SLACK) for name, each in largest.items()}
        return {**points, "start": points["embedded"]}

    def _int8_layer(self, number: int, block: Block, x: str) -> tuple[Int8Layer, str]:
        """A layer behind ``x``, and the tensor of its result."""
        s, n = self.model.shape, f"{number}."
        before: list[Op] = []
        after: list[Op] = []
        attention, mixed = self._int8_attention(number, block)
        self._full(f"{n}qkv", x, f"{n}qkv", before)
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
        self._normalized_matrix(f"{n}gate", self._folded(block.gate, block.feed_norm), np.full(s.hidden, self.gate))
        down = np.asarray(block.down, np.float64)
        # A channel of up and the one of the product have scales in the same ratio, with which both fit.
        ratio = self.silu_scale * HIDDEN_SCALE
        product = self._balanced(self.ranges.largest(f"{n}hidden"), down)
        up: Floats = steady(np.maximum(self.ranges.largest(f"{n}up") / 127, product / ratio))
        weights = self._folded(block.up, block.feed_norm)
        up = self._fitted(weights, up)
        self._normalized_matrix(f"{n}up", weights, up)
        self._matrix(f"{n}down", down * (up * ratio), np.full(s.dim, self.points[f"{n}down"]))
        self._widen(n)
        gate, up_ = (self._full(f"{n}{name}", x, f"{n}{name}", ops) for name in ("gate", "up"))
        hidden = self._tensor(f"{n}hidden", s.hidden + -s.hidden % WIDTH)
        multiplier, shift = scaled(1 / HIDDEN_SCALE)
        ops.append(
            TableProduct(
                name=hidden, a=up_, b=gate, output=hidden, table=self.silu, function="SiLU", multiplier=multiplier,
                shift=shift,
            )
        )  # fmt: skip
        return self._full(f"{n}down", hidden, f"{n}down", ops)

    def _widen(self, n: str) -> None:
        """Fills the feed-forward part up with channels of zeros."""
        more = -self.model.shape.hidden % WIDTH
        for name in (f"{n}gate", f"{n}up"):
            made = self.matrices[name]
            shift = np.pad(made.scaling.shift, (0, more), mode="edge")
            scaling_ = Scaling(multiplier=np.pad(made.scaling.multiplier, (0, more)), shift=shift)
            self.matrices[name] = Matrix(
                weights=np.pad(made.weights, ((0, more), (0, 0))), bias=np.pad(made.bias, (0, more)), scaling=scaling_
            )
        down = self.matrices[f"{n}down"]
        self.matrices[f"{n}down"] = replace(down, weights=np.pad(down.weights, ((0, 0), (0, more))))

    def _int8_attention(self, number: int, block: Block) -> tuple[Attention, Floats]:
        """The attention's numbers, and the scales of mixed values. Makes the matrix before."""
        s, n = self.model.shape, f"{number}."
        query, key, products = self._turned(number)
        query, key = steady(query), steady(key)
        # All heads' scores get one scale, that of the largest.
        product = products.max()
        query = query * np.repeat(product / products, s.head_dim)
        qkv = self._folded(np.concatenate([block.query, block.key, block.value]), block.attention_norm)
        value = self._fitted(qkv[-s.kv_dim :], self._scale(f"{n}value"))
        self._normalized_matrix(f"{n}qkv", qkv, np.concatenate([query, key, value]))
        multiplier, shift = scaled(product / math.sqrt(s.head_dim) / self.score)
        mix_multiplier, mix_shift = scaled(1 / 256)
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

    def _last(self) -> tuple[Scaling, NDArray[np.int32]]:
        """The classifier, whose codes stand for logits."""
        low, high = self.ranges.low["logits"], self.ranges.high["logits"]
        if (largest := max(-low.min(), high.max())) >= LARGEST_LOGIT:
            raise CompileError(
                f"model {self.model.name!r}: its logits reach {largest:,.0f}, more than the {LARGEST_LOGIT:,} that "
                f"their 32 bits hold"
            )
        weights = self._folded(self.model.classifier, self.model.norm)
        scale: Floats = steady(LOGIT_ROOM * np.maximum(np.maximum(-low, high), 1e-6) / 127)
        scale = self._logit_scales(scale, weights)
        over = self._octaves(weights, scale).max() % 1.0
        scale = steady(scale * 2.0**over) if over < 0.5 else scale
        self._normalized_matrix("classifier", weights, scale, one=True)
        return scaling(scale * 2.0**LOGIT_BITS), np.zeros(len(scale), np.int32)

    def _octaves(self, weights: Floats, scale: Floats) -> Floats:
        """By how many powers of two the scales of a matrix behind a normalization differ from those of its results, if
        both use their whole range."""
        largest = np.maximum(np.abs(weights).max(axis=1), 1e-9) / 127
        return np.asarray(np.log2(largest * math.sqrt(self.model.shape.dim) / scale))

    def _fitted(self, weights: Floats, scale: Floats) -> Floats:
        """Scales of results, larger by up to √2 where that is less than what the matrix's scales would have to be
        larger by."""
        over = np.mod(self._octaves(weights, scale), 1.0)
        return steady(np.where(over < 0.5, scale * 2.0**over, scale))

    def _normalized_matrix(self, name: str, weights: Floats, scale: Floats, *, one: bool = False) -> None:
        """Quantizes a matrix that takes a normalized vector and gives codes of ``scale``. With ``one`` shift for all
        channels the device has it once."""
        shift = np.maximum(np.ceil(self._octaves(weights, scale) - SLACK), -LARGEST_SHIFT)
        if one:
            shift = np.full(len(shift), shift.max())
        if (shift > LARGEST_SHIFT).any():
            raise CompileError(f"the channels of {name} differ too much in range to be quantized")
        unit = 2.0**shift * scale / math.sqrt(self.model.shape.dim)
        self.matrices[name] = Matrix(
            weights=np.clip(np.rint(weights / unit[:, None]), -127, 127).astype(np.int8),
            bias=np.zeros(len(unit), np.int32),
            scaling=Scaling(multiplier=np.zeros(len(unit), np.int32), shift=shift.astype(np.int8)),
        )

    def _product(
        self, name: str, a: str, b: str, factor: float, shape: tuple[int, int], ops: list[Op], *, zero_point: int = 0,
        bias: int = 0, transposed: bool = False,
    ) -> str:  # fmt: skip
        """The product of two tensors, times a factor."""
        multiplier, shift = scaled(factor)
        ops.append(
            MatrixProduct(
                name=name, a=a, b=b, output=self._tensor(name, *shape, zero_point=zero_point),
                bias=np.full(1, bias, np.int32), transpose_b=transposed, multiplier=multiplier, shift=shift,
            )
        )  # fmt: skip
        return name

    def _full(self, matrix: str, x: str, name: str, ops: list[Op], *, low: int = -128) -> str:
        """The product of a matrix of weights with ``x``."""
        made = self.matrices[matrix]
        kind = FullyConnected if made.scaling.multiplier.any() else NormalizedProduct
        ops.append(
            kind(
                name=name, input=x, output=self._tensor(name, len(made.bias), scale=self.points.get(name, 1.0)),
                weights=made.weights, bias=made.bias, multiplier=made.scaling.multiplier, shift=made.scaling.shift,
                low=low,
            )
        )  # fmt: skip
        return name

    def _sum(self, name: str, a: str, b: str, ops: list[Op]) -> str:
        # Rounded once: then codes alone give the results, since scales are powers of two apart.
        y = self._tensor(name, self.model.shape.dim, scale=self.points[name])
        ops.append(Add(name=name, a=a, b=b, output=y, rounding=Rounding.SINGLE))
        return name

    def _tensor(self, name: str, *shape: int, scale: float = 1.0, zero_point: int = 0) -> str:
        self.tensors[name] = Tensor(name=name, shape=(1, *shape), scale=scale, zero_point=zero_point)
        return name


def _silu(scale: float) -> tuple[NDArray[np.int16], float]:
    """SiLU of all codes of a scale, and its scale."""
    x = np.arange(-128, 128) * scale
    values = x * (1 + np.tanh(x / 2)) / 2
    unit = steady(np.abs(values).max() / LARGEST_ENTRY).item()
    return np.clip(np.rint(values / unit), -LARGEST_ENTRY - 1, LARGEST_ENTRY).astype(np.int16), unit


def scaled(factor: float) -> tuple[int, int]:
    try:
        return golden.quantize_multiplier(float(factor))
    except ValueError as error:
        raise CompileError(f"the model's layers differ too much in range to be quantized: {error}") from error
