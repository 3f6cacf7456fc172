"""GGUF files of the Llama family, through the ``gguf`` package: tensors of F32, F16 and Q8_0, and SentencePiece's
tokenizers."""

from __future__ import annotations

import math
import struct
from pathlib import Path
from typing import Any

import numpy as np

from sateen.errors import CompileError, ModelFileError, SateenError
from sateen.extras import install_hint
from sateen.files import LARGEST, read_bytes
from sateen.language.decoder import Block, Floats, Llama, Shape
from sateen.language.tokenizer import BEGIN, END, Tokenizer

__all__ = ["MAGIC", "load_gguf"]

MAGIC = b"GGUF"
TYPES = ("F32", "F16", "Q8_0")
BLOCK = {
    "attention_norm": "attn_norm", "query": "attn_q", "key": "attn_k", "value": "attn_v", "output": "attn_output",
    "feed_norm": "ffn_norm", "gate": "ffn_gate", "up": "ffn_up", "down": "ffn_down",
}  # fmt: skip
"""Names of a layer's tensors in a file."""
SPACE = "▁".encode()
VERSIONS = (2, 3)
SIZES = {0: 1, 1: 1, 2: 2, 3: 2, 4: 4, 5: 4, 6: 4, 7: 1, 10: 8, 11: 8, 12: 8}
"""Bytes of a field's value, by its type's number."""
STRING, ARRAY = 8, 9
MOST_DIMENSIONS = 4


def load_gguf(path: Path) -> tuple[Llama, Tokenizer]:
    """Reads a model and its tokenizer.

    Raises
    ------
    ModelFileError
        If the file is damaged, or lacks something.
    CompileError
        If its architecture, a tensor, a tensor's type or its tokenizer is none of those above.
    """
    try:
        from gguf import GGUFReader
    except ImportError as error:
        raise CompileError(f"{path} is a GGUF file, which needs the gguf package; {install_hint('gguf')}") from error
    check_structure(read_bytes(path), path)
    try:
        return _File(path, GGUFReader(path)).load()
    except SateenError:
        raise
    except MemoryError:
        raise
    except Exception as error:
        # The reader's own errors are of many types.
        raise ModelFileError(f"{path} is a damaged GGUF file ({type(error).__name__}: {error})") from error


def check_structure(data: bytes, path: Path) -> None:
    """Follows a file's lengths and counts, which the package takes as they are, even beyond the file's end.

    Raises
    ------
    ModelFileError
        If they lead out of the file, or its version or a type is unknown.
    """
    place = len(MAGIC)

    def number(form: str) -> int:
        nonlocal place
        size = struct.calcsize(form)
        if place + size > len(data):
            raise ModelFileError(f"{path} is a damaged GGUF file: it ends in the middle of its fields")
        place += size
        return int(struct.unpack_from(form, data, place - size)[0])

    def skip(count: int) -> None:
        nonlocal place
        if not 0 <= count <= len(data) - place:
            raise ModelFileError(f"{path} is a damaged GGUF file: a field is longer than the file")
        place += count

    def value(kind: int) -> None:
        if kind == STRING:
            skip(number("<Q"))
        elif kind in SIZES:
            skip(SIZES[kind])
        else:
            raise ModelFileError(f"{path} is a damaged GGUF file: a field's type is {kind}")

    if (version := number("<I")) not in VERSIONS:
        raise ModelFileError(f"{path} is a GGUF file of version {version}, or damaged; versions 2 and 3 are read")
    tensors, fields = number("<Q"), number("<Q")
    for _ in range(fields):
        skip(number("<Q"))
        kind = number("<I")
        if kind != ARRAY:
            value(kind)
            continue
        kind, count = number("<I"), number("<Q")
        if kind in SIZES:
            skip(SIZES[kind] * count)
            continue
        for _ in range(count):
            value(kind)
    for _ in range(tensors):
        skip(number("<Q"))
        dimensions = number("<I")
        if dimensions > MOST_DIMENSIONS:
            raise ModelFileError(f"{path} is a damaged GGUF file: a tensor has {dimensions} dimensions")
        if math.prod(number("<Q") for _ in range(dimensions)) > LARGEST:
            raise ModelFileError(f"{path} is a damaged GGUF file: a tensor has more than {LARGEST:,} values")
        skip(4 + 8)


class _File:
    """A file that is open."""

    def __init__(self, path: Path, reader: Any):
        self.path, self.reader = path, reader
        self.tensors = {tensor.name: tensor for tensor in reader.tensors}
        self.taken: set[str] = set()

    def load(self) -> tuple[Llama, Tokenizer]:
        """Model and tokenizer."""
        architecture = self.field("general.architecture")
        if architecture != "llama":
            raise CompileError(f"{self.path}: its architecture is {architecture!r}; only 'llama' is read")
        shape, tokenizer = self.shape(), self.tokenizer()
        embedding = self.tensor("token_embd.weight")
        blocks = tuple(
            Block(**{name: self.tensor(f"blk.{i}.{key}.weight") for name, key in BLOCK.items()})
            for i in range(shape.layers)
        )
        norm = self.tensor("output_norm.weight")
        classifier = self.tensor("output.weight") if "output.weight" in self.tensors else embedding
        if unknown := sorted(set(self.tensors) - self.taken):
            raise CompileError(f"{self.path}: tensor {unknown[0]!r} is none of a plain Llama; it is not read")
        name = self.path.stem
        return Llama(
            name=name, shape=shape, embedding=embedding, blocks=blocks, norm=norm, classifier=classifier
        ), tokenizer

    def shape(self) -> Shape:
        """The sizes; what would change the arithmetic is refused."""
        size = {
            name: int(self.field(f"llama.{key}"))
            for name, key in [
                ("dim", "embedding_length"), ("hidden", "feed_forward_length"), ("layers", "block_count"),
                ("heads", "attention.head_count"), ("context", "context_length"),
            ]
        }  # fmt: skip
        kv_heads = int(self.field("llama.attention.head_count_kv", size["heads"]))
        shape = Shape(
            **size,
            kv_heads=kv_heads,
            vocabulary=len(self.field("tokenizer.ggml.tokens")),
            rope_base=float(self.field("llama.rope.freq_base", 10_000.0)),
            epsilon=float(self.field("llama.attention.layer_norm_rms_epsilon", 1e-5)),
        )
        for key in ("attention.key_length", "attention.value_length", "rope.dimension_count"):
            found = int(self.field(f"llama.{key}", shape.head_dim))
            if found != shape.head_dim:
                raise CompileError(f"{self.path}: llama.{key} must be {shape.head_dim}, dim / heads, not {found}")
        if (scaling := self.field("llama.rope.scaling.type", "none")) != "none":
            raise CompileError(f"{self.path}: scaling of RoPE ({scaling}) is not computed; use a model without")
        if int(self.field("llama.expert_count", 0)):
            raise CompileError(f"{self.path}: it is a mixture of experts; use a model without")
        return shape

    def tokenizer(self) -> Tokenizer:
        """SentencePiece's, which is called llama."""
        kind = self.field("tokenizer.ggml.model")
        if kind != "llama":
            raise CompileError(f"{self.path}: its tokenizer is {kind!r}; only 'llama' (SentencePiece) is read")
        pieces = [piece.encode().replace(SPACE, b" ") for piece in self.field("tokenizer.ggml.tokens")]
        scores = [float(score) for score in self.field("tokenizer.ggml.scores")]
        begin, end = (int(self.field(f"tokenizer.ggml.{key}_token_id", default)) for key, default in
                      (("bos", BEGIN), ("eos", END)))  # fmt: skip
        return Tokenizer(pieces, scores, begin=begin, end=end)

    def field(self, name: str, default: Any = None) -> Any:
        """A field's value."""
        if name not in self.reader.fields:
            if default is None:
                raise ModelFileError(f"{self.path} has no field {name!r}; convert the model again")
            return default
        return self.reader.fields[name].contents()

    def tensor(self, name: str) -> Floats:
        """A tensor, as float32."""
        from gguf.quants import dequantize

        if name not in self.tensors:
            raise ModelFileError(f"{self.path} has no tensor {name!r}; convert the model again")
        tensor = self.tensors[name]
        self.taken.add(name)
        if tensor.tensor_type.name not in TYPES:
            raise CompileError(
                f"{self.path}: tensor {name!r} is {tensor.tensor_type.name}; {', '.join(TYPES)} are read: "
                f"convert the model to one of them"
            )
        values = dequantize(tensor.data, tensor.tensor_type).astype(np.float32)
        # GGUF names the innermost axis first.
        return values.reshape(tuple(int(size) for size in reversed(tensor.shape)))
