"""Post-training quantization of a decoder, calibrated on text that the float model itself writes.

Scales are symmetric. Weights have one for each output channel. The gain of a normalization is folded into the matrix
behind it, and the normalized channels get scales of their own, which balance their ranges against those of the weights
(as SmoothQuant does): the matrix absorbs them, too. So are the channels of mixed values and of the feed-forward part
scaled. Queries and keys have one scale for each head.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from sateen.errors import CompileError
from sateen.language.decoder import Block, FloatDecoder, Floats, Llama
from sateen.language.integers import (
    LOGIT_BITS,
    MIX_BITS,
    NORM_BITS,
    SCORE_BITS,
    Layer,
    Matrix,
    Quantized,
    Scaling,
)  # fmt: skip
from sateen.language.lowrank import Factors, cut
from sateen.language.sampling import sample
from sateen.language.tokenizer import BEGIN
from sateen.sim import golden

__all__ = ["Quantizer", "Ranges", "calibrate", "quantize", "scaling", "steady", "written"]

SEEDS, TOKENS = 8, 160
"""Texts that calibrate, and their length."""
FIRST_SEED = 1000
"""The seed of the first of them; measurements use others."""
BALANCE = 0.5
"""How much of a channel's range goes into the weights."""
LARGEST_LOGIT = 1 << 13
"""Logits may be four times those of the calibration text before they overflow; those of real models are below 100."""
HEADROOM = 1.25
"""Largest residual value that fits, relative to the largest that was seen."""


def written(model: Llama, seeds: Sequence[int], tokens: int, *, temperature: float = 1.0) -> list[list[int]]:
    """Texts of ``tokens`` tokens each that the float model writes, the beginning token not counted."""
    texts = []
    for seed in seeds:
        decoder, random = FloatDecoder(model, dtype=np.float64), np.random.default_rng(seed)
        text = [BEGIN]
        for _ in range(min(tokens, model.shape.context)):
            text.append(sample(decoder.step(text[-1:])[0], temperature, random))
        texts.append(text)
    return texts


class Ranges:
    """Least and largest value of each channel that was observed."""

    def __init__(self) -> None:
        self.low: dict[str, Floats] = {}
        self.high: dict[str, Floats] = {}

    def __call__(self, name: str, values: Floats) -> None:
        low, high = values.min(axis=0), values.max(axis=0)
        self.low[name] = np.minimum(self.low.get(name, low), low)
        self.high[name] = np.maximum(self.high.get(name, high), high)

    def largest(self, name: str) -> Floats:
        """The largest magnitude of each channel; above 0."""
        return np.maximum(np.maximum(-self.low[name], self.high[name]), 1e-6)


def calibrate(model: Llama, texts: Sequence[Sequence[int]], factors: Sequence[Factors] = ()) -> Ranges:
    """The ranges of all activations over texts; with factors, of the vectors between them, too."""
    ranges = Ranges()
    narrow = {f"{number}.attention.normalized": each.narrow for number, each in enumerate(factors)}

    def observe(name: str, values: Floats) -> None:
        ranges(name, values)
        if name in narrow:
            ranges(name.replace("attention.normalized", "latent"), values @ narrow[name].T)

    for text in texts:
        FloatDecoder(model, dtype=np.float64, observe=observe).step(text[: model.shape.context])
    return ranges


def quantize(model: Llama, texts: Sequence[Sequence[int]] | None = None, *, rank: int | None = None) -> Quantized:
    """A quantized decoder.

    Parameters
    ----------
    texts
        Tokens that activations are calibrated on; by default text that the float model writes.
    rank
        Cut queries, keys and values of each layer to this joint rank (:func:`sateen.language.lowrank.cut`).

    Raises
    ------
    InputError
        If the rank is out of range.
    CompileError
        If its numbers are too large, or differ too much in range.
    """
    if texts is None:
        texts = written(model, range(FIRST_SEED, FIRST_SEED + SEEDS), TOKENS)
    factors: tuple[Factors, ...] = ()
    if rank is not None:
        model, factors = cut(model, rank, texts)
    return Quantizer(model, calibrate(model, texts, factors), factors).quantized()


class Quantizer:
    """Makes a quantized decoder of a float one and of ranges."""

    def __init__(self, model: Llama, ranges: Ranges, factors: Sequence[Factors] = ()):
        self.model, self.ranges, self.factors = model, ranges, factors
        self.matrices: dict[str, Matrix] = {}
        names = [name for name in ranges.high if name.endswith((".middle", ".end"))]
        largest = max([float(ranges.largest(name).max()) for name in names] + [float(np.abs(model.embedding).max())])
        self.spare = 1.0
        """Largest distance of a logit to its middle that a code holds, relative to the largest that was seen."""
        self.residual = steady(HEADROOM * largest / (2**15 - 1)).item()
        """The residual stream's scale."""

    def quantized(self) -> Quantized:
        """The quantized decoder."""
        model, s = self.model, self.model.shape
        layers = tuple(self._layer(number, block) for number, block in enumerate(model.blocks))
        norm = self._normalized("classifier", self._folded(model.classifier, model.norm))
        logits, offset = self._classifier(norm)
        return Quantized(
            name=model.name,
            shape=s,
            embedding=np.rint(model.embedding / self.residual).astype(np.int16),
            epsilon=max(1, round(s.epsilon * s.dim / self.residual**2)),
            layers=layers,
            norm=self._norm_scaling(norm),
            logits=logits,
            offset=offset,
            matrices=self.matrices,
        )

    def _layer(self, number: int, block: Block) -> Layer:
        s = self.model.shape
        qkv = self._folded(np.concatenate([block.query, block.key, block.value]), block.attention_norm)
        first = self.factors[number].narrow if self.factors else qkv
        attention = self._normalized(f"{number}.attention", first)
        if self.factors:
            wide = self.factors[number].wide
            latent = self._balanced(self.ranges.largest(f"{number}.latent"), wide)
            self._matrix(f"{number}.latent", first * attention, latent)
            qkv, entering = wide, latent
        else:
            entering = attention
        query, key, product = self._turned(number)
        value = self._scale(f"{number}.value")
        self._matrix(f"{number}.qkv", qkv * entering, np.concatenate([query, key, value]))
        scores = product / math.sqrt(s.head_dim) * 2.0**SCORE_BITS
        # The values of a head of keys are those of all heads that share it.
        shared = np.repeat(value.reshape(s.kv_heads, 1, -1), s.sharing, axis=1).reshape(-1)
        output = np.asarray(block.output, np.float64)
        mixed = self._balanced(self.ranges.largest(f"{number}.mixed"), output)
        output_scale = self._matrix(f"{number}.output", output * mixed, self._scale(f"{number}.output"))
        gate_up = self._folded(np.concatenate([block.gate, block.up]), block.feed_norm)
        feed = self._normalized(f"{number}.feed", gate_up)
        gate = np.full(s.hidden, self._scale(f"{number}.gate").max())
        up = self._scale(f"{number}.up")
        self._matrix(f"{number}.gate_up", gate_up * feed, np.concatenate([gate, up]))
        silu, silu_scale = _silu(gate[0])
        down = np.asarray(block.down, np.float64)
        hidden = self._balanced(self.ranges.largest(f"{number}.hidden"), down)
        down_scale = self._matrix(f"{number}.down", down * hidden, self._scale(f"{number}.down"))
        return Layer(
            attention_norm=self._norm_scaling(attention),
            scores=scaling(scores),
            mixed=scaling(shared / mixed / 2.0**MIX_BITS),
            output=scaling(output_scale / self.residual),
            feed_norm=self._norm_scaling(feed),
            silu=silu,
            hidden=scaling(silu_scale * up / hidden),
            down=scaling(down_scale / self.residual),
        )

    def _turned(self, number: int) -> tuple[Floats, Floats, Floats]:
        """Scales of queries and keys, the same for both channels of a pair that RoPE turns, and their products, one for
        each head. A pair whose keys have a wide range gets a fine scale of queries."""
        s = self.model.shape
        query, key = (self.ranges.largest(f"{number}.{name}").reshape(-1, s.head_dim // 2, 2).max(axis=2)
                      for name in ("query", "key"))  # fmt: skip
        shared = query.reshape(s.kv_heads, s.sharing, -1).max(axis=1)
        uneven = steady((key / shared) ** BALANCE)
        key_scale = uneven * steady((key / uneven).max(axis=1, keepdims=True) / 127)
        uneven = np.repeat(uneven, s.sharing, axis=0)
        query_scale = steady((query * uneven).max(axis=1, keepdims=True) / 127) / uneven
        products = query_scale[:, 0] * np.repeat(key_scale, s.sharing, axis=0)[:, 0]
        return np.repeat(query_scale, 2), np.repeat(key_scale, 2), products

    def _classifier(self, norm: Floats) -> tuple[Scaling, NDArray[np.int32]]:
        """The classifier, whose codes stand for each logit's distance to the middle of its range."""
        low, high = self.ranges.low["logits"], self.ranges.high["logits"]
        if (largest := max(-low.min(), high.max())) >= LARGEST_LOGIT:
            raise CompileError(
                f"model {self.model.name!r}: its logits reach {largest:,.0f}, more than the {LARGEST_LOGIT:,} that "
                f"their 32 bits hold"
            )
        middle = steady((low + high) / 2)
        weights = self._folded(self.model.classifier, self.model.norm) * norm
        scale = self._logit_scales(steady(self.spare * np.maximum((high - low) / 2, 1e-6) / 127), weights)
        self._matrix("classifier", weights, scale, offset=middle)
        return scaling(scale * 2.0**LOGIT_BITS), np.rint(middle * 2.0**LOGIT_BITS).astype(np.int32)

    def _logit_scales(self, scale: Floats, weights: Floats) -> Floats:
        """Scales of the classifier's codes, from those with which all logits fit that were seen."""
        return scale

    def _matrix(self, name: str, weights: Floats, scale: Floats, offset: ArrayLike = 0.0) -> Floats:
        """Quantizes a matrix that takes codes and gives codes of ``scale``, which it returns."""
        unit = steady(np.maximum(np.abs(weights).max(axis=1), 1e-9) / 127)
        self.matrices[name] = Matrix(
            weights=np.clip(np.rint(weights / unit[:, None]), -127, 127).astype(np.int8),
            bias=np.rint(-np.broadcast_to(offset, unit.shape) / unit).astype(np.int32),
            scaling=scaling(unit / scale),
        )
        return scale

    def _folded(self, weights: Floats, gain: Floats) -> Floats:
        return np.asarray(weights, np.float64) * np.asarray(gain, np.float64)

    def _scale(self, name: str) -> Floats:
        """Scales of channels whose codes use their whole range."""
        return steady(self.ranges.largest(name) / 127)

    def _normalized(self, name: str, weights: Floats) -> Floats:
        return self._balanced(self.ranges.largest(f"{name}.normalized"), weights)

    def _balanced(self, largest: Floats, weights: Floats) -> Floats:
        """Scales of the channels that a matrix takes: their ranges and those of its columns share the unevenness."""
        columns = np.maximum(np.abs(weights).max(axis=0), 1e-9)
        wanted = largest**BALANCE / columns ** (1 - BALANCE)
        return steady(wanted * (largest / wanted).max() / 127)

    def _norm_scaling(self, scales: Floats) -> Scaling:
        """Values divided by the root of the sum of squares, to codes of their root mean square."""
        return scaling(math.sqrt(self.model.shape.dim) / scales / 2.0**NORM_BITS)


def _silu(scale: float) -> tuple[NDArray[np.int16], float]:
    """SiLU of all codes of a scale, in 16 bits, and its scale."""
    x = np.arange(-128, 128) * scale
    values = x * (1 + np.tanh(x / 2)) / 2
    unit = steady(np.abs(values).max() / (2**15 - 1)).item()
    return np.clip(np.rint(values / unit), -(2**15), 2**15 - 1).astype(np.int16), unit


def scaling(factors: Any) -> Scaling:
    """Factors, one a channel; :class:`CompileError` if one is out of range."""
    try:
        pairs = [golden.quantize_multiplier(float(factor)) for factor in factors]
    except ValueError as error:
        raise CompileError(f"the model's channels differ too much in range to be quantized: {error}") from error
    multiplier, shift = zip(*pairs, strict=True)
    return Scaling(multiplier=np.array(multiplier, np.int32), shift=np.array(shift, np.int8))


def steady(values: ArrayLike) -> NDArray[np.float64]:
    """Values with 16 bits of mantissa: what is computed from them does not depend on the order of a machine's sums."""
    mantissa, exponent = np.frexp(np.asarray(values, np.float64))
    return np.ldexp(np.rint(np.ldexp(mantissa, 16)), exponent - 16)
