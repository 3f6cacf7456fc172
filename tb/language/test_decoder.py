"""Decoders: the float one against recorded logits, the integer one against itself, the float one and a device."""

import json
import zlib
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

import needs
import sateen
import small_llama
from sateen.errors import CompileError, InputError
from sateen.language import (
    Decoder,
    DeviceProducts,
    FloatDecoder,
    GoldenProducts,
    Writer,
    check_size,
    compile_products,
    load,
    quantize,
    surprise,
    written,
)  # fmt: skip
from sateen.language.device import predicted_cycles
from sateen.language.integers import _divided
from sateen.language.writing import guess

STORY = json.loads((Path(__file__).parent / "stories260K.json").read_text())
"""The first tokens that the golden model writes, greedy."""


@pytest.fixture(scope="module")
def small():
    """A small float decoder and its quantized form."""
    model = small_llama.model()
    return model, quantize(model)


@pytest.fixture(scope="module")
def stories():
    """The public model, its tokenizer and its quantized form."""
    path = needs.models() / "llm" / "stories260K.bin"
    if not path.is_file():
        pytest.skip(f"needs the reference models in {needs.MODELS}; {path.name} is not there")
    model, words = load(path)
    return model, words, quantize(model)


def test_float_decoder(stories):
    model, _, _ = stories
    recorded = np.load(needs.models() / "llm" / "stories260K.golden.npz")
    decoder, tokens = FloatDecoder(model), [1]
    for index in range(len(recorded["tokens"]) - 1):
        logits = decoder.step(tokens[-1:])[0]
        if index < len(recorded["logits"]):
            np.testing.assert_allclose(logits, recorded["logits"][index], rtol=0, atol=1e-4)
        tokens.append(int(logits.argmax()))
    assert tokens == recorded["tokens"].tolist()


def test_story(stories):
    _, words, quantized = stories
    prompt = words.encode(STORY["prompt"])
    writer = Writer(Decoder(quantized), prompt)
    assert list(writer.write(len(STORY["tokens"]))) == STORY["tokens"]
    assert words.decode(writer.text) == STORY["text"]
    ahead = Writer(Decoder(quantized), prompt, ahead=7)
    assert list(ahead.write(len(STORY["tokens"]))) == STORY["tokens"]
    assert ahead.steps < writer.steps == len(STORY["tokens"])


@pytest.mark.models
def test_perplexity(stories):
    """At most 5 % above the float model's, on 1,000 tokens that it wrote."""
    model, _, quantized = stories
    floats, integers, agree = [], [], []
    for text in written(model, range(1, 5), 250):
        exact, found = FloatDecoder(model, dtype=np.float64).step(text[:-1]), Decoder(quantized).step(text[:-1])
        floats.append(surprise(exact, text[1:]))
        integers.append(surprise(found / 2**16, text[1:]))
        agree.append(exact.argmax(axis=1) == found.argmax(axis=1))
    assert np.exp(np.mean(integers)) <= 1.05 * np.exp(np.mean(floats))
    assert np.mean(agree) >= 0.9


@pytest.mark.models
def test_story_on_device(stories):
    """The first words, by the configuration that is made for it."""
    _, words, quantized = stories
    with sateen.open("sim:lm") as device:
        products = DeviceProducts(device, quantized)
        writer = Writer(Decoder(quantized, products), words.encode(STORY["prompt"]))
        assert list(writer.write(20)) == STORY["tokens"][:20]
        assert products.cycles / 24 < device.config.clock_hz / 4000


def test_integers_follow_floats(small):
    model, quantized = small
    (text,) = written(model, [7], 30)
    exact, found = FloatDecoder(model, dtype=np.float64).step(text[:-1]), Decoder(quantized).step(text[:-1]) / 2**16
    assert np.corrcoef(exact.ravel(), found.ravel())[0, 1] > 0.99


@pytest.mark.parametrize(
    ("part", "factor", "text"),
    [
        ("classifier", 1e4, "its logits reach .*, more than the 8,192 that their 32 bits hold"),
        ("norm", 1e30, "its logits reach"),
        ("blocks", 1e4, "the model's channels differ too much in range"),
    ],
)
def test_what_cannot_be_quantized(small, part, factor, text):
    model, _ = small
    wrong = (
        replace(model, **{part: getattr(model, part) * np.float32(factor)})
        if part != "blocks"
        else replace(model, blocks=tuple(replace(b, query=b.query * factor, key=b.key * factor) for b in model.blocks))
    )
    with pytest.raises(CompileError, match=text):
        quantize(wrong, written(model, [7], 10))


def test_numbers_that_overflow(small):
    model, _ = small
    with pytest.raises(CompileError, match="its numbers overflow; its weights are damaged"):
        FloatDecoder(replace(model, classifier=model.classifier * np.float32(1e36), norm=model.norm * 1000)).step([1])


@pytest.mark.parametrize("factor", [0, 1e-20])
def test_layers_that_do_nothing(small, factor):
    """Scales of channels that are always 0 divide nothing by 0."""
    model, _ = small
    names = ("query", "key", "value", "output", "gate", "up", "down")
    blocks = [replace(b, **{name: getattr(b, name) * np.float32(factor) for name in names}) for b in model.blocks]
    extreme = replace(model, blocks=tuple(blocks))
    (text,) = written(extreme, [7], 20)
    exact = FloatDecoder(extreme, dtype=np.float64).step(text)
    found = Decoder(quantize(extreme, [text])).step(text)
    assert np.corrcoef(exact.ravel(), found.ravel())[0, 1] > 0.9


def test_recorded_integers(small):
    """Quantization and the golden model give the same integers on every machine."""
    _, quantized = small
    logits = Decoder(quantized).step([1, *range(255, 280)])
    assert zlib.crc32(logits.tobytes()) == 1606608962


def test_tokens_at_once(small):
    """Several tokens in a step give the integers that they give one by one; what is forgotten leaves no trace."""
    _, quantized = small
    tokens = [1, 259, 5, 270, 262, 262, 17]
    single, many = Decoder(quantized), Decoder(quantized)
    expected = np.concatenate([single.step([token]) for token in tokens])
    np.testing.assert_array_equal(many.step(tokens[:5]), expected[:5])
    many.step([9, 9, 9])
    many.cache.forget(3)
    np.testing.assert_array_equal(many.step(tokens[5:]), expected[5:])


def test_long_sums():
    """A division whose sums have more than 32 bits: the mean of equal values is the value."""
    for context in (1, 3, 512, 4096, 100_000):
        shares = np.array([2**15 * context])
        np.testing.assert_array_equal(_divided(np.array([[-128, 127]]) * shares, shares), [[-128 << 16, 127 << 16]])


def test_context_is_full(small):
    _, quantized = small
    decoder = Decoder(quantized)
    writer = Writer(decoder, [1, 259, 260])
    assert len(list(writer.write(100))) == 30 and writer.ended == "the context is full"
    with pytest.raises(InputError, match="the context of 32 tokens is full"):
        decoder.step([1])
    with pytest.raises(InputError, match="the prompt has 33 tokens, the model's context 32"):
        Writer(Decoder(quantized), [1] * 33)
    ahead = Writer(Decoder(quantized), [1, 259, 260], ahead=5)
    assert list(ahead.write(100)) == writer.text[3:]


def test_what_a_writer_takes(small):
    _, quantized = small
    with pytest.raises(InputError, match="at least one token"):
        Writer(Decoder(quantized), [])
    with pytest.raises(InputError, match="temperature must be 0 or more"):
        Writer(Decoder(quantized), [1], temperature=float("nan"))
    with pytest.raises(InputError, match="use a temperature of 0"):
        Writer(Decoder(quantized), [1], temperature=1.0, ahead=2)
    first, second = (Writer(Decoder(quantized), [1], temperature=1.0, seed=seed) for seed in (3, 3))
    assert list(first.write(12)) == list(second.write(12))
    ended = Writer(Decoder(quantized), [1], ends=first.text)
    assert len(list(ended.write(100))) < 31 and ended.ended == "the model ended the text"


def test_guesses():
    assert guess([1, 2, 3, 4, 1, 2, 3], 2) == [4, 1]
    assert guess([5, 2, 7, 2, 9, 2], 3) == [9, 2]
    assert guess([1, 2, 3], 4) == [] and guess([1], 4) == [] and guess([2, 2], 0) == []


@pytest.mark.parametrize(
    ("ahead", "config"), [(0, "tiny"), (3, "tiny"), (0, "tiny,weight_bytes=2048,sdram=m12l16161a")]
)
def test_device(small, ahead, config):
    """A text by a device is the golden model's, product by product, with weights in its memories or in SDRAM."""
    _, quantized = small
    with sateen.open(f"sim:{config}") as device:
        products, golden = DeviceProducts(device, quantized, 1 + ahead), GoldenProducts(quantized)
        seen = []

        def both(name, x):
            y = products(name, x)
            np.testing.assert_array_equal(y, golden(name, x))
            seen.append(name)
            return y

        writer = Writer(Decoder(quantized, both), [1, 259, 262], ahead=ahead)
        text = list(writer.write(4))
        cycles = products.counters["cycles"]
        outside = not products.compiled.resident
        # The array waits for each byte, two a cycle, but for what is copied beside short layers.
        moved = outside * products.compiled.weight_words * device.config.weight_word_bytes * len(seen)
        moved //= len(quantized.matrices) * device.config.moved_bytes
        assert outside == bool(device.config.sdram)
        assert moved // 2 <= products.memory_cycles <= 2 * moved
        assert products.cycles == cycles + products.memory_cycles
        predicted = predicted_cycles(products.compiled)
    assert text == list(Writer(Decoder(quantized), [1, 259, 262]).write(4))
    assert set(seen) == set(quantized.matrices)
    runs = len(seen) // len(quantized.matrices) if ahead else 6
    assert abs(cycles - runs * predicted) <= 2 * len(seen)


def test_what_does_not_fit(small):
    model, quantized = small
    huge = replace(model)
    check_size(huge)
    object.__setattr__(huge, "shape", replace(huge.shape, hidden=800_000))
    with pytest.raises(CompileError, match="small has 76,806,016 weights, 9,697,152 more than the largest memory"):
        check_size(huge)
    need = compile_products(quantized, "tiny").weight_words * 4
    text = rf"{need:,} bytes .*, {need - 4096:,} more .*\(4,096\); .*weight_bytes={need}"
    with pytest.raises(CompileError, match=text):
        compile_products(quantized, "tiny,weight_bytes=4096")
    assert compile_products(quantized, f"tiny,weight_bytes={need}").resident
    with pytest.raises(CompileError, match=r"takes 9 descriptors, 5 more than the program memory has \(4\)"):
        compile_products(quantized, "tiny,descriptors=4")
    for positions in (16, 64):
        with pytest.raises(CompileError, match=r"scratchpad.*, or take fewer tokens at a time"):
            compile_products(quantized, "tiny", positions)
