"""Decoders in int8: the golden model against the float one and itself, and a device against the golden model."""

import json
import zlib
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

import needs
import sateen
import small_llama
from sateen.compiler.verification.decoding import decode
from sateen.errors import CompileError, DeviceError, DifferenceError, InputError
from sateen.graph import run
from sateen.hw.spec.wire import Space
from sateen.language import (
    DecoderProgram,
    DeviceDecoder,
    FloatDecoder,
    Int8Decoder,
    WatchedInt8Decoder,
    Writer,
    load,
    quantize_int8,
    surprise,
    written,
)  # fmt: skip
from sateen.language.int8 import rotation
from sateen.language.int8_device import _differing
from sateen.language.int8_program import RECORD_BYTES
from sateen.runtime.link import read

STORY = json.loads((Path(__file__).parent / "stories260K-int8.json").read_text())
"""The first tokens that the golden model writes, greedy."""
SHAPE = replace(small_llama.SHAPE, dim=8, hidden=12, layers=1, heads=4, kv_heads=2, vocabulary=24, context=40)
"""Two heads of keys fit a tile of the device below, and two of values a word."""
DEVICE = "tiny,products=1,softmax=1,direct=1,norms=1,lutram=1,positions=16,descriptors=40,weight_bytes=20480"
TOKENS = np.random.default_rng(1).integers(0, SHAPE.vocabulary, SHAPE.context).tolist()


@pytest.fixture(scope="module")
def small():
    """A small float decoder and its form in int8."""
    model = small_llama.model()
    return model, quantize_int8(model)


@pytest.fixture(scope="module")
def tiny():
    """A decoder for a small device."""
    model = small_llama.model(3, SHAPE)
    return quantize_int8(model, written(model, [5, 6], 40))


@pytest.fixture(scope="module")
def device():
    with sateen.open(f"sim:{DEVICE}") as opened:
        yield opened


def test_it_follows_floats(small):
    model, quantized = small
    (text,) = written(model, [7], 30)
    exact, found = FloatDecoder(model, dtype=np.float64).step(text[:-1]), Int8Decoder(quantized).step(text[:-1]) / 2**16
    assert np.corrcoef(exact.ravel(), found.ravel())[0, 1] > 0.98


def test_recorded_integers(small):
    """Quantization and the golden model give the same integers on every machine."""
    _, quantized = small
    logits = Int8Decoder(quantized).step([1, *range(255, 280)])
    assert zlib.crc32(logits.tobytes()) == 3532302783


def test_it_is_its_graph(small):
    """The golden model gives the tensors of the graph of each position, token by token or all at once."""
    _, quantized = small
    tokens = [1, 259, 5, 270, 262, 262, 17]
    decoder, held = Int8Decoder(quantized), {}
    together = Int8Decoder(quantized).step(tokens)
    for place, token in enumerate(tokens):
        np.testing.assert_array_equal(decoder.step([token])[0], together[place])
        inputs = {"embedded": quantized.embedding[[token]], "rotation": rotation(quantized.shape, place)[None]}
        tensors = run(quantized.graph(place + 1), {**inputs, **held}, layers=True)
        made = quantized.logits(tensors["logits"]) + quantized.offset
        np.testing.assert_array_equal(made[0], together[place])
        for name, values in tensors.items():
            np.testing.assert_array_equal(decoder.tensors[name], values, err_msg=name)
        end = ".new" if place == 0 else ""
        names = [f"{number}.{kind}" for number in range(quantized.shape.layers) for kind in ("keys", "values")]
        held = {f"{name}.before": tensors[f"{name}{end}"] for name in names}


def test_a_full_context(small):
    _, quantized = small
    writer = Writer(Int8Decoder(quantized), [1, 259, 260])
    assert len(list(writer.write(100))) == 30 and writer.ended == "the context is full"
    with pytest.raises(InputError, match="the context of 32 tokens is full"):
        writer.decoder.step([1])


def test_layers_that_do_nothing(small):
    """Scales of channels that are always 0 divide nothing by 0."""
    model, _ = small
    names = ("query", "key", "value", "output", "gate", "up", "down")
    blocks = [replace(b, **{name: getattr(b, name) * np.float32(0) for name in names}) for b in model.blocks]
    extreme = replace(model, blocks=tuple(blocks))
    (text,) = written(extreme, [7], 20)
    exact = FloatDecoder(extreme, dtype=np.float64).step(text)
    found = Int8Decoder(quantize_int8(extreme, [text])).step(text)
    assert np.corrcoef(exact.ravel(), found.ravel())[0, 1] > 0.9


def test_what_cannot_be_quantized(small):
    model, _ = small
    with pytest.raises(CompileError, match="its logits reach .*, more than the 8,192 that their 32 bits hold"):
        quantize_int8(replace(model, classifier=model.classifier * np.float32(1e4)), written(model, [7], 10))


def layers(decoder, token):
    """All tensors of a token that the device makes, each as it stands behind its layer; rows of shares, which replace
    the scores."""
    compiled, positions = decoder.compiled, decoder.position + 1
    before = [*decoder._inputs(token), *decoder._changes()]
    jobs, names = [], []
    for layer in compiled.layers:
        outputs = {layer.output: compiled.addresses[layer.output]}
        if layer.op == "Attention":
            outputs |= {"0.turned": decoder.program._attention[0].turned}
        reads = [read(Space.SCRATCHPAD, address, compiled.size(name)) for name, address in outputs.items()]
        jobs.append((layer.parts[0], before, reads))
        names += outputs
        before = []
    data = decoder.device.run_all(compiled, jobs)
    found = {}
    for name in names:
        size = compiled.size(name)
        found[name], data = np.frombuffer(data[:size], np.int8).reshape(compiled.graph.tensors[name].shape), data[size:]
    heads, pitch = decoder.model.shape.heads, decoder.program.positions
    place = decoder.program._attention[0].scores
    rows = decoder.device.link.transaction([read(Space.SCRATCHPAD, place, heads * pitch)])
    found["0.shares"] = np.frombuffer(rows, np.int8).reshape(heads, pitch)[:, :positions]
    decoder.position += 1
    return found


def test_every_tensor(tiny, device):
    """At every position each tensor on the device is the golden model's."""
    decoder, golden = DeviceDecoder(device, tiny), Int8Decoder(tiny)
    for token in TOKENS[:22]:
        found = layers(decoder, token)
        golden.step([token])
        assert set(found) >= {"0.turned", "0.shares", "0.mixed", "0.end", "logits"}
        for name, values in found.items():
            expected = golden.tensors[name].reshape(values.shape)
            np.testing.assert_array_equal(values, expected, err_msg=f"{name} at {golden.cache.position}")


def test_texts_on_a_device(tiny, device):
    """A token is one exchange over the link; a second text begins with nothing of the first one."""
    decoder = DeviceDecoder(device, tiny, 12)
    golden = Int8Decoder(tiny, decoder)
    golden.step(TOKENS[:12])
    assert golden.compared == 12
    # Embedding, matrix, logits, few words of the program, and their frames; at first the program of a full cache.
    assert decoder.link_bytes / 12 < 600
    predicted = sum(decoder.program.cycles(positions) for positions in range(1, 13))
    assert abs(decoder.cycles - predicted) <= 0.01 * predicted
    with pytest.raises(InputError, match="the context of 12 tokens is full"):
        decoder.step([1])
    decoder.reset()
    Int8Decoder(tiny, decoder).step(TOKENS[20:29])
    other = DeviceDecoder(device, tiny, 12)
    other.step([1])
    with pytest.raises(DeviceError, match="lost the text's keys and values, since another program has used it"):
        decoder.step([1])
    decoder.reset()
    Int8Decoder(tiny, decoder).step(TOKENS[5:9])


def test_values_in_one_tile(tiny, device):
    """A text so short that one product takes the values of all heads, some of which share keys."""
    decoder = DeviceDecoder(device, tiny, 4)
    assert decoder.program._attention[0].together and SHAPE.heads > SHAPE.kv_heads
    golden = Int8Decoder(tiny)
    for token in TOKENS[:4]:
        found = layers(decoder, token)
        golden.step([token])
        for name in ("0.mixed", "0.end", "logits"):
            np.testing.assert_array_equal(found[name], golden.tensors[name].reshape(found[name].shape), err_msg=name)


@pytest.mark.models
def test_layers_that_overlap(tiny):
    """With ``overlap`` a token takes less time and has the same tensors."""
    apart = DecoderProgram(tiny, DEVICE, len(TOKENS))
    with sateen.open(f"sim:{DEVICE},overlap=1") as device:
        decoder = DeviceDecoder(device, tiny)
        Int8Decoder(tiny, decoder).step(TOKENS)
        predicted = sum(decoder.program.cycles(positions + 1) for positions in range(len(TOKENS)))
    assert abs(decoder.cycles - predicted) <= 0.01 * predicted
    assert predicted < 0.97 * sum(apart.cycles(positions + 1) for positions in range(len(TOKENS)))


def test_a_difference_is_told(tiny):
    class Wrong:
        def __init__(self):
            self.decoder = Int8Decoder(tiny)

        def step(self, tokens):
            logits = self.decoder.step(tokens)
            logits[-1, 3] += len(tokens) > 1
            return logits

    decoder = Int8Decoder(tiny, Wrong())
    decoder.step([1])
    with pytest.raises(DifferenceError, match="the device's logits behind token 3 differ from the golden model's"):
        decoder.step([1, 2, 3])


def test_watching(tiny):
    """What each token looked at is kept, and changes nothing."""
    decoder = WatchedInt8Decoder(tiny)
    np.testing.assert_array_equal(decoder.step(TOKENS[:7]), Int8Decoder(tiny).step(TOKENS[:7]))
    for place in range(7):
        (look,) = decoder.steps[place].looks
        assert look.shares.shape == (SHAPE.heads, place + 1) and look.places.shape == (SHAPE.kv_heads, place + 1)
        np.testing.assert_allclose(look.shares.sum(axis=1), 1)


def test_what_changes_from_token_to_token(tiny):
    """Few words, but where a group of columns or a tile is added."""
    program = DecoderProgram(tiny, DEVICE, 40)
    for positions in (1, 2, 4, 15, 39):
        pairs = zip(program.records(positions), program.records(positions + 1), strict=True)
        changed = sum(count for old, new in pairs for _, count in _differing(new, old))
        assert changed <= 20 or positions % 4 == 0
    written = False
    for d in (decode(record) for record in program.records(1)):
        # What reads keys or values waits for the last that writes some.
        written = d.output.to_weights or (written and not d.weights.waits)
        reads = any(first <= d.weights.base < first + count for first, count in program.caches)
        assert not (written and reads)
    for old, new in ((bytes(16), b"\1" + bytes(11) + b"\1" * 4), (bytes(24), b"\1" + bytes(19) + b"\1" * 4)):
        patched = bytearray(old)
        for first, count in _differing(new, old):
            patched[first : first + count] = new[first : first + count]
        assert patched == new
    assert len(program.records(1)[0]) == RECORD_BYTES


@pytest.mark.parametrize(
    ("config", "text"),
    [
        ("tiny", "cannot compute the attention of small; configure it with products=1, softmax=1, direct=1, norms=1"),
        (f"{DEVICE},weight_bytes=4096", r"keys and values of 40 positions, [\d,]+ more than .* \(4,096\); .*weight_"),
        (f"{DEVICE},descriptors=15", r"takes \d+ descriptors, \d+ more than the program memory has \(15\)"),
        (f"{DEVICE},scratchpad_bytes=128", r"with 40 positions, \d+ more than the scratchpad has \(128\)"),
    ],
)
def test_what_does_not_fit(tiny, config, text):
    with pytest.raises(CompileError, match=text):
        DecoderProgram(tiny, config, 40)


def test_wide_heads():
    model = small_llama.model(1, replace(SHAPE, heads=1, kv_heads=1))
    with pytest.raises(CompileError, match=r"has heads of 8 channels, 4 more than .* \(4\); .* cols=8, or"):
        DecoderProgram(quantize_int8(model, written(model, [7], 10)), DEVICE, 40)


@pytest.fixture(scope="module")
def stories():
    """The public model, its tokenizer and its form in int8."""
    path = needs.models() / "llm" / "stories260K.bin"
    if not path.is_file():
        pytest.skip(f"needs the reference models in {needs.MODELS}; {path.name} is not there")
    model, words = load(path)
    return model, words, quantize_int8(model)


@pytest.mark.parametrize("count", [60, pytest.param(200, marks=pytest.mark.models)])
def test_story(stories, count):
    _, words, quantized = stories
    writer = Writer(Int8Decoder(quantized), words.encode(STORY["prompt"]))
    assert list(writer.write(count)) == STORY["tokens"][:count]
    assert STORY["text"].startswith(words.decode(writer.text)) and len(STORY["tokens"]) == 200


@pytest.mark.models
def test_perplexity(stories):
    """At most 5 % above the float model's, on 1,000 tokens that it wrote."""
    model, _, quantized = stories
    floats, integers = [], []
    for text in written(model, range(1, 5), 250):
        floats.append(surprise(FloatDecoder(model, dtype=np.float64).step(text[:-1]), text[1:]))
        integers.append(surprise(Int8Decoder(quantized).step(text[:-1]) / 2**16, text[1:]))
    assert np.exp(np.mean(integers)) <= 1.05 * np.exp(np.mean(floats))


@pytest.mark.models
def test_story_on_a_device(stories):
    """The first words, by the configuration that is made for it."""
    _, words, quantized = stories
    with sateen.open("sim:story") as device:
        decoder = DeviceDecoder(device, quantized, 208)
        writer = Writer(Int8Decoder(quantized, decoder), words.encode(STORY["prompt"]))
        assert list(writer.write(40)) == STORY["tokens"][:40]
        assert decoder.cycles / decoder.position < device.config.clock_hz / 1500
