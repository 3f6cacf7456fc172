"""Random TensorFlow Lite models of every operator: the golden model and simulated devices against tflite-micro, output
for output.

No refusal is allowed: the generator makes only what the front end takes.
"""

from __future__ import annotations

import warnings
from collections.abc import Sequence
from functools import cache

import numpy as np
import pytest

import sateen
import seeds
from interpreters import portable
from sateen.frontends import tflite
from sateen.frontends.tflite.file import read
from sateen.graph import run
from sateen.runtime import Device
from tflite_networks import random_network

CONFIGS = [
    "tiny,products=1,softmax=1,squares=1,positions=256,descriptors=12,overlap=1", "tiny",
    "micro,scratchpad_bytes=8192,weight_bytes=16384,descriptors=32",
    "tiny,scratchpad_bytes=1024,weight_bytes=4096,descriptors=4", "tiny,pe=bitserial", "tiny,combine=4",
    "tiny,positions=256,scratchpad_bytes=512,overlap=1,softmax=1", "tiny,pe=interleaved",
    "tiny,rows=6,cols=5,lanes=3,positions=32", "small", "tiny,pe=term,weight_bytes=32768",
    "tiny,pe=balanced,overlap=1", "micro", "large",
]  # fmt: skip
"""A seed's is that at its remainder: with tables and without, of both engines and every kind of PE, and too small for
most models."""
BASE = (seeds.BASE - 1) * 100_000
"""The first network's seed."""
EACH = {"large": 4}
"""Networks for a configuration that takes minutes to build, in place of ten."""


def reference(data: bytes, given: Sequence[np.ndarray]) -> list[np.ndarray]:
    """tflite-micro's outputs, [times, …] each."""
    made = portable(data)
    results = []
    for inputs in zip(*given, strict=True):
        for place, value in enumerate(inputs):
            made.set_input(value, place)
        made.invoke()
        results.append([made.get_output(place).copy() for place in range(len(read(data).outputs))])
    return [np.stack(values) for values in zip(*results, strict=True)]


def check(seed: int, device: Device | None = None) -> None:
    """Checks the network of a seed by the golden model, or on a device through the driver."""
    where = "the golden model" if device is None else CONFIGS[seed % len(CONFIGS)]
    try:
        _check(seed, device)
    except Exception as error:
        said, again = " ".join(str(error).split()), f".venv/bin/python tb/soak.py tflite-networks --seed {seed}"
        raise AssertionError(
            f"network {seed} on {where}: {type(error).__name__}: {said}; repeat with {again}"
        ) from error


def _check(seed: int, device: Device | None) -> None:
    data, given = random_network(np.random.default_rng(seed))
    expected = reference(data, given)
    graph = tflite.load(data)
    shaped = [
        values.reshape(-1, *graph.tensors[name].shape[1:]) for name, values in zip(graph.inputs, given, strict=True)
    ]
    x = dict(zip(graph.inputs, shaped, strict=True))
    if device is None:
        actual = run(graph, x)
    else:
        with warnings.catch_warnings():
            # What the device lacks, the host computes.
            warnings.simplefilter("ignore", sateen.SateenWarning)
            loaded = device.load(sateen.compile(graph, device.config))
        actual, tensors = loaded.run(x, layers=True)
        alone = loaded.run(x)
        if len(graph.outputs) == 1:
            actual, alone = ({graph.outputs[0]: values} for values in (actual, alone))
        for name, values in run(loaded.model.graph, x, layers=True).items():
            np.testing.assert_array_equal(
                tensors[name], np.broadcast_to(values, tensors[name].shape), err_msg=f"tensor {name}"
            )
        for name, values in actual.items():
            np.testing.assert_array_equal(alone[name], values, err_msg=f"{name} without layers")
    for name, values in zip(graph.outputs, expected, strict=True):
        assert actual[name].dtype == values.dtype
        np.testing.assert_array_equal(actual[name].reshape(values.shape), values, err_msg=f"output {name}")


@cache
def _opened(config: str) -> Device:
    return sateen.open(f"sim:{config}")


def soak(seed: int) -> str:
    """Checks the network of a seed, by the golden model and on its configuration; ``AssertionError`` if anything
    differs."""
    check(seed)
    check(seed, _opened(CONFIGS[seed % len(CONFIGS)]))
    return "equal"


@pytest.mark.parametrize("first", range(0, 400, 50))
def test_golden_model(first):
    for seed in range(BASE + first, BASE + first + 50):
        check(seed)


@pytest.mark.parametrize(
    "config", [pytest.param(each, marks=[pytest.mark.prove] if each in EACH else []) for each in CONFIGS]
)
def test_on_devices(config):
    with sateen.open(f"sim:{config}") as device:
        for number in range(EACH.get(config, 10)):
            # The next seed whose configuration this is.
            seed = BASE + number * len(CONFIGS)
            check(seed + (CONFIGS.index(config) - seed) % len(CONFIGS), device)
