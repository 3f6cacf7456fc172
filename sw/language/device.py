"""The products of a quantized decoder on a device: one layer of the compiled program for each matrix."""

from __future__ import annotations

import math
import warnings
from collections import Counter
from io import BytesIO

import numpy as np
from numpy.typing import NDArray

from sateen.compiler import Model, Part, runs
from sateen.compiler import compile as compile_graph
from sateen.compiler.verification.decoding import records
from sateen.errors import CompileError, SateenWarning
from sateen.graph import FullyConnected, Graph, Tensor
from sateen.hw.spec.config import PRESETS, Config
from sateen.hw.spec.counters import Counters
from sateen.hw.spec.sdram import CHIPS
from sateen.hw.spec.wire import WAITED, WAITED_BYTES, Space
from sateen.language.decoder import Llama
from sateen.language.integers import Quantized
from sateen.runtime import Device
from sateen.runtime.link import read, write
from sateen.sim.cycles import predict

__all__ = ["DeviceProducts", "check_size", "compile_products", "predicted_cycles", "product_graph"]

LARGEST_STORE = 1 << 22
"""Bytes of the largest weight store that a configuration may have."""


def check_size(model: Llama) -> None:
    """Refuses a model that no device can hold, before it is quantized, which takes long.

    Raises
    ------
    CompileError
        If its weights alone are more than any weight store or SDRAM.
    """
    largest = max(chip.capacity for chip in CHIPS.values())
    if model.weights > largest:
        raise CompileError(
            f"{model.name} has {model.weights:,} weights, {model.weights - largest:,} more than the largest memory "
            f"of a device holds; use a smaller model, or --device golden"
        )


def product_graph(model: Quantized, positions: int = 1) -> Graph:
    """The matrices of a decoder as fully connected layers, each with an input and an output of its own.

    Parameters
    ----------
    positions
        Tokens that a layer takes at a time.
    """
    tensors, ops = {}, []
    for name, matrix in model.matrices.items():
        outputs, inputs = matrix.weights.shape
        for suffix, channels in (("in", inputs), ("out", outputs)):
            shape = (1, channels) if positions == 1 else (1, positions, channels)
            tensors[f"{name}.{suffix}"] = Tensor(name=f"{name}.{suffix}", shape=shape)
        scaling = matrix.scaling
        ops.append(
            FullyConnected(
                name=name, input=f"{name}.in", output=f"{name}.out", weights=matrix.weights, bias=matrix.bias,
                multiplier=scaling.multiplier, shift=scaling.shift,
            )
        )  # fmt: skip
    return Graph(
        name=model.name, tensors=tensors, ops=ops, inputs=[op.input for op in ops], outputs=[op.output for op in ops]
    )


def compile_products(model: Quantized, config: Config | str, positions: int = 1) -> Model:
    """Compiles the matrices of a decoder, all of which stay on the device: in its memories, or in its SDRAM, from which
    they are copied token by token.

    Raises
    ------
    CompileError
        If they do not fit one of the device's memories: which, how much over, and what to change.
    """
    with warnings.catch_warnings():
        # What the device cannot run is an error below.
        warnings.simplefilter("ignore", SateenWarning)
        compiled = compile_graph(product_graph(model, positions), config)
    config = compiled.config
    if compiled.fallbacks:
        name, reason = next(iter(compiled.fallbacks.items()))
        fewer = ", or take fewer tokens at a time" if positions > 1 else ""
        raise CompileError(f"the device cannot compute {name!r} of {model.name}: {reason}{fewer}")
    if compiled.tiled:
        raise CompileError(
            f"the activations of {model.name}, {positions} tokens at a time, do not fit the scratchpad of "
            f"{config.scratchpad_bytes:,} bytes; raise scratchpad_bytes, or take fewer tokens at a time"
        )
    if not compiled.resident and config.sdram is None:
        raise CompileError(_excess(model, compiled))
    return compiled


def predicted_cycles(compiled: Model) -> int:
    """What the cycle model expects of one pass over all matrices, each of which is run by itself."""
    programs = [records(segment.program) for segment in compiled.segments]
    parts = [part for layer in compiled.layers for part in runs(layer.parts)]
    each = [predict(programs[part.segment][part.first : part.first + part.count], compiled.config) for part in parts]
    return sum(counters.cycles for found in each for counters in found)


def _excess(model: Quantized, compiled: Model) -> str:
    """Which memory a model of several segments does not fit."""
    config = compiled.config
    needed, over = compiled.weight_words, compiled.weight_words - config.weight_words
    if over > 0:
        unit = config.weight_word_bytes * config.weight_rows
        needed = -(-needed * config.weight_word_bytes // unit) * unit
        return (
            f"{model.name} has {needed:,} bytes of weights with their scales, {needed - config.weight_bytes:,} more "
            f"than the weight store has ({config.weight_bytes:,}); {_remedy(needed)}"
        )
    count = sum(segment.count for segment in compiled.segments)
    return (
        f"{model.name} takes {count} descriptors, {count - config.descriptors} more than the program memory has "
        f"({config.descriptors}); use a configuration with descriptors={count}"
    )


def _remedy(needed: int) -> str:
    """What to do about a weight store that lacks bytes."""
    if needed > LARGEST_STORE:
        return f"no configuration has more than {LARGEST_STORE:,}; use a device with SDRAM, or a smaller model"
    larger = [name for name, preset in PRESETS.items() if preset.weight_bytes >= needed]
    preset = f"use the configuration {larger[0]}, or one" if larger else "use a configuration"
    return f"{preset} with weight_bytes={needed}"


class DeviceProducts:
    """Products that a device computes; see :class:`sateen.language.integers.Products`.

    With SDRAM, the weights of the next product are copied while one is computed, as far as there is room.

    Raises
    ------
    CompileError
        As :func:`compile_products` does.
    """

    def __init__(self, device: Device, model: Quantized, positions: int = 1):
        self.device, self.positions = device, positions
        self.compiled = compile_products(model, device.config, positions)
        self._parts = [(layer.name, part) for layer in self.compiled.layers for part in runs(layer.parts)]
        """Of all products, in the order in which a token needs them."""
        self.counters: Counter[str] = Counter()
        """Cycles and stalls of all products so far, by the fields of the device's counters."""
        self.memory_cycles = 0
        """Cycles besides, in which weights came from SDRAM while no product was computed."""
        device.load(self.compiled)

    @property
    def cycles(self) -> int:
        """Cycles of all products so far, by the device's counters, those in which they waited for SDRAM among them."""
        return self.counters["cycles"] + self.memory_cycles

    @property
    def link_bytes(self) -> int:
        """Bytes over the device's link so far, both ways."""
        return self.device.link.bytes

    def __call__(self, name: str, x: NDArray[np.int8]) -> NDArray[np.int8]:
        starts = range(0, len(x), self.positions)
        return np.concatenate([self._run(name, x[start : start + self.positions]) for start in starts])

    def _run(self, name: str, x: NDArray[np.int8]) -> NDArray[np.int8]:
        """At most ``positions`` rows."""
        model = self.compiled
        source, target = f"{name}.in", f"{name}.out"
        rows = np.zeros((self.positions, x.shape[1]), np.int8)
        rows[: len(x)] = x
        parts = [(place, part) for place, (each, part) in enumerate(self._parts) if each == name]
        given = write(Space.SCRATCHPAD, model.addresses[source], rows.tobytes())
        asked = read(Space.SCRATCHPAD, model.addresses[target], model.size(target))
        waited = [read(Space.CHECK, WAITED, WAITED_BYTES)] if self.device.config.sdram else []
        with self.device.turn:
            for place, part in parts:
                counters = read(Space.COUNTERS, 0, part.count * Counters.LAYOUT.size)
                before = [given] if part is parts[0][1] else []
                after = [counters, *waited, *([asked] if part is parts[-1][1] else [])]
                later = [other.segment for _, other in (*self._parts[place + 1 :], *self._parts[:place])]
                job = part, before, after
                answer = BytesIO(self.device.run_all(model, [job], [*dict.fromkeys(later)], waited))
                self._count(part, answer)
        data = answer.read()
        outputs = math.prod(model.graph.tensors[target].shape) // self.positions
        return np.frombuffer(data, np.int8).reshape(self.positions, outputs)[: len(x)]

    def _count(self, part: Part, answer: BytesIO) -> None:
        """Adds what the device counted in a part."""
        before = self._waited(answer)
        for _ in range(part.count):
            self.counters.update(vars(Counters.decode(answer.read(Counters.LAYOUT.size))))
        self.memory_cycles += (self._waited(answer) - before) % (1 << 8 * WAITED_BYTES)

    def _waited(self, answer: BytesIO) -> int:
        """The device's count of cycles that waited for SDRAM; 0 without."""
        return int.from_bytes(answer.read(WAITED_BYTES if self.device.config.sdram else 0), "little")
