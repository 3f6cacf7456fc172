"""A small Llama with random weights and a tokenizer, and the files that hold them, for tests."""

from __future__ import annotations

import struct
from pathlib import Path
from typing import Any

import numpy as np

from sateen.language import Llama, Shape
from sateen.language.decoder import Block

SHAPE = Shape(dim=16, hidden=24, layers=2, heads=4, kv_heads=2, vocabulary=280, context=32)
WORDS = ["a", "b", "c", " ", "ab", " a", " ab", "bc", "é"]
"""Pieces behind the three special ones and the 256 bytes; the rest of the vocabulary are numbers."""


def model(seed: int = 1, shape: Shape = SHAPE) -> Llama:
    """A model with random weights whose logits differ enough to write a text."""
    rng, s = np.random.default_rng(seed), shape

    def matrix(outputs: int, inputs: int) -> Any:
        return rng.normal(0, 1 / np.sqrt(inputs), (outputs, inputs)).astype(np.float32)

    def gain() -> Any:
        return rng.uniform(0.5, 1.5, s.dim).astype(np.float32)

    blocks = tuple(
        Block(
            attention_norm=gain(), query=2 * matrix(s.dim, s.dim), key=2 * matrix(s.kv_dim, s.dim),
            value=matrix(s.kv_dim, s.dim), output=matrix(s.dim, s.dim), feed_norm=gain(),
            gate=matrix(s.hidden, s.dim), up=matrix(s.hidden, s.dim), down=matrix(s.dim, s.hidden),
        )
        for _ in range(s.layers)
    )  # fmt: skip
    embedding = rng.normal(0, 1, (s.vocabulary, s.dim)).astype(np.float32)
    # Its texts go on.
    embedding[1:3] = -embedding[3:].mean(axis=0)
    return Llama(name="small", shape=s, embedding=embedding, blocks=blocks, norm=gain(), classifier=embedding)


def pieces(vocabulary: int = SHAPE.vocabulary) -> tuple[list[str], list[float]]:
    """Pieces and scores of a tokenizer."""
    named = ["<unk>", "\n<s>\n", "\n</s>\n", *(f"<0x{byte:02X}>" for byte in range(256)), *WORDS]
    named += [str(number) for number in range(vocabulary - len(named))]
    return named, [-float(place) for place in range(vocabulary)]


def write_llama2c(made: Llama, path: Path, *, shared: bool = True) -> Path:
    """Writes the model in llama2.c's format."""
    s = made.shape
    fields = (s.dim, s.hidden, s.layers, s.heads, s.kv_heads, s.vocabulary if shared else -s.vocabulary, s.context)
    names = ("attention_norm", "query", "key", "value", "output", "feed_norm", "gate", "down", "up")
    arrays = [made.embedding, *(np.stack([getattr(b, name) for b in made.blocks]) for name in names), made.norm]
    arrays += [np.zeros(s.context * s.head_dim, np.float32), *([] if shared else [made.classifier])]
    path.write_bytes(struct.pack("<7i", *fields) + b"".join(array.astype("<f4").tobytes() for array in arrays))
    return path


def write_tokenizer(path: Path, vocabulary: int = SHAPE.vocabulary) -> Path:
    """Writes the tokenizer in llama2.c's format."""
    data = [struct.pack("<i", 8)]
    for piece, score in zip(*pieces(vocabulary), strict=True):
        data.append(struct.pack("<fi", score, len(piece.encode())) + piece.encode())
    path.write_bytes(b"".join(data))
    return path


def write_gguf(made: Llama, path: Path, kind: str = "F32", **changes: Any) -> Path:
    """Writes the model as GGUF, with matrices of a kind. ``changes``: ``architecture``, ``tokenizer``, ``extra`` (the
    name of one more tensor), ``scaling`` (RoPE's)."""
    import gguf
    from gguf.quants import quantize

    s, writer = made.shape, gguf.GGUFWriter(path, changes.get("architecture", "llama"))
    writer.add_embedding_length(s.dim)
    writer.add_feed_forward_length(s.hidden)
    writer.add_block_count(s.layers)
    writer.add_head_count(s.heads)
    writer.add_head_count_kv(s.kv_heads)
    writer.add_context_length(s.context)
    writer.add_layer_norm_rms_eps(s.epsilon)
    if "scaling" in changes:
        writer.add_rope_scaling_type(gguf.RopeScalingType(changes["scaling"]))
    named, scores = pieces(s.vocabulary)
    writer.add_tokenizer_model(changes.get("tokenizer", "llama"))
    writer.add_token_list([piece.replace(" ", "▁") for piece in named])
    writer.add_token_scores(scores)

    def add(name: str, array: Any) -> None:
        chosen = gguf.GGMLQuantizationType[kind if array.ndim == 2 else "F32"]
        writer.add_tensor(name, quantize(array, chosen), raw_dtype=chosen)

    names = {
        "attn_norm": "attention_norm", "attn_q": "query", "attn_k": "key", "attn_v": "value", "attn_output": "output",
        "ffn_norm": "feed_norm", "ffn_gate": "gate", "ffn_up": "up", "ffn_down": "down",
    }  # fmt: skip
    add("token_embd.weight", made.embedding)
    add("output_norm.weight", made.norm)
    for number, block in enumerate(made.blocks):
        for key, name in names.items():
            add(f"blk.{number}.{key}.weight", getattr(block, name))
    if "extra" in changes:
        add(changes["extra"], np.zeros(4, np.float32))
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()
    return path
