"""microGPT: its training, its form in int8, and a device against the golden model."""

import numpy as np
import pytest

import sateen
from sateen.errors import CompileError, InputError
from sateen.graph import run
from sateen.language import (
    DecoderProgram,
    DeviceDecoder,
    FloatMicro,
    Int8Decoder,
    Writer,
    load_micro,
    quantize_micro,
    surprise,
)
from sateen.language.micro import BOUNDARY, MATRICES, MICRO
from sateen.language.micro_training import _loss, names, train

DEVICE = "tiny,products=1,softmax=1,direct=1,norms=1,positions=256,descriptors=40,weight_bytes=20480"
LOSS = 1.7066
"""Nats a token of all names, of the weights as they were trained."""
NEEDED = 1639
"""Cycles a token with which a device at 100 MHz writes 61,000 tokens a second."""


@pytest.fixture(scope="module")
def micro():
    model, words = load_micro()
    return model, words, quantize_micro(model)


def texts(every):
    """Names with a boundary before and behind."""
    for row in names()[::every]:
        ends = np.flatnonzero(row[1:] == BOUNDARY)
        yield row[: ends[0] + 2 if len(ends) else len(row)].tolist()


def test_gradients():
    """Those of some weights of each matrix are what the loss changes by."""
    random = np.random.default_rng(2)
    weights = {name: random.normal(0, 0.4, shape) for name, shape in MATRICES.items()}
    batch = names()[:6]
    _, gradients = _loss(weights, batch)
    for name, gradient in gradients.items():
        for place in np.argsort(np.abs(gradient).ravel())[[-1, -7]]:
            found = []
            for step in (1e-5, -1e-5):
                changed = weights[name].copy()
                changed.flat[place] += step
                found.append(_loss({**weights, name: changed}, batch)[0])
            assert abs((found[0] - found[1]) / 2e-5 - gradient.flat[place]) < 1e-6, name


def test_weights(micro):
    """The weights in the package have the loss that they were trained to, by the training's definition of the decoder
    and by the token-by-token one."""
    model, _, _ = micro
    weights = {name: getattr(model, name).astype(np.float64) for name in MATRICES}
    assert abs(_loss(weights, names())[0] - LOSS) < 2e-3
    some = list(texts(40))
    losses = [surprise(FloatMicro(model).step(text[:-1]), text[1:]) for text in some]
    rows = np.full((len(some), MICRO.context + 1), BOUNDARY)
    for row, text in zip(rows, some, strict=True):
        row[: len(text)] = text
    assert abs(np.concatenate(losses).mean() - _loss(weights, rows)[0]) < 1e-9


def test_training():
    """A few steps make it better; the same seed makes the same weights."""
    (weights, loss), (again, _), (_, before) = train(30), train(30), train(0)
    assert loss < before - 0.3
    for name, array in weights.items():
        np.testing.assert_array_equal(array, again[name])


@pytest.mark.models
def test_training_again():
    assert abs(train()[1] - LOSS) < 0.02


def test_it_follows_floats(micro):
    model, _, quantized = micro
    same, losses = [], []
    for text in texts(25):
        exact, found = FloatMicro(model).step(text[:-1]), Int8Decoder(quantized).step(text[:-1]) / 2**16
        same.append(exact.argmax(axis=1) == found.argmax(axis=1))
        losses.append((surprise(exact, text[1:]).sum(), surprise(found, text[1:]).sum()))
    exact, found = np.sum(losses, axis=0)
    assert np.concatenate(same).mean() > 0.9 and found < 1.05 * exact


def test_it_is_its_graph(micro):
    _, _, quantized = micro
    decoder, held = Int8Decoder(quantized), {}
    for place, token in enumerate([BOUNDARY, 12, 0, 17]):
        logits = decoder.step([token])
        given = {name: values[None] for name, values in quantized.given(token, place).items()}
        tensors = run(quantized.graph(place + 1), {**given, **held}, layers=True)
        np.testing.assert_array_equal(quantized.logits(tensors["logits"]) + quantized.offset, logits)
        end = ".new" if place == 0 else ""
        held = {f"0.{kind}.before": tensors[f"0.{kind}{end}"] for kind in ("keys", "values")}


@pytest.mark.parametrize("more", ["", pytest.param(",overlap=1", marks=pytest.mark.models)])
def test_on_a_device(micro, more):
    """A whole context, then another text."""
    _, _, quantized = micro
    tokens = np.random.default_rng(1).integers(0, 27, MICRO.context).tolist()
    with sateen.open(f"sim:{DEVICE}{more}") as device:
        decoder = DeviceDecoder(device, quantized)
        Int8Decoder(quantized, decoder).step(tokens)
        predicted = sum(decoder.program.cycles(positions + 1) for positions in range(len(tokens)))
        assert abs(decoder.cycles - predicted) <= 0.01 * predicted
        with pytest.raises(InputError, match="the context of 16 tokens is full"):
            decoder.step([1])
        decoder.reset()
        Int8Decoder(quantized, decoder).step(tokens[::-1][:3])


def test_its_preset(micro):
    """Few enough cycles by the cycle model at every position behind the first, whose program loads a table."""
    program = DecoderProgram(micro[2], "micro-lm", MICRO.context)
    assert all(program.cycles(positions) <= NEEDED for positions in range(2, 17))
    with pytest.raises(CompileError, match="cannot compute the attention of microgpt; configure it with products=1"):
        DecoderProgram(micro[2], "tiny", MICRO.context)


@pytest.mark.models
def test_names_by_its_preset(micro):
    """The counters say what the cycle model says."""
    _, words, quantized = micro
    with sateen.open("sim:micro-lm") as device:
        decoder = DeviceDecoder(device, quantized)
        for seed in range(3):
            if seed:
                decoder.reset()
            before = decoder.cycles
            writer = Writer(
                Int8Decoder(quantized, decoder), words.encode(""), temperature=0.7, seed=seed, ends=[BOUNDARY]
            )
            assert words.decode(writer.write(15)).isalpha()
            predicted = sum(decoder.program.cycles(position + 1) for position in range(decoder.position))
            assert abs(decoder.cycles - before - predicted) <= 10 * decoder.position


def test_letters():
    _, words = load_micro()
    assert words.encode("ada") == [BOUNDARY, 0, 3, 0] and words.decode([BOUNDARY, 0, 3, 0, BOUNDARY, 5]) == "ada"
    with pytest.raises(InputError, match="names in the letters a to z; 'A' is none of them"):
        words.encode("Ada")
