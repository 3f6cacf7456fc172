"""onnxruntime's softmax on the device, against the golden model."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from test_softmax_layers import check, check_refused, graph, on_output, tampered

import sateen
import seeds
from sateen.compiler.verification import verify_program
from sateen.errors import InternalError
from sateen.hw.spec.combining import Entries, Operand, Source
from sateen.hw.spec.config import parse_config
from sateen.hw.spec.descriptor import Rounding

CONFIGS = [
    "tiny,softmax=2,positions=256,descriptors=12",
    "small,softmax=2,direct=1,positions=64,lanes=3,overlap=1,weight_rows=2",
]
"""Tables in two ways; lanes that do not divide the columns."""
CASES = [
    ((1,), 0.1, 256), ((10,), 0.1, 255), ((5, 7), 0.3, 256), ((3, 4, 9), 0.01, 127), ((16, 16), 0.1, 256),
    ((6, 13), 3.0, 1), ((4, 4), 1e4, 256), ((3, 1), 0.1, 255), ((2, 3), 1e-30, 256), ((3, 70), 0.65, 256),
    ((9, 2), 0.1, 0),
]  # fmt: skip
"""Shapes, scales and steps: rows of one value, of a line and of several, a last line of one byte; exponentials that are
denormal, zero for all distances but one, or all equal; no share at all."""


def real(shape, scale, *, steps=256, zero_point=-128, beta=1.0):
    output = {"scale": 1 / (steps + 0.25), "zero_point": zero_point}
    return graph(shape, scale, beta=beta, rounding=Rounding.FLOAT32, output=output)


@pytest.fixture(scope="module", params=CONFIGS)
def device(request):
    with sateen.open(f"sim:{request.param}") as opened:
        yield opened


def codes(*shape):
    return np.random.default_rng(seeds.own()).integers(-128, 128, shape).astype(np.int8)


@pytest.mark.parametrize(("shape", "scale", "steps"), CASES)
def test_on_the_device(device, shape, scale, steps):
    x = codes(3, *shape)
    # Rows of equal values, and rows that begin with the smallest, whose first sums are the least.
    x[0, ..., :] = x[0, ..., :1]
    x[1] = np.sort(x[1], axis=-1)
    check(device, real(shape, scale, steps=steps, beta=0.9), x)


@pytest.mark.parametrize("zero_point", [-127, 0, 127])
def test_zero_points(device, zero_point):
    check(device, real((4, 5), 0.2, zero_point=zero_point), codes(2, 4, 5))


def test_other_softmaxes(device):
    """TensorFlow Lite's is the same device's, before and behind it."""
    x = codes(1, 6, 11)
    for made in (graph((6, 11), 0.1), real((6, 11), 0.1), graph((6, 11), 0.1)):
        check(device, made, x)


def test_longest_row():
    """As many values as a descriptor can say, and 2,047."""
    with sateen.open("sim:tiny,softmax=2,positions=256,scratchpad_bytes=262144") as device:
        check(device, real((2047,), 0.02), codes(1, 2047))
        loaded = device.load(sateen.compile(real((65535,), 0.3), device.config, strict=True))
        x = codes(1, 65535)
        np.testing.assert_array_equal(loaded.run(x), sateen.graph.run(loaded.model.graph, x)["y"])


@pytest.mark.parametrize(
    ("made", "config", "reason"),
    [
        (real((10,), 0.1), "tiny,softmax=1,positions=256", "it is onnxruntime's.*; configure one with softmax=2"),
        (real((10,), 0.1, steps=257), CONFIGS[0], "scale of 0.003887.* makes 257 steps of a whole share.* takes 256"),
        (real((65536,), 0.1), CONFIGS[0], "its rows have 65536 values, the device takes 65535"),
    ],
)  # fmt: skip
def test_refusals(made, config, reason):
    check_refused(made, config, reason)


def test_other_devices_refuse():
    """A model for a device with onnxruntime's softmax is for no other."""
    model = sateen.compile(real((10,), 0.1), "tiny,softmax=2,positions=256")
    with sateen.open("sim:tiny,softmax=1,positions=256") as device:
        with pytest.raises(sateen.ConfigMismatch, match="softmax"):
            device.load(model)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (on_output(rounding=Rounding.DOUBLE), "is another softmax than the graph's"),
        (on_output(zero_point=-127), "its program gives"),
        (on_output(high=126), "clamps its shares"),
        (on_output(low=-127), "clamps its shares"),
        (on_output(entries=Entries(Operand(), Operand(Source.NONE))), "takes its entries from elsewhere"),
        (on_output(combine=2), "are not exponentials and products"),
    ],
)
def test_verification(change, message):
    model = sateen.compile(real((5, 7), 0.3), "tiny,positions=256,softmax=2,direct=1", strict=True)
    verify_program(model)
    with pytest.raises(InternalError, match=message):
        verify_program(tampered(model, change))
    # The same program for a device that cannot run it.
    with pytest.raises(InternalError, match="is a softmax of float32"):
        verify_program(replace(model, config=parse_config("tiny,positions=256,softmax=1,direct=1")))


def test_verification_of_tables():
    model = sateen.compile(real((5, 7), 0.3), "tiny,positions=256,softmax=2", strict=True)
    for word in (0, 255, 300):
        weights = model.segments[0].weights.copy()
        weights[word, 0] ^= 1
        broken = replace(model, segments=(replace(model.segments[0], weights=weights),))
        with pytest.raises(InternalError, match="are not exponentials and products"):
            verify_program(broken)
