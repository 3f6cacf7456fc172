"""Compares the program of a recurrent layer with what the graph says: all of its descriptors, one after the other, with
the words that the device's unit keeps between them."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import replace

import numpy as np
from numpy.typing import ArrayLike, NDArray

from sateen.compiler.verification.emulation import Layered
from sateen.compiler.verification.places import Place, element, mistake
from sateen.graph.ops import FeatureBytes, LstmBytes, Op, Tensors, TimeBytes
from sateen.hw.spec.recurrent import UNIT_SUMS, Recurrent, Target
from sateen.sim import golden

__all__ = ["verify_recurrent"]

Bytes = NDArray[np.int8]
MASK = (1 << 32) - 1
LARGEST = 1 << 19
"""Half of the numbers in place of bytes."""
SPREADS = 128, 128, 12
"""Magnitudes of the bytes that are tried: with small ones, results are not at their limits."""


def verify_recurrent(
    op: Op, tensors: Tensors, program: Sequence[tuple[Place, Layered]], words: int, scratchpad: int,
    rng: np.random.Generator,
) -> None:  # fmt: skip
    """Computes the layer's results for some bytes, by its program and by its definition.

    Parameters
    ----------
    program
        Its descriptors.
    words
        How many the unit keeps.
    scratchpad
        Bytes of the scratchpad.

    Raises
    ------
    InternalError
        If a descriptor is none of a recurrent layer, writes beyond the output, or a result differs.
    """
    numbers = (2 * rng.integers(-LARGEST, LARGEST, scratchpad) + 1).astype(np.float64)
    for place, layered in program:
        _says_what_the_graph_says(op, tensors, place, layered)
        _multiplies_by_the_weights(op, place, layered, numbers)
    for inputs in _inputs(op, tensors, rng):
        unit = golden.RecurrentUnit(words)
        unit.words[:] = rng.integers(-(2**15), 2**15, words)
        memory = rng.integers(-128, 128, scratchpad).astype(np.int8)
        for place, layered in program:
            for name, (address, first, count) in zip(op.inputs, place.sources, strict=True):
                memory[address : address + count] = inputs[name].ravel()[first : first + count]
            _run(op, place, layered, unit, memory)
        place = program[-1][0]
        found = memory[place.address : place.address + place.size]
        wanted = op.execute(tensors, inputs)
        if not np.array_equal(found, wanted.ravel()):
            index = int(np.argmax(found != wanted.ravel()))
            where = element(wanted.shape[1:], index)
            raise mistake(op, f"its program gives {found[index]} at {where}, the graph {wanted.ravel()[index]}")


def _says_what_the_graph_says(op: Op, tensors: Tensors, place: Place, layered: Layered) -> None:
    """Numbers whose last bits few results show: scales, biases, and what cells have."""
    output = layered.descriptor.output
    recurrent, channels = output.recurrent, np.arange(output.channels)
    if recurrent is None:
        raise mistake(op, f"{place} gives results of 8 bits")
    found = layered.parameters.transpose(1, 0, 2).reshape(3, -1)[:, channels]
    wanted: tuple[ArrayLike, ...]
    if isinstance(op, LstmBytes):
        wanted = _of_lstm(op, tensors, recurrent, channels)
    elif isinstance(op, TimeBytes):
        channels, found = channels[::UNIT_SUMS], found[:, UNIT_SUMS - 1 :: UNIT_SUMS]
        wanted = op.bias + 128 * op.weights.astype(np.int64).sum(axis=(0, 1)), op.multiplier, op.shift
    else:
        assert isinstance(op, FeatureBytes)
        wanted = -tensors[op.input].zero_point * op.weights.astype(np.int64).sum(axis=1), op.multiplier, op.shift
    for what, here, there in zip(("adds", "multiplies by", "shifts by"), found, wanted, strict=True):
        expected = np.broadcast_to(there, here.shape)
        if ((here - expected) & MASK).any():
            index = int(np.argmax((here - expected) & MASK != 0))
            raise mistake(op, f"{place} {what} {here[index]}, the graph {expected[index]}")


def _multiplies_by_the_weights(op: Op, place: Place, layered: Layered, numbers: NDArray[np.float64]) -> None:
    """Sums of products with numbers in place of bytes: none of its weights is another."""
    stream, output = layered.descriptor.activations, layered.descriptor.output
    assert output.recurrent is not None
    results = layered.results(numbers, every=True)
    sums, index = results.sums[:, 0], results.address - output.address
    values = numbers.astype(np.int64)
    if output.recurrent.joins:
        weights = op.weights if isinstance(op, TimeBytes) else np.ones((1, output.channels // UNIT_SUMS), np.int64)
        weights = weights.reshape(-1, output.channels // UNIT_SUMS).astype(np.int64)
        given = values[stream.address :][: 2 * weights.size].reshape(*weights.shape, 2)
        wanted = (weights * (given[..., 0] + 256 * given[..., 1])).sum(axis=0)
        found = (sums.reshape(-1, UNIT_SUMS) << np.array([24, 16, 8, 0])).sum(axis=1)
    else:
        weights = _weights(op, output.recurrent).astype(np.int64)
        given = values[stream.address :][: weights.shape[1] * (index.max() // len(weights) + 1)]
        wanted = (given.reshape(-1, weights.shape[1]) @ weights.T).ravel()[index]
        found = sums
    if ((found - wanted) & MASK).any():
        channel = int(np.argmax((found - wanted) & MASK != 0))
        raise mistake(op, f"{place} multiplies by other weights than the graph, for its sum {channel}")


def _weights(op: Op, recurrent: Recurrent) -> NDArray[np.int8]:
    """[channels, values] of a product."""
    if isinstance(op, FeatureBytes):
        return op.weights
    assert isinstance(op, LstmBytes)
    if recurrent.target == Target.WIDE:
        return np.zeros((op.input_weights.shape[1], 1), np.int8)
    weights = op.recurrent_weights if recurrent.target == Target.CELLS else op.input_weights
    return weights.transpose(1, 0, 2).reshape(-1, weights.shape[2])


def _of_lstm(
    op: LstmBytes, tensors: Tensors, recurrent: Recurrent, channels: NDArray[np.int64]
) -> tuple[NDArray[np.int64], ...]:
    """Biases, multipliers and shifts of channels of an LSTM's descriptor, which has the graph's other numbers."""
    if recurrent.joins or recurrent.target == Target.WIDE:
        # Cells that come in or go out.
        return np.where(recurrent.joins & (channels % UNIT_SUMS == UNIT_SUMS - 1), 128, 0), *np.array([[1 << 30], [1]])
    side, gate, unit = int(recurrent.target == Target.CELLS), channels % UNIT_SUMS, channels // UNIT_SUMS
    hidden = tensors[op.hidden]
    multiplier, shift = golden.quantize_multiplier(2.0**-30 / hidden.scale)
    power = round(math.log2(tensors[op.cell].scale))
    wanted = replace(
        recurrent, multiplier=multiplier, shift=shift, cell_power=power, cell_clip=op.cell_clip, adds=True, joins=False
    )
    if side and recurrent != wanted:
        raise mistake(op, f"its program has {recurrent} of a step, the graph {wanted}")
    weights, point = ((op.input_weights, tensors[op.input].zero_point), (op.recurrent_weights, hidden.zero_point))[side]
    bias = op.bias.astype(np.int64) * (1 - side) - point * weights.astype(np.int64).sum(axis=2)
    return bias[gate, unit], op.multiplier[gate, side].astype(np.int64), op.shift[gate, side].astype(np.int64)


def _inputs(op: Op, tensors: Tensors, rng: np.random.Generator) -> Iterator[dict[str, Bytes]]:
    for spread in SPREADS:
        values = {}
        for name in op.inputs:
            middle = tensors[name].zero_point if spread < SPREADS[0] else 0
            random = rng.integers(-spread, spread, (1, *tensors[name].shape[1:])) + middle
            values[name] = np.clip(random, -128, 127).astype(np.int8)
        yield values


def _run(op: Op, place: Place, layered: Layered, unit: golden.RecurrentUnit, memory: Bytes) -> None:
    """Runs a descriptor on the scratchpad's bytes."""
    output = layered.descriptor.output
    assert output.recurrent is not None
    results = layered.results(memory.astype(np.float64), every=True)
    given = unit.results(
        output.recurrent, results.sums[:, 0], (results.bias, results.multiplier, results.shift), results.address,
        zero_point=output.zero_point, low=output.low, high=output.high,
    )  # fmt: skip
    begin = output.address
    if len(given) and not place.address <= begin <= begin + len(given) <= place.address + place.size:
        raise mistake(op, f"{place} writes beyond its output's {place.size} bytes")
    memory[begin : begin + len(given)] = given
