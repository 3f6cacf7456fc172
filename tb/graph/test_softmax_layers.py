"""Softmax on the device, against the golden model; attention without the host."""

from __future__ import annotations

import warnings
from dataclasses import replace

import numpy as np
import pytest

import sateen
import seeds
from sateen.compiler.verification import verify_program
from sateen.compiler.verification.decoding import records
from sateen.errors import CompileError, InternalError
from sateen.graph import Graph, MatrixProduct, Softmax, Tensor, run
from sateen.hw.spec.config import PRESETS, Config
from sateen.hw.spec.descriptor import Rounding
from sateen.sim import golden

CONFIGS = [
    "tiny,products=1,softmax=1,squares=1,positions=256,descriptors=12",
    "tiny,positions=256,scratchpad_bytes=512,overlap=1,softmax=1",
]
SHARES = {"scale": 1 / 256, "zero_point": -128}
CASES = [
    ((1,), 0.1), ((10,), 0.1), ((5, 7), 0.3), ((3, 4, 9), 0.01), ((16, 16), 0.1), ((6, 13), 3.0), ((4, 4), 100.0),
    ((2, 126), 0.05), ((3, 1), 0.1),
]  # fmt: skip
"""Shapes and scales: rows of one value, of a line and of several, a last line of one byte; exponentials that count for
one distance only."""


def graph(shape, scale, *, beta=1.0, rounding=Rounding.DOUBLE, output=SHARES):
    x, y = Tensor(name="x", shape=(1, *shape), scale=scale, zero_point=3), Tensor(name="y", shape=(1, *shape), **output)
    op = Softmax(name="softmax", input="x", output="y", beta=beta, rounding=rounding)
    return Graph(name="g", tensors={"x": x, "y": y}, ops=[op], inputs=["x"], outputs=["y"])


@pytest.fixture(scope="module", params=CONFIGS)
def device(request):
    with sateen.open(f"sim:{request.param}") as opened:
        yield opened


def check(device, made, x):
    """Runs a graph on the device alone: equal to the golden model, and as long as predicted."""
    model = sateen.compile(made, device.config, strict=True)
    assert not any(step.host for step in model.steps)
    loaded = device.load(model)
    np.testing.assert_array_equal(loaded.run(x), run(made, x)[made.outputs[0]])
    for layer in loaded.profile.layers:
        predicted, cycles = layer.layer.predicted, layer.counters
        assert abs(predicted.cycles - cycles.cycles) <= max(2, 0.01 * cycles.cycles), f"{cycles}, predicted {predicted}"
        for cause in ("busy", "weights", "activations", "output"):
            assert abs(getattr(predicted, cause) - getattr(cycles, cause)) <= 12, f"{cycles}, predicted {predicted}"
    return loaded


@pytest.mark.parametrize(("shape", "scale"), CASES)
def test_on_the_device(device, shape, scale):
    rng = np.random.default_rng(seeds.own())
    x = rng.integers(-128, 128, (2, *shape)).astype(np.int8)
    # Equal values, of the largest sum.
    x[0, ..., :] = x[0, ..., :1] if len(shape) == 1 else x[0]
    check(device, graph(shape, scale, beta=0.7), x)


def test_longest_row():
    """Of equal values; its exponentials take all bits of the sum."""
    with sateen.open(f"sim:{CONFIGS[0]}") as device:
        for value in (-128, 5, 127):
            check(device, graph((2047,), 0.05), np.full((1, 2047), value, np.int8))


def test_rows_that_exceed_the_scratchpad(device):
    """They are cut between rows, as few times as may be."""
    made = graph((20, 30), 0.1)
    x = np.random.default_rng(seeds.own()).integers(-128, 128, (1, 20, 30)).astype(np.int8)
    cut = {512: 3, PRESETS["tiny"].scratchpad_bytes: 0}
    assert len(check(device, made, x).model.steps[0].tiles) == cut[device.config.scratchpad_bytes]


def attention(length=12, depth=8, heads=2):
    """Q·Kᵀ, softmax, and its product with V."""
    names = {"q": (length, depth), "k": (length, depth), "v": (length, depth), "y": (length, depth)}
    tensors = [Tensor(name=name, shape=(1, heads, *shape), scale=0.05, zero_point=2) for name, shape in names.items()]
    square = (1, heads, length, length)
    tensors.append(Tensor(name="scores", shape=square, scale=0.1, zero_point=-5))
    tensors.append(Tensor(name="shares", shape=square, **SHARES))
    scales = [golden.quantize_multiplier(value) for value in (0.05 * 0.05 / 0.1, 1 / 256)]
    products = [
        MatrixProduct(
            name=name, a=a, b=b, output=y, bias=np.zeros(1, np.int32), multiplier=multiplier, shift=shift,
            transpose_b=name == "scores",
        )
        for (name, a, b, y), (multiplier, shift) in zip(
            [("scores", "q", "k", "scores"), ("mixed", "shares", "v", "y")], scales, strict=True
        )
    ]  # fmt: skip
    soft = Softmax(name="shares", input="scores", output="shares")
    ops = [products[0], soft, products[1]]
    return Graph(name="attention", tensors={t.name: t for t in tensors}, ops=ops, inputs=["q", "k", "v"], outputs=["y"])


def test_attention():
    """On the device alone, with cycles as predicted."""
    made, rng = attention(), np.random.default_rng(seeds.own())
    x = {name: rng.integers(-128, 128, (2, *made.tensors[name].shape[1:])).astype(np.int8) for name in made.inputs}
    with sateen.open(f"sim:{CONFIGS[0]}") as device:
        loaded = check(device, made, x)
        assert len(loaded.model.steps) == 1 and len(loaded.profile.layers) == 3


@pytest.mark.parametrize(
    ("made", "config", "reason"),
    [
        (graph((2048,), 0.1), CONFIGS[0], "its rows have 2048 values, the device takes 2047"),
        (graph((32766, 1), 0.1), CONFIGS[0], "it has 32766 rows, more than a descriptor's 32765"),
        (graph((300,), 0.1), CONFIGS[1], "one row and its results take 600"),
    ],
)  # fmt: skip
def test_refusals(made, config, reason):
    check_refused(made, config, reason)


def check_refused(made, config, reason):
    """The host computes it, and says why."""
    with pytest.warns(sateen.SateenWarning, match=f"layer 'softmax' runs on the host: .*{reason}"):
        model = sateen.compile(made, config)
    assert [step.host for step in model.steps] == ["softmax"]
    with pytest.raises(CompileError, match=reason):
        sateen.compile(made, config, strict=True)


@pytest.mark.parametrize("config", ["micro", "tiny", "small"])
def test_devices_without_softmax(config):
    """The host computes it as a matter of course."""
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        model = sateen.compile(graph((10,), 0.1), config, strict=True)
    assert [step.host for step in model.steps] == ["softmax"]


def tampered(model, change):
    """A model whose only descriptor is changed."""
    segment = model.segments[0]
    program = np.frombuffer(change(records(segment.program)[0]).encode(), np.uint8)
    return replace(model, segments=(replace(segment, program=program),))


def on_output(**fields):
    return lambda d: replace(d, output=replace(d.output, **fields))


def on_activations(**fields):
    return lambda d: replace(d, activations=replace(d.activations, **fields))


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (on_output(softmax=False), "writes beyond its output's 35 bytes"),
        (on_output(channels=6), r"does not write result\[0, 6\]"),
        (on_output(address=-40), "writes beyond its output's 35 bytes"),
        (on_output(low=-127), "its program gives"),
        (on_output(combine=2), "are not exponentials and zeros"),
        (on_activations(padding=127), "states counters, lines and rows"),
        (on_activations(width=6), "states counters, lines and rows"),
        (on_activations(height=2), "states counters, lines and rows"),
        (on_activations(address=1), "its program gives"),
    ],
)
def test_verification(change, message):
    model = sateen.compile(graph((5, 7), 0.3), "tiny,positions=256,softmax=1", strict=True)
    verify_program(model)
    with pytest.raises(InternalError, match=message):
        verify_program(tampered(model, change))


def test_verification_of_tables():
    model = sateen.compile(graph((5, 7), 0.3), "tiny,positions=256,softmax=1", strict=True)
    for word in (0, 255, 300):
        weights = model.segments[0].weights.copy()
        weights[word, 0] ^= 1
        broken = replace(model, segments=(replace(model.segments[0], weights=weights),))
        with pytest.raises(InternalError, match="are not exponentials and zeros"):
            verify_program(broken)


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({"softmax": 3}, "softmax must be a whole number from 0 to 2, not 3"),
        ({"softmax": 1, "engine": "sequential", "lanes": 1}, "engine must be pipelined with softmax=1, not 'seq"),
        ({"softmax": 2, "positions": 128}, "positions must be 256 to 4096 with softmax=2, not 128"),
        ({"softmax": 1, "cols": 16}, "cols must be 4 to 8 with softmax=1, not 16"),
    ],
)
def test_configurations(fields, message):
    with pytest.raises(ValueError, match=message):
        Config(**fields)
