"""Files of language models: what is read, and what is refused by name."""

import random
import struct

import numpy as np
import pytest

import needs
import seeds
import small_llama
from sateen.errors import CompileError, InputError, ModelFileError
from sateen.language import FloatDecoder, Shape, load
from sateen.language.gguf_file import load_gguf
from sateen.language.llama2c import load_model, load_tokenizer
from sateen.language.tokenizer import Tokenizer

TOKENS = [1, 259, 263, 5, 270]


def same(read, made):
    """Whether two models compute the same."""
    return np.array_equal(FloatDecoder(read).step(TOKENS), FloatDecoder(made).step(TOKENS))


@pytest.mark.parametrize("shared", [True, False])
def test_llama2c(tmp_path, shared):
    made = small_llama.model()
    if not shared:
        object.__setattr__(made, "classifier", -made.embedding)
    path = small_llama.write_llama2c(made, tmp_path / "small.bin", shared=shared)
    small_llama.write_tokenizer(tmp_path / "tok280.bin")
    read, words = load(path)
    assert read.shape == made.shape and same(read, made)
    assert words.encode("ab") == [1, 265]


def test_damaged_llama2c(tmp_path):
    path = small_llama.write_llama2c(small_llama.model(), tmp_path / "small.bin")
    data = path.read_bytes()
    for changed, text in [
        (data[:20], "ends within its header"),
        (data[:-4], "asks for"),
        (data + b"1234", "asks for"),
        (struct.pack("<7i", 16, 24, 2, 3, 2, 280, 32) + data[28:], "do not divide"),
        (struct.pack("<7i", 16, 24, 2, 0, 2, 280, 32) + data[28:], "heads must be 1 or more"),
        (struct.pack("<7i", 16, -24, 2, 4, 2, 280, 32) + data[28:], "hidden must be 1 or more"),
        (data[:28] + struct.pack("<f", np.nan) + data[32:], "embedding has values that are not finite"),
        (b"24ka" + data, "a later version"),
    ]:
        path.write_bytes(changed)
        with pytest.raises(ModelFileError, match=text):
            load_model(path)


def test_missing_files(tmp_path):
    path = small_llama.write_llama2c(small_llama.model(), tmp_path / "small.bin")
    with pytest.raises(ModelFileError, match="give it with --tokenizer FILE, or put it .* as tok280.bin"):
        load(path)
    with pytest.raises(ModelFileError, match="cannot read .*none.bin"):
        load(path, tmp_path / "none.bin")
    with pytest.raises(ModelFileError, match="cannot read .*other.bin"):
        load(tmp_path / "other.bin")


def test_damaged_tokenizer(tmp_path):
    path = small_llama.write_tokenizer(tmp_path / "tok.bin")
    data = path.read_bytes()
    for changed in (data[:-1], data + b"x", data[:8] + struct.pack("<i", -5) + data[12:], b""):
        path.write_bytes(changed)
        with pytest.raises(ModelFileError, match="no llama2.c tokenizer of 280 tokens"):
            load_tokenizer(path, 280)


@pytest.mark.parametrize("kind", ["F32", "F16", "Q8_0"])
def test_gguf(tmp_path, kind):
    needs.package("gguf", extra="gguf")
    shape = Shape(dim=32, hidden=64, layers=2, heads=4, kv_heads=2, vocabulary=280, context=32)
    made = small_llama.model(shape=shape)
    read, words = load(small_llama.write_gguf(made, tmp_path / "small.gguf", kind))
    with pytest.raises(InputError, match="has its own tokenizer; leave --tokenizer out"):
        load(tmp_path / "small.gguf", tmp_path / "tok280.bin")
    assert read.shape.dim == 32 and read.shape.kv_heads == 2
    assert words.encode("ab") == [1, 265] and words.decode([1, 265, 264]) == "ab a"
    close = np.abs(read.blocks[1].down - made.blocks[1].down).max()
    assert close <= {"F32": 0, "F16": 1e-3, "Q8_0": 0.02}[kind]
    assert same(read, made) == (kind == "F32")


@pytest.mark.parametrize(
    ("kind", "changes", "text"),
    [
        ("F32", {"architecture": "qwen2"}, "architecture is 'qwen2'"),
        ("F32", {"tokenizer": "gpt2"}, "tokenizer is 'gpt2'"),
        ("F32", {"extra": "rope_freqs.weight"}, "tensor 'rope_freqs.weight' is none of a plain Llama"),
        ("F32", {"extra": "blk.0.attn_q.bias"}, "tensor 'blk.0.attn_q.bias' is none"),
        ("F32", {"scaling": "linear"}, r"scaling of RoPE \(linear\)"),
        ("Q4_0", {}, "tensor 'token_embd.weight' is Q4_0; F32, F16, Q8_0 are read"),
    ],
)
def test_refused_gguf(tmp_path, kind, changes, text):
    needs.package("gguf", extra="gguf")
    shape = Shape(dim=32, hidden=64, layers=1, heads=4, kv_heads=2, vocabulary=280, context=32)
    path = small_llama.write_gguf(small_llama.model(shape=shape), tmp_path / "small.gguf", kind, **changes)
    with pytest.raises(CompileError, match=text):
        load_gguf(path)


def test_damaged_gguf(tmp_path):
    needs.package("gguf", extra="gguf")
    path = small_llama.write_gguf(small_llama.model(), tmp_path / "small.gguf")
    data = path.read_bytes()
    for size in (4, 30, 3000, len(data) - 5000):
        path.write_bytes(data[:size])
        with pytest.raises((ModelFileError, CompileError), match="small.gguf"):
            load_gguf(path)


def test_changed_gguf(tmp_path):
    """Whatever a file claims, it is read or refused at once, in one sentence."""
    needs.package("gguf", extra="gguf")
    path = small_llama.write_gguf(small_llama.model(), tmp_path / "small.gguf")
    data = path.read_bytes()
    tokens = data.index(b"tokenizer.ggml.tokens") + len(b"tokenizer.ggml.tokens")
    infos = data.index(b"token_embd.weight") + len(b"token_embd.weight")
    big, rng = struct.pack("<Q", 1 << 60), random.Random(seeds.own())
    changes = [(8, big), (16, big), (24, big), (tokens + 8, big), (tokens + 16, big), (infos + 4, big)]
    changes += [(infos, b"\xff"), (4, b"\x09"), (tokens + 4, b"\x09")]
    changes += [(rng.randrange(4, infos + 200), bytes([rng.randrange(256)])) for _ in range(60)]
    for place, new in changes:
        path.write_bytes(data[:place] + new + data[place + len(new) :])
        try:
            load_gguf(path)
        except (CompileError, ModelFileError) as error:
            assert "small" in str(error)
        else:
            assert len(new) == 1


def test_encoding():
    words = Tokenizer(*([piece.encode() for piece in part] if index == 0 else part for index, part in
                        enumerate(small_llama.pieces())))  # fmt: skip
    # The best score first: " a", then its join with b.
    assert words.encode("ab") == [1, 265]
    # Of bc and ab, ab comes first in the vocabulary.
    assert words.encode("babc") == [1, 262, 260, 263, 261]
    assert words.encode("") == [1]
    assert words.encode("é😀") == [1, 262, 267, *(byte + 3 for byte in "😀".encode())]
    assert words.decode([1, *words.encode("a😀é x")[1:], 2, 259]) == "a😀é x"
    # Bytes that are no text, and characters whose bytes come one by one.
    assert words.decode([1, 0xFF + 3, 259]) == "�a"
    assert list(words.stream([1, *(byte + 3 for byte in "é".encode())])) == ["", "é", ""]


def test_what_cannot_be_spelled():
    words = Tokenizer([b"<unk>", b"<s>", b"</s>", b" ", b"a"], [0.0] * 5)
    assert words.encode("a") == [1, 3, 4]
    with pytest.raises(InputError, match="no token for 'é', and none for its bytes"):
        words.encode("aé")
    with pytest.raises(ModelFileError, match="lacks scores, or its tokens 1 and 2"):
        Tokenizer([b"<unk>", b"<s>"], [0.0, 0.0])
