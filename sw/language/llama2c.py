"""Files of llama2.c: models of version 0, and tokenizers.

A model's file is seven int32 (dim, hidden, layers, heads, key/value heads, vocabulary, context) and float32 arrays: the
embedding, then each kind of array of all layers, the last normalization, two tables of RoPE that are not read, and a
classifier, unless the vocabulary is positive: then it is the embedding. A tokenizer's file is the longest token's
length, then a score, a length and the bytes of each token.
"""

from __future__ import annotations

import struct
from pathlib import Path

import numpy as np

from sateen.errors import CompileError, ModelFileError
from sateen.files import read_bytes
from sateen.language.decoder import Block, Floats, Llama, Shape
from sateen.language.tokenizer import Tokenizer

__all__ = ["load_model", "load_tokenizer"]

HEADER = struct.Struct("<7i")
MAGIC = b"24ka"
"""What files of versions 1 and 2 begin with."""


def load_model(path: Path) -> Llama:
    """Reads a model.

    Raises
    ------
    ModelFileError
        If the file is damaged, or is something else.
    """
    data = read_bytes(path)
    if data[:4] == MAGIC:
        raise ModelFileError(f"{path} is a llama2.c file of a later version; export it with --version 0")
    if len(data) < HEADER.size:
        raise ModelFileError(f"{path} is no llama2.c model: it ends within its header")
    dim, hidden, layers, heads, kv_heads, vocabulary, context = HEADER.unpack_from(data)
    try:
        shape = Shape(
            dim=dim, hidden=hidden, layers=layers, heads=heads, kv_heads=kv_heads, vocabulary=abs(vocabulary),
            context=context,
        )  # fmt: skip
    except (CompileError, ZeroDivisionError) as error:
        raise ModelFileError(f"{path} is no llama2.c model, or damaged: {error}") from error
    return _Arrays(path, data, shape, shared=vocabulary > 0).model()


class _Arrays:
    """The arrays of a file, in order."""

    def __init__(self, path: Path, data: bytes, shape: Shape, *, shared: bool):
        self.path, self.data, self.shape, self.shared = path, data, shape, shared
        self.place = HEADER.size
        s = shape
        tables = s.context * s.head_dim
        values = s.layers * (2 * s.dim + 2 * s.dim * s.dim + 2 * s.kv_dim * s.dim + 3 * s.hidden * s.dim)
        values += s.vocabulary * s.dim * (1 if shared else 2) + s.dim + tables
        expected = HEADER.size + 4 * values
        if len(data) != expected:
            raise ModelFileError(
                f"{path} is no llama2.c model, or damaged: its header asks for {expected:,} bytes, it has {len(data):,}"
            )

    def take(self, *size: int) -> Floats:
        """The next array."""
        count = int(np.prod(size))
        array = np.frombuffer(self.data, "<f4", count, self.place).reshape(size).astype(np.float32)
        self.place += 4 * count
        return array

    def model(self) -> Llama:
        """All of them."""
        s = self.shape
        embedding = self.take(s.vocabulary, s.dim)
        sizes = {
            "attention_norm": (s.dim,), "query": (s.dim, s.dim), "key": (s.kv_dim, s.dim), "value": (s.kv_dim, s.dim),
            "output": (s.dim, s.dim), "feed_norm": (s.dim,), "gate": (s.hidden, s.dim), "down": (s.dim, s.hidden),
            "up": (s.hidden, s.dim),
        }  # fmt: skip
        arrays = {name: self.take(s.layers, *size) for name, size in sizes.items()}
        norm = self.take(s.dim)
        self.take(2, s.context, s.head_dim // 2)
        classifier = embedding if self.shared else self.take(s.vocabulary, s.dim)
        blocks = tuple(Block(**{name: array[i] for name, array in arrays.items()}) for i in range(s.layers))
        try:
            return Llama(
                name=self.path.stem, shape=s, embedding=embedding, blocks=blocks, norm=norm, classifier=classifier
            )
        except CompileError as error:
            raise ModelFileError(f"{self.path} is damaged: {error}") from error


def load_tokenizer(path: Path, vocabulary: int) -> Tokenizer:
    """Reads the tokenizer of a model with ``vocabulary`` tokens.

    Raises
    ------
    ModelFileError
        If the file is damaged, or has another number of tokens.
    """
    data = read_bytes(path)
    place, pieces, scores = 4, list[bytes](), list[float]()
    while len(pieces) < vocabulary and place + 8 <= len(data):
        score, length = struct.unpack_from("<fi", data, place)
        place += 8
        if not 0 <= length <= len(data) - place:
            break
        pieces.append(data[place : place + length])
        scores.append(score)
        place += length
    if len(pieces) != vocabulary or place != len(data):
        raise ModelFileError(
            f"{path} is no llama2.c tokenizer of {vocabulary} tokens, or damaged; give the one that the model was "
            f"trained with: --tokenizer FILE"
        )
    return Tokenizer(pieces, scores)
