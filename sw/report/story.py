"""A text that a language model wrote, as one self-contained page of HTML: what each token looked at, what the model
thought would follow, and what its cache kept. Needs the extra ``report``."""

from __future__ import annotations

import base64
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from sateen.language import Shape, Step, Tokenizer
from sateen.report.templates import render

__all__ = ["LIKELY", "MOST_BYTES", "story"]

LIKELY = 5
"""Tokens that are shown with their likelihoods."""
MOST_BYTES = 8_000_000
"""Of attention in a page; of larger texts and models, means over heads are shown, or over all layers, too."""

Bytes = NDArray[np.uint8]


def story(
    title: str, facts: Mapping[str, str], text: Sequence[int], prompt: int, steps: Mapping[int, Step],
    words: Tokenizer, shape: Shape,
) -> str:  # fmt: skip
    """The page of a text.

    Parameters
    ----------
    facts
        What the page says of the run, by heading.
    text
        All tokens, the prompt's first.
    prompt
        How many are the prompt's.
    steps
        Those of the tokens that the decoder took, by place, from 0 on.
    """
    taken = [steps[place] for place in range(len(steps))]
    heads, attention = _attention(taken, shape)
    data = {
        "tokens": [words.shown(token) for token in text],
        "prompt": prompt,
        "heads": heads,
        "attention": _encoded(attention),
        "kept": _encoded(kept) if (kept := _kept(taken, shape)) else None,
        "following": [
            [[words.shown(int(token)), float(step.following[token])] for token in _likeliest(step, text, place)]
            for place, step in enumerate(taken)
        ],
    }
    return render("story.html.j2", title=title, facts=facts, data=data)


def _likeliest(step: Step, text: Sequence[int], place: int) -> list[int]:
    """The likeliest tokens, and the one that follows if it is not among them."""
    found = [int(token) for token in np.argsort(-step.following, kind="stable")[:LIKELY]]
    following = text[place + 1 : place + 2]
    return [*found, *(token for token in following if token not in found)]


def _attention(steps: Sequence[Step], shape: Shape) -> tuple[list[str], list[Bytes]]:
    """Names of what is shown, and for each step their shares of the tokens so far in 255ths: [names, tokens]."""
    count = len(steps) * (len(steps) + 1) // 2
    if count * shape.layers * shape.heads <= MOST_BYTES:
        names = [f"layer {layer + 1}, head {head + 1}" for layer in range(shape.layers) for head in range(shape.heads)]
    elif count * shape.layers <= MOST_BYTES:
        names = [f"layer {layer + 1}, mean of its heads" for layer in range(shape.layers)]
    else:
        names = ["mean of all layers and heads"]
    found = []
    for place, step in enumerate(steps):
        shares = np.zeros((shape.layers, shape.heads, place + 1))
        for layer, look in enumerate(step.looks):
            np.put_along_axis(shares[layer], np.repeat(look.places, shape.sharing, axis=0), look.shares, axis=1)
        means = shares.reshape(len(names), -1, place + 1).mean(axis=1)
        found.append(np.rint(255 * means).astype(np.uint8))
    return names, found


def _kept(steps: Sequence[Step], shape: Shape) -> list[Bytes]:
    """For each step and token so far, how many 255ths of the layers and heads of keys had it; empty if all had all."""
    if all(look.places.shape[1] == place + 1 for place, step in enumerate(steps) for look in step.looks):
        return []
    found = []
    for place, step in enumerate(steps):
        counts = np.zeros(place + 1, np.int64)
        for look in step.looks:
            np.add.at(counts, look.places, 1)
        found.append(np.rint(255 * counts / (shape.layers * shape.kv_heads)).astype(np.uint8)[None])
    return found


def _encoded(rows: Sequence[Any]) -> str:
    return base64.b64encode(b"".join(row.tobytes() for row in rows)).decode()
