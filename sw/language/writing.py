"""Writing: a decoder's own tokens, one after the other, or several that were guessed and then checked at once."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import numpy as np

from sateen.errors import InputError
from sateen.language.integers import AnyDecoder
from sateen.language.sampling import sample

__all__ = ["Writer", "guess"]

LONGEST = 4
"""Tokens at the end of a text that a guess looks for earlier in it, at most."""


def guess(text: Sequence[int], count: int) -> list[int]:
    """At most ``count`` tokens that may follow: those that followed the last place where the text's end, as much of it
    as possible, stood before."""
    for length in range(min(LONGEST, len(text) - 1), 0, -1):
        end = list(text[-length:])
        for start in range(len(text) - length - 1, -1, -1):
            if list(text[start : start + length]) == end:
                return list(text[start + length : start + length + count])
    return []


class Writer:
    """Writes on from a prompt.

    Parameters
    ----------
    decoder
        Has taken no tokens yet.
    prompt
        Tokens, the beginning token first.
    temperature
        0: the likeliest token each time; else drawn, with 1 as the model says.
    ahead
        Tokens that are guessed from what was written, and checked in one step. The text is the same.
    ends
        Tokens that end the text; they are not written.

    Raises
    ------
    InputError
        If the prompt is empty or has more tokens than the model's context, or guesses are asked for with a
        temperature.
    """

    def __init__(
        self, decoder: AnyDecoder, prompt: Sequence[int], *, temperature: float = 0.0, seed: int = 1, ahead: int = 0,
        ends: Sequence[int] = (),
    ):  # fmt: skip
        context = decoder.model.shape.context
        if not prompt:
            raise InputError("a text begins with at least one token")
        if decoder.cache.full and len(prompt) > context:
            raise InputError(f"the prompt has {len(prompt)} tokens, the model's context {context}; shorten it")
        if not (np.isfinite(temperature) and temperature >= 0):
            raise InputError(f"temperature must be 0 or more, not {temperature}")
        if ahead and not decoder.cache.full:
            raise InputError("guessed tokens cannot be taken back from a cache with a budget: use one or the other")
        if ahead and temperature:
            raise InputError("guessed tokens are checked against the likeliest: use a temperature of 0 with them")
        self.decoder, self.text, self.ahead, self.ends = decoder, list(prompt), ahead, frozenset(ends)
        self.temperature, self.random = temperature, np.random.default_rng(seed)
        self.ended = ""
        """Why the text ended, if not by the number of tokens."""
        self.steps = 0
        """Steps of the decoder after the prompt's: passes over its weights."""
        self._next: list[int] = []
        """Tokens that are chosen and not written yet."""
        for start in range(0, len(prompt) - 1, 1 + ahead):
            decoder.step(self.text[:-1][start : start + 1 + ahead])

    def write(self, count: int) -> Iterator[int]:
        """At most ``count`` more tokens, each as soon as it is known."""
        for _ in range(count):
            if not self._next:
                if not self._room():
                    self.ended = self.decoder.cache.full
                    return
                self._next = self._step()
            token = self._next.pop(0)
            if token in self.ends:
                self.ended = "the model ended the text"
                return
            self.text.append(token)
            yield token

    def _room(self) -> int:
        """Tokens that the context still takes."""
        cache = self.decoder.cache
        return self.decoder.model.shape.context - cache.position if cache.full else 1 + self.ahead

    def _step(self) -> list[int]:
        """The next tokens: one, and those that were guessed right."""
        guessed = guess(self.text, min(self.ahead, self._room() - 1))
        logits = self.decoder.step([self.text[-1], *guessed])
        self.steps += 1
        if not guessed:
            return [sample(logits[0], self.temperature, self.random)]
        likeliest = [int(row.argmax()) for row in logits]
        right = next((i for i, token in enumerate(guessed) if token != likeliest[i]), len(guessed))
        self.decoder.cache.forget(len(guessed) - right)
        return likeliest[: right + 1]
