"""Quantization of microGPT to int8 alone; see :mod:`sateen.language.int8`.

As :mod:`sateen.language.int8_quantizing` has it, with ranges from some of the names that it was trained on. The sum of
a token's and a position's embedding is normalized twice, which is once; so what it begins with, and queries, keys and
values, are products of the same normalized vector, the first one by a matrix with one weight for each channel.
"""

from __future__ import annotations

import math
from typing import Any

import numpy as np

from sateen.graph.ops import Op, Reshape
from sateen.language.decoder import Floats
from sateen.language.int8 import Attention, Int8Layer, Int8Model
from sateen.language.int8_quantizing import LOGIT_ROOM, SLACK, TAIL, Int8Quantizer, scaled
from sateen.language.integers import LOGIT_BITS
from sateen.language.micro import FloatMicro, Letters, Micro
from sateen.language.micro_training import names
from sateen.language.quantizing import BALANCE, Ranges, scaling, steady

__all__ = ["quantize_micro"]

EACH = 16
"""Of so many names one gives ranges."""


def quantize_micro(model: Micro) -> Int8Model:
    """microGPT in int8."""
    ranges, end = Ranges(), Letters().end
    for text in names()[::EACH]:
        length = 1 + int(np.argmax(text[1:] == end)) if (text[1:] == end).any() else len(text) - 1
        FloatMicro(model, observe=ranges).step(text[:length].tolist())
    return _MicroQuantizer(model, ranges).made()


class _MicroQuantizer(Int8Quantizer):
    """Makes operators of the float decoder and of ranges."""

    def __init__(self, model: Micro, ranges: Ranges):
        self.micro, self.ranges = model, ranges
        self.model: Any = model
        self.matrices, self.tensors = {}, {}
        # What is normalized is at most the root of the number of channels: the largest code.
        unit = math.sqrt(model.shape.dim) / 127
        largest = {name: float(ranges.largest(name).max()) for name in ("output", "middle", "down", "end")}
        self.points = {
            name: unit * 2.0 ** math.ceil(math.log2(each / 127 / unit) - SLACK) for name, each in largest.items()
        }
        self.points["normalized"] = unit

    def made(self) -> Int8Model:
        m, s = self.micro, self.micro.shape
        unit = steady(max(np.abs(m.embedding).max(), np.abs(m.places).max()) / 127).item()
        largest = float(np.abs(m.embedding).max() + np.abs(m.places).max())
        self.points["start"] = unit * 2.0 ** math.ceil(math.log2(largest / 127 / unit) - SLACK)
        before: list[Op] = []
        after: list[Op] = []
        for name in ("embedded", "placed"):
            self._tensor(name, s.dim, scale=unit)
        start = self._sum("start", "embedded", "placed", before)
        self._normalized_matrix("normalized", np.eye(s.dim), np.full(s.dim, self.points["normalized"]))
        x = self._full("normalized", start, "normalized", before)
        attention, mixed = self._attention()
        self._full("qkv", start, "0.qkv", before)
        heads = self._tensor("0.heads", 3 * s.heads, s.head_dim)
        before.append(Reshape(name=heads, input="0.qkv", output=heads))
        self._matrix("output", m.output * mixed, np.full(s.dim, self.points["output"]))
        self._full("output", self._tensor("0.mixed", s.dim), "output", after)
        middle = self._sum("middle", x, "output", after)
        hidden = self._fitted(m.up, self._balanced(self.ranges.largest("hidden"), m.down))
        self._normalized_matrix("up", m.up, hidden)
        self._full("up", middle, "hidden", after, low=0)
        self._matrix("down", m.down * hidden, np.full(s.dim, self.points["down"]))
        end = self._sum("end", middle, self._full("down", "hidden", "down", after), after)
        low, high = self.ranges.low["logits"], self.ranges.high["logits"]
        offset, scale = steady((low + high) / 2), steady(LOGIT_ROOM * (high - low) / 2 / 127)
        self._matrix("classifier", m.classifier * self.points["end"], scale, offset=offset)
        last: list[Op] = []
        self._full("classifier", end, "logits", last)
        return Int8Model(
            name=m.name,
            shape=s,
            embedding=np.rint(m.embedding / unit).astype(np.int8),
            places=np.rint(m.places / unit).astype(np.int8),
            layers=(Int8Layer(before=tuple(before), attention=attention, after=tuple(after)),),
            last=tuple(last),
            tensors=self.tensors,
            logits=scaling(scale * 2.0**LOGIT_BITS),
            offset=np.rint(offset * 2.0**LOGIT_BITS).astype(np.int32),
            weights=m.weights,
        )

    def _attention(self) -> tuple[Attention, Floats]:
        """The attention's numbers, and the scales of mixed values. Makes the matrix before."""
        m, s = self.micro, self.micro.shape
        query, key = (self.ranges.largest(name).reshape(s.heads, -1) for name in ("query", "key"))
        uneven = steady((key / query) ** BALANCE)
        # A channel's scales have the same product in all of a head, then in all heads.
        keys = uneven * steady((key / uneven).max(axis=1, keepdims=True) / 127)
        queries = steady((query * uneven).max(axis=1, keepdims=True) / 127) / uneven
        products = (queries * keys)[:, :1]
        queries = queries * (products.max() / products)
        value = self._fitted(m.value, self._scale("value"))
        qkv = np.concatenate([m.query, m.key, m.value])
        self._normalized_matrix("qkv", qkv, np.concatenate([queries.ravel(), keys.ravel(), value]))
        highest = max(float(self.ranges.high["peaks"].max()), 0.0)
        lowest = min(float(self.ranges.low["peaks"].min()) - TAIL, 0.0)
        score = steady((highest - lowest) / 255).item()
        multiplier, shift = scaled(products.max() / math.sqrt(s.head_dim) / score)
        mix_multiplier, mix_shift = scaled(1 / 256)
        attention = Attention(
            multiplier=multiplier, shift=shift, scale=score,
            zero_point=int(np.clip(np.rint(127 - highest / score), -128, 127)),
            mix_multiplier=mix_multiplier, mix_shift=mix_shift,
        )  # fmt: skip
        return attention, value
