"""Whether a model from a file is one that the compiler could have made: nothing in it reaches outside its device, its
tensors or its lists, and its programs compute its graph."""

from __future__ import annotations

import math
from dataclasses import astuple

from sateen.compiler.model import Layer, Model, Part, Piece, Step
from sateen.compiler.verification import verify_program
from sateen.compiler.verification.decoding import records
from sateen.errors import InternalError, ModelFileError
from sateen.graph import GraphError, Op, Reshape
from sateen.hw.spec.descriptor import DESCRIPTOR_WORDS

__all__ = ["check"]

MOST_CYCLES = 1 << 40


def check(model: Model) -> None:
    """Checks a model.

    Raises
    ------
    ModelFileError
        If it contradicts itself; the message says where.
    """
    try:
        _Checker(model).check()
        verify_program(model)
    except ModelFileError:
        raise
    except (InternalError, GraphError, ArithmeticError, LookupError, TypeError, ValueError) as error:
        reason = str(error).partition("; this is a mistake")[0]
        raise ModelFileError(f"the model contradicts itself ({reason}); compile it again") from error


class _Checker:
    def __init__(self, model: Model):
        self.model, self.config, self.graph = model, model.config, model.graph
        self.ops: dict[str, Op] = {op.name: op for op in model.graph.ops}

    def check(self) -> None:
        """All that :func:`verify_program` takes for granted."""
        self._segments()
        for name, address in self.model.addresses.items():
            self._require(name in self.graph.tensors, f"there is no tensor {name!r}, which has an address")
            self._in_scratchpad(address, self.model.size(name), f"tensor {name!r}")
        self._reshapes()
        for layer in self.model.layers:
            self._layer(layer)
        self._order()
        for step in self.model.steps:
            layers = self.model.layers[step.first : step.first + step.count]
            for tile in step.tiles:
                self._require(len(tile.pieces) == len(layers), "a stripe lacks layers")
                for layer, piece in zip(layers, tile.pieces, strict=True):
                    self._piece(layer, piece)

    def _reshapes(self) -> None:
        """A tensor and its reshapes are the same bytes: they stand in one place."""
        places = self.model.addresses
        for op in self.graph.ops:
            if isinstance(op, Reshape) and op.input in places and op.output in places:
                same = places[op.input] == places[op.output]
                self._require(same, f"{op.output!r} does not stand where {op.input!r} does, of which it is a reshape")

    def _piece(self, layer: Layer, piece: Piece) -> None:
        sources = [self.model.size(name) for name in self.ops[layer.name].inputs]
        self._within(piece.source, min(sources), "a stripe's input")
        self._within(piece.target, self.model.size(layer.output), "a stripe's result")
        self._in_scratchpad(piece.address, piece.target[1], "a stripe's result")
        self._in_scratchpad(piece.source_address, len(sources) * piece.source[1], "a stripe's input")
        self._parts(piece.parts, layer.name)

    def _require(self, holds: bool, what: str) -> None:
        if not holds:
            raise ModelFileError(f"the model contradicts itself ({what}); compile it again")

    def _in_scratchpad(self, address: int, size: int, what: str) -> None:
        holds = 0 <= address <= address + size <= self.config.scratchpad_bytes
        self._require(holds, f"{what} stands outside the scratchpad, at {address}")

    def _within(self, part: tuple[int, int], size: int, what: str) -> None:
        self._require(0 <= part[0] <= part[0] + part[1] <= size, f"{what} has no bytes {part}")

    def _segments(self) -> None:
        config = self.config
        for number, segment in enumerate(self.model.segments):
            who = f"segment {number}"
            count = len(segment.program) // (4 * DESCRIPTOR_WORDS)
            self._require(segment.program.shape == (4 * DESCRIPTOR_WORDS * segment.count,), f"{who} is cut")
            self._require(0 < count <= config.descriptors, f"{who} has {count} descriptors")
            fits = segment.weights.ndim == 2 and segment.weights.shape[1] == config.cols
            self._require(fits and len(segment.weights) <= config.weight_words, f"{who} has too many weights")

    def _parts(self, parts: tuple[Part, ...], who: str) -> None:
        for part in parts:
            fits = 0 <= part.segment < len(self.model.segments)
            fits = fits and 0 <= part.first < part.first + part.count <= self.model.segments[part.segment].count
            self._require(fits, f"layer {who!r} has a part that is not there, {part}")

    def _layer(self, layer: Layer) -> None:
        op = self.ops.get(layer.name)
        known = op is not None and (type(op).__name__, op.output) == (layer.op, layer.output)
        self._require(known, f"there is no operator of layer {layer.name!r}")
        assert op is not None
        self._parts(layer.parts, layer.name)
        counts = [*astuple(layer.predicted), layer.macs, layer.memory_bytes, *astuple(layer.traffic)]
        self._require(all(0 <= count < MOST_CYCLES for count in counts), f"figures of layer {layer.name!r}")
        # So that the verification does not walk over more results than there are.
        size = max(self.model.size(name) for name in (layer.output, *op.inputs))
        for part in layer.parts:
            program = records(self.model.segments[part.segment].program)
            for descriptor in program[part.first : part.first + part.count]:
                walked = math.prod(dim.count for dim in descriptor.output.dims) * max(descriptor.output.taps, 1)
                beats = math.prod(dim.count for dim in descriptor.activations.dims)
                most = self.config.cols * (size + self.config.positions) * max(descriptor.output.taps, 1)
                self._require(0 < walked <= most and 0 < beats < MOST_CYCLES, f"counts of layer {layer.name!r}")
                # The device reads this many words at once, from aligned places.
                together, words = self.config.weight_rows, descriptor.weights
                aligned = words.base % together == 0 and words.words % together == 0
                self._require(aligned, f"words of layer {layer.name!r}")

    def _order(self) -> None:
        """Each operator is computed once, when what it reads is there."""
        here, on_device = _Tensors(self.model), _Tensors(self.model)
        for name in self.graph.sources:
            here.add(name)
        done: list[str] = []
        for step in self.model.steps:
            names = self._names(step)
            done += names
            if step.host or step.tiles:
                for name in self.ops[names[0]].inputs:
                    if name not in step.inside:
                        self._require(name in here, f"the host lacks {name!r}, which {names[0]!r} reads")
                for before, after in zip(names, names[1:], strict=False):
                    alone = self.ops[after].inputs == (self.ops[before].output,)
                    self._require(alone, f"{after!r} does not read what {before!r} gives")
                output = self.ops[names[-1]].output
                if step.tiles:
                    self._rows(step, self.ops[names[0]].inputs, output, on_device)
                if output not in step.inside:
                    here.add(output)
                continue
            for name in step.writes:
                self._require(name in here and name in self.model.addresses, f"{name!r} cannot be written")
                self._write(name, on_device)
            for op in (self.ops[name] for name in names):
                for name in (*op.inputs, op.output):
                    self._require(name in self.model.addresses, f"{name!r} of {op} has no address")
                for name in op.inputs:
                    self._require(name in on_device, f"the device lacks {name!r}, which {op} reads")
                self._write(op.output, on_device)
                for name in op.inputs:
                    self._require(name in on_device, f"the result of {op} is written over {name!r}, which it reads")
            for name in step.reads:
                self._require(name in on_device and name in self.model.addresses, f"{name!r} cannot be read")
                here.add(name)
        self._require(len(set(done)) == len(done), "an operator is computed twice")
        for name in self.graph.results:
            self._require(name in here, f"nothing computes the output {name!r}")

    def _rows(self, step: Step, inputs: tuple[str, ...], output: str, on_device: _Tensors) -> None:
        """A step that is computed row by row, and what it leaves of the scratchpad."""
        inside, known = set(step.inside), self.model.addresses
        self._require(inside <= {*inputs, output} & known.keys(), "what is to stand in the scratchpad does not")
        self._require(len(inputs) == 1 or not inside & set(inputs), "one of several inputs stands in the scratchpad")
        if output in inside:
            self._write(output, on_device)
        for tile in step.tiles:
            if not inside & set(inputs):
                begin = tile.pieces[0].source_address
                self._overwrite(begin, len(inputs) * tile.source[1], on_device, kept="")
            for piece in tile.pieces:
                last = piece is tile.pieces[-1]
                self._overwrite(piece.address, piece.target[1], on_device, kept=output if last else "")
        for name in inside:
            self._require(name in on_device, f"{name!r} is to stand in the scratchpad, and is written over")
        if output not in inside:
            on_device.names.discard(output)

    def _write(self, name: str, on_device: _Tensors) -> None:
        """A tensor is written to its place in the scratchpad, over others that stand there."""
        self._overwrite(self.model.addresses[name], self.model.size(name), on_device, kept=name)
        on_device.add(name)

    def _overwrite(self, begin: int, size: int, on_device: _Tensors, *, kept: str) -> None:
        """Bytes of the scratchpad are written, over tensors that stand there, but for one of which they are."""
        for other in list(on_device.names & self.model.addresses.keys()):
            at = self.model.addresses[other]
            if other != kept and at < begin + size and begin < at + self.model.size(other):
                on_device.names.discard(other)

    def _names(self, step: Step) -> list[str]:
        """The operators of a step."""
        if step.host:
            self._require(step.host in self.ops, f"there is no operator {step.host!r}")
            return [step.host]
        fits = 0 <= step.first < step.first + step.count <= len(self.model.layers)
        self._require(fits, "a step has layers that are not there")
        return [layer.name for layer in self.model.layers[step.first : step.first + step.count]]


class _Tensors:
    """Names of tensors; with one of them, all that are its reshapes, or that it is a reshape of."""

    def __init__(self, model: Model):
        self.same: dict[str, set[str]] = {}
        self.names: set[str] = set()
        for op in model.graph.ops:
            if isinstance(op, Reshape):
                both = self.same.get(op.input, {op.input}) | self.same.get(op.output, {op.output})
                self.same |= dict.fromkeys(both, both)

    def add(self, name: str) -> None:
        """Adds a tensor."""
        self.names |= self.same.get(name, {name})

    def __contains__(self, name: str) -> bool:
        return name in self.names
