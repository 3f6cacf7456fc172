"""Compares what a compiled model's programs compute with what its graph says, layer by layer.

Of a layer with weights the sums are compared, for random numbers of 20 bits in place of its input's bytes. Two sums
that multiply these by different weights are equal once in a million times. Of other layers the results are compared,
for random bytes, and where results are clamped for the lowest and the highest ones; tables are tried with all pairs of
bytes. Results are taken at the beginning, in the middle and at the end of each axis, in all channels.
"""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import replace

import numpy as np
from numpy.typing import NDArray

from sateen.compiler.model import Layer, Model, Piece
from sateen.compiler.verification.decoding import records
from sateen.compiler.verification.definitions import SUMS, sums
from sateen.compiler.verification.emulation import Layered, Results, positions, written
from sateen.compiler.verification.places import Place, element, mistake, places_of
from sateen.compiler.verification.recurrent import verify_recurrent
from sateen.compiler.verification.residual import check_residual
from sateen.compiler.verification.rows import check_layer_norm, check_softmax
from sateen.compiler.verification.segments import conflicts
from sateen.compiler.verification.tiles import misplaced
from sateen.graph.ops import (
    LayerNorm,
    MatrixProduct,
    NormalizedProduct,
    Op,
    Recurrent,
    Reshape,
    ResidualConv2D,
    TableProduct,
    Weighted,
)
from sateen.hw.spec.combining import Combine
from sateen.hw.spec.descriptor import Descriptor
from sateen.hw.spec.nests import CHANNELS_DIM
from sateen.sim import golden

__all__ = ["verify_program"]

SEED = 1
LARGEST = 1 << 20
"""Of the numbers in place of a weighted layer's input."""
BYTES = np.arange(-128, 128)
LIMITS = -128, 127

Floats = NDArray[np.float64]
Ints = NDArray[np.int64]


def verify_program(model: Model) -> None:
    """Compares every layer's program and weights with the graph.

    Raises
    ------
    InternalError
        If a layer multiplies by another weight, adds another bias, scales or rounds otherwise, has other tables, or
        does not write each of its results; if its sums do not fit the accumulators as it divides them; or if it
        disturbs its neighbours. It names layer and weight.
    """
    verifier = _Verifier(model)
    for step in model.steps:
        for place, layer in enumerate(model.layers[step.first : step.first + step.count]):
            verifier.layer(layer, [tile.pieces[place] for tile in step.tiles])
        for tile in step.tiles:
            op = verifier.ops[model.layers[step.first].name]
            ends = (*op.inputs, model.layers[step.first + step.count - 1].output)
            source, target = (model.addresses[name] if name in step.inside else None for name in (ends[0], ends[-1]))
            for what in misplaced(tile, len(op.inputs), source=source, target=target):
                raise mistake(op, what)
    verifier.segments()


class _Verifier:
    def __init__(self, model: Model):
        self.model, self.config, self.graph = model, model.config, model.graph
        self.ops = {op.name: op for op in model.graph.ops}
        self.buffers: dict[str, str] = {}
        """The tensor that each Reshape's result has its bytes from."""
        for op in model.graph.ops:
            if isinstance(op, Reshape):
                self.buffers[op.output] = self.buffers.get(op.input, op.input)
        self.programs = [records(segment.program) for segment in model.segments]
        self.rng = np.random.default_rng(SEED)
        sizes = [model.size(name) for op in model.graph.ops if isinstance(op, Weighted) for name in op.inputs]
        self.numbers = self._numbers(max(sizes, default=0))
        self.garbage = self._numbers(model.config.scratchpad_bytes)
        self.decoded: dict[tuple[int, int], Layered] = {}
        self.stores: dict[int, NDArray[np.int8]] = {}
        """Words of the segments that a layer's descriptors write to, by the segments' numbers."""

    def layer(self, layer: Layer, pieces: Sequence[Piece]) -> None:
        """Compares a layer, whole or in stripes."""
        op, self.decoded, self.stores = self.ops[layer.name], {}, {}
        try:
            self._layer(op, list(self._places(op, layer, pieces)))
        except (ArithmeticError, AssertionError, LookupError, ValueError) as error:
            raise mistake(op, f"its program has no meaning ({error!r})") from error

    def segments(self) -> None:
        """Looks for descriptors that disturb others of their segment."""
        layers = [[-1] * len(program) for program in self.programs]
        for number, layer in enumerate(self.model.layers):
            for part in layer.parts:
                layers[part.segment][part.first : part.first + part.count] = [number] * part.count
        for number, (program, segment) in enumerate(zip(self.programs, self.model.segments, strict=True)):
            words, most = len(segment.weights), self.config.weight_words
            if words > most:
                op = self.ops[self.model.layers[layers[number][0]].name]
                raise mistake(op, f"segment {number} has {words} words, more than the weight store's {most}")
            for index, what in conflicts(program, layers[number], len(segment.weights), self.config):
                op = self.ops[self.model.layers[layers[number][index]].name]
                raise mistake(op, f"descriptor {index} of segment {number} {what}")

    def _layer(self, op: Op, places: list[Place]) -> None:
        if isinstance(op, Recurrent):
            for place in places:
                self._says_what_the_graph_says(op, place)
            program = [(place, self._layered(place)) for place in places]
            words, scratchpad = self.config.recurrent, self.config.scratchpad_bytes
            verify_recurrent(op, self.graph.tensors, program, words, scratchpad, self.rng)
            return
        copies = [place for place in places if self._descriptor(place).output.to_weights]
        self._writes_everything(op, [place for place in places if place not in copies])
        for place in places:
            self._says_what_the_graph_says(op, place)
            if isinstance(op, TableProduct) and op.loaded:
                self._layered(place).tables[1] = np.roll(op.table, -128)
        if isinstance(op, Weighted) and type(op) in SUMS:
            for place in places:
                store = self.model.segments[place.segment].weights
                check_residual(op, place, self._descriptor(place), store, self.graph.tensors)
            inputs = {name: self.numbers[: self.model.size(name)] for name in op.inputs}
            self._compare(op, places, inputs, self._weighted)
        else:
            # A tensor and its Reshapes are the same bytes.
            buffers = {name: self.buffers.get(name, name) for name in op.inputs}
            sizes = {buffer: self.model.size(buffer) for buffer in buffers.values()}
            tried = [{buffer: self.rng.integers(-128, 128, size).astype(np.float64) for buffer, size in sizes.items()}]
            if self._clamps(op, places):
                tried += [
                    {buffer: np.full(sizes[buffer], float(value)) for buffer, value in zip(sizes, values, strict=True)}
                    for values in itertools.product(LIMITS, repeat=len(sizes))
                ]
            self._tables(op, places)
            for values in tried:
                inputs = {name: values[buffer] for name, buffer in buffers.items()}
                self._compare(op, places, inputs, self._executed(op, inputs))

    def _clamps(self, op: Op, places: list[Place]) -> bool:
        """Whether results are clamped further than int8 is: by the graph, or by the program."""
        streams = [self._descriptor(place).output for place in places]
        stated = {(getattr(op, "low", -128), getattr(op, "high", 127)), *((each.low, each.high) for each in streams)}
        return stated != {LIMITS}

    def _numbers(self, count: int) -> Floats:
        """Odd numbers, so that none is zero."""
        return 2.0 * self.rng.integers(-LARGEST // 2, LARGEST // 2, count, np.int32) + 1

    def _places(self, op: Op, layer: Layer, pieces: Sequence[Piece]) -> Iterator[Place]:
        size, addresses = self.model.size, self.model.addresses
        if not pieces:
            sources = tuple((addresses[name], 0, size(name)) for name in op.inputs)
            yield from places_of(layer.parts, sources, addresses[op.output], 0, size(op.output))
        for piece in pieces:
            first, count = piece.source
            sources = tuple((piece.source_address + index * count, first, count) for index in range(len(op.inputs)))
            yield from places_of(piece.parts, sources, piece.address, *piece.target)

    def _descriptor(self, place: Place) -> Descriptor:
        return self.programs[place.segment][place.index]

    def _layered(self, place: Place) -> Layered:
        key = place.segment, place.index
        if key not in self.decoded:
            store = self.stores.get(place.segment, self.model.segments[place.segment].weights)
            before = self.programs[place.segment][place.index - 1] if place.follows else None
            self.decoded[key] = Layered(self._descriptor(place), store, self.config, before)
        return self.decoded[key]

    def _writes_everything(self, op: Op, places: list[Place]) -> None:
        covered = np.zeros(self.model.size(op.output), bool)
        for place in places:
            stream = self._descriptor(place).output
            for addresses, channels in written(stream, self.config.cols):
                begin = addresses - place.address
                if begin.min() < 0 or begin.max() + channels > place.size:
                    raise mistake(op, f"{place} writes beyond its output's {place.size} bytes")
                covered[(begin + place.first)[:, None] + np.arange(channels)] = True
        if not covered.all():
            raise mistake(op, f"its program does not write {element(self._shape(op), int(np.argmin(covered)))}")

    def _says_what_the_graph_says(self, op: Op, place: Place) -> None:
        """What the descriptor states besides its weights."""
        d = self._descriptor(place)
        counts = [dim.count for dim in d.output.dims]
        turns = [
            (d.weights.blocks, d.weights.groups),
            tuple(dim.count for dim in d.activations.dims[: CHANNELS_DIM + 1]),
            tuple(counts[: CHANNELS_DIM + 1]),
        ]
        if len(set(turns)) > 1:
            raise mistake(op, f"the blocks and groups of {place} are not the same in its streams: {turns}")
        if d.output.softmax:
            check_softmax(op, place, self._layered(place), self.graph.tensors)
        elif positions(d.activations) != counts[2] * counts[3] * d.output.taps:
            raise mistake(op, f"{place} sums up {positions(d.activations)} positions, not {counts[2] * counts[3]}")
        self._fits_accumulators(op, place)
        if d.output.recurrent and not isinstance(op, Recurrent):
            raise mistake(op, f"{place} is one of a recurrent layer")
        if isinstance(op, LayerNorm) and not d.output.layer_norm:
            raise mistake(op, f"{place} does not normalize rows")
        if d.output.normalized != isinstance(op, NormalizedProduct):
            raise mistake(op, f"{place} {'normalizes' if d.output.normalized else 'does not normalize'} its input")
        if isinstance(op, Weighted):
            stated = d.output.zero_point, d.output.low, d.output.high, d.output.rounding
            result = op.between if isinstance(op, ResidualConv2D) else self.graph.tensors[op.output]
            wanted = result.zero_point, op.low, op.high, op.rounding
            if stated != wanted:
                raise mistake(op, f"{place} has zero point, clamp and rounding {stated}, the graph {wanted}")

    def _fits_accumulators(self, op: Op, place: Place) -> None:
        d = self._descriptor(place)
        looks_up = d.output.combine != Combine.NONE
        if not d.activations.pairs == d.weights.tables == looks_up:
            raise mistake(op, f"{place} looks up in some of its streams only")
        if not looks_up and positions(d.activations) > self.config.positions:
            raise mistake(op, f"{place} has {positions(d.activations)} sums, {self.config.positions} fit")
        halves = replace(
            d, activations=replace(d.activations, quarters=False), output=replace(d.output, quarters=False)
        )
        divided = halves.in_quarters(self.config.positions, overlap=bool(self.config.overlap))
        if d.activations.quarters != d.output.quarters or (d.quarters and not divided.quarters):
            raise mistake(op, f"{place} divides the accumulators, which its sums do not allow")

    def _memory(self, op: Op, place: Place, inputs: Mapping[str, Floats]) -> Floats:
        memory = self.garbage.copy()
        for name, (address, first, count) in zip(op.inputs, place.sources, strict=True):
            memory[address : address + count] = inputs[name][first : first + count]
        return memory

    def _compare(
        self, op: Op, places: list[Place], inputs: Mapping[str, Floats],
        expected: Callable[[Op, Results, Place, Ints, Mapping[str, Floats]], tuple[Ints, Ints]],
    ) -> None:  # fmt: skip
        memory, before, copied = None, None, False
        for place in places:
            if memory is None or place.sources != before:
                memory, before = self._memory(op, place, inputs), place.sources
            if self._descriptor(place).output.to_weights:
                self._copy(op, place, np.clip(memory, -128, 127))
                copied = True
                continue
            if copied and not self._descriptor(place).weights.waits:
                raise mistake(op, f"{place} does not wait for the words that descriptors before it write")
            copied = False
            if self._layered(place).looks_up:
                memory = np.clip(memory, -128, 127)
            results = self._layered(place).results(memory)
            index = results.address - place.address + place.first
            found, wanted = expected(op, results, place, index, inputs)
            if not np.array_equal(found, wanted):
                self._report(op, place, index, found, wanted, inputs)

    def _copy(self, op: Op, place: Place, memory: Floats) -> None:
        """Writes the results of a descriptor into words of its segment, which those behind it read."""
        results = self._layered(place).results(memory, every=True)
        values, word = self._requantized(place, results), self.config.weight_word_bytes
        store = self.stores.setdefault(place.segment, self.model.segments[place.segment].weights.copy())
        row, column = np.divmod(results.address, word)
        if row.min() < 0 or row.max() >= len(store) or column.max() >= self.config.cols:
            raise mistake(op, f"{place} writes beyond its segment's {len(store)} words")
        store[row, column] = values
        self.decoded.clear()

    def _weighted(
        self, op: Op, results: Results, place: Place, index: Ints, inputs: Mapping[str, Floats]
    ) -> tuple[Ints, Ints]:
        """Sums of the program and of the graph, with their scales: [n, 3] each."""
        assert isinstance(op, Weighted)
        x, y = self.graph.tensors[op.input], self.graph.tensors[op.output]
        channel = index % y.shape[-1]
        wanted = sums(op, inputs[op.input], x, y, index)
        found = results.sums[:, 0] + results.bias
        scales = op.multiplier[channel].astype(np.int64), op.shift[channel].astype(np.int64)
        return (
            np.stack([found & 0xFFFFFFFF, results.multiplier, results.shift], axis=1),
            np.stack([wanted & 0xFFFFFFFF, *scales], axis=1),
        )

    def _executed(
        self, op: Op, inputs: Mapping[str, Floats]
    ) -> Callable[[Op, Results, Place, Ints, Mapping[str, Floats]], tuple[Ints, Ints]]:
        """Compares the program's results with those of the operator."""
        values = {
            name: given.astype(np.int8).reshape(1, *self.graph.tensors[name].shape[1:])
            for name, given in inputs.items()
        }
        wanted = op.execute(self.graph.tensors, values).ravel()

        def compared(
            op: Op, results: Results, place: Place, index: Ints, inputs: Mapping[str, Floats]
        ) -> tuple[Ints, Ints]:
            if isinstance(op, MatrixProduct):
                self._scales_as_the_graph(op, place, results, index)
            found = self._requantized(place, results)
            return found[:, None], wanted[index].astype(np.int64)[:, None]

        return compared

    def _scales_as_the_graph(self, op: MatrixProduct, place: Place, results: Results, index: Ints) -> None:
        """What is added to a product's sums, and by what they are scaled. Its results for some bytes say less."""
        bias = np.broadcast_to(op.bias, self._shape(op)[-1:])[index % self._shape(op)[-1]]
        for what, found, wanted in (
            ("adds", results.bias, bias),
            ("multiplies by", results.multiplier, op.multiplier),
            ("shifts by", results.shift, op.shift),
        ):
            if (different := found != wanted).any():
                first = int(np.argmax(different))
                value = np.broadcast_to(wanted, found.shape)[first]
                raise mistake(op, f"{place} {what} {found[first]}, the graph {value}")

    def _requantized(self, place: Place, results: Results) -> Ints:
        stream = self._descriptor(place).output
        values = golden.requantize(
            results.sums + results.bias[:, None], results.multiplier[:, None], results.shift[:, None],
            rounding=stream.rounding, zero_point=stream.zero_point, low=stream.low, high=stream.high,
        )  # fmt: skip
        return values.max(axis=1).astype(np.int64)

    def _tables(self, op: Op, places: list[Place]) -> None:
        """Tries every entry of the tables, with every one of the other table's."""
        for place in places:
            layered = self._layered(place)
            if not layered.looks_up or layered.descriptor.output.softmax:
                return
            a = b = BYTES
            if len(set(op.inputs)) > 1:
                a, b = np.repeat(BYTES, len(BYTES)), np.tile(BYTES, len(BYTES))
            none = np.zeros(len(a), np.int64)
            bias, multiplier, shift = (none + layered.parameters[0, which, 0] for which in range(3))
            results = Results(none, layered.combined(a, b)[:, None], bias, multiplier, shift)
            given = dict(zip(op.inputs, (a.astype(np.int8), b.astype(np.int8)), strict=False))
            found = self._requantized(place, results)
            if layered.descriptor.output.layer_norm:
                check_layer_norm(op, place, layered, self.graph.tensors, found)
                continue
            wanted = op.execute(self.graph.tensors, given)
            if not np.array_equal(found, wanted):
                at = int(np.argmax(found != wanted))
                values = a[at] if len(set(op.inputs)) == 1 else f"{a[at]} and {b[at]}"
                raise mistake(op, f"the tables of {place} give {found[at]} for {values}, the graph {wanted[at]}")

    def _shape(self, op: Op) -> tuple[int, ...]:
        return self.graph.tensors[op.output].shape[1:]

    def _report(
        self, op: Op, place: Place, index: Ints, found: Ints, wanted: Ints, inputs: Mapping[str, Floats]
    ) -> None:
        """Raises an error that says what differs, of a layer with weights by which weight."""
        first = int(np.argmax((found != wanted).any(axis=1)))
        where = f"{element(self._shape(op), int(index[first]))} ({place})"
        if found.shape[1] == 1:
            raise mistake(op, f"its program gives {found[first, 0]} at {where}, the graph {wanted[first, 0]}")
        assert isinstance(op, Weighted)
        if found[first, 0] == wanted[first, 0]:
            scales = f"{tuple(found[first, 1:].tolist())}, the graph {tuple(wanted[first, 1:].tolist())}"
            raise mistake(op, f"its program scales {where} by multiplier and shift {scales}")
        x = inputs[op.input]

        def differences(low: int, high: int) -> Ints:
            """By how much the program's sums are larger if only these bytes of the input are not zero."""
            some = np.zeros_like(x)
            some[low:high] = x[low:high]
            given = {**inputs, op.input: some}
            results = self._layered(place).results(self._memory(op, place, given))
            a, b = self._weighted(op, results, place, index, given)
            return (a[:, 0] - b[:, 0] + (1 << 31)) % (1 << 32) - (1 << 31)

        constant, low, high = differences(0, 0), 0, len(x)
        # In padding a wrong weight changes a constant; a result that reads it says which it is.
        changing = differences(low, high) != constant
        if not changing.any():
            raise mistake(op, f"its program's bias is larger by {constant[first]} at {where} than the graph's")
        first = int(np.argmax(changing))
        where = f"{element(self._shape(op), int(index[first]))} ({place})"
        while high - low > 1:
            middle = (low + high) // 2
            low, high = (low, middle) if differences(low, middle)[first] != constant[first] else (middle, high)
        weight = (differences(low, high) - constant)[first] / x[low]
        byte = element(self.graph.tensors[op.input].shape[1:], low, op.input)
        raise mistake(op, f"its program's weight of {byte} at {where} is larger by {weight:g} than the graph's")

