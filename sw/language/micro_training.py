"""Training of microGPT on a list of names, in some seconds of NumPy:

    python -m sateen.language.micro_training [WEIGHTS.npz]

All names are one batch, filled up behind their ends; gradients are written out by hand, in reverse order of what
:class:`sateen.language.micro.FloatMicro` computes. Adam, with the learning rate falling to zero.
"""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from sateen.language.micro import BOUNDARY, MATRICES, MICRO, NAMES, WEIGHTS, Letters

__all__ = ["main", "names", "train"]

STEPS, BATCH, RATE, SEED = 1000, 32, 0.01, 1
BETAS, TINY = (0.9, 0.99), 1e-8
DEVIATION = 0.08
"""Of the weights at the beginning."""

Floats = NDArray[np.float64]
Weights = dict[str, Floats]


def names() -> NDArray[np.int64]:
    """Tokens of all names with a boundary before, [names, context + 1]; behind their ends boundaries."""
    words, letters = NAMES.read_text().split(), Letters()
    rows = np.full((len(words), MICRO.context + 1), BOUNDARY)
    for row, word in zip(rows, words, strict=True):
        tokens = letters.encode(word)[: MICRO.context + 1]
        row[: len(tokens)] = tokens
    return rows


def train(steps: int = STEPS, seed: int = SEED) -> tuple[Weights, float]:
    """Weights, and the loss of all names: nats a token."""
    random, text = np.random.default_rng(seed), names()
    weights = {name: random.normal(0, DEVIATION, shape) for name, shape in MATRICES.items()}
    mean, square = ({name: np.zeros(shape) for name, shape in MATRICES.items()} for _ in range(2))
    for step in range(1, steps + 1):
        batch = text[random.integers(0, len(text), BATCH)]
        _, gradients = _loss(weights, batch)
        rate = RATE * (1 - (step - 1) / steps)
        for name, gradient in gradients.items():
            mean[name] += (1 - BETAS[0]) * (gradient - mean[name])
            square[name] += (1 - BETAS[1]) * (gradient**2 - square[name])
            first, second = mean[name] / (1 - BETAS[0] ** step), square[name] / (1 - BETAS[1] ** step)
            weights[name] -= rate * first / (np.sqrt(second) + TINY)
    return weights, _loss(weights, text)[0]


def _loss(w: Weights, text: NDArray[np.int64]) -> tuple[float, Weights]:
    """The loss of a batch, and its gradients."""
    s, tokens, wanted = MICRO, text[:, :-1], text[:, 1:]
    count, length = tokens.shape
    # The boundary that ends a name counts, those behind it do not.
    ends = np.cumsum(wanted == BOUNDARY, axis=1)
    counts = (ends == 0) | ((ends == 1) & (wanted == BOUNDARY))
    start = w["embedding"][tokens] + w["places"][:length]
    x0, root0 = _norm(start)
    y1, root1 = _norm(x0)
    query, key, value = (_split(y1 @ w[name].T) for name in ("query", "key", "value"))
    scores = query @ key.swapaxes(-1, -2) / np.sqrt(s.head_dim)
    scores = np.where(np.triu(np.ones((length, length), bool), 1), -np.inf, scores)
    shares = _softmax(scores)
    mixed = _joined(shares @ value)
    x1 = x0 + mixed @ w["output"].T
    y2, root2 = _norm(x1)
    hidden = np.maximum(y2 @ w["up"].T, 0)
    x2 = x1 + hidden @ w["down"].T
    likely = _softmax(x2 @ w["classifier"].T)
    row, place = np.indices(wanted.shape)
    loss = float(-(np.log(likely[row, place, wanted]) * counts).sum() / counts.sum())

    g: Weights = {}
    d = likely.copy()
    d[row, place, wanted] -= 1
    d *= (counts / counts.sum())[..., None]
    g["classifier"], d2 = _outer(d, x2), d @ w["classifier"]
    g["down"], d_hidden = _outer(d2, hidden), (d2 @ w["down"]) * (hidden > 0)
    g["up"], d1 = _outer(d_hidden, y2), d2 + _norm_back(d_hidden @ w["up"], y2, root2)
    g["output"], d_mixed = _outer(d1, mixed), _split(d1 @ w["output"])
    d_shares, d_value = d_mixed @ value.swapaxes(-1, -2), shares.swapaxes(-1, -2) @ d_mixed
    d_scores = shares * (d_shares - (d_shares * shares).sum(axis=-1, keepdims=True)) / np.sqrt(s.head_dim)
    heads = {"query": d_scores @ key, "key": d_scores.swapaxes(-1, -2) @ query, "value": d_value}
    d_y1 = np.zeros_like(y1)
    for name, each in heads.items():
        g[name] = _outer(_joined(each), y1)
        d_y1 += _joined(each) @ w[name]
    d_start = _norm_back(d1 + _norm_back(d_y1, y1, root1), x0, root0)
    g["places"] = np.zeros_like(w["places"])
    g["places"][:length] = d_start.sum(axis=0)
    g["embedding"] = np.zeros_like(w["embedding"])
    np.add.at(g["embedding"], tokens.ravel(), d_start.reshape(count * length, -1))
    return loss, g


def _norm(x: Floats) -> tuple[Floats, Floats]:
    root = np.sqrt((x * x).mean(axis=-1, keepdims=True) + MICRO.epsilon)
    return x / root, root


def _norm_back(d: Floats, y: Floats, root: Floats) -> Floats:
    return (d - y * (d * y).mean(axis=-1, keepdims=True)) / root


def _softmax(x: Floats) -> Floats:
    exponentials = np.exp(x - x.max(axis=-1, keepdims=True))
    return np.asarray(exponentials / exponentials.sum(axis=-1, keepdims=True))


def _split(x: Floats) -> Floats:
    """[batch, length, dim] to [batch, heads, length, head_dim]."""
    return x.reshape(*x.shape[:2], MICRO.heads, -1).swapaxes(1, 2)


def _joined(x: Floats) -> Floats:
    return x.swapaxes(1, 2).reshape(x.shape[0], x.shape[2], -1)


def _outer(d: Floats, x: Floats) -> Floats:
    return d.reshape(-1, d.shape[-1]).T @ x.reshape(-1, x.shape[-1])


def main(arguments: list[str]) -> None:
    """Writes the weights, rounded to float16."""
    weights, loss = train()
    target = Path(arguments[0]) if arguments else WEIGHTS
    rounded: dict[str, Any] = {name: array.astype(np.float16) for name, array in weights.items()}
    np.savez_compressed(target, **rounded)
    print(f"{loss:.4f} nats a token; {target}")


if __name__ == "__main__":
    main(sys.argv[1:])
