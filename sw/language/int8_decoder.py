"""The decoder in int8 at work: its golden model."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from sateen.errors import DifferenceError, InputError
from sateen.graph.ops import Array
from sateen.language.int8 import Int8Model
from sateen.language.integers import AnyDecoder, Cache

__all__ = ["Int8Decoder"]


class Companion(Protocol):
    """Whatever computes the same decoder."""

    def step(self, tokens: Sequence[int]) -> NDArray[np.int32]:
        """As :meth:`Int8Decoder.step`."""


class Int8Decoder(AnyDecoder):
    """The decoder by the golden model of its operators, with all keys and values so far.

    Parameters
    ----------
    companion
        Computes the same, on a device: the logits of each token are compared.
    """

    model: Int8Model

    def __init__(self, model: Int8Model, companion: Companion | None = None):
        self.model, self.companion = model, companion
        self.cache = Cache(model.shape)
        self.compared = 0
        """Tokens whose logits were compared."""
        self.tensors: dict[str, Array] = {}
        """All tensors of the last token, by name."""

    def step(self, tokens: Sequence[int]) -> NDArray[np.int32]:
        """Takes the next tokens; logits with :data:`~sateen.language.integers.LOGIT_BITS`, [tokens, vocabulary].

        Raises
        ------
        InputError
            If the context is full.
        DifferenceError
            If the companion's logits are not the same.
        """
        model, cache, count = self.model, self.cache, len(tokens)
        if cache.position + count > model.shape.context:
            raise InputError(f"the context of {model.shape.context} tokens is full")
        places = range(cache.position, cache.position + count)
        given = [model.given(token, place) for token, place in zip(tokens, places, strict=True)]
        values: dict[str, Array] = {name: np.array([each[name] for each in given]) for name in model.inputs}
        for number, layer in enumerate(model.layers):
            for op in layer.before:
                values[op.output] = op.execute(model.tensors, values)
            values[f"{number}.mixed"] = self._attention(number, values)
            for op in layer.after:
                values[op.output] = op.execute(model.tensors, values)
        for op in model.last:
            values[op.output] = op.execute(model.tensors, values)
        cache.position += count
        self.tensors |= {name: array[-1:] for name, array in values.items()}
        logits = (model.logits(values["logits"]) + model.offset).astype(np.int32)
        if self.companion is not None:
            self._compare(logits, self.companion.step(tokens), places)
        return logits

    def _compare(self, logits: NDArray[np.int32], theirs: NDArray[np.int32], places: range) -> None:
        for place, mine, other in zip(places, logits, theirs, strict=True):
            if not np.array_equal(mine, other):
                raise DifferenceError(f"the device's logits behind token {place} differ from the golden model's")
        self.compared += len(places)

    def _attention(self, number: int, values: dict[str, Array]) -> Array:
        """The mixed values, token by token."""
        s, cache, rows = self.model.shape, self.cache, []
        heads, turned = values[f"{number}.heads"], values[f"{number}.{self.model.turned}"]
        for place in range(len(heads)):
            here = {f"{number}.{self.model.turned}": turned[place : place + 1]}
            here[f"{number}.heads"] = heads[place : place + 1]
            for name, held in (("keys", cache.keys), ("values", cache.values)):
                here[f"{number}.{name}.before"] = held[number].swapaxes(0, 1)[None]
            tensors, ops = self.model.attention(number, len(cache.keys[number]) + 1)
            tensors |= self.model.tensors
            for op in ops:
                here[op.output] = op.execute(tensors, here)
            cache.add(
                number,
                turned[place : place + 1, s.heads : s.heads + s.kv_heads],
                heads[place : place + 1, s.heads + s.kv_heads :],
            )
            self.attended(number, 128 + here[f"{number}.shares"].reshape(s.heads, -1).astype(np.int64))
            rows.append(here[f"{number}.mixed"])
            self.tensors |= here
        return np.concatenate(rows)
